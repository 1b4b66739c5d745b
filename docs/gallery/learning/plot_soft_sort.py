"""
Soft sorting, random permutations and doubly stochastic matrices
================================================================

Sorting is the transport of values to a grid. With entropy it has derivatives, and epsilon says how far values may
share their places. The same holds for permutations drawn at random, and there are ways to doubly stochastic matrices
that need no iteration at all.
"""

# %%
# Soft ranks
# ----------
# The alcohol of ten wines, in per cent. At a large epsilon every wine has the middle rank; as epsilon falls the ranks
# part, those of wines that lie close together last. Values are brought to variance 1 first, so that neighbours are
# about ``sqrt(12) / n`` apart, and ranks are exact well below ``12 / n**2`` (dotted). One wine is entered with the
# alcohol of another: the two share their rank at every epsilon.

import matplotlib.pyplot as plt
import numpy as np
from scipy.stats import rankdata
from sklearn.datasets import load_sample_image, load_wine

from elastic_ot.applications.doubly_stochastic import balance, birkhoff_distance, plan_entropy, qr_plan
from elastic_ot.applications.permutations import gumbel_noise, gumbel_sinkhorn
from elastic_ot.applications.sliced_plans import expected_sliced_plan
from elastic_ot.applications.sorting import soft_quantile, soft_rank, soft_sort
from elastic_ot.applications.unitary import simulated_circuit, unistochastic
from elastic_ot.solutions.plotting import plan_colours

alcohol = load_wine().data[:40:4, 0]
alcohol[7] = alcohol[2]
n = alcohol.size
epsilons = np.geomspace(3e-4, 30.0, 40)
ranks = np.array([soft_rank(alcohol, epsilon) for epsilon in epsilons])
values = np.array([soft_sort(alcohol, epsilon) for epsilon in epsilons])
print(f"ranks at epsilon = {epsilons[0]:g} are off by at most {abs(ranks[0] - rankdata(alcohol)).max():.1e}")

figure, axes = plt.subplots(1, 2, figsize=(11, 3.8), layout="constrained")
colours = plt.get_cmap("cividis")(rankdata(alcohol) / n)
for ax, lines, label in zip(axes, (ranks, values), ("soft rank", "soft sorted values (%)"), strict=True):
    for line, colour in zip(
        lines.T, colours if ax is axes[0] else plt.get_cmap("cividis")(np.arange(n) / n), strict=True
    ):
        ax.semilogx(epsilons, line, color=colour)
    ax.axvline(12 / n**2, color="black", ls=":", lw=0.8)
    ax.set(xlabel="epsilon", ylabel=label)
axes[0].set_yticks(range(1, n + 1))
plt.show()

# %%
# A soft quantile listens to more than one value, and so it has less of a jump when one of them moves.

q = [0.25, 0.5, 0.75]
for epsilon in (1.0, 0.1, 0.001):
    print(f"epsilon = {epsilon:<6g} quartiles {soft_quantile(alcohol, q, epsilon).round(3)}")
print(f"numpy             quartiles {np.quantile(alcohol, q, method='hazen').round(3)}")

# %%
# Random permutations
# -------------------
# A photograph was cut into strips, which were shuffled. What is left of their order is a print that drowns in noise.
# The score of a strip at a place is the log-likelihood of the print there, and with Gumbel noise on the scores each
# assignment is a guess at the order. The temperature decides how near a guess is to a permutation.

rng = np.random.default_rng(0)
photograph = load_sample_image("china.jpg").mean(axis=2)[:416:4, :640:2] / 255
strips = 20
pieces = photograph.reshape(len(photograph), strips, -1).transpose(1, 0, 2)
shuffle = rng.permutation(strips)
sigma = 2.0
print_ = pieces + sigma * rng.normal(size=pieces.shape)
shuffled = pieces[shuffle]
scores = -((print_[:, None] - shuffled) ** 2).sum(axis=(-2, -1)) / (2 * sigma**2)
noise = gumbel_noise(rng.random((200, strips, strips)))

figure, axes = plt.subplots(2, 3, figsize=(11, 4.2), layout="constrained")


def show(ax, pieces, title):
    ax.imshow(pieces.transpose(1, 0, 2).reshape(photograph.shape), cmap="gray", vmin=0.0, vmax=1.0)
    ax.set(title=title, xticks=[], yticks=[])


show(axes[0, 0], shuffled, "shuffled")
show(axes[1, 0], print_, "the print")
temperatures = [10.0, 1.0, 0.1]
for ax, temperature in zip((axes[0, 1], axes[0, 2], axes[1, 1]), temperatures, strict=True):
    soft = gumbel_sinkhorn(scores, temperature=temperature, noise=noise[0], iterations=100)
    show(ax, np.einsum("ij,jhw->ihw", soft, shuffled), f"one sample, temperature {temperature:g}")
hard = gumbel_sinkhorn(scores, noise=noise, hard=True)
frequency = hard.mean(axis=0)[:, np.argsort(shuffle)]
axes[1, 2].imshow(frequency, cmap=plan_colours(), vmin=0.0, vmax=1.0)
axes[1, 2].set(title="200 hard samples", xlabel="strip", ylabel="place")
print(f"strips at their place in {np.diag(frequency).mean():.0%} of the hard samples")
plt.show()

# %%
# Doubly stochastic matrices
# --------------------------
# Nine ways to turn numbers into weights. Rows sum to one in all but one; the bars are the column sums. Softmax leaves
# them free, a soft sort only comes near, few iterations of balancing get one side right, and squares of orthogonal and
# unitary matrices are exact by construction, whatever their parameters are.

m = 8
queries, keys = rng.normal(size=(2, m, 4))
logits = 1.5 * queries @ keys.T / 2
angles = rng.normal(size=(2, m * (m - 1) // 2))
plans = {
    "softmax": np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True),
    "balance, 2 iterations": balance(logits, 2),
    "balance, 20 iterations": balance(logits, 20),
    "soft sliced plan": expected_sliced_plan(queries, keys, tau=0.3),
    "exact sliced plan": expected_sliced_plan(queries, keys),
    "squares of Q": qr_plan(logits),
    "real rotations": unistochastic(angles[0], m),
    "complex rotations": unistochastic(angles[0], m, angles[1]),
    "circuit, 3 layers": simulated_circuit(rng.normal(size=2 * 3 * 3), 3, 3),
}

figure, axes = plt.subplots(
    2, 9, figsize=(15, 3.2), height_ratios=(3, 1), sharex=True, sharey="row", layout="constrained"
)
for (top, bottom), (name, plan) in zip(axes.T, plans.items(), strict=True):
    top.imshow(plan, cmap=plan_colours(), vmin=0.0, vmax=1.0, aspect="auto")
    top.set_title(name, fontsize=9)
    bottom.bar(range(m), plan.sum(axis=0), color="#0072B2")
    bottom.axhline(1.0, color="black", lw=0.8)
    print(f"{name:<24} distance {birkhoff_distance(plan):.1e}  entropy {plan_entropy(plan):5.2f}")
axes[1, 0].set_ylabel("column sum")
plt.show()
