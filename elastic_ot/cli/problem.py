"""What the commands are given: a cost in a file, two files of points, or two pictures, with weights and a mask."""

from __future__ import annotations

import argparse
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import elastic_ot as eot

from ..costs.base import LARGEST_PLAN
from ..costs.relative import absolute_of_ranks
from ..distributed.ranks import ALONE, Ranks
from .errors import BadInput, refusals
from .files import Rows, Source, as_mask, opened, rows_of


@dataclass(frozen=True)
class Given:
    """A problem, of the own rows."""

    cost: Any = None
    a: Any = None
    b: Any = None
    mask: Any = None
    files: Mapping[str, str] = field(default_factory=dict)
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
    cost = rows_of(source, key, own)
    return _given(options, {key: source}, dict.fromkeys(("a", "b", "mask"), source), own, cost)


def _read_points(options: argparse.Namespace, own: Rows) -> Given:
    x_source, y_source = (opened("--points", name) for name in options.points)
    x, y = x_source.array("x", ndim=2), y_source.array("y", ndim=2)
    x = x if own is None else x[own(x.shape[0])]
    cost = None
    if x.shape[0] or own is None:
        with refusals({"x": str(x_source), "y": str(y_source)}):
            cost = eot.PointCloud(x, y, options.metric or "sqeuclidean")
    return _given(options, {"x": x_source, "y": y_source}, {"a": x_source, "b": y_source}, own, cost)


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


def _given(
    options: argparse.Namespace, sources: dict[str, Source], beside: Mapping[str, Source], own: Rows, cost: Any
) -> Given:
    """Add weights and mask, from files of their own or from beside the cost, as far as the command has any."""
    read = {}
    for name, ndim in (("a", 1), ("b", 1), ("mask", 2)):
        if not hasattr(options, name):
            continue
        values, source = None, beside.get(name)
        if getattr(options, name) is not None:
            source = opened(f"--{name}", getattr(options, name))
            values = source.array(name, ndim=ndim)
        elif source is not None:
            values = source.companion(name, ndim=ndim)
        if values is None or source is None:
            continue
        if own is not None and name != "b":
            values = values[own(values.shape[0])]
        read[name] = as_mask(source, values) if name == "mask" else values
        sources[name] = source
    return Given(cost, **read, files={name: str(source) for name, source in sources.items()})


def check_whole(option: str, cost: Any, way_out: str) -> None:
    """Refuse an option that needs a whole plan, where that would not be made."""
    if isinstance(cost, eot.Cost) and math.prod(cost.shape) > LARGEST_PLAN:
        n, m = cost.shape
        raise BadInput(f"{option}: needs a whole plan, of {LARGEST_PLAN} entries at most, not {n} x {m}; {way_out}")


def parse_epsilon(text: str, cost: Any, mask: Any = None, ranks: Ranks = ALONE) -> float:
    """Read a number, or a fraction such as ``0.01x`` of the range of the costs, of the rows of all processes."""
    try:
        return float(text)
    except ValueError:
        pass
    try:
        return float(absolute_of_ranks(text, cost, mask, ranks))
    except ValueError as error:
        raise BadInput(f"--epsilon {text}: {error}") from None
