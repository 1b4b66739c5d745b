"""``elastic-ot assign``: rows and columns in pairs, as cheap as can be."""

from __future__ import annotations

import argparse
import time
from typing import Any

import numpy as np

import elastic_ot as eot

from ..errors import refusals
from ..options import EXIT_CODES, INPUT_FORMATS, add_cost, add_mask, add_report, add_time_limit
from ..output import TABLE_FORMATS, Result, add_output, finish, read_output
from ..problem import read_problem
from ..processes import one_process


def add_assign(commands: Any) -> None:
    """Declare the command and its options."""
    parser = commands.add_parser(
        "assign",
        help="the cheapest one-to-one assignment, with a proof",
        description=f"Match rows and columns one to one at the least total cost, proved optimal. {INPUT_FORMATS}",
        epilog=EXIT_CODES,
    )
    add_cost(parser, grid=False)
    add_mask(parser)
    parser.add_argument("--maximize", action="store_true", help="look for the largest total")
    parser.add_argument(
        "--cost-limit", type=float, metavar="L", help="leave rows and columns apart where a pair costs more"
    )
    add_time_limit(parser)
    add_report(parser)
    add_output(
        parser,
        TABLE_FORMATS,
        "the pairs (row_ind, col_ind), potentials and scalars as .npz, or the pairs alone as .npy, .csv, .tsv or .txt",
    )
    parser.set_defaults(command=run_assign)


def run_assign(options: argparse.Namespace) -> int:
    """Solve, print and save."""
    process = one_process("assign")
    output = read_output(options, process)
    given = read_problem(options)
    start = time.perf_counter()
    with refusals(given.files):
        found = eot.assign(
            given.cost, options.maximize, mask=given.mask, cost_limit=options.cost_limit, time_limit=options.time_limit
        )
    report = {
        "status": found.status.name.lower(),
        "converged": True,
        "shape": given.cost.shape,
        "pairs": found.row_ind.size,
        "cost": found.cost,
        "unmatched_cost": found.unmatched_cost,
        "gap": found.gap,
        "seconds": time.perf_counter() - start,
    }
    return finish(options, report, lambda: _result(found), output, process)


def _result(found: Any) -> Result:
    arrays = {name: getattr(found, name) for name in ("row_ind", "col_ind", "u", "v", "cost", "gap")}
    pairs = np.column_stack([found.row_ind, found.col_ind])
    return Result(arrays | {"status": found.status.name.lower()}, lambda: pairs, ("row", "column"))
