"""Divergences of many pairs of measures: their leading dimensions, and one result for each."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from ..arrays.ingest import as_array, as_numpy
from ..costs.base import is_cost
from ..costs.point_stack import stack_of
from ..costs.points import PointCloud
from ..errors import report_failure
from ..problems.mixed import penalty_of, strength_name, strength_shape
from ..problems.penalty import Penalty

if TYPE_CHECKING:
    from ..solutions.divergence import Divergence
from ..solutions.batch_divergence import BatchDivergence, unconverged

OWN_DIMENSIONS = {"cost_xy": 2, "cost_xx": 2, "cost_yy": 2, "a": 1, "b": 1, "epsilon": 0}  # dimensions of one problem


def batch_shape(rows: Any, cols: Any, **arrays: Any) -> tuple[int, ...]:
    """The leading dimensions of all arguments, which broadcast; () for one pair."""
    shapes = {name: _leading(name, values) for name, values in arrays.items() if values is not None}
    for name, penalty in (("rows", rows), ("cols", cols)):
        if isinstance(penalty, Penalty) and strength_shape(penalty):
            shapes[f"the {strength_name(penalty)} of {name}"] = strength_shape(penalty)
    found: tuple[int, ...] = ()
    for name, shape in shapes.items():
        if 0 in shape:
            raise ValueError(f"{name} has leading dimensions {shape}; none of them may be 0")
        try:
            found = np.broadcast_shapes(found, shape)
        except ValueError:
            raise ValueError(
                f"{name} has leading dimensions {shape} and what stands before it {found}; they must broadcast"
            ) from None
    return found


def divergences(
    solve: Callable[..., Divergence],
    batch: tuple[int, ...],
    arrays: dict[str, Any],
    rows: Penalty,
    cols: Penalty,
    options: dict[str, Any],
    time_limit: float | None,
    on_failure: str,
) -> BatchDivergence:
    """One after the other by `solve`, with the bits of a loop; one warning or error for all of them."""
    began = time.perf_counter()
    for values in arrays.values():
        if isinstance(values, PointCloud) and values._batch:
            stack_of(values, values._batch)  # refuses wrong points by their index among all
    pairs = np.empty(batch, dtype=object)
    for k, index in enumerate(np.ndindex(batch)):
        given = {name: _part(name, values, index) for name, values in arrays.items()}
        left = None if time_limit is None else max(time_limit - (time.perf_counter() - began), 1e-3)
        sides = {"rows": penalty_of(rows, batch, k), "cols": penalty_of(cols, batch, k)}
        try:
            pairs[index] = solve(**given, **sides, **options, time_limit=left, on_failure="ignore")
        except (ValueError, TypeError) as error:
            raise type(error)(f"problem [{', '.join(map(str, index))}]: {error}") from None
    found = BatchDivergence(pairs)
    if not found.converged.all():
        report_failure(f"{unconverged(found)} did not converge", on_failure)
    return found


def _leading(name: str, values: Any) -> tuple[int, ...]:
    shape = tuple(values.shape) if hasattr(values, "shape") else as_array(name, values).shape
    return shape[: max(len(shape) - OWN_DIMENSIONS[name], 0)]


def _part(name: str, values: Any, index: tuple[int, ...]) -> Any:
    """What belongs to one pair, in its own library."""
    if values is None:
        return None
    if name == "epsilon":
        values = as_numpy(name, values)
    elif is_cost(values):
        own = _index(values._batch, index)
        return values[own] if own and isinstance(values, PointCloud) else values
    elif not hasattr(values, "shape"):
        values = as_array(name, values)
    own = _index(_leading(name, values), index)
    part = values[(*own, ...)] if own else values
    return part[()] if name == "epsilon" else part


def _index(leading: tuple[int, ...], index: tuple[int, ...]) -> tuple[int, ...]:
    """Return the index of a pair in leading dimensions that are broadcast."""
    return tuple(0 if size == 1 else i for i, size in zip(index[len(index) - len(leading) :], leading, strict=True))
