"""Routers of mixtures of experts: which experts a token goes to, with which weights, and how even the loads are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Generic, Literal

from ..calls import public
from ..frameworks.options import Grad
from ..results import one_line
from ..typing import Array, ArrayT, ArrayT_co
from . import capacities
from .arguments import finite
from .frameworks import (
    argmax,
    counts,
    detached,
    device_of,
    gather,
    integers,
    log_softmax,
    namespace,
    probabilities,
    sigmoid,
    without,
    working,
)
from .marginals import is_array, per_entry, temperature
from .routing_input import COMBINES, RoutingCombine, RoutingMethod, check_capacity, check_choice, is_drawn, tokens_of
from .routing_plan import routed_plan

FEW_EXPERTS = 4  # up to which searching them one by one beats sorting all


@dataclass(frozen=True, eq=False)
class Routing(Generic[ArrayT_co]):
    """Where tokens go; returned by `route`.

    Attributes
    ----------
    idx : array of int, shape (..., T, k)
        Experts of every token, best first; -1 for padding.
    weight : array, shape (..., T, k)
        What their outputs are multiplied by; 0 for padding.
    load : array of int, shape (..., E)
        Tokens of every expert.
    plan : array or None, shape (..., T, E)
        The transport plan, rows of sum k; None where none was solved for.
    residual : array or None, shape (...)
        How far the marginals of the plan would move under one more exact update of each side, L1, as a share of the
        mass; nan if anything is.
    converged : array of bool or None, shape (...)
        residual <= tol, or 100 units of rounding of the logits' precision.
    """

    idx: ArrayT_co
    weight: ArrayT_co
    load: ArrayT_co
    plan: ArrayT_co | None = None
    residual: ArrayT_co | None = None
    converged: ArrayT_co | None = None

    __repr__ = one_line


@dataclass(frozen=True, eq=False)
class LoadBalance(Generic[ArrayT_co]):
    """How even loads are; returned by `load_balance`.

    Attributes
    ----------
    max_over_mean : array, shape (...)
        1 is balanced, E is everything on one expert; 0 without tokens.
    dead : array of int, shape (...)
        Experts without a token.
    variation : array, shape (...)
        Standard deviation over mean.
    """

    max_over_mean: ArrayT_co
    dead: ArrayT_co
    variation: ArrayT_co

    __repr__ = one_line


@public
def route(
    logits: ArrayT,
    k: int = 1,
    *,
    method: RoutingMethod = "softmax",
    epsilon: float | Array = 1.0,
    lam: float | None = None,
    capacity: int | None = None,
    combine: RoutingCombine | None = None,
    mask: Array | None = None,
    training: bool = True,
    probability: float = 0.01,
    draw: float | Array | None = None,
    grad: Grad = "implicit",
    tol: float = 1e-6,
    max_iter: int = 10_000,
    on_failure: Literal["warn", "raise", "ignore"] = "warn",
) -> Routing[ArrayT]:
    """Choose k of E experts for every token.

    Parameters
    ----------
    logits : array, shape (..., T, E)
        Scores of T tokens for E experts, finite; each leading index is routed for itself.
    k : int
        Experts a token, 1 <= k <= E.
    method : {"softmax", "sinkhorn", "ssr", "base", "s-base"}
        ``"softmax"``: the k largest logits. ``"sinkhorn"``: the k largest entries of the plan with rows of sum k and
        columns drawn to T k / E; by their logarithms, so that entries that underflow have ranks, too. ``"ssr"``: one
        step in ``1 / probability`` does so, the others are softmax steps.
        ``"base"``: the assignment with the largest sum of logits and loads of T / E, rounded down or up (k = 1 only).
        ``"s-base"``: its entropic counterpart, a plan with ``lam=1`` whose weights are those of the softmax.
    epsilon : float or array, shape (...)
        Temperature: logits are divided by it everywhere. Arrays may carry gradients.
    lam : float, optional
        Elasticity of the columns for "sinkhorn" and "ssr", from 0 (softmax) to 1 (all the same, the default).
    capacity : int, optional
        Most tokens an expert takes. It holds for `idx` always: pairs are accepted best first, and tokens left over
        displace others. In the plan it takes the place of the columns' weights (`AtMost`), unless `lam` is given.
    combine : {"plan", "softmax", "sigmoid"}, optional
        The weights: the chosen entries of the plan divided by k (in a softmax step of the softmax), or of the softmax
        or the sigmoid of the logits, where the plan selects and is not differentiated. Default "plan"; for "base"
        "sigmoid", for "s-base" "softmax". Megatron's router is "sinkhorn" with "sigmoid" for k = 1, else "softmax".
    mask : array of bool, shape (..., T), optional
        False marks padding, which no expert gets.
    training : bool
        If False every method is the softmax: an inference never solves.
    probability : float
        Of a step with a plan, for "ssr".
    draw : float, optional
        For "ssr" in training: a uniform number from [0, 1), or anything with a method ``random()`` that gives one.
    grad : {"implicit", "unroll", "detach"}
        How the plan is differentiated, as in ``elastic_ot.torch``.
    tol, max_iter, on_failure
        As in `elastic_ot.solve`; ``tol=0`` runs exactly `max_iter` iterations, which end on the rows.

    Returns
    -------
    Routing
        In the library of the logits, in float32 at least. Weights carry derivatives, experts do not.

    Raises
    ------
    ValueError, TypeError
        Bad input; logits that are not finite; a capacity that cannot hold all tokens.

    Notes
    -----
    Methods with a capacity, and "base" in training, assign on the host; torch.compile takes them, ``jax.jit`` does not.

    References
    ----------
    Lewis et al., *BASE layers*, 2021; Clark et al., *Unified scaling laws for routed language models*, 2022.

    Examples
    --------
    >>> import numpy as np
    >>> from elastic_ot.applications.routing import load_balance, route
    >>> logits = np.random.default_rng(0).normal(size=(12, 4)) + [1.0, 0.0, 0.0, -1.0]
    >>> [route(logits, method=method).load.tolist() for method in ("softmax", "sinkhorn", "base")]
    [[6, 3, 3, 0], [3, 5, 1, 3], [3, 3, 3, 3]]
    """
    logits = working("logits", logits)
    check_choice(logits, k, method, lam, combine)
    xp = namespace(logits)
    epsilon = temperature(epsilon, logits)
    if is_array(epsilon):
        epsilon = xp.astype(epsilon, logits.dtype)
    width = per_entry(epsilon)
    valid = tokens_of(mask, logits)
    if valid is not None:
        logits = xp.where(valid[..., None], logits, xp.zeros_like(logits))
    finite("logits", logits)
    if capacity is not None:
        check_capacity(capacity, logits, k, valid)
    plan = residual = converged = None
    order, combine = logits, combine or COMBINES[method]
    if training and (method in ("sinkhorn", "s-base") or (method == "ssr" and is_drawn(draw, probability))):
        held = combine != "plan" or grad == "detach"
        solved = detached(logits) if held else logits
        options: dict[str, Any] = {"tol": tol, "max_iter": max_iter, "on_failure": on_failure, "grad": grad}
        options["epsilon"] = detached(epsilon) if held and is_array(epsilon) else epsilon
        order, plan, residual = routed_plan(solved, k, valid, lam, capacity, options)
        converged = residual <= max(tol, 100 * float(xp.finfo(plan.dtype).eps))
    if training and method == "base":
        idx = _base(logits, valid, capacity)
    elif capacity is None:
        idx = _largest(order, k, valid)
    else:
        idx = _within(capacity, order, log_softmax(logits / width) if plan is None else order, k, valid)
    weight = _weights(combine, plan, logits, width, k, idx, valid)
    return Routing(idx, weight, _load(idx, logits.shape[-1], valid), plan, residual, converged)


@public
def load_balance(load: ArrayT) -> LoadBalance[ArrayT]:
    """Measures of how even loads are.

    Parameters
    ----------
    load : array, shape (..., E)
        Tokens, or masses, of E experts.

    Examples
    --------
    >>> from elastic_ot.applications.routing import load_balance
    >>> found = load_balance([3, 1, 0, 0])
    >>> float(found.max_over_mean), int(found.dead), round(float(found.variation), 3)
    (3.0, 2, 1.225)
    """
    load = working("load", load)
    xp = namespace(load)
    mean = xp.mean(load, axis=-1)
    safe = xp.where(mean > 0, mean, xp.ones_like(mean))
    dead = xp.sum(xp.astype(load <= 0, xp.int64), axis=-1)
    return LoadBalance(xp.max(load, axis=-1) / safe, dead, xp.std(load, axis=-1) / safe)


def _base(logits: Any, valid: Any, capacity: int | None) -> Any:
    """Shape (..., T, 1)."""
    xp = namespace(logits)
    flat = xp.reshape(logits, (-1, *logits.shape[-2:]))
    return integers(capacities.assigned, (flat, _known(valid, flat)), (capacity or 0,), (*logits.shape[:-1], 1))


def _known(valid: Any, flat: Any) -> Any:
    """Which tokens there are, shape (B, T), for arrays (B, T, ...)."""
    if valid is None:
        return namespace(flat).ones(flat.shape[:2], dtype=namespace(flat).bool, device=device_of(flat))
    return namespace(flat).reshape(valid, flat.shape[:2])


def _ranked(order: Any) -> Any:
    """Experts of every token, best first, equals as they come.

    By logarithms: their exponentials underflow, and of equal zeros the first expert would be the best.
    """
    return namespace(order).argsort(detached(order), axis=-1, descending=True, stable=True)


def _largest(order: Any, k: int, valid: Any) -> Any:
    """The k best experts of every token, shape (..., T, k), equals as they come."""
    xp = namespace(order)
    idx = _first_few(detached(order), k) if k <= FEW_EXPERTS else _ranked(order)[..., :k]
    return idx if valid is None else xp.where(valid[..., None], idx, -xp.ones_like(idx))


def _first_few(order: Any, k: int) -> Any:
    """The k best of every row by a search each, which is less than sorting it."""
    xp = namespace(order)
    chosen = [argmax(order)]
    while len(chosen) < k:
        order = without(order, chosen[-1][..., None])
        chosen.append(argmax(order))
    return xp.stack(chosen, axis=-1)


def _within(capacity: int, order: Any, logs: Any, k: int, valid: Any) -> Any:
    """Return the best experts of every token, shape (..., T, k), where an expert takes at most `capacity` tokens.

    Pairs are served in the order of `logs`, the pairs of one token in the order of `order`.
    """
    xp = namespace(order)
    *batch, tokens, experts = order.shape
    best = _ranked(order)
    logs = xp.reshape(gather(detached(logs), best), (-1, tokens * experts))
    places = xp.argsort(logs, descending=True, stable=True)
    pairs = places // experts * experts + gather(xp.reshape(best, logs.shape), places)
    known = _known(valid, xp.reshape(best, (-1, tokens, experts)))
    return integers(capacities.accepted, (pairs, known), (experts, k, capacity), (*batch, tokens, k))


def _weights(combine: RoutingCombine, plan: Any, logits: Any, width: Any, k: int, idx: Any, valid: Any) -> Any:
    """The weights of chosen experts, shape (..., T, k), from what is chosen alone; 0 for padding."""
    xp = namespace(logits)
    safe = idx if valid is None else xp.where(valid[..., None], idx, xp.zeros_like(idx))
    plain = not is_array(width) and width == 1
    if combine == "sigmoid":
        gates = gather(logits, safe)
        chosen = sigmoid(gates if plain else gates / width)
    elif combine == "plan" and plan is not None:
        chosen = gather(plan, safe) / k
    else:
        chosen = gather(probabilities(logits if plain else logits / width), safe)
    return chosen if valid is None else xp.where(valid[..., None], chosen, xp.zeros_like(chosen))


def _load(idx: Any, experts: int, valid: Any) -> Any:
    """Tokens of every expert, shape (..., E)."""
    flat = namespace(idx).reshape(idx, (*idx.shape[:-2], -1))
    return counts(flat, experts) if valid is None else counts(flat + 1, experts + 1)[..., 1:]  # padding, -1, is first
