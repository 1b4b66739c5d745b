"""Sink metrics of matrices whose metrics are known."""

import numpy as np
import pytest

from elastic_ot.applications.attention import attention_weights
from elastic_ot.applications.sinks import column_kl, effective_rank, gini, importance, sink_metrics, sink_rate
from helpers.array_libraries import library

LIBRARIES = ["numpy", "read-only numpy", "array_api_strict", "torch", "jax"]


@pytest.mark.parametrize("name", LIBRARIES)
def test_a_single_sink(name):
    lib = library(name)
    weights = np.zeros((2, 3, 8, 8))
    weights[..., 2] = 1.0
    found = sink_metrics(lib.make(weights), position=2)
    expected = np.zeros((2, 3, 8))
    expected[..., 2] = 1.0
    np.testing.assert_allclose(lib.read(found.importance), expected)
    assert found.sink_rate == 1.0
    assert sink_metrics(lib.make(weights)).sink_rate == 0.0  # at the first key
    assert sink_metrics(lib.make(weights), position=None).sink_rate == pytest.approx(1 / 8)
    np.testing.assert_allclose(lib.read(found.max_over_mean), 8.0)
    np.testing.assert_allclose(lib.read(found.entropy), 0.0)
    np.testing.assert_allclose(lib.read(found.gini), 7 / 8)
    np.testing.assert_allclose(lib.read(found.kl), 8 * np.log(8), rtol=1e-6)
    np.testing.assert_allclose(lib.read(found.effective_rank), 1.0, rtol=1e-5)


@pytest.mark.parametrize("name", LIBRARIES)
def test_uniform_weights_and_permutations_have_no_sink(name):
    lib = library(name)
    permutation = np.eye(8)[np.random.default_rng(0).permutation(8)]
    for weights, rank in ((np.full((8, 8), 1 / 8), 1.0), (permutation, 8.0)):
        found = sink_metrics(lib.make(weights))
        assert found.sink_rate == 0.0
        np.testing.assert_allclose(lib.read(found.max_over_mean), 1.0)
        np.testing.assert_allclose(lib.read(found.entropy), np.log(8), rtol=1e-6)
        np.testing.assert_allclose(lib.read(found.gini), 0.0, atol=1e-7)
        np.testing.assert_allclose(lib.read(found.kl), 0.0, atol=1e-7)
        # singular values that are rounding count for their logarithm
        np.testing.assert_allclose(lib.read(found.effective_rank), rank, rtol=1e-4)


def test_formulas_entry_by_entry():
    rng = np.random.default_rng(1)
    weights = rng.dirichlet(np.ones(7), size=(3, 5))
    b = rng.random(7) + 0.1
    found = sink_metrics(weights, b=b, threshold=0.15, position=None)
    for head, a in enumerate(weights):
        c = a.sum(axis=0)
        p = c / c.sum()
        np.testing.assert_allclose(found.importance[head], c / 5, rtol=1e-14)
        np.testing.assert_allclose(found.max_over_mean[head], c.max() / c.mean(), rtol=1e-14)
        np.testing.assert_allclose(found.entropy[head], -(p * np.log(p)).sum(), rtol=1e-13)
        np.testing.assert_allclose(found.gini[head], np.abs(c[:, None] - c).sum() / (2 * 49 * c.mean()), rtol=1e-12)
        np.testing.assert_allclose(found.kl[head], (c * np.log(c / b) - c + b).sum(), rtol=1e-12)
        s = np.linalg.svd(a, compute_uv=False)
        s = s / s.sum()
        np.testing.assert_allclose(found.effective_rank[head], np.exp(-(s * np.log(s)).sum()), rtol=1e-12)
    assert found.sink_rate == pytest.approx((weights.mean(axis=1) > 0.15).mean())


def test_causal_importance_counts_the_queries_that_see_a_key():
    weights = np.tril(np.ones((6, 6))) / np.arange(1, 7)[:, None]
    expected = [sum(1 / (i + 1) for i in range(k, 6)) / (6 - k) for k in range(6)]
    np.testing.assert_allclose(importance(weights, causal=True), expected, rtol=1e-14)
    sink = np.zeros((6, 6))
    sink[:, 0] = 1.0
    assert sink_rate(sink, causal=True) == 1.0
    assert sink_rate(sink, position=None, causal=True) == pytest.approx(1 / 6)
    # every query on itself: the last key is seen by one query, which gives it all
    np.testing.assert_allclose(importance(np.eye(6), causal=True), 1 / np.arange(6, 0, -1))


def test_the_rate_is_a_share_of_layers_and_heads_at_a_position():
    """As it is defined for language models: the first token, a threshold of 0.3."""
    weights = np.full((2, 2, 4, 4), 0.25)
    weights[1, 0] = [1.0, 0.0, 0.0, 0.0]
    weights[0, 0] = [0.0, 0.5, 0.5, 0.0]
    assert [sink_rate(weights, position=k) for k in (0, 1, 2, 3)] == [0.25, 0.25, 0.25, 0.0]
    assert sink_rate(weights) == 0.25
    assert sink_rate(weights, threshold=0.2) == 0.75
    assert sink_rate(weights, position=None) == pytest.approx(3 / 16)


def test_a_position_that_there_is_not_is_refused():
    for position in (4, -1):
        with pytest.raises(ValueError, match=f"position is {position} and there are 4 keys"):
            sink_rate(np.eye(4), position=position)
    with pytest.raises(TypeError, match="position is 'first'"):
        sink_metrics(np.eye(4), position="first")


def test_attention_to_keys_without_a_target_is_infinitely_far():
    assert column_kl(np.array([1.0, 0.5]), np.array([1.0, 0.0])) == np.inf
    assert column_kl(np.array([1.0, 0.0]), np.array([1.0, 0.0])) == 0.0


def test_balancing_removes_a_sink_and_a_null_key_is_no_sink():
    scores = np.random.default_rng(2).normal(size=(16, 16))
    scores[:, 0] += 4.0
    kls = [float(sink_metrics(attention_weights(scores, lam=lam, tol=1e-10)).kl) for lam in (0.0, 0.5, 0.9, 1.0)]
    assert kls[0] > 1.0
    assert np.all(np.diff(kls) < 0)
    assert kls[-1] < 1e-9
    assert sink_rate(attention_weights(scores, lam=0.0)) > 0
    assert sink_rate(attention_weights(scores, lam=0.9)) == 0
    assert sink_rate(attention_weights(scores, lam=0.9, null_score=4.0)) == 0


def test_gini_of_one_owner():
    assert float(gini([0.0] * 9 + [3.0])) == pytest.approx(0.9)


def test_effective_rank_counts_equal_directions():
    assert float(effective_rank(np.kron(np.eye(3), np.full((2, 2), 0.5)))) == pytest.approx(3.0, rel=1e-6)


@pytest.mark.parametrize(("shape", "options"), [((3,), {}), ((0, 3), {}), ((2, 3), {"causal": True})])
def test_what_are_no_weights_is_refused(shape, options):
    with pytest.raises(ValueError, match=r"weights has shape \("):
        sink_metrics(np.ones(shape), **options)


def test_weights_that_are_no_numbers_are_named():
    with pytest.raises(ValueError, match=r"weights\[0, 1\] is nan"):
        sink_metrics(np.array([[1.0, np.nan], [0.5, 0.5]]))
