"""The plan of a router: rows of k, columns that are drawn to their share of tokens, or to at most a capacity.

Where nothing differentiates the plan, two products of a matrix and a vector an iteration find it, in the library and
the precision of the logits. What that cannot hold, or does not end soon, is solved by the solver, and so is all that is
differentiated or traced.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from ..arrays.ingest import as_numpy
from ..problems.penalties import AtMost, Elastic
from .frameworks import home, is_constant, logs_and_potentials, namespace, on_host
from .marginals import is_array

PLAIN_ITERATIONS = 64  # after which the solver, which has other methods, begins anew
FIRST_LOOK = 3
PLAIN_RANGE = 1e12  # of scalings and sums: what float32 rounds to 0 is nothing beside them
HOST_ENTRIES = 1 << 13  # of logits; its calls cost less than torch's, and its BLAS takes one thread
PLAIN_ACCURACY = 8  # units of rounding: a tolerance below it needs float64


class RoutedPlan(NamedTuple):
    """A plan that chooses experts.

    Attributes
    ----------
    logs, plan : arrays, shape (..., T, E)
        The logarithm of the plan, and the plan. Padding has any logarithms.
    residual : array, shape (...)
        How far marginals would move under one more update of each side, as a share of the mass.
    """

    logs: Any
    plan: Any
    residual: Any


def routed_plan(
    logits: Any, k: int, valid: Any, lam: float | None, capacity: int | None, options: dict[str, Any]
) -> RoutedPlan:
    """The plan of these logits; options are those of a solve.

    Columns aim at T k / E with the elasticity `lam`, or hold at most `capacity` where that is given and `lam` is not.
    """
    found = None
    plain = is_constant(logits) and not is_array(options["epsilon"])
    if plain and options["tol"] >= PLAIN_ACCURACY * float(namespace(logits).finfo(logits.dtype).eps):
        with np.errstate(all="ignore"):  # what overflows is not returned
            found = _plainly(logits, k, valid, lam, capacity, options)
    return _solved(logits, _problem(logits, k, valid, lam, capacity), options) if found is None else found


class _Problem(NamedTuple):
    """Weights (..., T) and (..., E), their mass (...), and what columns are asked to be."""

    a: Any
    b: Any
    mass: Any
    cols: Elastic | AtMost


def _problem(logits: Any, k: int, valid: Any, lam: float | None, capacity: int | None) -> _Problem:
    xp = namespace(logits)
    a = k * xp.ones_like(logits[..., 0])
    if valid is not None:
        a = xp.where(valid, a, xp.zeros_like(a))
    mass = k * logits.shape[-2] * xp.ones_like(logits[..., 0, 0]) if valid is None else xp.sum(a, axis=-1)
    cols: Elastic | AtMost = Elastic(1.0 if lam is None else lam)
    share = mass / logits.shape[-1]
    if lam is None and capacity is not None:
        cols, share = AtMost(), capacity * xp.ones_like(mass)
    return _Problem(a, share[..., None] * xp.ones_like(logits[..., 0, :]), mass, cols)


def _plainly(
    logits: Any, k: int, valid: Any, lam: float | None, capacity: int | None, options: dict[str, Any]
) -> RoutedPlan | None:
    """By scalings, in NumPy where that is faster."""
    host = on_host(logits) if math.prod(logits.shape) <= HOST_ENTRIES else None
    if host is None:
        return _by_scalings(logits, k, _problem(logits, k, valid, lam, capacity), options)
    valid = None if valid is None else as_numpy("mask", valid)
    found = _by_scalings(host, k, _problem(host, k, valid, lam, capacity), options)
    return None if found is None else RoutedPlan(*(namespace(logits).asarray(x, **home(logits)) for x in found))


def _by_scalings(logits: Any, k: int, problem: _Problem, options: dict[str, Any]) -> RoutedPlan | None:
    """By Sinkhorn's iteration on exp(logits / epsilon); None if that is not enough."""
    xp, (a, b, mass, cols) = namespace(logits), problem
    logs = logits - xp.max(logits, axis=-1, keepdims=True)
    if options["epsilon"] != 1:
        logs /= options["epsilon"]
    kernel, v = xp.exp(logs), xp.ones_like(b)
    turned = xp.matrix_transpose(kernel)
    for step in range(min(options["max_iter"], PLAIN_ITERATIONS)):
        row = _product(kernel, v)
        u = a / row
        col = _product(turned, u)
        new = b / col
        if isinstance(cols, AtMost):
            new = xp.minimum(new, xp.ones_like(new))
        elif cols.lam < 1:
            new = new**cols.lam
        if step < FIRST_LOOK:  # to look takes as long as an iteration of small problems
            v = new
            continue
        residual = _product(col[..., None, :], abs(new - v))[..., 0] / mass
        worst = float(residual if residual.ndim == 0 else xp.max(residual))
        if not worst > options["tol"]:
            break
        v = new
    else:
        return None
    least = min(float(xp.min(row)), float(xp.min(v)))  # no row is above the sum of v
    if not (worst >= 0 and least * PLAIN_RANGE > 1 and float(xp.max(v)) < PLAIN_RANGE):
        return None  # nan, too
    logs += xp.log(v)[..., None, :]
    logs += (math.log(k) - xp.log(row))[..., None]
    kernel *= v[..., None, :]
    kernel *= u[..., None]
    return RoutedPlan(logs, kernel, residual)


def _product(matrix: Any, vector: Any) -> Any:
    return matrix @ vector if vector.ndim == 1 else (matrix @ vector[..., None])[..., 0]


def _solved(logits: Any, problem: _Problem, options: dict[str, Any]) -> RoutedPlan:
    """By the solver, with derivatives."""
    xp, (a, b, mass, cols) = namespace(logits), problem
    logs, _, g = logs_and_potentials(-logits, a, b, cols=cols, reference="counting", end="rows", **options)
    epsilon = options["epsilon"]
    plan, g = xp.exp(logs), g / (epsilon[..., None] if is_array(epsilon) else epsilon)
    row, col = xp.sum(plan, axis=-1), xp.sum(plan, axis=-2)
    # how far an exact update of the columns would move g; -inf where a column has less mass than a number can say
    short = xp.log(b) - xp.log(xp.where(col > 0, col, xp.ones_like(col)))
    move = xp.minimum(short, -g) if isinstance(cols, AtMost) else cols.lam * short - (1 - cols.lam) * g
    moved = xp.sum(xp.abs(row - a), axis=-1) + xp.sum(col * xp.abs(xp.exp(move) - 1), axis=-1)
    return RoutedPlan(logs, plan, moved / mass)
