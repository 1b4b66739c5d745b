"""The study of patches: what is cut is the picture, runs of a seed are pairs, and who sees what the patches ask for."""

import importlib

import numpy as np
import pytest

from helpers.array_libraries import library

library("torch")
for needed in ("matplotlib", "sklearn"):
    pytest.importorskip(needed)
torch = importlib.import_module("torch")
study = importlib.import_module("docs.gallery.studies.study_patches")
SCALE = study.Scale(train=100, held_out=20, test=30, epochs=1)
KINDS = list(study.KINDS)
ROUNDING = 1e-5
"""Of a sum of at most 50 weights in single precision, and then some."""


@pytest.fixture(scope="module")
def drawn():
    generator = np.random.default_rng(0)
    images = generator.integers(0, 256, (170, 28, 28), dtype=np.uint8)
    return study.normalised(study.mnist_digits.Digits(images, generator.integers(10, size=170)))


def trained(drawn, kind):
    return study.Training(drawn, study.TASKS["7"], kind, 0, SCALE, study.RATES[1])


@pytest.mark.parametrize("size", sorted({task.size for task in study.TASKS.values()}))
def test_patches_put_together_are_the_picture(size, drawn):
    pictures, count = drawn.pictures[:2], 28 // size
    cut = study.patches(pictures, size).numpy().reshape(2, count, count, size, size)
    for picture, squares in zip(pictures.numpy(), cut, strict=True):
        assert np.array_equal(np.block([[*row] for row in squares]), picture)


def test_pixels_are_normalised_together(drawn):
    assert abs(float(drawn.pictures.double().mean())) < ROUNDING
    assert float(drawn.pictures.double().std()) == pytest.approx(1, abs=ROUNDING)


def test_a_seed_takes_every_picture_once():
    parts = study.split(170, 0, SCALE)
    assert [len(part) for part in parts] == [SCALE.train, SCALE.held_out, SCALE.test]
    assert len(np.unique(np.concatenate(parts))) == 150
    assert not np.array_equal(parts[0], study.split(170, 1, SCALE)[0])


@pytest.mark.parametrize("task", study.TASKS.values(), ids=list(study.TASKS))
def test_kinds_of_a_seed_begin_alike(task):
    first = {}
    for kind in KINDS:
        torch.manual_seed(3)
        first[kind] = study.Network(kind, task).state_dict()
    for kind in KINDS[1:]:
        assert all(torch.equal(value, first[study.BASE][name]) for name, value in first[kind].items())


def test_runs_of_a_seed_are_pairs(drawn, monkeypatch):
    monkeypatch.setattr(study, "stored", lambda scale: drawn)
    one, other, another = (
        study.one_run(name, seed, SCALE) for name, seed in (("14: softmax", 3), ("14: Sinkhorn", 3), ("14: softmax", 4))
    )
    assert one["split"] == other["split"] != another["split"]
    assert one["validation"][study.RATES.index(one["rate"])] == max(one["validation"])
    assert one["tokens read"] <= 5 + ROUNDING


@pytest.mark.parametrize("kind", KINDS)
def test_rows_of_trained_weights_sum_to_one(kind, drawn):
    network = trained(drawn, kind).network
    with torch.no_grad():
        _, weights = network(drawn.pictures)
    assert weights.shape == (170, 17, 17)
    assert abs(weights.sum(dim=-1) - 1).max() < ROUNDING


def test_columns_are_the_nearer_to_one_the_stronger_the_balance():
    scores = torch.randn(5, 17, 17, generator=torch.Generator().manual_seed(0))
    errors = {kind: float((study.KINDS[kind](scores).sum(dim=-2) - 1).abs().mean()) for kind in KINDS}
    assert errors["Sinkhorn"] < errors["elastic, lam = 0.5"] < errors["softmax"]


@pytest.mark.parametrize("task", ["7", "7-all"])
@pytest.mark.parametrize("kind", KINDS)
def test_what_patches_ask_for_is_lost_on_a_softmax_whose_class_token_is_read(kind, task, drawn):
    torch.manual_seed(0)
    network = study.Network(kind, study.TASKS[task])
    balance = network.weights
    network.weights = lambda scores: balance(torch.cat([scores[:, :1], 3 * scores[:, 1:]], dim=1))
    with torch.no_grad():
        others = network(drawn.pictures)[0]
        network.weights = balance
        logits = network(drawn.pictures)[0]
    assert bool(abs(logits - others).max() < ROUNDING) == (kind == study.BASE and task == "7")


def test_enlarged_digits_have_the_size_of_mnist():
    pictures, kinds = study.stored(study.QUICK)
    assert pictures.shape == (1797, 28, 28)
    large = pictures[:, 2:26, 2:26].unflatten(-1, (8, 3)).unflatten(-3, (8, 3))
    assert torch.equal(large, large[:, :, :1, :, :1].expand(large.shape))
    assert kinds.unique().tolist() == list(range(10))


def test_training_is_reproducible_and_learns(drawn):
    one, other = (trained(drawn, "Sinkhorn").network.state_dict() for _ in range(2))
    assert all(torch.equal(value, other[name]) for name, value in one.items())
    torch.manual_seed(0)
    untrained = study.Network("Sinkhorn", study.TASKS["7"]).state_dict()
    assert all(not torch.equal(value, untrained[name]) for name, value in one.items())
