"""Small problems, one at a time, against POT: what surrounds the arithmetic is most of the time.

    python -m benchmarks.compare_small [--quick] [--only SECTION ...] [--output FOLDER]

prints the tables and writes small.json (the numbers) and small.rst (the tables, for the docs). A run with --quick or
--only writes nothing unless told where; --redraw makes the tables of stored numbers.
"""

from collections.abc import Callable
from functools import partial

import numpy as np
import ot

import elastic_ot as eot

from .problems import Array
from .report import Benchmark, Figures, Report, Section, options
from .tables import CommonGoal, Goal, Table, milliseconds, times
from .timing import time_calls

ACCURACY = 1e-6  # L1 error of both marginals, recomputed from the returned plan


class Scale:
    """How much is measured."""

    def __init__(self, quick: bool) -> None:
        self.sizes = (5, 50) if quick else (5, 10, 20, 50, 100, 200, 500)
        self.exact_sizes = (10, 30) if quick else (10, 30, 100, 300)
        self.shares = (0.5, 0.05) if quick else (0.5, 0.1, 0.05, 0.01)
        self.rounds = 5 if quick else 31


def error_of(plan: Array, a: Array, b: Array) -> float:
    return float(np.abs(plan.sum(axis=1) - a).sum() + np.abs(plan.sum(axis=0) - b).sum())


def accurate_enough(call: Callable[[float], Array], a: Array, b: Array) -> float:
    """The largest threshold from 1e-6 down whose plan is as accurate as asked."""
    threshold = ACCURACY
    while threshold > 1e-14 and not error_of(call(threshold), a, b) <= ACCURACY:
        threshold /= 10
    return threshold


def our_plan(cost: Array, a: Array, b: Array, epsilon: float, tol: float) -> Array:
    plan: Array = eot.solve(cost, a, b, epsilon=epsilon, tol=tol).plan
    return plan


def their_plan(cost: Array, a: Array, b: Array, epsilon: float, tol: float) -> Array:
    plan: Array = ot.sinkhorn(a, b, cost, epsilon, stopThr=tol, numItermax=10**6, warn=False)
    return plan


def balanced(scale: Scale) -> Figures:
    found = []
    for n in scale.sizes:
        rng = np.random.default_rng(n)
        cost, a = rng.random((n, n)), np.full(n, 1 / n)
        for share in scale.shares:
            epsilon = share * float(np.ptp(cost))
            ours, theirs = (partial(plan, cost, a, a, epsilon) for plan in (our_plan, their_plan))
            tol, threshold = accurate_enough(ours, a, a), accurate_enough(theirs, a, a)
            calls = {"elastic_ot": partial(ours, tol), "POT": partial(theirs, threshold)}
            seconds = time_calls(calls, scale.rounds)
            errors = [error_of(call(), a, a) for call in calls.values()]
            found.append({"n": n, "epsilon": share, "seconds": seconds, "errors": errors})
    return found


def report_balanced(figures: Figures) -> Report:
    rows, cases = [], []
    for x in figures:
        ours, theirs = x["seconds"]["elastic_ot"], x["seconds"]["POT"]
        ratio = ours / theirs
        errors = "{:.0e}, {:.0e}".format(*x["errors"])
        rows.append([str(x["n"]), f"{x['epsilon']:g}", milliseconds(ours), milliseconds(theirs), times(ratio), errors])
        cases.append(Goal(f"n = {x['n']}, epsilon {x['epsilon']:g} of the range", ratio, 1.1, False))
    header = ["n", "epsilon / range", "``eot.solve(...).plan``", "``ot.sinkhorn``", "ratio", "L1 error: ours, POT"]
    table = Table("One small problem, random costs, uniform weights, float64", header, rows)
    return Report([table], [CommonGoal("time of a small solve over POT's", 1.1, False, cases)])


def exact(scale: Scale) -> Figures:
    found = []
    for n in scale.exact_sizes:
        rng = np.random.default_rng(n)
        cost, weights = rng.random((n, n)), [rng.uniform(0.2, 1.0, n) for _ in range(2)]
        a, b = (x / x.sum() for x in weights)
        for name, (first, second) in {"uniform": (np.full(n, 1 / n),) * 2, "random": (a, b)}.items():
            ours, theirs = partial(eot.exact, cost, first, second), partial(ot.emd2, first, second, cost)
            seconds = time_calls({"elastic_ot": ours, "POT": theirs}, scale.rounds)
            gap, value = ours().gap, float(theirs())
            found.append({"n": n, "weights": name, "seconds": seconds, "gap": gap, "apart": ours().value - value})
    return found


def report_exact(figures: Figures) -> Report:
    rows, cases = [], []
    for x in figures:
        ours, theirs = x["seconds"]["elastic_ot"], x["seconds"]["POT"]
        facts = [f"{x['gap']:.0e}", f"{x['apart']:.0e}"]
        rows.append([str(x["n"]), x["weights"], milliseconds(ours), milliseconds(theirs), times(ours / theirs), *facts])
        cases.append(Goal(f"n = {x['n']}, {x['weights']} weights", ours / theirs, 1.3, False))
    header = ["n", "weights", "``eot.exact``", "``ot.emd2``", "ratio", "gap of ours", "difference of values"]
    table = Table("One small problem without entropy, random costs, float64", header, rows)
    return Report([table], [CommonGoal("time of a small exact solve over POT's", 1.3, False, cases)])


SMALL = Benchmark("small", {"balanced": Section(balanced, report_balanced), "exact": Section(exact, report_exact)})


def main() -> None:
    arguments = options(__doc__, list(SMALL.sections)).parse_args()
    if arguments.redraw:
        SMALL.redraw(arguments.output)
    else:
        SMALL.run(arguments, Scale(arguments.quick))


if __name__ == "__main__":
    main()
