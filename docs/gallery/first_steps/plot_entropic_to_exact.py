"""
From entropic to exact
======================

As epsilon falls the entropic plan sharpens until it is a permutation. On the way ``bounds()`` encloses the cost of that
permutation more and more tightly; at the end ``assign`` gives it, with potentials that prove it.
"""

# %%
# Sixty points on a noisy circle, sixty in two clusters, squared distances. The largest distance is one.

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.collections import LineCollection
from scipy.spatial.distance import cdist

import elastic_ot as eot

n = 60
rng = np.random.default_rng(4)
angle = 2.0 * np.pi * rng.random(n)
x = np.column_stack([np.cos(angle), np.sin(angle)]) + 0.05 * rng.normal(size=(n, 2))
y = np.repeat([[-0.35, 0.1], [0.4, -0.1]], n // 2, axis=0) + 0.16 * rng.normal(size=(n, 2))
cost = cdist(x, y, "sqeuclidean")
cost /= cost.max()

# %%
# Plans
# -----
# A line is a cell of the plan, the darker the more mass it carries. At a large epsilon every point sends something
# nearly everywhere. At a small one every point has one partner. ``rounded_plan()`` meets both marginals to rounding, so
# that what it costs is what some plan costs.

epsilons = 10.0 ** np.linspace(-1, -5, 17)
solutions = [eot.solve(cost, epsilon=epsilon) for epsilon in epsilons]
best = eot.assign(cost)
permutation = np.zeros_like(cost)
permutation[best] = 1.0


def draw(ax, shares, title):
    """The cells that carry a hundredth of a point or more."""
    i, j = np.nonzero(shares > 0.01)
    colours = np.zeros((i.size, 4))
    colours[:, 3] = np.minimum(shares[i, j], 1.0)
    ax.add_collection(LineCollection(np.stack([x[i], y[j]], axis=1), colors=colours, linewidths=1.0))
    ax.scatter(*x.T, s=12, color="#0072B2", zorder=2)
    ax.scatter(*y.T, s=12, color="#D55E00", zorder=2)
    ax.set(title=title, aspect="equal", xticks=[], yticks=[])


figure, axes = plt.subplots(1, 4, figsize=(11, 3.1), layout="constrained")
for ax, k in zip(axes[:3], (0, 4, 12), strict=True):
    plan = solutions[k].rounded_plan()
    draw(ax, n * plan, f"epsilon = {epsilons[k]:g}")
    print(f"epsilon = {epsilons[k]:<6g} {np.count_nonzero(n * plan > 0.01) / n:5.1f} cells a row above 1 %")
draw(axes[3], permutation, "assign")
plt.show()

# %%
# The certificate closes
# ----------------------
# The lower bound comes from the potentials, the upper one from the rounded plan; neither knows the answer. Their
# distances from the exact value, on a logarithmic scale, tell which of the two is the better one: here the potentials
# are exact, up to rounding, long before the plan is a permutation. That is why ``assign`` starts large problems from
# potentials. (This one is small: SciPy finds the assignment, and the potentials are computed when they are asked for.)

exact = best.cost / n
lower, upper = np.transpose([solution.bounds() for solution in solutions])
figure, (left, right) = plt.subplots(1, 2, figsize=(11, 3.8), layout="constrained")
left.fill_between(epsilons, lower, upper, color="#0072B2", alpha=0.25, label="bounds()")
left.plot(epsilons, upper, color="#0072B2")
left.plot(epsilons, lower, color="#009E73")
left.axhline(exact, color="#D55E00", ls="--", label="exact value")
left.set(xscale="log", xlabel="epsilon", ylabel="cost")
left.legend(frameon=False)
right.loglog(epsilons, upper - exact, "o-", color="#0072B2", label="upper bound - exact value")
right.loglog(epsilons, exact - lower, "o-", color="#009E73", label="exact value - lower bound")
right.set(xlabel="epsilon", ylabel="distance")
right.legend(frameon=False)
plt.show()

# %%
# The proof
# ---------
# Potentials u and v with u_i + v_j <= C_ij for every pair prove that no assignment costs less than sum(u) + sum(v).
# That is what this one costs. The picture shows the slack C_ij - u_i - v_j on a logarithmic scale, each column moved to
# the place of the row that it is matched with: zero on the diagonal, nowhere negative.

slack = cost - best.u[:, None] - best.v
print(best)
print(f"cost             {best.cost:.15f}")
print(f"sum(u) + sum(v)  {best.u.sum() + best.v.sum():.15f}")
print(f"gap              {best.gap:.1e}")
print(f"least slack      {slack.min():.1e}")
print(f"on the matching  {np.abs(slack[best]).max():.1e}")

order = np.argsort(angle)
shown = np.maximum(slack[order][:, best.col_ind[order]], 1e-6)
figure, ax = plt.subplots(figsize=(5.6, 4.4), layout="constrained")
image = ax.imshow(shown, cmap="Blues", norm="log")
ax.set(xlabel="partner of the point", ylabel="point, by angle")
figure.colorbar(image, label="slack, or 1e-6 if less")
plt.show()
