"""
Digits that differ in ink
=========================

Two images of digits are compared by the cost of moving the ink of one onto the other. Writers press
differently hard, so the masses differ and no balanced plan exists. A KL penalty on both marginals lets ink
appear or vanish, at a price.
"""

# %%
# The 8 x 8 digits of scikit-learn. A pixel is a point, its grey value is its mass (in units of the mean ink
# of an image), and the cost is the squared distance of two pixels. Empty pixels have zero weight: they drop
# out.

import matplotlib.pyplot as plt
import numpy as np
from scipy.spatial.distance import cdist
from sklearn.datasets import load_digits

import elastic_ot as eot

digits = load_digits()
ink = digits.images / digits.images.sum(axis=(1, 2)).mean()
side = ink.shape[1]
grid = np.stack(np.meshgrid(range(side), range(side), indexing="ij"), axis=-1).reshape(-1, 2)
cost = cdist(grid, grid, "sqeuclidean")


def transport(first, second, rho, epsilon=0.2, tol=1e-6):
    """Transport the ink of one image to another, allowing a change of mass."""
    penalty = eot.KL(rho)
    return eot.solve(cost, first.ravel(), second.ravel(), epsilon=epsilon, rows=penalty, cols=penalty, tol=tol)


# %%
# The lightest and the heaviest seven. Cell (i, j) of the plan says how much ink pixel i of the first sends
# to pixel j of the second. Moving that ink along a straight line, and letting it grow from its weight in
# the first image to its weight in the second, turns one into the other. Mixing the two images instead shows
# both at once.

sevens = ink[digits.target == 7]
amount = sevens.sum(axis=(1, 2))
light, heavy = sevens[amount.argmin()], sevens[amount.argmax()]
solution = transport(light, heavy, rho=10.0)
print(f"ink {light.sum():.2f} and {heavy.sum():.2f}, transported {solution.row_marginal.sum():.2f}")

plan = solution.sparse_plan(mass=0.999).tocoo()
start, end = grid[plan.row], grid[plan.col]
start_mass = plan.data * (light.ravel() / solution.row_marginal.clip(1e-12))[plan.row]
end_mass = plan.data * (heavy.ravel() / solution.col_marginal.clip(1e-12))[plan.col]
canvas = np.linspace(-0.5, side - 0.5, 64)


def render(points, mass):
    """Draw masses as small round spots on a finer canvas."""
    across, down = (np.exp(-((canvas - points[:, [k]]) ** 2) / (2 * 0.45**2)) for k in (1, 0))
    return np.einsum("k,ki,kj->ij", mass, down, across)


times = np.linspace(0.0, 1.0, 5)
figure, axes = plt.subplots(2, len(times), figsize=(11, 4.8), layout="constrained")
for column, t in zip(axes.T, times, strict=True):
    moved = render((1 - t) * start + t * end, (1 - t) * start_mass + t * end_mass)
    mixed = render(grid, ((1 - t) * light + t * heavy).ravel())
    for ax, picture in zip(column, (moved, mixed), strict=True):
        ax.imshow(picture, cmap="Blues", vmin=0.0, vmax=render(grid, heavy.ravel()).max())
        ax.set(xticks=[], yticks=[])
    column[0].set_title(f"t = {t:g}")
axes[0, 0].set_ylabel("transported")
axes[1, 0].set_ylabel("mixed")
plt.show()

# %%
# How much is transported depends on rho, the price of changing mass against moving it. With a small rho
# only ink that is already in place counts; as rho grows the transported mass tends to the geometric mean of
# the two masses, where the two KL terms are smallest.

rhos = np.geomspace(0.1, 1000.0, 13)
moved = [transport(light, heavy, rho).row_marginal.sum() for rho in rhos]
figure, ax = plt.subplots(figsize=(7, 3.6), layout="constrained")
ax.semilogx(rhos, moved, "o-", color="#0072B2")
for level, name in (
    (light.sum(), "ink of the light seven"),
    (heavy.sum(), "ink of the heavy seven"),
    (np.sqrt(light.sum() * heavy.sum()), "geometric mean"),
):
    ax.axhline(level, color="0.6", lw=0.8, ls="--")
    ax.annotate(name, (rhos[0], level), va="bottom", fontsize=9)
ax.set(xlabel="rho", ylabel="transported mass", ylim=(0.0, 1.15 * heavy.sum()))
plt.show()

# %%
# Comparisons of 20 digits, two of each kind, with more blur and less precision than above. The value is
# positive even between an image and itself, because entropy blurs; subtracting the mean of the two
# self-comparisons removes that. For the reference ``a b^T`` and unequal masses the divergence also has the term
# epsilon / 2 times the squared difference of the masses (`Séjourné and others, 2019
# <https://arxiv.org/abs/1910.12958>`__). It is zero on the diagonal and positive elsewhere; pairs of one kind
# are often, though not always, the closest.

blur = 0.5
images = ink[np.concatenate([np.flatnonzero(digits.target == k)[:2] for k in range(10)])]
mass = images.sum(axis=(1, 2))
count = len(images)
value = np.zeros((count, count))
for i, j in zip(*np.tril_indices(count), strict=True):
    value[i, j] = value[j, i] = transport(images[i], images[j], rho=10.0, epsilon=blur, tol=1e-4).value
own = np.diag(value)
divergence = value - (own[:, None] + own) / 2 + blur / 2 * (mass[:, None] - mass) ** 2
print(f"smallest divergence between two images: {divergence[~np.eye(count, dtype=bool)].min():.3f}")

figure, ax = plt.subplots(figsize=(6.4, 5.2), layout="constrained")
picture = ax.imshow(divergence, cmap="cividis")
ax.set_xticks(2 * np.arange(10) + 0.5, range(10))
ax.set_yticks(2 * np.arange(10) + 0.5, range(10))
ax.set_title("divergence between 20 digits, two of each kind")
figure.colorbar(picture)
plt.show()
