"""Blocks sorted over the past, columns aiming at one: against loops, a closed form, and changes of later blocks."""

import numpy as np
import pytest

from elastic_ot.applications.blocks import block_scores, sort_blocks
from elastic_ot.applications.sparse import sparse_attention
from helpers.array_libraries import library

LIBRARIES = ["numpy", "array_api_strict", "torch", "jax"]
ONE = {"causal": True, "causal_columns": "one"}


def drawn(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


def divided(scores, iterations, temperature=0.75, kept=None):
    """Entries of one matrix, divided in turn by sums over the past of their rows and of their columns."""
    n = len(scores)
    kept = np.ones(n, bool) if kept is None else kept
    cells = [(i, j) for i in range(n) for j in range(i) if kept[i] and kept[j]]
    weights = {(i, j): np.exp(scores[i, j] / temperature) for i, j in cells}
    for _ in range(iterations):
        rows = {i: sum(weights[c] for c in cells if c[0] == i) for i in range(n)}
        weights = {(i, j): weights[i, j] / rows[i] for i, j in cells}
        so_far = {(i, j): sum(weights[c] for c in cells if c[1] == j and c[0] <= i) for i, j in cells}
        weights = {cell: weights[cell] / so_far[cell] for cell in cells}
    found = np.zeros((n, n))
    for cell, weight in weights.items():
        found[cell] = weight
    return found


@pytest.mark.parametrize("name", LIBRARIES)
@pytest.mark.parametrize("iterations", [1, 7])
def test_weights_are_divided_by_the_sums_of_the_past(iterations, name):
    lib = library(name)
    scores, noise = drawn(2, 2, 6, 6)
    options = {"temperature": 0.6, "iterations": iterations, "noise": lib.make(noise), **ONE}
    found = lib.read(sort_blocks(lib.make(scores), **options))
    expected = [divided(one, iterations, 0.6) for one in scores + noise]
    np.testing.assert_allclose(found, expected, rtol=1e-12 if found.dtype == np.float64 else 2e-5)


def test_a_block_that_is_masked_takes_no_part():
    scores, kept = drawn(6, 6), np.array([True, True, False, True, False, True])
    found = sort_blocks(scores, block_mask=kept, **ONE)
    np.testing.assert_allclose(found, divided(scores, 7, kept=kept), rtol=1e-12)
    assert (found[~kept] == 0).all()
    assert (found[:, ~kept] == 0).all()


@pytest.mark.parametrize("iterations", [1, 7, 50])
def test_three_blocks_have_a_closed_form(iterations):
    """The ratio r of the two entries of the last row becomes r / (1 + 2 r) in every iteration."""
    scores = drawn(3, 3)
    ratio = np.exp((scores[2, 0] - scores[2, 1]) / 0.75)
    expected = [[0, 0, 0], [1, 0, 0], [1 / (1 / ratio + 2 * iterations), 1, 0]]
    np.testing.assert_allclose(sort_blocks(scores, iterations=iterations, **ONE), expected, rtol=1e-12)


def test_many_iterations_bring_the_block_before():
    found = sort_blocks(drawn(5, 5), iterations=20_000, **ONE)
    # what else there is falls as 1 / iterations
    np.testing.assert_allclose(found, np.eye(5, k=-1), rtol=0, atol=1e-3)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", ["numpy", "torch"])
@pytest.mark.parametrize("columns", ["uniform", "one"])
def test_a_later_block_changes_no_earlier_row(columns, name, dtype):
    lib = library(name)
    scores = drawn(2, 9, 9).astype(dtype)

    def sort(values):
        return lib.read(sort_blocks(lib.make(values), causal=True, causal_columns=columns))

    before = sort(scores)
    assert before.dtype == dtype
    for t in (2, 5, 8):
        for height in (1, 1e4):
            changed = scores.copy()
            changed[:, t] += height * drawn(9, seed=1).astype(dtype)
            changed[:, :, t] -= height
            after = sort(changed)
            np.testing.assert_array_equal(after[:, :t], before[:, :t])
            assert (after[:, t, :t] != before[:, t, :t]).any()


def test_what_is_no_past_is_not_read():
    scores = drawn(6, 6)
    expected = sort_blocks(scores, **ONE)
    for anything in (np.inf, -np.inf, np.nan, 1e300):
        changed = np.where(np.tri(6, k=-1) > 0, scores, anything)
        np.testing.assert_array_equal(sort_blocks(changed, **ONE), expected)


@pytest.mark.parametrize("combine", ["concat", "sum"])
def test_a_token_changes_nothing_before_it(combine):
    q, k, v = drawn(3, 2, 30, 4).astype(np.float32)

    def out(q, k, v):
        scores = block_scores(q, k, 4, causal=True)
        return sparse_attention(q, k, v, scores, block=4, combine=combine, **ONE)

    before = out(q, k, v)
    for t in (0, 4, 17, 29):
        changed = [x.copy() for x in (q, k, v)]
        for x in changed:
            x[:, t] += 100
        after = out(*changed)
        np.testing.assert_array_equal(after[:, :t], before[:, :t])
        assert (after[:, t] != before[:, t]).any()


def test_blocks_are_mixed_by_these_weights():
    q, k, v = drawn(3, 12, 3)
    scores = drawn(3, 3, seed=1)
    order = divided(scores, 7)
    mixed_k, mixed_v = (np.einsum("ij,jpd->ipd", order, x.reshape(3, 4, 3)) for x in (k, v))
    found = sparse_attention(q, k, v, scores, block=4, **ONE)
    for t in range(12):
        i = t // 4
        local = slice(4 * i, t + 1)
        keys = np.concatenate([mixed_k[i], k[local]] if i else [k[local]])
        values = np.concatenate([mixed_v[i], v[local]] if i else [v[local]])
        weights = np.exp(keys @ q[t] / np.sqrt(3))
        np.testing.assert_allclose(found[t], weights @ values / weights.sum(), rtol=1e-11)


def test_padding_changes_nothing():
    q, k, v = drawn(3, 2, 24, 3)
    mask = np.arange(24) < 14

    def attended(length, key_mask=None):
        short = [x[:, :length] for x in (q, k, v)]
        scores = block_scores(short[0], short[1], 4, causal=True, key_mask=key_mask)
        return sparse_attention(*short, scores, block=4, key_mask=key_mask, **ONE)

    # the rounding of sums in another order
    np.testing.assert_allclose(attended(24, mask)[:, :14], attended(14), rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"causal": True, "causal_columns": "two"}, "causal_columns is 'two'; choose from 'uniform', 'one'"),
        ({"causal_columns": "one"}, "causal_columns is 'one' and causal is False"),
    ],
)
def test_bad_options_are_refused_by_name(options, named):
    q, k, v = drawn(3, 8, 2)
    with pytest.raises(ValueError, match=named):
        sort_blocks(np.zeros((2, 2)), **options)
    with pytest.raises(ValueError, match=named):
        sparse_attention(q, k, v, np.zeros((2, 2)), block=4, **options)
