"""A strength of the entropy given as a fraction of the range of the costs, "0.05x": read, and made a number."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..arrays.devices import library_of, on_host
from ..arrays.ingest import as_array, as_numpy, beside
from ..distributed.ranks import ALONE, Ranks
from .base import Cost, is_cost
from .points import PointCloud, extent
from .scan import scan_cost

Range = tuple[Any, Any]
NO_RANGE: Range = (np.inf, -np.inf)  # the range of no entries


def fraction(text: str) -> float:
    """Return the number in front of the x; refuses other texts."""
    try:
        if text.endswith("x"):
            share = float(text[:-1])
            if 0.0 < share < math.inf:
                return share
    except ValueError:
        pass
    raise ValueError(
        f"epsilon is {text!r}; give a number in the units of the cost, or a fraction of their range such as '0.05x'"
    )


def absolute(epsilon: Any, cost: Any, mask: Any = None, lengths: tuple[Any, Any] = (None, None)) -> Any:
    """Return epsilon as it is, or a text's share of the range of the finite, allowed costs.

    Of a batch each problem's own, shape (...), of which `lengths` says how many rows and columns count. Costs that
    know bounds on their range, such as a `PointCloud`, are not looked at. What is no cost is left to those who refuse
    it.
    """
    if not isinstance(epsilon, str):
        return epsilon
    share = fraction(epsilon)
    low, high = _ranges(cost, mask, lengths)
    return of_range(epsilon, share, low, high)


def absolute_of_all(epsilon: Any, costs: Any) -> Any:
    """Return the same for one epsilon of many costs: a stack of them, one, or a list."""
    if not isinstance(epsilon, str):
        return epsilon
    share = fraction(epsilon)
    listed = isinstance(costs, list | tuple) and len(costs) > 0 and (is_cost(costs[0]) or np.ndim(costs[0]) == 2)
    found = [_ranges(cost, None, (None, None)) for cost in (costs if listed else [costs])]
    return of_range(epsilon, share, np.min([np.min(low) for low, _ in found]), np.max([np.max(x) for _, x in found]))


def absolute_of_ranks(epsilon: Any, cost: Any, mask: Any, ranks: Ranks = ALONE) -> Any:
    """Return the same where `cost` is the own rows of one, None without any, and others have the rest."""
    if not isinstance(epsilon, str):
        return epsilon
    share, (low, high) = fraction(epsilon), NO_RANGE
    with ranks.noting():
        low, high = NO_RANGE if cost is None else _ranges(cost, mask, (None, None))
    return of_range(epsilon, share, -ranks.most(-float(np.min(low))), ranks.most(float(np.max(high))))


def of_range(text: str, share: float, low: Any, high: Any) -> Any:
    """Return the share of a range, or of many; refuses one of no width. That of no costs is 1, which is as good."""
    low, high = np.asarray(low, np.float64), np.asarray(high, np.float64)
    none = ~(low <= high)
    width = np.where(none, 1.0 / share, np.where(none, 0.0, high) - np.where(none, 0.0, low))
    if not (width > 0).all():
        where = np.argwhere(~(width > 0))[0]
        of = f" of problem [{', '.join(map(str, where))}]" if width.ndim else ""
        raise ValueError(f"epsilon is {text!r}, and all finite costs{of} are equal; give a number")
    found = share * width
    return found if found.ndim else float(found)


def _ranges(cost: Any, mask: Any, lengths: tuple[Any, Any]) -> Range:
    """Return the least and the largest finite entry, or bounds on them, of one problem or of each."""
    counts = [None if x is None else as_numpy("lengths", x) for x in lengths]
    whole = all(count is None for count in counts)
    if is_cost(cost):
        return _of_cost(cost) if whole and not cost._batch else _each(cost, counts)
    array = as_array("cost", cost)
    if array.ndim < 2 or array.size == 0 or array.dtype.kind not in "fiub":
        return NO_RANGE
    allowed = None if mask is None else beside("mask", mask, array)
    if whole:
        return _of_array(array, allowed)
    if allowed is not None:
        array = library_of(array).where(allowed, array, np.inf)
    return _each(array, counts)


def _of_array(array: Any, allowed: Any = None) -> Range:
    """Of the last two dimensions."""
    xp = library_of(array)
    if allowed is None:
        low, high = _numbers(array.min(axis=(-2, -1))), _numbers(array.max(axis=(-2, -1)))
        if np.isfinite(low).all() and np.isfinite(high).all():
            return low, high
    inside = xp.isfinite(array) if allowed is None else xp.isfinite(array) & allowed
    low, high = xp.where(inside, array, np.inf), xp.where(inside, array, -np.inf)
    return _numbers(low.min(axis=(-2, -1))), _numbers(high.max(axis=(-2, -1)))


def _numbers(values: Any) -> Any:
    """On the host, in double precision."""
    return np.asarray(values if isinstance(values, np.generic) else on_host(values), np.float64)


def _of_cost(cost: Cost) -> Range:
    if isinstance(cost, PointCloud):
        cost._refuse_call()
        return _of_points(cost.x, cost.y, cost.metric)
    known = cost._known()
    if known is None:
        known = scan_cost(cost, np.ones(cost.shape[0], bool), np.ones(cost.shape[1], bool))
    return known.lowest, known.highest


def _of_points(x: Any, y: Any, metric: str) -> Range:
    return extent(x.astype(np.float64), y.astype(np.float64), metric)


def _each(costs: Any, counts: Sequence[Any]) -> Range:
    """Of every problem, with the rows and columns that count."""
    leading = costs._batch if is_cost(costs) else costs.shape[:-2]
    rows, cols = (size if x is None else x for size, x in zip(costs.shape[-2:], counts, strict=True))
    batch = np.broadcast_shapes(leading, np.shape(rows), np.shape(cols))
    rows, cols = np.broadcast_to(rows, batch), np.broadcast_to(cols, batch)
    if isinstance(costs, PointCloud):
        costs._refuse_call()
        x, y = (np.broadcast_to(z, (*batch, *z.shape[-2:])) for z in (costs.x, costs.y))
    elif is_cost(costs):  # one problem, which is said by those who refuse it
        return NO_RANGE
    else:
        stack = library_of(costs).broadcast_to(costs, (*batch, *costs.shape[-2:]))
    low, high = np.empty(batch), np.empty(batch)
    for k in np.ndindex(batch):
        n, m = int(rows[k]), int(cols[k])
        cloud = isinstance(costs, PointCloud)
        low[k], high[k] = _of_points(x[k][:n], y[k][:m], costs.metric) if cloud else _of_array(stack[k][:n, :m])
    return low, high
