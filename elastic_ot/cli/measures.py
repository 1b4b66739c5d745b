"""What `barycenter` is given: measures on matrices, on clouds of points, or pictures."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

import elastic_ot as eot

from .errors import BadInput, refusals
from .files import opened


@dataclass(frozen=True)
class Measures:
    """Several measures, and the costs from their points to those of the barycenter."""

    costs: list[Any]
    """One for all of them, or one for each."""
    measures: Any = None
    support: Any = None
    """Points of the barycenter, or where they begin, or how many there are."""
    shape: tuple[int, ...] = ()
    """Of the picture that the barycenter is."""
    files: Mapping[str, str] = field(default_factory=dict)
    """Where each argument was read, for messages."""


def read_measures(options: argparse.Namespace) -> Measures:
    """Return the measures that the options name."""
    chosen = (options.costs or None, options.points, options.grid)
    if sum(one is not None for one in chosen) != 1:
        raise BadInput("give one of COST, --points X ... and --grid PICTURE ...")
    if options.points is None and (options.support or options.free):
        raise BadInput("--support and --free: are for --points; of COST and pictures the points are known")
    if options.grid is not None:
        return _pictures(options)
    return _clouds(options) if options.points is not None else _matrices(options)


def _matrices(options: argparse.Namespace) -> Measures:
    if options.metric is not None:
        raise BadInput(f"--metric {options.metric}: is for --points and --grid; COST is a matrix already")
    sources = [opened("COST", name) for name in options.costs]
    costs = [source.array("cost", ndim=2) for source in sources]
    measures = sources[0].companion("measures", ndim=2) if len(sources) == 1 else None
    files = _files(options, costs="COST")
    return Measures(costs, _weights(options, measures), files={"measures": files["costs"]} | files)


def _clouds(options: argparse.Namespace) -> Measures:
    if (options.support is None) == (options.free is None):
        raise BadInput("--points: give one of --support FILE and --free FILE|M, the points of the barycenter")
    metric = options.metric or "sqeuclidean"
    if options.free is not None and metric != "sqeuclidean":
        raise BadInput(f"--metric {metric}: points that move have sqeuclidean costs; give them as --support")
    sources = [opened("--points", name) for name in options.points]
    clouds = [source.array("x", ndim=2) for source in sources]
    beside = [source.companion("a", ndim=1) for source in sources]
    equal = [np.full(len(x), 1.0 / max(len(x), 1)) if a is None else a for x, a in zip(clouds, beside, strict=True)]
    option, name = ("--support", options.support) if options.free is None else ("--free", options.free)
    drawn = options.free is not None and options.free.isdecimal()
    support = int(name) if drawn else opened(option, name).array("y", ndim=2)
    files = _files(options, points="--points") | {"support": f"{option} {name}"}
    with refusals({"x": files["points"], "y": files["support"]}):
        costs = [eot.PointCloud(x, clouds[0] if drawn else support, metric) for x in clouds]
    return Measures(costs, _weights(options, equal), support, files=files)


def _pictures(options: argparse.Namespace) -> Measures:
    if options.measures:
        raise BadInput("--measures: has no place beside --grid, whose grey values are the weights")
    pictures = [opened("--grid", name, pictures=True).picture("a") for name in options.grid]
    shape = pictures[0].shape
    alike = all(picture.shape == shape for picture in pictures)
    try:
        shapes = [picture.shape for picture in pictures[: 1 if alike else None]]
        costs = [eot.Grid(one, shape, options.metric or "sqeuclidean") for one in shapes]
    except (ValueError, TypeError) as error:
        raise BadInput(f"--grid: {error}") from error
    return Measures(costs, pictures, shape=shape, files={"measures": f"--grid {' '.join(options.grid)}"})


def _files(options: argparse.Namespace, **named: str) -> dict[str, str]:
    """Return what to call the files of arguments that may have several."""
    given = {name: (option, getattr(options, name)) for name, option in (named | {"measures": "--measures"}).items()}
    return {name: " ".join([option, *files]) for name, (option, files) in given.items() if files}


def _weights(options: argparse.Namespace, default: Any) -> Any:
    """Return a row of weights for each measure of one file, or one file for each."""
    names = options.measures
    if not names:
        return default
    if len(names) == 1:
        return opened("--measures", names[0]).array("measures", ndim=2)
    return [opened("--measures", name).array("measures", ndim=1) for name in names]
