"""Lists of operations: their grammar and values against an evaluator of text; the study on them runs."""

import re
import subprocess
import sys
from pathlib import Path
from statistics import median

import numpy as np
import pytest

from benchmarks import list_operations
from helpers.array_libraries import library

ROOT = Path(__file__).parents[2]


def nested(text):
    """Text as Python's lists, brackets by the parser of Python: "[MAX 2 9 ]" is ["MAX", 2, 9]."""
    return eval(re.sub(r"([A-Z]+)", r"'\1'", text).replace(" ]", "]").replace(" ", ","))


def evaluated(node):
    if isinstance(node, int):
        return node
    name, *arguments = node[0], *map(evaluated, node[1:])
    return int({"MIN": min, "MAX": max, "MED": median, "SM": lambda x: sum(x) % 10}[name](arguments))


def operators(node, depth=1):
    """Depth and number of arguments of every operator."""
    if isinstance(node, int):
        return []
    return [(depth, len(node) - 1), *(found for child in node[1:] for found in operators(child, depth + 1))]


@pytest.fixture(scope="module")
def lists():
    return list_operations.draw(60, 40, 200, seed=3)


def test_the_oracle_knows_the_operations():
    assert evaluated(nested("[MAX 2 9 [MIN 4 7 ] 0 ]")) == 9
    assert evaluated(nested("[SM [MED 1 2 8 9 ] 5 7 ]")) == 7  # the median is 5
    assert evaluated(nested("[MED 1 2 ]")) == 1


def test_values_are_those_of_the_text(lists):
    found = [evaluated(nested(list_operations.text(tokens))) for tokens in lists.tokens]
    assert lists.values.tolist() == found


def test_lengths_are_in_range_and_padding_follows(lists):
    assert lists.lengths.min() >= 40
    assert lists.lengths.max() <= 200
    for tokens, length in zip(lists.tokens, lists.lengths, strict=True):
        assert (tokens[:length] < list_operations.PAD).all()
        assert (tokens[length:] == list_operations.PAD).all()


def test_operators_have_2_to_10_arguments_above_depth_10(lists):
    found = [pair for tokens in lists.tokens for pair in operators(nested(list_operations.text(tokens)))]
    depths, counts = map(set, zip(*found, strict=True))
    assert depths <= set(range(1, 10))
    assert counts == set(range(2, 11))


def test_every_operation_occurs(lists):
    assert {10, 11, 12, 13} <= set(lists.tokens.ravel())


def test_a_seed_gives_its_lists():
    one, again, other = (list_operations.draw(4, 5, 40, seed) for seed in (0, 0, 1))
    np.testing.assert_array_equal(one.tokens, again.tokens)
    np.testing.assert_array_equal(one.values, again.values)
    assert not np.array_equal(one.tokens, other.tokens)


def test_guesses_know_what_they_look_up():
    """[MIN 0 d ] and [MAX d d ] in turn: 0 is the commonest value, and a first digit is the value."""
    even, digits = np.arange(40) % 2 == 0, np.arange(40) // 2 % 4
    first = np.where(even, 0, digits)
    tokens = np.stack([np.where(even, 10, 11), first, digits, np.full(40, list_operations.CLOSE)], axis=1)
    train, test = np.arange(32), np.arange(32, 40)
    found = list_operations.guesses(list_operations.Lists(tokens, np.full(40, 4), first), train, test)
    assert found[list_operations.BOTH] == found[list_operations.DIGIT] == 1
    assert found[list_operations.COMMONEST] == 5 / 8  # the four minima, and one maximum of zeros
    assert found[list_operations.OPERATOR] == 5 / 8  # of the maxima every digit is as common, 0 is the first of them


@pytest.mark.slow
def test_the_study_runs(tmp_path):
    library("torch")
    command = [sys.executable, "-m", "docs.gallery.studies.study_long_lists", "--quick", "--output", str(tmp_path)]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=500, check=True)
    for name in ("softmax", "elastic", "sparse", "Peak memory"):
        assert name in run.stdout
    assert {path.name for path in tmp_path.iterdir()} == {f"long_lists.{kind}" for kind in ("json", "rst", "svg")}
