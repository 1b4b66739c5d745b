"""
Between two palettes
====================

A palette is a cloud of colours with masses. The mean of two palettes, channel by channel, is mud; their barycenter
has as many colours as you ask for, each between colours of the two that correspond. Its points are not given: they
move to where they are best.
"""

# %%
# Two photographs as clouds of colours
# ------------------------------------
# The photographs that come with scikit-learn. 300 pixels of each, in RGB between 0 and 1, stand for its colours.

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_sample_image

import elastic_ot as eot

pictures = [load_sample_image(name)[::4, ::4] / 255.0 for name in ("china.jpg", "flower.jpg")]
rng = np.random.default_rng(0)
clouds = [rng.choice(picture.reshape(-1, 3), 300, replace=False) for picture in pictures]

# %%
# A palette of eight colours
# --------------------------
# With one measure the barycenter summarises it: eight colours whose transport to the pixels costs least, as k-means
# does, with softer edges the larger ``epsilon`` is. With two measures and weights (1 - t, t) it lies between them.
# Both the colours and their masses are found; five values of t take a second or two.

EPSILON, COLOURS = 0.005, 8
shares = np.linspace(0, 1, 5)
palettes = [
    eot.free_barycenter(clouds, weights=[1 - t, t], support=COLOURS, epsilon=EPSILON, tol=1e-5, move_tol=1e-3)
    for t in shares
]
for t, found in zip(shares, palettes, strict=True):
    print(f"t = {t:.2f}: {found.n_moves} moves, objective {found.values[0]:.4f} -> {found.value:.4f}")
    assert found.values[-1] <= found.values[0]

# %%
# Each strip is a palette, dark to light; a colour is as wide as its mass. The flower's photograph has no sky. So that
# of the temple, nearly half of its palette, is divided: its brighter part turns into petals, its darker part into
# leaves.

figure, axes = plt.subplots(5, 1, figsize=(8, 3.6), layout="constrained")
luminance = np.array([0.299, 0.587, 0.114])
for axis, t, found in zip(axes, shares, palettes, strict=True):
    order = np.argsort(found.support @ luminance)
    edges = np.concatenate([[0], np.cumsum(found.weights[order])])
    for left, right, colour in zip(edges[:-1], edges[1:], found.support[order], strict=True):
        axis.axvspan(left, right, color=np.clip(colour, 0, 1), linewidth=0)
    axis.set(xlim=(0, 1), xticks=[], yticks=[])
    axis.set_ylabel(f"t = {t:.2f}", rotation=0, ha="right", va="center")
axes[-1].set_xlabel("share of the mass")
figure.suptitle("from the temple (t = 0) to the flower (t = 1)")
plt.show()

# %%
# Both photographs in the palette between them
# --------------------------------------------
# ``barycenter.transports`` are the transports of both clouds to the palette half way. The row of any other colour z
# is proportional to :math:`b_j \exp((g_j - |z - y_j|^2) / \varepsilon)`, where y are the colours of the palette, b
# their masses and g the potentials of one transport; its mean is the new colour of z.


def recoloured(picture, transport, found):
    """Give every pixel the mean colour of its row."""
    pixels = picture.reshape(-1, 3)
    logits = (transport.g - ((pixels[:, None] - found.support) ** 2).sum(axis=2)) / EPSILON
    shares = found.weights * np.exp(logits - logits.max(axis=1, keepdims=True))
    return (shares @ found.support / shares.sum(axis=1, keepdims=True)).reshape(picture.shape)


half = palettes[2]
figure, axes = plt.subplots(2, 2, figsize=(8, 5.6), layout="constrained")
for row, picture, transport in zip(axes, pictures, half.barycenter.transports, strict=True):
    row[0].imshow(picture)
    row[1].imshow(np.clip(recoloured(picture, transport, half), 0, 1))
for axis, title in zip(axes[0], ("as taken", "in the palette half way"), strict=True):
    axis.set_title(title)
for axis in axes.flat:
    axis.set_axis_off()
plt.show()

# %%
# Both photographs now have about the same colours in about the same shares, and neither has lost what was light and
# what was dark. That is what correspondence does: means of colours that are paired at random lie much closer to grey.


def spread(points, masses):
    """The root mean square distance of colours from their mean."""
    return np.sqrt(masses @ ((points - masses @ points) ** 2).sum(axis=1))


ends = [spread(found.support, found.weights) for found in (palettes[0], palettes[-1])]
random = np.hypot(*ends) / 2  # of means of pairs at random: half of each, and independent
between = spread(half.support, half.weights)
print(f"spread {between:.3f} half way, {ends[0]:.3f} and {ends[1]:.3f} at the ends, {random:.3f} of pairs at random")
assert between > random
