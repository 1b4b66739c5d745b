"""Large clouds of many shapes, from coarse to fine, and beside GeomLoss, OTT-JAX and POT at equal error.

    python -m benchmarks.compare_multiscale [--quick] [--only SECTION ...] [--limit SECONDS] [--output FOLDER]

prints the tables and writes multiscale.json (the numbers) and multiscale.rst (the tables, for the docs). A run with
--quick or --only writes nothing unless told where; --redraw makes the tables of stored numbers.
"""

from functools import partial
from typing import Any

from . import fresh_processes
from .cloud_families import FAMILIES, CloudCase
from .cloud_solvers import OURS, PEERS, Asked, solve, warm_up
from .report import Benchmark, Figures, Report, Section, options
from .tables import Goal, Table, milliseconds, times

DIMENSIONS = 2, 3, 5, 10
LIMIT = 60.0  # seconds of a solve
LOOSEST = 0.1  # error that we are asked for, however large that of a peer is
PEER_TOL = 1e-3
BLURS, TOLERANCES = (0.05, 0.01), (1e-3, 1e-6)
SPACINGS = 3.0  # blur of the largest clouds in the plane, in mean distances of neighbours
NOT_TRIED = "NOT_TRIED"
# Processor seconds of mixtures in space to 1e-3 that a prototype took on one thread with AVX-512.
WANTED = {
    (10_000, 0.05): 0.14,
    (10_000, 0.01): 0.42,
    (100_000, 0.05): 2.3,
    (100_000, 0.01): 3.9,
    (1_000_000, 0.01): 45.5,
}
RATIO = 10.0  # to a peer, at its own error


class Scale:
    """How much is measured."""

    def __init__(self, quick: bool, limit: float = LIMIT) -> None:
        self.sizes = (1000, 3000) if quick else (10_000, 100_000)
        self.small = self.sizes[0]
        self.tolerances = TOLERANCES[:1] if quick else TOLERANCES
        self.blurs = BLURS[:1] if quick else BLURS
        self.million = 5000 if quick else 1_000_000
        peers = self.sizes[:1] if quick else self.sizes
        self.peers = [CloudCase("mixture", n, 3, blur) for n in peers for blur in self.blurs]
        self.limit = min(limit, 10.0) if quick else limit


def families(scale: Scale, d: int) -> Figures:
    """Every shape at every size: the smallest in this process, larger ones in fresh ones."""
    warm_up(OURS, Asked(CloudCase("uniform", 2000, d, 0.1), 1e-3, scale.limit))
    found: list[dict[str, Any]] = []
    before: dict[Any, dict[str, Any]] = {}
    for n, family in [(n, family) for n in scale.sizes for family in FAMILIES]:
        place = {"n": n, "d": d, "family": family, "limit": scale.limit}
        for blur in scale.blurs:
            for tol in scale.tolerances:
                asked, key = Asked(CloudCase(family, n, d, blur), tol, scale.limit), (family, blur, tol)
                figures = _solved(asked, before.get(key), n == scale.small)
                before[key] = {"n": n, **figures}
                found.append({**place, "blur": blur, "tol": tol, **figures})
    return found


def _solved(asked: Asked, before: dict[str, Any] | None, here: bool) -> dict[str, Any]:
    """Not tried is what would take longer than the limit if its time grew like the number of points."""
    if before is not None:
        grown = asked.case.n / before["n"]
        if before["status"] != "CONVERGED" or before["wall"] * grown > asked.limit:
            return {"status": NOT_TRIED}
    if here:
        return solve(OURS, asked).figures()
    return fresh_processes.measure_points(OURS, asked) or {"status": NOT_TRIED}


def report_families(figures: Figures) -> Report:
    columns = sorted({(x["blur"], x["tol"]) for x in figures}, reverse=True)
    cells = {(x["n"], x["family"], x["blur"], x["tol"]): x for x in figures}
    rows = []
    for n, family in dict.fromkeys((x["n"], x["family"]) for x in figures):
        here = [cells[n, family, *column] for column in columns]
        memory = [x["resident"] for x in here if x.get("resident") is not None]
        rows.append([f"{n:,}", family, *map(_cell, here), f"{max(memory) / 1e6:.0f} MB" if memory else ""])
    header = ["n", "", *(f"blur {blur:g}, to {tol:g}" for blur, tol in columns), "peak memory"]
    d, note = figures[0]["d"], NOTE.format(figures[0]["limit"])
    errors = [x["error"] / x["residual"] for x in figures if x.get("error") and x["status"] == "CONVERGED"]
    proof = Goal(f"d = {d}: error from all pairs over the certified one", max(errors), 1.0 + 1e-3, False)
    return Report(
        [Table(f"d = {d}: time (processor time), iterations", header, rows, note)], [proof, *_wanted(figures)]
    )


NOTE = (
    "Iterations are those of all levels. Over the limit, which is {:g} s, is what would take longer if time grew like "
    "the number of points, or failed at fewer of them: not tried. The method is multiscale where none is named."
)


def _cell(x: dict[str, Any]) -> str:
    if x["status"] == NOT_TRIED:
        return "(over the limit)"
    text = f"{milliseconds(x['wall'])} ({milliseconds(x['busy'])}), {x['iterations']}"
    if x["status"] != "CONVERGED":
        at = "inf" if x["residual"] is None else f"{x['residual']:.0e}"
        text += f", **{x['status']}** at {at}"
    return text if x["method"] == "multiscale" else f"{text}, {x['method']}"


def _wanted(figures: Figures) -> list[Goal]:
    found = []
    for x in figures:
        limit = WANTED.get((x["n"], x["blur"]))
        if limit is not None and "busy" in x and (x["family"], x["d"], x["tol"]) == ("mixture", 3, TOLERANCES[0]):
            text = f"mixtures in space, n = {x['n']:,}, blur {x['blur']:g}, to {x['tol']:g}: processor seconds"
            found.append(Goal(text, x["busy"], limit, False))
    return found


def million(scale: Scale) -> Figures:
    """The largest clouds, each in a fresh process; without a limit."""
    n = scale.million
    spacing = n**-0.5
    found = []
    for case in (CloudCase("mixture", n, 3, 0.01), CloudCase("uniform", n, 2, SPACINGS * spacing)):
        figures = fresh_processes.measure_points(OURS, Asked(case, TOLERANCES[0], 10 * LIMIT))
        place = {"n": n, "d": case.d, "family": case.family, "blur": case.blur, "tol": TOLERANCES[0]}
        found.append({**place, **(figures or {"status": NOT_TRIED})})
    return found


def report_million(figures: Figures) -> Report:
    rows = []
    for x in figures:
        if x["status"] == NOT_TRIED:
            continue
        cells = f"{x['wall']:.3g} s", f"{x['busy']:.3g} s", f"{x['residual']:.1e}", str(x["iterations"])
        end = x["method"], x["status"], f"{x['resident'] / 1e9:.2f} GB"
        rows.append([f"{x['family']}, d = {x['d']}", f"{x['blur']:g}", *cells, *end])
    header = ["", "blur", "time", "processor time", "certified residual", "iterations", "method", "", "peak memory"]
    title = f"{figures[0]['n']:,} points a side, to {TOLERANCES[0]:g}"
    return Report([Table(title, header, rows)], _wanted(figures))


def beside(scale: Scale) -> Figures:
    """Each peer in a fresh process; ours is then asked for the error that the peer ended with."""
    found: list[dict[str, Any]] = []
    failed: set[tuple[Any, ...]] = set()
    for case in scale.peers:
        place = {"n": case.n, "d": case.d, "family": case.family, "blur": case.blur}
        for name in PEERS:
            harder = (name, case.d, case.blur)
            if harder in failed:
                found.append({**place, "solver": name, "status": NOT_TRIED})
                continue
            theirs = fresh_processes.measure_points(name, Asked(case, PEER_TOL, scale.limit))
            if theirs is None:
                failed.add(harder)
                found.append({**place, "solver": name, "status": "STOPPED", "limit": scale.limit})
                continue
            tol = theirs["error"] if theirs["error"] < LOOSEST else LOOSEST  # which it is for nan, too
            own = fresh_processes.measure_points(OURS, Asked(case, tol, scale.limit))
            found.append({**place, "solver": name, "status": "ANSWERED", **theirs, "ours": own})
    return found


def report_beside(figures: Figures) -> Report:
    rows, goals = [], []
    for x in figures:
        case = f"n = {x['n']:,}, d = {x['d']}, blur {x['blur']:g}"
        if x["status"] != "ANSWERED":
            text = f">= {x['limit']:g} s" if x["status"] == "STOPPED" else "not tried"
            rows.append([case, x["solver"], text, *[""] * 7])
            continue
        own, error = x["ours"], "nan" if x["error"] is None else f"{x['error']:.1e}"
        theirs = milliseconds(x["wall"]), milliseconds(x["busy"]), error, f"{x['resident'] / 1e6:.0f} MB"
        if own is None:
            rows.append([case, x["solver"], *theirs, "over the limit", *[""] * 3])
            continue
        ratio = x["busy"] / own["busy"]
        mine = milliseconds(own["wall"]), milliseconds(own["busy"]), f"{own['error']:.1e}"
        rows.append([case, x["solver"], *theirs, *mine, times(ratio)])
        goals.append(Goal(f"{case}: times the processor time, {x['solver']}", ratio, RATIO, True))
    theirs_header = ["time", "processor time", "error of both marginals", "peak memory"]
    ours_header = ["ours: time", "ours: processor time", "ours: error", "ratio of processor times"]
    note = (
        "A uniform cloud and a mixture. Errors are those of the marginals of the potentials' plan, over all pairs in "
        f"double precision. OTT and POT are asked for {PEER_TOL:g}; GeomLoss has no test, and ends where its scaling "
        f"ends. We are asked for the error that the peer ended with, or for {LOOSEST:g} where that is larger."
    )
    title = "Beside others, at the error that they end with"
    return Report([Table(title, ["", "", *theirs_header, *ours_header], rows, note)], goals)


MULTISCALE = Benchmark(
    "multiscale",
    {
        **{f"d{d}": Section(partial(families, d=d), report_families) for d in DIMENSIONS},
        "million": Section(million, report_million),
        "peers": Section(beside, report_beside),
    },
)


def main() -> None:
    parser = options(__doc__, list(MULTISCALE.sections))
    parser.add_argument("--limit", type=float, default=LIMIT, metavar="SECONDS", help="of a solve")
    arguments = parser.parse_args()
    if arguments.redraw:
        MULTISCALE.redraw(arguments.output)
    else:
        MULTISCALE.run(arguments, Scale(arguments.quick, arguments.limit))


if __name__ == "__main__":
    main()
