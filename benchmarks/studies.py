"""What the studies of the gallery share: their options, and results written beside those of the benchmarks."""

import argparse
import json
from pathlib import Path
from typing import Any

import machine
import matplotlib
import numba
import torch
from matplotlib.figure import Figure
from report import Table, show

RESULTS = Path(__file__).parent / "results" / "studies"
STYLE = {"svg.fonttype": "none", "font.size": 9, "axes.spines.top": False, "axes.spines.right": False}


def options(text: str | None) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=text, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="too small to say anything; shows that all runs")
    parser.add_argument("--output", type=Path, help=f"folder for the results; default, unless --quick: {RESULTS.name}")
    return parser


def folder(arguments: argparse.Namespace) -> Path | None:
    """Where results go: a quick run writes nothing unless told where."""
    return arguments.output or (None if arguments.quick else RESULTS)


def start(name: str) -> None:
    """One thread, figures without a window and the same file for the same figure.

    Layers as small as those of the studies gain nothing from a second thread, and lose when another program has it.
    """
    torch.set_num_threads(1)
    numba.set_num_threads(1)
    matplotlib.use("agg")
    matplotlib.rcParams.update(STYLE | {"svg.hashsalt": name})


def report(name: str, into: Path | None, tables: list[Table], numbers: dict[str, Any], figure: Figure) -> None:
    """Print the tables; write name.json (every number), name.rst (the tables) and name.svg."""
    for table in tables:
        show(table)
    if into is None:
        return
    into.mkdir(parents=True, exist_ok=True)
    (into / f"{name}.rst").write_text("\n".join(table.rst() for table in tables))
    setting = machine.describe()
    setting["load at the end"] = setting.pop("load at the start")
    text = json.dumps({"setting": setting, **numbers}, indent=1, allow_nan=False)
    (into / f"{name}.json").write_text(text + "\n")
    figure.savefig(into / f"{name}.svg", metadata={"Date": None})
