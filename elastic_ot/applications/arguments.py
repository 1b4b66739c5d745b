"""Arguments of applications, refused by name: shapes, libraries and dtypes always, numbers where they are known.

Under `jax.jit`, `vmap`, `torch.compile` and the like the numbers are not known yet; then these checks pass, and the
solver's own remain.
"""

from __future__ import annotations

import math
import numbers
from typing import Any

import numpy as np

from .frameworks import detached, device_of, has_namespace, namespace, real, traced


def vectors(name: str, values: Any) -> Any:
    """Finite real numbers, shape (..., n), n >= 1."""
    values = real(name, values)
    if values.ndim < 1 or 0 in values.shape:
        raise ValueError(f"{name} has shape {tuple(values.shape)}; it must be (..., n), and none of these may be 0")
    return finite(name, values)


def matrices(name: str, values: Any, shape: str = "(..., n, d)") -> Any:
    """Finite real numbers with at least two dimensions, none of them 0."""
    values = real(name, values)
    if values.ndim < 2 or 0 in values.shape:
        raise ValueError(f"{name} has shape {tuple(values.shape)}; it must be {shape}, and none of these may be 0")
    return finite(name, values)


def square(name: str, values: Any, allow_minus_inf: bool = False) -> Any:
    """Finite real numbers, or also -inf, shape (..., n, n)."""
    values = real(name, values)
    if values.ndim < 2 or values.shape[-1] != values.shape[-2] or 0 in values.shape:
        raise ValueError(f"{name} has shape {tuple(values.shape)}; it must be (..., n, n), and none of these may be 0")
    return below_inf(name, values) if allow_minus_inf else finite(name, values)


def finite(name: str, values: Any) -> Any:
    """`values`, refused with the index of the first nan or inf."""
    xp = namespace(values)
    if not math.isfinite(_number(xp.sum(detached(values)))):  # a sum of numbers may overflow
        _refuse(name, values, ~xp.isfinite(values), "must be finite")
    return values


def _number(value: Any) -> float:
    """The number of a scalar array; nan if it is not known yet."""
    try:
        return math.nan if traced(value) else float(value)
    except RuntimeError:  # of torch.func
        return math.nan


def below_inf(name: str, values: Any) -> Any:
    """`values`, refused with the index of the first nan or +inf; -inf forbids."""
    xp = namespace(values)
    if 0 not in values.shape and not _number(xp.max(detached(values))) < math.inf:
        _refuse(name, values, xp.isnan(values) | (values == xp.inf), "must be numbers or -inf")
    return values


def at_least_0(name: str, values: Any) -> Any:
    """`values`, refused with the index of the first that is not a number >= 0."""
    xp = namespace(values)
    _refuse(name, values, ~xp.isfinite(values) | (values < 0), "must be finite and >= 0")
    return values


def in_unit_interval(name: str, values: Any) -> Any:
    """`values`, refused with the index of the first outside [0, 1]."""
    _refuse(name, values, ~((values >= 0) & (values <= 1)), "must lie in [0, 1]")
    return values


def positive(name: str, value: Any, or_zero: bool = False) -> Any:
    """A number > 0 (or >= 0), or an array of such, which may carry derivatives."""
    number = isinstance(value, int | float)  # asked first: what torch.compile makes of numbers is not to be asked more
    if not number and has_namespace(value) and not isinstance(value, np.generic):
        good = (value >= 0) if or_zero else (value > 0)
        _refuse(name, value, ~(good & namespace(value).isfinite(value)), f"must be finite and {_sign(or_zero)}")
        return value
    return positive_number(name, value, or_zero)


def positive_number(name: str, value: Any, or_zero: bool = False) -> Any:
    """A number > 0 (or >= 0), and no array."""
    what = _sign(or_zero)
    if isinstance(value, bool | np.bool_) or not isinstance(value, numbers.Real):
        way_out = ", say of a schedule at a step: schedule(step)" if callable(value) else ""
        raise TypeError(f"{name} is {value!r}; it must be a number {what}{way_out}")
    if not (0 <= float(value) if or_zero else 0 < float(value)) or not float(value) < np.inf:
        raise ValueError(f"{name} is {value!r}; it must be finite and {what}")
    return value


def _sign(or_zero: bool) -> str:
    return ">= 0" if or_zero else "> 0"


def count(name: str, value: Any, least: int = 1) -> int:
    """An integer >= least."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < least:
        raise ValueError(f"{name} is {value!r}; it must be an integer >= {least}")
    return int(value)


def per_problem(name: str, values: Any, like: Any) -> Any:
    """`values` for each of the problems `like` (..., m, n): broadcast to shape (...)."""
    try:
        return namespace(like).broadcast_to(values, like.shape[:-2])
    except (ValueError, RuntimeError):
        raise ValueError(
            f"{name} has shape {tuple(values.shape)}; it must be a number or one for every problem, "
            f"shape {tuple(like.shape[:-2])}"
        ) from None


def within_lengths(name: str, lengths: Any, like: Any, size: int) -> tuple[Any, Any]:
    """Which of `size` items are no padding, shape (..., size), and how many, shape (...), of the problems `like`."""
    xp, device = namespace(like), device_of(like)
    positions = xp.arange(size, device=device)
    if lengths is None:
        full = xp.broadcast_to(positions >= 0, (*like.shape[:-2], size))
        return full, size * xp.ones(like.shape[:-2], dtype=like.dtype, device=device)
    lengths = xp.asarray(lengths, device=device)
    if not xp.isdtype(lengths.dtype, "integral"):
        raise TypeError(f"{name} has dtype {lengths.dtype}; it must hold integers")
    lengths = per_problem(name, lengths, like)
    if not traced(lengths) and bool(xp.any((lengths < 0) | (lengths > size))):
        raise ValueError(f"{name} has lengths from {int(xp.min(lengths))} to {int(xp.max(lengths))}; 0 to {size} exist")
    return positions < lengths[..., None], xp.astype(lengths, like.dtype)


def alike(**arrays: Any) -> None:
    """Refuse arrays of different libraries or dtypes; None goes with all."""
    (leader, first), *others = ((name, x) for name, x in arrays.items() if x is not None)
    for name, x in others:
        if _library(x) != _library(first):
            raise TypeError(f"{leader} is a {_kind(first)} and {name} a {_kind(x)}; arrays must come from one library")
        if x.dtype != first.dtype:
            raise TypeError(f"{leader} has dtype {first.dtype} and {name} {x.dtype}; convert one of them")


def _library(values: Any) -> Any:
    return namespace(values).__name__


def _kind(values: Any) -> str:
    return f"{type(values).__module__}.{type(values).__name__}"


def first(bad: Any) -> tuple[int, ...] | None:
    """The index of the first True; None if there is none, or the numbers are not known yet."""
    if traced(bad):
        return None
    bad = detached(bad)
    xp = namespace(bad)
    try:
        if not bool(xp.any(bad)):
            return None
    except RuntimeError:  # of torch.func
        return None
    place = int(xp.argmax(xp.astype(xp.reshape(bad, (-1,)), xp.int32)))
    return tuple(int(i) for i in np.unravel_index(place, tuple(bad.shape)))


def _refuse(name: str, values: Any, bad: Any, rule: str) -> None:
    index = first(bad)
    if index is None:
        return
    where = f"{name}[{', '.join(map(str, index))}]" if index else name
    raise ValueError(f"{where} is {float(detached(values)[index]):g}; {'values' if index else 'it'} {rule}")
