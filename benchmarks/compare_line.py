"""Transport on the line between masses that may differ, beside POT's Frank-Wolfe steps, at equal error of the value.

    python -m benchmarks.compare_line [--quick] [--output FOLDER]

on one thread, in processor seconds: prints the table and writes line.json (the numbers) and line.rst (the table, for
the docs). A run with --quick writes nothing unless told where; --redraw makes the table of stored numbers. It needs
PyTorch, on which POT's function runs.

What POT returns are the marginals of its plan. That plan is the monotone one between them, so its value is computed
anew, and compared with ours, whose gap is 1e-9 of it at most.
"""

import math
import warnings
from collections.abc import Callable
from functools import partial

import numpy as np
from scipy.special import kl_div
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

import elastic_ot as eot

from .compare_barycenter import seconds_of
from .problems import Array
from .report import Benchmark, Figures, Report, Section, options
from .tables import Goal, Table, milliseconds, times

RHO, HEAVIER = 0.3, 1.3  # strength of both penalties; mass of the second side, of the first
STEPS = 10, 30, 100, 300, 1000, 3000  # of POT's method; the first is its default
ERRORS = 1e-3, 1e-6
NEVER_SLOWER = 1.0


class Scale:
    """How much is measured."""

    def __init__(self, quick: bool) -> None:
        self.sizes = (200,) if quick else (200, 1000, 10_000)
        self.rounds = 1 if quick else 3


def problem(n: int) -> tuple[Array, Array, Array, Array]:
    rng = np.random.default_rng(n)
    a, b = rng.random((2, n))
    return rng.normal(size=n), rng.normal(1.0, 1.5, size=n), a / a.sum(), HEAVIER * b / b.sum()


def ours(x: Array, y: Array, a: Array, b: Array) -> eot.LineSolution:
    return eot.transport_1d(x, y, a, b, rows=eot.KL(RHO), cols=eot.KL(RHO))


def pots(x: Array, y: Array, a: Array, b: Array, steps: int) -> tuple[Array, Array]:
    """The marginals of POT's plan after so many steps."""
    import ot
    import torch

    points = (torch.from_numpy(each) for each in (x, y))
    weights = (torch.from_numpy(each) for each in (a, b))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of deprecated calls to PyTorch
        first, second, _ = ot.unbalanced.uot_1d(*points, RHO, *weights, p=2, numItermax=steps)
    return np.asarray(first), np.asarray(second)


def value_between(x: Array, y: Array, a: Array, b: Array, first: Array, second: Array) -> float:
    """What the monotone plan between these marginals costs, penalties included."""
    second = second * (first.sum() / second.sum())
    carried = float(eot.transport_1d(x, y, first, second).value)
    return carried + RHO * float(kl_div(first, a).sum() + kl_div(second, b).sum())


def measured(scale: Scale) -> Figures:
    return [of_size(n, scale.rounds) for n in scale.sizes]


def of_size(n: int, rounds: int) -> Figures:
    given = problem(n)
    best = ours(*given)
    off = {steps: value_between(*given, *pots(*given, steps)) / float(best.value) - 1.0 for steps in STEPS}
    needed = [next((steps for steps in STEPS if off[steps] <= error), None) for error in ERRORS]
    calls: dict[str, Callable[[], object]] = {"ours": partial(ours, *given)}
    calls |= {str(steps): partial(pots, *given, steps) for steps in dict.fromkeys((STEPS[0], *needed)) if steps}
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(rounds):
        for name, call in calls.items():
            seconds[name].append(seconds_of(call))
    least = {name: min(found) for name, found in seconds.items()}
    return {"n": n, "gap": float(best.gap / best.value), "off": off[STEPS[0]], "needed": needed, "seconds": least}


def report(figures: Figures) -> Report:
    rows, goals = [], []
    for x in figures:
        seconds, needed = x["seconds"], x["needed"]
        shown = []
        for error, steps in zip(ERRORS, needed, strict=True):
            theirs = math.nan if steps is None else seconds[str(steps)]
            shown.append("not reached" if steps is None else f"{milliseconds(theirs)} ({steps})")
            if steps is not None:
                statement = f"n = {x['n']:,}, error {error:.0e}: POT's time over ours"
                goals.append(Goal(statement, theirs / seconds["ours"], NEVER_SLOWER, True))
        default = f"{milliseconds(seconds[str(STEPS[0])])}, {times(1 + x['off'])} times the value"
        rows.append([f"{x['n']:,}", milliseconds(seconds["ours"]), f"{x['gap']:.0e}", default, *shown])
    header = ["points a side", "``eot.transport_1d``", "relative gap", "``uot_1d``, 10 steps (its default)"]
    header += [f"to a value {error:.0e} above ours (steps)" for error in ERRORS]
    note = (
        "KL(0.3) on both sides, squared distances, masses 1 and 1.3. One thread, least processor seconds of 3 runs in "
        "turn. POT's value is that of the monotone plan between the marginals that it returns."
    )
    return Report([Table("Masses that may differ, on the line", header, rows, note)], goals)


LINE = Benchmark("line", {"line": Section(measured, report)})


def main() -> None:
    arguments = options(__doc__, list(LINE.sections)).parse_args()
    if arguments.redraw:
        LINE.redraw(arguments.output)
        return
    import torch

    torch.set_num_threads(1)
    eot.set_num_threads(1)
    with threadpool_limits(1):
        LINE.run(arguments, Scale(arguments.quick))


if __name__ == "__main__":
    main()
