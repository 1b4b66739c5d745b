"""The picture of a solution: the plan between its two marginals, and how the iteration got there.

Nothing here touches pyplot's global state: a `matplotlib.figure.Figure` is made and returned, and the caller
saves or shows it. matplotlib is imported on the first call, so that a solve never pays for it.
"""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from ..arrays.ingest import as_numpy

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.colors import Colormap
    from matplotlib.figure import Figure

    from ..problems.penalty import Penalty
    from ..solvers.history import History

MAX_BLOCKS = 400  # a heat map about 4 inches wide has no more pixels a side than this
DECADES = 4.0  # entries this many decades below the largest are drawn like zero
# Blue and orange keep their contrast in every common form of colour blindness and in grey.
BLUE, ORANGE, GREY, INK = "#0072B2", "#D55E00", "#C9CED6", "#333A45"
PLAN_COLOURS = ("#FFFFFF", "#CFE3F3", "#7FB8DE", "#2F7FBC", "#0B4A86", "#041E42")
Floats = NDArray[np.floating]


def plot_solution(solution: Any, *, figure: Figure | None = None, max_blocks: int = MAX_BLOCKS) -> Figure:
    """Draw a plan with its two marginals, and the residual and dual value against the iteration.

    Parameters
    ----------
    solution : Solution
        What `solve` returned.
    figure : matplotlib.figure.Figure, optional
        An empty figure to draw into, say one made by pyplot. Default: a new figure of 11.5 by 5.2 inches that
        pyplot does not know.
    max_blocks : int, default 400
        Most cells drawn along a side. A larger plan is drawn by the masses of its square blocks of cells, and
        the marginals are summed over the same blocks.

    Returns
    -------
    matplotlib.figure.Figure
        Save it with ``figure.savefig("plan.png")``.

    Raises
    ------
    ImportError
        matplotlib is not installed.
    ValueError
        max_blocks is not positive.

    Notes
    -----
    The plan is read once and reduced along rows, then along columns: beyond ``solution.plan`` at most
    ``max_blocks`` of its rows are allocated. The colour scale is logarithmic over at most four decades. With
    annealing, shaded bands mark the levels of epsilon, and the dual values are those of the last level.

    Examples
    --------
    >>> import numpy as np
    >>> import elastic_ot as eot
    >>> points = np.linspace(0.0, 1.0, 6)
    >>> solution = eot.solve((points[:, None] - points) ** 2, epsilon=0.1)
    >>> [axes.get_label() for axes in plot_solution(solution).axes]
    ['plan', 'columns', 'rows', 'scale', 'residual', 'dual']
    """
    if max_blocks < 1:
        raise ValueError(f"max_blocks is {max_blocks}; at least one block must be drawn")
    figure_type = _matplotlib_figure()
    if figure is None:
        figure = figure_type(figsize=(11.5, 5.2), layout="constrained")
    elif figure.get_layout_engine() is None:
        figure.set_layout_engine("constrained")
    outer = figure.add_gridspec(1, 2, width_ratios=(5.6, 4.4))
    grid = outer[0].subgridspec(3, 2, width_ratios=(4.4, 1.0), height_ratios=(1.0, 4.4, 0.16), hspace=0.03, wspace=0.03)
    plan = figure.add_subplot(grid[1, 0], label="plan")
    columns = figure.add_subplot(grid[0, 0], sharex=plan, label="columns")
    rows = figure.add_subplot(grid[1, 1], sharey=plan, label="rows")
    scale = figure.add_subplot(grid[2, 0], label="scale")
    curves = outer[1].subgridspec(2, 1, hspace=0.05)
    residual = figure.add_subplot(curves[0], label="residual")
    dual = figure.add_subplot(curves[1], sharex=residual, label="dual")

    n, m = len(solution.row_marginal), len(solution.col_marginal)
    size = max(1, math.ceil(max(n, m) / max_blocks))
    _draw_plan(plan, scale, block_sums(as_numpy("plan", solution.plan), size), n, m, size)
    problem = solution.problem
    _draw_marginal(
        columns, as_numpy("col_marginal", solution.col_marginal), problem.b, problem.cols, size, vertical=False
    )
    _draw_marginal(rows, as_numpy("row_marginal", solution.row_marginal), problem.a, problem.rows, size, vertical=True)
    _draw_residual(residual, solution.history)
    _draw_dual(dual, solution.history, solution.value)
    facts = (
        f"{solution.status.name.lower()}: {solution.n_iter} iterations of {solution.method}",
        f"epsilon {solution.epsilon:.4g}",
        f"transport cost {solution.transport_cost:.6g}",
        f"gap {solution.gap:.1e}",
    )
    figure.suptitle("    ".join(facts), fontsize=10, color=INK)
    return figure


def block_sums(plan: NDArray[np.generic], size: int) -> NDArray[np.generic]:
    """Sum the cells of each ``size`` by ``size`` block; the last blocks of a side may be smaller."""
    if size == 1:
        return plan
    by_row = np.add.reduceat(plan, np.arange(0, plan.shape[0], size), axis=0)
    return np.asarray(np.add.reduceat(by_row, np.arange(0, plan.shape[1], size), axis=1))


def _matplotlib_figure() -> type[Figure]:
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError('plotting needs matplotlib: pip install "elastic-ot[plot]"') from error
    return Figure


def plan_colours() -> Colormap:
    """White to dark blue: one hue of falling lightness, which reads the same to every eye and in grey."""
    from matplotlib.colors import LinearSegmentedColormap

    return LinearSegmentedColormap.from_list("elastic_ot_plan", PLAN_COLOURS)


def _draw_plan(axes: Axes, scale: Axes, blocks: NDArray[np.generic], n: int, m: int, size: int) -> None:
    from matplotlib.colors import LogNorm

    shown = np.asarray(blocks, dtype=np.float64)
    positive = shown[np.isfinite(shown) & (shown > 0)]
    axes.set_xlabel("column")
    axes.set_ylabel("row")
    for side in axes.spines.values():
        side.set_color(GREY)
    # The last block may reach over the edge of the plan: the limits cut it there.
    height, width = shown.shape
    extent = (-0.5, width * size - 0.5, height * size - 0.5, -0.5)
    axes.set_xlim(-0.5, m - 0.5)
    axes.set_ylim(n - 0.5, -0.5)
    _integer_ticks(axes)
    if positive.size == 0:
        axes.text(0.5, 0.5, "no mass", transform=axes.transAxes, ha="center", va="center", color=INK)
        scale.set_axis_off()
        return
    top = float(positive.max())
    # A nearly constant plan keeps one decade, or its noise would fill the colour scale.
    bottom = min(max(float(positive.min()), top * 10.0**-DECADES), top / 10.0)
    image = axes.imshow(
        shown,
        cmap=plan_colours(),
        norm=LogNorm(bottom, top, clip=True),
        extent=extent,
        aspect="auto",
        interpolation="nearest",
        label="plan",
    )
    bar = axes.figure.colorbar(image, cax=scale, orientation="horizontal")
    bar.set_label("mass of a cell" if size == 1 else f"mass of a block of {size} x {size} cells")
    bar.outline.set_edgecolor(GREY)


def _draw_marginal(
    axes: Axes, attained: Floats, weights: Floats, penalty: Penalty, size: int, *, vertical: bool
) -> None:
    """Weights as a filled step, the attained marginal as a line over it, block by block like the plan."""
    starts = np.arange(0, len(attained), size)
    edges = np.append(starts, len(attained)) - 0.5
    orientation: Literal["horizontal", "vertical"] = "horizontal" if vertical else "vertical"
    given = np.add.reduceat(np.asarray(weights, dtype=np.float64), starts)
    reached = np.add.reduceat(np.asarray(attained, dtype=np.float64), starts)
    axes.stairs(given, edges, fill=True, color=GREY, orientation=orientation, label="weights")
    axes.stairs(reached, edges, color=BLUE, lw=1.2, baseline=None, orientation=orientation, label="attained")
    axes.tick_params(labelbottom=vertical, labelleft=not vertical)
    heights = np.concatenate([given, reached])
    limits = (0.0, 1.08 * float(heights[np.isfinite(heights)].max(initial=0.0)) or 1.0)
    if vertical:
        axes.set_xlim(*limits)
        axes.locator_params(axis="x", nbins=2)
        axes.set_xlabel(f"rows\n{_short(penalty)}", fontsize=9, color=INK)
    else:
        axes.set_ylim(*limits)
        axes.locator_params(axis="y", nbins=3)
        axes.set_title(f"columns  {_short(penalty)}", fontsize=9, color=INK)
        axes.legend(loc="upper left", bbox_to_anchor=(1.01, 1.05), frameon=False, fontsize=8).set_in_layout(False)
    _open(axes)


def _short(penalty: Penalty) -> str:
    """Return the repr of a penalty with four digits: `Elastic` has become a KL whose rho has many."""
    return re.sub(r"\d+\.\d+(e[+-]\d+)?", lambda number: f"{float(number[0]):.4g}", repr(penalty))


def _draw_residual(axes: Axes, history: History) -> None:
    axes.set_ylabel("residual (L1)")
    axes.tick_params(labelbottom=False)
    _open(axes)
    residual = np.asarray(history.residual, dtype=np.float64)
    kept = np.isfinite(residual) & (residual > 0)
    if not kept.any():
        text = "zero at every check" if len(residual) and np.all(residual == 0) else "nothing recorded"
        axes.text(0.5, 0.5, text, transform=axes.transAxes, ha="center", va="center", color=INK)
        return
    axes.set_yscale("log")
    axes.plot(np.asarray(history.iteration)[kept], residual[kept], color=BLUE, lw=1.5, marker=_marker(kept), ms=3)
    axes.grid(axis="y", color=GREY, lw=0.5, alpha=0.6)
    _mark_levels(axes, history)


def _draw_dual(axes: Axes, history: History, value: float) -> None:
    axes.set_xlabel("iteration")
    axes.set_ylabel("dual value")
    axes.locator_params(axis="y", nbins=6)
    _open(axes)
    dual = np.asarray(history.dual, dtype=np.float64)
    kept = np.isfinite(dual)
    if len(dual):
        kept &= np.asarray(history.epsilon) == history.epsilon[-1]
        _mark_levels(axes, history)
    if kept.any():
        iteration = np.asarray(history.iteration)[kept]
        dual = dual[kept]
        axes.plot(iteration, dual, color=BLUE, lw=1.5, marker=_marker(kept), ms=3, label="dual")
        # The first sweeps may lie decades below: they leave through the bottom of the picture.
        low, high = float(np.quantile(dual, 0.1)), float(dual.max())
        if math.isfinite(value):
            low, high = min(low, value), max(high, value)
        margin = 0.08 * (high - low) or 1e-6 * max(abs(high), 1e-300)
        axes.set_ylim(low - margin, high + margin)
    if math.isfinite(value):
        axes.axhline(value, color=ORANGE, lw=1.2, ls=(0, (5, 3)), label="primal, at the end")
    if axes.get_legend_handles_labels()[0]:
        axes.legend(loc="lower right", frameon=False, fontsize=8)


def _mark_levels(axes: Axes, history: History) -> None:
    """Shade every second level of epsilon; a solve at one epsilon gets no shade."""
    epsilon = np.asarray(history.epsilon)
    iteration = np.asarray(history.iteration, dtype=np.float64)
    starts = np.concatenate(([0], np.flatnonzero(epsilon[1:] != epsilon[:-1]) + 1, [len(epsilon)]))
    for first, last in zip(starts[0:-1:2], starts[1::2], strict=False):
        if len(starts) == 2:
            return
        axes.axvspan(iteration[first] - 0.5, iteration[last - 1] + 0.5, color=GREY, alpha=0.3, lw=0)


def _marker(kept: NDArray[np.bool_]) -> str:
    """A few checks are drawn as points, or a single one would be invisible."""
    return "o" if np.count_nonzero(kept) <= 30 else ""


def _integer_ticks(axes: Axes) -> None:
    from matplotlib.ticker import MaxNLocator

    axes.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))
    axes.yaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))


def _open(axes: Axes) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=8)
