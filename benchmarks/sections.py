"""The parts of a benchmark run: printed and written as they finish, so that a run cut short leaves them."""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from goals import Claim, Goal, goal_table
from report import Table, show


@dataclass(frozen=True)
class Section:
    tables: list[Table]
    figures: Any
    goals: Sequence[Goal | Claim]


def announced(section: Section) -> Section:
    """Print a section as soon as it is measured."""
    for table in section.tables:
        show(table)
    return section


def summary(sections: dict[str, Section]) -> Table:
    return goal_table([goal for section in sections.values() for goal in section.goals])


def write(path: Path, sections: dict[str, Section], setting: Table) -> None:
    """Write what is measured so far: the tables to path.rst, every figure to path.json."""
    tables = [summary(sections), *(table for section in sections.values() for table in section.tables), setting]
    figures = {
        "setting": dict(setting.rows),
        "goals": [goal.figures() for section in sections.values() for goal in section.goals],
        **{name: section.figures for name, section in sections.items()},
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.with_suffix(".rst").write_text("\n".join(table.rst() for table in tables))
    path.with_suffix(".json").write_text(json.dumps(_finite(figures), indent=1, allow_nan=False) + "\n")


def _finite(value: Any) -> Any:
    """JSON has neither nan nor infinity: None stands for them."""
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
