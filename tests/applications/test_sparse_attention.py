"""Sparse Sinkhorn attention and attention through pivots, against plain NumPy in float64."""

import tracemalloc

import numpy as np
import pytest
from scipy.special import logsumexp, softmax

from elastic_ot.applications.blocks import block_scores, sort_blocks
from elastic_ot.applications.low_rank import low_rank_attention
from elastic_ot.applications.sparse import sparse_attention
from helpers.array_libraries import library

LIBRARIES = ["numpy", "array_api_strict", "torch", "jax"]


def sequences(*shape, seed=0, count=3):
    return np.random.default_rng(seed).normal(size=(count, *shape))


def soft_permutation(scores, temperature=0.75, iterations=7):
    """Row and column normalisations of logarithms, columns last."""
    logits = scores / temperature
    for _ in range(iterations):
        logits = logits - logsumexp(logits, axis=-1, keepdims=True)
        logits = logits - logsumexp(logits, axis=-2, keepdims=True)
    return np.exp(logits)


def attend(q, k, v):
    return softmax(q @ k.T / np.sqrt(q.shape[-1]), axis=-1) @ v


def gathered(q, k, v, source, block, combine="concat"):
    """Every query block attends to block source[i], where there is one, and to its own."""
    out = []
    for i, j in enumerate(source):
        here = slice(i * block, (i + 1) * block)
        blocks = [slice(j * block, (j + 1) * block)] if j is not None else []
        blocks.append(here)
        if combine == "concat":
            out.append(attend(q[here], np.concatenate([k[x] for x in blocks]), np.concatenate([v[x] for x in blocks])))
        else:
            out.append(sum(attend(q[here], k[x], v[x]) for x in blocks))
    return np.concatenate(out)


def hard(source):
    scores = np.zeros((len(source), len(source)))
    scores[np.arange(len(source)), source] = 200.0
    return scores


@pytest.mark.parametrize("name", LIBRARIES)
@pytest.mark.parametrize("iterations", [1, 7])
def test_the_soft_permutation_is_so_many_normalisations(iterations, name):
    lib = library(name)
    scores, noise = sequences(2, 5, 5, count=2)
    found = lib.read(sort_blocks(lib.make(scores), iterations=iterations, noise=lib.make(noise), temperature=0.6))
    expected = soft_permutation(scores + noise, 0.6, iterations)
    np.testing.assert_allclose(found, expected, rtol=1e-12 if found.dtype == np.float64 else 2e-5)
    np.testing.assert_allclose(found.sum(axis=-2), 1.0, rtol=1e-5)


@pytest.mark.parametrize("name", LIBRARIES)
@pytest.mark.parametrize("combine", ["concat", "sum"])
def test_a_hard_permutation_attends_to_the_gathered_blocks(combine, name):
    lib = library(name)
    q, k, v = sequences(20, 3)
    source = [2, 0, 4, 1, 3]
    found = sparse_attention(*map(lib.make, (q, k, v, hard(source))), block=4, combine=combine)
    expected = gathered(q, k, v, source, 4, combine)
    found = lib.read(found)
    # what the other blocks keep is exp(-200 / 0.75)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-13 if found.dtype == np.float64 else 1e-5)


def test_a_low_temperature_makes_the_permutation_hard():
    q, k, v = sequences(12, 3)
    source = [1, 2, 0]
    found = sparse_attention(q, k, v, hard(source) / 200, block=4, temperature=1 / 40, iterations=20)
    # what is left elsewhere is of the order exp(-40)
    np.testing.assert_allclose(found, gathered(q, k, v, source, 4), rtol=0, atol=1e-13)


def test_soft_blocks_are_mixtures_of_keys_and_of_values():
    q, k, v = sequences(2, 12, 3)
    scores = sequences(2, 4, 4, count=1)[0]
    found = sparse_attention(q, k, v, scores, block=3, iterations=3)
    for one in range(2):
        order = soft_permutation(scores[one], iterations=3)
        mixed_k, mixed_v = (np.einsum("ij,jpd->ipd", order, x[one].reshape(4, 3, 3)) for x in (k, v))
        for i in range(4):
            here = slice(3 * i, 3 * i + 3)
            expected = attend(
                q[one, here], np.concatenate([mixed_k[i], k[one, here]]), np.concatenate([mixed_v[i], v[one, here]])
            )
            np.testing.assert_allclose(found[one, here], expected, rtol=1e-11)


@pytest.mark.parametrize("sortcut", [1, 3, 4])
def test_sortcut_attends_to_the_first_sorted_blocks(sortcut):
    q, k, v = sequences(12, 3)
    scores = sequences(4, 4, count=1)[0]
    order = soft_permutation(scores)
    mixed_k, mixed_v = (np.einsum("ij,jpd->ipd", order, x.reshape(4, 3, 3)) for x in (k, v))
    expected = attend(q, mixed_k[:sortcut].reshape(-1, 3), mixed_v[:sortcut].reshape(-1, 3))
    found = sparse_attention(q, k, v, scores, block=3, sortcut=sortcut)
    np.testing.assert_allclose(found, expected, rtol=1e-11)


@pytest.mark.parametrize("combine", ["concat", "sum"])
@pytest.mark.parametrize("causal", [False, True])
def test_padding_changes_nothing(causal, combine):
    """A length that is no multiple of the block, and a mask, are the same as a shorter sequence."""
    q, k, v = sequences(2, 24, 3)
    options = {"block": 4, "causal": causal, "combine": combine}

    def attended(length, key_mask=None):
        short = [x[:, :length] for x in (q, k, v)]
        scores = block_scores(short[0], short[1], 4, causal=causal, key_mask=key_mask)
        return sparse_attention(*short, scores, key_mask=key_mask, **options)

    for length in (16, 14):
        mask = np.arange(24) < length
        whole = attended(length)
        assert whole.shape == (2, length, 3)
        # the rounding of sums in another order
        np.testing.assert_allclose(attended(24, mask)[:, :length], whole, rtol=0, atol=1e-12)
    assert (attended(24, np.arange(24) < 16)[:, 16:] == 0).all()


def test_masked_keys_are_not_attended_to():
    q, k, v = sequences(12, 3)
    mask = np.random.default_rng(1).random(12) < 0.6
    scores = sequences(3, 3, count=1)[0]
    found = sparse_attention(q, k, v, scores, block=4, key_mask=mask)
    changed = [np.where(mask[:, None], x, 1e3) for x in (k, v)]
    np.testing.assert_allclose(sparse_attention(q, *changed, scores, block=4, key_mask=mask), found, rtol=1e-12)
    source = [2, 0, 1]
    permuted = sparse_attention(q, k, v, hard(source), block=4, key_mask=mask)
    for i, j in enumerate(source):
        seen = [x for b in (j, i) for x in range(4 * b, 4 * b + 4) if mask[x]]
        here = slice(4 * i, 4 * i + 4)
        np.testing.assert_allclose(permuted[here], attend(q[here], k[seen], v[seen]), rtol=0, atol=1e-13)


def test_a_soft_mixture_is_the_mean_of_its_real_keys_and_counts_for_their_share():
    q, k, v = sequences(12, 3)
    scores = sequences(3, 3, count=1)[0]
    mask = np.array([True, True, False, True, False, True, True, True, True, True, False, False])
    order = soft_permutation(scores)
    weights = order[:, :, None] * mask.reshape(3, 4)
    share = weights.sum(axis=1) / order.sum(axis=1)[:, None]
    found = sparse_attention(q, k, v, scores, block=4, key_mask=mask)
    for i in range(3):
        here = slice(4 * i, 4 * i + 4)
        real = mask[here]
        with np.errstate(divide="ignore", invalid="ignore"):
            # as without a mask, times the sum of the row: 1 but for the columns, which are normalised last
            means = [np.einsum("jp,jpd->pd", weights[i], x.reshape(3, 4, 3)) / share[i, :, None] for x in (k, v)]
        some = share[i] > 0
        keys, values = (np.concatenate([m[some], x[here][real]]) for m, x in zip(means, (k, v), strict=True))
        logits = q[here] @ keys.T / np.sqrt(3) + np.log(np.append(share[i, some], np.ones(real.sum())))
        np.testing.assert_allclose(found[here], softmax(logits, axis=-1) @ values, rtol=0, atol=1e-12)


def test_nothing_but_padding_gives_0():
    q, k, v = sequences(2, 8, 3)
    mask = np.array([[True] * 8, [False] * 8])
    found = sparse_attention(q, k, v, np.zeros((2, 2)), block=4, key_mask=mask)
    assert (found[1] == 0).all()
    np.testing.assert_allclose(found[0], sparse_attention(q[0], k[0], v[0], np.zeros((2, 2)), block=4), rtol=1e-12)


@pytest.mark.parametrize("options", [{}, {"combine": "sum"}, {"sortcut": 3}, {"causal": True}], ids=str)
def test_blocks_of_one_token_and_padding_that_is_no_number(options):
    q, k, v = sequences(6, 3)
    scores, mask = sequences(6, 6, count=1)[0], np.array([True] * 4 + [False] * 2)
    found = sparse_attention(q, k, v, scores, block=1, key_mask=mask, **options)
    short = sparse_attention(q[:4], k[:4], v[:4], scores[:4, :4], block=1, **options)
    np.testing.assert_allclose(found[:4], short, rtol=1e-12)
    k[4:] = v[4:] = np.nan
    np.testing.assert_array_equal(sparse_attention(q, k, v, scores, block=1, key_mask=mask, **options), found)
    if options.get("sortcut"):
        order = soft_permutation(scores[:4, :4])[:3]
        np.testing.assert_allclose(short, attend(q[:4], order @ k[:4], order @ v[:4]), rtol=1e-11)


def test_causal_blocks_come_from_the_past():
    order = sort_blocks(sequences(5, 5, count=1)[0], causal=True)
    assert (order[np.triu_indices(5)] == 0).all()
    np.testing.assert_allclose(order[1:].sum(axis=1), 1.0, rtol=1e-14)


def test_a_causal_hard_sort_attends_to_the_gathered_block_and_the_local_past():
    q, k, v = sequences(16, 3)
    source = [0, 0, 1, 0]
    found = sparse_attention(q, k, v, hard(source), block=4, causal=True, iterations=1)
    for t in range(16):
        i = t // 4
        seen = [*range(4 * source[i], 4 * source[i] + 4)] if i else []
        seen += range(4 * i, t + 1)
        np.testing.assert_allclose(found[t], attend(q[t : t + 1], k[seen], v[seen])[0], rtol=1e-12)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", ["numpy", "torch"])
@pytest.mark.parametrize("combine", ["concat", "sum"])
def test_a_token_changes_nothing_before_it(combine, name, dtype):
    lib = library(name)
    q, k, v = sequences(2, 30, 4).astype(dtype)

    def out(*inputs):
        q, k, v = map(lib.make, inputs)
        scores = block_scores(q, k, 4, causal=True)
        return lib.read(sparse_attention(q, k, v, scores, block=4, causal=True, combine=combine))

    before = out(q, k, v)
    assert before.dtype == dtype
    for t in (0, 3, 4, 17, 28, 29):
        changed = [x.copy() for x in (q, k, v)]
        for x in changed:
            x[:, t] += 100
        after = out(*changed)
        assert np.abs(after[:, :t] - before[:, :t]).max(initial=0.0) == 0.0
        assert (after[:, t] != before[:, t]).any()


@pytest.mark.parametrize("summary", ["mean", "sum"])
def test_block_scores_are_products_of_summaries(summary):
    q, k = sequences(10, 4, count=2)
    ends = [slice(0, 4), slice(4, 8), slice(8, 10)]
    rows, cols = (np.stack([getattr(x[part], summary)(axis=0) for part in ends]) for x in (q, k))
    np.testing.assert_allclose(block_scores(q, k, 4, summary=summary), rows @ cols.T / 2, rtol=1e-13)
    shifted = np.concatenate([np.zeros((1, 4)), rows[:-1]])
    np.testing.assert_allclose(block_scores(q, k, 4, summary=summary, causal=True), shifted @ cols.T / 2, rtol=1e-13)


def test_memory_grows_in_proportion_to_the_length():
    peaks = []
    for length in (2048, 4096):
        q, k, v = sequences(length, 16).astype(np.float32)
        scores = block_scores(q, k, 64)
        sparse_attention(q, k, v, scores, block=64)
        tracemalloc.start()
        sparse_attention(q, k, v, scores, block=64)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    # the sorting of 64 blocks is a hundredth of it
    assert peaks[1] < 2.1 * peaks[0]
    # a few arrays of the scores of two blocks, far from one of all scores
    assert peaks[1] < 0.25 * 4 * 4096**2


BAD = [
    ({"block": 13}, "block is 13.*length 12"),
    ({"block": 0}, "block is 0"),
    ({"block": 4, "sortcut": 4}, "sortcut is 4.*number of blocks 3"),
    ({"block": 4, "sortcut": 1, "causal": True}, "sortcut is 1 and causal"),
    ({"block": 4, "combine": "both"}, "combine is 'both'"),
    ({"block": 3}, r"sort_scores has shape \(3, 3\) and there are 4 blocks"),
    ({"block": 4, "temperature": 0.0}, "temperature is 0.0"),
    ({"block": 4, "iterations": 0}, "iterations is 0"),
    ({"block": 4, "key_mask": np.ones(11, bool)}, r"key_mask has shape \(11,\)"),
]


@pytest.mark.parametrize(("options", "named"), BAD, ids=lambda x: str(x)[:40])
def test_bad_options_are_refused_by_name(options, named):
    q, k, v = sequences(12, 3)
    with pytest.raises(ValueError, match=named):
        sparse_attention(q, k, v, np.zeros((3, 3)), **options)


def test_lengths_and_dtypes_must_agree():
    q, k, v = sequences(12, 3)
    with pytest.raises(ValueError, match=r"q has shape \(8, 3\) and k \(12, 3\)"):
        sparse_attention(q[:8], k, v, np.zeros((3, 3)), block=4)
    with pytest.raises(TypeError, match="key_mask has dtype float64"):
        sparse_attention(q, k, v, np.zeros((3, 3)), block=4, key_mask=np.ones(12))


def low_rank_weights(q, k, pivots, w, iterations, tau=1.0):
    """Both plans by loops that end on the rows, composed."""

    def plan(scores, a, b):
        f, g = np.zeros(len(a)), np.zeros(len(b))
        for step in range(2 * iterations - 1):
            if step % 2 == 0:
                f = np.log(a) - logsumexp(scores + g, axis=1)
            else:
                g = tau * (np.log(b) - logsumexp(scores + f[:, None], axis=0))
        return np.exp(scores + f[:, None] + g)

    n, m, scale = len(q), len(k), 1 / np.sqrt(q.shape[-1])
    first = plan(scale * q @ pivots.T, np.ones(n), n * w)
    second = plan(scale * pivots @ k.T, n * w, np.full(m, n / m))
    return first @ np.diag(1 / (n * w)) @ second


@pytest.mark.parametrize("name", LIBRARIES)
def test_low_rank_attention_is_two_plans_composed(name):
    lib = library(name)
    q, k, v = sequences(9, 3)[0], *sequences(7, 3, count=2, seed=1)
    pivots, w = sequences(4, 3, count=1, seed=2)[0], np.array([0.1, 0.2, 0.3, 0.4])
    for options, tau in (({}, 1.0), ({"lam": 0.5}, 0.5)):
        found = low_rank_attention(*map(lib.make, (q, k, v, pivots)), pivot_weights=lib.make(w), **options)
        expected = low_rank_weights(q, k, pivots, w, 5, tau) @ v
        found = lib.read(found)
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12 if found.dtype == np.float64 else 1e-5)


def test_low_rank_weights_are_doubly_stochastic():
    q, k = sequences(9, 3, count=1)[0], sequences(7, 3, count=1, seed=1)[0]
    pivots = sequences(4, 3, count=1, seed=2)[0]
    weights = low_rank_attention(q, k, np.eye(7), pivots, tol=1e-12)
    np.testing.assert_allclose(weights.sum(axis=1), 1.0, rtol=1e-13)
    np.testing.assert_allclose(weights.sum(axis=0), 9 / 7, rtol=1e-11)
    assert np.linalg.matrix_rank(weights) <= 4


def test_low_rank_padding_is_not_attended_to():
    q, k, v = sequences(2, 8, 3)
    pivots = sequences(4, 3, count=1, seed=2)[0]
    mask = np.arange(8) < 6
    found = low_rank_attention(q, k, np.where(mask[:, None], v, np.nan), pivots, key_mask=mask)
    np.testing.assert_allclose(found, low_rank_attention(q, k[:, :6], v[:, :6], pivots), rtol=0, atol=1e-13)


def test_low_rank_inputs_that_do_not_fit_are_refused():
    q, k, v = sequences(8, 3)
    with pytest.raises(ValueError, match=r"pivots has shape \(4, 2\) and k \(8, 3\)"):
        low_rank_attention(q, k, v, np.ones((4, 2)))
    with pytest.raises(ValueError, match=r"pivot_weights has shape \(3,\) and there are 4"):
        low_rank_attention(q, k, v, np.ones((4, 3)), pivot_weights=np.ones(3) / 3)
    with pytest.raises(ValueError, match=r"key_mask has shape \(7,\)"):
        low_rank_attention(q, k, v, np.ones((4, 3)), key_mask=np.ones(7, bool))
