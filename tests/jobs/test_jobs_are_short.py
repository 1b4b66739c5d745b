"""What a user has to write is short: every job of this folder has at most twelve lines, and a test that calls it."""

import ast
import re
from pathlib import Path

import pytest

FILES = sorted(Path(__file__).parent.glob("test_job_*.py"))
PAGE = Path(__file__).parents[2] / "docs/jobs.rst"
SHOWN = re.compile(r"literalinclude:: \.\./tests/jobs/(\w+)\.py\n   :pyobject: (\w+)")
LINES = 12  # without blank lines, comments and docstrings


def jobs(tree):
    """Functions and classes of a file before its first test: those are a user's; oracles stand behind it."""
    for node in tree.body:
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
            return
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            yield node


def lines_of_code(text, node):
    first = node.body[0]
    is_text = isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant)
    prose = range(first.lineno, first.end_lineno + 1) if is_text else ()
    lines = enumerate(text.splitlines(), start=1)
    return sum(
        node.lineno <= number <= node.end_lineno and number not in prose and line.strip()[:1] not in ("", "#")
        for number, line in lines
    )


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_jobs_have_at_most_twelve_lines(path):
    text = path.read_text(encoding="utf-8")
    found = {node.name: lines_of_code(text, node) for node in jobs(ast.parse(text))}
    assert found
    assert not {name: count for name, count in found.items() if count > LINES}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_job_is_called(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    called = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    assert not [node.name for node in jobs(tree) if node.name not in called]


def test_the_page_shows_every_job():
    every = {(path.stem, node.name) for path in FILES for node in jobs(ast.parse(path.read_text(encoding="utf-8")))}
    assert set(SHOWN.findall(PAGE.read_text(encoding="utf-8"))) == every


def test_lines_are_counted_without_texts_and_comments():
    text = 'def f():\n    """Two\n    lines."""\n    # why\n\n    return (\n        1\n    )\n'
    assert lines_of_code(text, ast.parse(text).body[0]) == 4
