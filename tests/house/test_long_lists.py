"""The study of long lists: splits, padding, attention that is none, and one split for all."""

import importlib

import numpy as np
import pytest

from helpers.array_libraries import library

library("torch")
pytest.importorskip("matplotlib")
torch = importlib.import_module("torch")
study = importlib.import_module("docs.gallery.studies.study_long_lists")
TASKS = list(study.TASKS)
ROUNDING = 1e-5
"""Of logits in single precision."""


@pytest.mark.parametrize("task", TASKS)
def test_lists_are_split_once(task):
    scale = study.QUICK[task]
    parts = study.split(scale, 0)
    assert list(map(len, parts)) == [scale.train, scale.held_out, scale.test]
    assert sorted(np.concatenate(parts)) == list(range(sum(map(len, parts))))


@pytest.mark.parametrize("task", TASKS)
def test_lists_have_the_lengths_of_their_name(task):
    shortest, longest = map(int, task.split("-"))
    assert (study.TASKS[task].shortest, study.TASKS[task].longest) == (shortest, longest)
    lengths = study.lists(study.QUICK[task]).lengths
    assert shortest <= lengths.min() < lengths.max() <= longest


@pytest.mark.parametrize("task", TASKS)
def test_padding_changes_no_answer(task):
    """But for sparse attention: its blocks are cut from the end of the longest list."""
    scale = study.QUICK[task]
    drawn = study.lists(scale)
    short = int(drawn.lengths.argmin())
    for kind in (study.BASE, "elastic", study.WITHOUT):
        torch.manual_seed(0)
        model = study.Reader(study.kinds(scale)[kind], scale.longest)
        with torch.no_grad():
            alone = model(torch.from_numpy(drawn.tokens[[short], : drawn.lengths[short]]))
            padded = model(torch.from_numpy(drawn.tokens[[short]]))
        torch.testing.assert_close(alone, padded, rtol=1e-4, atol=ROUNDING)


def test_without_attention_all_tokens_read_the_same():
    q, k, v = torch.randn(3, 2, 1, 7, 4, generator=torch.Generator().manual_seed(0))
    real = torch.arange(7) < torch.tensor([[7], [4]])
    found = study.no_attention(q, k, v, real)
    for one, length in ((0, 7), (1, 4)):
        torch.testing.assert_close(found[one], v[one, :, :length].mean(1, keepdim=True).expand(1, 7, 4))


def test_guesses_and_networks_of_a_seed_have_one_split():
    scale = study.QUICK["5-20"]
    run = study.one_run(f"5-20: {study.WITHOUT}", 3, study.QUICK)
    splits = {one["split"] for seed in (3, 4) for one in study.guesses(scale, seed).values()}
    assert run["split"] in splits
    assert len(splits) == 2
