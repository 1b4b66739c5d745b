"""Expected sliced plans: against POT, SciPy's assignments of projections, and loops in plain NumPy."""

import numpy as np
import ot
import pytest
from scipy.optimize import linear_sum_assignment

from elastic_ot.applications.sliced_plans import expected_sliced_plan, sliced_attention
from helpers.array_libraries import LIBRARIES, library

RNG = np.random.default_rng(13)
X, Y = RNG.normal(size=(2, 3, 8, 4))
DIRECTIONS = RNG.normal(size=(4, 6))


def by_pot(x, y, directions, beta=0.0):
    return len(x) * ot.sliced.expected_sliced_plan(x, y, projections=directions, beta=beta)[0]


def soft_sort_matrix(z, tau):
    matrix = np.exp(-abs(np.sort(z)[:, None] - z) / tau)
    return matrix / matrix.sum(axis=1, keepdims=True)


def softly(x, y, directions, tau, inv_temp):
    """One direction after the other; the mass of a plan is 1 where its cost is measured."""
    plans = [soft_sort_matrix(x @ w, tau).T @ soft_sort_matrix(y @ w, tau) for w in directions.T]
    far = ((x[:, None] - y) ** 2).sum(-1)
    costs = np.array([(plan * far).sum() for plan in plans]) / len(x)
    weights = np.exp(-inv_temp * (costs - costs.min()))
    return np.einsum("k,kij->ij", weights / weights.sum(), plans)


@pytest.mark.parametrize("beta", [0.0, 1.5])
@pytest.mark.parametrize("name", LIBRARIES)
def test_exact_sorting_is_pots_plan_times_n(name, beta):
    lib = library(name)
    found = expected_sliced_plan(lib.make(X), lib.make(Y), lib.make(DIRECTIONS), inv_temp=beta)
    assert isinstance(found, lib.kind)
    wanted = np.stack([by_pot(x, y, DIRECTIONS, beta) for x, y in zip(X, Y, strict=True)])
    double = lib.read(found).dtype == np.float64
    np.testing.assert_allclose(lib.read(found), wanted, rtol=0, atol=1e-12 if double else 1e-5)
    for axis in (-1, -2):
        np.testing.assert_allclose(lib.read(found).sum(axis=axis), 1, rtol=0, atol=1e-12 if double else 1e-5)


@pytest.mark.parametrize(("n", "m"), [(8, 5), (3, 8), (4, 8), (1, 6)])
@pytest.mark.parametrize("beta", [0.0, 2.0])
def test_sets_of_different_sizes_share_masses_as_in_pot(n, m, beta):
    x, y = X[0, :n], Y[0, :m]
    found = expected_sliced_plan(x, y, DIRECTIONS, inv_temp=beta)
    # POT 0.9.7 reads weights by the wrong index in the costs of unequal sets: its plans are taken, its costs are not
    far = ((x[:, None] - y) ** 2).sum(-1)
    plans = np.zeros((6, n, m))
    for plan, sparse in zip(plans, ot.sliced.sliced_plans(x, y, projections=DIRECTIONS)[0], strict=True):
        np.add.at(plan, (sparse.rows, sparse.cols), sparse.data)  # cells may come twice
    weights = np.exp(-beta * (plans * far).sum((-1, -2)))
    wanted = n * np.einsum("k,kij->ij", weights / weights.sum(), plans)
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-12)
    np.testing.assert_allclose(found.sum(axis=-1), 1, rtol=0, atol=1e-12)
    np.testing.assert_allclose(found.sum(axis=-2), n / m, rtol=0, atol=1e-12)


def test_one_direction_is_the_best_assignment_of_the_projections():
    w = DIRECTIONS[:, :1]
    row, column = linear_sum_assignment((X[0] @ w - (Y[0] @ w).T) ** 2)
    assert (expected_sliced_plan(X[0], Y[0], w)[row, column] == 1).all()


def test_axes_are_the_default_directions():
    np.testing.assert_array_equal(expected_sliced_plan(X, Y), expected_sliced_plan(X, Y, np.eye(4)))


def test_a_large_inverse_temperature_keeps_the_cheapest_direction():
    found = expected_sliced_plan(X[0], Y[0], DIRECTIONS, inv_temp=1e6)
    plans = [expected_sliced_plan(X[0], Y[0], w[:, None]) for w in DIRECTIONS.T]
    far = ((X[0][:, None] - Y[0]) ** 2).sum(-1)
    np.testing.assert_allclose(found, min(plans, key=lambda plan: (plan * far).sum()), rtol=0, atol=1e-12)


@pytest.mark.parametrize("inv_temp", [0.0, 0.8])
@pytest.mark.parametrize("name", LIBRARIES)
def test_soft_sorting_is_a_loop_over_directions(name, inv_temp):
    lib = library(name)
    found = lib.read(expected_sliced_plan(lib.make(X), lib.make(Y), lib.make(DIRECTIONS), inv_temp=inv_temp, tau=0.3))
    wanted = np.stack([softly(x, y, DIRECTIONS, 0.3, inv_temp) for x, y in zip(X, Y, strict=True)])
    tolerance = 1e-13 if found.dtype == np.float64 else 1e-5
    np.testing.assert_allclose(found, wanted, rtol=0, atol=tolerance)
    np.testing.assert_allclose(found.sum(axis=(-1, -2)), 8, rtol=tolerance)


def test_soft_sorting_is_not_doubly_stochastic_and_tends_to_what_is():
    soft = expected_sliced_plan(X, Y, tau=0.3)
    assert 1e-3 < abs(soft.sum(axis=-2) - 1).max() < 1
    assert abs(soft.sum(axis=-1) - 1).max() > 1e-3
    sharp = expected_sliced_plan(X, Y, tau=1e-6)
    np.testing.assert_allclose(sharp, expected_sliced_plan(X, Y), rtol=0, atol=1e-12)


def test_soft_sorting_of_different_sizes_tends_to_the_exact_one():
    x, y = X[:, :5], Y
    np.testing.assert_allclose(expected_sliced_plan(x, y, tau=1e-6), expected_sliced_plan(x, y), rtol=0, atol=1e-12)


def test_leading_dimensions_broadcast():
    found = expected_sliced_plan(X[:, None], Y[None], DIRECTIONS, inv_temp=1.0, tau=0.2)
    assert found.shape == (3, 3, 8, 8)
    np.testing.assert_allclose(found[2, 1], softly(X[2], Y[1], DIRECTIONS, 0.2, 1.0), rtol=0, atol=1e-13)
    hard = expected_sliced_plan(X[:, None], Y[None], DIRECTIONS)
    np.testing.assert_allclose(hard[2, 1], by_pot(X[2], Y[1], DIRECTIONS), rtol=0, atol=1e-12)


def test_equal_projections_keep_their_order():
    x = np.ones((4, 2))
    np.testing.assert_array_equal(expected_sliced_plan(x, x), np.eye(4))


def test_soft_plans_are_differentiated_by_torch():
    torch = pytest.importorskip("torch")
    x, y, w = (torch.tensor(z).requires_grad_() for z in (X[0, :4, :3], Y[0, :5, :3], DIRECTIONS[:3, :2]))
    inv_temp = torch.tensor(0.7, dtype=torch.float64).requires_grad_()
    assert torch.autograd.gradcheck(
        lambda x, y, w, beta: expected_sliced_plan(x, y, w, inv_temp=beta, tau=0.5), (x, y, w, inv_temp)
    )
    assert torch.autograd.gradcheck(lambda x, y: expected_sliced_plan(x, y, tau=0.5), (x, y))


def test_exact_plans_pass_on_the_derivatives_of_their_weights():
    torch = pytest.importorskip("torch")
    x, y = (torch.tensor(z).requires_grad_() for z in (X[0, :4], Y[0, :4]))
    assert torch.autograd.gradcheck(lambda x, y: expected_sliced_plan(x, y, inv_temp=0.7), (x, y))


def test_straight_through_plans_are_exact_and_have_derivatives():
    torch, jax = pytest.importorskip("torch"), pytest.importorskip("jax")
    weights = RNG.normal(size=(8, 8))
    x, y = (torch.tensor(z).requires_grad_() for z in (X[0], Y[0]))
    found = expected_sliced_plan(x, y, straight_through=0.3)
    np.testing.assert_allclose(found.detach(), expected_sliced_plan(X[0], Y[0]), rtol=0, atol=1e-15)
    (found * torch.tensor(weights)).sum().backward()

    # the product rule with exact matrices as factors and soft ones as derivatives, by differences
    def loss(x, y, soft_x, soft_y):
        total = 0.0
        for j in range(4):
            hard = [np.eye(8)[np.argsort(z[:, j])] for z in (X[0], Y[0])]
            first = soft_sort_matrix(x[:, j], 0.3) if soft_x else hard[0]
            second = soft_sort_matrix(y[:, j], 0.3) if soft_y else hard[1]
            total += (first.T @ second * weights).sum() / 4
        return total

    step = 1e-6
    for tensor, which in ((x, (True, False)), (y, (False, True))):
        wanted = np.zeros((8, 4))
        for index in np.ndindex(8, 4):
            move = np.zeros((8, 4))
            move[index] = step
            pair = (move, 0 * move) if which[0] else (0 * move, move)
            up, down = (loss(X[0] + s * pair[0], Y[0] + s * pair[1], *which) for s in (1, -1))
            wanted[index] = (up - down) / (2 * step)
        np.testing.assert_allclose(tensor.grad, wanted, rtol=0, atol=1e-8)  # steps squared, rounding over steps

    def total(x):
        y = jax.numpy.asarray(Y[0], dtype="float32")
        return (expected_sliced_plan(x, y, straight_through=0.3) * weights.astype("float32")).sum()

    found = jax.jit(jax.grad(total))(jax.numpy.asarray(X[0], dtype="float32"))
    np.testing.assert_allclose(found, x.grad, rtol=0, atol=1e-4)


def by_the_public_code(x, y, inv_temp, tau, padding=None, interpolation=None):
    """ESPFormer's released layer, one axis after the other: descending, squared, sums of Euclidean distances.

    Padding, of queries and keys alike, becomes 1e18.
    """
    if padding is not None:
        x, y = (np.where(padding[:, None], 1e18, z) for z in (x, y))
    plans = []
    for u, v in zip(x.T, y.T, strict=True):
        first, second = (np.exp(-((-np.sort(-z)[:, None] - z) ** 2) / tau) for z in (u, v))
        first, second = (matrix / matrix.sum(axis=1, keepdims=True) for matrix in (first, second))
        plans.append(first.T @ (second if interpolation is None else interpolation @ second))
    costs = np.array([(plan * np.sqrt(((x[:, None] - y) ** 2).sum(-1))).sum() for plan in plans])
    weights = np.exp(-inv_temp * (costs - costs.min()))
    return np.einsum("k,kij->ij", weights / weights.sum(), plans)


PUBLIC = {"squared": True, "metric": "euclidean", "reduction": "sum"}


@pytest.mark.parametrize("name", LIBRARIES)
def test_the_options_of_the_public_code_are_its_formula(name):
    lib = library(name)
    found = lib.read(expected_sliced_plan(lib.make(X), lib.make(Y), inv_temp=0.4, tau=0.05, **PUBLIC))
    wanted = [by_the_public_code(x, y, 0.4, 0.05) for x, y in zip(X, Y, strict=True)]
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-13 if found.dtype == np.float64 else 1e-5)


@pytest.mark.parametrize("name", LIBRARIES)
def test_padding_of_queries_and_keys_is_that_of_the_public_code(name):
    lib = library(name)
    kept = np.array([[True] * 8, [True] * 5 + [False] * 3, [False, True] * 4])
    given = {"inv_temp": 0.4, "tau": 0.05, "x_mask": lib.make(kept), "y_mask": lib.make(kept), **PUBLIC}
    found = lib.read(expected_sliced_plan(lib.make(X), lib.make(Y), **given))
    tolerance = 1e-13 if found.dtype == np.float64 else 1e-5
    for plan, x, y, mask in zip(found, X, Y, kept, strict=True):
        wanted = by_the_public_code(x, y, 0.4, 0.05, padding=~mask)
        np.testing.assert_allclose(plan[np.ix_(mask, mask)], wanted[np.ix_(mask, mask)], rtol=0, atol=tolerance)
        assert not plan[~mask].any()
        assert not plan[:, ~mask].any()


@pytest.mark.parametrize("sort", [{}, {"tau": 0.2}, {"straight_through": 0.2}], ids=str)
@pytest.mark.parametrize("options", [{}, PUBLIC], ids=["default", "public"])
def test_padding_changes_nothing_for_the_other_points(sort, options):
    options = {"inv_temp": 0.7, **sort, **options}
    rows, cols = np.arange(8) % 3 > 0, np.arange(8) < 6
    found = expected_sliced_plan(X, Y, DIRECTIONS, x_mask=rows, y_mask=cols, **options)
    wanted = expected_sliced_plan(X[:, rows], Y[:, cols], DIRECTIONS, **options)
    np.testing.assert_allclose(found[:, rows][:, :, cols], wanted, rtol=0, atol=1e-14)
    assert found.sum() == pytest.approx(wanted.sum(), rel=1e-12)
    one_side = expected_sliced_plan(X, Y, DIRECTIONS, y_mask=cols, **options)
    np.testing.assert_allclose(
        one_side[..., cols], expected_sliced_plan(X, Y[:, cols], DIRECTIONS, **options), rtol=0, atol=1e-14
    )
    assert not one_side[..., ~cols].any()


@pytest.mark.parametrize("sort", [{}, {"straight_through": 0.3}], ids=str)
def test_exact_plans_of_padding_alone_are_zero(sort):
    mask = np.zeros((3, 8), bool)
    mask[0] = True
    found = expected_sliced_plan(X, Y, x_mask=mask, y_mask=mask, **sort)
    assert not found[1:].any()
    np.testing.assert_allclose(found[0], expected_sliced_plan(X[0], Y[0]), rtol=0, atol=1e-15)


def test_what_is_padding_altogether_has_no_weights():
    torch = pytest.importorskip("torch")
    x, y = (torch.tensor(z).requires_grad_() for z in (X, Y))
    mask = torch.ones(3, 8, dtype=torch.bool)
    mask[1] = False
    found = expected_sliced_plan(x, y, inv_temp=1.0, tau=0.3, x_mask=mask, y_mask=mask, **PUBLIC)
    assert not found[1].any()
    (found**2).sum().backward()
    assert torch.isfinite(x.grad).all()
    assert not x.grad[1].any()


@pytest.mark.parametrize("tau", [None, 0.05])
def test_an_interpolation_takes_the_place_of_overlaps(tau):
    x, y = X[0, :5], Y[0]
    overlaps = 5 * ot.emd_1d(np.arange(5.0), np.arange(8.0))
    options = {"tau": tau, "inv_temp": 0.3, **PUBLIC}
    found = expected_sliced_plan(x, y, interpolation=overlaps, **options)
    np.testing.assert_allclose(found, expected_sliced_plan(x, y, **options), rtol=0, atol=1e-12)
    given = RNG.random((5, 8))
    found = expected_sliced_plan(x, y, interpolation=given, **options)
    # both the public code and we are free to sort either way round if the matrix is turned as well
    wanted = by_the_public_code(x, y, 0.3, 1e-9 if tau is None else tau, interpolation=given[::-1, ::-1])
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-12)


def test_options_of_the_public_code_are_differentiated_by_torch():
    torch = pytest.importorskip("torch")
    x, y = (torch.tensor(z).requires_grad_() for z in (X[0, :4, :3], Y[0, :5, :3]))
    masks = {"x_mask": torch.tensor([True, True, False, True]), "y_mask": torch.tensor([True, False, True, True, True])}
    for more in ({}, masks):
        options = {"inv_temp": 0.5, "tau": 0.4, **PUBLIC, **more}
        assert torch.autograd.gradcheck(lambda x, y, options=options: expected_sliced_plan(x, y, **options), (x, y))


def test_attention_leaves_out_padded_keys_and_queries():
    values = RNG.normal(size=(3, 8, 2))
    kept = np.arange(8) < 6
    out, weights = sliced_attention(X, Y, values, query_mask=kept, key_mask=kept, need_weights=True)
    short = sliced_attention(X[:, :6], Y[:, :6], values[:, :6], need_weights=True)
    np.testing.assert_allclose(out[:, :6], short[0], rtol=0, atol=1e-14)
    np.testing.assert_allclose(weights[:, :6, :6], short[1], rtol=0, atol=1e-14)
    assert not out[:, 6:].any()


@pytest.mark.parametrize("name", LIBRARIES)
def test_attention_applies_the_plan_of_scaled_queries_and_keys(name):
    lib = library(name)
    values = RNG.normal(size=(3, 8, 2))
    found = lib.read(sliced_attention(lib.make(X), lib.make(Y), lib.make(values), inv_temp=2.0))
    wanted = [by_pot(x / 2, y / 2, np.eye(4), 2.0) @ v for x, y, v in zip(X, Y, values, strict=True)]
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-12 if found.dtype == np.float64 else 1e-5)


def test_attention_returns_its_weights_too():
    values = RNG.normal(size=(3, 8, 2))
    out, weights = sliced_attention(X, Y, values, need_weights=True)
    wanted = [by_pot(x / 2, y / 2, np.eye(4)) for x, y in zip(X, Y, strict=True)]
    np.testing.assert_allclose(weights, wanted, rtol=0, atol=1e-12)
    np.testing.assert_array_equal(out, sliced_attention(X, Y, values))


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: expected_sliced_plan(X[0, 0], Y), ValueError, r"x has shape \(4,\); it must be \(\.\.\., n, d\)"),
        (
            lambda: expected_sliced_plan(X, Y[..., :3]),
            ValueError,
            r"y \(3, 8, 3\); their last dimensions must be equal",
        ),
        (lambda: expected_sliced_plan(X, Y[:2]), ValueError, "leading dimensions must broadcast"),
        (
            lambda: expected_sliced_plan(X, Y, DIRECTIONS.T),
            ValueError,
            r"directions has shape \(6, 4\); it must be \(4",
        ),
        (lambda: expected_sliced_plan(X, np.full((8, 4), np.nan)), ValueError, r"y\[0, 0\] is nan"),
        (lambda: expected_sliced_plan(X, Y, inv_temp=-1.0), ValueError, "inv_temp is -1.0; it must be finite and >= 0"),
        (lambda: expected_sliced_plan(X, Y, tau=0.0), ValueError, "tau is 0.0; it must be finite and > 0"),
        (lambda: expected_sliced_plan(X, Y, straight_through=-2), ValueError, "straight_through is -2"),
        (lambda: expected_sliced_plan(X, Y, tau=1, straight_through=1), ValueError, "pass one of them"),
        (lambda: expected_sliced_plan(X, Y, metric="cosine"), ValueError, "metric is 'cosine'; choose from"),
        (lambda: expected_sliced_plan(X, Y, reduction="max"), ValueError, "reduction is 'max'; choose from"),
        (lambda: expected_sliced_plan(X, Y, x_mask=np.ones(8)), TypeError, "x_mask has dtype float64"),
        (lambda: sliced_attention(X, Y, Y, key_mask=np.ones(7, bool)), ValueError, r"y_mask has shape \(7,\)"),
        (lambda: expected_sliced_plan(X, Y, interpolation=np.eye(7)), ValueError, r"interpolation has shape \(7, 7\)"),
        (
            lambda: expected_sliced_plan(X, Y, interpolation=np.eye(8), y_mask=np.ones(8, bool)),
            ValueError,
            "interpolation and a mask are given",
        ),
        (lambda: expected_sliced_plan(X, Y.astype("f4")), TypeError, "x has dtype float64 and y float32"),
        (lambda: sliced_attention(X, Y, Y[:, :3]), ValueError, "there must be a value for each key"),
        (lambda: sliced_attention(X, Y[..., :2], Y), ValueError, "q has shape .* their last dimensions must be equal"),
        (lambda: sliced_attention(X, Y, Y.astype("f4")), TypeError, "q has dtype float64 and v float32"),
    ],
)
def test_bad_input_is_refused_by_name_and_value(call, error, message):
    with pytest.raises(error, match=message):
        call()
