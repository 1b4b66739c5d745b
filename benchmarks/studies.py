"""What the studies of the gallery share: options, numbers that are stored, tables and a figure that show them.

A study is run from the root of the repository: `python -m docs.gallery.studies.study_NAME [--quick] [--redraw]`.
"""

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.figure import Figure

from . import machine, report
from .paired import one_thread
from .tables import Table, rst, show

RESULTS = report.RESULTS / "studies"
MACHINE = "processor", "cores", "load at the start", "Python", "elastic_ot", "torch", "NumPy", "Numba", "date"
STYLE: dict[Any, Any] = {"svg.fonttype": "none", "font.size": 9, "axes.spines.top": False, "axes.spines.right": False}


def options(text: str | None) -> argparse.ArgumentParser:
    parser = report.options(text)
    parser.add_argument("--processes", type=int, default=2, metavar="N", help="of one thread each (2; a quick run: 1)")
    return parser


def setting() -> dict[str, str]:
    """Of the machine and the versions what a study depends on."""
    return {name: value for name, value in machine.describe().items() if name in MACHINE}


def run(
    name: str,
    arguments: argparse.Namespace,
    measure: Callable[[argparse.Namespace], report.Found],
    tables: Callable[[report.Found], Sequence[Table]],
    draw: Callable[[report.Found], Figure],
    single: bool = True,
) -> None:
    """Measure, or read what is stored; print the tables; write name.json, name.rst and name.svg.

    A quick run writes nothing unless told where, and is one process. Single threads: layers as small as those of the
    studies gain nothing from a second one, and lose when another program has it. Figures need no window, and are the
    same file for the same numbers.
    """
    if single:
        one_thread()
    if arguments.quick:
        arguments.processes = 1
    folder: Path | None = arguments.output or (None if arguments.quick else RESULTS)
    if arguments.redraw:
        folder = folder or RESULTS
        found = report.read(folder / f"{name}.json")
    else:
        found = report.plain({"setting": setting(), **measure(arguments)})
    shown = [*tables(found), report.machine_table(found)]
    for table in shown:
        show(table)
    if folder is None:
        return
    if not arguments.redraw:
        report.write(folder / f"{name}.json", found)
    (folder / f"{name}.rst").write_text(rst(shown))
    matplotlib.use("agg")
    with matplotlib.rc_context({**STYLE, "svg.hashsalt": name}):
        draw(found).savefig(folder / f"{name}.svg", metadata={"Date": None})
