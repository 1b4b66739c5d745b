"""What all benchmarks share: options, and results that are stored as a few numbers and shown as tables and figures.

A benchmark consists of sections. Each is measured, which gives numbers fit for JSON, and reported, which makes tables
and goals of those numbers alone: stored results can be shown again without measuring.
"""

import argparse
import json
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from . import goal_plot, machine
from .tables import CommonGoal, Goal, Table, goal_table, rst, show

ROOT = Path(__file__).resolve().parents[1]
RESULTS = Path(__file__).resolve().parent / "results"
DIGITS = 9  # of a stored number
WIDTH = 300  # of a line of stored numbers
FOLD = ".. what is behind the goals"

Bench = TypeVar("Bench")
Figures = Any  # lists and dictionaries of numbers and text
Found = dict[str, Figures]


@dataclass(frozen=True)
class Time:
    """Seconds, or that there were none within ``at_least`` seconds, or in words why there are none."""

    seconds: float = math.nan
    at_least: float = math.nan
    verdict: str = ""

    @property
    def answered(self) -> bool:
        return math.isfinite(self.seconds)

    @property
    def stopped(self) -> bool:
        return math.isfinite(self.at_least)

    @property
    def known(self) -> float:
        """The time it took, or that it had when stopped; nan if there is neither."""
        return self.seconds if self.answered else self.at_least

    def stored(self) -> float | str:
        if self.answered:
            return self.seconds
        return f">= {self.at_least:.{DIGITS}g}" if self.stopped else self.verdict

    @classmethod
    def read(cls, stored: float | str) -> "Time":
        if not isinstance(stored, str):
            return cls(float(stored))
        return cls(at_least=float(stored[3:])) if stored.startswith(">= ") else cls(verdict=stored)


@dataclass(frozen=True)
class Report:
    tables: Sequence[Table]
    goals: Sequence[Goal | CommonGoal] = ()


@dataclass(frozen=True)
class Section(Generic[Bench]):
    measure: Callable[[Bench], Figures]
    report: Callable[[Figures], Report]


@dataclass(frozen=True)
class Benchmark(Generic[Bench]):
    """Results are NAME.json, NAME.rst and NAME.svg: the goals, or what ``draw`` makes of it once all is measured."""

    name: str
    sections: dict[str, Section[Bench]]
    draw: Callable[[Found, Path], None] | None = None

    def run(self, arguments: argparse.Namespace, bench: Bench, whole: bool = True) -> None:
        """Measure, print and write section by section, so that a run cut short leaves what it has measured.

        Parts and quick runs write nothing unless told where.
        """
        output = arguments.output
        if output is None and whole and not (arguments.quick or arguments.only):
            output = RESULTS
        machine.unset_blas_overrides()
        found: Found = {"setting": machine.describe()}
        for name in [name for name in self.sections if name in arguments.only] or self.sections:
            start = time.perf_counter()
            found[name] = plain(self.sections[name].measure(bench))
            for table in self.sections[name].report(found[name]).tables:
                show(table)
            print(f"{name}: measured in {time.perf_counter() - start:.0f} s\n", flush=True)
            if output is not None:
                write(output / f"{self.name}.json", found)
                self._show(found, output)
        first, *_, last = self.tables(found)
        show(first)
        show(last)

    def redraw(self, folder: Path | None) -> None:
        """Tables and figure again, from stored numbers."""
        folder = folder or RESULTS
        self._show(read(folder / f"{self.name}.json"), folder)

    def tables(self, found: Found) -> list[Table]:
        """Goals, the tables of every section, the machine."""
        tables = [table for report in self._reports(found) for table in report.tables]
        return [goal_table(self.goals(found)), *tables, machine_table(found)]

    def goals(self, found: Found) -> list[Goal | CommonGoal]:
        return [goal for report in self._reports(found) for goal in report.goals]

    def _reports(self, found: Found) -> list[Report]:
        return [self.sections[name].report(figures) for name, figures in found.items() if name != "setting"]

    def text(self, found: Found) -> str:
        """The tables for the documentation, with a comment where it folds what is behind the goals."""
        goals, *others = self.tables(found)
        return f"{goals.rst()}\n{FOLD}\n\n{rst(others)}"

    def _show(self, found: Found, folder: Path) -> None:
        (folder / f"{self.name}.rst").write_text(self.text(found))
        if self.draw is not None:
            if self.sections.keys() <= found.keys():
                self.draw(found, folder / f"{self.name}.svg")
        else:
            goal_plot.draw(self.goals(found), folder / f"{self.name}.svg")


def machine_table(found: Found) -> Table:
    return Table("Machine and versions", ["", ""], [list(pair) for pair in found["setting"].items()])


def options(text: str | None, sections: Sequence[str] = ()) -> argparse.ArgumentParser:
    """Those that benchmarks have in common; ``only`` where there are sections to choose from."""
    parser = argparse.ArgumentParser(description=text, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="small sizes: shows that everything runs")
    parser.add_argument("--output", type=Path, metavar="FOLDER", help="where to write (and, to redraw, to read)")
    parser.add_argument("--redraw", action="store_true", help="measure nothing: tables and figure of stored results")
    if sections:
        parser.add_argument("--only", nargs="+", choices=list(sections), default=[], metavar="SECTION")
    return parser


def write(path: Path, found: Found) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(compact(plain(found)) + "\n")


def read(path: Path) -> Found:
    found: Found = json.loads(path.read_text())
    return found


def compact(value: Any, indent: str = "") -> str:
    """JSON with as many items in a line as fit."""
    line = json.dumps(value, allow_nan=False)
    if not isinstance(value, dict | list) or len(indent) + len(line) <= WIDTH:
        return line
    deeper = indent + " "
    if isinstance(value, dict):
        items = [f"{json.dumps(str(key))}: {compact(item, deeper)}" for key, item in value.items()]
        return "\n".join(["{", *_filled(items, deeper), f"{indent}}}"])
    return "\n".join(["[", *_filled([compact(item, deeper) for item in value], deeper), f"{indent}]"])


def _filled(items: list[str], indent: str) -> list[str]:
    """Lines of items with commas between them; an item of several lines, or one with items of its own, stands alone."""
    lines: list[str] = []
    alone = True
    for number, item in enumerate(items):
        text = item + "," * (number + 1 < len(items))
        whole = any(bracket in item for bracket in "[{")
        if alone or whole or len(lines[-1]) + 1 + len(text) > WIDTH:
            lines.append(indent + text)
        else:
            lines[-1] += " " + text
        alone = whole
    return lines


def plain(value: Any) -> Any:
    """As JSON gives it back: keys are text, numbers rounded; None stands for nan and infinity."""
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, float):
        return float(f"{value:.{DIGITS}g}") if math.isfinite(value) else None
    return value
