"""``elastic-ot compile``: beforehand, what first calls would compile."""

from __future__ import annotations

import argparse
from typing import Any

import elastic_ot as eot

OPTIONAL_PARTS = {
    "batch": "many problems in one call",
    "torch": "the operators of elastic_ot.torch",
    "jax": "the operators of elastic_ot.jax",
    "exact": "exact()",
    "assign": "assign()",
}


def add_compile(commands: Any) -> None:
    """Declare the command and its options."""
    parser = commands.add_parser(
        "compile",
        help="compile beforehand what first calls would compile",
        description="Compile the kernels of solve(), and what the options name, into Numba's cache: for images, "
        "continuous integration and classrooms. What is there already is left alone.",
        epilog="Exit code: 0 compiled or nothing to do, 2 bad input.",
    )
    for part, what in OPTIONAL_PARTS.items():
        parser.add_argument(f"--{part}", action="store_true", help=f"also {what}")
    parser.add_argument("--all", action="store_true", help="all of these")
    parser.set_defaults(command=run_compile)


def run_compile(options: argparse.Namespace) -> int:
    """``elastic-ot compile``."""
    parts = ["all"] if options.all else ["solve", *(part for part in OPTIONAL_PARTS if getattr(options, part))]
    done = eot.precompile(*parts)
    print(f"{len(done.kernels)} kernels compiled in {done.seconds:.1f} s; the cache is {done.folder}")
    return 0
