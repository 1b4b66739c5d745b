"""
Colour transfer between two photographs
=======================================

A photograph is recoloured with the palette of another one by transporting its colours. How much of the
palette is used, and how evenly, is decided by the penalty on the columns.
"""

# %%
# The two photographs that come with scikit-learn. Each is reduced to 500 sampled pixels; the cost is the
# squared distance of their colours in RGB, each channel between 0 and 1.

import matplotlib.pyplot as plt
import numpy as np
from scipy.spatial.distance import cdist
from sklearn.datasets import load_sample_image

import elastic_ot as eot

source = load_sample_image("flower.jpg")[::3, ::3] / 255.0
target = load_sample_image("china.jpg")[::3, ::3] / 255.0

rng = np.random.default_rng(0)
x, y = (rng.choice(image.reshape(-1, 3), 500, replace=False) for image in (source, target))
cost = cdist(x, y, "sqeuclidean")
epsilon = 0.005

# %%
# Every sampled pixel of the flower must get a colour, so the rows stay fixed. With ``Elastic(0)`` the
# columns are free and each row is a softmax over the palette: pixels take the nearest colour. With
# ``Elastic(1)``, which is ``Fixed``, each colour of the palette is used exactly as often as it occurs. In
# between, colours that are in demand are used more often than they occur, but not without limit.

lams = [0.0, 0.9, 0.97, 1.0]
solutions = [eot.solve(cost, epsilon=epsilon, cols=eot.Elastic(lam)) for lam in lams]
for lam, solution in zip(lams, solutions, strict=True):
    load = solution.col_marginal * len(y)
    print(f"lam {lam:<5g} {solution.n_iter:4d} iterations, largest load of a colour {load.max():6.2f}")

# %%
# The plan only knows the sampled pixels. The potentials ``g`` of the columns extend it to any colour: the
# row of a new colour z would be proportional to :math:`b_j \exp((g_j - c(z, y_j)) / \varepsilon)`, and its
# mean is the new colour.


def recolour(solution, image):
    """Replace every pixel by the mean colour of its row."""
    pixels = image.reshape(-1, 3)
    mapped = []
    for chunk in np.array_split(pixels, 40):
        logits = (solution.g - cdist(chunk, y, "sqeuclidean")) / epsilon
        weights = np.exp(logits - logits.max(axis=1, keepdims=True))
        mapped.append(weights @ y / weights.sum(axis=1, keepdims=True))
    return np.concatenate(mapped).reshape(image.shape)


figure, axes = plt.subplots(2, 3, figsize=(11, 5.4), layout="constrained")
pictures = [source, target] + [recolour(solution, source) for solution in solutions]
titles = ["source", "palette"] + [f"recoloured, lam = {lam:g}" for lam in lams]
for ax, picture, title in zip(axes.flat, pictures, titles, strict=True):
    ax.imshow(picture)
    ax.set_title(title)
    ax.set_axis_off()
plt.show()

# %%
# Much of the palette is bright sky, and the flower's photograph is dark: with lam = 1 the sky must be used,
# and the background pays for it. The loads show the same. Each point is one palette colour, drawn in that
# colour.

figure, ax = plt.subplots(figsize=(8, 4), layout="constrained")
for position, solution in enumerate(solutions):
    spread = rng.uniform(-0.3, 0.3, len(y))
    ax.scatter(position + spread, solution.col_marginal * len(y), c=y, s=12, edgecolors="0.6", linewidths=0.2)
ax.axhline(1.0, color="black", lw=0.8)
ax.set(yscale="log", ylim=(1e-3, None), ylabel="load (1: used as often as it occurs)")
ax.set_xticks(range(len(lams)), [f"lam = {lam:g}" for lam in lams])
plt.show()
