"""The benchmarks' stored numbers make the tables that the documentation shows; a small measurement can be stored."""

import json
import math

import numpy as np
import pytest

import elastic_ot as eot
from benchmarks import (
    compare_assignment,
    compare_attention,
    compare_barycenter,
    compare_clouds,
    compare_couples,
    compare_gromov,
    compare_iterations,
    compare_layers,
    compare_line,
    compare_low_rank,
    compare_multiscale,
    compare_reads,
    compare_sinkhorn,
    compare_small,
    compare_small_layers,
    compare_systems,
    first_call,
    ranks,
)
from benchmarks.count_reads import counted
from benchmarks.report import DIGITS, RESULTS, Report, Section, Time, compact, options, plain, read
from benchmarks.report import Benchmark as AnyBenchmark
from benchmarks.tables import Goal, Table

STORED = {
    "sinkhorn": compare_sinkhorn.SINKHORN,
    "rerun/sinkhorn": compare_sinkhorn.SINKHORN,
    "assignment": compare_assignment.ASSIGNMENT,
    "reads": compare_reads.READS,
    "small": compare_small.SMALL,
    "layers": compare_layers.LAYERS,
    "attention": compare_attention.ATTENTION,
    "systems": compare_systems.SYSTEMS,
    "iterations": compare_iterations.ITERATIONS,
    "first_call": first_call.FIRST_CALL,
    "small_layers": compare_small_layers.SMALL_LAYERS,
    "clouds": compare_clouds.CLOUDS,
    "multiscale": compare_multiscale.MULTISCALE,
    "ranks": ranks.RANKS,
    "gromov": compare_gromov.GROMOV,
    "barycenter": compare_barycenter.BARYCENTER,
    "line": compare_line.LINE,
    "low_rank": compare_low_rank.LOW_RANK,
    "couples": compare_couples.COUPLES,
}


@pytest.mark.parametrize("name", STORED)
def test_stored_numbers_make_the_tables_of_the_documentation(name):
    found = read(RESULTS / f"{name}.json")
    assert STORED[name].text(found) == (RESULTS / f"{name}.rst").read_text()


@pytest.mark.parametrize(
    "time", [Time(0.25), Time(at_least=15.0), Time(verdict="not tried"), Time(verdict="wrong, error 3e-02")]
)
def test_a_time_survives_storing(time):
    again = Time.read(json.loads(json.dumps(time.stored())))
    assert str(again) == str(time)  # nan is not equal to itself
    assert (again.answered, again.stopped) == (time.seconds == 0.25, time.at_least == 15.0)


def test_numbers_are_rounded_and_nan_becomes_null():
    assert plain({1: (1 / 3, math.nan), "x": [math.inf, 2, True]}) == {
        "1": [float(f"{1 / 3:.{DIGITS}g}"), None],
        "x": [None, 2, True],
    }


def test_compact_json_is_json():
    value = {"long": [{"solver": "a" * 100, "n": k} for k in range(5)], "short": [1, 2.5, None], "empty": {}}
    text = compact(value)
    assert json.loads(text) == value
    assert len(text.splitlines()) < 12


def test_a_run_stores_what_a_redraw_shows_again(tmp_path):
    def report(found):
        return Report([Table("Times", ["", "s"], [["ours", f"{found['seconds']:.2f}"]])], [Goal("one", 2.0, 3.0, True)])

    bench = AnyBenchmark("small", {"only": Section(lambda seconds: {"seconds": seconds}, report)})
    bench.run(options("", ["only"]).parse_args(["--output", str(tmp_path)]), 0.123456789012)
    first = (tmp_path / "small.rst").read_text()
    assert "0.12" in first
    (tmp_path / "small.rst").unlink()
    bench.redraw(tmp_path)
    assert (tmp_path / "small.rst").read_text() == first
    assert {path.name for path in tmp_path.iterdir()} == {"small.json", "small.rst", "small.svg"}


@pytest.mark.parametrize(("method", "of_cost", "of_kernel"), [("log", 1, 0), ("scaling", 0, 1)])
def test_an_iteration_is_counted_as_one_read(method, of_cost, of_kernel):
    """The kernel is made in one pass over the cost, and the certificate takes another."""
    cost = np.random.default_rng(0).random((600, 500))
    with counted() as reads:
        solution = eot.solve(cost, epsilon=0.05, method=method)
    assert reads.cost == (of_cost * solution.n_iter + of_kernel + 1) * cost.size
    assert reads.kernel == of_kernel * solution.n_iter * cost.size
    assert not reads.cells
