"""The solve behind attention weights: how long, with which gradient, under which mask."""

from __future__ import annotations

from typing import Any

from ..frameworks.options import Grad
from .arguments import count
from .frameworks import differentiable, half_steps, namespace, plan, potentials, real, softmax
from .marginals import per_entry, targets, with_null_key


def budget(n_half_steps: int | None, iterations: int, tol: float | None, grad: Grad | None) -> dict[str, Any]:
    """Options of a solve: so many half steps, iterations that end on the rows, or a tolerance; and its gradient."""
    if tol is not None:
        if n_half_steps is not None:
            raise ValueError(f"tol is {tol} and n_half_steps {n_half_steps}; give one of them")
        if grad == "unroll":
            raise ValueError("grad='unroll' differentiates a number of iterations; leave tol out, or use 'implicit'")
        return {"tol": tol, "end": "rows", "grad": grad or "implicit"}
    if grad == "implicit":
        raise ValueError("grad='implicit' differentiates a converged solution; ask for one by tol (n_half_steps=None)")
    if n_half_steps is None:
        count("iterations", iterations)
        n_half_steps = 2 * iterations - 1
    options = half_steps(n_half_steps)
    if grad == "detach" and options["end"] == "cols":
        raise ValueError(f"grad='detach' ends on the rows; n_half_steps is {n_half_steps}, make it odd")
    return {**options, "grad": grad or "unroll"}


def score_matrix(scores: Any) -> Any:
    """Scores as an array of real numbers with at least two dimensions, none of them empty."""
    scores = real("scores", scores)
    if scores.ndim < 2 or 0 in scores.shape[-2:]:
        raise ValueError(f"scores has shape {tuple(scores.shape)}; it must be (..., n, m)")
    return scores


def weights_of(
    cost: Any, epsilon: Any, elastic: dict[str, Any], b: Any, mask: Any, how: dict[str, Any], null_score: Any
) -> Any:
    """Attention weights of the cost -S: the plan, or a softmax with the potentials of the columns held."""
    xp = namespace(cost)
    n, m = cost.shape[-2:]
    dtype = cost.dtype
    if null_score is None:
        a, b, mask, empty = targets(cost, b, mask)
    else:
        if how["tol"]:
            raise ValueError(f"tol is {how['tol']} and null_score is given; a null key takes iterations, no tolerance")
        cost, a, b = with_null_key(cost, null_score, b, mask)
        mask = empty = None
    options = {"epsilon": epsilon, "reference": "counting", **elastic, **how, "mask": _cells(cost, mask)}
    if how["grad"] == "detach" and differentiable(cost) is not None:
        g = column_potentials(cost, a, b, **options)
        open_cost = cost if mask is None else xp.where(mask, cost, xp.full_like(cost, xp.inf))
        weights = softmax((g - open_cost) / per_entry(epsilon))
    else:
        weights = plan(cost, a, b, **options)
    if null_score is not None:
        weights = weights[..., :n, :m]
    if empty is not None:
        weights = xp.where(empty, xp.zeros_like(weights), weights)
    return xp.astype(weights, dtype, copy=False)


def _cells(cost: Any, mask: Any) -> Any:
    """The mask in full, if it is not one of whole rows or columns: weights of 0 remove those at no cost."""
    if mask is None or 1 in mask.shape[-2:]:
        return None
    return namespace(cost).broadcast_to(mask, (*mask.shape[:-2], *cost.shape[-2:]))


def column_potentials(cost: Any, a: Any, b: Any, **options: Any) -> Any:
    """The potentials g, shape (..., 1, m), as constants."""
    _, g = potentials(cost, a, b, **{**options, "grad": "detach"})
    xp = namespace(cost)
    return xp.astype(g, cost.dtype, copy=False)[..., None, :]
