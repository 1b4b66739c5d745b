"""
Partial matching in the presence of outliers
============================================

Two samples are matched, and one of them contains points that belong to neither. Fixed marginals force a
match on every point. With TV or KL penalties the outliers are left out, or nearly so.
"""

# %%
# The iris flowers, by the length and width of their petals. Both samples are of the species versicolor;
# into the first, six flowers of the species setosa have slipped.

import matplotlib.pyplot as plt
import numpy as np
from scipy.spatial.distance import cdist
from sklearn.datasets import load_iris

import elastic_ot as eot

iris = load_iris()
petals = iris.data[:, 2:]
setosa, versicolor = petals[iris.target == 0], petals[iris.target == 1]
x = np.concatenate([versicolor[:25], setosa[:6]])
y = versicolor[25:]
outlier = np.arange(len(x)) >= 25
cost = cdist(x, y, "sqeuclidean")

# %%
# With ``TV(rho)`` on both sides, a unit of mass that is not matched costs rho at either end. As epsilon
# tends to zero a pair is therefore worth matching only if it costs less than 2 rho: the rule is sharp and
# does not depend on how far off an outlier is. ``KL(rho)`` shrinks every point smoothly, and the far ones
# most.

epsilon = 0.02
penalties = {"Fixed()": eot.Fixed(), "KL(0.5)": eot.KL(0.5), "TV(0.5)": eot.TV(0.5)}
solutions = {
    name: eot.solve(cost, epsilon=epsilon, rows=penalty, cols=penalty, tol=1e-8) for name, penalty in penalties.items()
}

figure, axes = plt.subplots(1, 3, figsize=(11, 4), sharex=True, sharey=True, layout="constrained")
for ax, (name, solution) in zip(axes, solutions.items(), strict=True):
    plan = solution.sparse_plan(mass=0.99).tocoo()
    for i, j, mass in zip(plan.row, plan.col, plan.data, strict=True):
        ax.plot(*np.stack([x[i], y[j]]).T, color="0.5", lw=30 * mass, zorder=1)
    ax.scatter(*x.T, s=900 * solution.row_marginal, color=np.where(outlier, "#D55E00", "#0072B2"), zorder=2)
    ax.scatter(*y.T, s=900 * solution.col_marginal, facecolors="white", edgecolors="black", zorder=2)
    ax.set(title=name, xlabel="petal length (cm)")
axes[0].set_ylabel("petal width (cm)")
plt.show()

# %%
# The area of a point is the mass it takes part with. What was the question? Perhaps whether the two samples
# differ in size. The mean displacement under the plan answers it, and the six outliers decide whether the
# answer is right.

truth = y.mean(axis=0) - x[~outlier].mean(axis=0)
print(f"without the outliers   shift {truth.round(2)}")
for name, solution in solutions.items():
    kept = solution.row_marginal * len(x)
    total = solution.row_marginal.sum()
    shift = (solution.col_marginal @ y - solution.row_marginal @ x) / total
    print(
        f"{name:<10} kept of the outliers {kept[outlier].mean():4.0%}, "
        f"of the others {kept[~outlier].mean():4.0%}, shift {shift.round(2)}"
    )

# %%
# How large should rho be? Sweeping it shows a plateau: over a wide range the outliers are out and the
# others in.

rhos = np.geomspace(0.01, 20.0, 15)
figure, axes = plt.subplots(1, 2, figsize=(11, 3.6), sharey=True, layout="constrained")
for ax, kind in zip(axes, (eot.KL, eot.TV), strict=True):
    kept = np.array(
        [eot.solve(cost, epsilon=epsilon, rows=kind(rho), cols=kind(rho)).row_marginal * len(x) for rho in rhos]
    )
    ax.semilogx(rhos, kept[:, ~outlier].mean(axis=1), "o-", color="#0072B2", label="versicolor")
    ax.semilogx(rhos, kept[:, outlier].mean(axis=1), "s-", color="#D55E00", label="outliers")
    ax.set(title=kind.__name__, xlabel="rho")
axes[0].set_ylabel("share of the mass that is matched")
axes[0].legend(frameon=False)
plt.show()
