"""Times against the number of points and against 1/epsilon."""

from collections.abc import Mapping
from pathlib import Path

import matplotlib
import matplotlib.pyplot as plt
from ladder import Ladder
from matplotlib.axes import Axes
from timing import Solve

# Text stays text (small, and searchable); a fixed salt makes the same figures the same file.
STYLE = {"svg.fonttype": "none", "svg.hashsalt": "hard", "font.size": 9, "axes.spines.top": False}
MARKERS = "osD^v<>PXp*hd"


def draw(path: Path, growth: Ladder, grid: Ladder) -> None:
    """The two ladders of one kind of problem, over n and over epsilon; the contenders are those of the first."""
    matplotlib.use("agg")
    names = [solve.name for solve in next(iter(growth.values()))]
    with plt.rc_context(STYLE):
        figure, (left, right) = plt.subplots(1, 2, figsize=(9, 4), sharey=True, layout="constrained")
        _panel(left, names, {spec.n: solves for spec, solves in growth.items()})
        left.set(xlabel="n", ylabel="seconds", title=f"epsilon = {next(iter(growth)).epsilon:g} max C")
        left.set_xticks([spec.n for spec in growth], [str(spec.n) for spec in growth])
        left.minorticks_off()
        _panel(right, names, {1 / spec.epsilon: solves for spec, solves in grid.items()})
        right.set(xlabel="max C / epsilon", title=f"n = {next(iter(grid)).n}")
        labels = [axes.get_legend_handles_labels() for axes in (left, right)]
        handles = {label: handle for pair in labels for handle, label in zip(*pair, strict=True)}
        figure.legend(handles.values(), handles.keys(), loc="outside right upper", frameon=False)
        figure.savefig(path, metadata={"Date": None})
        plt.close(figure)


def _panel(axes: Axes, names: list[str], columns: Mapping[float, list[Solve]]) -> None:
    """A line a contender through the problems that it answered; the first one thick and black."""
    for k, name in enumerate(names):
        points = [(x, s.seconds) for x, solves in columns.items() for s in solves if s.name == name and not s.failure]
        colour, width = ("black", 2.5) if k == 0 else (f"C{k - 1}", 1.0)
        if points:
            x, seconds = zip(*points, strict=True)
            axes.loglog(x, seconds, marker=MARKERS[k], color=colour, linewidth=width, markersize=4, label=name)
    axes.grid(True, alpha=0.3)
