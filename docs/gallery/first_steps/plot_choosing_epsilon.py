"""
Choosing epsilon
================

What epsilon does to the plan, to its cost and to the time, and what takes its bias away: one problem, solved for a path
of them. The page on choosing epsilon draws its conclusions from these pictures.
"""

# %%
# Two digits of scikit-learn: points are drawn where there is ink, the more the darker. The side of the picture is one,
# and costs are squared distances, so that epsilon is the square of a length: the *blur*.

import time

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.collections import LineCollection
from scipy.spatial.distance import cdist
from sklearn.datasets import load_digits

import elastic_ot as eot

rng = np.random.default_rng(0)
digits = load_digits()


def ink(digit, size):
    """So many points of the first picture of that digit."""
    image = digits.images[digits.target == digit][0]
    pixels = rng.choice(image.size, size, p=image.ravel() / image.sum())
    rows, columns = np.divmod(pixels, image.shape[1])
    return (np.column_stack([columns, image.shape[0] - 1 - rows]) + rng.random((size, 2))) / image.shape[0]


# %%
# The plan
# --------
# Lines carry mass, the darker the more. The circle has the blur as its radius: partners that lie within it of each
# other share the mass. Crosses are the means of what each point is sent to: at a large epsilon all of them move to the
# middle, because everything is sent everywhere.

x, y = ink(0, 60), ink(7, 60)
cost = cdist(x, y, "sqeuclidean")
shares = (0.3, 0.03, 0.003, 0.0003)
figure, axes = plt.subplots(1, 4, figsize=(11, 3.2), layout="constrained")
for ax, share in zip(axes, shares, strict=True):
    epsilon = share * cost.max()
    solution = eot.solve(cost, epsilon=epsilon)
    i, j = np.nonzero(60 * solution.plan > 0.01)
    colours = np.zeros((i.size, 4))
    colours[:, 3] = np.minimum(1.0, 60 * solution.plan[i, j])
    ax.add_collection(LineCollection(np.stack([x[i], y[j]], axis=1), colors=colours, linewidths=0.8))
    ax.scatter(*x.T, s=10, color="#0072B2", zorder=2)
    ax.scatter(*y.T, s=10, color="#D55E00", zorder=2)
    ax.scatter(*solution.barycentric_map(y).T, s=14, marker="x", lw=0.8, color="black", zorder=3)
    ax.add_patch(plt.Circle((0.0, 0.0), epsilon**0.5, fill=False, color="#009E73", lw=1.5))
    ax.set(title=f"epsilon = {share:g} max C", aspect="equal", xlim=(-0.1, 1.0), ylim=(-0.1, 1.1), xticks=[], yticks=[])
    print(f"{share:<7g} {i.size / 60:5.1f} partners a point above 1 %, blur {epsilon**0.5:.3f}")
plt.show()

# %%
# The cost and its bias
# ---------------------
# Now 600 points a side, and the exact cost to compare with. An entropic plan always costs more than the cheapest one.
# The divergence takes off what entropy adds within each cloud, and is ten times as near over a decade and more.
# ``bounds()`` encloses the exact cost without knowing it; at a small epsilon the lower bound is the nearest of all, for
# it comes from the potentials, not from the blurred plan.

x, y = ink(0, 600), ink(7, 600)
cost, within = cdist(x, y, "sqeuclidean"), [cdist(z, z, "sqeuclidean") for z in (x, y)]
largest, exact = cost.max(), eot.exact(cost).value
epsilons = largest * 10.0 ** np.linspace(0, -4, 13)
table, last = [], None
for epsilon in epsilons:
    last = eot.solve(cost, epsilon=epsilon, init=last)
    table.append((last.transport_cost, eot.divergence(cost, *within, epsilon=epsilon).value, *last.bounds()))
transport_cost, debiased, lower, upper = np.transpose(table)

figure, (left, right) = plt.subplots(1, 2, figsize=(11, 3.8), layout="constrained")
style = {"marker": "o", "ms": 3}
left.fill_between(epsilons / largest, lower, upper, color="0.85", label="bounds()")
left.plot(epsilons / largest, transport_cost, color="#0072B2", label="transport_cost", **style)
left.plot(epsilons / largest, debiased, color="#009E73", label="divergence", **style)
left.axhline(exact, color="#D55E00", ls="--", label="exact")
left.set(xscale="log", xlabel="epsilon / max C", ylabel="cost", ylim=(0.0, 1.3 * transport_cost.max()))
left.legend(frameon=False)
right.loglog(epsilons / largest, transport_cost / exact - 1.0, color="#0072B2", label="transport_cost", **style)
right.loglog(epsilons / largest, np.abs(debiased / exact - 1.0), color="#009E73", label="divergence", **style)
right.loglog(epsilons / largest, 1.0 - lower / exact, color="0.6", label="lower bound", **style)
right.set(xlabel="epsilon / max C", ylabel="relative distance from exact")
right.legend(frameon=False)
plt.show()
for row in zip(epsilons / largest, transport_cost / exact, debiased / exact, strict=True):
    print("epsilon / max C = {:<8.2g} transport_cost / exact = {:<8.4f} divergence / exact = {:.4f}".format(*row))

# %%
# The time
# --------
# Plain iterations double with every halving of epsilon. Annealing, a path of falling epsilons inside of one solve,
# saves some of them. ``"auto"`` goes over to Newton's method, to which epsilon hardly matters. A line ends where 3000
# iterations do not suffice. Times are those of the processor, of all threads.

some = cost[:300, :300]
epsilons = largest * 10.0 ** np.linspace(-1, -4, 10)


def seconds(method):
    """Time of a solve for each epsilon; nan from the first on that does not converge."""
    found = np.full(len(epsilons), np.nan)
    for epsilon in epsilons[[0, -1]]:  # what is compiled, or loaded, is so before it is measured
        eot.solve(some, epsilon=epsilon, method=method, max_iter=100, on_failure="ignore")
    for k, epsilon in enumerate(epsilons):
        began = time.process_time()
        solution = eot.solve(some, epsilon=epsilon, method=method, max_iter=3000, on_failure="ignore")
        if not solution.converged:
            break
        found[k] = time.process_time() - began
    return found


figure, ax = plt.subplots(figsize=(6.5, 3.8), layout="constrained")
for method, colour in (("log", "#D55E00"), ("epsilon_scaling", "#009E73"), ("auto", "#0072B2")):
    took = seconds(method)
    ax.loglog(epsilons / largest, took, color=colour, label=method, **style)
    print(f"{method:<16}", *(f"{1e3 * t:6.0f}" for t in took), "ms")
ax.set(xlabel="epsilon / max C", ylabel="processor seconds", title="300 x 300 points, to a tolerance of 1e-6")
ax.legend(frameon=False)
plt.show()
