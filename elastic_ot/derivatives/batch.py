"""Derivatives of many solves at once: those of `implicit`, `value` and `unrolled`, in a few calls for all problems.

What is O(n + m) works on arrays (B, n), what is O(n m) is one call of the backend. A problem whose numbers leave the
range there, or whose linear system takes too long, is looked at alone. 0 stands beyond the lengths. Those in the costs
between points are passed on to these at the end (`batch_points`).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..arrays.devices import library_of
from ..arrays.half import is_single, working_dtype
from ..arrays.ingest import as_numpy, beside, ingest_bar
from ..backends import load_batch_gradients_for
from ..backends.protocol import BatchBars, BatchSystem
from ..problems.batch import BatchProblem
from ..problems.penalty import Vector
from ..solvers.batch.found import BatchFound
from ..solvers.found import Found
from .batch_points import PointBars, in_points_of_each, on_costs, on_matrix
from .implicit import pull_back as pull_back_alone
from .implicit import push_forward as push_forward_alone
from .records import Gradients, Tangents, direction_of, refuse_other_direction
from .sides import Optimum, Side
from .unrolled import pull_back_iterations, push_forward_iterations
from .value import push_value_gradients as push_value_gradients_alone

GRADIENT_NAMES = "cost", "a", "b", "epsilon", "rows", "cols"


def value_gradients(solved: BatchFound) -> Gradients:
    """`Solution.gradients` of every problem; that in a cost has its dtype, those in points are in float64."""
    problem, optimum = solved.problem, _optimum(solved)
    rows, cols, epsilon = optimum.rows, optimum.cols, optimum.epsilon
    cost, dots = problem.matrices(_cost_dtype(problem)), np.empty(problem.size)
    task, backend = solved.task, load_batch_gradients_for(problem.cost)
    backend.batch_plan_dots(task.cost, task.batch, *_plan_potentials(solved), cost, dots)
    entropy = dots - _reference_part(optimum, rows.marginal, cols.marginal)
    entropy += problem.reference_mass - rows.marginal.sum(axis=1)
    a, b = rows.dual_by_weight(), cols.dual_by_weight()
    a, b = (np.where(side.used, x + y, 0.0) for side, x, y in zip((rows, cols), (a, b), problem.offsets, strict=True))
    if optimum.product:
        allowed_b, allowed_a = problem.partners
        a += epsilon * (np.where(rows.used, allowed_b, 0.0) - rows.over_weights(rows.marginal))
        b += epsilon * (np.where(cols.used, allowed_a, 0.0) - cols.over_weights(cols.marginal))
    return _shaped(problem, cost, a, b, entropy, rows.value_by_strength(), cols.value_by_strength())


def pull_back(solved: BatchFound, plan: Any, f: Any, g: Any, dtype: Any = None) -> Gradients:
    """`Solution.vjp` of every problem; that in the cost in `dtype`, by default the cost's."""
    problem = solved.problem
    shape, dtype = problem.shape, dtype or _cost_dtype(problem)
    shapes = shape, shape[:-1], (*shape[:-2], shape[-1])
    named = zip(("plan", "f", "g"), (plan, f, g), shapes, (2, 1, 1), strict=True)
    like = problem.cost, None, None
    bars = [
        _flat(problem, ingest_bar(name, x, size, narrow=True, like=matrix), ndim)
        for (name, x, size, ndim), matrix in zip(named, like, strict=True)
    ]
    sides = _side_bar(bars[1], problem.row_used), _side_bar(bars[2], problem.col_used)
    if solved.budget is not None:
        return _pull_back_iterations(solved, bars[0], sides, dtype)
    return _pull_back_optimum(solved, bars[0], sides, dtype)


def push_forward(solved: BatchFound, **direction: Any) -> Tangents:
    """`Solution.jvp` of every problem."""
    problem = solved.problem
    n, m = problem.shape[-2:]
    plan, f, g = problem.matrices(np.float64), np.zeros((problem.size, n)), np.zeros((problem.size, m))
    plan[...] = 0.0
    for k, single, parts in _each(solved, direction):
        push = push_forward_alone if single.budget is None else push_forward_iterations
        found = push(*on_costs(single, direction_of(single.problem, **parts)))
        rows, cols = map(slice, single.problem.shape)
        plan[k, rows, cols], f[k, rows], g[k, cols] = found.plan, found.f, found.g
    return Tangents(*(x.reshape((*problem.batch, *x.shape[1:])) for x in (plan, f, g)))


def push_value_gradients(solved: BatchFound, **direction: Any) -> Gradients:
    """`Solution.hvp` of every problem."""
    problem = solved.problem
    out, bars = _empty_bars(problem, np.float64), None if problem.points is None else PointBars(problem, problem.points)
    for k, single, parts in _each(solved, direction):
        found = push_value_gradients_alone(single, direction_of(single.problem, **parts))
        _write(out, k, found)
        if bars is not None:
            bars.write(k, found)
    whole = _by_cost(problem, *out[:6])
    return whole if bars is None else replace(whole, **bars.slopes())


def _pull_back_iterations(
    solved: BatchFound, plan: NDArray[Any] | None, sides: tuple[Vector, Vector], dtype: Any
) -> Gradients:
    problem, task, budget, backend = (
        solved.problem,
        solved.task,
        solved.budget,
        load_batch_gradients_for(solved.problem.cost),
    )
    assert budget is not None
    zeros = np.zeros_like(problem.a), np.zeros_like(problem.b)
    start = task.alphas(zeros[0], zeros[1] if budget.g is None else budget.g)[1]
    epsilon, out = problem.epsilon[:, None], _empty_bars(problem, working_dtype(task.cost))
    bars = epsilon * sides[0], epsilon * sides[1]
    lost: list[int] = []
    for end, which in (("rows", np.flatnonzero(~solved.cols_last)), ("cols", np.flatnonzero(solved.cols_last))):
        for precision in ("mixed", "double") if is_single(task.cost) else ("double",):
            if which.size:
                backend.batch_pull_back_iterations(
                    task.cost,
                    task.batch,
                    task.rows,
                    task.cols,
                    solved.potentials,
                    start,
                    budget.count,
                    end,
                    problem.reference == "product",
                    plan,
                    *bars,
                    precision,
                    which,
                    out,
                )
                which = which[~out.sound[which]]
        lost.extend(which.tolist())
    for side, potential, used in zip(sides, (solved.f, solved.g), (problem.row_used, problem.col_used), strict=True):
        out.epsilon[:] += (side * np.where(used, potential, 0.0)).sum(axis=1) / problem.epsilon
    for k in lost:
        _write(out, k, _pulled(solved, k, plan, *sides))
    return _shaped(problem, out.cost.astype(dtype, copy=False), *out[1:6])


def _pull_back_optimum(
    solved: BatchFound, plan: NDArray[Any] | None, sides: tuple[Vector, Vector], dtype: Any
) -> Gradients:
    problem, task, optimum = solved.problem, solved.task, _optimum(solved)
    (size, n), m = problem.a.shape, problem.b.shape[1]
    bars = optimum.settle(*sides)
    row_side, col_side = optimum.epsilon * bars[0], optimum.epsilon * bars[1]
    sums = np.zeros((size, n)), np.zeros((size, m)), np.zeros((size, n)), np.zeros((size, m))
    found = BatchSystem(problem.matrices(dtype), *sums, np.empty(size), np.empty(size, np.bool_))
    load_batch_gradients_for(problem.cost).batch_pull_back(
        task.cost,
        task.batch,
        *solved.potentials,
        optimum.diagonals,
        np.ascontiguousarray(np.broadcast_to(optimum.rigid, (size, 1))[:, 0]),
        plan,
        row_side,
        col_side,
        found,
    )
    lost = np.flatnonzero(~found.sound)
    for part in found[1:6]:
        part[lost] = 0.0
    a, b, rows, cols = optimum.pull(found.x, found.y, bars, -found.rows, -found.cols)
    epsilon = found.dot - _reference_part(optimum, found.rows, found.cols)
    rows, cols = (np.array(np.broadcast_to(x, size)) for x in (rows, cols))
    out = BatchBars(found.cost, a, b, epsilon, rows, cols, found.sound)
    for k in map(int, lost):
        _write(out, k, _pulled(solved, k, plan, *sides))
    return _shaped(problem, *out[:6])


def _optimum(solved: BatchFound) -> Optimum:
    problem, measure, epsilon = solved.problem, solved.measure, solved.problem.epsilon[:, None]
    f, g = solved.f, solved.g
    return Optimum(
        Side(problem.rows, problem.a, problem.row_used, f, measure.row_marginal, epsilon),
        Side(problem.cols, problem.b, problem.col_used, g, measure.col_marginal, epsilon),
        epsilon,
        problem.reference == "product",
    )


def _plan_potentials(solved: BatchFound) -> tuple[Vector, Vector]:
    """Return kernel potentials of the plans, whose mass is in the user's units."""
    alpha, beta = solved.potentials
    return alpha + np.log(solved.problem.mass)[:, None], beta


def _reference_part(optimum: Optimum, rows: Vector, cols: Vector) -> Any:
    """<change, log R> from the sums of a change of the plan."""
    if not optimum.product:
        return 0.0
    return (rows * np.log(optimum.rows.weights)).sum(axis=1) + (cols * np.log(optimum.cols.weights)).sum(axis=1)


def _flat(problem: BatchProblem, bar: NDArray[Any] | None, ndim: int) -> NDArray[Any] | None:
    """Return values with the problems in one dimension, in C order; matrices in the dtype the cost is computed in."""
    dtype = working_dtype(problem.cost) if ndim == 2 else np.float64
    if bar is None:
        return None
    flat: NDArray[Any] = library_of(bar).ascontiguousarray(bar, dtype)
    return flat.reshape((problem.size, *bar.shape[-ndim:]))


def _side_bar(bar: NDArray[Any] | None, used: NDArray[np.bool_]) -> Vector:
    return np.zeros(used.shape) if bar is None else np.where(used, bar, 0.0)


def _empty_bars(problem: BatchProblem, dtype: Any) -> BatchBars:
    size, (n, m) = problem.size, problem.shape[-2:]
    epsilon, rows, cols = np.zeros((3, size))
    a, b = np.zeros((size, n)), np.zeros((size, m))
    return BatchBars(problem.matrices(dtype), a, b, epsilon, rows, cols, np.empty(size, np.bool_))


def _write(out: BatchBars, k: int, gradients: Gradients) -> None:
    """Write the derivatives of problem k into `out`."""
    for values, name in zip(out, GRADIENT_NAMES, strict=False):
        part = getattr(gradients, name)
        if part is None:  # those in the points stand in its place
            continue
        values[k] = 0.0
        values[(k, *map(slice, np.shape(part)))] = part


def _shaped(problem: BatchProblem, *values: Any) -> Gradients:
    """Return values with the batch shape in front; in place of those in costs between points those in the points."""
    return in_points_of_each(problem, _by_cost(problem, *values))


def _by_cost(problem: BatchProblem, *values: Any) -> Gradients:
    """Return values with the batch shape in front."""
    cost, *others = values
    arrays = (cost, *(np.broadcast_to(x, (problem.size, *np.shape(x)[1:])) for x in others))
    return Gradients(*(x.reshape((*problem.batch, *x.shape[1:])) for x in arrays))


def _cost_dtype(problem: BatchProblem) -> Any:
    """Return the dtype of derivatives in the costs."""
    return working_dtype(problem.cost) if problem.points is None else np.float64


def _pulled(solved: BatchFound, k: int, plan: NDArray[Any] | None, f: Vector, g: Vector) -> Gradients:
    """Return the derivatives of problem k, computed alone."""
    single = on_matrix(solved.single(k)[0])
    n, m = single.problem.shape
    plan = None if plan is None else plan[k, :n, :m].astype(np.float64, copy=False)
    pull = pull_back_alone if single.budget is None else pull_back_iterations
    return pull(single, plan, f[k, :n], g[k, :m])


def _each(solved: BatchFound, direction: dict[str, Any]) -> Iterator[tuple[int, Found, dict[str, Any]]]:
    """(k, problem k, its part of the direction)."""
    problem = solved.problem
    n, m = problem.shape[-2:]
    refuse_other_direction(problem.points is not None, direction.get("cost"), direction.get("x"), direction.get("y"))
    sizes: dict[str, tuple[int, ...]] = {"cost": (n, m), "a": (n,), "b": (m,)}
    if problem.points is not None:
        d = problem.points.x.shape[-1]
        sizes |= {"x": (n, d), "y": (m, d)}
    steps = {name: _step(name, x, problem, sizes.get(name, ())) for name, x in direction.items() if x is not None}
    for k in range(problem.size):
        rows, cols = slice(int(problem.row_count[k])), slice(int(problem.col_count[k]))
        cut = {"cost": (rows, cols), "a": (rows,), "b": (cols,), "x": (rows,), "y": (cols,)}
        parts = {name: x[k][cut[name]] if name in cut else float(x[k]) for name, x in steps.items()}
        points = parts.pop("x", None), parts.pop("y", None)
        yield k, solved.single(k)[0], dict.fromkeys(GRADIENT_NAMES) | parts | {"points": points}


def _step(name: str, values: Any, problem: BatchProblem, size: tuple[int, ...]) -> NDArray[Any]:
    """A part of a direction with the problems in front."""
    array = beside(name, values, problem.cost) if name == "cost" else as_numpy(name, values)
    shape = *problem.batch, *size
    if array.dtype.kind not in "iuf":
        raise TypeError(f"{name} has dtype {array.dtype}; it must hold real numbers")
    try:
        fits = array.shape[array.ndim - len(size) :] == size and array.ndim >= len(size)
        whole = library_of(array).broadcast_to(array, shape) if fits else None
    except ValueError:
        whole = None
    if whole is None:
        raise ValueError(f"{name} has shape {array.shape}; it must have that of the input it changes, {shape}")
    flat: NDArray[Any] = whole.reshape((problem.size, *size))
    return flat
