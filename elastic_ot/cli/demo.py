"""``elastic-ot demo``: recolour one photograph with the palette of another, under several column penalties.

Rows are 440 pixels of the first photograph, columns 440 of the second, and the cost is the squared distance
of their colours in CIE Lab. Every row is fixed: each pixel is recoloured. What varies is how firmly the
palette must be used in its own proportions: not at all (a row-wise softmax), elastically, exactly, or up to a
capacity.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

import elastic_ot as eot

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from ..problems.penalty import Penalty
    from ..solutions.solution import Solution

SAMPLES = 440
EPSILON = 0.005  # a colour difference of 100 sqrt(epsilon), about 7 units of Lab, is blurred
LAMS = (0.0, 0.7, 0.9, 0.97, 1.0)
CAPACITY = 1.5
DEMO_TOL = 1e-6
METHOD: Final = "log"  # on a fresh machine one kernel has to be compiled; "auto" would take two here
HEADER = (
    f"{'problem':<22}{'status':<11}{'method':<8}{'iter':>5}{'transport':>11}{'value':>11}{'gap':>9}"
    f"{'marginal':>10}{'load':>7}{'seconds':>9}"
)
Colours = NDArray[np.float64]


@dataclass(frozen=True)
class Photographs:
    """The two photographs (height, width, 3) uint8, and the pixels sampled from each."""

    source: NDArray[np.uint8]
    palette: NDArray[np.uint8]
    source_pixels: NDArray[np.uint8]
    palette_pixels: NDArray[np.uint8]

    @property
    def cost(self) -> Colours:
        """Distances between the sampled colours (source by palette)."""
        return colour_distance(lab(self.source_pixels), lab(self.palette_pixels))


@dataclass(frozen=True)
class Outcome:
    """One solved problem of the demonstration."""

    name: str
    lam: float | None
    solution: Solution
    load: Colours  # attained share of each palette colour over its own share
    seconds: float


def run(picture: Path | None) -> int:
    """Solve, print the table and save the picture; return the exit code (0 if every solve converged)."""
    photographs = load_photographs()
    print(
        f"Colour transfer between two photographs: {SAMPLES} x {SAMPLES} pixels, squared CIE Lab distance, "
        f"epsilon {EPSILON}, tol {DEMO_TOL:.0e}.\n"
        "Rows fixed. load: largest attained share of a palette colour over its own share.\n\n" + HEADER
    )
    outcomes = []
    for outcome in solve_all(photographs):
        print(table_line(outcome), flush=True)
        outcomes.append(outcome)
    print()
    if picture is not None:
        draw(photographs, outcomes).savefig(picture, dpi=100)
        print(f"Picture saved as {picture}")
    return 0 if all(outcome.solution.converged for outcome in outcomes) else 1


def load_photographs() -> Photographs:
    """Read the photographs shipped with the package and sample their pixels, the same ones every time."""
    with (
        resources.as_file(resources.files("elastic_ot") / "data" / "photographs.npz") as path,
        np.load(path) as archive,
    ):
        source, palette = archive["china"], archive["flower"]
    rng = np.random.default_rng(0)
    picked = [rng.choice(image.shape[0] * image.shape[1], SAMPLES, replace=False) for image in (source, palette)]
    pixels = [image.reshape(-1, 3)[index] for image, index in zip((source, palette), picked, strict=True)]
    # From dark to light, so that a plan shows where the light colours go.
    pixels = [pixel[np.argsort(lab(pixel)[:, 0], kind="stable")] for pixel in pixels]
    return Photographs(source, palette, *pixels)


def lab(rgb: NDArray[np.uint8]) -> Colours:
    """Convert sRGB bytes to CIE Lab (D65 white), where distances are close to perceived differences."""
    linear = np.asarray(rgb) / 255.0
    linear = np.where(linear <= 0.04045, linear / 12.92, ((linear + 0.055) / 1.055) ** 2.4)
    to_xyz = np.array(
        [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]]
    )
    xyz = linear @ (to_xyz / to_xyz.sum(axis=1, keepdims=True)).T
    xyz = np.where(xyz > (6 / 29) ** 3, np.cbrt(xyz), xyz / (3 * (6 / 29) ** 2) + 4 / 29)
    x, y, z = np.moveaxis(xyz, -1, 0)
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=-1)


def colour_distance(x: Colours, y: Colours) -> Colours:
    """Squared distance of Lab colours, in units of the square of black to white (100)."""
    square = (x**2).sum(axis=1)[:, None] + (y**2).sum(axis=1) - 2.0 * (x @ y.T)
    return np.asarray(np.maximum(square, 0.0) / 100.0**2)


def solve_all(photographs: Photographs) -> Iterator[Outcome]:
    """Solve the problems of the table one after the other."""
    cost = photographs.cost
    share = np.full(SAMPLES, 1.0 / SAMPLES)
    named = {0.0: "softmax", 1.0: "balanced"}
    problems: list[tuple[str, float | None, Penalty, float]] = [
        *((f"{named.get(lam, 'elastic')}, lam = {lam:g}", lam, eot.Elastic(lam), 1.0) for lam in LAMS),
        (f"at most {CAPACITY:g} shares", None, eot.AtMost(), CAPACITY),
        ("0.5 to 2 shares", None, eot.Between(0.5, 2.0), 1.0),
    ]
    for name, lam, penalty, shares in problems:
        start = time.perf_counter()
        solution = eot.solve(
            cost, share, shares * share, epsilon=EPSILON, cols=penalty, method=METHOD, tol=DEMO_TOL, on_failure="ignore"
        )
        load = np.asarray(solution.col_marginal, dtype=np.float64) / share
        yield Outcome(name, lam, solution, load, time.perf_counter() - start)


def table_line(outcome: Outcome) -> str:
    """One line under `HEADER`."""
    s = outcome.solution
    return (
        f"{outcome.name:<22}{s.status.name.lower():<11}{s.method:<8}{s.n_iter:>5}{s.transport_cost:>11.6f}"
        f"{s.value:>11.6f}{s.gap:>9.1e}{s.marginal_error:>10.1e}{outcome.load.max():>7.2f}{outcome.seconds:>9.3f}"
    )


def recolour(photographs: Photographs, solution: Solution) -> NDArray[np.uint8]:
    """Map every pixel of the source, sampled or not, to the mean colour that the potentials g give it.

    The row of a new colour x would be proportional to b_j exp((g_j - c(x, y_j)) / epsilon).
    """
    pixels = photographs.source.reshape(-1, 3)
    target = lab(photographs.palette_pixels)
    mapped = np.empty(pixels.shape)
    for start in range(0, len(pixels), 4096):
        chunk = slice(start, start + 4096)
        logits = (solution.g - colour_distance(lab(pixels[chunk]), target)) / solution.epsilon
        logits -= logits.max(axis=1, keepdims=True)
        weights = np.exp(logits)
        mapped[chunk] = weights @ photographs.palette_pixels / weights.sum(axis=1, keepdims=True)
    return np.rint(mapped).astype(np.uint8).reshape(photographs.source.shape)


def draw(photographs: Photographs, outcomes: list[Outcome]) -> Figure:
    """Photographs, loads against lam, the recoloured photographs, and the plans."""
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    # Six of the seven fit; the last line of the table is like the capacity before it.
    shown = outcomes[: len(LAMS) + 1]
    layout = ConstrainedLayoutEngine(w_pad=0.03, h_pad=0.03, hspace=0.0, wspace=0.0)
    figure = Figure(figsize=(16.0, 8.7), layout=layout)
    outer = figure.add_gridspec(2, 1, height_ratios=(3.5, 4.9))
    top = outer[0].subgridspec(1, 3, width_ratios=(1, 1, 1.15))
    source, palette, loads = (figure.add_subplot(top[i]) for i in range(3))
    _show(source, photographs.source, "source: every pixel must be recoloured")
    _show(palette, photographs.palette, "palette: the colours to recolour it with")
    _draw_loads(loads, photographs, [outcome for outcome in outcomes if outcome.lam is not None])
    below = outer[1].subgridspec(2, len(shown), height_ratios=(1.7, 2.85))
    for k, outcome in enumerate(shown):
        _show(figure.add_subplot(below[0, k]), recolour(photographs, outcome.solution), outcome.name)
        _draw_plan(figure.add_subplot(below[1, k]), photographs, outcome, first=k == 0)
    return figure


def _show(axes: Axes, image: NDArray[np.uint8], title: str) -> None:
    axes.imshow(image, interpolation="bicubic")
    axes.set_title(title, fontsize=11)
    axes.set_axis_off()


def _draw_loads(axes: Axes, photographs: Photographs, elastic: list[Outcome]) -> None:
    """One line a palette colour, drawn in that colour: its load at each lam, ending at 1."""
    from matplotlib.collections import LineCollection

    positions = np.arange(len(elastic))
    floor = 1e-3
    loads = np.maximum([outcome.load for outcome in elastic], floor)
    lines = [np.column_stack([positions, load]) for load in loads.T]
    axes.add_collection(LineCollection(lines, colors=photographs.palette_pixels / 255.0, lw=0.8))
    axes.set_yscale("log")
    axes.set_ylim(floor, 1.3 * loads.max())
    axes.set_xlim(0, positions[-1])
    axes.set_xticks(positions, [f"{outcome.lam:g}" for outcome in elastic])
    axes.set_xlabel("lam")
    axes.set_title("load of each palette colour: share used / own share", fontsize=11)
    axes.spines[["top", "right"]].set_visible(False)


def _draw_plan(axes: Axes, photographs: Photographs, outcome: Outcome, *, first: bool) -> None:
    """Draw the plan, with the colours of its rows and columns along its edges."""
    from matplotlib.colors import LogNorm

    from ..solutions.plotting import block_sums, plan_colours

    blocks = block_sums(np.asarray(outcome.solution.plan), 5)
    top = 5.0**2 / SAMPLES**2 * 40.0
    axes.imshow(blocks, cmap=plan_colours(), norm=LogNorm(top * 1e-4, top, clip=True), interpolation="nearest")
    side = len(blocks)
    rows = photographs.source_pixels[::5][:, None]
    columns = photographs.palette_pixels[::5][None]
    for pixels, box in ((rows, (-0.07, 0.0, 0.05, 1.0)), (columns, (0.0, -0.07, 1.0, 0.05))):
        strip = axes.inset_axes(box)
        strip.imshow(pixels, aspect="auto", interpolation="nearest")
        strip.set_axis_off()
    axes.set_xticks([])
    axes.set_yticks([])
    axes.set_xlim(-0.5, side - 0.5)
    axes.set_xlabel(f"largest load {outcome.load.max():.3g}", labelpad=18)
    if first:
        axes.set_ylabel("plan: source colours, dark to light", labelpad=20)
