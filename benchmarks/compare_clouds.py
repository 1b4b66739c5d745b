"""Points and images without a matrix: iterations and divergences against POT, OTT-JAX, KeOps and GeomLoss.

    python -m benchmarks.compare_clouds [--quick] [--only SECTION ...] [--output FOLDER]

prints the tables and writes clouds.json (the numbers) and clouds.rst (the tables, for the docs). A run with --quick or
--only writes nothing unless told where; --redraw makes the tables of stored numbers.
"""

import statistics
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from scipy.spatial.distance import cdist

import elastic_ot as eot
from elastic_ot.typing import ArrayLike

from .peers import clouds as peers
from .peers.clouds import Potentials
from .peers.geomloss import divergence as geomloss_divergence
from .problems import Array
from .report import Benchmark, Figures, Report, Section, options
from .tables import Goal, Table, milliseconds, times

FEW, MANY = 2, 10  # iterations of ours, of which the difference counts
PEER_FEW, PEER_MANY = 1, 3
PEERS = {"POT lazy": peers.pot, "OTT": peers.ott, "KeOps": peers.keops}
TIMES = {"POT lazy": 20.0, "OTT": 20.0, "KeOps": 40.0}  # faster than which we want to be
ENTRY = {1: 0.15, 3: 0.15, 8: 0.18, 64: 0.42}  # ns an entry and iteration that we want, with AVX-512
SHARE = 0.05  # of the largest cost: epsilon
SOLVE = 1e-6  # residual of whole solves
STRIP = 500  # rows checked together
BLUR = 0.05
GRID_EPSILON, LARGEST_LOGARITHMIC = 2e-3, 128
TOLERANCES = 0.1, 0.01, 1e-3
PROOF = 1e-5  # residual of the divergence that others are compared with


class Scale:
    """How much is measured."""

    def __init__(self, quick: bool) -> None:
        self.n = 1200 if quick else 10_000
        self.dimensions = (3, 64) if quick else (1, 3, 8, 64)
        self.rounds = 1 if quick else 3
        self.sides = (32,) if quick else (128, 512)
        self.matrix = 1200 if quick else 4000
        self.divergence = 1500 if quick else 20_000


def cloud(n: int, d: int, dtype: type) -> Potentials:
    """Points of a cube, and of a Gaussian beside it."""
    rng = np.random.default_rng(d)
    x, y = rng.random((n, d)), 0.5 + 0.2 * rng.normal(size=(n, d))
    return x.astype(dtype), y.astype(dtype)


def ours(cost: ArrayLike | eot.Cost, epsilon: float, count: int) -> Potentials:
    """Potentials over epsilon with respect to the counting reference, after so many iterations."""
    sol = eot.solve(cost, epsilon=epsilon, tol=0, max_iter=count, end="cols")
    return sol.f / epsilon - np.log(sol.f.size), sol.g / epsilon - np.log(sol.g.size)


def error_of(x: Array, y: Array, epsilon: float, found: Potentials) -> float:
    """L1 error of both marginals of these potentials, from all costs in float64."""
    f, g, total, cols = *found, 0.0, np.zeros(len(y))
    for first in range(0, f.size, STRIP):
        rows = slice(first, first + STRIP)
        plan = np.exp(f[rows, None] + g - cdist(x[rows], y, "sqeuclidean") / epsilon)
        total += float(np.abs(plan.sum(axis=1) - 1.0 / f.size).sum())
        cols += plan.sum(axis=0)
    return total + float(np.abs(cols - 1.0 / g.size).sum())


def iteration_times(
    calls: Mapping[str, tuple[Callable[[int], object], int, int]], rounds: int
) -> tuple[dict[str, float], dict[str, float]]:
    """Seconds of an iteration of every call, in turn: the difference of two runs, medians; and of processor time."""
    wall: dict[str, list[float]] = {name: [] for name in calls}
    busy: dict[str, list[float]] = {name: [] for name in calls}
    for call, few, many in calls.values():
        call(few), call(many)
    for _ in range(rounds):
        for name, (call, few, many) in calls.items():
            marks = []
            for count in (few, many):
                began = time.perf_counter(), time.process_time()
                call(count)
                marks.append((time.perf_counter() - began[0], time.process_time() - began[1]))
            for samples, short, long in zip((wall, busy), *marks, strict=True):
                samples[name].append((long - short) / (many - few))
    return _medians(wall), _medians(busy)


def _medians(samples: Mapping[str, list[float]]) -> dict[str, float]:
    return {name: statistics.median(seconds) for name, seconds in samples.items()}


def iterations(scale: Scale) -> Figures:
    found = []
    for d in scale.dimensions:
        x, y = cloud(scale.n, d, np.float64)
        u, v = (z.astype(np.float32) for z in (x, y))
        epsilon = SHARE * float(cdist(x[:STRIP], y, "sqeuclidean").max())
        few = {
            "float32": partial(ours, eot.PointCloud(u, v), epsilon),
            "float64": partial(ours, eot.PointCloud(x, y), epsilon),
        }
        calls: dict[str, tuple[Callable[[int], Potentials], int, int]] = {}
        calls |= {name: (call, FEW, MANY) for name, call in few.items()}
        for name, peer in PEERS.items():
            points: Any = (x, y) if name == "POT lazy" else (u, v)
            calls[name] = partial(peer, points[0], points[1], epsilon), PEER_FEW, PEER_MANY
        wall, busy = iteration_times(calls, scale.rounds)
        errors = {name: error_of(x, y, epsilon, call(PEER_MANY)) for name, (call, _, _) in calls.items()}
        alone = _alone(few["float32"], scale.rounds)
        found.append({"d": d, "n": scale.n, "wall": wall, "busy": busy, "errors": errors, "one thread": alone})
    return found


def _alone(call: Callable[[int], object], rounds: int) -> float:
    """Seconds of an iteration on one thread."""
    before = eot.get_num_threads()
    eot.set_num_threads(1)
    try:
        return iteration_times({"": (call, FEW, MANY)}, rounds)[0][""]
    finally:
        eot.set_num_threads(before)


def report_iterations(figures: Figures) -> Report:
    rows, ratios, errors, goals = [], [], [], []
    names = ["float32", "float64", *PEERS]
    for x in figures:
        wall, busy, entries, d = x["wall"], x["busy"], 1e-9 * x["n"] ** 2, x["d"]
        one = x["one thread"]
        rows.append([str(d), *(f"{wall[name] / entries:.3g}" for name in names), f"{one / entries:.3g}"])
        ratios.append([str(d), *(times(busy[name] / busy["float32"]) for name in PEERS), times(one / wall["float32"])])
        errors.append([str(d), *(f"{x['errors'][name]:.6e}" for name in names)])
        goals.append(Goal(f"d = {d}: ns an entry, float32", wall["float32"] / entries, ENTRY[d], False))
        for name in PEERS:
            own = "float64" if name == "POT lazy" else "float32"
            goals.append(Goal(f"d = {d}: times faster than {name}", wall[name] / wall[own], TIMES[name], True))
        goals.append(Goal(f"d = {d}: two threads over one", one / wall["float32"], 1.8, True))
    title, n = "A full iteration between {} points on each side", figures[0]["n"]
    header = ["d", "ours, float32", "ours, float64", "POT lazy, float64", "OTT, float32", "KeOps, float32"]
    note = "Squared distances. All threads, for each, but in the last column."
    return Report(
        [
            Table(title.format(n) + ", ns an entry", [*header, "ours, float32, one thread"], rows, note),
            Table(
                "Processor time of an iteration over that of ours in float32",
                ["d", *PEERS, "ours: wall time of one thread over all"],
                ratios,
            ),
            Table("L1 error of both marginals after three iterations", header, errors, "OTT ends on the rows."),
        ],
        goals,
    )


def divergences(scale: Scale) -> Figures:
    """Value and gradient between clouds of float32 points, at several tolerances, beside GeomLoss."""
    x, y = cloud(scale.divergence, 3, np.float32)
    few = x[:1200], y[:1200]
    contenders: dict[str, Callable[[Array, Array], Loss]] = {
        f"elastic_ot, tol={tol:g}": partial(_ours, tol=tol) for tol in TOLERANCES
    }
    contenders |= {f"GeomLoss {kind}": partial(_geomloss, kind=kind) for kind in ("online", "multiscale")}
    proof, found = _ours(x, y, PROOF), []
    for name, loss in contenders.items():
        loss(*few)  # compiles
        began = time.perf_counter(), time.process_time()
        one = loss(x, y)
        seconds = time.perf_counter() - began[0], time.process_time() - began[1]
        began = time.perf_counter(), 0.0
        gap = one.gap()
        proving = time.perf_counter() - began[0]
        off = float(np.linalg.norm(one.gradient - proof.gradient) / np.linalg.norm(proof.gradient))
        found.append(
            {
                "solver": name,
                "n": len(x),
                "wall": seconds[0],
                "busy": seconds[1],
                "value": abs(one.value - proof.value) / proof.value,
                "gradient": off,
                "gap": None if gap is None else gap / proof.value,
                "proving": None if gap is None else proving,
            }
        )
    return found


class Loss(NamedTuple):
    """Half the divergence, its gradient in the points x, and what computes a bound on its error."""

    value: float
    gradient: Array
    gap: Callable[[], float | None]


def _ours(x: Array, y: Array, tol: float) -> Loss:
    found = eot.divergence(eot.PointCloud(x, y), epsilon=2.0 * BLUR**2, tol=tol)  # GeomLoss halves squared distances
    return Loss(0.5 * found.value, 0.5 * np.asarray(found.gradients().x), lambda: 0.5 * found.gap)


def _geomloss(x: Array, y: Array, kind: str) -> Loss:
    return Loss(*geomloss_divergence(x, y, BLUR, kind), lambda: None)


def report_divergences(figures: Figures) -> Report:
    rows, goals = [], []
    by_name = {x["solver"]: x["wall"] for x in figures}
    for x in figures:
        bound = "none" if x["gap"] is None else f"{x['gap']:.0e}, in {x['proving']:.2g} s"
        cells = f"{x['wall']:.3g} s", f"{x['busy']:.3g} s", f"{x['value']:.0e}", f"{x['gradient']:.0e}", bound
        rows.append([x["solver"], *cells])
    for name in ("GeomLoss online", "GeomLoss multiscale"):
        for tol in TOLERANCES[:2]:
            ratio = by_name[name] / by_name[f"elastic_ot, tol={tol:g}"]
            goals.append(Goal(f"tol={tol:g}: times faster than {name}", ratio, 20.0, True))
    header = ["", "time", "processor time", "error of the value", "of the gradient", "proven bound for the value"]
    title = f"Divergence of {figures[0]['n']} and as many points in 3 coordinates, blur {BLUR}, with its gradient"
    note = (
        "One run each. Errors are relative, against a divergence certified to a residual of 1e-5; those of gradients "
        "in the Euclidean norm. GeomLoss with its default scaling."
    )
    return Report([Table(title, header, rows, note)], goals)


def matrices(scale: Scale) -> Figures:
    """A cloud beside its own matrix, which is read in place of being computed."""
    found = []
    for d in (3, 64):
        x, y = cloud(scale.matrix, d, np.float64)
        cost = cdist(x, y, "sqeuclidean")
        epsilon = SHARE * float(cost.max())
        calls = {"points": partial(ours, eot.PointCloud(x, y), epsilon), "matrix": partial(ours, cost, epsilon)}
        seconds, _ = iteration_times({name: (call, FEW, 4 * MANY) for name, call in calls.items()}, scale.rounds)
        apart = max(float(np.abs(u - v).max()) for u, v in zip(*(call(MANY) for call in calls.values()), strict=True))
        found.append({"d": d, "n": scale.matrix, "seconds": seconds, "apart": apart})
    return found


def report_matrices(figures: Figures) -> Report:
    rows = []
    for x in figures:
        points, matrix = x["seconds"]["points"], x["seconds"]["matrix"]
        cells = milliseconds(points), milliseconds(matrix), times(points / matrix), f"{x['apart']:.0e}"
        rows.append([str(x["d"]), *cells])
    header = ["d", "from points", "from the matrix", "ratio", "difference of potentials over epsilon"]
    return Report([Table(f"An iteration with and without a matrix, n = {figures[0]['n']}, float64", header, rows)])


def grids(scale: Scale) -> Figures:
    """Two images, solved from nothing; with pixels of weight 0, too; and by OTT, whose kernel is no logarithm here."""
    found = []
    for side in scale.sides:
        axis = np.linspace(0.0, 1.0, side)
        u, v = np.meshgrid(axis, axis, indexing="ij")
        smooth = [0.1 + np.exp(-((u - p) ** 2 + (v - q) ** 2) / 0.02) for p, q in ((0.3, 0.4), (0.7, 0.6))]
        bare = [np.where(image > 0.2, image, 0.0) for image in smooth]
        for name, images in (("positive", smooth), ("with pixels of weight 0", bare)):
            a, b = (image / image.sum() for image in images)
            calls = {"elastic_ot": partial(_our_grid, axis, a, b)}
            if name == "positive":
                calls["OTT, kernel"] = partial(peers.ott_grid(axis, a, b, GRID_EPSILON, False), SOLVE)
                if side <= LARGEST_LOGARITHMIC:
                    calls["OTT, log domain"] = partial(peers.ott_grid(axis, a, b, GRID_EPSILON, True), SOLVE)
            for solver, call in calls.items():
                call()
                began = time.perf_counter()
                potentials = call()
                seconds = time.perf_counter() - began
                error = _grid_error(axis, a, b, potentials)
                found.append({"solver": solver, "images": name, "side": side, "seconds": seconds, "error": error})
    return found


def _our_grid(axis: Array, a: Array, b: Array) -> Potentials:
    """Potentials over epsilon with respect to the counting reference."""
    sol = eot.solve(eot.Grid([axis, axis]), a, b, epsilon=GRID_EPSILON, tol=SOLVE)
    with np.errstate(divide="ignore"):
        return sol.f / GRID_EPSILON + np.log(a).ravel(), sol.g / GRID_EPSILON + np.log(b).ravel()


def _grid_error(axis: Array, a: Array, b: Array, found: Potentials) -> float:
    """L1 error of both marginals, by products with the kernel of an axis: 1 / epsilon is far from its underflow."""
    kernel = np.exp(-((axis[:, None] - axis) ** 2) / GRID_EPSILON)
    shift = 0.5 * (found[0].max() - found[1].max())  # leaves the plan, and both factors in range
    left, right = np.exp(found[0] - shift).reshape(a.shape), np.exp(found[1] + shift).reshape(b.shape)
    rows, cols = left * (kernel @ right @ kernel), right * (kernel @ left @ kernel)
    return float(np.abs(rows - a).sum() + np.abs(cols - b).sum())


def report_grids(figures: Figures) -> Report:
    rows, goals = [], []
    by_case = {(x["side"], x["images"], x["solver"]): x["seconds"] for x in figures}
    for x in figures:
        side, images, solver = x["side"], x["images"], x["solver"]
        ratio = x["seconds"] / by_case[side, images, "elastic_ot"]
        rows.append(
            [f"{side} x {side}, {images}", solver, milliseconds(x["seconds"]), times(ratio), f"{x['error']:.0e}"]
        )
        if solver == "elastic_ot":
            goals.append(Goal(f"{side} x {side}, {images}: seconds", ratio * x["seconds"], 30.0, False))
        else:
            goals.append(Goal(f"{side} x {side}: times faster than {solver}", ratio, 10.0, True))
    title = f"Two images, epsilon 1e-3 of the squared diagonal, to {SOLVE:g}"
    note = (
        "OTT's kernel underflows from two thirds of that epsilon on; its log domain takes 1 GB at 512 x 512 and was "
        "not run there."
    )
    return Report([Table(title, ["images", "", "time", "ratio", "L1 error of both marginals"], rows, note)], goals)


CLOUDS = Benchmark(
    "clouds",
    {
        "iterations": Section(iterations, report_iterations),
        "matrices": Section(matrices, report_matrices),
        "divergences": Section(divergences, report_divergences),
        "grids": Section(grids, report_grids),
    },
)


def main() -> None:
    arguments = options(__doc__, list(CLOUDS.sections)).parse_args()
    if arguments.redraw:
        CLOUDS.redraw(arguments.output)
    else:
        CLOUDS.run(arguments, Scale(arguments.quick))


if __name__ == "__main__":
    main()
