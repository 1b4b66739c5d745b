"""Solves between points and their derivatives as stateless functions of arrays, as `stateless` has for matrices.

Points are (..., n, d) and (..., m, d). With leading dimensions small problems are a batch, which stores their costs;
large ones, each of which is solved without a matrix, and a great many go one after the other. What is carried is a
product with the plan, P v for v of shape (m, k): derivatives of it see the bar of the plan as u v^T, of rank k.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from ..api.options import is_budget
from ..api.solve import recall, recall_batch, solve_for
from ..costs.point_stack import LARGEST_STACK
from ..costs.points import PointCloud
from ..costs.scan import KEPT_ENTRIES
from ..derivatives.carried import pull_carried, push_carried
from ..problems.build import build
from ..problems.build_batch import build_batch
from ..problems.penalties import Fixed
from .calls import SHOWN, HostCall
from .each import batched, each
from .parted import Parted
from .stateless import potentials_of, potentials_shown, value_of
from .strengths import inputs_of, penalties, strengths

Options = dict[str, Any]


def _solved(options: Options, *arrays: Any) -> Any:
    """The solution, that of a batch, or a list of those of all problems."""
    if _is_stack(options, *arrays):
        x, y, a, b, epsilon, rho = arrays[: len(CLOUD_PROBLEM)]
        how = penalties(options, rho)
        return solve_for(PointCloud(x, y, how.pop("metric")), a, b, epsilon=epsilon, **how)
    return each(arrays, lambda *one: _solve(options, *one), None, 2)


def _recalled(options: Options, *arrays: Any) -> Any:
    """The same from the potentials behind the problem."""
    return (_recall if _is_stack(options, *arrays) else _recall_each)(options, *arrays)


def _recall_each(options: Options, *arrays: Any) -> Any:
    return each(arrays, lambda *one: _recall(options, *one), None, 2)


def _is_stack(options: Options, x: Any, y: Any, *rest: Any) -> bool:
    """Return True for small problems with leading dimensions, whose costs are stored alone as well."""
    *batch, n, _ = np.shape(x)
    entries = n * np.shape(y)[-2]
    few = entries <= KEPT_ENTRIES and math.prod(batch) * entries <= LARGEST_STACK
    return bool(batch) and few and not options.get("progress", False)


def _recalled_carried(options: Options, *arrays: Any) -> Any:
    """The same, where v stands between the problem and the potentials."""
    count = len(CLOUD_PROBLEM)
    return _recalled(options, *arrays[:count], *arrays[count + 1 :])


def _solve(options: Options, x: Any, y: Any, a: Any, b: Any, epsilon: Any, rho: Any, *rest: Any) -> Any:
    how = penalties(options, rho)
    return solve_for(PointCloud(x, y, how.pop("metric")), a, b, epsilon=float(epsilon), **how)


def _recall(
    options: Options, x: Any, y: Any, a: Any, b: Any, epsilon: Any, rho: Any, f: Any, g: Any, *rest: Any
) -> Any:
    given = penalties(options, rho)
    how = {name: given[name] for name in ("tol", "max_iter", "method", "end") if name in given}
    if given.get("on_failure") == "ignore" and how["tol"] > 0:
        how["tol"] = np.inf  # whoever wants no warning of the solve wants none of its gradients
    sides = given.get("rows", Fixed()), given.get("cols", Fixed())
    cloud, reference = PointCloud(x, y, given["metric"]), given.get("reference", "product")
    precision, budgeted = given.get("precision", ""), is_budget(how.get("tol", 1e-6), how.get("method", "auto"))
    if cloud._batch:
        problems = build_batch(cloud, a, b, epsilon, *sides, reference, None, None, None, precision)
        return recall_batch(problems.levelled(budgeted), f, g, **how)
    problem = build(cloud, a, b, float(epsilon), *sides, reference, None, precision)
    return recall(problem.levelled(budgeted), f, g, **how)


def _carried(options: Options, found: Any, *problem: Any) -> tuple[Any, ...]:
    return found.apply(np.asarray(problem[-1], np.float64)), found.converged, *potentials_of(found)


def _value_gradients(options: Options, solution: Any, *known: Any) -> tuple[Any, ...]:
    return inputs_of(options, solution.gradients())


def _value_hvp(options: Options, solution: Any, *arrays: Any) -> tuple[Any, ...]:
    """Differentiate the gradients of the value along a direction; see `Parted` for one that parts fixed masses."""
    x, y, a, b, epsilon, rho = arrays[len(CLOUD_SOLVED) :]
    steps, moved = strengths(options, epsilon, rho), {"x": x, "y": y}
    if not all(isinstance(side, Fixed) for side in (solution.problem.rows, solution.problem.cols)):
        return inputs_of(options, solution.hvp(None, a, b, *steps, **moved))
    parted = Parted(solution, a, b)
    found = inputs_of(options, solution.hvp(None, parted.a, parted.b, *steps, **moved))
    return parted.completed(found) if parted.excess.any() else found


def _pull_back(options: Options, solution: Any, *arrays: Any) -> tuple[Any, ...]:
    f, g = arrays[len(CLOUD_SOLVED) :]
    return inputs_of(options, solution.vjp(f=f, g=g))


def _push_forward(options: Options, solution: Any, *arrays: Any) -> tuple[Any, ...]:
    x, y, a, b, epsilon, rho = arrays[len(CLOUD_SOLVED) :]
    found = solution.jvp(None, a, b, *strengths(options, epsilon, rho), x=x, y=y)
    return found.f, found.g


def _pull_carried(options: Options, solution: Any, *arrays: Any) -> tuple[Any, ...]:
    right, bar, f, g = (np.asarray(arrays[k], np.float64) for k in (len(CLOUD_PROBLEM), -3, -2, -1))
    return *inputs_of(options, pull_carried(solution, right, bar, f, g)), solution.apply(bar, axis=0)


def _push_carried(options: Options, solution: Any, *arrays: Any) -> tuple[Any, ...]:
    right = arrays[len(CLOUD_PROBLEM)]
    x, y, a, b, epsilon, rho, step = arrays[-len(CLOUD_PROBLEM) - 1 :]
    along = {"x": x, "y": y, "a": a, "b": b}
    names = ("epsilon", "rows", "cols")
    along |= dict(zip(names, strengths(options, epsilon, rho), strict=True))
    carried, f, g = push_carried(solution, np.asarray(right, np.float64), along)
    return carried + solution.apply(np.asarray(step, np.float64)), f, g


def _call(begin: Callable[..., Any], one: Any, inputs: tuple[str, ...], results: tuple[str, ...]) -> HostCall:
    return HostCall(begin, batched(one, 2), inputs, results)


CLOUD_PROBLEM = ("x", "y", "a", "b", "epsilon", "rho")
CLOUD_SOLVED = (*CLOUD_PROBLEM, "f", "g")
value = _call(_solved, value_of, CLOUD_PROBLEM, ("value", "converged", "f", "g"))
value_gradients = _call(_recalled, _value_gradients, CLOUD_SOLVED, CLOUD_PROBLEM)
value_hvp = _call(_recalled, _value_hvp, (*CLOUD_SOLVED, *CLOUD_PROBLEM), CLOUD_PROBLEM)
potentials = _call(_solved, potentials_shown, CLOUD_PROBLEM, (*SHOWN, "converged", "f", "g"))
pull_back = _call(_recalled, _pull_back, (*CLOUD_SOLVED, "f", "g"), CLOUD_PROBLEM)
push_forward = _call(_recalled, _push_forward, (*CLOUD_SOLVED, *CLOUD_PROBLEM), ("f", "g"))
carried = _call(_solved, _carried, (*CLOUD_PROBLEM, "right"), ("carried", "converged", "f", "g"))
CARRIED_SOLVED = (*CLOUD_PROBLEM, "right", "f", "g")
pull_carried_back = _call(
    _recalled_carried, _pull_carried, (*CARRIED_SOLVED, "carried", "f", "g"), (*CLOUD_PROBLEM, "right")
)
push_carried_forward = _call(
    _recalled_carried, _push_carried, (*CARRIED_SOLVED, *CLOUD_PROBLEM, "right"), ("carried", "f", "g")
)
