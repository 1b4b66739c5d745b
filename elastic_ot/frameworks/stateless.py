"""Solves and their derivatives as stateless functions of arrays: what `elastic_ot.torch` and `.jax` call.

A `HostCall` takes arrays with leading dimensions, a problem each, and options as text, and gives arrays back. Matrices
are NumPy arrays or, on a device, of CuPy; everything else is NumPy. Backward calls get the inputs and the float64
potentials again and solve nothing; where an object can be kept between the calls they get the solution as well.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..api.options import is_budget
from ..api.solve import recall, recall_batch, solve_for
from ..arrays.devices import library_of, lies_on_host, on_host
from ..derivatives.layers import Layer, plain_layer, shared, solved_layer
from ..derivatives.records import Gradients
from ..problems.build import build
from ..problems.build_batch import build_batch
from ..problems.penalties import Fixed
from ..solutions.batch import BatchSolution
from ..solvers.status import Status
from .options import SIDES, Shape, decode

PAIR = "2"  # one number for the rows and one for the columns
KNOWN = ("cost", "nm"), ("plan", "nm"), ("log_plan", "nm"), ("a", "n"), ("f", "n"), ("b", "m"), ("g", "m")
SHOWN = {"row_potential": "f", "col_potential": "g"}  # with what is taken off costs that lie high, for users' eyes
CORE = dict((*KNOWN, *((shown, "nm"[i]) for i, shown in enumerate(SHOWN)), ("rho", PAIR), ("epsilon", "")))
CORE |= {"value": "", "converged": ""}
Arrays = Sequence[NDArray[Any] | None]


@dataclass(frozen=True, eq=False)
class HostCall:
    """A function of one problem or, where arrays have leading dimensions, which broadcast, of a batch.

    Attributes
    ----------
    begin : callable
        Called as ``begin(options, *arrays)``; returns the solution: solved, or made of known potentials.
    function : callable
        Called as ``function(options, solution, *arrays)``; returns a tuple.
    inputs, results : tuple of str
        What the arrays are: keys of `CORE`, which has their own dimensions.
    """

    begin: Callable[..., Any]
    function: Callable[..., tuple[Any, ...]]
    inputs: tuple[str, ...]
    results: tuple[str, ...]

    def shapes(self, batch: tuple[int, ...], n: int, m: int) -> list[tuple[int, ...]]:
        """Shapes of the results."""
        size = {"n": n, "m": m, PAIR: len(SIDES)}
        return [(*batch, *(size[x] for x in CORE[name])) for name in self.results]

    def dtypes(self, cost: Any, a: Any, b: Any, flag: Any, other: Any) -> list[Any]:
        """Return the dtypes of the results: of matrices that of the cost, of derivatives in weights that of these."""
        known = {"a": a, "b": b, "converged": flag}
        return [cost if is_matrix(name) else known.get(name, other) for name in self.results]

    def __call__(self, arrays: Arrays, options: str) -> list[NDArray[Any]]:
        """The results, new arrays in C order; an input that a derivative does not depend on may be None."""
        return self.kept(arrays, options)[1]

    def kept(self, arrays: Arrays, options: str, solution: Any = None) -> tuple[Any, list[NDArray[Any]]]:
        """The solution, which the derivatives of this call take in place of `begin`, and the results."""
        given = decode(options)
        ranks = [len(CORE[name]) for name in self.inputs]
        leading = {x.shape[: x.ndim - rank] for x, rank in zip(arrays, ranks, strict=True) if x is not None}
        batch, views = leading.pop(), arrays
        if leading:
            batch = np.broadcast_shapes(batch, *leading)
            views = [
                None if x is None else library_of(x).broadcast_to(x, batch + x.shape[x.ndim - rank :])
                for x, rank in zip(arrays, ranks, strict=True)
            ]
        cost, a, b = arrays[:3]
        assert cost is not None
        assert a is not None
        assert b is not None
        dtypes = self.dtypes(cost.dtype, a.dtype, b.dtype, np.dtype(np.bool_), np.dtype(np.float64))
        shapes = self.shapes(batch, *cost.shape[-2:])
        solution = self.begin(given, *views) if solution is None else solution
        found = self.function(given, solution, *views)
        results = []
        for name, shape, dtype, values in zip(self.results, shapes, dtypes, found, strict=True):
            if not _serves(values, shape, dtype):
                values, one = (library_of(cost) if is_matrix(name) else np).empty(shape, dtype), values
                values[...] = one
            results.append(values)
        return solution, results


def is_matrix(name: str) -> bool:
    """Return True if the input or result of that name is n x m and stays on the device."""
    return CORE[name] == "nm"


def _serves(values: Any, shape: Shape, dtype: Any) -> bool:
    """True for an array that can be given away as it is."""
    if isinstance(values, float | bool | np.generic) or values.shape != shape or values.dtype != dtype:
        return False
    return bool(values.flags.c_contiguous and (not lies_on_host(values) or values.flags.writeable))


def _penalties(options: dict[str, Any], rho: Any) -> dict[str, Any]:
    """The options of a solve, penalties having the strengths that are given apart."""
    given = options.get("given", "")
    found = {name: value for name, value in options.items() if name != "given"}
    for i, side in enumerate(SIDES):
        if side in given:
            found[side] = replace(options[side], rho=rho[..., i][()])
    return found


def _solved(options: dict[str, Any], cost: Any, a: Any, b: Any, epsilon: Any, rho: Any, with_plan: bool = False) -> Any:
    options = {**_penalties(options, rho), "with_plan": with_plan}
    asarray = library_of(cost).asarray  # a call takes arrays of one place
    if cost.ndim == 2:
        return solve_for(cost, asarray(a), asarray(b), epsilon=float(epsilon), **options)
    return solve_for(shared(cost, 2), asarray(shared(a, 1)), asarray(shared(b, 1)), epsilon=epsilon, **options)


def for_derivatives(options: str, solution: Any) -> Any:
    """The solution to keep: without its plan, and converged in the eyes of derivatives if nothing was to be said."""
    if isinstance(solution, Layer):
        return replace(solution, plan=None, f=None, g=None)
    quiet = decode(options).get("on_failure") == "ignore" and solution.budget is None
    if isinstance(solution, BatchSolution):
        status = np.full_like(solution.status, Status.CONVERGED) if quiet else solution.status
        return replace(solution, known_plans=None, status=status)
    return replace(solution, known_plan=None, status=Status.CONVERGED if quiet else solution.status)


def _potentials_of(found: Any) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return potentials in NumPy and float64, wherever the cost lies, for the costs of `Problem.levelled`."""
    return found.host.f.reshape(found.f.shape), found.host.g.reshape(found.g.shape)


def _run(options: dict[str, Any], cost: Any, a: Any, b: Any, epsilon: Any, rho: Any) -> Any:
    """The solution with its plan."""
    layer = solved_layer(_penalties(options, rho), cost, a, b, epsilon)
    return _solved(options, cost, a, b, epsilon, rho, with_plan=True) if layer is None else layer


def _rerun(options: dict[str, Any], cost: Any, a: Any, b: Any, epsilon: Any, rho: Any, *rest: Any) -> Any:
    """The solution for a backward pass."""
    layer = plain_layer(_penalties(options, rho), cost, a, b, epsilon)
    return _recalled(options, cost, a, b, epsilon, rho, *rest) if layer is None else layer


def _recalled(
    options: dict[str, Any], cost: Any, a: Any, b: Any, epsilon: Any, rho: Any, f: Any, g: Any, *bars: Any
) -> Any:
    options = _penalties(options, rho)
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
    return found.plan, found.converged, *_potentials_of(found)


def _log_plan(options: dict[str, Any], found: Any, *problem: Any) -> tuple[Any, ...]:
    return found.log_plan, found.converged, *_potentials_of(found)


def _potentials(options: dict[str, Any], found: Any, *problem: Any) -> tuple[Any, ...]:
    f, g = _potentials_of(found)
    row_offset, col_offset = (
        np.reshape(x, (*found.f.shape[:-1], 1)) if np.ndim(x) else x for x in found.problem.offsets
    )
    return f + row_offset, g + col_offset, found.converged, f, g


def _value(options: dict[str, Any], found: Any, *problem: Any) -> tuple[Any, ...]:
    return found.value, found.converged, *_potentials_of(found)


def _pull_back(options: dict[str, Any], solution: Any, *arrays: Any) -> tuple[Any, ...]:
    plan, f, g = arrays[len(SOLVED) :]
    found = solution.vjp(plan=plan, f=f, g=g)
    if found is None:
        found = _recalled(options, *arrays[: len(SOLVED)]).vjp(plan=plan, f=f, g=g)
    return _inputs(options, found)


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
    by_cost, by_a, by_b, by_epsilon, rho = _inputs(options, found)
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
    found = solution.jvp(cost, a, b, *_strengths(options, epsilon, rho))
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
    found = solution.jvp(cost, a, b, *_strengths(options, epsilon, rho))
    return found.plan, found.f, found.g


def _value_gradients(options: dict[str, Any], solution: Any, *known: Any) -> tuple[Any, ...]:
    return _inputs(options, solution.gradients())


def _value_hvp(options: dict[str, Any], solution: Any, *arrays: Any) -> tuple[Any, ...]:
    """Differentiate the gradients of the value along a direction; see `_Parted` for one that parts fixed masses."""
    cost, a, b, epsilon, rho = arrays[len(SOLVED) :]
    steps = _strengths(options, epsilon, rho)
    if not all(isinstance(side, Fixed) for side in (solution.problem.rows, solution.problem.cols)):
        return _inputs(options, solution.hvp(cost, a, b, *steps))
    parted = _Parted(solution, a, b)
    found = _inputs(options, solution.hvp(cost, parted.a, parted.b, *steps))
    return parted.completed(found) if parted.excess.any() else found


class _Parted:
    """A direction (da, db) that parts the masses of two fixed sides, along which there is no value.

    It is the tangent (da, db + s b), s = (sum da - sum db) / sum b, minus s times (0, b). On tangents the Hessian is
    that of `Solution.hvp`; to (0, b) it assigns the -w that makes it symmetric. With gamma the gradient in b and
    kappa = <b, gamma>, which is epsilon (sum R - sum a) for the product reference and 0 for the other, that is

        <d, w> = <db, gamma> - d kappa(d + (0, s b)).
    """

    def __init__(self, solution: Any, a: Any, b: Any) -> None:
        self.solution, problem = solution, solution.problem
        used = [np.reshape(x, y.shape) for x, y in ((problem.row_used, a), (problem.col_used, b))]
        self.weights = [
            np.where(x, np.reshape(y, x.shape), 0.0) for x, y in zip(used, (problem.a, problem.b), strict=True)
        ]
        self.a, b = np.where(used[0], a, 0.0), np.where(used[1], b, 0.0)
        self.mass = self.weights[1].sum(axis=-1, keepdims=True)
        self.excess = (self.a.sum(axis=-1, keepdims=True) - b.sum(axis=-1, keepdims=True)) / self.mass
        self.b, self.used = b + self.excess * self.weights[1], used

    def completed(self, found: tuple[Any, ...]) -> tuple[Any, ...]:
        cost, a, b, epsilon, rho = found
        problem, by_a, by_epsilon = self.solution.problem, 0.0, 0.0
        by_b = self.solution.gradients().b
        if problem.reference == "product":
            width = np.reshape(problem.epsilon, self.excess.shape)
            by_rows, by_cols = (np.reshape(x, y.shape) for x, y in zip(problem.partners, self.weights, strict=True))
            total = (self.weights[0] * by_rows).sum(axis=-1, keepdims=True)
            by_a = -width * (by_rows + total / self.mass - 1.0)
            by_b = by_b - width * (by_cols - total / self.mass)
            by_epsilon = (self.weights[0].sum(axis=-1, keepdims=True) - total)[..., 0]
        a = a + self.excess * np.where(self.used[0], by_a, 0.0)
        b = b + self.excess * np.where(self.used[1], by_b, 0.0)
        return cost, a, b, epsilon + self.excess[..., 0] * by_epsilon, rho


def _slopes(options: dict[str, Any]) -> list[float]:
    """How the strengths rho of both sides grow with epsilon: `Elastic` holds lam = rho / (rho + epsilon)."""
    lams = [getattr(options.get(side), "lam", 0.0) for side in SIDES]
    return [lam / (1.0 - lam) if lam < 1 else 0.0 for lam in lams]


def _is_given(options: dict[str, Any]) -> list[float]:
    """1 for a side whose strength is an input, 0 for the others."""
    return [float(side in options.get("given", "")) for side in SIDES]


def _inputs(options: dict[str, Any], found: Gradients) -> tuple[Any, ...]:
    rows, cols = _slopes(options)
    epsilon = found.epsilon + rows * found.rows + cols * found.cols
    rho = np.stack(np.broadcast_arrays(found.rows, found.cols), axis=-1) * _is_given(options)
    return found.cost, found.a, found.b, epsilon, rho


def _strengths(options: dict[str, Any], epsilon: Any, rho: Any) -> tuple[Any, Any, Any]:
    """The direction in epsilon and in the strengths: what epsilon takes along, and what they do themselves."""
    rows, cols = _slopes(options)
    rho = rho * _is_given(options)
    return epsilon[()], (rows * epsilon + rho[..., 0])[()], (cols * epsilon + rho[..., 1])[()]


PROBLEM = ("cost", "a", "b", "epsilon", "rho")
SOLVED = (*PROBLEM, "f", "g")
OUTCOME = ("plan", "f", "g")
LOGS = ("log_plan", "f", "g")
plan = HostCall(_run, _plan, PROBLEM, ("plan", "converged", "f", "g"))
log_plan = HostCall(_solved, _log_plan, PROBLEM, ("log_plan", "converged", "f", "g"))
potentials = HostCall(_solved, _potentials, PROBLEM, (*SHOWN, "converged", "f", "g"))
value = HostCall(_solved, _value, PROBLEM, ("value", "converged", "f", "g"))
pull_back = HostCall(_rerun, _pull_back, (*SOLVED, *OUTCOME), PROBLEM)
push_forward = HostCall(_recalled, _push_forward, (*SOLVED, *PROBLEM), OUTCOME)
pull_back_logs = HostCall(_recalled, _pull_back_logs, (*SOLVED, *LOGS), PROBLEM)
push_forward_logs = HostCall(_recalled, _push_forward_logs, (*SOLVED, *PROBLEM), LOGS)
value_gradients = HostCall(_recalled, _value_gradients, SOLVED, PROBLEM)
value_hvp = HostCall(_recalled, _value_hvp, (*SOLVED, *PROBLEM), PROBLEM)
