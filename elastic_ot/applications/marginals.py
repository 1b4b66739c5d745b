"""What attention asks of rows and columns: weights under masks, elasticity as options of a solve, a null key."""

from __future__ import annotations

import numbers
from typing import Any, NamedTuple

import numpy as np

from ..frameworks.dispatch import is_torch
from ..problems.penalties import KL, Elastic
from .arguments import positive
from .frameworks import differentiable, has_namespace, namespace, traced

RESERVOIR = 1e12
"""Weight of the row that holds a null key's column, in queries: the column is free to one part in this."""


class Targets(NamedTuple):
    """Weights of a problem.

    Attributes
    ----------
    a, b : arrays, shapes (..., n) and (..., m)
    mask : array of bool or None
        What is allowed; everything in a problem where nothing was.
    empty : array of bool, shape (..., 1, 1), or None
        The problems where nothing was.
    """

    a: Any
    b: Any
    mask: Any
    empty: Any


def targets(scores: Any, b: Any = None, mask: Any = None) -> Targets:
    """Rows of 1 and, unless `b` is given, equal columns; 0 where no pair is allowed."""
    xp = namespace(scores)
    n, m = scores.shape[-2:]
    b = None if b is None else in_library(b, scores)
    if mask is None:
        a = xp.asarray(np.ones(n))
        return Targets(a, xp.asarray(np.full(m, n / m)) if b is None else b, None, None)
    mask, wide = checked_mask(mask, scores), xp.asarray(np.ones(1))
    empty = ~xp.any(mask, axis=(-2, -1), keepdims=True)
    mask = mask | empty
    rows = xp.astype(xp.any(mask, axis=-1), wide.dtype) * xp.ones((n,), dtype=wide.dtype)
    cols = xp.astype(xp.any(mask, axis=-2), wide.dtype) * xp.ones((m,), dtype=wide.dtype)
    if b is None:
        b = cols * (xp.sum(rows, axis=-1, keepdims=True) / xp.sum(cols, axis=-1, keepdims=True))
    else:
        b = xp.where(cols > 0, b, xp.zeros_like(b))
    return Targets(rows, b, mask, empty)


def checked_mask(mask: Any, scores: Any) -> Any:
    """`mask` in the library of the scores, with at least two dimensions; refuses what does not broadcast to them."""
    xp = namespace(scores)
    mask = in_library(mask, scores)
    if not xp.isdtype(mask.dtype, "bool"):
        raise TypeError(f"mask has dtype {mask.dtype}; it must be bool (True = may attend)")
    shape, wanted = tuple(mask.shape), tuple(scores.shape)
    try:
        fits = np.broadcast_shapes(shape, wanted)[-2:] == wanted[-2:]
    except ValueError:
        fits = False
    if not fits:
        raise ValueError(f"mask has shape {shape} and the scores {wanted}; it must broadcast to that")
    return xp.reshape(mask, (1,) * (2 - mask.ndim) + shape) if mask.ndim < 2 else mask


def columns(lam: Any, rho: Any, epsilon: Any, like: Any) -> dict[str, Any]:
    """Options of a solve with `Elastic(lam)` or `KL(rho)` columns; strengths that are arrays may carry gradients."""
    if (lam is None) == (rho is None):
        both = "both are" if lam is not None else "neither is"
        raise ValueError(f"give lam or rho, the elasticity of the columns; {both} given")
    name, value = ("lam", lam) if rho is None else ("rho", rho)
    if not is_array(value) or differentiable(like) is None:
        return {"cols": Elastic(value) if rho is None else KL(value)}
    value = in_library(value, like)
    check_range(name, value, 1.0 if rho is None else np.inf)
    if rho is None:
        value = epsilon * value / (1.0 - value)
    return {"cols": KL(1.0), "col_rho": value}


def exponent(lam: Any, rho: Any, epsilon: Any, like: Any) -> Any:
    """The exponent tau = rho / (rho + epsilon) of the column update, (..., 1, 1) where it is an array."""
    chosen = columns(lam, rho, epsilon, like)
    xp = namespace(like)
    if "col_rho" in chosen:
        tau = chosen["col_rho"] / (chosen["col_rho"] + epsilon)
    elif rho is None:
        tau = xp.asarray(chosen["cols"].lam, dtype=like.dtype)
    else:
        rho = np.asarray(chosen["cols"].rho)
        tau = xp.asarray(np.where(np.isinf(rho), 1.0, 0.0), dtype=like.dtype)
        finite = xp.asarray(np.where(np.isinf(rho), 0.0, rho), dtype=like.dtype)
        tau = tau + finite / (finite + epsilon)
    return tau[..., None, None]


def in_library(values: Any, like: Any) -> Any:
    """`values` as an array of the library of `like`. Its own arrays are left alone: `asarray` may drop gradients."""
    plain = isinstance(values, int | float)
    kept = is_torch(values) or not (plain or isinstance(values, np.ndarray | np.generic) or not has_namespace(values))
    return values if kept else namespace(like).asarray(np.asarray(values))


def is_array(value: Any) -> bool:
    """False for numbers, NumPy's included; sequences become arrays."""
    return not isinstance(value, numbers.Real)


def temperature(epsilon: Any, like: Any) -> Any:
    """A finite number > 0, or an array of them in the library of `like`."""
    if isinstance(epsilon, str):
        raise TypeError(f"epsilon is {epsilon!r}, and here it is the temperature of scores; give a number")
    if isinstance(epsilon, list | tuple) or (is_array(epsilon) and has_namespace(epsilon)):
        epsilon = in_library(epsilon, like)
    return positive("epsilon", epsilon)


def per_entry(epsilon: Any) -> Any:
    """A temperature as it divides entries (..., n, m)."""
    return epsilon[..., None, None] if is_array(epsilon) else epsilon


def check_range(name: str, values: Any, below: float) -> None:
    """Refuses strengths outside [0, below)."""
    if traced(values):
        return
    xp = namespace(values)
    if not bool(xp.all((values >= 0) & (values < below))):
        limit = f"< {below:g}" if below < np.inf else "finite"
        raise ValueError(f"{name} is {values}; an array of them must be >= 0 and {limit}, a number may be {below:g}")


def with_null_key(cost: Any, null_score: Any, b: Any, mask: Any) -> tuple[Any, Any, Any]:
    """Cost, a and b of the problem with one more key, allowed to all at the score `null_score`, whose column is free.

    All columns of a solve have the same elasticity, so the freedom comes from a reservoir: one more row, allowed in the
    null column alone, of a weight M that no query notices. The column's target is M and what is left of the queries;
    its potential is then rho log(target / column sum) = O(rho n / M), that of a free column.
    """
    xp = namespace(cost)
    n, m = cost.shape[-2:]
    wide = xp.asarray(np.ones(1))
    b = None if b is None else in_library(b, cost)
    if mask is not None:
        mask = checked_mask(mask, cost)
    if b is None:
        b = _equal_columns(xp, wide, n, m, mask)
    elif mask is not None:
        b = xp.where(xp.any(mask, axis=-2), b, xp.zeros_like(b))
    reservoir = RESERVOIR * n
    left = reservoir + n - xp.sum(b, axis=-1, keepdims=True)
    b = xp.concat([b, xp.astype(left, b.dtype)], axis=-1)
    a = xp.asarray(np.append(np.ones(n), reservoir))
    if mask is not None:
        cost = xp.where(mask, cost, xp.full((), xp.inf, dtype=cost.dtype))
    null = -xp.astype(in_library(null_score, cost), cost.dtype)[..., None, None]
    lead = np.broadcast_shapes(tuple(cost.shape[:-2]), tuple(null.shape[:-2]))
    cost = xp.concat([xp.broadcast_to(cost, (*lead, n, m)), xp.broadcast_to(null, (*lead, n, 1))], axis=-1)
    last = np.append(np.full(m, np.inf), 0.0)
    last = xp.broadcast_to(xp.asarray(last, dtype=cost.dtype), (*lead, 1, m + 1))
    return xp.concat([cost, last], axis=-2), a, b


def _equal_columns(xp: Any, wide: Any, n: int, m: int, mask: Any) -> Any:
    if mask is None:
        return xp.asarray(np.full(m, n / m))
    cols = xp.astype(xp.any(mask, axis=-2), wide.dtype) * xp.ones((m,), dtype=wide.dtype)
    return cols * (n / xp.maximum(xp.sum(cols, axis=-1, keepdims=True), wide))
