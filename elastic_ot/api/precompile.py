"""precompile(): what first calls would compile, before they are made."""

from __future__ import annotations

import importlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..backends.protocol import BOUNDED_METRICS
from ..calls import public
from ..costs.points import PointCloud
from ..derivatives.layers import solved_layer
from ..problems.penalties import KL, L2, TV, AtMost, Between, Fixed, Free
from ..solvers.methods import METHODS
from .assign import assign
from .exact import exact
from .solve import recall_batch, solve, solve_with_plan

BLURRED: dict[str, Any] = {"epsilon": 0.3, "on_failure": "ignore"}
THREE_SWEEPS: dict[str, Any] = {**BLURRED, "tol": 0.0, "max_iter": 3}
BOTH_TOLERANCES = 1e-6, 1e-9  # the first lets sweeps take float32
SMALL_SHAPE, LARGE_SHAPE = (6, 7), (500, 500)  # the second is split over threads
SPLIT_SHAPE = 1300, 1200  # here single passes are too
FEW_CELLS = 1600  # rows of an assignment that is not solved on all cells
BATCH_SHAPES = (3, 4, 5), (3, 20, 21), (300, 4, 5)
MATRIX_METHODS: tuple[Any, ...] = tuple(method for method in METHODS if method != "multiscale")
BUDGET_METHODS: tuple[Any, ...] = ("auto", "log", "scaling")
RELAXED = KL(1.0), TV(0.5), L2(1.0), Between(0.9, 1.1), AtMost()


@dataclass(frozen=True)
class Compilation:
    """What `precompile` did.

    Attributes
    ----------
    kernels : tuple of str
        Names of what was compiled, once for each signature; empty if all was in the cache.
    folder : str
        Where the machine code is kept.
    seconds : float
        How long it took.
    """

    kernels: tuple[str, ...]
    folder: str
    seconds: float


@public
def precompile(*parts: str) -> Compilation:
    """Compile into Numba's cache what first calls would compile, for images, tests and classrooms.

    Numba compiles a kernel when it is first called, for the types it is called with, and keeps the machine code in a
    cache that all later processes load (see `Compilation.folder`). This makes tiny calls of every kind, in float32 and
    float64. Whatever is in the cache already is left alone. Machine code is for one version of this package, of Numba
    and one kind of processor: a cache of another is ignored.

    Parameters
    ----------
    *parts : str
        Of ``"solve"``, ``"clouds"``, ``"batch"``, ``"torch"``, ``"jax"``, ``"exact"`` and ``"assign"``, or ``"all"``;
        ``"solve"`` if there is none. The frameworks need not be installed: what their operators call is compiled.

    Returns
    -------
    Compilation
        With the fields ``kernels``, ``folder`` and ``seconds``.

    Raises
    ------
    ValueError
        For a part that there is not.

    Examples
    --------
    >>> import elastic_ot as eot
    >>> eot.precompile("solve").folder  # doctest: +SKIP
    '/usr/lib/python3/site-packages/elastic_ot/backends/cpu/__pycache__'
    """
    for part in parts:
        if part not in (*CALLS, "all"):
            raise ValueError(f"part {part!r} is unknown; choose from {', '.join(CALLS)} and all")
    wanted = list(CALLS) if "all" in parts else list(dict.fromkeys(parts or ("solve",)))
    compiling = importlib.import_module("elastic_ot.backends.cpu.compiling")
    began, before = time.perf_counter(), len(compiling.compiled())
    for part in wanted:
        for dtype in (np.float32, np.float64):
            CALLS[part](np.random.default_rng(0), dtype)
    return Compilation(tuple(compiling.compiled()[before:]), compiling.folder(), time.perf_counter() - began)


def _solve(rng: Any, dtype: Any) -> None:
    for shape in SMALL_SHAPE, LARGE_SHAPE:
        cost = rng.random(shape).astype(dtype)
        for method in MATRIX_METHODS:
            for tol in BOTH_TOLERANCES:
                _read(solve(cost, method=method, tol=tol, **BLURRED))
            if method != "newton":
                solve(cost, method=method, relaxation=1.2, **BLURRED)
        for method in BUDGET_METHODS:
            _read(solve(cost, method=method, **THREE_SWEEPS))
        for penalty in RELAXED:
            solve(cost, rows=penalty, cols=penalty, max_iter=50, **BLURRED)
    _read(solve(rng.random(SPLIT_SHAPE).astype(dtype), method="newton", rows=KL(1.0), **BLURRED))
    for rows in (Fixed(), KL(1.0)):
        for options in (BLURRED, THREE_SWEEPS):
            _differentiate(solve(rng.random(SMALL_SHAPE).astype(dtype), rows=rows, **options))


def _clouds(rng: Any, dtype: Any) -> None:
    x = rng.random((SPLIT_SHAPE[0], 2)).astype(dtype)
    for tol in BOTH_TOLERANCES:
        solution = solve(PointCloud(x, 1.0 - x[1:]), tol=tol, method="log", max_iter=3, **BLURRED)
    solution.apply(np.ones(x.shape[0] - 1))
    solution.gradients()
    solve(PointCloud(x, 1.0 - x[1:], "euclidean"), method="log", max_iter=3, **BLURRED).gradients()
    solution.bounds()
    for tol in BOTH_TOLERANCES:
        solve(PointCloud(x, 1.0 - x[1:]), tol=tol, method="multiscale", epsilon=1e-3, on_failure="ignore").gradients()


def _read(solution: Any) -> None:
    for name in ("plan", "value", "gap", "transport_cost"):
        getattr(solution, name)
    solution.rounded_plan()
    solution.bounds()
    if solution.plan.ndim == 2:
        for axis, size in enumerate(solution.plan.shape[::-1], 1):
            solution.apply(np.ones(size), axis=2 - axis)


def _differentiate(solution: Any) -> None:
    shape = solution.plan.shape
    if np.all(solution.converged):
        solution.gradients()
    solution.vjp(plan=np.ones(shape, solution.plan.dtype), f=np.ones(shape[:-1]))
    solution.jvp(cost=np.ones(shape))


def _batch(rng: Any, dtype: Any) -> None:
    for shape in BATCH_SHAPES:
        cost = rng.random(shape).astype(dtype)
        for options in (BLURRED, THREE_SWEEPS, {**BLURRED, "tol": BOTH_TOLERANCES[1]}):
            for method in BUDGET_METHODS:
                _read(solve(cost, method=method, **options))
            for penalty in RELAXED:
                solve(cost, rows=penalty, cols=penalty, **options)
        solve(cost, rows=TV(1.0), **{**BLURRED, "epsilon": 0.02}).value  # noqa: B018


def _operators(rng: Any, dtype: Any) -> None:
    _batch(rng, dtype)
    problem = rng.random((2, 5, 6)).astype(dtype), np.ones((2, 5)), np.ones((2, 6)), np.ones(2)
    layer = solved_layer({"cols": Free(), "tol": 0, "max_iter": 3}, *problem)
    assert layer is not None
    layer.vjp(layer.plan, layer.f, layer.g)
    for shape in (SMALL_SHAPE, *BATCH_SHAPES):
        for rows in (Fixed(), KL(1.0), TV(0.5)):
            for options in (BLURRED, THREE_SWEEPS):
                cost = np.broadcast_to(rng.random(shape).astype(dtype), shape)  # read-only, as operators give them
                solution: Any = solve(cost, rows=rows, **options)
                _differentiate(solution)
                if cost.ndim == 3:
                    solve_with_plan(cost, None, None, rows=rows, **options)
                    f, g = (np.broadcast_to(x, x.shape) for x in (solution.host.f, solution.host.g))
                    _differentiate(recall_batch(solution.problem, f, g, tol=options.get("tol", np.inf), max_iter=3))


def _exact(rng: Any, dtype: Any) -> None:
    for n in (6, 60):
        weights = rng.random(n)
        for rows in (Fixed(), TV(1.0)):
            _proved(exact(rng.random((n, n)).astype(dtype), weights, weights[::-1], rows=rows))
    exact(rng.random((2, 6, 7)).astype(dtype))


def _assign(rng: Any, dtype: Any) -> None:
    for n in (6, 1000, FEW_CELLS):
        cost = rng.random((n, n + 1)).astype(dtype)
        for costs in (cost, np.floor(100 * cost), np.floor(100 * cost).astype(np.int64), cost[:, :n]):
            assign(costs).u  # noqa: B018
    x = rng.random((FEW_CELLS, 2)).astype(dtype)
    for metric in BOUNDED_METRICS:
        assign(PointCloud(x, 1.0 - x[1:], metric))
    assign(rng.random((2, 6, 7)).astype(dtype))
    assign(rng.random((6, 7)).astype(dtype), cost_limit=0.5)


def _proved(solution: Any) -> None:
    for name in ("plan", "value", "gap"):
        getattr(solution, name)


CALLS: dict[str, Callable[[Any, Any], None]] = {
    "solve": _solve,
    "clouds": _clouds,
    "batch": _batch,
    "torch": _operators,
    "jax": _operators,
    "exact": _exact,
    "assign": _assign,
}
