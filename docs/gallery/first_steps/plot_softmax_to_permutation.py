"""
From softmax to a permutation
=============================

Two dials turn one score matrix into very different couplings. ``Elastic(lam)`` decides how firmly the
columns hold their weights, from a row-wise softmax to a doubly stochastic matrix; epsilon decides how sharp
the result is, down to a permutation.
"""

# %%
# Twenty digits by some writers and twenty by others, two of each kind and in the same order, compared by
# the squared distance of their images.

import matplotlib.pyplot as plt
import numpy as np
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import cdist
from sklearn.datasets import load_digits

import elastic_ot as eot
from elastic_ot.solutions.plotting import plan_colours

digits = load_digits()
kinds = [np.flatnonzero(digits.target == k) for k in range(10)]
first = digits.data[np.concatenate([index[:2] for index in kinds])]
second = digits.data[np.concatenate([index[10:12] for index in kinds])]
cost = cdist(first, second, "sqeuclidean")
cost /= cost.max()
n = len(cost)

# %%
# The first dial
# --------------
# The rows are fixed, so that each row of ``n * plan`` sums to one. At lam = 0 the plan is the softmax of
# -cost / epsilon along each row: some columns are chosen by many rows, others by none. The column sums even
# out as lam grows.

epsilon = 0.02
lams = [0.0, 0.5, 0.9, 1.0]
solutions = [eot.solve(cost, epsilon=epsilon, cols=eot.Elastic(lam), tol=1e-9) for lam in lams]
softmax = np.exp(-cost / epsilon)
softmax /= softmax.sum(axis=1, keepdims=True)
print(f"lam = 0 differs from softmax by at most {np.abs(n * solutions[0].plan - softmax).max():.1e}")

figure, axes = plt.subplots(
    2, len(lams), figsize=(11, 3.9), height_ratios=(4, 1), sharex=True, sharey="row", layout="constrained"
)
for (top, bottom), lam, solution in zip(axes.T, lams, solutions, strict=True):
    top.imshow(n * solution.plan, cmap=plan_colours(), vmin=0.0, vmax=1.0, aspect="auto")
    top.set_title(f"lam = {lam:g}")
    bottom.bar(range(n), n * solution.col_marginal, color="#0072B2")
    bottom.axhline(1.0, color="black", lw=0.8)
ticks = {"ticks": 2 * np.arange(10) + 0.5, "labels": range(10)}
axes[0, 0].set_yticks(**ticks)
axes[0, 0].set_ylabel("first writers")
axes[1, 0].set_xticks(**ticks)
axes[1, 0].set_ylabel("column sum")
plt.show()

# %%
# The second dial
# ---------------
# With both sides fixed and epsilon falling, the plan tends to the best one-to-one assignment. scipy's exact
# solver gives its cost. ``bounds()`` encloses that cost at every epsilon, without knowing it. Near a permutation the
# iteration is slow, and for a picture four digits of the marginals are enough.

row, column = linear_sum_assignment(cost)
best = cost[row, column].mean()
epsilons = [0.1, 0.03, 0.01, 0.003, 0.001]
solutions = [eot.solve(cost, epsilon=epsilon, tol=1e-4) for epsilon in epsilons]

figure, axes = plt.subplots(1, 4, figsize=(11, 3.2), layout="constrained", sharey=True)
for ax, k in zip(axes[:3], (0, 2, 4), strict=True):
    ax.imshow(n * solutions[k].plan, cmap=plan_colours(), vmin=0.0, vmax=1.0)
    ax.set_title(f"epsilon = {epsilons[k]:g}")
permutation = np.zeros_like(cost)
permutation[row, column] = 1.0
axes[3].imshow(permutation, cmap=plan_colours())
axes[3].set_title("linear_sum_assignment")
for ax in axes:
    ax.set_xticks(**ticks)
    ax.set_yticks(**ticks)
plt.show()

# %%

lower, upper = np.transpose([solution.bounds() for solution in solutions])
figure, ax = plt.subplots(figsize=(7, 3.6), layout="constrained")
ax.fill_between(epsilons, lower, upper, color="#0072B2", alpha=0.25, label="bounds()")
ax.semilogx(
    epsilons, [solution.transport_cost for solution in solutions], "o-", color="#0072B2", label="transport cost"
)
ax.axhline(best, color="#D55E00", ls="--", label="linear_sum_assignment")
ax.set(xlabel="epsilon", ylabel="cost")
ax.legend(frameon=False)
agree = (solutions[-1].plan.argmax(axis=1) == column).mean()
print(f"at epsilon = {epsilons[-1]:g} the largest entry of {agree:.0%} of the rows is the assigned one")
plt.show()
