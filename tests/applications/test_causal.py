"""Causal weights: no look ahead, to the last bit; the update against loops in NumPy."""

import numpy as np
import pytest
from scipy.special import logsumexp, softmax

from elastic_ot.applications.attention import elastic_attention
from elastic_ot.applications.causal import causal_weights
from helpers.array_libraries import library

LIBRARIES = ["numpy", "array_api_strict", "torch", "jax"]


def loop(scores, rounds, tau=1.0, epsilon=1.0, mask=None):
    """The update entry by entry, for one matrix."""
    n = len(scores)
    allowed = np.tril(np.ones((n, n), bool)) if mask is None else np.tril(mask)
    potentials = np.zeros((n, n))
    weights = np.zeros((n, n))
    for r in range(rounds):
        f = np.zeros(n)
        for i in range(n):
            see = allowed[i]
            if see.any():
                f[i] = -epsilon * logsumexp((scores[i, see] + potentials[i, see]) / epsilon)
        for i, j in zip(*np.nonzero(allowed), strict=True):
            weights[i, j] = np.exp((scores[i, j] + f[i] + potentials[i, j]) / epsilon)
        if r == rounds - 1:
            return weights
        for i, j in zip(*np.nonzero(allowed), strict=True):
            past = [p for p in range(i + 1) if allowed[p, j]]
            target = sum(1 / allowed[p].sum() for p in past)
            found = logsumexp([(scores[p, j] + f[p]) / epsilon for p in past])
            potentials[i, j] = tau * epsilon * (np.log(target) - found)


@pytest.mark.parametrize("name", LIBRARIES)
@pytest.mark.parametrize("options", [{}, {"lam": 0.4}, {"rho": 0.5}, {"rho": np.inf}], ids=str)
def test_weights_are_those_of_the_loop(options, name):
    lib = library(name)
    scores = np.random.default_rng(0).normal(size=(2, 7, 7))
    rho = options.get("rho")
    tau = options.get("lam", 1.0) if rho is None else 1.0 if np.isinf(rho) else rho / (rho + 0.8)
    weights = lib.read(causal_weights(lib.make(scores), rounds=4, epsilon=0.8, **options))
    expected = np.stack([loop(s, 4, tau, 0.8) for s in scores])
    np.testing.assert_allclose(weights, expected, rtol=1e-12 if weights.dtype == np.float64 else 1e-5)


def test_a_mask_holds_and_a_query_with_nothing_left_has_weights_0():
    rng = np.random.default_rng(1)
    scores, mask = rng.normal(size=(6, 6)), rng.random((6, 6)) < 0.6
    mask[3] = False
    weights = causal_weights(scores, mask=mask)
    np.testing.assert_allclose(weights, loop(scores, 5, mask=mask), rtol=1e-12)
    assert (weights[3] == 0).all()


def test_one_round_and_lam_0_are_the_causal_softmax():
    scores = np.random.default_rng(2).normal(size=(5, 5))
    expected = softmax(np.where(np.tril(np.ones((5, 5))) > 0, scores, -np.inf), axis=1)
    for options in ({"rounds": 1}, {"lam": 0.0}):
        np.testing.assert_allclose(causal_weights(scores, **options), expected, rtol=1e-14)


def test_equal_scores_are_balanced_already():
    weights = causal_weights(np.zeros((6, 6)))
    np.testing.assert_allclose(weights, np.tril(np.ones((6, 6))) / np.arange(1, 7)[:, None], rtol=1e-13)


def test_a_sink_is_balanced_away():
    scores = np.zeros((64, 64))
    scores[:, 0] = 5.0  # softmax gives it exp(5) / (exp(5) + i): most of everything
    share = [causal_weights(scores, lam=lam)[:, 0].mean() for lam in (0.0, 0.5, 1.0)]
    uniform = (1.0 / np.arange(1, 65)).mean()
    assert share[0] > 0.8
    assert share[0] > share[1] > share[2]
    assert share[2] < 1.5 * uniform


def test_every_head_has_its_own_strength():
    scores = np.random.default_rng(3).normal(size=(2, 3, 5, 5))
    together = causal_weights(scores, lam=np.array([0.0, 0.5, 1.0]))
    for head, lam in enumerate((0.0, 0.5, 1.0)):
        np.testing.assert_allclose(together[:, head], causal_weights(scores[:, head], lam=lam), rtol=1e-13)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", ["numpy", "torch", "jax"])
def test_a_token_changes_nothing_before_it(name, dtype):
    lib = library(name)
    if name == "jax" and dtype == np.float64:
        import jax

        with jax.enable_x64(True):
            check_no_leak(lib, dtype)
    else:
        check_no_leak(lib, dtype)


def check_no_leak(lib, dtype):
    rng = np.random.default_rng(4)
    q, k, v = rng.normal(size=(3, 2, 37, 8)).astype(dtype)
    before = attend(lib, q, k, v)
    assert before.dtype == dtype
    for t in (0, 1, 16, 35, 36):
        changed = [x.copy() for x in (q, k, v)]
        for x in changed:
            x[:, t] += 100 * rng.normal(size=8).astype(dtype)
        after = attend(lib, *changed)
        assert np.abs(after[:, :t] - before[:, :t]).max(initial=0.0) == 0.0
        assert (after[:, t] != before[:, t]).any()


def attend(lib, *inputs):
    return lib.read(elastic_attention(*map(lib.make, inputs), lam=0.9, causal=True, iterations=6))


def test_what_is_above_the_diagonal_is_not_read():
    scores = np.random.default_rng(5).normal(size=(6, 6))
    expected = causal_weights(scores)
    for anything in (np.inf, -np.inf, np.nan, 1e300):
        changed = np.where(np.tril(np.ones((6, 6))) > 0, scores, anything)
        np.testing.assert_array_equal(causal_weights(changed), expected)


@pytest.mark.parametrize(
    ("scores", "options", "named"),
    [
        (np.ones((3, 4)), {}, r"scores has shape \(3, 4\)"),
        (np.ones((3, 3)), {"rounds": 0}, "rounds is 0"),
        (np.ones((3, 3)), {"lam": 1.5}, "lam is 1.5"),
        (np.ones((3, 3)), {"lam": 0.5, "rho": 1.0}, "give lam or rho"),
    ],
)
def test_bad_input_is_refused_by_name(scores, options, named):
    with pytest.raises(ValueError, match=named):
        causal_weights(scores, **options)


@pytest.mark.parametrize("name", ["b", "n_half_steps", "tol", "grad", "null_score"])
def test_causal_attention_names_the_options_that_it_has_not(name):
    x = np.ones((3, 4))
    with pytest.raises(ValueError, match=f"leave {name} out"):
        elastic_attention(x, x, x, causal=True, lam=0.5, **{name: 3})
