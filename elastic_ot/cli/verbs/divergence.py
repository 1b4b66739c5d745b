"""``elastic-ot divergence``: how far apart two weighted clouds are, 0 where they are the same."""

from __future__ import annotations

import argparse
import time
import warnings
from dataclasses import replace
from typing import Any

import elastic_ot as eot

from ..errors import BadInput, refusals
from ..files import FileName, opened
from ..options import (
    EXIT_CODES,
    INPUT_FORMATS,
    add_epsilon,
    add_grid,
    add_method,
    add_metric,
    add_penalty,
    add_points,
    add_report,
    add_stopping,
    add_weights,
    sides,
    stopping,
)
from ..output import Result, add_output, finish, read_output
from ..problem import Given, matrix_problem, parse_epsilon, read_problem
from ..processes import one_process

THREE_COSTS = ("cost_xy", "cost_xx", "cost_yy")


def add_divergence(commands: Any) -> None:
    """Declare the command and its options."""
    parser = commands.add_parser(
        "divergence",
        help="debiased Sinkhorn divergence of two weighted clouds",
        description=f"Compute the debiased divergence of two clouds of points, two pictures, or of three matrices of "
        f"costs: between the clouds and within each. {INPUT_FORMATS}",
        epilog=EXIT_CODES,
    )
    parser.add_argument(
        "costs",
        metavar="COST",
        nargs="*",
        type=FileName,
        help="costs between the clouds, n x m, within the first, n x n, and within the second, m x m; or one .npz file "
        f"with {', '.join(THREE_COSTS)}",
    )
    add_points(parser, "in place of COST: points of the two clouds")
    add_grid(parser)
    add_metric(parser)
    add_weights(parser)
    add_epsilon(parser, required=False)
    parser.add_argument(
        "--blur", type=float, metavar="L", help="in place of --epsilon, of points and pictures: a length"
    )
    add_penalty(parser, "rows")
    add_penalty(parser, "cols")
    add_method(parser)
    add_stopping(parser)
    add_report(parser)
    add_output(parser, ("npz",), "potentials of the three terms, derivatives and scalars as .npz")
    parser.set_defaults(command=run_divergence)


def run_divergence(options: argparse.Namespace) -> int:
    """Solve, print and save."""
    process = one_process("divergence")
    if (options.epsilon is None) == (options.blur is None):
        raise BadInput("give one of --epsilon E and --blur L")
    penalties = sides(options)
    output = read_output(options, process)
    given, within = _read(options)
    epsilon = None if options.epsilon is None else parse_epsilon(options.epsilon, given.cost)
    start = time.perf_counter()
    with refusals(given.files):
        found = eot.divergence(
            given.cost,
            within[0],
            within[1],
            given.a,
            given.b,
            epsilon=epsilon,
            blur=options.blur,
            **penalties,
            method=options.method,
            **stopping(options),
            on_failure="ignore",
        )
    seconds = time.perf_counter() - start
    terms = {"cross": found.cross, "self_x": found.self_x, "self_y": found.self_y}
    worst = next((term for term in terms.values() if not term.converged), found.cross)
    scalars: dict[str, object] = {"epsilon": found.cross.epsilon, "value": found.value, "gap": found.gap}
    report = {
        "status": worst.status.name.lower(),
        "converged": found.converged,
        "message": worst.message,
        "shape": (found.cross.problem.cost.row_count, len(found.cross.g)),
        **penalties_of(found.cross),
        "n_iter": sum(term.n_iter for term in terms.values()),
        **scalars,
        "terms": {name: {"value": term.value, "gap": term.gap, "n_iter": term.n_iter} for name, term in terms.items()},
        "seconds": seconds,
    }
    scalars["status"] = report["status"]
    return finish(options, report, lambda: Result(_arrays(found, terms) | scalars), output, process)


def penalties_of(solution: Any) -> dict[str, str]:
    """Return the penalties of a solution in words."""
    return {"rows": repr(solution.problem.rows), "cols": repr(solution.problem.cols)}


def _arrays(found: Any, terms: dict[str, Any]) -> dict[str, Any]:
    """Return potentials, and derivatives as far as they are no matrices."""
    potentials = {f"{side}_{name}": getattr(term, side) for name, term in terms.items() for side in "fg"}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", eot.ConvergenceWarning)  # the status says it
        slopes = found.gradients()
    known = {name: getattr(slopes, name) for name in ("a", "b", "x", "y")}
    return potentials | {f"gradient_{name}": slope for name, slope in known.items() if slope is not None}


def _read(options: argparse.Namespace) -> tuple[Given, list[Any]]:
    """Return the problem between the clouds, and the costs within each, which points and pictures know."""
    options.cost = options.costs[0] if options.costs else None
    if options.cost is None or options.points is not None or options.grid is not None:
        return read_problem(options), [None, None]
    if len(options.costs) not in (1, 3):
        raise BadInput(
            f"{len(options.costs)} files of COST: give three, or one .npz file with {', '.join(THREE_COSTS)}"
        )
    sources = [opened("COST", name) for name in options.costs]
    if len(sources) == 1 and sources[0].kind != ".npz":
        raise BadInput(f"{sources[0]}: holds one matrix; give the costs within each cloud as well")
    sources *= 3 // len(sources)
    given = matrix_problem(options, sources[0], "cost_xy")
    within = [source.array(key, ndim=2) for source, key in zip(sources[1:], THREE_COSTS[1:], strict=True)]
    files = dict(zip(THREE_COSTS, map(str, sources), strict=True))
    return replace(given, files={**given.files, **files}), within
