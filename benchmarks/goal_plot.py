"""The goals of a benchmark in one picture: how far each case is from its limit."""

import math
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib
import matplotlib.pyplot as plt

from .tables import CommonGoal, Goal

MET, MISSED = "#0072B2", "#D55E00"
LINE = 58  # characters of a label


def cases(goal: Goal | CommonGoal) -> list[Goal]:
    """Those with a measured ratio."""
    every = goal.cases if isinstance(goal, CommonGoal) else [goal]
    return [case for case in every if math.isfinite(case.ratio) and case.ratio > 0]


def score(case: Goal) -> float:
    """Return 1 for what just meets its limit, and more for what is better."""
    return case.ratio / case.limit if case.at_least else case.limit / case.ratio


def draw(goals: Sequence[Goal | CommonGoal], path: Path) -> None:
    """A line a goal, a point a case; to the right of 1 it is met."""
    matplotlib.use("agg")
    drawn = [goal for goal in goals if goal.limit > 0 and cases(goal)]
    if not drawn:
        return
    style: dict[Any, Any] = {"svg.fonttype": "none", "svg.hashsalt": "goals", "font.size": 9}
    with plt.rc_context({**style, "axes.spines.top": False, "axes.spines.right": False}):
        labels = [textwrap.fill(goal.statement, LINE) for goal in drawn]
        height = 0.8 + 0.17 * sum(label.count("\n") + 1.6 for label in labels)
        figure, axes = plt.subplots(figsize=(8, height), layout="constrained")
        for place, goal in enumerate(drawn):
            scores = [score(case) for case in cases(goal)]
            colours = [MET if x >= 1 else MISSED for x in scores]
            axes.scatter(scores, [place] * len(scores), c=colours, s=22, alpha=0.8, zorder=3)
        axes.axvline(1, color="0.3", linewidth=1)
        axes.set(
            xscale="log", xlabel="measured beside the goal: to the right of 1 it is met", ylim=(len(drawn) - 0.4, -0.6)
        )
        axes.set_yticks(range(len(drawn)), labels)
        axes.grid(True, axis="y", alpha=0.3)
        figure.savefig(path, metadata={"Date": None})
        plt.close(figure)
