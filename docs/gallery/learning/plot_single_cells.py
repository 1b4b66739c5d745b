"""
Cells that divide: descendants over time
========================================

Sequencing destroys a cell, so a cell of today and its descendants are never seen together. Two samples of different
days are all there is, and transport guesses which cells belong to which (Schiebinger et al., *Optimal-transport
analysis of single-cell gene expression*, Cell 2019). Cells divide at different rates, so the marginals must be elastic.
"""

# %%
# The data are drawn here, so that the truth is known: progenitors that have begun to choose between two fates, and the
# cells of both fates two days later. A cell of fate A divides twice, one of fate B hardly ever. With real data the
# coordinates would be principal components of the expression, ``adata.obsm["X_pca"]`` of an AnnData object.

import matplotlib.pyplot as plt
import numpy as np

import elastic_ot as eot

rng = np.random.default_rng(0)
leaning = rng.uniform(-1.0, 1.0, 400)  # of a progenitor: towards A above 0, towards B below
early = np.column_stack([0.6 * leaning, 0.25 * rng.normal(size=400), 0.1 * rng.normal(size=(400, 8))])
divisions = np.where(leaning > 0, 4.0, 1.0)  # descendants of each
origin = rng.choice(400, 600, p=divisions / divisions.sum())
fate = np.where(leaning[origin] > 0, 1.0, -1.0)
late = np.column_stack([fate * (2.0 + 0.3 * rng.normal(size=600)), 1.5 + 0.5 * leaning[origin] * fate])
late = np.column_stack([late + 0.15 * rng.normal(size=(600, 2)), 0.1 * rng.normal(size=(600, 8))])

# %%
# Two plans. One insists that every early cell has equally many descendants. The other asks for that at a price:
# ``KL(rho)`` on the early cells lets growth show itself, and every late cell still has an ancestor.

cloud = eot.PointCloud(early, late)
plans = {
    "equal growth": eot.solve(cloud, epsilon="0.02x"),
    "growth may differ": eot.solve(cloud, epsilon="0.02x", rows=eot.KL(0.5)),
}

# %%
# What is asked of a plan: the fate of an early cell, which is the share of its mass that arrives among the cells of
# fate A, and its growth, which is its share of all mass, here averaged over cells that lean alike. ``apply`` multiplies
# with the plan, which is not stored.

figure, axes = plt.subplots(1, 3, figsize=(12, 4), layout="constrained")
axes[0].scatter(*late[:, :2].T, c=np.where(fate > 0, "#D55E00", "#0072B2"), s=6, label="late")
axes[0].scatter(*early[:, :2].T, c="0.4", s=6, label="early")
axes[0].set(title="cells of two days", xlabel="first coordinate", ylabel="second coordinate")
axes[0].legend(loc="lower right")
truth = divisions / divisions.mean()
bins = np.linspace(-1.0, 1.0, 11)
within = np.digitize(leaning, bins) - 1
for ax, (name, solution) in zip(axes[1:], plans.items(), strict=True):
    to_a = solution.apply((fate > 0).astype(float)) / solution.row_marginal
    growth = np.bincount(within, solution.row_marginal * len(early)) / np.bincount(within)
    ax.axvline(0.0, color="0.8", lw=1)
    ax.scatter(leaning, to_a, s=5, c="#0072B2", label="share that becomes A")
    ax.stairs(growth, bins, color="#D55E00", lw=2, label="descendants, over the mean")
    ax.plot(np.sort(leaning), truth[np.argsort(leaning)], color="black", lw=1, label="true descendants")
    ax.set(title=name, xlabel="how far a cell leans to A", ylim=(-0.1, 3.0))
axes[1].legend(loc="lower right", fontsize=8)
plt.show()

# %%
# Equal growth must send cells that lean to B over to A, because too many cells of fate A are there to be accounted for.
# With elastic rows the fates follow the leaning, and growth is read off the marginal.

for name, solution in plans.items():
    to_a = solution.apply((fate > 0).astype(float)) / solution.row_marginal
    wrong = np.mean((to_a > 0.5) != (leaning > 0))
    grown = solution.row_marginal[leaning > 0].sum() / solution.row_marginal[leaning <= 0].sum()
    print(f"{name:18} wrong fates {wrong:4.0%}, A grows {grown:.1f} times as fast as B (true: 4.0)")

# %%
# How much elasticity? A small ``rho`` believes the data, a large one the assumption of equal growth. Where growth is
# known roughly, from the genes of the cell cycle, pass it as the weights ``a`` and keep ``rho`` for what is uncertain.
