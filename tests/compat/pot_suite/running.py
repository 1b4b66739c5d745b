"""POT's tests run by pytest in this process, and what came of those that the front end concerns."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from .expected import EXPECTED, Expected
from .replaced import Notes, replaced

FILES = (
    *("test_ot.py", "test_bregman.py", "test_partial.py", "test_solvers.py", "test_utils.py"),
    *("unbalanced/test_sinkhorn.py", "unbalanced/test_lbfgs.py", "unbalanced/test_mm.py"),
    *("gromov/test_gw.py", "gromov/test_bregman.py", "gromov/test_fugw.py", "test_ucoot.py"),
)
HELPERS = {"dist": "test_utils.py", "unif": "test_utils.py"}  # called by nearly every test, tested in one file


@dataclass(frozen=True)
class Outcome:
    """What came of one test.

    "passed", "skipped" by POT, "refused" (it skips what is not implemented, which our front end said), "expected" (it
    failed for a known reason) or "unexpected".
    """

    file: str
    test: str
    verdict: str
    text: str = ""
    """Why it was skipped or refused, the reason of an expected failure, the error of an unexpected one."""
    trace: str = field(default="", repr=False)


def run(
    folder: Path, files: Sequence[str] = FILES, names: str = "", expected: Sequence[Expected] = EXPECTED
) -> list[Outcome]:
    """Run the tests of these files; return the outcomes of those that call a function of the front end, or skip."""
    suite = _Suite(expected)
    options = ["-p", "no:cacheprovider", "-p", "no:terminal", "-p", "no:xdist", "--import-mode=importlib"]
    options += ["-c", os.devnull, f"--rootdir={folder}", "-k", names]
    before = set(sys.modules)
    with replaced(suite.notes):
        pytest.main([*options, *(str(folder / name) for name in files)], plugins=[suite])
    for name in set(sys.modules) - before:  # another folder may have files of the same names
        if str(getattr(sys.modules[name], "__file__", "")).startswith(str(folder)):
            del sys.modules[name]
    return suite.outcomes


class _Suite:
    def __init__(self, expected: Sequence[Expected]) -> None:
        self.notes = Notes()
        self.outcomes: list[Outcome] = []
        self.expected = expected
        self.file = ""

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        file = nodeid.partition("::")[0]
        if file != self.file:
            print(file, "...", file=sys.stderr, flush=True)
        self.file = file

    def pytest_collectreport(self, report: Any) -> None:
        if report.failed:
            self.outcomes.append(Outcome(report.nodeid, "", "unexpected", "cannot be collected", str(report.longrepr)))

    def pytest_runtest_setup(self, item: Any) -> None:
        self.notes.clear()

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self, item: Any, call: Any) -> Iterator[None]:
        report = yield
        file, _, test = report.nodeid.partition("::")
        if report.failed:
            error = call.excinfo.exconly()
            reasons = (one.reason for one in self.expected if one.explains(report.nodeid, error))
            reason = next(reasons, None)
            verdict = "unexpected" if reason is None else "expected"
            self._note(file, test, verdict, reason or error.strip(), report.longreprtext)
        elif report.skipped and self.notes.refused:
            self._note(file, test, "refused", self.notes.refused[-1])
        elif report.skipped:
            self._note(file, test, "skipped", call.excinfo.exconly())
        elif report.when == "call":
            self._note(file, test, "passed")
        return report

    def _note(self, file: str, test: str, verdict: str, text: str = "", trace: str = "") -> None:
        if verdict == "skipped" or any(HELPERS.get(name, file) == file for name in self.notes.called):
            self.outcomes.append(Outcome(file, test, verdict, text, trace))
