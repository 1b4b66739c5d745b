"""Soft sorting: exact limits by NumPy and SciPy, values in between by an independent Sinkhorn, derivatives by torch."""

import numpy as np
import ot
import pytest
from scipy.stats import rankdata

from elastic_ot.applications.sorting import soft_quantile, soft_rank, soft_sort
from helpers.array_libraries import LIBRARIES, library

RNG = np.random.default_rng(3)
X = RNG.normal(size=(4, 7))
SHARP = 1e-3  # 12 / 7^2 = 0.24; the limit is reached up to exp(-gap / SHARP) with gaps of 0.02 and more
CLOSE = {"rtol": 0, "atol": 1e-6}


def weights_of(shape):
    return RNG.random(shape) + 0.1


def plan_by_pot(x, levels, epsilon, a, b):
    """The scaling that the module documents, written down once more."""
    mean = (a * x).sum()
    z = (x - mean) / np.sqrt((a * (x - mean) ** 2).sum())
    y = (levels - 0.5) * np.sqrt(12)
    return ot.sinkhorn(a, b, (z[:, None] - y) ** 2, epsilon, method="sinkhorn_log", stopThr=1e-13, numItermax=100_000)


def far_apart(shape):
    """Values in random order, no two of a row closer than 0.5."""
    order = RNG.permuted(np.broadcast_to(np.arange(shape[-1]), shape), axis=-1)
    return order + 0.5 * RNG.random(shape)


@pytest.mark.parametrize(("name", "descending"), [*((name, False) for name in LIBRARIES), ("numpy", True)])
def test_the_limits_are_sorted_values_and_ranks(name, descending):
    lib = library(name)
    x = far_apart((4, 7))
    values = lib.read(soft_sort(lib.make(x), SHARP, descending=descending))
    ranks = lib.read(soft_rank(lib.make(x), SHARP, descending=descending))
    order = np.argsort(-x if descending else x, axis=-1)
    tolerance = {"rtol": 0, "atol": 1e-6 if values.dtype == np.float64 else 1e-4}
    np.testing.assert_allclose(values, np.take_along_axis(x, order, axis=-1), **tolerance)
    np.testing.assert_allclose(ranks, np.argsort(order, axis=-1) + 1, **tolerance)


def test_equal_values_share_their_ranks_at_every_epsilon():
    x = np.array([0.3, 0.1, 0.3, 5.0, 0.1, 0.3, 0.2])
    np.testing.assert_allclose(soft_rank(x, SHARP), rankdata(x, "average"), **CLOSE)
    np.testing.assert_allclose(soft_rank(x, SHARP, descending=True), rankdata(-x, "average"), **CLOSE)
    found = soft_rank(x, 0.3)
    assert np.ptp(found[[0, 2, 5]]) < 1e-9
    np.testing.assert_allclose(soft_sort(x, SHARP), np.sort(x), **CLOSE)


@pytest.mark.parametrize("x", [np.full(5, 0.1), np.zeros(3), np.array([7.0]), np.full(4, 1e300)])
def test_equal_values_stay_what_they_are(x):
    np.testing.assert_allclose(soft_sort(x), x, rtol=1e-14)
    np.testing.assert_allclose(soft_rank(x), (x.size + 1) / 2, rtol=1e-9)
    np.testing.assert_allclose(soft_quantile(x, 0.3), x[0], rtol=1e-14)


@pytest.mark.parametrize("q", [0.0, 0.05, 0.25, 0.5, 0.61, 0.93, 1.0])
@pytest.mark.parametrize("n", [1, 4, 7])
def test_the_limit_of_quantiles_is_numpys_hazen(q, n):
    x = far_apart((3, n))
    np.testing.assert_allclose(soft_quantile(x, q, SHARP), np.quantile(x, q, axis=-1, method="hazen"), **CLOSE)
    if q == 0.5:
        np.testing.assert_allclose(soft_quantile(x, q, SHARP), np.median(x, axis=-1), **CLOSE)


@pytest.mark.parametrize("name", LIBRARIES)
def test_many_quantiles_of_many_samples(name):
    lib = library(name)
    q = [0.1, 0.5, 0.75]
    x = far_apart((2, 3, 6))
    found = lib.read(soft_quantile(lib.make(x), q, SHARP))
    wanted = np.moveaxis(np.quantile(x, q, axis=-1, method="hazen"), 0, -1)
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-6 if found.dtype == np.float64 else 1e-4)


@pytest.mark.parametrize("epsilon", [0.03, 0.3, 3.0])
def test_in_between_they_are_averages_under_pots_plan(epsilon):
    n, m = 7, 5
    a = weights_of(n)
    a /= a.sum()
    for x in X:
        plan = plan_by_pot(x, (np.arange(m) + 0.5) / m, epsilon, a, np.full(m, 1 / m))
        options = {"weights": a, "targets": m, "tol": 1e-12}
        np.testing.assert_allclose(soft_sort(x, epsilon, **options), m * x @ plan, rtol=0, atol=1e-10)
        ranks = n * (plan @ (np.arange(m) + 0.5) / m) / a + 0.5
        np.testing.assert_allclose(soft_rank(x, epsilon, **options), ranks, rtol=0, atol=1e-10)
        window = np.array([0.25, 0.1, 0.65])
        plan = plan_by_pot(x, np.array([0.125, 0.3, 0.675]), epsilon, a, window)
        found = soft_quantile(x, 0.3, epsilon, weights=a, width=0.1, tol=1e-12)
        assert found == pytest.approx(x @ plan[:, 1] / 0.1, abs=1e-10)


def quantile_function_mean(x, a, low, high):
    """The mean of the weighted quantile function over the levels from low to high, as a sum of overlaps."""
    order = np.argsort(x)
    right = np.cumsum(a[order]) / a.sum()
    left = np.concatenate([[0], right[:-1]])
    overlap = np.clip(np.minimum(high, right) - np.maximum(low, left), 0, None)
    return overlap @ x[order] / (high - low)


def test_weights_are_masses_of_the_quantile_function():
    a, x = weights_of(7), far_apart((7,))
    parts = [quantile_function_mean(x, a, j / 4, (j + 1) / 4) for j in range(4)]
    np.testing.assert_allclose(soft_sort(x, SHARP, weights=a, targets=4), parts, **CLOSE)
    found = soft_quantile(x, [0.02, 0.4], SHARP, weights=a, width=0.1)
    wanted = [quantile_function_mean(x, a, 0.0, 0.1), quantile_function_mean(x, a, 0.35, 0.45)]
    np.testing.assert_allclose(found, wanted, **CLOSE)
    fine = soft_rank(x, SHARP, weights=a, targets=400)
    order = np.argsort(x)
    share = a[order] / a.sum()
    middles = np.empty(7)
    middles[order] = np.cumsum(share) - share / 2
    np.testing.assert_allclose(fine, 7 * middles + 0.5, rtol=0, atol=0.5 * 7 / 400)  # half a step of the grid


def test_whole_weights_are_repetitions():
    x, counts = far_apart((5,)), np.array([1.0, 3.0, 2.0, 1.0, 1.0])
    repeated = np.repeat(x, counts.astype(int))
    for epsilon in (SHARP, 0.5):
        once = soft_sort(x, epsilon, weights=counts, targets=8, tol=1e-11)
        np.testing.assert_allclose(once, soft_sort(repeated, epsilon, tol=1e-11), **CLOSE)


def test_a_zero_weight_takes_a_value_out():
    x = np.append(X[0], 1e6)
    a = np.append(np.ones(7), 0.0)
    np.testing.assert_allclose(soft_sort(x, weights=a, targets=7), soft_sort(X[0]), rtol=0, atol=1e-7)
    ranks = soft_rank(x, weights=a, targets=7)
    np.testing.assert_allclose((ranks[:7] - 0.5) / 8, (soft_rank(X[0]) - 0.5) / 7, rtol=0, atol=1e-7)
    assert ranks[7] == 0


def test_shifts_and_scales_go_through():
    for c, d in ((3.0, -2.0), (1e150, 0.0), (1e-200, 0.0), (1e-3, 10.0)):
        np.testing.assert_allclose(soft_sort(c * X + d), c * soft_sort(X) + d, rtol=1e-7, atol=c * 1e-7)
        np.testing.assert_allclose(soft_rank(c * X + d), soft_rank(X), rtol=1e-7)
    np.testing.assert_allclose(soft_rank(-X), 8 - soft_rank(X), rtol=1e-7)


@pytest.mark.parametrize("epsilon", [0.01, 0.1, 1.0])
def test_soft_values_rise_and_keep_their_mean(epsilon):
    found = soft_sort(X, epsilon)
    assert (np.diff(found, axis=-1) > -1e-9).all()
    np.testing.assert_allclose(found.mean(axis=-1), X.mean(axis=-1), rtol=0, atol=1e-7)  # tol times values
    np.testing.assert_allclose(soft_rank(X, epsilon).sum(axis=-1), 28, rtol=1e-7)
    assert (np.diff(soft_quantile(X, np.linspace(0, 1, 9), epsilon), axis=-1) > -1e-9).all()


def test_every_sample_has_its_epsilon():
    epsilons = np.array([0.05, 0.1, 0.5, 1.0])
    found = soft_sort(X, epsilons, tol=1e-11)
    for x, epsilon, values in zip(X, epsilons, found, strict=True):
        np.testing.assert_allclose(soft_sort(x, epsilon, tol=1e-11), values, rtol=0, atol=1e-9)


def test_they_are_differentiated_by_torch():
    torch = pytest.importorskip("torch")
    x, a = torch.tensor(X[:2]).requires_grad_(), torch.tensor(weights_of(7)).requires_grad_()
    epsilon = torch.tensor(0.2, dtype=torch.float64).requires_grad_()
    for function in (soft_sort, soft_rank, lambda x, e, **more: soft_quantile(x, [0.1, 0.6], e, **more)):
        assert torch.autograd.gradcheck(
            lambda x, a, e, function=function: function(x, e, weights=a, tol=1e-13), (x, a, epsilon)
        )


def test_jax_differentiates_them_under_jit_as_torch_does():
    torch, jax = pytest.importorskip("torch"), pytest.importorskip("jax")
    start = X.astype(np.float32)
    for function in (soft_sort, soft_rank, lambda x: soft_quantile(x, 0.3)):
        x = torch.tensor(start).requires_grad_()
        (function(x) ** 2).sum().backward()
        found = jax.jit(jax.grad(lambda x, function=function: (function(x) ** 2).sum()))(jax.numpy.asarray(start))
        np.testing.assert_allclose(found, x.grad, rtol=0, atol=1e-4 * abs(x.grad).max())


def test_equal_values_have_finite_derivatives():
    torch = pytest.importorskip("torch")
    x = torch.full((4,), 0.3, dtype=torch.float64).requires_grad_()
    soft_sort(x)[0].backward()
    torch.testing.assert_close(x.grad, torch.full_like(x, 0.25), rtol=0, atol=1e-9)


@pytest.mark.parametrize(
    "function", [soft_sort, soft_rank, lambda x, *rest, **more: soft_quantile(x, 0.5, *rest, **more)]
)
def test_bad_input_is_refused_by_name_and_value(function):
    x = np.arange(3.0)
    for arguments, options, error, message in (
        ((np.array([1.0, np.nan]),), {}, ValueError, r"x\[1\] is nan; values must be finite"),
        ((np.array(1.0),), {}, ValueError, r"x has shape \(\); it must be \(\.\.\., n\)"),
        ((np.ones((2, 0)),), {}, ValueError, r"x has shape \(2, 0\)"),
        ((x + 0j,), {}, TypeError, "x has dtype complex128; it must hold real numbers"),
        ((x, 0.0), {}, ValueError, "epsilon is 0.0; it must be finite and > 0"),
        ((x, np.inf), {}, ValueError, "epsilon is inf"),
        ((x,), {"weights": np.ones(2)}, ValueError, r"weights has shape \(2,\); it must be \(\.\.\., 3\)"),
        ((x,), {"weights": np.array([1, -1, 1.0])}, ValueError, r"weights\[1\] is -1; values must be finite and >= 0"),
        ((x,), {"weights": np.zeros(3)}, ValueError, "weights are all 0"),
        ((x,), {"weights": np.ones(3, np.float32)}, TypeError, "x has dtype float64 and weights float32"),
        ((x,), {"tolerance": 1e-3}, TypeError, "tolerance"),
    ):
        with pytest.raises(error, match=message):
            function(*arguments, **options)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: soft_sort(X, weights=np.eye(4, 7)[::-1] * [1, 1, 1, 0, 1, 1, 1]),
            r"weights are all 0 in sample \[0\]",
        ),
        (lambda: soft_sort(X, targets=0), "targets is 0; it must be an integer >= 1"),
        (lambda: soft_quantile(X, 1.2), r"q is 1.2; it must lie in \[0, 1\]"),
        (lambda: soft_quantile(X, [0.5, np.nan]), r"q\[1\] is nan"),
        (lambda: soft_quantile(X, np.ones((2, 2))), r"q has shape \(2, 2\)"),
        (lambda: soft_quantile(X, 0.5, width=1.5), "width is 1.5; it must be <= 1"),
        (lambda: soft_quantile(X, 0.5, width=0), "width is 0; it must be finite and > 0"),
    ],
)
def test_bad_grids_are_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize("name", ["float16", "bfloat16"])
@pytest.mark.parametrize("function", [soft_sort, soft_rank, lambda x, **given: soft_quantile(x, 0.5, **given)])
@pytest.mark.parametrize("weighted", [False, True])
def test_half_precision_is_computed_in_single_and_comes_back(function, name, weighted):
    torch = pytest.importorskip("torch")
    x = torch.tensor([0.3, -1.2, 2.0, 0.7, 1.1, -0.4, 0.9], dtype=getattr(torch, name))
    given = {"weights": torch.linspace(1, 2, 7, dtype=x.dtype)} if weighted else {}
    found = function(x, **given)
    assert found.dtype == x.dtype
    full = function(x.double(), **{key: value.double() for key, value in given.items()})
    np.testing.assert_allclose(found.double(), full, rtol=2 ** -(8 if name == "bfloat16" else 10), atol=1e-3)
