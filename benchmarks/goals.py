"""What was set out to be reached, and whether this run reached it."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from report import Table, times


@dataclass(frozen=True)
class Goal:
    """A ratio measured in this run and its limit; ``proven_only``: the ratio is at least this, more is unknown."""

    statement: str
    ratio: float
    limit: float
    at_least: bool
    proven_only: bool = False

    @property
    def met(self) -> bool:
        return self.ratio >= self.limit if self.at_least else self.ratio <= self.limit

    def row(self) -> list[str]:
        return [self.statement, self.measured(), bound(self), "yes" if self.met else "no"]

    def measured(self) -> str:
        return f">= {times(self.ratio)}" if self.proven_only else times(self.ratio)

    def figures(self) -> dict[str, Any]:
        return {**asdict(self), "met": self.met}


@dataclass(frozen=True)
class Claim:
    """One limit set for many cases; the worst of them stands in the table."""

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
        return [self.statement, worst, bound(self), f"{met} of {total}"]

    def figures(self) -> dict[str, Any]:
        cases = [
            {"case": case.statement, "ratio": case.ratio, "proven_only": case.proven_only, "met": case.met}
            for case in self.cases
        ]
        return {"statement": self.statement, "limit": self.limit, "at_least": self.at_least, "cases": cases}


def bound(goal: Goal | Claim) -> str:
    return f"{'>=' if goal.at_least else '<='} {goal.limit:g}"


def goal_table(goals: Sequence[Goal | Claim]) -> Table:
    return Table("Goals", ["", "measured", "goal", "met"], [goal.row() for goal in goals])
