"""Attention weights with elastic columns, against softmax, POT, SciPy and loops in NumPy."""

import numpy as np
import ot
import pytest
from scipy.optimize import linear_sum_assignment
from scipy.special import logsumexp, softmax

from elastic_ot.applications.attention import attention_weights, damped_weights, elastic_attention, sinkformer_weights
from helpers.array_libraries import library

EPSILON = 0.7
LIBRARIES = ["numpy", "read-only numpy", "array_api_strict", "torch", "jax"]


def scores_of(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


def loop(scores, half_steps, tau=1.0, epsilon=EPSILON, b=None, mask=None, free=None, a=None):
    """Half steps of f, g, f, ... for one problem; tau is 0 in the column `free`."""
    n, m = scores.shape
    a = np.ones(n) if a is None else a
    b = np.full(m, n / m) if b is None else b
    taus = np.full(m, tau)
    if free is not None:
        taus[free] = 0.0
    logits = scores / epsilon
    if mask is not None:
        logits = np.where(mask, logits, -np.inf)
    f, g = np.zeros(n), np.zeros(m)
    with np.errstate(divide="ignore", invalid="ignore"):
        for step in range(half_steps):
            if step % 2 == 0:
                f = np.where(a > 0, np.log(a) - logsumexp(logits + g, axis=1), -np.inf)
            else:
                g = np.where(b > 0, taus * (np.log(b) - logsumexp(logits + f[:, None], axis=0)), -np.inf)
        return np.exp(logits + f[:, None] + g)


@pytest.mark.parametrize("name", LIBRARIES)
def test_lam_0_is_the_softmax(name):
    lib = library(name)
    scores = scores_of(2, 5, 7)
    weights = attention_weights(lib.make(scores), lam=0.0, epsilon=EPSILON)
    assert isinstance(weights, lib.kind)
    # JAX computes in float32
    np.testing.assert_allclose(lib.read(weights), softmax(scores / EPSILON, axis=-1), rtol=0, atol=1e-6)


@pytest.mark.parametrize("shape", [(6, 6), (5, 8)])
def test_lam_1_is_the_plan_of_pot(shape):
    scores = scores_of(*shape)
    n, m = shape
    plan = ot.sinkhorn(np.full(n, 1 / n), np.full(m, 1 / m), -scores, EPSILON, stopThr=1e-14, numItermax=10_000)
    weights = attention_weights(scores, lam=1.0, epsilon=EPSILON, tol=1e-13)
    # POT stops on the change of its marginals
    np.testing.assert_allclose(weights, n * plan, rtol=0, atol=1e-11)


@pytest.mark.parametrize("options", [{"lam": 0.3}, {"lam": 0.8}, {"rho": 2.0}, {"rho": 0.05}], ids=str)
def test_a_key_pays_rho_log_of_its_excess(options):
    scores = scores_of(6, 9, seed=1)
    weights = attention_weights(scores, epsilon=EPSILON, tol=1e-14, **options)
    rho = options.get("rho", EPSILON * options.get("lam", 0.0) / (1 - options.get("lam", 0.0)))
    g = rho * np.log((6 / 9) / weights.sum(axis=0))
    f = EPSILON * np.log(weights) - scores - g
    # what is left of the logarithm depends on the row alone
    np.testing.assert_allclose(f, f.mean(axis=1, keepdims=True) * np.ones(9), rtol=0, atol=1e-10)
    np.testing.assert_allclose(weights.sum(axis=1), 1.0, rtol=1e-13)


@pytest.mark.parametrize("options", [{"lam": 0.4}, {"lam": 1.0}, {"rho": 1.3}, {"rho": np.inf}, {"rho": 0.0}], ids=str)
@pytest.mark.parametrize("name", LIBRARIES)
def test_a_budget_is_so_many_iterations_and_ends_on_the_rows(name, options):
    lib = library(name)
    scores = scores_of(3, 5, 7, seed=2)
    rho = options.get("rho")
    tau = options.get("lam") if rho is None else 1.0 if np.isinf(rho) else rho / (rho + EPSILON)
    for iterations in (1, 4):
        weights = lib.read(attention_weights(lib.make(scores), epsilon=EPSILON, iterations=iterations, **options))
        expected = np.stack([loop(s, 2 * iterations - 1, tau) for s in scores])
        # rounding of a few exponentials, in float32 where the library has no float64
        tight = weights.dtype == np.float64
        np.testing.assert_allclose(weights, expected, rtol=1e-12 if tight else 1e-5)
        np.testing.assert_allclose(weights.sum(axis=-1), 1.0, rtol=1e-13 if tight else 1e-6)


def test_half_steps_are_counted_and_an_even_number_ends_on_the_columns():
    scores = scores_of(5, 7)
    for count in range(1, 7):
        weights = attention_weights(scores, lam=0.6, epsilon=EPSILON, n_half_steps=count)
        np.testing.assert_allclose(weights, loop(scores, count, 0.6), rtol=1e-12)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_dtype_is_that_of_the_scores(dtype):
    scores = scores_of(2, 5, 7).astype(dtype)
    assert attention_weights(scores, lam=0.5).dtype == dtype
    assert attention_weights(scores, lam=0.5, null_score=0.0).dtype == dtype
    assert attention_weights(scores, lam=0.5, mask=np.ones((5, 7), bool)).dtype == dtype


@pytest.mark.parametrize("name", ["lam", "rho"])
def test_every_head_has_its_own_strength(name):
    scores = scores_of(3, 4, 5, 6)
    strengths = [0.0, 0.3, 0.9, 1.0]
    together = attention_weights(scores, **{name: np.array(strengths)})
    for head, strength in enumerate(strengths):
        alone = attention_weights(scores[:, head], **{name: strength})
        np.testing.assert_allclose(together[:, head], alone, rtol=1e-12)


def test_masked_keys_have_weight_0_and_the_others_share():
    scores = scores_of(4, 6)
    keys = np.array([True, True, False, True, True, False])
    weights = attention_weights(scores, lam=1.0, epsilon=EPSILON, mask=keys, iterations=7)
    assert (weights[:, ~keys] == 0).all()
    np.testing.assert_allclose(weights[:, keys], loop(scores[:, keys], 13), rtol=1e-12)
    whole = attention_weights(scores, lam=1.0, epsilon=EPSILON, mask=keys, tol=1e-12)
    # 4 queries over 4 keys
    np.testing.assert_allclose(whole[:, keys].sum(axis=0), 1.0, rtol=1e-11)


@pytest.mark.parametrize("lam", [0.0, 0.5, 1.0])
def test_a_query_that_may_attend_to_nothing_has_weights_0(lam):
    scores = scores_of(2, 5, 6)
    mask = np.random.default_rng(3).random((2, 5, 6)) < 0.7
    mask[0, 2] = False
    weights = attention_weights(scores, lam=lam, epsilon=EPSILON, mask=mask, iterations=3)
    assert (weights[~mask] == 0).all()
    for s, allowed, found in zip(scores, mask, weights, strict=True):
        a, b = allowed.any(axis=1) * 1.0, allowed.any(axis=0) * 1.0
        expected = loop(s, 5, lam, a=a, b=b * a.sum() / b.sum(), mask=allowed)
        np.testing.assert_allclose(found, expected, rtol=1e-11)
    np.testing.assert_allclose(weights[0, 2], 0.0)


@pytest.mark.parametrize("lam", [0.0, 0.5, 1.0])
def test_a_problem_without_any_allowed_pair_is_0(lam):
    scores = scores_of(2, 5, 6)
    mask = np.ones((2, 1, 6), bool)
    mask[1] = False
    weights = attention_weights(scores, lam=lam, mask=mask)
    assert (weights[1] == 0).all()
    np.testing.assert_allclose(weights[0], attention_weights(scores[0], lam=lam), rtol=1e-12)


def test_a_problem_without_any_allowed_pair_is_0_with_a_null_key_too():
    mask = np.array([[[True]], [[False]]])
    weights = attention_weights(scores_of(2, 5, 6), lam=0.5, mask=mask & np.ones((5, 6), bool), null_score=0.0)
    assert (weights[1] == 0).all()
    assert (weights[0] > 0).all()


def test_scores_of_minus_infinity_forbid_a_pair():
    scores, mask = scores_of(5, 6), np.random.default_rng(6).random((5, 6)) < 0.8
    found = attention_weights(np.where(mask, scores, -np.inf), lam=0.5)
    np.testing.assert_allclose(found, attention_weights(scores, lam=0.5, mask=mask), rtol=1e-12)
    scores[2] = -np.inf
    with pytest.raises(ValueError, match=r"row 2|a\[2\]"):
        attention_weights(scores, lam=0.5)


@pytest.mark.parametrize("name", LIBRARIES)
def test_sequences_and_numpy_go_with_every_library(name):
    lib = library(name)
    scores = scores_of(2, 4, 4)
    options = {"lam": [0.2, 0.7], "epsilon": [1.0, 0.5], "b": [0.5, 1.5, 1.0, 1.0], "mask": np.tri(4, dtype=bool)}
    found = lib.read(attention_weights(lib.make(scores), **options))
    for k in range(2):
        b = np.array(options["b"])
        expected = loop(scores[k], 9, options["lam"][k], options["epsilon"][k], b=b, mask=options["mask"])
        np.testing.assert_allclose(found[k], expected, rtol=1e-12 if found.dtype == np.float64 else 1e-5)


def test_targets_of_the_columns_are_met_at_lam_1():
    b = np.array([0.5, 1.5, 2.0])
    weights = attention_weights(scores_of(4, 3), lam=1.0, b=b, tol=1e-12)
    np.testing.assert_allclose(weights.sum(axis=0), b, rtol=1e-11)


@pytest.mark.parametrize("lam", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("name", LIBRARIES)
def test_a_null_key_is_a_column_without_balance(name, lam):
    lib = library(name)
    scores = scores_of(2, 5, 6, seed=4)
    null = np.array([0.3, -1.0])
    found = attention_weights(lib.make(scores), lam=lam, epsilon=EPSILON, iterations=4, null_score=lib.make(null))
    weights = lib.read(found)
    for s, score, w in zip(scores, null, weights, strict=True):
        extended = np.concatenate([s, np.full((5, 1), score)], axis=1)
        expected = loop(extended, 7, lam, b=np.append(np.full(6, 5 / 6), 1.0), free=6)
        # the column is free to 1e-12; JAX computes in float32
        np.testing.assert_allclose(w, expected[:, :6], rtol=1e-11 if weights.dtype == np.float64 else 1e-5)
    assert (weights.sum(axis=-1) < 1).all()


@pytest.mark.parametrize("name", LIBRARIES)
def test_a_null_score_of_0_adds_one_to_the_denominator_of_the_softmax(name):
    lib = library(name)
    scores = scores_of(2, 5, 6)
    found = lib.read(attention_weights(lib.make(scores), lam=0, null_score=0))
    wanted = np.exp(scores) / (1 + np.exp(scores).sum(axis=-1, keepdims=True))
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-11 if found.dtype == np.float64 else 1e-6)


def test_a_query_without_keys_gives_all_to_the_null_key():
    scores = scores_of(4, 3)
    mask = np.ones((4, 3), bool)
    mask[1] = False
    weights = attention_weights(scores, lam=0.7, mask=mask, null_score=0.0)
    assert (weights[1] == 0).all()
    assert (weights[[0, 2, 3]].sum(axis=-1) > 0.1).all()


def test_the_null_key_of_a_balanced_head_gets_what_the_targets_leave():
    weights = attention_weights(scores_of(4, 3), lam=1.0, b=np.array([0.5, 1.0, 1.5]), null_score=-2.0, iterations=400)
    np.testing.assert_allclose(weights.sum(axis=0), [0.5, 1.0, 1.5], rtol=1e-9)
    assert weights.sum() == pytest.approx(3.0)


def test_attention_is_weights_times_values():
    q, k = scores_of(2, 3, 5, 4), scores_of(3, 7, 4, seed=1)
    v = scores_of(2, 1, 7, 6, seed=2)
    out, weights = elastic_attention(q, k, v, lam=0.5, iterations=3, need_weights=True)
    scores = np.einsum("bhnd,hmd->bhnm", q, k) / 2.0
    expected = np.array([[loop(s, 5, 0.5, epsilon=1.0) for s in heads] for heads in scores])
    np.testing.assert_allclose(weights, expected, rtol=1e-12)
    np.testing.assert_allclose(out, expected @ v, rtol=1e-12)
    np.testing.assert_array_equal(out, elastic_attention(q, k, v, lam=0.5, iterations=3))
    scaled = elastic_attention(q, k, v, lam=0.5, iterations=3, scale=0.25, epsilon=0.5)
    np.testing.assert_allclose(scaled, out, rtol=1e-12)


def literal_rule(scores, lam, steps, epsilon):
    """Of the founding note: v <- (b / K^T u)^lam v^(1 - lam), ending on the rows."""
    n, m = scores.shape
    gibbs = np.exp(scores / epsilon)
    v = np.ones(m)
    u = 1.0 / (gibbs @ v)
    for _ in range(steps - 1):
        v = ((n / m) / (gibbs.T @ u)) ** lam * v ** (1.0 - lam)
        u = 1.0 / (gibbs @ v)
    return u[:, None] * gibbs * v


@pytest.mark.parametrize("name", LIBRARIES)
@pytest.mark.parametrize("lam", [0.0, 0.2, 0.7, 1.0])
def test_the_damped_rule_is_the_literal_one(lam, name):
    lib = library(name)
    scores = scores_of(2, 5, 7)
    for steps in (1, 2, 6):
        weights = lib.read(damped_weights(lib.make(scores), lam, steps, EPSILON))
        expected = np.stack([literal_rule(s, lam, steps, EPSILON) for s in scores])
        np.testing.assert_allclose(weights, expected, rtol=1e-12 if weights.dtype == np.float64 else 1e-5)


@pytest.mark.parametrize("lam", [0.3, 1.0])
def test_the_annealed_damped_rule_finds_the_assignment(lam):
    scores = np.random.default_rng(5).random((4, 7, 7))
    weights = damped_weights(scores, lam, 60, np.geomspace(1.0, 3e-4, 20))
    for s, w in zip(scores, weights, strict=True):
        rows, cols = linear_sum_assignment(s, maximize=True)
        # an exponential of minus the gap to the second best over epsilon
        np.testing.assert_allclose(w[rows, cols], 1.0, atol=1e-2)


@pytest.mark.parametrize("tau", [None, 10 / 11], ids=["balanced", "unbalanced"])
@pytest.mark.parametrize("count", [1, 2, 3, 4, 21])
def test_sinkformer_weights_are_half_steps(count, tau):
    scores = scores_of(2, 6, 6)
    weights = sinkformer_weights(scores, count, column_exponent=tau)
    expected = np.stack([loop(s, count, 1.0 if tau is None else tau, epsilon=1.0) for s in scores])
    np.testing.assert_allclose(weights, expected, rtol=1e-12)
    if count % 2:
        np.testing.assert_allclose(weights.sum(axis=-1), 1.0, rtol=1e-14)
    if count == 1:
        np.testing.assert_allclose(weights, softmax(scores, axis=-1), rtol=1e-13)


def test_padding_of_a_sinkformer_has_weight_0():
    scores = scores_of(2, 6, 6)
    key_mask = np.array([[True] * 6, [True] * 4 + [False] * 2])
    weights = sinkformer_weights(scores, 5, key_mask=key_mask)
    np.testing.assert_allclose(weights[0], loop(scores[0], 5, epsilon=1.0), rtol=1e-12)
    np.testing.assert_allclose(weights[1, :, :4], loop(scores[1, :, :4], 5, epsilon=1.0), rtol=1e-12)
    assert (weights[1, :, 4:] == 0).all()
    causal = np.tril(np.ones((6, 6), bool))
    both = sinkformer_weights(scores, 1, key_mask=key_mask, mask=causal)
    np.testing.assert_array_equal(both > 0, causal & key_mask[:, None, :])


def test_a_converged_sinkformer_is_doubly_stochastic():
    weights = sinkformer_weights(scores_of(3, 6, 6), None)
    np.testing.assert_allclose(weights.sum(axis=-2), 1.0, atol=6e-9)
    np.testing.assert_allclose(weights.sum(axis=-1), 1.0, rtol=1e-13)


BAD = [
    ({}, ValueError, "give lam or rho.*neither"),
    ({"lam": 0.5, "rho": 1.0}, ValueError, "give lam or rho.*both"),
    ({"lam": 1.5}, ValueError, "lam is 1.5"),
    ({"lam": -0.1}, ValueError, "lam is -0.1"),
    ({"rho": -1.0}, ValueError, "rho is -1.0"),
    ({"lam": 0.5, "epsilon": 0.0}, ValueError, "epsilon is 0.0"),
    ({"lam": 0.5, "epsilon": [1.0, -1.0]}, ValueError, r"epsilon\[1\] is -1; values must be finite and > 0"),
    ({"lam": 0.5, "iterations": 0}, ValueError, "iterations is 0"),
    ({"lam": 0.5, "n_half_steps": 1.5}, ValueError, "half steps is 1.5"),
    ({"lam": 0.5, "n_half_steps": 3, "tol": 1e-3}, ValueError, "tol is 0.001 and n_half_steps 3"),
    ({"lam": 0.5, "tol": 1e-3, "grad": "unroll"}, ValueError, "grad='unroll'"),
    ({"lam": 0.5, "grad": "implicit"}, ValueError, "grad='implicit'.*tol"),
    ({"lam": 0.5, "grad": "detach", "n_half_steps": 4}, ValueError, "n_half_steps is 4"),
    ({"lam": 0.5, "tol": 1e-3, "null_score": 0.0}, ValueError, "null_score"),
    ({"lam": 0.5, "mask": np.ones((4, 6), bool)}, ValueError, r"mask has shape \(4, 6\)"),
    ({"lam": 0.5, "mask": np.ones((5, 6))}, TypeError, "mask has dtype float64"),
    ({"lam": 0.5, "b": np.ones(5)}, ValueError, r"b has shape \(5,\)"),
]


@pytest.mark.parametrize(("options", "kind", "named"), BAD, ids=lambda x: str(x)[:40])
def test_bad_options_are_refused_by_name(options, kind, named):
    with pytest.raises(kind, match=named):
        attention_weights(scores_of(2, 5, 6), **options)


def test_scores_that_are_no_matrix_or_no_number_are_refused():
    with pytest.raises(ValueError, match=r"scores has shape \(3,\)"):
        attention_weights(np.ones(3), lam=0.5)
    with pytest.raises(ValueError, match="nan"):
        attention_weights(np.array([[1.0, np.nan], [0.0, 0.0]]), lam=0.5)
    with pytest.raises(TypeError, match="scores has dtype complex128"):
        attention_weights(np.ones((2, 2)) * 1j, lam=0.5)


@pytest.mark.parametrize(
    ("shapes", "named"),
    [
        (((5, 4), (6, 3), (6, 2)), r"q has shape \(5, 4\) and k \(6, 3\); their widths"),
        (((5, 4), (6, 4), (7, 2)), r"k has shape \(6, 4\) and v \(7, 2\); their lengths"),
        (((2, 5, 4), (3, 6, 4), (6, 2)), r"leading dimensions of q \(2, 5, 4\)"),
        (((5, 4), (6, 4), (6,)), r"v has shape \(6,\)"),
    ],
)
def test_sequences_that_do_not_fit_are_refused_by_name(shapes, named):
    with pytest.raises(ValueError, match=named):
        elastic_attention(*map(np.ones, shapes), lam=0.5)


def test_dtypes_do_not_mix():
    x = np.ones((3, 4))
    with pytest.raises(TypeError, match="v has dtype float32 and q float64"):
        elastic_attention(x, x, x.astype(np.float32), lam=0.5)


@pytest.mark.parametrize(("lam", "steps", "epsilon"), [(1.2, 3, 1.0), (0.5, 0, 1.0), (0.5, 3, 0.0), (0.5, 3, [])])
def test_the_damped_rule_refuses_what_it_cannot_run(lam, steps, epsilon):
    with pytest.raises(ValueError, match=r"lam is 1.2|steps is 0|epsilon is"):
        damped_weights(scores_of(3, 3), lam, steps, epsilon)
