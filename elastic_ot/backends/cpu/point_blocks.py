"""Points as kernels read them: in blocks of neighbours, coordinate after coordinate, in a unit of their own.

Points are put in an order in which 32 in a row are neighbours (`point_tree`). In many coordinates neighbours are no
nearer than others, and the order stays.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..protocol import Array, Metric
from .point_lists import Pairs
from .point_tree import Tree, near_order, tree_of
from .tiles import ABSOLUTE, BLOCK_POINTS, DISTANCE, PRODUCT

FEW_COORDINATES = 8  # coordinates up to which blocks have centres of their own
ORDERED_COORDINATES = 32  # coordinates up to which points are put in order
TILE_KINDS = {  # what tiles compute, and how often that counts in minus the cost
    "sqeuclidean": (PRODUCT, 2.0),
    "euclidean": (DISTANCE, -1.0),
    "cityblock": (ABSOLUTE, -1.0),
    "cosine": (PRODUCT, 1.0),
    "dot": (PRODUCT, 1.0),
}


class Points(NamedTuple):
    """One side of a cloud in blocks of `BLOCK_POINTS`, coordinate after coordinate, the last block filled up.

    `order` says which point stands where. `points` are in double precision, `single` are offsets from `centres`
    (blocks, d), or without these the same in float32; both have their squared norms where costs need them. `tree` is
    that of the blocks, where points are in order.
    """

    order: Array
    points: Array
    norms: Array
    centres: Array
    single: Array
    single_norms: Array
    tree: Tree | None

    def in_blocks(self, x: Array, rest: float) -> Array:
        """A vector in this order, `rest` where the last block is filled up."""
        out = np.empty(self.norms.size)
        np.take(x, self.order, out=out[: self.order.size], mode="clip")  # the other modes take a copy first
        out[self.order.size :] = rest
        return out

    def from_blocks(self, x: Array, out: Array) -> None:
        """Write a vector, or rows, in the order of the user's points."""
        out[self.order] = x[: self.order.size]


class Cloud(NamedTuple):
    """Points of both sides, less `centre` and each in its unit, a power of 2.

    Distances of points in float32 have no centre: their coordinates are not rounded again, and neither are differences
    of near points.

    Costs are `power` times what `tiles` computes by `kind`, less `offset`; squared distances are computed from inner
    products, of which `factor` is 2. `pairs` are the blocks that passes over the plan read; None stands for all.
    """

    rows: Points
    cols: Points
    metric: Metric
    kind: int
    factor: float
    centre: Array
    units: tuple[float, float]
    offset: float
    pairs: Pairs | None = None

    @property
    def power(self) -> float:
        row, col = self.units
        return row if self.kind in (DISTANCE, ABSOLUTE) else row * col

    @property
    def cancels(self) -> bool:
        """Costs are differences of larger numbers, unless they are computed from differences of coordinates."""
        return self.metric == "sqeuclidean"

    def blocks_of(self, x: Array) -> Array:
        """Other points for rows, in their order, in the unit of rows and in blocks."""
        return by_coordinate(filled((_directions(x, self.metric) - self.centre) / self.units[0]))


def cloud(x: Array, y: Array, metric: Metric, ordered: bool = False) -> Cloud:
    (kind, factor), same = TILE_KINDS[metric], x is y
    sides = [_directions(z, metric) for z in ((x,) if same else (x, y))]
    centre = np.zeros(x.shape[1])
    exact = kind in (DISTANCE, ABSOLUTE) and x.dtype == y.dtype == np.float32  # in float32 only as they are
    if metric not in ("cosine", "dot") and not exact:  # differences do not change
        corners = [*(z.min(axis=0) for z in sides), *(z.max(axis=0) for z in sides)]
        centre = 0.5 * (np.min(corners, axis=0) + np.max(corners, axis=0))
    sizes = [float(np.abs(z - centre).max()) for z in sides]
    if metric != "dot":  # of inner products alone, each side may have a unit of its own
        sizes = [max(sizes)] * len(sizes)
    units = [2.0 ** int(np.frexp(size)[1]) if size > 0 else 1.0 for size in sizes]
    blocked = kind == PRODUCT and x.shape[1] <= FEW_COORDINATES
    found = [
        _points((z - centre) / unit, blocked, factor == 2.0, ordered) for z, unit in zip(sides, units, strict=True)
    ]
    offset = -1.0 if metric == "cosine" else 0.0
    return Cloud(found[0], found[-1], metric, kind, factor, centre, (units[0], units[-1]), offset)


def transposed(cloud: Cloud) -> Cloud:
    pairs = None if cloud.pairs is None else cloud.pairs.turned
    return cloud._replace(rows=cloud.cols, cols=cloud.rows, units=cloud.units[::-1], pairs=pairs)


def shifted(cloud: Cloud, offset: float) -> Cloud:
    return cloud._replace(offset=cloud.offset + offset)


def by_coordinate(x: Array) -> Array:
    """Numbers of points, as many as fill blocks: in every block coordinate after coordinate."""
    return np.ascontiguousarray(x.reshape(-1, BLOCK_POINTS, x.shape[-1]).transpose(0, 2, 1)).reshape(-1)


def _directions(x: Array, metric: Metric) -> Any:
    """Points in double precision; under "cosine" on the unit sphere."""
    x = np.asarray(x, np.float64)
    return x / np.linalg.norm(x, axis=1, keepdims=True) if metric == "cosine" else x


def ordered(cloud: Cloud) -> tuple[Cloud, Array, Array, Array, Array]:
    sides = cloud.rows, cloud.cols
    d, same = cloud.centre.size, cloud.rows is cloud.cols
    moved = [x._replace(order=np.arange(x.order.size)) for x in (sides[:1] if same else sides)]
    points = []
    for x, unit in zip(moved, cloud.units, strict=False):
        blocks = x.points.reshape(-1, d, BLOCK_POINTS).transpose(0, 2, 1).reshape(-1, d)[: x.order.size]
        points.append(blocks * unit + cloud.centre)
    found = cloud._replace(rows=moved[0], cols=moved[-1], pairs=None)
    return found, cloud.rows.order, cloud.cols.order, points[0], points[-1]


def _points(x: NDArray[np.float64], blocked: bool, squared: bool, ordered: bool) -> Points:
    few = x.shape[1] <= ORDERED_COORDINATES
    order = near_order(x) if few and not ordered else np.arange(x.shape[0])
    full = filled(x[order])
    blocks = full.reshape(-1, BLOCK_POINTS, x.shape[1])
    tree = tree_of(_folded(np.minimum, blocks), _folded(np.maximum, blocks)) if few else None
    centres = tree.centres[: len(blocks)] if blocked and tree is not None else np.empty((0, x.shape[1]))
    single = (blocks - centres[:, None] if blocked else blocks).astype(np.float32)
    norms = _norms(full, squared)
    rounded = norms if blocked else _norms(single.reshape(full.shape).astype(np.float64), squared)
    return Points(order, by_coordinate(full), norms, centres, by_coordinate(single), rounded, tree)


def _folded(pick: np.ufunc, blocks: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return pick.reduce over the points of each block: halves against each other are ten times as fast."""
    while blocks.shape[1] > 1:
        half = blocks.shape[1] // 2
        blocks = pick(blocks[:, :half], blocks[:, half:])
    return blocks[:, 0]


def filled(x: NDArray[Any]) -> NDArray[Any]:
    """Points with the last one repeated until blocks are full."""
    return np.concatenate([x, np.repeat(x[-1:], -x.shape[0] % BLOCK_POINTS, axis=0)])


def _norms(x: NDArray[np.float64], squared: bool) -> NDArray[np.float64]:
    return np.asarray(np.einsum("nd,nd->n", x, x)) if squared else np.zeros(x.shape[0])
