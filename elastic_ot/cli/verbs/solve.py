"""``elastic-ot solve``: one problem with entropy, also with its rows over processes."""

from __future__ import annotations

import argparse
import time
from typing import Any

import numpy as np

import elastic_ot as eot

from ..errors import BadInput, refusals
from ..files import FileName, readers_of
from ..options import (
    EXIT_CODES,
    INPUT_FORMATS,
    add_cost,
    add_epsilon,
    add_mask,
    add_mass,
    add_method,
    add_penalty,
    add_reference,
    add_report,
    add_stopping,
    add_weights,
    sides,
    stopping,
)
from ..output import TABLE_FORMATS, Output, Result, add_output, check_drawable, finish, read_output
from ..problem import Given, check_whole, parse_epsilon, read_problem
from ..processes import Alone, this_process

SOLVE_ARRAYS = ("f", "g", "plan", "row_marginal", "col_marginal")
SOLVE_SCALARS = (
    *("status", "converged", "message", "method", "shape", "rows", "cols", "epsilon", "n_iter", "transport_cost"),
    *("value", "dual_value", "gap", "marginal_error", "residual"),
)
SAVED = ("transport_cost", "value", "dual_value", "gap", "marginal_error", "epsilon", "n_iter", "converged", "method")


def add_solve(commands: Any) -> None:
    """Declare the command and its options."""
    parser = commands.add_parser(
        "solve",
        help="entropic transport of a matrix, points or pictures",
        description=f"Solve one problem and print its result. {INPUT_FORMATS}",
        epilog=EXIT_CODES,
    )
    add_cost(parser)
    add_weights(parser)
    add_mask(parser)
    add_epsilon(parser)
    add_penalty(parser, "rows")
    add_penalty(parser, "cols")
    add_mass(parser)
    add_reference(parser)
    add_method(parser)
    parser.add_argument(
        "--relaxation", type=parse_relaxation, default=1.0, metavar="W", help="in (0, 2), or auto (default: 1)"
    )
    add_stopping(parser)
    add_report(parser)
    add_output(
        parser,
        TABLE_FORMATS,
        "potentials, marginals, scalars and the plan (of points and pictures if small) as .npz, or the plan alone as "
        ".npy, .csv, .tsv or .txt",
    )
    parser.add_argument(
        "--plot", metavar="PICTURE", type=FileName, help="save the picture of the plan (.png, .pdf, .svg, ...)"
    )
    parser.add_argument("--progress", action="store_true", help="show a progress bar (needs tqdm)")
    parser.set_defaults(command=run_solve)


def run_solve(options: argparse.Namespace) -> int:
    """Solve, print and save."""
    process = this_process()
    penalties = sides(options)
    given, output = Given(), None
    with process.ranks.noting():
        output = _checked(options, process)
        given = read_problem(options, None if process.comm is None else process.own)
        _check_plan(given, options, output)
    process.ranks.check()
    epsilon = parse_epsilon(options.epsilon, given.cost, given.mask, process.ranks)
    start = time.perf_counter()
    try:
        with refusals(given.files):
            solution = eot.solve(
                given.cost,
                given.a,
                given.b,
                epsilon=epsilon,
                **penalties,
                reference=options.reference,
                mask=given.mask,
                mass=options.mass,
                method=options.method,
                relaxation=options.relaxation,
                **stopping(options),
                progress=options.progress and process.first,
                on_failure="ignore",
                comm=process.comm,
            )
    except BadInput:
        if process.first:
            raise
        return 2
    seconds = time.perf_counter() - start
    code = finish(options, solution_report(solution, seconds), lambda: _result(solution, process), output, process)
    if options.plot is not None:
        solution.plot().savefig(options.plot, dpi=150)
    return code


def parse_relaxation(text: str) -> float | str:
    """Read a number or the word auto; anything else is left for `solve` to refuse."""
    try:
        return float(text)
    except ValueError:
        return text


def solution_report(solution: Any, seconds: float) -> dict[str, Any]:
    """Return the scalars of a `Solution`."""
    problem = solution.problem
    known = {
        "status": solution.status.name.lower(),
        "shape": (problem.cost.row_count, len(solution.g)),
        "rows": repr(problem.rows),
        "cols": repr(problem.cols),
    }
    return {name: known.get(name, getattr(solution, name, None)) for name in SOLVE_SCALARS} | {"seconds": seconds}


def _checked(options: argparse.Namespace, process: Alone) -> Output | None:
    """Find out before the work whether its results can be written."""
    if process.comm is not None and readers_of(options):
        raise BadInput("-: standard input reaches one process only; give a file")
    output = read_output(options, process)
    if options.plot is not None:
        if process.comm is not None:
            raise BadInput("--plot: draws a whole plan, and mpiexec has split its rows; start it without")
        check_drawable("--plot", options.plot)
    return output


def _check_plan(given: Given, options: argparse.Namespace, output: Output | None) -> None:
    if options.plot is not None:
        check_whole("--plot", given.cost, "leave it out")
    if output is not None and output.whole:
        check_whole(f"--output {output.name}", given.cost, "save as .npz, without the plan")


def _result(solution: Any, process: Alone) -> Result:
    """Return what is saved: of one of several processes its rows, and which these are.

    The plan of a cost that is not stored is left out of a .npz file.
    """
    names = [name for name in SOLVE_ARRAYS if name != "plan" or solution.problem.cost.stored]
    arrays: dict[str, Any] = {name: np.asarray(getattr(solution, name)) for name in (*names, *SAVED)}
    arrays["status"] = np.asarray(solution.status.name.lower())
    if process.comm is not None:
        rows = process.own(solution.problem.cost.row_count)
        arrays["rows"] = np.array([rows.start, rows.stop])
    return Result(arrays, lambda: np.asarray(solution.plan))
