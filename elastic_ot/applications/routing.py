"""Routers of mixtures of experts: which experts a token goes to, with which weights, and how even the loads are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import array_api_compat
import numpy as np

from ..arrays import as_numpy
from ..penalties import AtMost, Elastic
from . import capacities
from .arguments import finite
from .frameworks import Grad, detached, gather, namespace, potentials, softmax, working
from .routing_input import COMBINES, Combine, Method, check_capacity, check_choice, is_drawn, tokens_of


@dataclass(frozen=True, eq=False)
class Routing:
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

    idx: Any
    weight: Any
    load: Any
    plan: Any = None
    residual: Any = None
    converged: Any = None


@dataclass(frozen=True, eq=False)
class LoadBalance:
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

    max_over_mean: Any
    dead: Any
    variation: Any


def route(
    logits: Any,
    k: int = 1,
    *,
    method: Method = "softmax",
    epsilon: float = 1.0,
    lam: float | None = None,
    capacity: int | None = None,
    combine: Combine | None = None,
    mask: Any = None,
    training: bool = True,
    probability: float = 0.01,
    draw: Any = None,
    grad: Grad = "implicit",
    tol: float = 1e-6,
    max_iter: int = 10_000,
    on_failure: Literal["warn", "raise", "ignore"] = "warn",
) -> Routing:
    """Choose k of E experts for every token.

    Parameters
    ----------
    logits : array, shape (..., T, E)
        Scores of T tokens for E experts, finite; each leading index is routed for itself.
    k : int
        Experts a token, 1 <= k <= E.
    method : {"softmax", "sinkhorn", "ssr", "base", "s-base"}
        ``"softmax"``: the k largest logits. ``"sinkhorn"``: the k largest entries of the plan with rows of sum k and
        columns drawn to T k / E. ``"ssr"``: one step in ``1 / probability`` does so, the others are softmax steps.
        ``"base"``: the assignment with the largest sum of logits and loads of T / E, rounded down or up (k = 1 only).
        ``"s-base"``: its entropic counterpart, a plan with ``lam=1`` whose weights are those of the softmax.
    epsilon : float
        Temperature: logits are divided by it everywhere.
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
    Methods with a capacity, and "base" in training, assign on the host and cannot be traced by ``jax.jit``.

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
    check_choice(logits, k, method, epsilon, lam, combine)
    xp = namespace(logits)
    valid = tokens_of(mask, logits)
    if valid is not None:
        logits = xp.where(valid[..., None], logits, xp.zeros_like(logits))
    finite("logits", logits)
    if capacity is not None:
        check_capacity(capacity, logits, k, valid)
    scaled = logits / epsilon
    plan = residual = converged = None
    scores = softmax(scaled)
    if training and (method in ("sinkhorn", "s-base") or (method == "ssr" and is_drawn(draw, probability))):
        solved = detached(scaled) if (combine or COMBINES[method]) != "plan" or grad == "detach" else scaled
        cols, places = _columns(lam, capacity)
        options = {"tol": tol, "max_iter": max_iter, "on_failure": on_failure}
        plan, residual = _plan(solved, k, valid, cols, places, grad, options)
        converged = residual <= max(tol, 100 * float(xp.finfo(plan.dtype).eps))
        scores = plan / k
    if training and method == "base":
        idx = _base(logits, valid, capacity)
    else:
        idx = _largest(scores, k, valid, capacity)
    weight = _weights(combine or COMBINES[method], scores, scaled, idx)
    return Routing(idx, weight, _load(idx, logits.shape[-1]), plan, residual, converged)


def load_balance(load: Any) -> LoadBalance:
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
    dead = xp.sum(xp.astype(load == 0, xp.int64), axis=-1)
    return LoadBalance(xp.max(load, axis=-1) / safe, dead, xp.std(load, axis=-1) / safe)


def _columns(lam: float | None, capacity: int | None) -> tuple[Elastic | AtMost, int | None]:
    """What loads are asked to be, and the places of an expert where that is not its fair share."""
    if lam is None and capacity is not None:
        return AtMost(), capacity
    return Elastic(1.0 if lam is None else lam), None


def _plan(
    scores: Any, k: int, valid: Any, cols: Elastic | AtMost, places: int | None, grad: Grad, options: dict[str, Any]
) -> tuple[Any, Any]:
    """The plan at epsilon = 1, and its residual as a share of the mass."""
    xp = namespace(scores)
    ones = xp.ones_like(scores[..., 0])
    a = k * (ones if valid is None else xp.where(valid, ones, xp.zeros_like(ones)))
    mass = xp.sum(a, axis=-1)
    share = mass / scores.shape[-1] if places is None else places * xp.ones_like(mass)
    b = share[..., None] * xp.ones_like(scores[..., 0, :])
    f, g = potentials(-scores, a, b, epsilon=1.0, cols=cols, reference="counting", grad=grad, end="rows", **options)
    plan = xp.exp(f[..., :, None] + g[..., None, :] + scores)
    row, col = xp.sum(plan, axis=-1), xp.sum(plan, axis=-2)
    empty = col == 0
    free = xp.log(b / xp.where(empty, b, col)) + g  # the potential that would make the column sum b
    update = xp.minimum(free, xp.zeros_like(free)) if isinstance(cols, AtMost) else cols.lam * free
    moved = xp.sum(xp.abs(row - a), axis=-1) + xp.sum(col * xp.abs(xp.exp(update - g) - 1), axis=-1)
    return plan, moved / mass


def _base(logits: Any, valid: Any, capacity: int | None) -> Any:
    """Shape (..., T, 1)."""
    host = as_numpy("logits", detached(logits))
    known = np.ones(host.shape[:-1], dtype=bool) if valid is None else as_numpy("mask", valid)
    flat = zip(host.reshape(-1, *host.shape[-2:]), known.reshape(-1, host.shape[-2]), strict=True)
    found = np.stack([capacities.cheapest(*problem, capacity) for problem in flat])
    return _emitted(found.reshape(*host.shape[:-1], 1), logits)


def _largest(scores: Any, k: int, valid: Any, capacity: int | None) -> Any:
    """The k best experts of every token, shape (..., T, k)."""
    xp = namespace(scores)
    *batch, tokens, experts = scores.shape
    if capacity is None:
        idx = xp.argsort(scores, axis=-1, descending=True, stable=True)[..., :k]
        return idx if valid is None else xp.where(valid[..., None], idx, -xp.ones_like(idx))
    # only the order goes to the host: integers carry no derivatives
    order = as_numpy("logits", xp.argsort(xp.reshape(scores, (-1, tokens * experts)), descending=True, stable=True))
    known = np.ones((len(order), tokens), dtype=bool)
    if valid is not None:
        known = as_numpy("mask", valid).reshape(known.shape)
    found = np.stack([capacities.greedy(*problem, experts, k, capacity) for problem in zip(order, known, strict=True)])
    return _emitted(found.reshape(*batch, tokens, k), scores)


def _emitted(idx: np.ndarray[Any, Any], like: Any) -> Any:
    """Experts, in the library and on the device of `like`."""
    xp = namespace(like)
    # an integer array of the library as it makes them by itself: JAX without float64 has no int64 either
    kind = xp.argsort(like[..., :1], axis=-1).dtype
    return xp.asarray(idx, dtype=kind, device=array_api_compat.device(like))


def _weights(combine: Combine, scores: Any, scaled: Any, idx: Any) -> Any:
    xp = namespace(scaled)
    if combine == "softmax":
        scores = softmax(scaled)
    elif combine == "sigmoid":
        scores = xp.exp(-xp.logaddexp(xp.zeros_like(scaled), -scaled))
    routed = idx >= 0
    chosen = gather(scores, xp.where(routed, idx, xp.zeros_like(idx)))
    return xp.where(routed, chosen, xp.zeros_like(chosen))


def _load(idx: Any, experts: int) -> Any:
    """Tokens of every expert, shape (..., E), by counting in sorted order."""
    xp = namespace(idx)
    batch, device = idx.shape[:-2], array_api_compat.device(idx)
    flat = xp.sort(xp.reshape(idx, (-1, idx.shape[-2] * idx.shape[-1])), axis=-1)
    # problems one after the other, padding (-1) before each: experts + 1 values a problem
    problems = xp.arange(flat.shape[0], dtype=flat.dtype, device=device)
    line = xp.reshape(flat + 1 + (experts + 1) * problems[:, None], (-1,))
    edges = xp.arange(flat.shape[0] * (experts + 1) + 1, dtype=flat.dtype, device=device)
    ends = xp.searchsorted(line, edges)
    counts = xp.reshape(ends[1:] - ends[:-1], (-1, experts + 1))[:, 1:]
    return xp.reshape(counts, (*batch, experts))
