"""Times of the assignment solvers against n, one panel a family."""

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path

import matplotlib
import matplotlib.pyplot as plt
from families import FAMILIES
from matchers import EMD, LAPJV, LAPJVR, OURS, SCIPY
from matplotlib.axes import Axes
from races import Race

STYLE = {
    "svg.fonttype": "none",
    "svg.hashsalt": "assignment",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
}
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


def draw(path: Path, races: Mapping[str, Sequence[Race]]) -> None:
    """The races of each family; an open marker: stopped there."""
    matplotlib.use("agg")
    rows = math.ceil(len(races) / COLUMNS)
    sizes = sorted({race.case.n for chosen in races.values() for race in chosen})
    with plt.rc_context(STYLE):
        figure, grid = plt.subplots(
            rows, COLUMNS, figsize=(10, 2.9 * rows), sharex=True, sharey=True, squeeze=False, layout="constrained"
        )
        panels = grid.ravel()
        panels[0].set(xscale="log", yscale="log", xlim=(sizes[0] * 0.8, sizes[-1] * 9))
        for axes, (family, chosen) in zip(panels, races.items(), strict=False):
            _curves(axes, chosen)
            axes.set_title(FAMILIES[family].title, fontsize=9, loc="left")
            axes.grid(True, alpha=0.25)
        for axes in panels[len(races) :]:
            axes.set_axis_off()
        for axes in panels[len(races) : len(races) + 1]:
            axes.text(0, 0.5, "Open marker: stopped there\nwithout an answer.", transform=axes.transAxes)
        for column in range(COLUMNS):
            _show_sizes([panels[k] for k in range(column, len(races), COLUMNS)], sizes)
        figure.supylabel("seconds", fontsize=9)
        for axes, (_, chosen) in zip(panels, races.items(), strict=False):
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


def _points(name: str, races: Sequence[Race]) -> list[tuple[int, float, bool]]:
    """Size, time, and whether it was stopped then."""
    points = [(race.case.n, race[name]) for race in races]
    return [(n, x.known, x.stopped) for n, x in points if not math.isnan(x.known)]


def _curves(axes: Axes, races: Sequence[Race]) -> None:
    for name, (colour, marker) in LOOKS.items():
        points = _points(name, races)
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


def _label(axes: Axes, races: Sequence[Race]) -> None:
    """Names in a column on the right, in the order of the ends of the curves and as high where there is room."""
    to_panel = axes.transData + axes.transAxes.inverted()
    last = {name: points[-1][:2] for name in LOOKS if (points := _points(name, races))}
    ends = {name: to_panel.transform(point) for name, point in last.items()}
    ranked = sorted(ends, key=lambda name: ends[name][1])
    heights = _apart([float(ends[name][1]) for name in ranked])
    column = max(float(end[0]) for end in ends.values()) + 0.09
    for name, height in zip(ranked, heights, strict=True):
        colour, _ = LOOKS[name]
        axes.annotate(
            "SciPy" if name == SCIPY.name else name.removeprefix("lapx "),
            xy=ends[name],
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
