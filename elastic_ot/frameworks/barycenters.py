"""Barycenters and their derivatives as stateless functions of arrays, as `stateless` has for transports.

The first inputs say where costs come from: matrices, points, or the axes of a `Grid`. Problems of a batch are solved
one after the other. f and g are the potentials (K, n) and (K, m); a derivative begins with one iteration from g, which
f and the masses follow.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from ..api.barycenter import barycenter
from ..costs.grid import Grid
from ..costs.points import PointCloud
from ..derivatives.barycenter import BarycenterGradients
from ..derivatives.records import Gradients
from ..solutions.barycenter import Barycenter
from ..solvers.status import Status
from .barycenter_inputs import BARYCENTER_OPTIONS
from .calls import CORE, HostCall
from .each import batched, each
from .strengths import inputs_of, penalties, strengths

Options = dict[str, Any]
BESIDE_COSTS = ("measures", "weights", "epsilon", "rho")
COST_KINDS = {"matrix": ("costs",), "clouds": ("xs", "support"), "grid": ("axes", "columns")}
TRAVELLED = 1e-12  # added to the tolerance of potentials that have travelled


def _costs(options: Options, places: Any) -> Any:
    """The costs as `elastic_ot.barycenter` takes them; one for all measures is one object."""
    if "metric" in options:
        xs, support = places
        clouds = [PointCloud(x, support, options["metric"]) for x in xs]
        return clouds[0] if len(clouds) == 1 else clouds
    if "grid" in options:
        shapes = [tuple(map(int, pair.split("x"))) for pair in options["grid"].split(",")]
        ends = np.cumsum([n * m for n, m in shapes])[:-1]
        return Grid.from_matrices([x.reshape(pair) for x, pair in zip(np.split(places[0], ends), shapes, strict=True)])
    return places[0][0] if len(places[0]) == 1 else places[0]


def _solve(options: Options, *arrays: Any) -> Barycenter:
    *places, measures, weights, epsilon, rho = arrays
    how = {name: x for name, x in penalties(options, rho).items() if name in BARYCENTER_OPTIONS}
    return barycenter(_costs(options, places), measures, weights, epsilon=float(epsilon), **how)


def _recall(options: Options, *arrays: Any) -> Barycenter:
    *problem, _, g = arrays
    quiet = options.get("on_failure") == "ignore"  # whoever wants no warning of the solve wants none of its gradients
    how = {"init": g, "max_iter": 1, "tol": options["tol"] + TRAVELLED, "on_failure": "ignore"}
    *places, measures, weights, epsilon, rho = problem
    rows = {name: x for name, x in penalties(options, rho).items() if name == "rows"}
    found = barycenter(_costs(options, places), measures, weights, epsilon=float(epsilon), **rows, **how)
    return replace(found, status=Status.CONVERGED) if quiet else found


def _masses(options: Options, found: Barycenter, *problem: Any) -> tuple[Any, ...]:
    return found.weights, found.converged, np.stack(found.f), np.stack(found.g)


def _value(options: Options, found: Barycenter, *problem: Any) -> tuple[Any, ...]:
    return found.value, found.converged, np.stack(found.f), np.stack(found.g)


def _inputs(options: Options, found: BarycenterGradients, places: Any) -> tuple[Any, ...]:
    """Derivatives in the inputs of a call, in their order."""
    where: dict[str, Any] = {"cost": None}
    if "metric" in options:
        where |= {"x": _joined(found.x, places[0]), "y": np.sum(found.y, axis=0)}  # type: ignore[arg-type]
    elif "grid" in options:
        where |= {"x": np.zeros(places[0].shape), "y": np.zeros(places[1].shape)}
    else:
        where["cost"] = _joined(found.costs, places[0])
    a: Any = np.stack(found.measures)
    return inputs_of(
        options, Gradients(a=a, b=found.weights, epsilon=found.epsilon, rows=found.rows, cols=0.0, **where)
    )


def _joined(slopes: Any, given: Any) -> Any:
    """Those of every cost, or their sum where one was given for all."""
    return np.stack(slopes) if len(given) == len(slopes) else np.sum(slopes, axis=0)[None]


def _direction(options: Options, steps: Any) -> dict[str, Any]:
    """The direction of `Barycenter.jvp` of those of the inputs."""
    *places, measures, weights, epsilon, rho = (np.asarray(x, np.float64) for x in steps)
    by_epsilon, rows, _ = strengths(options, epsilon, rho)
    found = {"measures": measures, "weights": weights, "epsilon": float(by_epsilon), "rows": float(rows)}
    count = len(measures)
    if "metric" in options:
        xs, support = places
        found |= {"x": np.broadcast_to(xs, (count, *xs.shape[1:])), "y": [support] * count}
    elif "grid" not in options:
        found["costs"] = np.broadcast_to(places[0], (count, *places[0].shape[1:]))
    return found


class Calls(NamedTuple):
    """The calls for costs of one kind."""

    problem: tuple[str, ...]
    masses: HostCall
    pull_back: HostCall
    push_forward: HostCall
    value: HostCall
    value_gradients: HostCall
    value_hvp: HostCall


def calls_of(kind: str) -> Calls:
    """Return the calls for costs of that kind, a key of `COST_KINDS`."""
    places = COST_KINDS[kind]
    problem, count, rank = (*places, *BESIDE_COSTS), len(places), len(CORE[places[0]])
    solved = (*problem, "fs", "gs")

    def begin(options: Options, *arrays: Any) -> Any:
        return each(arrays, lambda *one: _solve(options, *one), None, rank)

    def again(options: Options, *arrays: Any) -> Any:
        return each(arrays[: len(solved)], lambda *one: _recall(options, *one), None, rank)

    def pull_back(options: Options, found: Barycenter, *arrays: Any) -> tuple[Any, ...]:
        slopes = found.vjp(arrays[-1], with_epsilon=not options["epsilon_is_held"])
        return _inputs(options, slopes, arrays[:count])

    def push_forward(options: Options, found: Barycenter, *arrays: Any) -> tuple[Any, ...]:
        return (found.jvp(**_direction(options, arrays[len(solved) :])),)

    def value_gradients(options: Options, found: Barycenter, *arrays: Any) -> tuple[Any, ...]:
        return _inputs(options, found.gradients(), arrays[:count])

    def value_hvp(options: Options, found: Barycenter, *arrays: Any) -> tuple[Any, ...]:
        return _inputs(options, found.hvp(**_direction(options, arrays[len(solved) :])), arrays[:count])

    def call(first: Any, then: Any, inputs: tuple[str, ...], results: tuple[str, ...]) -> HostCall:
        return HostCall(first, batched(then, rank), inputs, results)

    return Calls(
        problem=problem,
        masses=call(begin, _masses, problem, ("barycenter", "converged", "fs", "gs")),
        pull_back=call(again, pull_back, (*solved, "barycenter"), problem),
        push_forward=call(again, push_forward, (*solved, *problem), ("barycenter",)),
        value=call(begin, _value, problem, ("value", "converged", "fs", "gs")),
        value_gradients=call(again, value_gradients, solved, problem),
        value_hvp=call(again, value_hvp, (*solved, *problem), problem),
    )


BARYCENTER_CALLS = {kind: calls_of(kind) for kind in COST_KINDS}
