"""
A network trained with couplings
================================

A small network learns the velocities that carry noise to handwritten digits, once with pairs at random and once with
pairs from :func:`~elastic_ot.couples`. Paths of the second are straighter, so that fewer steps along them are enough.
"""

# %%
# The data are scikit-learn's digits on their first ten principal axes, of unit variance all together; every third is
# kept for the end. A batch is 128 digits and as much noise.

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from sklearn.neural_network import MLPRegressor

import elastic_ot as eot

AXES, BATCH, STEPS = 10, 128, 500
pca = PCA(AXES, random_state=0)
digits = pca.fit_transform(load_digits().data)
scale = np.sqrt(digits.var(axis=0).mean())
digits /= scale
held_out, training = digits[::3], np.delete(digits, np.s_[::3], axis=0)


def batches(seed):
    rng = np.random.default_rng(seed)
    for _ in range(STEPS):
        yield rng.normal(size=(BATCH, AXES)), training[rng.integers(len(training), size=BATCH)]


# %%
# Both networks see the same batches. ``couples`` pairs them in another thread while the last one is trained on. The
# network gets a place on the straight path between a pair, with the time, and learns the velocity.


def trained(pairs, seed=0):
    rng = np.random.default_rng(seed)
    network = MLPRegressor(hidden_layer_sizes=(128, 128), random_state=seed, learning_rate_init=2e-3)
    for x0, x1 in pairs:
        t = rng.random((BATCH, 1))
        network.partial_fit(np.hstack([(1 - t) * x0 + t * x1, t]), x1 - x0)
    return network


fields = {
    "at random": trained(batches(0)),
    "coupled": trained((x0[pairs.rows], x1[pairs.cols]) for x0, x1, pairs in eot.couples(batches(0))),
}

# %%
# The flow is followed from new noise by Euler's method. How far what arrives is from the digits that were kept is a
# Sinkhorn divergence between the two clouds, as for two halves of the digits themselves.


def carried(field, start, steps):
    path = [start]
    for k in range(steps):
        at = np.full((len(start), 1), k / steps)
        path.append(path[-1] + field.predict(np.hstack([path[-1], at])) / steps)
    return np.stack(path)


def apart(x, y):
    return eot.divergence(eot.PointCloud(x, y), blur=0.5, tol=1e-4).value


start, counts = np.random.default_rng(1).normal(size=(len(held_out), AXES)), (1, 2, 4, 8, 32)
found = {
    name: [apart(carried(field, start, steps)[-1], held_out) for steps in counts] for name, field in fields.items()
}
least = apart(training[: len(held_out)], held_out)
for name, values in found.items():
    print(f"{name:10}", "  ".join(f"{steps} steps {value:.3f}" for steps, value in zip(counts, values, strict=True)))
print(f"digits of the training set {least:.3f}")

# %%
# One step from random pairs lands on the mean of all digits, the best that a field at the start of crossing paths can
# do. Coupled, one step gets about as near as many. With many steps both get equally near, and what is left is for
# longer training and a larger network.

assert found["coupled"][0] < 0.8 * found["at random"][0]
figure, axes = plt.subplots(1, 3, figsize=(12, 3.8), layout="constrained", width_ratios=(1.2, 1, 1))
for (name, values), colour in zip(found.items(), ("#0072B2", "#D55E00"), strict=True):
    axes[0].plot(counts, values, "o-", color=colour, label=name)
axes[0].axhline(least, color="0.5", ls=":", label="other digits")
axes[0].set(xscale="log", ylim=(0, None), xlabel="steps of Euler's method", ylabel="divergence from digits kept back")
axes[0].set_xticks(counts, map(str, counts))
axes[0].minorticks_off()
axes[0].legend(frameon=False)
for ax, (name, field) in zip(axes[1:], fields.items(), strict=True):
    path = carried(field, start[:60], 32)[..., :2]
    ax.plot(*path.transpose(2, 0, 1), color="0.6", lw=0.7)
    ax.scatter(*path[0].T, s=8, color="0.3", zorder=2)
    ax.scatter(*path[-1].T, s=8, color="#D55E00", zorder=2)
    ax.set(title=f"pairs {name}", xlabel="first axis", xlim=(-4, 4), ylim=(-4, 4))
plt.show()

# %%
# What two steps make of the same noise, as pictures:

figure, axes = plt.subplots(2, 10, figsize=(10, 2.4), layout="constrained")
for row, (name, field) in zip(axes, fields.items(), strict=True):
    row[0].set_ylabel(name)
    for ax, image in zip(row, pca.inverse_transform(carried(field, start[:10], 2)[-1] * scale), strict=True):
        ax.imshow(image.reshape(8, 8), cmap="gray_r", vmin=0, vmax=16)
        ax.set(xticks=[], yticks=[])
plt.show()

# %%
# One network of each kind, on small pictures: an illustration, not a measurement. The pairs of a batch are optimal
# within it, which is not optimal for the distributions: larger batches bring straighter paths, and cost more to couple.
