"""
Two palettes, matched
=====================

A photograph has thousands of colours, and looks as if it had a dozen. Transport of low rank between the colours of two
photographs goes through few groups, so it finds a palette of each, and which colour of one becomes which of the other,
at once. Nothing of the size of all pairs is stored.
"""

# %%
# Colours as points
# -----------------
# The photographs that ship with the package. Equal pixels are one point with their share as its weight, which leaves
# some 12,000 colours a side.

from importlib import resources

import matplotlib.pyplot as plt
import numpy as np

import elastic_ot as eot

photographs = np.load(resources.files(eot) / "data" / "photographs.npz")
flower, china = photographs["flower"], photographs["china"]


def colours(photograph):
    """Its distinct colours in [0, 1], their shares of the pixels, and which of them each pixel has."""
    found, index, counts = np.unique(photograph.reshape(-1, 3), axis=0, return_inverse=True, return_counts=True)
    return found / 255, counts / counts.sum(), index.ravel()


RANK = 8
x, a, pixel_of_x = colours(flower)
y, b, _ = colours(china)
found = eot.low_rank(eot.PointCloud(x, y), RANK, a, b, tol=1e-5)
print(found)
assert found.converged

# %%
# The palettes
# ------------
# A column of Q says how much of each colour is in a group, and the same column of R where the group goes. Their means
# are two colours; the width is the mass of the group.

q, r, g = found.factors
palettes = [(factor.T @ points) / g[:, None] for factor, points in ((q, x), (r, y))]
order = np.argsort(palettes[0].sum(axis=1))
ends = np.concatenate([[0.0], np.cumsum(g[order])])
figure, axis = plt.subplots(figsize=(7.5, 1.8))
for row, palette in enumerate(palettes):
    axis.barh([1 - row] * RANK, g[order], left=ends[:-1], color=np.clip(palette[order], 0, 1), height=0.9)
axis.set(yticks=[1, 0], yticklabels=["flower", "china"], xticks=[], xlim=(0, 1), title="what becomes what")
figure.tight_layout()

# %%
# A picture in the colours of the other
# -------------------------------------
# Each colour becomes the mean of those that it is sent to: a product with the plan, factor by factor.

recoloured = found.barycentric_map(y)[pixel_of_x].reshape(flower.shape)
figure, axes = plt.subplots(1, 3, figsize=(9, 2.4))
pictures = {"flower": flower / 255, "china": china / 255, "flower in the colours of china": recoloured}
for axis, (title, picture) in zip(axes, pictures.items(), strict=True):
    axis.imshow(np.clip(picture, 0, 1))
    axis.set_title(title, fontsize=10)
    axis.axis("off")
figure.tight_layout()

# %%
# What the rank costs
# -------------------
# On every twentieth colour, so that the bound is the optimal value: no plan of any rank costs less. More groups come
# closer.

some, weights_x, weights_y = eot.PointCloud(x[::20], y[::20]), a[::20] / a[::20].sum(), b[::20] / b[::20].sum()
ranks = (1, 2, 4, 8, 16, 32)
results = [eot.low_rank(some, rank, weights_x, weights_y, tol=1e-5) for rank in ranks]
lower = results[0].lower
assert all(lower <= result.upper for result in results)
figure, axis = plt.subplots(figsize=(6, 3))
axis.plot(ranks, [result.upper for result in results], "o-", label="plans of this rank")
axis.axhline(lower, color="k", linestyle=":", label="no plan costs less")
axis.set(xscale="log", xlabel="rank", ylabel="mean squared change of colour")
axis.set_xticks(ranks, ranks)
axis.legend()
figure.tight_layout()
