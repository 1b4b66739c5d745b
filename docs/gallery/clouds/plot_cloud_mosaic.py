"""
A quarter of a million points in 400 equal parts
================================================

Every pixel of a photograph is a point in five dimensions, its place and its colour: 273,280 points. They are divided
among 400 sites so that points that are near each other stay together and every site gets the same share. That is
transport between a large cloud and a small one, without a matrix.
"""

# %%
# Not all against all
# -------------------
# An iteration on a cloud computes n times m exponentials. For 273,280 points against as many, 75 billion, that is about
# a minute, and there are dozens of iterations. To divide a cloud into parts, as many columns as parts are enough: 109
# million pairs take a fraction of a second. Their matrix would still fill nearly a gigabyte; the points take 5 MB.
#
# The weight of the colours, 0.12, says how much a difference in colour counts against one in place: a part is to be
# round where the picture is even, and to end at an edge where it is not.

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_sample_image

import elastic_ot as eot

PARTS = 400
image = load_sample_image("china.jpg")
height, width, _ = image.shape
v, u = np.mgrid[:height, :width]
places = np.stack([v, u], axis=-1).reshape(-1, 2) / width
colours = image.reshape(-1, 3) / 255
points = np.hstack([places, 0.12 * colours]).astype(np.float32)

rng = np.random.default_rng(0)
sites = points[rng.choice(len(points), PARTS, replace=False)]
print(eot.PointCloud(points, sites))

# %%
# Rounds of means
# ---------------
# k-means gives each point to the nearest site, moves the sites to the means of their points, and begins again. Here the
# sites have shares to meet: at a price in the first two rounds, whose sites move on anyway, exactly in the last one.
# The means are a product with the transposed plan, and each round starts at the potentials of the one before.
#
# What is printed is the certificate, computed in double precision from the points: the L1 error of the marginals, and
# the gap between what the plan costs and a proved lower bound. Both are at most ``tol``, a coarse one: a part has 683
# pixels, and a few more or less do not show.

solution = None
for cols in (eot.KL(0.005), eot.KL(0.005), eot.Fixed()):
    solution = eot.solve(eot.PointCloud(points, sites), epsilon=5e-4, cols=cols, tol=1e-2, init=solution)
    assert solution.converged
    assert max(solution.residual, abs(solution.gap)) <= 1e-2
    print(
        f"{cols!r:<14} {solution.status.name} after {solution.n_iter} iterations, "
        f"error {solution.residual:.0e}, gap {solution.gap:.0e}"
    )
    centres, sites = sites, (solution.apply(points, axis=0) / solution.col_marginal[:, None]).astype(np.float32)

# %%
# Parts
# -----
# A row of the plan is spread over a few sites, as epsilon is positive. For sharp parts each point goes to the site
# where its cost less the potential ``g`` is least: the potentials are the prices that keep sites from being overrun.
# With all prices 0 it is the nearest site.


def parts(prices):
    """The site that each point goes to."""
    level = (centres.astype(float) ** 2).sum(axis=1) - prices
    return np.concatenate([(level - 2 * chunk @ centres.T).argmin(axis=1) for chunk in np.array_split(points, 50)])


nearest, priced = parts(0.0), parts(solution.g)
sizes = {"nearest site": np.bincount(nearest, minlength=PARTS), "with prices": np.bincount(priced, minlength=PARTS)}
for name, size in sizes.items():
    print(
        f"{name:<13} {size.min()} to {size.max()} pixels, standard deviation {size.std() / size.mean():.0%} of the mean"
    )
assert sizes["with prices"].std() < 0.5 * sizes["nearest site"].std()

# %%
# Each part in its mean colour. They end at the edges of roofs and columns, and are round in the sky.


def mosaic(owner):
    """The photograph with each part in its mean colour."""
    size = np.maximum(np.bincount(owner, minlength=PARTS), 1)
    means = np.stack([np.bincount(owner, channel, PARTS) / size for channel in colours.T], axis=1)
    return means[owner].reshape(image.shape)


figure, axes = plt.subplots(2, 2, figsize=(11, 7.6), layout="constrained")
tiles = mosaic(priced)
axes[0, 0].imshow(image)
axes[0, 0].set_title("273,280 pixels")
axes[0, 1].imshow(tiles)
axes[0, 1].set_title("400 parts of equal size")
axes[1, 0].imshow(tiles[60:260, 40:340])
axes[1, 0].set_title("a detail")
for ax in axes.flat[:3]:
    ax.set_axis_off()
edges = np.linspace(0, max(size.max() for size in sizes.values()), 41)
for (name, size), colour in zip(sizes.items(), ("#999999", "#0072B2"), strict=True):
    axes[1, 1].hist(size, edges, alpha=0.7, color=colour, label=name)
axes[1, 1].axvline(len(points) / PARTS, color="black", lw=0.8)
axes[1, 1].set(xlabel="pixels of a part", ylabel="parts", title="how equal")
axes[1, 1].legend(frameon=False)
plt.show()

# %%
# Where to go on: a cloud of your own as ``points``, a scan or the embeddings of a corpus, divided into shards of equal
# size. Weights ``a`` let some points count more, weights ``b`` give parts of different sizes, and ``eot.AtMost()``
# makes them capacities. A smaller ``epsilon`` gives sharper plans and takes more iterations.
# :doc:`/clouds` says what else a cloud does.
