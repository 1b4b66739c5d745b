"""
Clusters with a capacity
========================

Assigning points to their nearest centres can leave one centre with most of the points. Bounds on the column
sums keep every load within a capacity at the least total cost. The same problem appears as routing to
experts, shifts or servers.
"""

# %%
# The 1797 digits of scikit-learn and twelve centres found by k-means. Every digit has weight one and must
# be assigned; a fair load is 1797 / 12, about 150 digits.

import matplotlib.pyplot as plt
import numpy as np
from scipy.spatial.distance import cdist
from sklearn.cluster import KMeans
from sklearn.datasets import load_digits

import elastic_ot as eot

points = load_digits().data / 16.0
count = 12
centres = KMeans(count, n_init=1, random_state=0).fit(points).cluster_centers_
cost = cdist(points, centres, "sqeuclidean")
a = np.ones(len(points))
fair = np.full(count, len(points) / count)

# %%
# Four rules for the loads: free (each digit takes its nearest centre, up to the blur by epsilon), at most
# 1.1 fair loads, between 0.9 and 1.1, and all equal. ``AtMost()`` reads the weights as capacities;
# ``Between(lo, hi)`` multiplies them.

rules = {
    "free": (fair, eot.Free()),
    "at most 1.1 fair loads": (1.1 * fair, eot.AtMost()),
    "0.9 to 1.1 fair loads": (fair, eot.Between(0.9, 1.1)),
    "equal": (fair, eot.Fixed()),
}
epsilon = 0.05
solutions = {
    name: eot.solve(cost, a, b, epsilon=epsilon, cols=penalty, tol=1e-8) for name, (b, penalty) in rules.items()
}
for name, solution in solutions.items():
    load = solution.col_marginal
    mean = solution.transport_cost / len(points)
    print(f"{name:<24} loads {load.min():5.1f} to {load.max():5.1f}, mean cost of a digit {mean:.4f}")

# %%
# The loads, with the centre above each group of bars.

figure, ax = plt.subplots(figsize=(11, 4.6), layout="constrained")
order = np.argsort(solutions["free"].col_marginal)
colours = ("0.75", "#56B4E9", "#0072B2", "#D55E00")
for k, (name, solution) in enumerate(solutions.items()):
    ax.bar(np.arange(count) + 0.2 * (k - 1.5), solution.col_marginal[order], 0.2, color=colours[k], label=name)
for factor in (0.9, 1.1):
    ax.axhline(factor * fair[0], color="black", lw=0.8, ls="--")
top = max(solution.col_marginal.max() for solution in solutions.values())
ax.set(ylim=(0, 1.35 * top), ylabel="load (digits)", xlabel="centre, by its free load", xticks=[])
for position, centre in enumerate(centres[order]):
    picture = ax.inset_axes((position - 0.36, 1.06 * top, 0.72, 0.25 * top), transform=ax.transData)
    picture.imshow(centre.reshape(8, 8), cmap="Greys")
    picture.set_axis_off()
ax.legend(loc="upper left", bbox_to_anchor=(0.0, 0.78), frameon=False)
plt.show()

# %%
# The potentials of the columns are the prices of the capacities: up to terms of order epsilon, ``-g[j]`` is
# what the total cost would fall by if centre j could take one digit more. Places at centres below their
# capacity cost nothing.

limited = solutions["at most 1.1 fair loads"]
figure, ax = plt.subplots(figsize=(7, 3.6), layout="constrained")
ax.scatter(limited.col_marginal / fair, -limited.g, color="#0072B2")
ax.axvline(1.1, color="black", lw=0.8, ls="--")
ax.set(xlabel="load / fair load", ylabel="price of one place, -g")
plt.show()
