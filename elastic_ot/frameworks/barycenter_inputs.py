"""What differentiable barycenters are given: options checked, shapes that have to fit; for PyTorch and JAX alike."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from ..costs.grid import Grid
from ..costs.points import PointCloud
from ..costs.relative import absolute
from .calls import CORE
from .options import TOL, Shape, check_rho, joined, plain, refuse_text

BARYCENTER_OPTIONS = ("rows", "method", "tol", "max_iter", "time_limit", "on_failure")
STACKED = (
    "costs is a list; stack what it holds, shape (K, n, m): where measures have fewer points, fill up with weights 0"
)


class Places(NamedTuple):
    """Where costs come from: kind and names of `barycenters.COST_KINDS`, the arrays, and what the host must know."""

    kind: str
    names: tuple[str, ...]
    arrays: tuple[Any, ...]
    told: dict[str, Any]
    n: int
    m: int


def places_of(costs: Any, array_of: Any) -> Places:
    """Return the places of costs; ``array_of(name, values)`` checks an array or makes it."""
    if isinstance(costs, list | tuple):
        raise TypeError(STACKED)
    if isinstance(costs, PointCloud):
        x, y = (array_of(name, z) for name, z in zip(("x", "y"), costs.given, strict=True))
        x = x[None] if x.ndim == 2 else x
        told = {"metric": costs.metric}
        return Places("clouds", ("xs", "support"), (x, y), told, int(x.shape[-2]), int(y.shape[-2]))
    if isinstance(costs, Grid):
        n, m = costs.shape
        axes, columns = array_of("axes", np.concatenate([c.ravel() for c in costs.matrices])), np.zeros(m)
        told = {"grid": ",".join(f"{c.shape[0]}x{c.shape[1]}" for c in costs.matrices)}
        return Places("grid", ("axes", "columns"), (axes, array_of("columns", columns)), told, n, m)
    matrix = array_of("costs", costs)
    if matrix.ndim < 2 or 0 in matrix.shape:
        raise ValueError(f"costs has shape {tuple(matrix.shape)}; it must be (n, m), or (..., K, n, m)")
    matrix = matrix[None] if matrix.ndim == 2 else matrix
    return Places("matrix", ("costs",), (matrix,), {}, int(matrix.shape[-2]), int(matrix.shape[-1]))


def strength_of_all(epsilon: Any, costs: Any, places: Places, strength_of: Callable[[str, Any], Any]) -> Any:
    """Return epsilon as it is, or a text's share of the range of the costs of all measures together.

    Of a batch every problem has its own; ``strength_of(text, matrices)`` makes them in the library of the arrays.
    """
    if not isinstance(epsilon, str):
        return epsilon
    if places.kind == "grid":
        return absolute(epsilon, costs)
    if places.kind == "clouds":
        refuse_text(epsilon)
    (matrix,) = places.arrays
    *batch, count, n, m = matrix.shape
    return strength_of(epsilon, matrix.reshape((*batch, count * n, m)))


def flat_measures(costs: Any, measures: Any, n: int) -> Any:
    """Return measures (..., K, n); those of a `Grid` may have its shape."""
    shape = tuple(measures.shape)
    if isinstance(costs, Grid):
        own = costs.shape_x
        if len(own) > 1 and shape[-len(own) :] == tuple(own):
            measures = measures.reshape((*shape[: -len(own)], n))
    if measures.ndim < 2 or measures.shape[-1] != n:
        raise ValueError(f"measures has shape {shape}; with these costs it must be (..., K, {n})")
    return measures


def check_fit(
    places: Places, measures: Shape, weights: Shape, numbers: Mapping[str, Shape]
) -> tuple[tuple[int, ...], int]:
    """Return the leading dimensions of a call and K; refuse shapes that do not fit, by name."""
    count, batch = int(measures[-2]), tuple(measures[:-2])
    first = tuple(places.arrays[0].shape)
    if places.kind != "grid" and first[-3] not in (1, count):
        name = "costs" if places.kind == "matrix" else "x"
        raise ValueError(
            f"{name} has shape {first} and measures {tuple(measures)}; there must be one for all measures or one for "
            f"each of the {count}"
        )
    if tuple(weights[-1:]) != (count,):
        raise ValueError(f"weights has shape {tuple(weights)}; it must be (..., {count}), one for each measure")
    leading = {"weights": weights[:-1], **numbers}
    leading |= {name: x.shape[: x.ndim - len(CORE[name])] for name, x in zip(places.names, places.arrays, strict=True)}
    for name, shape in leading.items():
        if not all(x == y or 1 in (x, y) for x, y in zip(reversed(shape), reversed(batch), strict=False)):
            raise ValueError(f"{name} has leading dimensions {tuple(shape)}, which do not broadcast with {batch}")
        batch = joined(shape, batch)
    return batch, count


def plain_options(options: Mapping[str, Any], row_rho: Any, told: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options of a call, checked, as names and texts."""
    if options.get("debiased", False) is not False:
        raise ValueError("debiased barycenters are fixed points without derivatives; call elastic_ot.barycenter")
    for name in options:
        if name in ("init", "callback"):
            raise ValueError(f"{name} is not for differentiable barycenters; call elastic_ot.barycenter")
        if name not in (*BARYCENTER_OPTIONS, "debiased"):
            raise TypeError(f"there is no option {name!r}; options are {', '.join(BARYCENTER_OPTIONS)}")
    given = {name: value for name, value in options.items() if name != "debiased"}
    return plain({**check_rho({"tol": TOL, **given}, row_rho, None), **told})


def expanded(places: Places, batch: Sequence[int], expand: Any) -> tuple[Any, ...]:
    """Return the places with these leading dimensions."""
    pairs = zip(places.names, places.arrays, strict=True)
    return tuple(expand(x, (*batch, *x.shape[x.ndim - len(CORE[name]) :])) for name, x in pairs)
