"""The study of distillation in small: what its losses share, which labels students see, and what a perfect one pays."""

import importlib
from functools import partial

import numpy as np
import pytest

from helpers.array_libraries import library

library("torch")
for needed in ("matplotlib", "sklearn"):
    pytest.importorskip(needed)
torch = importlib.import_module("torch")
study = importlib.import_module("docs.gallery.studies.study_distillation")
ROUNDING = 1e-12
"""Of means of at most 50 samples and ten classes in double precision, and then some."""
BY_SAMPLE = ("KL", "reverse KL", "JS")
BY_BATCH = ("SinKD", "SinKD, lam = 0.5")


@pytest.fixture
def some_mails(monkeypatch):
    """Two words each: one that tells its label, and one that does not."""
    texts = [f"{('tea', 'prize')[number % 2]} word{number}" for number in range(200)]
    monkeypatch.setattr(study.labelled_texts, "load", lambda: study.labelled_texts.Texts(texts, np.arange(200) % 2))
    study.data.cache_clear()
    study.teacher.cache_clear()
    yield
    study.data.cache_clear()
    study.teacher.cache_clear()


def training(kind, seed=3, task="digits", **scale):
    return study.Training(task, kind, seed, study.QUICK._replace(**scale), 1e-2, 3.0)


def predictions(samples=20):
    """Logits of as many samples, no two of which are near, in double precision."""
    return 3 * torch.randn(samples, 10, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def test_losses_of_a_seed_share_split_teacher_and_first_student():
    first, *others = [training(kind, student=0) for kind in study.KINDS]
    for other in others:
        assert all(np.array_equal(*parts) for parts in zip(first.split, other.split, strict=True))
        assert torch.equal(first.taught, other.taught)
        for one, same in zip(first.model.parameters(), other.model.parameters(), strict=True):
            assert torch.equal(one, same)
    another = training(study.BASE, seed=4, student=0)
    assert not np.array_equal(first.split.test, another.split.test)
    assert not torch.equal(first.taught, another.taught)


def test_a_split_has_every_item_once_and_as_many_labels_as_are_said():
    kinds = study.data("digits", 10_000).kinds
    parts = study.split(kinds, 3, 50)
    assert sorted(np.concatenate([parts.train, parts.held_out, parts.test])) == list(range(1797))
    assert set(parts.labelled) <= set(parts.train)
    assert len(set(parts.labelled)) == 50
    assert set(kinds[parts.labelled].tolist()) == set(range(10))


@pytest.mark.parametrize("kind", ["labels alone", "KL", "SinKD"])
def test_a_student_sees_no_label_but_those(kind, monkeypatch):
    one = training(kind)
    kinds = one.data.kinds.clone()
    unseen = np.setdiff1d(np.arange(len(kinds)), one.split.labelled)
    kinds[unseen] = (kinds[unseen] + 1) % 10
    monkeypatch.setattr(study, "data", lambda *_: one.data._replace(kinds=kinds))
    monkeypatch.setattr(study, "teacher", lambda *_: one.taught)
    monkeypatch.setattr(study, "split", lambda *_: one.split)
    other = training(kind)
    for weights, same in zip(one.model.parameters(), other.model.parameters(), strict=True):
        assert torch.equal(weights, same)


@pytest.mark.parametrize("kind", study.KINDS[1:])
def test_every_loss_changes_the_student(kind):
    alone, taught = training(study.LABELS), training(kind)
    assert abs(alone.model[0].weight - taught.model[0].weight).max() > 1e-4  # steps of Adam are some 1e-2


def value_and_slope(loss, student, teacher):
    student = student.clone().requires_grad_()
    value = loss(student, teacher)
    value.backward()
    return float(value.detach()), float(abs(student.grad).max())


@pytest.mark.parametrize("kind", BY_SAMPLE)
def test_a_student_that_is_its_teacher_has_nothing_to_learn(kind):
    value, slope = value_and_slope(study.LOSSES[kind], predictions(), predictions())
    assert abs(value) < ROUNDING
    assert slope < ROUNDING


@pytest.mark.parametrize("kind", BY_BATCH)
def test_entropy_leaves_such_a_student_a_cost_and_a_slope(kind):
    """Both vanish with epsilon, as the plan comes to move nothing."""
    value, slope = value_and_slope(study.LOSSES[kind], predictions(), predictions())
    assert value > 1e-3
    assert slope > 1e-5
    cols = study.LOSSES[kind].keywords["cols"] if kind == study.ELASTIC else study.Fixed()
    sharp = partial(study.sinkd_loss, cols=cols, epsilon=1e-3)
    value, slope = value_and_slope(sharp, predictions(), predictions())
    assert abs(value) < ROUNDING
    assert slope < ROUNDING


@pytest.mark.parametrize("kind", [*BY_SAMPLE, *BY_BATCH])
def test_losses_of_batches_do_not_see_which_sample_is_which(kind):
    student, teacher = predictions(), predictions().roll(1, dims=1)
    loss = study.LOSSES[kind]
    kept = float(loss(student, teacher)), float(loss(student.flip(0), teacher))
    assert (kept[0] == pytest.approx(kept[1], rel=1e-9)) == (kind in BY_BATCH)


@pytest.mark.parametrize(("kind", "share"), [("KL + SinKD", 1 / 20), ("KL + SinKD / 1000", 1e-3)])
def test_sums_of_losses_have_the_shares_that_they_are_called_by(kind, share):
    student, teacher = predictions(), predictions().roll(1, dims=1)
    added = float(study.LOSSES[kind](student, teacher)) - float(study.kl_loss(student, teacher))
    assert added == pytest.approx(share * float(study.sinkd_loss(student, teacher)), rel=1e-9)


def test_mails_are_words_of_length_one_and_can_be_told(some_mails):
    items = study.data("mails", 10_000)
    assert items.inputs.shape == (200, study.WORDS)
    torch.testing.assert_close(items.inputs.norm(dim=1), torch.ones(200))
    run = study.one_run("mails: KL", 3, study.QUICK._replace(teacher=60, student=60))
    assert run["teacher"] == 1
    assert run["weight"] in study.WEIGHTS
    alone = study.one_run(f"mails: {study.LABELS}", 3, study.QUICK)
    assert (alone["weight"], alone["split"]) == (0, run["split"])
