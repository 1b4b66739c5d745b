"""The study of trained stacks in small: its task can be solved, its kinds begin alike, columns are balanced."""

import importlib
from itertools import pairwise

import numpy as np
import pytest

from helpers.array_libraries import library

library("torch")
pytest.importorskip("matplotlib")
torch = importlib.import_module("torch")
stacks = importlib.import_module("docs.gallery.studies.study_trained_stacks")
collapse = importlib.import_module("docs.gallery.studies.study_collapse")
ROUNDING = 1e-5
"""Of a sum of at most 24 numbers of size 1 in single precision, and then some."""
UNTRAINED = stacks.Scale(held_out=4, steps=0, skip_steps=0)
PLAIN = [name for name, stack in stacks.STACKS.items() if not stack.skips]


@pytest.mark.parametrize("stack", stacks.STACKS)
def test_kinds_of_a_seed_share_split_and_first_parameters(stack):
    first, *others = (stacks.Training(stack, kind, 3, UNTRAINED, 1e-2) for kind in stacks.KINDS)
    for other in others:
        assert torch.equal(first.order, other.order)
        assert torch.equal(first.test.symbols, other.test.symbols)
        for one, same in zip(first.model.parameters(), other.model.parameters(), strict=True):
            assert torch.equal(one, same)
    splits = [stacks.one_run(f"{stack}: {kind}", 3, UNTRAINED)["split"] for kind in stacks.KINDS]
    assert len(set(splits)) == 1
    assert stacks.one_run(f"{stack}: {stacks.BASE}", 4, UNTRAINED)["split"] != splits[0]


def test_an_answer_is_the_symbol_at_another_place():
    order = torch.randperm(stacks.PLACES, generator=torch.Generator().manual_seed(0))
    lists = stacks.draw_lists(order, 5, torch.Generator().manual_seed(1))
    for place, source in enumerate(order.tolist()):
        assert torch.equal(lists.answers[:, place], lists.symbols[:, source])


def by_hand(stack, kind, order):
    """A symbol is one of the first coordinates and a place one of the others; the first layer permutes, others do not.

    A query is the place that is asked for, so large that the weights are those of a permutation.
    """
    model = stacks.Model(stacks.STACKS[stack], stacks.KINDS[kind])
    basis = torch.eye(stacks.WIDTH)
    symbols, places = slice(stacks.SYMBOLS), slice(stacks.SYMBOLS, stacks.SYMBOLS + stacks.PLACES)
    with torch.no_grad():
        model.embed.weight.copy_(basis[symbols])
        model.position.copy_(basis[places])
        for number, layer in enumerate(model.layers):
            asked = order if number == 0 else torch.arange(stacks.PLACES)
            for parameter in layer.parameters():
                parameter.zero_()
            layer.to_query[places, places] = 100 * torch.eye(stacks.PLACES)[asked]
            layer.to_key[places, places] = torch.eye(stacks.PLACES)
            layer.to_value.copy_(basis)
        model.read.weight.copy_(100 * basis[symbols])
        model.read.bias.zero_()
    return model


@pytest.mark.parametrize("kind", stacks.KINDS)
@pytest.mark.parametrize("stack", PLAIN)
def test_a_hard_permutation_solves_the_task_at_every_depth(stack, kind):
    trained = stacks.Training(stack, kind, 0, UNTRAINED, 1e-2)
    assert trained.validation() < -1
    trained.model = by_hand(stack, kind, trained.order)
    # the scores of a place are some hundreds above those of others, and so are the logits of a symbol
    assert trained.validation() > -ROUNDING
    measured = trained.measure()
    assert measured["accuracy"] == 1
    assert measured["largest column"] == pytest.approx(1, abs=ROUNDING)


def test_a_layer_that_averages_leaves_chance():
    """What collapse costs here: with one token for all places no place knows its answer."""
    trained = stacks.Training("1", stacks.BASE, 0, stacks.Scale(held_out=200, steps=0), 1e-2)
    trained.model = by_hand("1", stacks.BASE, trained.order)
    with torch.no_grad():
        trained.model.layers[0].to_query.zero_()
    measured = trained.measure()
    assert measured["rank of tokens"] == pytest.approx(1, abs=1e-3)
    assert measured["accuracy"] < 0.5


@pytest.mark.parametrize("stack", stacks.STACKS)
def test_balanced_columns_sum_to_one(stack):
    errors = []
    for kind in stacks.KINDS:
        trained = stacks.Training(stack, kind, 0, stacks.Scale(4, 1, 1), 1e-2)
        with torch.no_grad():
            weights = trained.model(trained.test.symbols)[2]
        assert len(weights) == stacks.STACKS[stack].depth
        assert abs(weights.sum(dim=-1) - 1).max() < ROUNDING
        errors.append(float(abs(weights.sum(dim=-2) - 1).mean()))
    assert all(more > less for more, less in pairwise(errors))
    # twenty iterations end on the rows
    assert errors[-1] < 0.02


@pytest.mark.parametrize("skips", [False, True])
def test_skip_connections_add_the_token(skips):
    torch.manual_seed(0)
    stack = stacks.Stack("one", 1, skips)
    model = stacks.Model(stack, 1.0)
    symbols = torch.arange(stacks.PLACES)[None]
    with torch.no_grad():
        given = model.embed(symbols) + model.position
        expected = model.layers[0](given)[0] + (given if skips else 0)
        torch.testing.assert_close(model(symbols)[1], expected, rtol=0, atol=ROUNDING)


def test_layer_norm_is_one_for_both_libraries():
    x = np.random.default_rng(0).normal(2, 3, size=(2, 5, 7))
    found = collapse.layer_norm(x)
    np.testing.assert_allclose(found.mean(axis=-1), 0, atol=1e-12)
    np.testing.assert_allclose((found**2).mean(axis=-1), 1, rtol=1e-12)
    np.testing.assert_allclose(collapse.layer_norm(torch.from_numpy(x)).numpy(), found, rtol=0, atol=1e-12)
    expected = torch.nn.functional.layer_norm(torch.from_numpy(x), (7,), eps=0.0)
    np.testing.assert_allclose(expected.numpy(), found, rtol=0, atol=1e-12)
