r"""
Sinkhorn attention is heat
==========================

Take the points of a cloud for queries, keys and values, and replace each point by itself less what it attends to, over
and over. With a softmax this has no simple limit. With doubly stochastic weights it is the heat equation: that is the
theorem of :cite:t:`sander2022`, looked at here on a cloud whose density is known at every time.
"""

# %%
# Why
# ---
# Scores are products :math:`x_i \cdot x_j`, at a temperature :math:`\varepsilon`. Whatever depends on :math:`x_i`
# alone or on :math:`x_j` alone is undone by the normalisation of rows and columns, so that products are as good as
# :math:`-|x_i - x_j|^2/2`; a softmax undoes the first only, and prefers keys that are far out. For a density
# :math:`\rho` and a small :math:`\varepsilon` the balanced weights are near to a Gaussian of variance
# :math:`\varepsilon` times :math:`\rho(x)^{-1/2} \rho(y)^{-1/2}`, and the mean of what x attends to lies at
#
# .. math:: K x - x \approx \tfrac{\varepsilon}{2} \nabla \log \rho(x).
#
# Points that go the other way carry their density along :math:`\partial_t \rho = \tfrac12 \Delta \rho`, a step being
# the time :math:`\varepsilon`.

import matplotlib.pyplot as plt
import numpy as np

import elastic_ot as eot
from elastic_ot.applications.attention import attention_weights

CENTRES, VARIANCE = np.array([[-1.6, 0.4], [1.2, 1.3], [0.9, -1.5]]), 0.25
n, epsilon = 500, 0.1


def draw(count, time, seed):
    """Points of three equal Gaussians after so much time of heat, which adds to their variance."""
    rng = np.random.default_rng(seed)
    spread = np.sqrt(VARIANCE + time) * rng.normal(size=(count, 2))
    return CENTRES[rng.integers(3, size=count)] + spread


def density(points, time):
    """Of the same, and its score, the gradient of its logarithm."""
    variance = VARIANCE + time
    apart = CENTRES - points[..., None, :]
    parts = np.exp(-(apart**2).sum(axis=-1) / (2 * variance)) / (6 * np.pi * variance)
    total = parts.sum(axis=-1)
    return total, (parts[..., None] * apart).sum(axis=-2) / (variance * total[..., None])


def balanced(x):
    return attention_weights(x @ x.T, epsilon=epsilon, lam=1.0, tol=1e-6) @ x


def softmax(x):
    return attention_weights(x @ x.T, epsilon=epsilon, lam=0.0) @ x


def kernel_score(x):
    """The score of a kernel estimate of the density, whose Gaussians have the variance epsilon."""
    weights = np.exp(-eot.PointCloud(x, x, "sqeuclidean").block(slice(None), slice(None)) / (2 * epsilon))
    return (weights @ x / weights.sum(axis=1, keepdims=True) - x) / epsilon


# %%
# Where attention points to
# -------------------------
# The arrows of balanced attention, divided by epsilon / 2, beside the score of a kernel estimate and beside the true
# one, which is that of the mixture after the time epsilon: a kernel estimate sees the density through its kernel. The
# cosine is that between a field and the true one, over all points.

x = draw(n, 0.0, 0)
_, true = density(x, epsilon)
arrows = {
    "softmax": 2 * (softmax(x) - x) / epsilon,
    "balanced": 2 * (balanced(x) - x) / epsilon,
    "kernel estimate": kernel_score(x),
    "true score": true,
}
figure, axes = plt.subplots(1, 4, figsize=(12, 3.3), sharex=True, sharey=True, layout="constrained")
for ax, (name, field) in zip(axes, arrows.items(), strict=True):
    ax.quiver(*x[::3].T, *field[::3].T, color="#0072B2", angles="xy", scale_units="xy", scale=6, width=0.004)
    cosine = (field * true).sum() / np.linalg.norm(field) / np.linalg.norm(true)
    ax.set(title=f"{name}, cosine {cosine:.2f}", aspect="equal", xticks=[], yticks=[])
plt.show()

# %%
# A Gaussian, exactly
# -------------------
# Between a Gaussian of variance s and itself the balanced plan is known for every epsilon: x attends to c x on average,
# where c (epsilon / s) = 1 - c^2. The slope of a regression of what is attended to on the points:

for s in (0.5, 1.0, 2.0):
    gaussian = np.sqrt(s) * np.random.default_rng(1).normal(size=(n, 2))
    slope = (balanced(gaussian) * gaussian).sum() / (gaussian**2).sum()
    exact = np.sqrt(1 + (epsilon / (2 * s)) ** 2) - epsilon / (2 * s)
    print(f"variance {s}: slope {slope:.4f}, of the formula {exact:.4f}, of the limit {1 - epsilon / (2 * s):.4f}")

# %%
# Heat
# ----
# Twelve steps, that is the time 1.2. Contours are those of the mixture with its variance grown by the time. The
# divergence between the cloud and points drawn from that mixture is set beside that between two draws of it: it is as
# large at the start, where the cloud is a draw itself, and then smaller.

steps, shown = 12, (0, 2, 6, 12)
cloud, variances = x.copy(), [x.var(axis=0).mean()]
figure, axes = plt.subplots(1, 4, figsize=(12, 3.3), sharex=True, sharey=True, layout="constrained")
grid = np.stack(np.meshgrid(np.linspace(-4.5, 4.5, 80), np.linspace(-4.5, 4.5, 80)), axis=-1)
for step in range(steps + 1):
    if step in shown:
        ax, time = axes[shown.index(step)], step * epsilon
        fresh = [draw(n, time, seed) for seed in (2, 3)]
        far, near = (eot.divergence(eot.PointCloud(one, fresh[0]), epsilon=0.1).value for one in (cloud, fresh[1]))
        ax.contour(grid[..., 0], grid[..., 1], density(grid, time)[0], levels=6, colors="0.6", linewidths=0.8)
        ax.plot(*cloud.T, ".", ms=2, color="#0072B2")
        ax.set(title=f"time {time:.1f}", aspect="equal", xticks=[], yticks=[])
        print(f"time {time:.1f}: divergence from a draw {far:.3f}, between two draws {near:.3f}")
    cloud = 2 * cloud - balanced(cloud)
    variances.append(cloud.var(axis=0).mean())
plt.show()

# %%
# The variance grows by epsilon a step, as that of heat does, or a little less: epsilon is not infinitely small, and the
# cloud not infinitely large.

time = epsilon * np.arange(steps + 2)
figure, ax = plt.subplots(figsize=(5, 3), layout="constrained")
ax.plot(time, variances, "o", color="#0072B2", label="cloud")
ax.plot(time, variances[0] + time, "-", color="black", lw=0.8, label="heat")
ax.set(xlabel="time", ylabel="mean variance of a coordinate")
ax.legend(frameon=False)
plt.show()
