"""Results as notebooks show them: a table of what is known of one, and a small picture of its plan."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..arrays.devices import on_host
from ..plans import export
from ..solvers.found import Found

TILES = 24  # rows and columns of a picture, at most
PICTURED_ENTRIES = 1 << 22  # of a plan that is read for a picture; of a larger one there is none
PIXELS = 168
FAINT = 0.004  # of the largest tile's mass, below which a tile is left out
COLOUR = "#3b75af"


def shown(result: object, facts: Sequence[tuple[str, object]], masses: NDArray[np.float64] | None = None) -> str:
    """Return the table of a result, with a picture of masses beside it."""
    rows = "".join(
        f'<tr><th style="text-align:left">{escape(name)}</th><td style="text-align:left">{escape(str(value))}</td></tr>'
        for name, value in facts
    )
    table = f"<table><caption><b>{escape(type(result).__name__)}</b></caption>{rows}</table>"
    picture = "" if masses is None else _picture(masses)
    return f'<div style="display:flex;align-items:center;gap:1.5em">{table}{picture}</div>'


def tiles_of_plan(found: Found) -> NDArray[np.float64] | None:
    """Return the plan's mass on tiles, by a product with their columns; None if that takes too long for a picture."""
    n, m = found.problem.shape
    if not 0 < n * m <= PICTURED_ENTRIES:
        return None
    columns = _tiles(m)
    members = (columns[:, None] == np.arange(columns[-1] + 1)).astype(np.float64)
    return _sums(_tiles(n), np.asarray(on_host(export.apply(found, members, 1)), np.float64))


def tiles_of_entries(
    rows: NDArray[np.integer], cols: NDArray[np.integer], mass: Any, shape: tuple[int, int]
) -> NDArray[np.float64] | None:
    """Return the same of a plan of few entries; None of one without any."""
    if not rows.size:
        return None
    first, second = _tiles(shape[0]), _tiles(shape[1])
    out = np.zeros((first[-1] + 1, second[-1] + 1))
    np.add.at(out, (first[rows], second[cols]), mass)
    return out


def _tiles(size: int) -> NDArray[np.int64]:
    """Return the tile of every row or column."""
    return np.arange(size) * min(size, TILES) // size


def _sums(rows: NDArray[np.int64], values: NDArray[np.float64]) -> NDArray[np.float64]:
    out = np.zeros((int(rows[-1]) + 1, values.shape[1]))
    np.add.at(out, rows, values)
    return out


def _picture(masses: NDArray[np.float64]) -> str:
    """Return an SVG of tiles, the heavier the darker; nothing of a plan without mass, or whose numbers broke down."""
    largest = float(masses.max())
    if not 0 < largest < np.inf:
        return ""
    k, m = masses.shape
    shares = np.nan_to_num(masses) / largest
    tiles = "".join(
        f'<rect x="{j}" y="{i}" width="1" height="1" fill-opacity="{shares[i, j] ** 0.5:.2f}"/>'
        for i, j in np.argwhere(shares > FAINT)
    )
    size = f'width="{PIXELS * m / max(k, m):.0f}" height="{PIXELS * k / max(k, m):.0f}" viewBox="0 0 {m} {k}"'
    frame = f'<rect width="{m}" height="{k}" fill="none" stroke="{COLOUR}" stroke-width="{max(k, m) / PIXELS:.3f}"/>'
    return f'<svg xmlns="http://www.w3.org/2000/svg" {size} fill="{COLOUR}" role="img">{frame}{tiles}</svg>'
