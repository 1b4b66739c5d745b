"""Tables as reStructuredText, made to be included in a page of the docs, and goals that results are held against."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Table:
    """A caption, no section title: the page has those."""

    title: str
    header: list[str]
    rows: list[list[str]]
    note: str = ""

    def rst(self) -> str:
        lines = [f".. list-table:: {self.title}".rstrip(), "   :header-rows: 1", ""]
        for row in [self.header, *self.rows]:
            lines += [f"   {'*' if i == 0 else ' '} - {cell}".rstrip() for i, cell in enumerate(row)]
        return "\n".join([*lines, "", self.note, ""] if self.note else [*lines, ""])

    def text(self) -> str:
        rows = [self.header, *self.rows]
        widths = [max(len(row[k]) for row in rows) for k in range(len(self.header))]
        lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows]
        return "\n".join([self.title, *(f"  {line}".rstrip() for line in lines), *([self.note] if self.note else [])])


def rst(tables: Sequence[Table]) -> str:
    return "\n".join(table.rst() for table in tables)


def show(table: Table) -> None:
    print(table.text(), end="\n\n", flush=True)


def milliseconds(seconds: float) -> str:
    """Three significant digits; from 1 s on in seconds."""
    return f"{1e3 * seconds:.3g} ms" if seconds < 1 else f"{seconds:.3g} s"


def times(ratio: float) -> str:
    """How many times the time of the method compared with."""
    return f"{ratio:.2f}" if ratio < 10 else f"{ratio:.0f}"


@dataclass(frozen=True)
class Goal:
    """A measured ratio and its limit; ``proven_only``: the ratio is at least this, more is unknown."""

    statement: str
    ratio: float
    limit: float
    at_least: bool
    proven_only: bool = False

    @property
    def met(self) -> bool:
        return self.ratio >= self.limit if self.at_least else self.ratio <= self.limit

    def row(self) -> list[str]:
        return [self.statement, self.measured(), _limit(self), "yes" if self.met else "no"]

    def measured(self) -> str:
        return f">= {times(self.ratio)}" if self.proven_only else times(self.ratio)


@dataclass(frozen=True)
class CommonGoal:
    """One limit for many cases; the worst of them stands in the table."""

    statement: str
    limit: float
    at_least: bool
    cases: Sequence[Goal]

    @property
    def worst(self) -> Goal:
        return (min if self.at_least else max)(self.cases, key=lambda case: case.ratio)

    def row(self) -> list[str]:
        met, total = sum(case.met for case in self.cases), len(self.cases)
        worst = f"{self.worst.measured()} ({self.worst.statement})" if self.cases else "nothing measured"
        return [self.statement, worst, _limit(self), f"{met} of {total}"]


def _limit(goal: Goal | CommonGoal) -> str:
    return f"{'>=' if goal.at_least else '<='} {goal.limit:g}"


def goal_table(goals: Sequence[Goal | CommonGoal]) -> Table:
    return Table("Goals", ["", "measured", "goal", "met"], [goal.row() for goal in goals])
