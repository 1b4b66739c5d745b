"""Solves and their derivatives as stateless functions of arrays: what `elastic_ot.torch` and `.jax` call.

Costs are matrices, of NumPy or, on a device, of CuPy; everything else is NumPy. Backward calls get the inputs and the
float64 potentials again and solve nothing; where an object can be kept between the calls they get the solution as well.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..api.options import is_budget
from ..api.solve import recall, recall_batch, solve_for
from ..arrays.devices import library_of, on_host
from ..derivatives.layers import Layer, plain_layer, shared, solved_layer
from ..problems.build import build
from ..problems.build_batch import build_batch
from ..problems.penalties import Fixed
from ..solutions.barycenter import Barycenter
from ..solutions.batch import BatchSolution
from ..solvers.status import Status
from .calls import SHOWN, HostCall
from .options import decode
from .parted import Parted
from .strengths import inputs_of, penalties, strengths


def _solved(options: dict[str, Any], cost: Any, a: Any, b: Any, epsilon: Any, rho: Any, with_plan: bool = False) -> Any:
    options = {**penalties(options, rho), "with_plan": with_plan}
    asarray = library_of(cost).asarray  # a call takes arrays of one place
    if cost.ndim == 2:
        return solve_for(cost, asarray(a), asarray(b), epsilon=float(epsilon), **options)
    return solve_for(shared(cost, 2), asarray(shared(a, 1)), asarray(shared(b, 1)), epsilon=epsilon, **options)


def for_derivatives(options: str, solution: Any) -> Any:
    """The solution to keep: without its plan, and converged in the eyes of derivatives if nothing was to be said."""
    if isinstance(solution, list):
        return [for_derivatives(options, one) for one in solution]
    if isinstance(solution, Layer):
        return solution._replace(history=None, plan=None, f=None, g=None)
    quiet = decode(options).get("on_failure") == "ignore"
    if isinstance(solution, Barycenter):
        return replace(solution, status=Status.CONVERGED) if quiet else solution
    quiet = quiet and solution.budget is None
    if isinstance(solution, BatchSolution):
        status = np.full_like(solution.status, Status.CONVERGED) if quiet else solution.status
        return replace(solution, known_plans=None, status=status)
    return replace(solution, known_plan=None, status=Status.CONVERGED if quiet else solution.status)


def potentials_of(found: Any) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return potentials in NumPy and float64, wherever the cost lies, for the costs of `Problem.levelled`."""
    return found.host.f.reshape(found.f.shape), found.host.g.reshape(found.g.shape)


def _run(options: dict[str, Any], cost: Any, a: Any, b: Any, epsilon: Any, rho: Any) -> Any:
    """The solution with its plan."""
    layer = solved_layer(penalties(options, rho), cost, a, b, epsilon)
    return _solved(options, cost, a, b, epsilon, rho, with_plan=True) if layer is None else layer


def _rerun(options: dict[str, Any], cost: Any, a: Any, b: Any, epsilon: Any, rho: Any, *rest: Any) -> Any:
    """The solution for a backward pass."""
    layer = plain_layer(penalties(options, rho), cost, a, b, epsilon)
    return _recalled(options, cost, a, b, epsilon, rho, *rest) if layer is None else layer


def _recalled(
    options: dict[str, Any], cost: Any, a: Any, b: Any, epsilon: Any, rho: Any, f: Any, g: Any, *bars: Any
) -> Any:
    options = penalties(options, rho)
    rows, cols = options.get("rows", Fixed()), options.get("cols", Fixed())
    reference = options.get("reference", "product")
    how = {name: options[name] for name in ("tol", "max_iter", "method", "end") if name in options}
    if options.get("on_failure") == "ignore" and how["tol"] > 0:
        how["tol"] = np.inf  # whoever wants no warning of the solve wants none of its gradients
    budgeted = is_budget(how.get("tol", 1e-6), how.get("method", "auto"))
    precision = options.get("precision", "")
    if cost.ndim == 2:
        problem = build(cost, a, b, float(epsilon), rows, cols, reference, None, precision)
        return recall(problem.levelled(budgeted), f, g, **how)
    given = shared(cost, 2), shared(a, 1), shared(b, 1), epsilon
    problems = build_batch(*given, rows, cols, reference, None, None, None, precision)
    return recall_batch(problems.levelled(budgeted), f, g, **how)


def _plan(options: dict[str, Any], found: Any, *problem: Any) -> tuple[Any, ...]:
    return found.plan, found.converged, *potentials_of(found)


def _log_plan(options: dict[str, Any], found: Any, *problem: Any) -> tuple[Any, ...]:
    return found.log_plan, found.converged, *potentials_of(found)


def potentials_shown(options: dict[str, Any], found: Any, *problem: Any) -> tuple[Any, ...]:
    """Return potentials as users see them, of one problem or of a batch, and what derivatives begin with."""
    f, g = potentials_of(found)
    row_offset, col_offset = (
        np.reshape(x, (*found.f.shape[:-1], 1)) if np.ndim(x) else x for x in found.problem.offsets
    )
    return f + row_offset, g + col_offset, found.converged, f, g


def value_of(options: dict[str, Any], found: Any, *problem: Any) -> tuple[Any, ...]:
    """Return the value of one problem or those of a batch, and what derivatives begin with."""
    return found.value, found.converged, *potentials_of(found)


def _pull_back(options: dict[str, Any], solution: Any, *arrays: Any) -> tuple[Any, ...]:
    plan, f, g = arrays[len(SOLVED) :]
    found = solution.vjp(plan=plan, f=f, g=g)
    if found is None:
        found = _recalled(options, *arrays[: len(SOLVED)]).vjp(plan=plan, f=f, g=g)
    return inputs_of(options, found)


def _pull_back_logs(options: dict[str, Any], solution: Any, *arrays: Any) -> tuple[Any, ...]:
    """By log P = log R + (f + g - C) / epsilon."""
    *known, bar, f_bar, g_bar = arrays
    cost, a, b, epsilon, _, f, g = known
    xp, epsilon = library_of(cost), np.asarray(epsilon)
    allowed, f, g = _allowed(cost, f, g)
    if allowed is not None:
        bar = xp.where(allowed, bar, 0.0)
    rows, cols = (on_host(bar.sum(axis=axis, dtype=np.float64)) for axis in (-1, -2))
    width = epsilon[..., None]
    found = solution.vjp(f=rows / width + f_bar, g=cols / width + g_bar)
    by_cost, by_a, by_b, by_epsilon, rho = inputs_of(options, found)
    price = _levelled(solution, cost)
    if allowed is not None:
        price = xp.where(allowed, price, 0.0)
    moved = np.einsum("...i,...i->...", rows, f) + np.einsum("...i,...i->...", cols, g)
    moved = moved - on_host(xp.asarray(xp.einsum("...ij,...ij->...", bar, price, dtype=np.float64)))
    by_cost = by_cost - bar / xp.asarray(width)[..., None]
    a, b = _over_weights(options, a), _over_weights(options, b)
    return by_cost, by_a + rows * a, by_b + cols * b, by_epsilon - moved / epsilon**2, rho


def _push_forward_logs(options: dict[str, Any], solution: Any, *arrays: Any) -> tuple[Any, ...]:
    *known, cost, a, b, epsilon, rho = arrays
    found = solution.jvp(cost, a, b, *strengths(options, epsilon, rho))
    xp, width, f, g = library_of(cost), np.asarray(known[3])[..., None], *known[5:]
    allowed, f, g = _allowed(known[0], f, g)
    turn = np.asarray(epsilon)[..., None] / width**2
    rows = found.f / width - turn * f + a * _over_weights(options, known[1])
    cols = found.g / width - turn * g + b * _over_weights(options, known[2])
    width, turn = (xp.asarray(x)[..., None] for x in (width, turn))
    with np.errstate(invalid="ignore"):  # inf of forbidden cells
        moved = (
            xp.asarray(rows)[..., :, None]
            + xp.asarray(cols)[..., None, :]
            - cost / width
            + turn * _levelled(solution, known[0])
        )
    return moved if allowed is None else xp.where(allowed, moved, 0.0), found.f, found.g


def _allowed(cost: Any, f: Any, g: Any) -> tuple[Any, NDArray[np.float64], NDArray[np.float64]]:
    """Where log P is finite, None for everywhere; and the potentials, 0 where a row or column is removed."""
    xp, used = library_of(cost), (np.isfinite(f), np.isfinite(g))
    allowed = xp.isfinite(cost)
    if all(x.all() for x in (*used, allowed)):
        return None, f, g
    allowed = allowed & xp.asarray(used[0])[..., :, None] & xp.asarray(used[1])[..., None, :]
    return allowed, np.where(used[0], f, 0.0), np.where(used[1], g, 0.0)


def _levelled(solution: Any, cost: Any) -> Any:
    """The costs that the potentials belong to."""
    offset = solution.problem.offset
    if offset is None or not np.any(offset):
        return cost
    return cost - library_of(cost).asarray(np.reshape(offset, (*cost.shape[:-2], 1, 1)))


def _over_weights(options: dict[str, Any], weights: Any) -> NDArray[np.float64]:
    """The derivative of log R in the weights of a side."""
    if options.get("reference", "product") != "product":
        return np.zeros(weights.shape)
    inverse = np.zeros(weights.shape)
    np.divide(1.0, weights, out=inverse, where=weights > 0)
    return inverse


def _push_forward(options: dict[str, Any], solution: Any, *arrays: Any) -> tuple[Any, ...]:
    cost, a, b, epsilon, rho = arrays[len(SOLVED) :]
    found = solution.jvp(cost, a, b, *strengths(options, epsilon, rho))
    return found.plan, found.f, found.g


def _value_gradients(options: dict[str, Any], solution: Any, *known: Any) -> tuple[Any, ...]:
    return inputs_of(options, solution.gradients())


def _value_hvp(options: dict[str, Any], solution: Any, *arrays: Any) -> tuple[Any, ...]:
    """Differentiate the gradients of the value along a direction; see `Parted` for one that parts fixed masses."""
    cost, a, b, epsilon, rho = arrays[len(SOLVED) :]
    steps = strengths(options, epsilon, rho)
    if not all(isinstance(side, Fixed) for side in (solution.problem.rows, solution.problem.cols)):
        return inputs_of(options, solution.hvp(cost, a, b, *steps))
    parted = Parted(solution, a, b)
    found = inputs_of(options, solution.hvp(cost, parted.a, parted.b, *steps))
    return parted.completed(found) if parted.excess.any() else found


PROBLEM = ("cost", "a", "b", "epsilon", "rho")
SOLVED = (*PROBLEM, "f", "g")
OUTCOME = ("plan", "f", "g")
LOGS = ("log_plan", "f", "g")
plan = HostCall(_run, _plan, PROBLEM, ("plan", "converged", "f", "g"))
log_plan = HostCall(_solved, _log_plan, PROBLEM, ("log_plan", "converged", "f", "g"))
potentials = HostCall(_solved, potentials_shown, PROBLEM, (*SHOWN, "converged", "f", "g"))
value = HostCall(_solved, value_of, PROBLEM, ("value", "converged", "f", "g"))
pull_back = HostCall(_rerun, _pull_back, (*SOLVED, *OUTCOME), PROBLEM)
push_forward = HostCall(_recalled, _push_forward, (*SOLVED, *PROBLEM), OUTCOME)
pull_back_logs = HostCall(_recalled, _pull_back_logs, (*SOLVED, *LOGS), PROBLEM)
push_forward_logs = HostCall(_recalled, _push_forward_logs, (*SOLVED, *PROBLEM), LOGS)
value_gradients = HostCall(_recalled, _value_gradients, SOLVED, PROBLEM)
value_hvp = HostCall(_recalled, _value_hvp, (*SOLVED, *PROBLEM), PROBLEM)
