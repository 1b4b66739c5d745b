"""Grids in one to three dimensions, small enough to be written out, and images on them."""

import numpy as np

import elastic_ot as eot


def whole(grid):
    """The cost matrix of a grid."""
    n, m = grid.shape
    return grid.block(slice(0, n), slice(0, m))


def some_grids():
    """Equal and unequal grids, in any order of coordinates, both metrics, and matrices of no metric."""
    rng = np.random.default_rng(3)
    return {
        "line": eot.Grid((23,), (31,)),
        "plane": eot.Grid((5, 6)),
        "unequal plane": eot.Grid([rng.random(4), np.linspace(-1, 1, 7)], [rng.random(6), 5], metric="cityblock"),
        "space": eot.Grid((3, 4, 2), (2, 5, 3)),
        "matrices": eot.Grid.from_matrices([rng.standard_normal((4, 5)), rng.random((6, 7))]),
    }


def images(grid, seed=7, zeros=False):
    """Positive weights of sum 1 in the shapes of the grids; some are 0 with `zeros`."""
    rng = np.random.default_rng(seed)
    pair = []
    for shape in (grid.shape_x, grid.shape_y):
        image = 0.5 + rng.random(shape)
        if zeros:
            image[rng.random(shape) < 0.3] = 0.0
        pair.append(image / image.sum())
    return pair


def bumps(size, zeros=False):
    """Two smooth images of so many pixels a side: one and two bumps, over a haze or over nothing."""
    x = (np.arange(size) + 0.5) / size
    pair = []
    for places in ([(0.3, 0.3, 0.1), (0.7, 0.25, 0.15)], [(0.6, 0.7, 0.12)]):
        image = sum(np.exp(-((x[:, None] - u) ** 2 + (x - v) ** 2) / (2 * width**2)) for u, v, width in places)
        image = np.where(image > 0.3, image, 0.0) if zeros else image + 0.02
        pair.append(image / image.sum())
    return pair
