"""The gallery's studies run from the command line and report numbers that can be true."""

import gzip
import json
import math
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from helpers.array_libraries import library

library("torch")
pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
ROUNDING = 1e-5
"""Of a mean of single-precision sums of at most 64 weights, and then some."""


def python(*arguments):
    environment = os.environ | {"PYTHONWARNINGS": "error"}
    done = subprocess.run(
        [sys.executable, *map(str, arguments)], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def quick(name, folder):
    """What a quick run prints, and the numbers that it stores."""
    printed = python("-m", f"docs.gallery.studies.study_{name}", "--quick", "--output", folder)
    assert (folder / f"{name}.svg").read_text().rstrip().endswith("</svg>")
    return printed, json.loads((folder / f"{name}.json").read_text())


def numbers(value):
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        return [number for item in value for number in numbers(item)]
    return [value] if isinstance(value, int | float) else []


def test_digits_report_every_kind_of_weights(tmp_path):
    printed, stored = quick("attention_on_digits", tmp_path)
    table = (tmp_path / "attention_on_digits.rst").read_text()
    assert stored["images to train, validate and test"] == [120, 30, 50]
    assert len(stored["runs"]) == len(stored["seconds of a step"]) == 10
    assert all(math.isfinite(x) for x in numbers(stored))
    assert min(stored["seconds of a step"].values()) > 0
    for kind, (run,) in stored["runs"].items():
        assert f"* - {kind}\n" in table
        assert kind in printed
        assert 0 <= run["accuracy"] <= 1
        assert 0 <= run["column entropy"] <= math.log(8) + ROUNDING
        assert ("mean lam" in run) == (kind == "elastic, learned lam")
    # two steps of Adam at 1e-2 change theta by some 0.02; lam changes at a quarter of that or less
    assert 0 < abs(stored["runs"]["elastic, learned lam"][0]["mean lam"] - 0.5) < 0.01
    for exact in ("sliced", "QR", "QR, identity added"):
        assert stored["runs"][exact][0]["column error"] < ROUNDING
    assert stored["runs"]["softmax"][0]["column error"] > 0.01


def test_sinks_report_every_kind(tmp_path):
    _, stored = quick("attention_sinks", tmp_path)
    table = (tmp_path / "attention_sinks.rst").read_text()
    assert table.count(".. list-table::") == 5
    assert all(math.isfinite(x) for x in numbers(stored))
    for planted in stored["planted"]:
        if planted["lam"] == 1:
            # solved to 1e-9, relative to the total of 64
            assert planted["share of the sink"] == pytest.approx(1 / 64, abs=1e-8)
            assert planted["column entropy"] == pytest.approx(math.log(64), abs=1e-8)
        elif planted["lam"] == 0:
            assert planted["share of the sink"] == pytest.approx(softmax_share(planted["height"]), rel=1e-8)
    for kind, (run,) in stored["trained"].items():
        assert 0 <= run["at marks"] <= 1
        assert 0 <= run["elsewhere"] <= 1
        assert 1 - ROUNDING <= run["largest column"] <= 32
        assert 1 - ROUNDING <= run["effective rank"] <= 32
        given = run["attention given"]
        assert given < 1 - ROUNDING if "null" in kind else given == pytest.approx(1, abs=ROUNDING)


@pytest.mark.parametrize("name", ["corrupted_experts", "doubly_stochastic", "experts_on_digits", "shapes"])
def test_every_kind_is_in_the_table(name, tmp_path):
    _, stored = quick(name, tmp_path)
    table = (tmp_path / f"{name}.rst").read_text()
    assert all(math.isfinite(x) for x in numbers(stored))
    for kind, (run,) in stored["runs"].items():
        assert f"* - {kind}\n" in table
        assert 0 <= run["accuracy"] <= 1


def test_permutations_report_every_kind_in_both_tasks(tmp_path):
    printed, stored = quick("sort_and_match", tmp_path)
    table = (tmp_path / "sort_and_match.rst").read_text()
    for task in ("sorting", "matching"):
        assert f"{task.capitalize()}: places that are right" in printed
        assert len(stored["runs"][task]) == 7
        for kind, (run,) in stored["runs"][task].items():
            assert table.count(f"* - {kind}\n") == 2
            assert 0 <= run["right"] <= 1
            assert 0.1 - ROUNDING <= run["sharpness"] <= 1 + ROUNDING


def test_sequences_report_every_kind_in_every_task(tmp_path):
    _, stored = quick("long_range", tmp_path)
    table = (tmp_path / "long_range.rst").read_text().split(".. list-table::")[1]
    assert list(stored["runs"]) == ["digits", "paths", "texts"]
    for task, runs in stored["runs"].items():
        assert table.count(f"* - {task}\n") == len(runs) == 3
        assert stored["chance"][task] >= 0.1
        assert all(0 <= run["accuracy"] <= 1 for (run,) in runs.values())


def test_ways_around_sinks_are_rows_of_one_table(tmp_path):
    _, stored = quick("sink_mitigations", tmp_path)
    table = (tmp_path / "sink_mitigations.rst").read_text().split(".. list-table::")[1]
    assert len(stored["runs"]) == 8
    for kind, (run,) in stored["runs"].items():
        assert table.count(f"* - {kind}\n") == 1
        assert all(math.isfinite(x) for x in numbers(run))
        for share in ("sink rate", "at marks", "first token"):
            assert 0 <= run[share] <= 1 + ROUNDING
        assert 1 - ROUNDING <= run["largest column"] <= 32 * (1 + ROUNDING)
        assert 0 <= run["entropy"] <= math.log(32) + ROUNDING


def test_hubs_report_every_kind_with_every_keys(tmp_path):
    _, stored = quick("hubs", tmp_path)
    table = (tmp_path / "hubs.rst").read_text()
    assert len(stored["runs"]) == 4
    for runs in stored["runs"].values():
        for kind, (run,) in runs.items():
            assert table.count(f"* - {kind}\n") == 4
            assert 0 <= run["accuracy"] <= 1
            assert (run["lam"] in (0, 0.5, 1)) == (kind != "lam learned")
            assert 1 - ROUNDING <= run["rank of weights"] <= 16 * (1 + ROUNDING)


def test_distillation_reports_every_loss_on_digits_alone(tmp_path):
    _, stored = quick("distillation", tmp_path)
    table = (tmp_path / "distillation.rst").read_text()
    assert list(stored["runs"]) == ["digits"]  # mails would be fetched
    for kind, (run,) in stored["runs"]["digits"].items():
        assert f"* - {kind}\n" in table
        for part in ("accuracy", "agreement", "teacher"):
            assert 0 <= run[part] <= 1
        assert (run["weight"] == 0) == (kind == "labels alone")


def test_collapse_reports_every_stack_and_layer(tmp_path):
    _, stored = quick("collapse", tmp_path)
    assert (tmp_path / "collapse.rst").read_text().count(".. list-table::") == 5
    for stack in ("plain", "skips"):
        for size in ("1", "4", "16"):
            assert list(stored["runs"][stack][size]) == ["0", "0.5", "1"]
    # nearly uniform weights make all tokens alike, whatever lam
    for (run,) in stored["runs"]["plain"]["1"].values():
        assert run["ranks of tokens"][-1] == pytest.approx(1, abs=1e-3)


def test_trained_stacks_report_every_kind_at_every_depth(tmp_path):
    _, stored = quick("trained_stacks", tmp_path)
    table = (tmp_path / "trained_stacks.rst").read_text()
    assert list(stored["runs"]) == ["1", "2", "4", "skips"]
    for runs in stored["runs"].values():
        for kind, (run,) in runs.items():
            assert table.count(f"* - {kind}\n") == 4
            assert 0 <= run["accuracy"] <= 1
            assert 1 - ROUNDING <= run["rank of tokens"] <= 12 * (1 + ROUNDING)
            assert 1 - ROUNDING <= run["largest column"] <= 12 * (1 + ROUNDING)


def test_matchers_of_keypoints_report_every_kind_in_both_tests(tmp_path):
    printed, stored = quick("graph_matching", tmp_path)
    table = (tmp_path / "graph_matching.rst").read_text()
    assert all(math.isfinite(x) for x in numbers(stored))
    assert len(stored["runs"]) == 6
    for kind, (run,) in stored["runs"].items():
        assert kind in printed
        assert table.count(f"* - {kind}\n") == 2
        for test in ("drawn", "photographs"):
            precision, recall, f1 = (run[f"{test} {name}"] for name in ("precision", "recall", "F1"))
            assert 0 <= recall <= 1
            # stored to five digits
            assert f1 * (precision + recall) == pytest.approx(2 * precision * recall, rel=1e-4)


def test_patches_report_every_kind_of_every_network(tmp_path):
    _, stored = quick("patches", tmp_path)
    table = (tmp_path / "patches.rst").read_text()
    assert all(math.isfinite(x) for x in numbers(stored))
    for task, tokens in (("14", 5), ("7", 17), ("4", 50), ("7-all", 17)):
        assert len(stored["runs"][task]) == 3
        for kind, (run,) in stored["runs"][task].items():
            assert table.count(f"* - {kind}\n") == 4
            assert 0 <= run["accuracy"] <= 1
            assert 1 - ROUNDING <= run["tokens read"] <= tokens * (1 + ROUNDING)
            assert run["seconds of a step"] > 0


def test_lists_are_sorted_by_every_kind_at_every_length(tmp_path):
    _, stored = quick("sort_lists", tmp_path)
    table = (tmp_path / "sort_lists.rst").read_text()
    assert len(stored["runs"]) == 5
    for kind, (run,) in stored["runs"].items():
        assert table.count(f"* - {kind}\n") == 2
        for length in (24, 36, 48):
            assert 0 <= run[f"lists at {length}"] <= run[f"places at {length}"] <= 1
    # of ten digits, the longer the list the surer is what stands at a place
    assert 0.1 < stored["guess"][0] < stored["guess"][1] < stored["guess"][2] < 1


def softmax_share(height):
    """Of the first of 64 keys, the scores being those of the study."""
    scores = np.random.default_rng(0).normal(size=(64, 64))
    scores[:, 0] += height
    weights = np.exp(scores)
    return (weights / weights.sum(axis=1, keepdims=True))[:, 0].mean()


def test_mnist_is_read_from_its_files_gzipped_or_not(tmp_path):
    generator = np.random.default_rng(0)
    written = {}
    for part, count, end in (("train", 5, ".gz"), ("t10k", 3, "")):
        written[part] = generator.integers(256, size=(count, 28, 28), dtype=np.uint8), np.arange(count, dtype=np.uint8)
        for kind, array in zip(("images-idx3", "labels-idx1"), written[part], strict=True):
            raw = bytes([0, 0, 8, array.ndim]) + np.array(array.shape, dtype=">i4").tobytes() + array.tobytes()
            (tmp_path / f"{part}-{kind}-ubyte{end}").write_bytes(gzip.compress(raw) if end else raw)
    read = python(
        "-c",
        "import json, pathlib, sys\n"
        "from docs.gallery.studies.study_attention_on_digits import mnist\n"
        "print(json.dumps([x.tolist() for x in mnist(pathlib.Path(sys.argv[1]), 4)]))",
        tmp_path,
    )
    images, kinds = json.loads(read)
    written = np.concatenate([written["train"][0][:4], written["t10k"][0]])
    # float32 holds these to 1e-7
    np.testing.assert_allclose(np.reshape(images, (7, 28, 28)), written / 255, atol=1e-7)
    assert np.shape(images) == (7, 7, 112)
    assert kinds == [0, 1, 2, 3, 0, 1, 2]
