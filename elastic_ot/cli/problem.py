"""What `solve` of the command line is given: a cost in a file, two files of points, or two pictures."""

from __future__ import annotations

import argparse
import math
from typing import Any

import numpy as np

import elastic_ot as eot

from ..costs.base import LARGEST_PLAN
from ..distributed.ranks import ALONE, Ranks
from .files import BadInput, Rows, load_array, load_mask, load_picture, load_rows


def add_problem(parser: Any) -> None:
    """Declare the options that say what is solved."""
    parser.add_argument("cost", metavar="COST", nargs="?", help="cost matrix, n x m; inf forbids a cell")
    parser.add_argument(
        "--points", metavar=("X", "Y"), nargs=2, help="in place of COST: points, n x d and m x d; no matrix is stored"
    )
    parser.add_argument(
        "--grid",
        metavar=("A", "B"),
        nargs=2,
        help="in place of COST: two pictures over the unit square (.png and others with Pillow, or arrays of any "
        "dimension), whose grey values, over their sum, are the weights",
    )
    parser.add_argument(
        "--metric", help="sqeuclidean (default) or cityblock; of --points also euclidean, cosine or dot"
    )
    parser.add_argument("--a", metavar="FILE", help="row weights (default: 1/n each)")
    parser.add_argument("--b", metavar="FILE", help="column weights (default: 1/m each)")
    parser.add_argument("--mask", metavar="FILE", help="n x m of 0 and 1; 0 forbids a cell")


def read_problem(options: argparse.Namespace, own: Rows) -> tuple[Any, Any, Any, Any]:
    """Return cost, weights and mask, of the own rows."""
    if sum(given is not None for given in (options.cost, options.points, options.grid)) != 1:
        raise BadInput("give one of COST, --points X Y and --grid A B")
    if options.grid is not None:
        if own is not None:
            raise BadInput("--grid: is summed axis by axis, on one process; start it without mpiexec")
        return _read_grid(options)
    a = None if options.a is None else load_array("--a", options.a, "a", ndim=1)
    b = None if options.b is None else load_array("--b", options.b, "b", ndim=1)
    a = a if a is None or own is None else a[own(a.size)]
    mask = None if options.mask is None else load_mask(options.mask, own)
    if options.points is None:
        if options.metric is not None:
            raise BadInput(f"--metric {options.metric}: is for --points and --grid; COST is a matrix already")
        return load_rows("COST", options.cost, "cost", own), a, b, mask
    x, y = (load_array("--points", name, key, ndim=2) for name, key in zip(options.points, "xy", strict=True))
    x = x if own is None else x[own(x.shape[0])]
    if not x.shape[0] and own is not None:
        return None, a, b, mask
    try:
        return eot.PointCloud(x, y, options.metric or "sqeuclidean"), a, b, mask
    except (ValueError, TypeError) as error:
        raise BadInput(f"--points: {error}") from error


def _read_grid(options: argparse.Namespace) -> tuple[Any, Any, Any, Any]:
    for name in ("a", "b", "mask"):
        if getattr(options, name) is not None:
            raise BadInput(f"--{name}: has no place beside --grid, whose grey values are the weights")
    a, b = (load_picture("--grid", name, key) for name, key in zip(options.grid, "ab", strict=True))
    try:
        return eot.Grid(a.shape, b.shape, options.metric or "sqeuclidean"), a, b, None
    except (ValueError, TypeError) as error:
        raise BadInput(f"--grid: {error}") from error


def check_drawable(cost: Any) -> None:
    """Refuse to draw a plan that would not be made."""
    if isinstance(cost, eot.Cost) and math.prod(cost.shape) > LARGEST_PLAN:
        raise BadInput(f"--plot: draws a whole plan, of {LARGEST_PLAN} entries at most; this one has {cost.shape}")


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
