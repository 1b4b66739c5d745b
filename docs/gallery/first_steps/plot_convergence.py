"""
Reading convergence
===================

The smaller epsilon, the more iterations. This example compares the methods as epsilon falls, and shows
where a result says how far it can be trusted: its status, its history and its certificate.
"""

# %%
# The cost compares 300 digits with 300 others by the squared distance of their images, scaled to at most one. Both
# sets are sorted by kind, so that blocks on the diagonal of a plan are digits of one kind.

import matplotlib.pyplot as plt
import numpy as np
from scipy.spatial.distance import cdist
from sklearn.datasets import load_digits

import elastic_ot as eot
from elastic_ot.solutions.plotting import plot_solution

digits = load_digits()
first, second = np.argsort(digits.target[:300]), 300 + np.argsort(digits.target[300:600])
cost = cdist(digits.data[first], digits.data[second], "sqeuclidean")
cost /= cost.max()

# %%
# History
# -------
# The residual is the L1 distance between the marginals that the potentials attain and those they should
# attain. Its slope on a logarithmic scale is the rate of convergence. At the smallest epsilon ``scaling``
# finds that exp(-cost / epsilon) underflows; it says so instead of returning a wrong plan.
# ``epsilon_scaling`` and ``newton`` start at a large epsilon, so their residuals rise again at every change of level.
# ``auto`` takes ``scaling`` or ``newton``, whichever is faster, and would change over if it was wrong.

methods = {
    "scaling": "#56B4E9",
    "stabilized": "#009E73",
    "log": "#0072B2",
    "epsilon_scaling": "#D55E00",
    "newton": "#000000",
}
epsilons = [0.1, 0.01, 0.0003]
limits = {"tol": 1e-6, "max_iter": 1000, "on_failure": "ignore"}

figure, axes = plt.subplots(1, 3, figsize=(11, 3.8), sharey=True, layout="constrained")
for ax, epsilon in zip(axes, epsilons, strict=True):
    print(f"epsilon = {epsilon:g}")
    for width, (method, colour) in enumerate(methods.items()):
        solution = eot.solve(cost, epsilon=epsilon, method=method, **limits)
        history = solution.history
        ax.semilogy(history.iteration, history.residual, color=colour, lw=6 - width, alpha=0.8, label=method)
        print(f"  {method:<16} {solution.n_iter:5d} iterations  {solution.status.name}")
    ax.set(title=f"epsilon = {epsilon:g}", xlabel="iteration")
axes[0].set_ylabel("residual")
axes[0].legend(frameon=False)
plt.show()

# %%
# Certificate
# -----------
# ``value`` is the objective of a plan that meets the marginals, and ``dual_value`` proves that no plan can
# have less than that. The gap between them bounds the error of the value, also when the iteration was
# stopped early. ``bounds()`` does the same for the problem without entropy.

iterations = [1, 3, 10, 30, 100, 300]
early = [eot.solve(cost, epsilon=0.01, max_iter=n, tol=1e-12, on_failure="ignore") for n in iterations]
best = eot.solve(cost, epsilon=0.01, tol=1e-10)
for solution in early:
    lower, upper = solution.bounds()
    print(
        f"{solution.n_iter:4d} iterations  gap {solution.gap:.1e}  error {solution.marginal_error:.1e}  "
        f"without entropy between {lower:.4f} and {upper:.4f}"
    )

figure, ax = plt.subplots(figsize=(7, 3.8), layout="constrained")
ax.fill_between(
    iterations,
    [solution.dual_value - best.value for solution in early],
    [solution.value - best.value for solution in early],
    color="#0072B2",
    alpha=0.25,
    label="from dual_value to value",
)
ax.axhline(0.0, color="#D55E00", ls="--", label="best value")
ax.set(xscale="log", xlabel="iterations", ylabel="value - best value")
ax.legend(frameon=False)
plt.show()

# %%
# All of this is in the picture that ``solution.plot()`` returns. Here it is drawn into a figure of pyplot,
# which the documentation shows by itself.

solution = eot.solve(cost, epsilon=0.01, cols=eot.KL(0.05))
figure = plot_solution(solution, figure=plt.figure(figsize=(11, 5)))
plt.show()
