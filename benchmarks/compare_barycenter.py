"""Barycenters against POT's, at equal distance from one that is proved to be as near as told.

    python -m benchmarks.compare_barycenter [--quick] [--only SECTION ...] [--output FOLDER]

on one thread, in processor seconds, which others on the machine hardly change: prints the tables and writes
barycenter.json (the numbers) and barycenter.rst (the tables, for the docs). A run with --quick or --only writes nothing
unless told where; --redraw makes the tables of stored numbers.
"""

import math
import time
import warnings
from collections.abc import Callable
from functools import partial

import numpy as np
import ot
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

import elastic_ot as eot

from .problems import Array
from .report import Benchmark, Figures, Report, Section, options
from .tables import Goal, Table, milliseconds, times

ACCURACY = 1e-6  # L1 distance from the barycenter
PROOF = 1e-10  # tolerance of the one that is compared with
ITERATIONS = 20_000  # of POT's loops at most
LONGEST = 60.0  # processor seconds after which no smaller threshold is tried
TINY = 1e-300  # that POT adds before it takes logarithms; its default, 1e-30, is 2e-2 off at epsilon = 2e-3
WANTED = 10.0


class Scale:
    """How much is measured."""

    def __init__(self, quick: bool) -> None:
        self.count, self.points, self.side = (3, 200, 24) if quick else (10, 1000, 128)
        self.epsilons = (1e-2,) if quick else (1e-2, 1e-3, 5e-4)
        self.grid_epsilons = (1e-2,) if quick else (5e-3, 2e-3, 1e-3)
        self.rounds = 1 if quick else 5


def seconds_of(call: Callable[[], object]) -> float:
    start = time.process_time()
    call()
    return time.process_time() - start


def accurate(call: Callable[[float], Array], best: Array) -> tuple[float, float]:
    """The largest threshold from 1e-4 down whose barycenter is near enough, and how near; nan if there is none."""
    threshold = 1e-4
    while threshold > 1e-14:
        start = time.process_time()
        error = float(np.abs(call(threshold) - best).sum())
        if error <= ACCURACY:
            return threshold, error
        if time.process_time() - start > LONGEST:
            break
        threshold /= 10
    return math.nan, error


def compared(ours: Callable[[float], Array], theirs: Callable[[float], Array], best: Array, rounds: int) -> Figures:
    """Least processor seconds of both in turn, each at its threshold, with their errors."""
    thresholds, errors = zip(*(accurate(call, best) for call in (ours, theirs)), strict=True)
    calls = [partial(call, threshold) for call, threshold in zip((ours, theirs), thresholds, strict=True)]
    seconds = [
        [] if math.isnan(threshold) else [seconds_of(call)] for threshold, call in zip(thresholds, calls, strict=True)
    ]
    for _ in range(rounds - 1):
        for found, call in zip(seconds, calls, strict=True):
            if found:
                found.append(seconds_of(call))
    return {"seconds": [min(found, default=math.nan) for found in seconds], "errors": list(errors)}


def plane(scale: Scale) -> tuple[Array, Array]:
    """Random points of the square with squared distances up to 1, and bumps on them."""
    rng = np.random.default_rng(0)
    points = rng.random((scale.points, 2))
    cost = ((points[:, None] - points) ** 2).sum(axis=-1)
    centres, widths = rng.uniform(0.2, 0.8, (scale.count, 2)), rng.uniform(0.05, 0.2, scale.count)
    apart = ((points - centres[:, None]) ** 2).sum(axis=-1)
    return cost / cost.max(), normalised(np.exp(-apart / (2 * widths[:, None] ** 2)) + 1e-9)


def images(scale: Scale) -> Array:
    """Discs, on a little ink everywhere, without which POT's logarithms fail."""
    axis = np.linspace(0, 1, scale.side)
    discs = [(0.3, 0.3, 0.15), (0.7, 0.4, 0.1), (0.5, 0.7, 0.2)]
    inside = [(axis[:, None] - x) ** 2 + (axis - y) ** 2 < r**2 for x, y, r in discs]
    return normalised((np.array(inside, float) + 1e-6).reshape(3, -1)).reshape(3, scale.side, scale.side)


def normalised(measures: Array) -> Array:
    found: Array = measures / measures.sum(axis=1, keepdims=True)
    return found


def our_weights(cost: Array | eot.Grid, measures: Array, epsilon: float, tol: float) -> Array:
    weights: Array = eot.barycenter(cost, measures, epsilon=epsilon, tol=tol, on_failure="ignore").weights
    return weights


def their_weights(cost: Array, measures: Array, epsilon: float, tol: float) -> Array:
    found: Array = ot.barycenter(measures, cost, epsilon, stopThr=tol, numItermax=ITERATIONS, warn=False)
    return found


def their_image(measures: Array, epsilon: float, tol: float) -> Array:
    options = {"stopThr": tol, "numItermax": ITERATIONS, "stabThr": TINY, "warn": False}
    found: Array = ot.bregman.convolutional_barycenter2d(measures, epsilon, **options).ravel()
    return found


def matrix(scale: Scale) -> Figures:
    found = []
    cost, measures = plane(scale)
    for epsilon in scale.epsilons:
        best = eot.barycenter(cost, measures, epsilon=epsilon, tol=PROOF)
        ours = partial(our_weights, cost, measures, epsilon)
        theirs = partial(their_weights, cost, np.ascontiguousarray(measures.T), epsilon)
        times_found = compared(ours, theirs, best.weights, scale.rounds)
        found.append({"n": scale.points, "count": scale.count, "epsilon": epsilon, "gap": best.gap} | times_found)
    return found


def grid(scale: Scale) -> Figures:
    found = []
    measures = images(scale)
    axis = np.linspace(0, 1, scale.side)  # as POT has it
    cost = eot.Grid((axis, axis))
    for epsilon in scale.grid_epsilons:
        best = eot.barycenter(cost, measures, epsilon=epsilon, tol=1e-9, on_failure="ignore")
        ours, theirs = partial(our_weights, cost, measures, epsilon), partial(their_image, measures, epsilon)
        times_found = compared(ours, theirs, best.weights, scale.rounds)
        found.append({"n": scale.side, "count": len(measures), "epsilon": epsilon, "gap": best.gap} | times_found)
    return found


def table_of(figures: Figures, title: str, peer: str, what: str) -> Report:
    rows, goals = [], []
    for x in figures:
        ours, theirs = (math.nan if seconds is None else seconds for seconds in x["seconds"])
        known = math.isfinite(ours) and math.isfinite(theirs)
        ratio = times(theirs / ours) if known else "no answer"
        errors = "{:.0e}, {:.0e}".format(*x["errors"])
        shown = [milliseconds(seconds) if math.isfinite(seconds) else "no answer" for seconds in (ours, theirs)]
        rows.append([f"{x['count']}, {x['n']}", f"{x['epsilon']:g}", *shown, ratio, errors, f"{x['gap']:.0e}"])
        if known:
            goals.append(Goal(f"{what}, epsilon {x['epsilon']:g}: POT's time over ours", theirs / ours, WANTED, True))
    header = ["measures, size", "epsilon", "``eot.barycenter``", f"``{peer}``", "POT / ours"]
    header += ["L1 distance: ours, POT", "gap of the best"]
    note = (
        "One thread, least processor seconds of 5 runs in turn, while other work ran on the machine; each at the "
        "largest threshold whose barycenter is within an L1 distance of 1e-6 of the best, whose own gap stands in the "
        "last column."
    )
    return Report([Table(title, header, rows, note)], goals)


def report_matrix(figures: Figures) -> Report:
    return table_of(figures, "Measures on points of the plane, costs up to 1", "ot.barycenter", "matrix")


def report_grid(figures: Figures) -> Report:
    return table_of(figures, "Images on the unit square", "convolutional_barycenter2d", "grid")


BARYCENTER = Benchmark("barycenter", {"matrix": Section(matrix, report_matrix), "grid": Section(grid, report_grid)})


def main() -> None:
    arguments = options(__doc__, list(BARYCENTER.sections)).parse_args()
    if arguments.redraw:
        BARYCENTER.redraw(arguments.output)
        return
    eot.set_num_threads(1)
    warnings.simplefilter("ignore")  # of POT, at thresholds that its iterations do not reach
    with threadpool_limits(1):
        BARYCENTER.run(arguments, Scale(arguments.quick))


if __name__ == "__main__":
    main()
