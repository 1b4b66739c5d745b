"""
Every colour of two photographs
===============================

Colour transfer is mostly done on a few hundred sampled colours, because the cost matrix of all of them does not fit.
A cloud of points needs no matrix: here every pixel of two photographs takes part, the map comes out at every pixel
without an extension, and soft sides decide how much of the palette is taken over.
"""

# %%
# The photographs that ship with the package, 17,120 pixels each. Equal pixels are one point with their count as its
# weight, which changes nothing in the problem and leaves some 12,000 colours a side. As a matrix their cost would
# take more than a gigabyte; the points take less than a megabyte.

from importlib import resources

import matplotlib.pyplot as plt
import numpy as np

import elastic_ot as eot

photographs = np.load(resources.files(eot) / "data" / "photographs.npz")
flower, china = photographs["flower"], photographs["china"]


def colours(photograph):
    """Its distinct colours in [0, 1], their shares of the pixels, and which of them each pixel has."""
    found, index, counts = np.unique(photograph.reshape(-1, 3), axis=0, return_inverse=True, return_counts=True)
    return (found / 255).astype(np.float32), counts / counts.sum(), index.ravel()


x, a, pixel_of_x = colours(flower)
y, b, _ = colours(china)
cloud = eot.PointCloud(x, y)
print(cloud)
print(f"as a matrix {8 * len(x) * len(y) / 1e9:.2f} GB, as points {(x.nbytes + y.nbytes) / 1e6:.2f} MB")

# %%
# Each side may deviate from its weights at the price rho: ``KL(rho)``. The flower's background is nearly black, the
# sky of the other photograph nearly white. Where a pair costs much more than rho, its mass rather stays away, so rho
# says how far a colour may be changed: a squared distance in RGB. It is cheap, too: the softer the sides, the fewer
# iterations.
#
# A plan sends each colour to many. Their mean is the new colour: a product with the plan, divided by its row sums. That
# holds also where little of a colour's mass is moved, so every pixel gets a new colour. The last panel tells how much:
# teal leaves and full orange, which the palette lacks, mostly stay out; pale rims stand in for more than their share.

EPSILON = 0.005
rhos = [0.01, 0.05, 0.3]


def transfer(rho):
    """Solve with one rho, and recolour the flower by the mean of what each colour is sent to."""
    side = eot.KL(rho)
    solution = eot.solve(cloud, a, b, epsilon=EPSILON, rows=side, cols=side, tol=1e-2)
    mean = solution.apply(y) / solution.row_marginal[:, None]
    assert solution.converged
    assert mean.min() > -1e-6  # means of colours are colours, up to rounding
    assert mean.max() < 1 + 1e-6
    print(
        f"rho {rho:<5g} {solution.n_iter:3d} iterations, last by {solution.method}; gap {solution.gap:.0e}, "
        f"{solution.row_marginal.sum():3.0%} of the mass is moved"
    )
    return solution, mean


found = [transfer(rho) for rho in rhos]
moved = [solution.row_marginal.sum() for solution, _ in found]
assert moved == sorted(moved)

figure, axes = plt.subplots(2, 3, figsize=(11, 5.4), layout="constrained")
pictures = [flower, china] + [mean.clip(0, 1)[pixel_of_x].reshape(flower.shape) for _, mean in found]
titles = ["before", "palette"] + [f"after, rho = {rho:g}" for rho in rhos]
for ax, picture, title in zip(axes.flat, pictures, titles, strict=False):
    ax.imshow(picture)
    ax.set_title(title)
kept = (found[1][0].row_marginal / a)[pixel_of_x].reshape(flower.shape[:2])
shown = axes[1, 2].imshow(kept, cmap="cividis", vmin=0.0, vmax=2.0)
axes[1, 2].set_title(f"row sum over weight, rho = {rhos[1]:g}")
figure.colorbar(shown, ax=axes[1, 2], shrink=0.85)
for ax in axes.flat:
    ax.set_axis_off()
plt.show()

# %%
# Which colours went where
# ------------------------
# Red against blue for every colour of the flower, before and after, each point drawn in its own colour. A firm rho
# stretches the dark heap over the range of the palette, a soft one goes to the nearest colours of the palette and
# leaves the sky out.

figure, axes = plt.subplots(1, 4, figsize=(12, 3.3), sharex=True, sharey=True, layout="constrained")
clouds = [x, *(mean for _, mean in found)]
for ax, points, title in zip(axes, clouds, ["before", *titles[2:]], strict=True):
    ax.scatter(y[:, 0], y[:, 2], s=1, color="0.85", rasterized=True)
    ax.scatter(points[:, 0], points[:, 2], s=2, c=points.clip(0, 1), rasterized=True)
    ax.set(title=title, xlabel="red")
axes[0].set_ylabel("blue (grey: the palette)")
plt.show()

# %%
# Where to go on: photographs of your own. Memory is no limit, time is: an iteration takes n times m exponentials, so
# halve the size of a large picture first. Colours in CIE Lab, where distances are those
# that one sees. ``cols=eot.AtMost()`` uses no colour of the palette more often than it occurs, and
# ``cols=eot.Free()`` takes the nearest. :doc:`/clouds` says what a cloud can do, and
# :doc:`../images/plot_colour_transfer` how little a sample needs.
