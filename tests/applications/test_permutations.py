"""Gumbel-Sinkhorn: against loops in NumPy, SciPy's assignments and the distribution of Gumbel noise."""

import itertools

import numpy as np
import pytest
from scipy.optimize import linear_sum_assignment
from scipy.stats import gumbel_r, kstest

import elastic_ot as eot
from elastic_ot.applications.permutations import gumbel_noise, gumbel_sinkhorn
from helpers.array_libraries import LIBRARIES, library

RNG = np.random.default_rng(5)
SCORES = RNG.normal(size=(3, 5, 5))
NOISE = gumbel_noise(RNG.random((3, 5, 5)))


def scaled(scores, iterations):
    matrix = np.exp(scores)
    for _ in range(iterations):
        matrix = matrix / matrix.sum(axis=-1, keepdims=True)
        matrix = matrix / matrix.sum(axis=-2, keepdims=True)
    return matrix


def best(scores):
    """The permutation matrix with the largest total."""
    matrix = np.zeros_like(scores)
    matrix[linear_sum_assignment(scores, maximize=True)] = 1
    return matrix


@pytest.mark.parametrize("name", LIBRARIES)
def test_it_is_a_loop_of_divisions(name):
    lib = library(name)
    found = gumbel_sinkhorn(lib.make(SCORES), temperature=0.7, noise=lib.make(NOISE), iterations=6)
    assert isinstance(found, lib.kind)
    tolerance = 1e-13 if lib.read(found).dtype == np.float64 else 2e-6
    np.testing.assert_allclose(lib.read(found), scaled((SCORES + NOISE) / 0.7, 6), rtol=0, atol=tolerance)
    np.testing.assert_allclose(lib.read(found).sum(axis=-2), 1, rtol=0, atol=tolerance)


def test_samples_of_one_matrix_come_by_broadcasting():
    found = gumbel_sinkhorn(SCORES[0], noise=NOISE)
    np.testing.assert_allclose(found, scaled(SCORES[0] + NOISE, 20), rtol=0, atol=1e-13)


def test_a_low_temperature_gives_the_best_assignment():
    for scores in SCORES:
        totals = np.sort([scores[range(5), list(order)].sum() for order in itertools.permutations(range(5))])
        gap = totals[-1] - totals[-2]
        found = gumbel_sinkhorn(scores, temperature=gap / 100, iterations=None)
        # two permutations differ by cycles of at most 5 cells, which share the gap: exp(-gap / (5 temperature))
        np.testing.assert_allclose(found, best(scores), rtol=0, atol=120 * np.exp(-20))


@pytest.mark.parametrize("name", LIBRARIES)
def test_hard_samples_are_scipys_assignments(name):
    lib = library(name)
    found = gumbel_sinkhorn(lib.make(SCORES), noise=lib.make(NOISE), hard=True)
    assert isinstance(found, lib.kind)
    np.testing.assert_array_equal(lib.read(found), np.stack([best(x) for x in SCORES + NOISE]))


def test_hard_samples_have_the_derivatives_of_soft_ones():
    torch, jax = pytest.importorskip("torch"), pytest.importorskip("jax")
    weights = RNG.normal(size=SCORES.shape)
    gradients = []
    for hard in (False, True):
        scores = torch.tensor(SCORES).requires_grad_()
        found = gumbel_sinkhorn(scores, temperature=0.5, noise=torch.tensor(NOISE), hard=hard)
        (found * torch.tensor(weights)).sum().backward()
        gradients.append(scores.grad.numpy())
    np.testing.assert_array_equal(gradients[0], gradients[1])
    noise, weights = (jax.numpy.asarray(x, dtype="float32") for x in (NOISE, weights))

    def loss(scores):
        return (gumbel_sinkhorn(scores, temperature=0.5, noise=noise, hard=True) * weights).sum()

    found = jax.grad(loss)(jax.numpy.asarray(SCORES, dtype="float32"))
    np.testing.assert_allclose(found, gradients[0], rtol=0, atol=1e-5)


@pytest.mark.parametrize("iterations", [4, None])
def test_it_is_differentiated_by_torch(iterations):
    torch = pytest.importorskip("torch")
    options = {"tol": 1e-13} if iterations is None else {}
    scores, noise = torch.tensor(SCORES[:2]).requires_grad_(), torch.tensor(NOISE[:2])
    temperature = torch.tensor(0.8, dtype=torch.float64).requires_grad_()
    assert torch.autograd.gradcheck(
        lambda s, t: gumbel_sinkhorn(s, temperature=t, noise=noise, iterations=iterations, **options),
        (scores, temperature),
    )


def test_soft_samples_go_through_jit_and_hard_ones_say_why_not():
    jax = pytest.importorskip("jax")
    scores = jax.numpy.asarray(SCORES)
    found = jax.jit(lambda x: gumbel_sinkhorn(x, iterations=5))(scores)
    np.testing.assert_allclose(found, scaled(SCORES, 5), rtol=0, atol=2e-6)
    with pytest.raises(TypeError, match="is a JAX tracer"):
        jax.jit(lambda x: gumbel_sinkhorn(x, hard=True))(scores)


@pytest.mark.parametrize("name", LIBRARIES)
def test_the_noise_is_gumbels(name):
    lib = library(name)
    found = lib.read(gumbel_noise(lib.make(np.random.default_rng(1).random(5000))))
    assert kstest(found, gumbel_r.cdf).pvalue > 0.01


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_ends_of_the_interval_give_finite_noise(dtype):
    assert np.isfinite(gumbel_noise(np.array([0.0, 1.0], dtype))).all()


def test_forbidden_pairs_stay_0():
    scores = np.where(np.eye(5, dtype=bool), -np.inf, SCORES[0])
    for hard in (False, True):
        assert (np.diag(gumbel_sinkhorn(scores, hard=hard)) == 0).all()


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: gumbel_sinkhorn(np.ones((3, 2))), ValueError, r"scores has shape \(3, 2\)"),
        (lambda: gumbel_sinkhorn(np.full((2, 2), np.nan)), ValueError, r"scores\[0, 0\] is nan"),
        (
            lambda: gumbel_sinkhorn(np.eye(2), temperature=-1),
            ValueError,
            "temperature is -1; it must be finite and > 0",
        ),
        (lambda: gumbel_sinkhorn(np.eye(2), temperature=0, hard=True), ValueError, "temperature is 0"),
        (lambda: gumbel_sinkhorn(np.eye(2), iterations=0), ValueError, "iterations is 0"),
        (
            lambda: gumbel_sinkhorn(np.eye(2), noise=np.ones(3)),
            ValueError,
            r"noise has shape \(3,\) and scores \(2, 2\)",
        ),
        (lambda: gumbel_sinkhorn(np.ones((1, 1)), noise=np.ones((2, 2))), ValueError, r"noise has shape \(2, 2\)"),
        (lambda: gumbel_sinkhorn(np.eye(2), noise=np.eye(2, dtype=np.float32)), TypeError, "scores has dtype float64"),
        (lambda: gumbel_sinkhorn(np.eye(2), noise=np.full((2, 2), np.inf)), ValueError, r"noise\[0, 0\] is inf"),
        (lambda: gumbel_sinkhorn(np.full((2, 2), -np.inf)), eot.InfeasibleError, "only -inf in row 0"),
        (lambda: gumbel_noise(np.array([0.5, 1.5])), ValueError, r"uniform\[1\] is 1.5; values must lie in \[0, 1\]"),
    ],
)
def test_bad_input_is_refused_by_name_and_value(call, error, message):
    with pytest.raises(error, match=message):
        call()
