"""POT's own tests against the front end: the command that runs them, on a small file and on the real ones."""

import os
import subprocess
import sys
from pathlib import Path

import ot
import pytest

import elastic_ot.compat.pot as front
from compat.pot_suite.expected import Expected
from compat.pot_suite.running import run
from compat.pot_suite.table import table

COMMAND = Path(__file__).parent / "pot_suite"
FOLDER = "ELASTIC_OT_POT_TESTS"

TESTS = """
import ot
import pytest
from ot.bregman import sinkhorn

half, cost = [0.5, 0.5], [[0.0, 1.0], [1.0, 0.0]]

def test_ours_is_called():
    assert ot.emd(half, half, cost, log=True)[1]["solution"].status.name == "OPTIMAL"
    assert sinkhorn(half, half, cost, 0.1, log=True)[1]["solution"].converged
    assert ot.solve(cost)._backend.__name__ == "numpy"

def test_helpers_alone_concern_nobody():
    assert ot.unif(2).sum() == 1

def test_what_is_refused_is_skipped():
    try:
        ot.solve(cost, reg=1.0, reg_type="L2")
    except NotImplementedError:
        pytest.skip("Not implemented")

@pytest.mark.parametrize("value", [0, 2, 3])
def test_wrong(value):
    assert ot.emd2(half, half, cost) == value

def test_skipped():
    pytest.skip("no such library")
"""


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """The outcomes of the tests above, by their names, of which the failure of test_wrong[3] is expected."""
    folder = tmp_path_factory.mktemp("of_pot")
    (folder / "test_of_pot.py").write_text(TESTS)
    before = ot.emd, ot.bregman.sinkhorn
    outcomes = run(
        folder, ["test_of_pot.py"], expected=[Expected("*::test_wrong[3]", "AssertionError", "three is odd")]
    )
    assert (ot.emd, ot.bregman.sinkhorn) == before
    assert not hasattr(front.OTResult, "_backend")
    return {one.test: one for one in outcomes}


def test_every_verdict_is_given(found):
    assert {name: one.verdict for name, one in found.items()} == {
        "test_ours_is_called": "passed",
        "test_what_is_refused_is_skipped": "refused",
        "test_wrong[0]": "passed",
        "test_wrong[2]": "unexpected",
        "test_wrong[3]": "expected",
        "test_skipped": "skipped",
    }
    assert "reg_type is 'L2'" in found["test_what_is_refused_is_skipped"].text
    assert "AssertionError" in found["test_wrong[2]"].text


def test_the_table_has_counts_reasons_and_errors(found):
    lines = table(list(found.values()), traces=True).splitlines()
    assert lines[1].split() == ["test_of_pot.py", "2", "1", "1", "1", "1"]
    assert lines[2].split()[0] == "all"
    assert "    1  test_of_pot.py: three is odd" in lines
    assert lines.count("test_of_pot.py::test_wrong[2]") == 2  # its error, and its trace
    assert any("assert ot.emd2(half, half, cost) == value" in line for line in lines)


def test_a_failure_is_expected_by_its_name_and_its_error():
    one = Expected("test_ot.py::test_emd*[a-1]", "ValueError", "")
    assert one.explains("test_ot.py::test_emd2[a-1]", "ValueError: no")
    assert not one.explains("test_ot.py::test_emd2[a-1]", "TypeError: no")
    assert not one.explains("test_ot.py::test_emd2a", "ValueError: no")
    assert not one.explains("test_bregman.py::test_emd2[a-1]", "ValueError: no")


def test_a_file_that_cannot_be_read_is_a_failure(tmp_path):
    (tmp_path / "test_of_pot.py").write_text("import no_such_module")
    (one,) = run(tmp_path, ["test_of_pot.py"])
    assert one.verdict == "unexpected"
    assert "no_such_module" in one.trace


@pytest.mark.slow
def test_unexpected_failures_end_the_command_with_1(tmp_path):
    (tmp_path / "test_of_pot.py").write_text(TESTS)
    for names, code in (("wrong", 1), ("ours", 0), ("nothing_of_that_name", 1)):
        ended = subprocess.run(
            [sys.executable, COMMAND, tmp_path, "test_of_pot.py", "-k", names],
            capture_output=True,
            text=True,
            check=False,
        )
        assert ended.returncode == code, ended.stderr
        assert ended.stdout.startswith("file")


@pytest.mark.slow
@pytest.mark.skipif(FOLDER not in os.environ, reason=f"{FOLDER} does not name the folder of POT's tests")
def test_failures_of_the_tests_of_pot_are_all_expected():
    ended = subprocess.run([sys.executable, COMMAND, os.environ[FOLDER]], capture_output=True, text=True, check=False)
    print(ended.stdout)
    assert ended.returncode == 0, ended.stdout + ended.stderr
