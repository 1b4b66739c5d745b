"""Comparisons of studies: pairs have equal splits, intervals are Student's, and test data are looked at once."""

import os

import numpy as np
import pytest
from scipy.stats import ttest_rel

from helpers.array_libraries import library

library("torch")
pytest.importorskip("matplotlib")
paired = pytest.importorskip("benchmarks.paired")


def runs(values, split="a"):
    return [{"seed": seed, "split": split, "accuracy": value} for seed, value in enumerate(values)]


@pytest.mark.parametrize("comparisons", [1, 9])
def test_intervals_are_those_of_a_paired_t_test(comparisons):
    one, base = np.random.default_rng(0).random((2, 12))
    found = paired.difference(runs(one), runs(base), "accuracy", comparisons)
    expected = ttest_rel(one, base)
    assert found.interval == pytest.approx(tuple(expected.confidence_interval(1 - 0.05 / comparisons)), rel=1e-9)
    assert found.mean / found.error == pytest.approx(expected.statistic, rel=1e-12)


def test_a_difference_is_found_where_the_interval_leaves_out_0():
    base = np.random.default_rng(0).random(12)
    noise = np.random.default_rng(1).normal(size=12)
    for shift, verdict in ((0.0, "no difference found"), (9.0, "higher"), (-9.0, "lower")):
        assert paired.difference(runs(base + noise - noise.mean() + shift), runs(base), "accuracy").verdict == verdict


def test_the_baseline_has_no_difference_and_empty_cells():
    one, base = np.random.default_rng(0).random((2, 12))
    found = paired.differences({"base": runs(base), "one": runs(one)}, "base", "accuracy", 3, 100)
    assert list(found) == ["one"]
    assert found["one"].interval == paired.difference(runs(one), runs(base), "accuracy", 3, 100).interval
    assert paired.difference_cells(found.get("base")) == [""] * len(paired.HEADER)
    assert len(paired.difference_cells(found["one"])) == len(paired.HEADER)


def test_one_pair_finds_nothing():
    assert paired.difference(runs([1.0]), runs([0.0]), "accuracy").verdict == "no difference found"


def test_runs_of_other_splits_are_no_pairs():
    with pytest.raises(ValueError, match="split b is no pair of 0, a"):
        paired.difference(runs([1.0], "b"), runs([1.0], "a"), "accuracy")
    with pytest.raises(ValueError, match="seed 1"):
        paired.difference(runs([1.0, 2.0])[::-1], runs([1.0, 2.0]), "accuracy")
    with pytest.raises(ValueError, match="longer"):
        paired.difference(runs([1.0]), runs([1.0, 2.0]), "accuracy")


class Fitted:
    """A model whose validation score is known."""

    def __init__(self, rate):
        self.rate = rate

    def validation(self):
        return {1.0: 0.3, 2.0: 0.7, 3.0: 0.7}[self.rate]


def test_the_rate_is_that_of_the_best_validation_score_the_first_of_equals():
    best, tuned = paired.tune(Fitted, [1.0, 2.0, 3.0])
    assert best.rate == tuned["rate"] == 2.0
    assert tuned["validation"] == [0.3, 0.7, 0.7]


def test_every_kind_has_a_run_of_every_seed():
    found = paired.run_all(lambda kind, seed: {"split": f"{kind} {seed}"}, ["x", "y"], [3, 4], 1)
    assert found == {kind: [{"seed": seed, "split": f"{kind} {seed}"} for seed in (3, 4)] for kind in "xy"}


def threads(kind, seed):
    return {"numba": paired.numba.config.NUMBA_NUM_THREADS, "torch": paired.torch.get_num_threads()}


def test_processes_have_one_thread_and_leave_the_environment_alone():
    before = dict(os.environ)
    (found,) = paired.run_all(threads, ["x"], [3], 2)["x"]
    assert found == {"seed": 3, "numba": 1, "torch": 1}
    assert dict(os.environ) == before


def test_fingerprints_tell_splits_apart():
    one = paired.fingerprint(np.arange(5), np.arange(3))
    assert one == paired.fingerprint(np.arange(5), np.arange(3))
    assert one != paired.fingerprint(np.arange(5), np.arange(3)[::-1])
