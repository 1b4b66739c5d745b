"""Assignment problems against SciPy, lapx and POT.

    python -m benchmarks.compare_assignment [--quick] [--only SECTION ...] [--costs NAME ...] [--sizes N ...]
                                            [--limit SECONDS] [--output FOLDER]

prints the tables and writes assignment.json (the numbers), assignment.rst (the tables, for the docs) and
assignment.svg. A run with --quick, --only, --costs or --sizes writes nothing unless told where; --redraw makes tables
and figure of stored numbers.
"""

import math
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial

import numpy as np

from . import assignment_solvers, assignment_tables, fresh_processes, plots
from .assignment_problems import BEYOND_ALL_CELLS, COSTS, Case, Matrix
from .assignment_solvers import EMD, LAPJV, OURS, SCIPY, SOLVERS, AssignmentSolver
from .assignment_tables import stored, worst
from .assignment_timing import Certificate, Comparison, Repeats, compare, predict
from .report import Benchmark, Figures, Section, options
from .timing import time_calls
from .workers import SETTLE

STACKED = ("uniform", "cube2", "integers", "cloud2")
CLOUDS = ("cloud2", "cloud3", "cube2", "cube3", "cube8")


@dataclass(frozen=True)
class Scale:
    """How much is measured; ``limit``: seconds a peer may take."""

    sizes: tuple[int, ...]
    goal_size: int
    crossover_sizes: tuple[int, ...]
    rectangular_size: int
    single_size: int
    memory_sizes: tuple[int, ...]
    stacks: tuple[tuple[int, int], ...]
    stack_rounds: int
    repeats: Repeats
    crossover_repeats: Repeats
    limit: float


FULL = Scale(
    sizes=(100, 200, 500, 1000, 2000, 4000, 10_000),
    goal_size=4000,
    crossover_sizes=(50, 100, 200, 300, 400, 500, 600, 700, 800, 900, 1000, 1200, 1500),
    rectangular_size=1000,
    single_size=4000,
    memory_sizes=(2000, 4000),
    stacks=((10_000, 4), (1000, 16), (200, 64), (50, 256), (8, 900)),
    stack_rounds=15,
    repeats=Repeats(),
    crossover_repeats=Repeats(budget=0.5, most=11, once=0.5),
    limit=40.0,
)
QUICK = Scale(
    sizes=(50, 100, 200),
    goal_size=200,
    crossover_sizes=(50, 100, 200),
    rectangular_size=100,
    single_size=200,
    memory_sizes=(1000,),
    stacks=((100, 4), (20, 64)),
    stack_rounds=3,
    repeats=Repeats(budget=0.05, most=20),
    crossover_repeats=Repeats(budget=0.05, most=3),
    limit=5.0,
)


class Bench:
    """The sections."""

    def __init__(self, scale: Scale, costs: Collection[str]) -> None:
        self.scale, self.costs = scale, costs

    def square(self) -> Figures:
        """Every solver on every kind of costs, from small to large n; who took too long is not run at larger sizes."""
        found: list[Comparison] = []
        certificates = {}
        for kind in self._chosen(COSTS):
            warm_up(kind)
            smaller: list[Comparison] = []
            proofs = []
            for n in self.scale.sizes:
                case = Case(kind, n, n)
                predicted = {solver.name: predict(solver.name, n, smaller) for solver in SOLVERS}
                limits = {name: self._limit(case, name, seconds) for name, seconds in predicted.items()}
                one, proof = compare(case, SOLVERS, limits, predicted, self.scale.repeats, settle(case))
                print(case, flush=True)
                smaller.append(one)
                proofs.append(proof)
            found += smaller
            certificates[kind] = worst(proofs)
        return {"limit": self.scale.limit, "goal_size": self.scale.goal_size, **stored(found, certificates)}

    def rectangular(self) -> Figures:
        """Against SciPy, either side the longer one."""
        n = self.scale.rectangular_size
        cases = [
            case
            for kind in self._chosen(("uniform", "cloud2"))
            for factor in (2, 10)
            for case in (Case(kind, n, factor * n), Case(kind, factor * n, n))
        ]
        return self._compare(cases, (OURS, SCIPY))

    def float32(self) -> Figures:
        """Single precision; the slower of the two lapx solvers does not take part."""
        size = self.scale.single_size
        cases = [Case(kind, size, size, "float32") for kind in self._chosen(("uniform", "cloud2"))]
        return self._compare(cases, [solver for solver in SOLVERS if solver is not LAPJV])

    def memory(self) -> Figures:
        """Fresh processes: peak memory above the cost."""
        cases = [
            Case(kind, n, n, dtype)
            for kind in self._chosen(("uniform", "cloud2", "line"))
            for n in self.scale.memory_sizes
            for dtype in ("float64", "float32")
        ]
        return [{**asdict(case), **fresh_processes.measure_assign(case)} for case in cases]

    def stacks(self) -> Figures:
        """Many problems of one size, in one call and in a loop over SciPy."""
        found = []
        for kind in self._chosen(STACKED):
            for count, n in self.scale.stacks:
                rng = np.random.default_rng((count, n))
                costs = np.stack([COSTS[kind].draw(rng, n, n) for _ in range(count)])
                calls = {OURS.name: partial(OURS.solve, costs), SCIPY.name: partial(solve_each, SCIPY, costs)}
                found.append({"costs": kind, "count": count, "n": n, **time_calls(calls, self.scale.stack_rounds)})
        return found

    def crossover(self) -> Figures:
        """Where the own engine passes SciPy: what the constant SMALL is chosen from."""
        found = []
        with assignment_solvers.own_engine_only():
            for kind in self._chosen(COSTS):
                warm_up(kind)
                for n in self.scale.crossover_sizes:
                    case = Case(kind, n, n)
                    found.append(compare(case, (OURS, SCIPY), {}, {}, self.scale.crossover_repeats, SETTLE)[0])
        return {"small": assignment_solvers.small(), **stored(found)}

    def _limit(self, case: Case, name: str, predicted: float) -> float:
        """Seconds; 0: not run. What the goals are about runs, on uniform costs to the limit and else to the end."""
        if name == OURS.name:
            return math.inf
        if case.n == self.scale.goal_size and name in (SCIPY.name, EMD.name) and case.costs in ("uniform", *CLOUDS):
            return math.inf
        wanted = case.n >= self.scale.goal_size and name == SCIPY.name and case.costs == "uniform"
        return 0.0 if predicted > self.scale.limit and not wanted else self.scale.limit

    def _compare(self, cases: Sequence[Case], solvers: Sequence[AssignmentSolver]) -> Figures:
        """Every one of them on every case; only where there are any."""
        found: list[Comparison] = []
        proofs: dict[str, list[Certificate]] = {}
        limits = {solver.name: self.scale.limit for solver in solvers if solver is not OURS}
        for case in cases:
            warm_up(case.costs, case if case.n != case.m else replace(case, n=1000, m=1000))
            one, proof = compare(case, solvers, limits, {}, self.scale.repeats, settle(case))
            found.append(one)
            proofs.setdefault(case.costs, []).append(proof)
        certificates = {kind: worst(some) for kind, some in proofs.items()}
        return {"limit": self.scale.limit, **stored(found, certificates)} if found else None

    def _chosen(self, kinds: Collection[str]) -> list[str]:
        return [kind for kind in kinds if kind in self.costs]


def solve_each(solver: AssignmentSolver, costs: Matrix) -> None:
    """One problem after another."""
    for cost in costs:
        solver.solve(cost)


def warm_up(kind: str, case: Case | None = None) -> None:
    """Load compiled code and libraries, on problems that the own solvers solve: on all cells, and on a few."""
    for warm in (Case(kind, BEYOND_ALL_CELLS, BEYOND_ALL_CELLS), case or Case(kind, 1000, 1000), Case(kind, 50, 50)):
        cost = warm.build()
        OURS.solve(cost)
    for solver in SOLVERS:
        solver.solve(cost)


def settle(case: Case) -> float:
    """Seconds to sleep after a run of ours: its idle threads spin for a while, where it has used them."""
    return SETTLE if min(case.n, case.m) >= assignment_solvers.small() else 0.0


ASSIGNMENT = Benchmark(
    "assignment",
    {
        "square": Section(Bench.square, assignment_tables.square),
        "rectangular": Section(Bench.rectangular, assignment_tables.rectangular),
        "float32": Section(Bench.float32, assignment_tables.float32),
        "memory": Section(Bench.memory, assignment_tables.memory),
        "stacks": Section(Bench.stacks, assignment_tables.stacks),
        "crossover": Section(Bench.crossover, assignment_tables.crossover),
    },
    plots.assignment,
)


def main() -> None:
    parser = options(__doc__, list(ASSIGNMENT.sections))
    parser.add_argument("--costs", nargs="+", choices=list(COSTS), default=[], metavar="NAME")
    parser.add_argument("--sizes", nargs="+", type=int, help="of the square problems", metavar="N")
    parser.add_argument("--limit", type=float, help=f"seconds a peer may take (default {FULL.limit:g})")
    arguments = parser.parse_args()
    if arguments.redraw:
        ASSIGNMENT.redraw(arguments.output)
        return
    scale = QUICK if arguments.quick else FULL
    scale = replace(
        scale, sizes=tuple(sorted(set(arguments.sizes or scale.sizes))), limit=arguments.limit or scale.limit
    )
    bench = Bench(scale, arguments.costs or list(COSTS))
    ASSIGNMENT.run(arguments, bench, whole=not (arguments.costs or arguments.sizes))


if __name__ == "__main__":
    main()
