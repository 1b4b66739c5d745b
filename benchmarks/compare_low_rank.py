"""Plans of low rank beside POT's, and OTT's where it is installed, at equal cost; and of many points.

    python -m benchmarks.compare_low_rank [--quick] [--output FOLDER]

prints the tables and writes low_rank.json (the numbers) and low_rank.rst (the tables, for the docs). A run with --quick
writes nothing unless told where; --redraw makes the tables of stored numbers.

Costs <C, P> are computed anew from the factors. POT runs its hundred steps, OTT to a small threshold. Ours is given as
many iterations as it takes to cost no more than POT's, of the better of its starts, and then all it takes to be
stationary. Starts are part of the time. Runs are interleaved, medians of a few.
"""

import resource
import time
import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

import elastic_ot as eot

from .problems import Array
from .report import Benchmark, Figures, Report, Section, options
from .tables import Goal, Table, milliseconds

ROUNDS = 3
PROBLEMS = ((1000, 2, 10), (1000, 10, 10), (4000, 3, 20))
MANY = 100_000
STATIONARY = 1e-5  # our tolerance
OTT_OPTIONS = {"threshold": 1e-9, "max_iterations": 2000}
Factors = tuple[Array, Array, Array]


class Scale:
    """How much is measured."""

    def __init__(self, quick: bool) -> None:
        self.problems = ((200, 2, 5),) if quick else PROBLEMS
        self.many, self.rounds = (5000, 1) if quick else (MANY, ROUNDS)


def clouds(n: int, d: int) -> tuple[Array, Array]:
    rng = np.random.default_rng(n + d)
    x = rng.normal(size=(n, d))
    return x, rng.normal(size=(n, d)) * rng.uniform(0.5, 2.0, d) + rng.normal(size=d)


def ours(x: Array, y: Array, rank: int, **options: Any) -> eot.LowRankSolution:
    return eot.low_rank(eot.PointCloud(x, y), rank, tol=STATIONARY, on_failure="ignore", **options)


def pots(init: str) -> Callable[[Array, Array, int], Factors]:
    def run(x: Array, y: Array, rank: int) -> Factors:
        import ot

        a, b = np.full(len(x), 1 / len(x)), np.full(len(y), 1 / len(y))
        q, r, g = ot.lowrank_sinkhorn(x, y, a, b, rank=rank, init=init, warn=False)
        return np.asarray(q), np.asarray(r), np.asarray(g)

    return run


def otts(kind: str) -> Callable[[Array, Array, int], Factors]:
    """Compiled once for all runs; its default threshold ends far from stationary factors."""
    import jax
    from ott.geometry import pointcloud
    from ott.initializers.linear import initializers_lr
    from ott.problems.linear import linear_problem
    from ott.solvers.linear import sinkhorn_lr

    jax.config.update("jax_enable_x64", True)
    starts = {"random": initializers_lr.RandomInitializer, "k-means": initializers_lr.KMeansInitializer}

    @partial(jax.jit, static_argnums=2)
    def solve(x: Any, y: Any, rank: int) -> Any:
        problem = linear_problem.LinearProblem(pointcloud.PointCloud(x, y))
        found = sinkhorn_lr.LRSinkhorn(rank=rank, initializer=starts[kind](rank), **OTT_OPTIONS)(problem)
        return found.q, found.r, found.g

    def run(x: Array, y: Array, rank: int) -> Factors:
        q, r, g = (np.asarray(part) for part in solve(x, y, rank))
        return q, r, g

    return run


def peers() -> dict[str, Callable[[Array, Array, int], Factors]]:
    found = {"POT, random": pots("random"), "POT, k-means": pots("kmeans")}
    try:
        import ott  # noqa: F401 - is it there?
    except ImportError:
        return found
    return found | {f"OTT, {kind}": otts(kind) for kind in ("random", "k-means")}


def cost_of(x: Array, y: Array, factors: Factors) -> tuple[float, float]:
    """<C, P>, and by how much the marginals of P miss uniform weights in L1."""
    q, r, g = factors
    left, right = q / g, r
    squares = (x**2).sum(axis=1) @ (left @ right.sum(axis=0)) + (left.sum(axis=0) @ right.T) @ (y**2).sum(axis=1)
    cost = float(squares - 2.0 * ((x.T @ left) * (y.T @ right)).sum())
    missed = np.abs(left @ right.sum(axis=0) - 1 / len(x)).sum() + np.abs(right @ left.sum(axis=0) - 1 / len(y)).sum()
    return cost, float(missed)


def taken(call: Callable[[], Any]) -> tuple[float, float, Any]:
    wall, busy = time.perf_counter(), time.process_time()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = call()
    return time.perf_counter() - wall, time.process_time() - busy, found


def against_peers(scale: Scale) -> Figures:
    callers = peers()
    return [measured(problem, callers, scale.rounds) for problem in scale.problems]


def measured(
    problem: tuple[int, int, int], callers: dict[str, Callable[[Array, Array, int], Factors]], rounds: int
) -> Figures:
    """Everyone on one problem; the first run compiles, and says what POT's cost is."""
    n, d, rank = problem
    given = (*clouds(n, d), rank)
    calls: dict[str, Callable[[], Any]] = {name: partial(call, *given) for name, call in callers.items()}
    first = {name: cost_of(*given[:2], call())[0] for name, call in calls.items()}
    goal = min(cost for name, cost in first.items() if name.startswith("POT"))
    whole = ours(*given)
    reached = np.flatnonzero(whole.history.value <= goal)
    count = max(int(reached[0]), 1) if reached.size else whole.n_iter
    calls["ours, as good"] = lambda: ours(*given, max_iter=count).host
    calls["ours, stationary"] = lambda: ours(*given).host
    runs: dict[str, list[tuple[float, float, Any]]] = {name: [] for name in calls}
    for _ in range(rounds):
        for name, call in calls.items():
            runs[name].append(taken(call))
    rows = {
        name: [*(float(np.median([run[k] for run in some])) for k in (0, 1)), *cost_of(*given[:2], some[0][2])]
        for name, some in runs.items()
    }
    return {"n": n, "d": d, "rank": rank, "exact": whole.lower, "iterations": whole.n_iter, "runs": rows}


def report_peers(figures: Figures) -> Report:
    tables, goals = [], []
    for x in figures:
        runs, case = x["runs"], f"n = {x['n']:,}, d = {x['d']}, rank {x['rank']}"
        best = min((run for name, run in runs.items() if name.startswith("POT")), key=lambda run: run[2])
        rows = [
            [name, milliseconds(wall), milliseconds(busy), f"{cost:.5g}", f"{cost / best[2]:.4f}", f"{missed:.0e}"]
            for name, (wall, busy, cost, missed) in runs.items()
        ]
        header = ["", "time", "processor", "cost", "over POT's best", "marginals"]
        tables.append(Table(f"{case}; no plan of any rank costs less than {x['exact']:.5g}", header, rows))
        goals.append(Goal(f"{case}: cost over POT's best", runs["ours, stationary"][2] / best[2], 1.0, False))
        goals.append(Goal(f"{case}: times as fast as POT at its cost", best[0] / runs["ours, as good"][0], 1.0, True))
    return Report(tables, goals)


def many(scale: Scale) -> Figures:
    n = scale.many
    x, y = clouds(n, 3)
    ours(x[:1500], y[:1500], 10)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    wall, busy, found = taken(lambda: ours(x, y, 10))
    memory = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    bound = taken(lambda: found.lower)
    return {
        "n": n,
        "seconds": [wall, busy],
        "iterations": found.n_iter,
        "memory": memory,
        "upper": found.upper,
        "lower": bound[2],
        "bound": list(bound[:2]),
        "status": found.status.name,
    }


def report_many(x: Figures) -> Report:
    header = ["points a side", "time", "processor", "iterations", "memory", "cost", "lower bound", "in", ""]
    row = [f"{x['n']:,}", f"{x['seconds'][0]:.1f} s", f"{x['seconds'][1]:.1f} s", str(x["iterations"])]
    row += [f"{x['memory']:.0f} MB", f"{x['upper']:.5g}", f"{x['lower']:.5g}", f"{x['bound'][0]:.1f} s", x["status"]]
    return Report([Table("Rank 10 between points in space, without a matrix", header, [row])])


LOW_RANK = Benchmark("low_rank", {"peers": Section(against_peers, report_peers), "many": Section(many, report_many)})


def main() -> None:
    arguments = options(__doc__, list(LOW_RANK.sections)).parse_args()
    if arguments.redraw:
        LOW_RANK.redraw(arguments.output)
    else:
        LOW_RANK.run(arguments, Scale(arguments.quick))


if __name__ == "__main__":
    main()
