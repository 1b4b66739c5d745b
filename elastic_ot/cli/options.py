"""The options that several commands share, each declared once."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from inspect import signature
from typing import Any, get_args

from ..costs.grid import SUMMED_METRICS
from ..costs.points import METRICS
from ..problems.penalties import PENALTIES
from ..problems.penalty import Penalty
from ..problems.terms import Reference
from ..solvers.names import Method
from .errors import BadInput
from .files import FileName

EXIT_CODES = "Exit code: 0 converged, 1 not converged, 2 bad input, 130 interrupted."
MAX_ITER = 10_000
INPUT_FORMATS = (
    "Files end in .npy, .npz (the array named like the option, or the only one), .csv, .tsv or .txt (numbers with "
    "commas, semicolons, tabs or blanks between them, and names of columns above them or not); - is standard input."
)
KIND_BY_WORD: dict[str, Callable[..., Penalty]] = {kind.__name__.lower(): kind for kind in PENALTIES}


def strengths_of(kind: Callable[..., Penalty]) -> list[str]:
    """Return the names of the numbers that a penalty takes."""
    return [name.upper() for name in signature(kind).parameters]


FORMS = ", ".join(":".join([name, *strengths_of(kind)]) for name, kind in KIND_BY_WORD.items())


class PenaltyText(str):
    """The value of an option that is a penalty; shells complete its name."""

    words = tuple(name + (":" if strengths_of(kind) else "") for name, kind in KIND_BY_WORD.items())


def add_cost(parser: Any, *, grid: bool = True) -> None:
    """A cost in a file, or two files of points, or two pictures."""
    parser.add_argument("cost", metavar="COST", nargs="?", type=FileName, help="cost matrix, n x m; inf forbids a cell")
    add_points(parser, "in place of COST: points, n x d and m x d; no matrix is stored")
    if grid:
        add_grid(parser)
    add_metric(parser, grid=grid)


def add_points(parser: Any, text: str) -> None:
    """Two files of points."""
    parser.add_argument("--points", metavar=("X", "Y"), nargs=2, type=FileName, help=text)


def add_grid(parser: Any, nargs: Any = 2, metavar: Any = ("A", "B")) -> None:
    """Pictures whose grey values are weights."""
    parser.add_argument(
        "--grid",
        metavar=metavar,
        nargs=nargs,
        type=FileName,
        help="in place of COST: pictures over the unit square (.png and others with Pillow, or arrays of any "
        "dimension), whose grey values, over their sum, are the weights",
    )


def add_metric(parser: Any, *, grid: bool = True) -> None:
    """What lies between points."""
    of = f"of points; of pictures {' or '.join(SUMMED_METRICS)}" if grid else "of points"
    parser.add_argument("--metric", choices=METRICS, help=f"{of} (default: sqeuclidean)")


def add_weights(parser: Any) -> None:
    """Weights of the two sides."""
    for side, count, of in (("a", "n", "row"), ("b", "m", "column")):
        parser.add_argument(
            f"--{side}",
            metavar="FILE",
            type=FileName,
            help=f"{of} weights (default: {side} in the .npz file of COST, or 1/{count} each)",
        )


def add_mask(parser: Any) -> None:
    """Cells that are forbidden."""
    parser.add_argument(
        "--mask",
        metavar="FILE",
        type=FileName,
        help="n x m of 0 and 1; 0 forbids a cell (default: mask in the .npz file of COST)",
    )


def add_penalty(parser: Any, side: str) -> None:
    """What a marginal is asked to be."""
    parser.add_argument(
        f"--{side}", metavar="PENALTY", type=PenaltyText, default="fixed", help=f"one of {FORMS} (default: fixed)"
    )


def add_epsilon(parser: Any, *, required: bool = True) -> None:
    """The strength of the entropy."""
    parser.add_argument(
        "--epsilon",
        metavar="E",
        required=required,
        help="strength of the entropy, in units of the cost; with a final x (0.01x) as a fraction of "
        "max - min of the finite costs",
    )


def add_mass(parser: Any) -> None:
    """Partial transport."""
    parser.add_argument(
        "--mass", type=float, metavar="M", help="carry so much and no more; weights are then upper bounds"
    )


def add_reference(parser: Any) -> None:
    """What the entropy is relative to."""
    parser.add_argument("--reference", choices=get_args(Reference), default="product", help="(default: product)")


def add_method(parser: Any, methods: Sequence[str] = get_args(Method)) -> None:
    """How it is solved."""
    parser.add_argument("--method", choices=methods, default="auto", help="(default: auto)")


def add_stopping(parser: Any) -> None:
    """When to stop."""
    parser.add_argument("--tol", type=float, default=1e-6, help="tolerance (default: 1e-6)")
    parser.add_argument("--max-iter", type=int, default=MAX_ITER, metavar="N", help="(default: %(default)s)")
    add_time_limit(parser)


def add_time_limit(parser: Any) -> None:
    """Seconds to give up after."""
    parser.add_argument("--time-limit", type=float, metavar="S", help="seconds (default: none)")


def stopping(options: argparse.Namespace) -> dict[str, Any]:
    """Return what `add_stopping` has declared, as arguments of a call."""
    return {name: getattr(options, name) for name in ("tol", "max_iter", "time_limit")}


def add_report(parser: Any) -> None:
    """How the numbers are printed."""
    parser.add_argument("--json", action="store_true", help="print one JSON object in place of the table")


def parse_penalty(option: str, text: str) -> Penalty:
    """Read ``kl:0.5`` and its like into a penalty."""
    name, *strengths = text.split(":")
    if name.lower() not in KIND_BY_WORD:
        raise BadInput(f"{option} {text}: no such penalty; choose from {FORMS}")
    kind = KIND_BY_WORD[name.lower()]
    count = len(strengths_of(kind))
    if len(strengths) != count:
        raise BadInput(f"{option} {text}: {name} takes {count} number(s), got {len(strengths)}; see {FORMS}")
    try:
        return kind(*(float(strength) for strength in strengths))
    except (ValueError, TypeError) as error:
        raise BadInput(f"{option} {text}: {error}") from error


def sides(options: argparse.Namespace) -> dict[str, Any]:
    """Return the penalties of both sides, as arguments of a call."""
    return {side: parse_penalty(f"--{side}", getattr(options, side)) for side in ("rows", "cols")}
