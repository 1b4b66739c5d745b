"""``elastic-ot barycenter``: the measure that is nearest to several."""

from __future__ import annotations

import argparse
import time
from collections.abc import Mapping
from typing import Any

import numpy as np

import elastic_ot as eot

from ...solvers.names import BARYCENTER_METHODS
from ..errors import BadInput, refusals
from ..files import FileName
from ..measures import Measures, read_measures
from ..options import (
    EXIT_CODES,
    INPUT_FORMATS,
    MAX_ITER,
    add_epsilon,
    add_grid,
    add_method,
    add_metric,
    add_penalty,
    add_report,
    add_stopping,
    parse_penalty,
    stopping,
)
from ..output import TABLE_FORMATS, Output, Result, add_output, finish, read_output
from ..problem import parse_epsilon
from ..processes import one_process
from ..report import Report


def add_barycenter(commands: Any) -> None:
    """Declare the command and its options."""
    parser = commands.add_parser(
        "barycenter",
        help="the measure that is nearest to several",
        description=f"Compute the barycenter of measures: on the columns of one matrix of costs or of one for each, "
        f"of pictures, or of clouds on given points or on points that move. {INPUT_FORMATS}",
        epilog=EXIT_CODES,
    )
    parser.add_argument(
        "costs",
        metavar="COST",
        nargs="*",
        type=FileName,
        help="costs from the points of a measure to those of the barycenter: for all measures, or one file for each",
    )
    parser.add_argument(
        "--points", metavar="X", nargs="+", type=FileName, help="in place of COST: points of each measure"
    )
    add_grid(parser, "+", "PICTURE")
    add_metric(parser)
    parser.add_argument(
        "--support", metavar="FILE", type=FileName, help="with --points: the points that the barycenter lies on"
    )
    parser.add_argument(
        "--free",
        metavar="FILE|M",
        type=FileName,
        help="with --points, in place of --support: points that move to where they are best, from those of a file or "
        "from M that are drawn",
    )
    parser.add_argument(
        "--measures",
        metavar="FILE",
        nargs="+",
        type=FileName,
        help="weights of the points of each measure: a row each, or a file each (default: measures in the .npz file "
        "of COST, or equal ones)",
    )
    parser.add_argument("--max-moves", type=int, default=100, metavar="N", help="of --free (default: 100)")
    parser.add_argument("--weights", metavar="W,W,...", help="of the measures (default: equal ones)")
    parser.add_argument("--debiased", action="store_true", help="take off the blur of the entropy")
    add_epsilon(parser)
    add_penalty(parser, "rows")
    add_method(parser, BARYCENTER_METHODS)
    add_stopping(parser)
    add_report(parser)
    add_output(
        parser,
        (*TABLE_FORMATS, "png"),
        "weights, points, potentials and scalars as .npz, the weights (after the coordinates of points) as .npy, .csv, "
        ".tsv or .txt, or those of pictures as .png",
    )
    parser.set_defaults(command=run_barycenter)


def run_barycenter(options: argparse.Namespace) -> int:
    """Solve, print and save."""
    process = one_process("barycenter")
    rows = parse_penalty("--rows", options.rows)
    weights = _numbers("--weights", options.weights)
    output = read_output(options, process)
    given = read_measures(options)
    _check_picture(output, given)
    epsilon = max(parse_epsilon(options.epsilon, cost) for cost in given.costs)
    asked: dict[str, Any] = {"epsilon": epsilon, "rows": rows, "on_failure": "ignore"}
    start = time.perf_counter()
    with refusals(given.files):
        if options.free is not None:
            found = _free(options, given, weights, asked)
        else:
            found = eot.barycenter(
                given.costs[0] if len(given.costs) == 1 else given.costs,
                given.measures,
                weights,
                debiased=options.debiased,
                method=options.method,
                **stopping(options),
                **asked,
            )
    report, result = _result(options, found, given, time.perf_counter() - start)
    return finish(options, report, lambda: result, output, process)


def _free(options: argparse.Namespace, given: Measures, weights: Any, asked: Mapping[str, Any]) -> Any:
    refused = {"debiased": False, "method": "auto", "max_iter": MAX_ITER}
    for name, default in refused.items():
        if getattr(options, name) != default:
            option = f"--{name.replace('_', '-')}"
            raise BadInput(f"{option}: is not for points that move, as by --free; give them as --support")
    limits = {"tol": options.tol, "max_moves": options.max_moves, "time_limit": options.time_limit}
    points = [cloud.x for cloud in given.costs]
    return eot.free_barycenter(points, given.measures, weights, support=given.support, **limits, **asked)


def _numbers(option: str, text: str | None) -> list[float] | None:
    if text is None:
        return None
    try:
        return [float(number) for number in text.split(",")]
    except ValueError:
        raise BadInput(f"{option} {text}: give numbers with commas between them, such as 1,2,1") from None


def _check_picture(output: Output | None, given: Measures) -> None:
    if output is not None and output.format == "png" and len(given.shape) != 2:
        raise BadInput(f"--output {output.name}: a picture is that of pictures; save as .npz, .npy, .csv, .tsv or .txt")


def _result(options: argparse.Namespace, found: Any, given: Measures, seconds: float) -> tuple[Report, Result]:
    on = found if options.free is None else found.barycenter
    weights = np.asarray(found.weights, dtype=np.float64)
    scalars = {name: getattr(on, name) for name in ("epsilon", "dual_value", "gap", "residual", "n_iter")}
    scalars |= {"value": found.value, "status": found.status.name.lower()}
    report = {
        "method": on.method,
        "converged": found.converged,
        "message": found.message,
        "shape": (weights.size,),
        "measures": len(on.transports),
        "rows": repr(on.problem.rows),
        **({} if options.free is None else {"moves": found.n_moves}),
        **scalars,
        "seconds": seconds,
    }
    support = getattr(found, "support", given.support)
    arrays = {"weights": weights, "measure_weights": on.measure_weights, "g": np.stack([np.asarray(g) for g in on.g])}
    arrays |= {} if support is None else {"support": support}
    names: tuple[str, ...] = ()
    table = weights.reshape(given.shape) if len(given.shape) == 2 else weights
    if support is not None:
        names = (*(f"x{k + 1}" for k in range(support.shape[1])), "weight")
        table = np.column_stack([support, weights])
    return report, Result({**arrays, **scalars}, lambda: table, names)
