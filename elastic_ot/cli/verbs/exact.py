"""``elastic-ot exact``: transport without entropy, proved."""

from __future__ import annotations

import argparse
import time
from typing import Any

import elastic_ot as eot

from ..errors import refusals
from ..options import (
    EXIT_CODES,
    INPUT_FORMATS,
    add_cost,
    add_mask,
    add_mass,
    add_penalty,
    add_report,
    add_time_limit,
    add_weights,
    sides,
)
from ..output import TABLE_FORMATS, Result, add_output, finish, read_output
from ..problem import check_whole, read_problem
from ..processes import one_process

EXACT_SCALARS = ("transport_cost", "value", "dual_value", "gap")
EXACT_ARRAYS = ("f", "g", "row_ind", "col_ind", "mass", "row_marginal", "col_marginal")


def add_exact(commands: Any) -> None:
    """Declare the command and its options."""
    parser = commands.add_parser(
        "exact",
        help="transport without entropy, with a proof",
        description=f"Solve one problem without entropy, proved optimal. Penalties must be linear: fixed, tv, "
        f"between, atmost or free. {INPUT_FORMATS}",
        epilog=EXIT_CODES,
    )
    add_cost(parser)
    add_weights(parser)
    add_mask(parser)
    add_penalty(parser, "rows")
    add_penalty(parser, "cols")
    add_mass(parser)
    add_time_limit(parser)
    add_report(parser)
    add_output(
        parser,
        TABLE_FORMATS,
        "the entries of the plan (row_ind, col_ind, mass), potentials, marginals and scalars as .npz, or the whole "
        "plan as .npy, .csv, .tsv or .txt",
    )
    parser.set_defaults(command=run_exact)


def run_exact(options: argparse.Namespace) -> int:
    """Solve, print and save."""
    process = one_process("exact")
    penalties = sides(options)
    output = read_output(options, process)
    given = read_problem(options)
    if output is not None and output.whole:
        check_whole(f"--output {output.name}", given.cost, "save as .npz, whose entries are few")
    start = time.perf_counter()
    with refusals(given.files):
        found = eot.exact(
            given.cost, given.a, given.b, **penalties, mask=given.mask, mass=options.mass, time_limit=options.time_limit
        )
    scalars = {name: getattr(found, name) for name in EXACT_SCALARS}
    status = found.status.name.lower()
    report = {
        "status": status,
        "converged": True,
        "shape": found.problem.shape,
        "rows": repr(found.problem.rows),
        "cols": repr(found.problem.cols),
        "entries": found.mass.size,
        **scalars,
        "price": found.price,
        "seconds": time.perf_counter() - start,
    }
    arrays = {name: getattr(found, name) for name in EXACT_ARRAYS}
    result = Result({**arrays, **scalars, "status": status}, lambda: found.plan)
    return finish(options, report, lambda: result, output, process)
