"""Lists of problems, of one size or of many, as one batch: padded, with the sizes that each of them has."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, TypeGuard

import numpy as np
from numpy.typing import NDArray

from ..arrays.ingest import as_numpy
from ..arrays.libraries import is_foreign, namespace_of
from ..arrays.padding import filled
from ..costs.base import is_cost
from ..costs.points import PointCloud


class Padded(NamedTuple):
    """One batch of a list: arrays with what is beyond the lengths 0, and lengths that are None where all are alike."""

    cost: Any
    a: Any
    b: Any
    mask: Any
    row_lengths: NDArray[np.int64] | None
    col_lengths: NDArray[np.int64] | None


def is_list(cost: Any) -> TypeGuard[Sequence[Any]]:
    """Return True for a list of problems: of matrices or costs, not of the rows of one matrix."""
    if type(cost) is np.ndarray or not isinstance(cost, list | tuple) or not cost:  # arrays are told soonest
        return False
    first = cost[0]
    if is_cost(first) or hasattr(first, "shape"):
        return is_cost(first) or len(first.shape) == 2
    inner = first[0] if isinstance(first, list | tuple) and first else None
    return isinstance(inner, list | tuple) and bool(inner) and not isinstance(inner[0], list | tuple)


def padded(costs: Sequence[Any], a: Any, b: Any, mask: Any, lengths: tuple[Any, Any] = (None, None)) -> Padded:
    """Return the batch; what is not a list, of weights and masks, is one for all."""
    for name, given in zip(("row_lengths", "col_lengths"), lengths, strict=True):
        if given is not None:
            raise ValueError(f"{name} is given and cost is a list, whose matrices say how large they are; leave it out")
    if is_cost(costs[0]):
        cost, shapes = _padded_clouds(costs)
    else:
        matrices = [_matrix(k, matrix) for k, matrix in enumerate(costs)]
        shapes = [matrix.shape for matrix in matrices]
        cost = _in_library(filled(matrices), costs[0])
    rows, cols = (np.array(sizes, np.int64) for sizes in zip(*shapes, strict=True))
    return Padded(
        cost,
        _weights("a", a, rows, "rows"),
        _weights("b", b, cols, "columns"),
        _masks(mask, shapes),
        None if (rows == rows[0]).all() else rows,
        None if (cols == cols[0]).all() else cols,
    )


def part(name: str, values: Any, rank: int, k: int, count: int) -> Any:
    """Return what problem k has of an argument of this rank, of which there is one for each, or one for all."""
    own = next((x for x in values if x is not None), None) if isinstance(values, list | tuple) else None
    listed = own is not None and np.ndim(own) == rank
    if not listed and getattr(values, "ndim", 0) != rank + 1:
        return values
    if len(values) != count:
        raise ValueError(f"{name} is a list of {len(values)} for {count} problems; give one for each, or one for all")
    return values[k]


def _matrix(k: int, given: Any) -> NDArray[Any]:
    matrix = as_numpy(f"cost[{k}]", given)
    if matrix.ndim != 2 or matrix.size == 0:
        raise ValueError(f"cost[{k}] has shape {matrix.shape}; each of a list must be a matrix (n, m)")
    return matrix


def _padded_clouds(clouds: Sequence[Any]) -> tuple[PointCloud, list[tuple[int, ...]]]:
    for k, cloud in enumerate(clouds):
        if not isinstance(cloud, PointCloud) or cloud._batch or cloud.metric != clouds[0].metric:
            shown = repr(cloud) if is_cost(cloud) else f"a {type(cloud).__name__}"
            raise ValueError(f"cost[{k}] is {shown}; a list of costs is one of PointClouds with one metric")
    x, y = (filled([getattr(cloud, name) for cloud in clouds]) for name in "xy")
    return PointCloud(x, y, clouds[0].metric), [cloud.shape for cloud in clouds]


def _in_library(values: NDArray[Any], like: Any) -> Any:
    if not is_foreign(like) or isinstance(like, np.ndarray):
        return values
    return namespace_of(like).asarray(values, device=getattr(like, "device", None))


def _weights(name: str, given: Any, sizes: NDArray[np.int64], what: str) -> Any:
    if not isinstance(given, list | tuple):
        return given
    vectors = []
    for k, size in enumerate(sizes.tolist()):
        own = part(name, given, 1, k, sizes.size)
        vector = np.full(size, 1.0 / size) if own is None else as_numpy(f"{name}[{k}]", own)
        if vector.shape != (size,):
            raise ValueError(f"{name}[{k}] has shape {vector.shape}, cost[{k}] has {size} {what}; they must agree")
        vectors.append(vector)
    return _in_library(filled(vectors), next((x for x in given if x is not None), None))


def _masks(given: Any, shapes: Sequence[tuple[int, ...]]) -> Any:
    if not isinstance(given, list | tuple):
        return given
    masks = []
    for k, shape in enumerate(shapes):
        own = part("mask", given, 2, k, len(shapes))
        mask = np.ones(shape, bool) if own is None else as_numpy(f"mask[{k}]", own)
        if mask.shape != shape:
            raise ValueError(f"mask[{k}] has shape {mask.shape}, cost[{k}] has shape {shape}; they must be equal")
        masks.append(mask)
    return _in_library(filled(masks), next((x for x in given if x is not None), None))
