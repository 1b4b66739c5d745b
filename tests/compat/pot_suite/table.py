"""What came of POT's tests, as a table of files and a list of reasons."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from .running import Outcome

VERDICTS = ("passed", "skipped", "refused", "expected", "unexpected")


def table(outcomes: Sequence[Outcome], traces: bool = False) -> str:
    """Return the counts of every file, the reasons of expected failures, and the unexpected ones with their errors."""
    files = dict.fromkeys(one.file for one in outcomes)
    lines = [f"{'file':30s}" + "".join(f"{name:>12s}" for name in VERDICTS)]
    lines += [_row(file, (one for one in outcomes if one.file == file)) for file in files]
    lines += [_row("all", outcomes)]
    for verdict, title in (
        ("refused", "Refused, and skipped by POT's tests for that"),
        ("expected", "Expected failures"),
    ):
        reasons = Counter((one.file, one.text) for one in outcomes if one.verdict == verdict)
        if reasons:
            lines += ["", title]
            lines += [f"{count:5d}  {file}: {reason}" for (file, reason), count in sorted(reasons.items())]
    surprises = [one for one in outcomes if one.verdict == "unexpected"]
    if surprises:
        lines += ["", "Unexpected failures"]
        lines += [f"{one.file}::{one.test}\n    {' '.join(one.text.split())[:200]}" for one in surprises]
        lines += [f"\n{one.file}::{one.test}\n{one.trace}" for one in surprises if traces]
    return "\n".join(lines)


def _row(title: str, outcomes: Iterable[Outcome]) -> str:
    counts = Counter(one.verdict for one in outcomes)
    return f"{title:30s}" + "".join(f"{counts[name]:12d}" for name in VERDICTS)
