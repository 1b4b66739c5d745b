"""Doubly stochastic matrices: against loops in plain NumPy, SciPy's projections, and derivatives by differences."""

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.special import xlogy

import elastic_ot as eot
from elastic_ot.applications.doubly_stochastic import balance, birkhoff_distance, mixture, plan_entropy, qr_plan
from helpers.array_libraries import LIBRARIES, library

RNG = np.random.default_rng(7)
SCORES = RNG.normal(size=(6, 5, 4, 4))


def scaled(scores, iterations, last):
    """A loop that divides by sums, `last` axis last."""
    matrix = np.exp(scores)
    for _ in range(iterations):
        matrix = matrix / matrix.sum(axis=-3 - last, keepdims=True)
        matrix = matrix / matrix.sum(axis=last, keepdims=True)
    return matrix


@pytest.mark.parametrize(("end", "last"), [("rows", -1), ("cols", -2)])
@pytest.mark.parametrize("iterations", [1, 2, 20])
@pytest.mark.parametrize("name", LIBRARIES)
def test_balance_is_a_loop_of_divisions(name, iterations, end, last):
    lib = library(name)
    found = balance(lib.make(SCORES), iterations, end=end)
    assert isinstance(found, lib.kind)
    # JAX computes in float32 unless told otherwise
    tolerance = 1e-14 if lib.read(found).dtype == np.float64 else 1e-6
    np.testing.assert_allclose(lib.read(found), scaled(SCORES, iterations, last), rtol=0, atol=tolerance)
    np.testing.assert_allclose(lib.read(found).sum(axis=last), 1, rtol=0, atol=tolerance)


def test_tens_of_thousands_of_small_matrices_are_one_call():
    scores = RNG.normal(size=(20_000, 4, 4))
    np.testing.assert_allclose(balance(scores), scaled(scores, 20, -1), rtol=0, atol=1e-14)


def test_temperatures_broadcast():
    temperatures = np.linspace(0.5, 2.0, 5)
    found = balance(SCORES, temperature=temperatures)
    np.testing.assert_allclose(found, scaled(SCORES / temperatures[:, None, None], 20, -1), rtol=0, atol=1e-13)


def test_no_constant_is_needed_where_exponentials_underflow():
    shifts = np.array([-2000.0, 0.0, 900.0, -1.0])
    found = balance(SCORES[0, 0] + shifts[:, None] + shifts[::-1])
    # scaling rows and columns of what is scaled anyway changes nothing after a first iteration, of the numbers' size
    np.testing.assert_allclose(found, scaled(SCORES[0, 0], 20, -1), rtol=0, atol=1e-10)


def test_minus_infinity_stays_0():
    scores = np.where(np.tri(4, dtype=bool)[::-1], SCORES[0, 0], -np.inf)
    found = balance(scores, 20_000)
    # one permutation alone has no entry outside of the triangle; the distance to it falls as 1 / iterations
    np.testing.assert_allclose(found, np.eye(4)[::-1], rtol=0, atol=1e-3)
    assert (found[np.isneginf(scores)] == 0).all()


def test_without_a_budget_rows_and_columns_meet_the_tolerance():
    found = balance(SCORES, None, tol=1e-12)
    for axis in (-1, -2):
        assert abs(found.sum(axis=axis) - 1).sum(axis=-1).max() < 4e-12 + 1e-14  # tol * mass, and rounding


@pytest.mark.parametrize("name", ["torch", "jax"])
def test_float32_stays_float32(name):
    lib = library(name)
    found = balance(lib.make(SCORES.astype(np.float32)))
    assert lib.read(found).dtype == np.float32
    np.testing.assert_allclose(lib.read(found), scaled(SCORES, 20, -1), rtol=0, atol=2e-6)


@pytest.mark.parametrize("call", [balance, lambda x: balance(x, None, tol=1e-13), lambda x: balance(x, 3, end="cols")])
def test_balance_is_differentiated_by_torch(call):
    torch = pytest.importorskip("torch")
    scores = torch.tensor(SCORES[0, :2]).requires_grad_()
    assert torch.autograd.gradcheck(call, scores)


def test_balance_learns_its_temperature():
    torch = pytest.importorskip("torch")
    scores, temperature = torch.tensor(SCORES[0, 0]), torch.tensor(0.7, dtype=torch.float64).requires_grad_()
    assert torch.autograd.gradcheck(lambda t: balance(scores, 4, temperature=t), temperature)


def test_jax_differentiates_balance_under_jit_as_torch_does():
    torch, jax = pytest.importorskip("torch"), pytest.importorskip("jax")
    scores = torch.tensor(SCORES[0], dtype=torch.float32).requires_grad_()
    (balance(scores) ** 3).sum().backward()
    found = jax.jit(jax.grad(lambda x: (balance(x) ** 3).sum()))(jax.numpy.asarray(SCORES[0], dtype="float32"))
    np.testing.assert_allclose(found, scores.grad, rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", LIBRARIES)
def test_squares_of_q_are_doubly_stochastic(name):
    lib = library(name)
    found = lib.read(qr_plan(lib.make(SCORES)))
    # the first columns are those of Gram and Schmidt
    first = SCORES[..., 0] / np.linalg.norm(SCORES[..., 0], axis=-1, keepdims=True)
    second = SCORES[..., 1] - (first * SCORES[..., 1]).sum(-1, keepdims=True) * first
    second /= np.linalg.norm(second, axis=-1, keepdims=True)
    tolerance = 1e-12 if found.dtype == np.float64 else 1e-5
    np.testing.assert_allclose(found[..., 0], first**2, rtol=0, atol=tolerance)
    np.testing.assert_allclose(found[..., 1], second**2, rtol=0, atol=tolerance)
    for axis in (-1, -2):
        np.testing.assert_allclose(found.sum(axis=axis), 1, rtol=0, atol=tolerance)


def test_half_precision_is_factorised_in_single():
    torch = pytest.importorskip("torch")
    for matrix in (SCORES[0].astype(np.float16), torch.tensor(SCORES[0], dtype=torch.bfloat16)):
        found = qr_plan(matrix)
        assert found.dtype == matrix.dtype
        wanted = qr_plan(np.asarray(matrix.float() if isinstance(matrix, torch.Tensor) else matrix, dtype=np.float64))
        # one rounding of a number below 1, to 8 bits at worst
        np.testing.assert_allclose(np.asarray(found.tolist()), wanted, rtol=0, atol=2**-8)


def test_a_singular_matrix_has_a_doubly_stochastic_plan_too():
    for matrix in (np.zeros((3, 3)), np.ones((4, 4))):
        found = qr_plan(matrix)
        for axis in (-1, -2):
            np.testing.assert_allclose(found.sum(axis=axis), 1, rtol=0, atol=1e-12)


def test_the_qr_plan_is_differentiated_by_torch_and_jax():
    torch, jax = pytest.importorskip("torch"), pytest.importorskip("jax")
    matrix = torch.tensor(SCORES[0, :3]).requires_grad_()
    assert torch.autograd.gradcheck(qr_plan, matrix)
    (qr_plan(matrix) ** 3).sum().backward()
    found = jax.grad(lambda x: (qr_plan(x) ** 3).sum())(jax.numpy.asarray(SCORES[0, :3], dtype="float32"))
    np.testing.assert_allclose(found, matrix.grad, rtol=0, atol=1e-3 * abs(matrix.grad).max())  # float32, two solves


@pytest.mark.parametrize("name", LIBRARIES)
def test_a_mixture_is_the_weighted_average(name):
    lib = library(name)
    logits = RNG.normal(size=(6, 5))
    logits[0, 2] = -np.inf
    plans = scaled(SCORES, 30, -1)
    weights = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    wanted = np.einsum("bk,bknm->bnm", weights, plans)
    np.testing.assert_allclose(lib.read(mixture(lib.make(plans), lib.make(logits))), wanted, rtol=0, atol=1e-6)


def test_a_mixture_is_differentiated_by_torch():
    torch = pytest.importorskip("torch")
    logits = torch.tensor([0.3, -1.0, 0.5, 0.0, 2.0], dtype=torch.float64).requires_grad_()
    assert torch.autograd.gradcheck(mixture, (torch.tensor(SCORES[0]).requires_grad_(), logits))


@pytest.mark.parametrize("name", LIBRARIES)
def test_the_birkhoff_distance_is_that_of_the_least_squares_projection(name):
    lib = library(name)
    n = 4
    sums = np.concatenate([np.kron(np.eye(n), np.ones(n)), np.kron(np.ones(n), np.eye(n))])
    matrices = SCORES[0]
    # the shortest correction of the sums is the pseudo-inverse's
    moves = (1 - matrices.reshape(-1, n * n) @ sums.T) @ np.linalg.pinv(sums).T
    wanted = np.linalg.norm(moves, axis=-1)
    np.testing.assert_allclose(lib.read(birkhoff_distance(lib.make(matrices))), wanted, rtol=1e-5)
    assert birkhoff_distance(matrices[0]) == pytest.approx(wanted[0], rel=1e-13)


def test_it_is_the_distance_to_the_polytope_where_the_projection_is_positive_and_below_it_elsewhere():
    def by_scipy(matrix):
        n = len(matrix)
        constraints = {"type": "eq", "fun": lambda p: np.r_[p.reshape(n, n).sum(0), p.reshape(n, n).sum(1)[1:]] - 1}
        start = np.full(n * n, 1 / n)
        result = minimize(
            lambda p: ((p - matrix.ravel()) ** 2).sum(),
            start,
            jac=lambda p: 2 * (p - matrix.ravel()),
            method="SLSQP",
            bounds=[(0, None)] * n * n,
            constraints=constraints,
            options={"ftol": 1e-14},
        )
        return np.sqrt(result.fun)

    near = scaled(SCORES[0, 0], 30, -1) + 0.01 * SCORES[1, 0]
    assert birkhoff_distance(near) == pytest.approx(by_scipy(near), rel=1e-5)
    far = SCORES[0, 1]
    assert birkhoff_distance(far) < by_scipy(far)


def test_the_distance_of_a_permutation_is_0_and_so_is_its_derivative():
    torch = pytest.importorskip("torch")
    p = torch.eye(3, dtype=torch.float64).requires_grad_()
    distance = birkhoff_distance(p)
    distance.backward()
    assert distance == 0
    assert (p.grad == 0).all()


@pytest.mark.parametrize("name", LIBRARIES)
def test_the_entropy_is_that_of_the_entries(name):
    lib = library(name)
    plans = np.concatenate([scaled(SCORES[0], 30, -1), np.eye(4)[None], np.full((1, 4, 4), 0.25)])
    found = lib.read(plan_entropy(lib.make(plans)))
    np.testing.assert_allclose(found, -xlogy(plans, plans).sum((-1, -2)), rtol=1e-6, atol=0)
    assert found[-2] == 0
    assert found[-1] == pytest.approx(4 * np.log(4), rel=1e-6)


def test_measures_are_differentiated_by_torch():
    torch = pytest.importorskip("torch")
    p = torch.tensor(np.exp(SCORES[0, :2])).requires_grad_()
    assert torch.autograd.gradcheck(birkhoff_distance, p)
    assert torch.autograd.gradcheck(plan_entropy, p)


SQUARE = np.eye(3)
MISSING = np.zeros((4, 3, 3))
MISSING[2, 1] = -np.inf
WITH_NAN = np.where(np.eye(3, k=1) > 0, np.nan, 1.0)


@pytest.mark.parametrize("function", [balance, qr_plan, birkhoff_distance])
def test_what_is_not_square_or_no_number_is_refused(function):
    with pytest.raises(ValueError, match=r"has shape \(3, 2\); it must be \(\.\.\., n, n\)"):
        function(np.ones((3, 2)))
    with pytest.raises(ValueError, match=r"\[0, 1\] is nan"):
        function(WITH_NAN)
    with pytest.raises(TypeError, match="it must hold real numbers"):
        function(SQUARE + 0j)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: balance(SQUARE, 0), ValueError, "iterations is 0; it must be an integer >= 1"),
        (lambda: balance(SQUARE, 2.5), ValueError, "iterations is 2.5"),
        (lambda: balance(SQUARE, temperature=0.0), ValueError, "temperature is 0.0; it must be finite and > 0"),
        (lambda: balance(SQUARE, temperature="hot"), TypeError, "temperature is 'hot'"),
        (lambda: balance(SQUARE[None], temperature=np.array([-1.0])), ValueError, r"temperature\[0\] is -1"),
        (lambda: balance(SQUARE, end="both"), ValueError, "end is 'both'; choose from 'rows', 'cols'"),
        (lambda: balance(SQUARE, tol=1e-3), ValueError, "tol is 0.001 and so many iterations are run"),
        (
            lambda: balance(np.full((2, 2), np.inf)),
            ValueError,
            r"scores\[0, 0\] is inf; values must be numbers or -inf",
        ),
        (lambda: balance(MISSING), eot.InfeasibleError, r"only -inf in row 1 of matrix \[2\]"),
        (lambda: balance(MISSING.transpose(0, 2, 1)), eot.InfeasibleError, r"only -inf in column 1 of matrix \[2\]"),
        (lambda: mixture(SQUARE, np.ones(3)), ValueError, r"plans has shape \(3, 3\); it must be \(\.\.\., k, n, m\)"),
        (lambda: mixture(SQUARE[None], np.ones(3)), ValueError, r"logits has shape \(3,\); it must be \(\.\.\., 1\)"),
        (lambda: mixture(SQUARE[None], np.array([np.nan])), ValueError, r"logits\[0\] is nan"),
        (
            lambda: mixture(SQUARE[None], np.ones(1, np.float32)),
            TypeError,
            "plans has dtype float64 and logits float32",
        ),
        (lambda: plan_entropy(-SQUARE), ValueError, r"p\[0, 0\] is -1; values must be finite and >= 0"),
    ],
)
def test_bad_input_is_refused_by_name_and_value(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_arrays_of_two_libraries_are_refused():
    torch = pytest.importorskip("torch")
    with pytest.raises(TypeError, match=r"plans is a numpy.ndarray and logits a torch.Tensor"):
        mixture(SQUARE[None], torch.ones(1, dtype=torch.float64))
