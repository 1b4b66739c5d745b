"""``elastic-ot demo``: the demonstration that needs no files."""

from __future__ import annotations

import argparse
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from ..files import FileName
from ..output import check_drawable


def add_demo(commands: Any) -> None:
    """Declare the command and its options."""
    parser = commands.add_parser(
        "demo",
        help="recolour a photograph with the palette of another",
        description="Colour transfer between two photographs shipped with the package: balanced, elastic and "
        "with capacities. Prints a table and saves a picture.",
    )
    parser.add_argument(
        "--output", metavar="PICTURE", type=FileName, default="elastic-ot-demo.png", help="(default: %(default)s)"
    )
    parser.add_argument("--no-plot", action="store_true", help="print the table only")
    parser.set_defaults(command=run_demo)


def run_demo(options: argparse.Namespace) -> int:
    """Print the table, and save the picture where matplotlib is installed."""
    from .. import demo

    if options.no_plot:
        return demo.run(None)
    if find_spec("matplotlib") is None:
        code = demo.run(None)
        print('For the picture: pip install "elastic-ot[plot]", then run elastic-ot demo again.')
        return code
    check_drawable("--output", options.output)
    return demo.run(Path(options.output))
