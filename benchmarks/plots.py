"""Figures of stored results."""

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import matplotlib
import matplotlib.pyplot as plt
from matplotlib.axes import Axes

from .assignment_problems import COSTS
from .assignment_solvers import EMD, LAPJV, LAPJVR, OURS, SCIPY
from .assignment_tables import read_comparisons
from .assignment_timing import Comparison
from .report import Found, Time
from .sinkhorn_tables import read_series

# Text stays text (small, and searchable); a fixed salt makes the same figures the same file.
STYLE: dict[Any, Any] = {"svg.fonttype": "none", "font.size": 9, "axes.spines.top": False}
MARKERS = "osD^v<>PXp*hd"
DRAWN = "cloud2", 1e-3
COLUMNS = 3
# Okabe and Ito's colours, told apart with every kind of colour vision.
LOOKS = {
    OURS.name: ("#000000", "o"),
    SCIPY.name: ("#D55E00", "s"),
    LAPJV.name: ("#E69F00", "v"),
    LAPJVR.name: ("#CC79A7", "D"),
    EMD.name: ("#0072B2", "^"),
}
APART = 0.085  # least distance of two labels, in heights of a panel


def sinkhorn(found: Found, path: Path) -> None:
    """Times against n and against 1/epsilon of one kind of problem, where it was measured."""
    growing = [x for x in read_series(found["growth"], "n") if next(iter(x)).kind == DRAWN[0]]
    growing.sort(key=lambda x: next(iter(x)).epsilon != DRAWN[1])
    grid = [x for x in read_series(found["balanced"], "epsilon") if next(iter(x)).kind == DRAWN[0]]
    if not growing or not grid:
        return
    growth, over_epsilon = growing[0], grid[0]
    matplotlib.use("agg")
    names = list(next(iter(growth.values())))
    with plt.rc_context(STYLE | {"svg.hashsalt": "hard"}):
        figure, (left, right) = plt.subplots(1, 2, figsize=(9, 4), sharey=True, layout="constrained")
        _panel(left, names, {case.n: at for case, at in growth.items()})
        left.set(xlabel="n", ylabel="seconds", title=f"epsilon = {next(iter(growth)).epsilon:g} max C")
        left.set_xticks([case.n for case in growth], [str(case.n) for case in growth])
        left.minorticks_off()
        _panel(right, names, {1 / case.epsilon: at for case, at in over_epsilon.items()})
        right.set(xlabel="max C / epsilon", title=f"n = {next(iter(over_epsilon)).n}")
        labels = [axes.get_legend_handles_labels() for axes in (left, right)]
        handles = {label: handle for pair in labels for handle, label in zip(*pair, strict=True)}
        figure.legend(handles.values(), handles.keys(), loc="outside right upper", frameon=False)
        figure.savefig(path, metadata={"Date": None})
        plt.close(figure)


def _panel(axes: Axes, names: Sequence[str], columns: Mapping[float, Mapping[str, Time]]) -> None:
    """A line a solver through the problems that it answered; the first one thick and black."""
    for k, name in enumerate(names):
        points = [(x, at[name].seconds) for x, at in columns.items() if at[name].answered]
        colour, width = ("black", 2.5) if k == 0 else (f"C{k - 1}", 1.0)
        if points:
            x, seconds = zip(*points, strict=True)
            axes.loglog(x, seconds, marker=MARKERS[k], color=colour, linewidth=width, markersize=4, label=name)
    axes.grid(True, alpha=0.3)


def assignment(found: Found, path: Path) -> None:
    """Times of the solvers on square problems against n, one panel a family; an open marker: stopped there."""
    comparisons: dict[str, list[Comparison]] = {}
    for one in read_comparisons(found["square"]):
        comparisons.setdefault(one.case.costs, []).append(one)
    matplotlib.use("agg")
    rows = math.ceil(len(comparisons) / COLUMNS)
    sizes = sorted({one.case.n for chosen in comparisons.values() for one in chosen})
    with plt.rc_context(STYLE | {"svg.hashsalt": "assignment", "axes.spines.right": False}):
        figure, grid = plt.subplots(
            rows, COLUMNS, figsize=(10, 2.9 * rows), sharex=True, sharey=True, squeeze=False, layout="constrained"
        )
        panels = grid.ravel()
        panels[0].set(xscale="log", yscale="log", xlim=(sizes[0] * 0.8, sizes[-1] * 9))
        for axes, (kind, chosen) in zip(panels, comparisons.items(), strict=False):
            _curves(axes, chosen)
            axes.set_title(COSTS[kind].title, fontsize=9, loc="left")
            axes.grid(True, alpha=0.25)
        for axes in panels[len(comparisons) :]:
            axes.set_axis_off()
        for axes in panels[len(comparisons) : len(comparisons) + 1]:
            axes.text(0, 0.5, "Open marker: stopped there\nwithout an answer.", transform=axes.transAxes)
        for column in range(COLUMNS):
            _show_sizes([panels[k] for k in range(column, len(comparisons), COLUMNS)], sizes)
        figure.supylabel("seconds", fontsize=9)
        for axes, (_, chosen) in zip(panels, comparisons.items(), strict=False):
            _label(axes, chosen)
        figure.savefig(path, metadata={"Date": None})
        plt.close(figure)


def _show_sizes(column: Sequence[Axes], sizes: Sequence[int]) -> None:
    """On the lowest panel of the column, and not all of them: they would not fit."""
    shown = [n for n in sizes if math.log10(n) % 1 == 0] or [sizes[0], sizes[-1]]
    for axes in column:
        axes.set_xticks(shown, [f"{n:,}" for n in shown])
        axes.minorticks_off()
    if column:
        column[-1].tick_params(labelbottom=True)
        column[-1].set_xlabel("n")


def _points(name: str, comparisons: Sequence[Comparison]) -> list[tuple[int, float, bool]]:
    """Size, time, and whether it was stopped then."""
    points = [(one.case.n, one[name].time) for one in comparisons]
    return [(n, time.known, time.stopped) for n, time in points if not math.isnan(time.known)]


def _curves(axes: Axes, comparisons: Sequence[Comparison]) -> None:
    for name, (colour, marker) in LOOKS.items():
        points = _points(name, comparisons)
        if not points:
            continue
        width, above = (2.2, 3) if name == OURS.name else (1.1, 2)
        for (n, seconds, _), (larger, then, stopped) in pairwise(points):
            style = ":" if stopped else "-"
            axes.plot((n, larger), (seconds, then), style, color=colour, linewidth=width, zorder=above)
        for stopped in (False, True):
            chosen = [(n, seconds) for n, seconds, x in points if x is stopped]
            if chosen:
                face = "white" if stopped else colour
                axes.plot(*zip(*chosen, strict=True), marker, color=colour, mfc=face, markersize=4, zorder=above)


def _label(axes: Axes, comparisons: Sequence[Comparison]) -> None:
    """Names in a column on the right, in the order of the ends of the curves and as high where there is room."""
    to_panel = axes.transData + axes.transAxes.inverted()
    last = {name: points[-1][:2] for name in LOOKS if (points := _points(name, comparisons))}
    ends = {name: to_panel.transform(point) for name, point in last.items()}
    ranked = sorted(ends, key=lambda name: ends[name][1])
    heights = _apart([float(ends[name][1]) for name in ranked])
    column = max(float(end[0]) for end in ends.values()) + 0.09
    for name, height in zip(ranked, heights, strict=True):
        colour, _ = LOOKS[name]
        axes.annotate(
            "SciPy" if name == SCIPY.name else name.removeprefix("lapx "),
            xy=(ends[name][0], ends[name][1]),
            xytext=(column, height),
            xycoords="axes fraction",
            textcoords="axes fraction",
            color=colour,
            va="center",
            fontsize=8,
            weight="bold" if name == OURS.name else "normal",
            arrowprops={"arrowstyle": "-", "color": colour, "linewidth": 0.6, "linestyle": ":", "shrinkB": 3},
        )


def _apart(heights: Sequence[float]) -> list[float]:
    """Moved up until no two are too close, then down from the top of the panel."""
    moved = list(heights)
    for k in range(1, len(moved)):
        moved[k] = max(moved[k], moved[k - 1] + APART)
    ceiling = 1.0
    for k in reversed(range(len(moved))):
        moved[k] = min(moved[k], ceiling)
        ceiling = moved[k] - APART
    return moved
