"""What the commands are given: a cost in a file, two files of points, or two pictures, with weights and a mask."""

from __future__ import annotations

import argparse
import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np

import elastic_ot as eot

from ..costs.base import LARGEST_PLAN
from ..distributed.ranks import ALONE, Ranks
from .errors import BadInput, refusals
from .files import Rows, Source, as_mask, opened, rows_of


@dataclass
class Given:
    """A problem, of the own rows."""

    cost: Any = None
    a: Any = None
    b: Any = None
    mask: Any = None
    files: dict[str, str] = field(default_factory=dict)
    """Where each argument was read, for messages."""


def read_problem(options: argparse.Namespace, own: Rows = None) -> Given:
    """Return the problem that the options name."""
    grid = getattr(options, "grid", None)
    if sum(given is not None for given in (options.cost, options.points, grid)) != 1:
        raise BadInput(f"give one of COST, --points X Y{' and --grid A B' if hasattr(options, 'grid') else ''}")
    if grid is not None:
        if own is not None:
            raise BadInput("--grid: is summed axis by axis, on one process; start it without mpiexec")
        return _read_grid(options)
    if options.points is not None:
        return _read_points(options, own)
    return matrix_problem(options, opened("COST", options.cost), "cost", own)


def matrix_problem(options: argparse.Namespace, source: Source, key: str, own: Rows = None) -> Given:
    """Return the problem of a matrix, with what else lies in its file."""
    if options.metric is not None:
        raise BadInput(f"--metric {options.metric}: is for --points and --grid; COST is a matrix already")
    found = Given(rows_of(source, key, own), files={key: str(source)})
    _read_sides(found, options, (source, source), own)
    _read_mask(found, options, source, own)
    return found


def _read_points(options: argparse.Namespace, own: Rows) -> Given:
    sources = [opened("--points", name) for name in options.points]
    x, y = (source.array(key, ndim=2) for source, key in zip(sources, "xy", strict=True))
    x = x if own is None else x[own(x.shape[0])]
    found = Given(files=dict(zip("xy", map(str, sources), strict=True)))
    _read_sides(found, options, (sources[0], sources[1]), own)
    _read_mask(found, options, None, own)
    if x.shape[0] or own is None:
        with refusals(found.files):
            found.cost = eot.PointCloud(x, y, options.metric or "sqeuclidean")
    return found


def _read_grid(options: argparse.Namespace) -> Given:
    for name in ("a", "b", "mask"):
        if getattr(options, name, None) is not None:
            raise BadInput(f"--{name}: has no place beside --grid, whose grey values are the weights")
    sources = [opened("--grid", name, pictures=True) for name in options.grid]
    a, b = (source.picture(key) for source, key in zip(sources, "ab", strict=True))
    try:
        cost = eot.Grid(a.shape, b.shape, options.metric or "sqeuclidean")
    except (ValueError, TypeError) as error:
        raise BadInput(f"--grid: {error}") from error
    return Given(cost, a, b, files=dict(zip("ab", map(str, sources), strict=True)))


def _read_sides(found: Given, options: argparse.Namespace, beside: tuple[Source, Source], own: Rows) -> None:
    """Read the weights, from files of their own or from where the cost or the points lie, if the command has any."""
    for side, source in zip("ab", beside, strict=True):
        if not hasattr(options, side):
            continue
        weights = None
        name = getattr(options, side)
        if name is not None:
            source = opened(f"--{side}", name)
            weights = source.array(side, ndim=1)
        else:
            weights = source.companion(side, ndim=1)
        if weights is not None:
            setattr(found, side, weights if own is None or side == "b" else weights[own(weights.size)])
            found.files[side] = str(source)


def _read_mask(found: Given, options: argparse.Namespace, beside: Source | None, own: Rows) -> None:
    """Read the mask, from a file of its own or from where the cost lies, if the command has any."""
    name = getattr(options, "mask", None)
    if name is not None:
        source = opened("--mask", name)
        mask = rows_of(source, "mask", own)
    elif beside is not None and hasattr(options, "mask"):
        source, whole = beside, beside.companion("mask", ndim=2)
        if whole is None:
            return
        mask = whole if own is None else whole[own(whole.shape[0])]
    else:
        return
    found.mask = as_mask(source, mask)
    found.files["mask"] = str(source)


def check_whole(option: str, cost: Any, way_out: str) -> None:
    """Refuse an option that needs a whole plan, where that would not be made."""
    if isinstance(cost, eot.Cost) and math.prod(cost.shape) > LARGEST_PLAN:
        n, m = cost.shape
        raise BadInput(f"{option}: needs a whole plan, of {LARGEST_PLAN} entries at most, not {n} x {m}; {way_out}")


def parse_epsilon(text: str, cost: Any, ranks: Ranks = ALONE) -> float:
    """Read a number, or a fraction of the range of the finite costs such as ``0.01x``; of points, of a bound on it.

    The range is that of the rows of all processes.
    """
    relative = text.endswith("x")
    try:
        epsilon = float(text.removesuffix("x"))
    except ValueError:
        raise BadInput(f"--epsilon {text}: give a number such as 0.05, or 0.01x of the cost range") from None
    if not relative:
        return epsilon
    low, high = _range(cost)
    width = ranks.most(high) + ranks.most(-low)
    if not width > 0.0:
        raise BadInput(f"--epsilon {text}: the finite costs have no range to take a fraction of; give a number")
    return epsilon * width


def _range(cost: Any) -> tuple[float, float]:
    known = cost._known() if isinstance(cost, eot.Cost) else None
    if known is not None:
        return float(known.lowest), float(known.highest)
    finite = np.empty(0) if cost is None else cost[np.isfinite(cost)].astype(np.float64)
    return float(finite.min(initial=np.inf)), float(finite.max(initial=-np.inf))
