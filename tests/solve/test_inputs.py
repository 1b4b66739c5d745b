"""What may be passed: dtypes, memory orders, views, masks, infinities, zero weights, array-likes."""

import numpy as np
import pytest

import elastic_ot as eot
from helpers.oracle import METHODS, Case, random_case

CASE = random_case(131, 9, 14, cols=("KL", 0.5))
INTEGERS = np.random.default_rng(132).integers(0, 20, (6, 8))


def solve(cost, a=CASE.a, b=CASE.b, **options):
    options = {"epsilon": CASE.epsilon, "cols": eot.KL(0.5), "tol": 1e-10, "on_failure": "raise"} | options
    return eot.solve(cost, a, b, **options)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("dtype", ["int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"])
def test_integer_costs_are_solved_in_float64(dtype, method):
    solution = eot.solve(INTEGERS.astype(dtype), epsilon=2.0, method=method, tol=1e-10, on_failure="raise")
    expected = eot.solve(INTEGERS.astype(float), epsilon=2.0, method=method, tol=1e-10, on_failure="raise")
    assert solution.plan.dtype == np.float64
    assert (solution.plan == expected.plan).all()


def test_large_integers_keep_their_value():
    cost = INTEGERS.astype(np.int64) * 10**9
    solution = eot.solve(cost, epsilon=2e9, tol=1e-10, on_failure="raise")
    expected = eot.solve(INTEGERS, epsilon=2.0, tol=1e-10, on_failure="raise")
    np.testing.assert_allclose(solution.plan, expected.plan, rtol=0, atol=1e-9)


def test_float16_costs_are_solved_in_float32():
    half = CASE.cost.astype(np.float16)
    solution = solve(half, tol=1e-5)
    expected = solve(half.astype(np.float32), tol=1e-5)
    assert np.array_equal(solution.f, expected.f)
    assert solution.plan.dtype in (np.float16, np.float32)
    np.testing.assert_allclose(solution.plan, expected.plan, rtol=1e-3)
    assert (solution.plan.sum(axis=1) > 0.0).all()


def test_float16_costs_do_not_overflow_at_their_own_maximum():
    cost = np.array([[0.0, 60000.0], [60000.0, 0.0]], dtype=np.float16)
    solution = eot.solve(cost, epsilon=1.0, on_failure="raise")
    np.testing.assert_allclose(solution.plan, np.eye(2) / 2, atol=1e-6)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_plan_has_the_dtype_of_the_cost_and_the_potentials_are_float64(dtype):
    solution = solve(CASE.cost.astype(dtype), CASE.a.astype(dtype), tol=1e-5)
    assert solution.plan.dtype == dtype
    assert solution.rounded_plan().dtype == np.float64
    assert solution.f.dtype == solution.g.dtype == np.float64


def test_weights_of_another_dtype_than_the_cost_are_converted():
    ones = np.ones(6, dtype=np.int32), np.full(8, 6 / 8, dtype=np.float32)
    mixed = eot.solve(INTEGERS, *ones, epsilon=2.0, tol=1e-10, on_failure="raise")
    plain = eot.solve(INTEGERS, np.ones(6), np.full(8, 6 / 8), epsilon=2.0, tol=1e-10, on_failure="raise")
    np.testing.assert_allclose(mixed.plan, plain.plan, rtol=0, atol=1e-9)


def test_float32_masses_that_differ_by_rounding_are_equal():
    rng = np.random.default_rng(133)
    a, b = (rng.random(k).astype(np.float32) for k in (400, 300))
    a, b = a / a.sum(dtype=np.float32), b / b.sum(dtype=np.float32)
    assert a.sum(dtype=float) != b.sum(dtype=float)
    cost = rng.random((400, 300), dtype=np.float32)
    assert eot.solve(cost, a, b, epsilon=0.1, tol=1e-4, on_failure="raise").converged


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_memory_layout_changes_nothing(dtype, method):
    tol = 1e-10 if dtype == np.float64 else 1e-5
    cost = CASE.cost.astype(dtype)
    expected = solve(cost, method=method, tol=tol)
    layouts = {
        "fortran": np.asfortranarray(cost),
        "transposed view": cost.T.copy().T,
        "strided": np.repeat(np.repeat(cost, 2, axis=0), 3, axis=1)[::2, ::3],
        "reversed": cost[::-1, ::-1].copy()[::-1, ::-1],
        "big endian": cost.astype(cost.dtype.newbyteorder(">")),
        "unaligned": np.frombuffer(b"\0" + cost.tobytes(), dtype=dtype, offset=1).reshape(cost.shape),
    }
    for name, layout in layouts.items():
        solution = solve(layout, method=method, tol=tol)
        # Another summation order: both are within tol of the optimum.
        np.testing.assert_allclose(solution.plan, expected.plan, rtol=0, atol=10 * tol, err_msg=name)
        np.testing.assert_allclose(solution.f, expected.f, rtol=0, atol=10 * tol, err_msg=name)
        assert solution.transport_cost == pytest.approx(expected.transport_cost, abs=10 * tol), name


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("method", METHODS)
def test_read_only_inputs_are_accepted_and_never_written(method, order):
    cost, a, b, mask = CASE.cost.copy(order=order), CASE.a.copy(), CASE.b.copy(), CASE.cost < 0.95
    for array in (cost, a, b, mask):
        array.flags.writeable = False
    solution = solve(cost, a, b, mask=mask, method=method)
    for read in (solution.plan, solution.rounded_plan(), solution.row_marginal, solution.sparse_plan()):
        assert read is not None
    assert (cost == CASE.cost).all()


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("method", METHODS)
def test_writable_inputs_are_never_written(method, order):
    cost, a, b = CASE.cost.copy(order=order), CASE.a.copy(), CASE.b.copy()
    cost[0, 0], a[2] = np.inf, 0.0
    before = [x.copy() for x in (cost, a, b)]
    solution = solve(cost, a, b, method=method)
    assert solution.plan.flags.writeable
    solution.plan[:] = -1.0
    for array, old in zip((cost, a, b), before, strict=True):
        assert (array == old).all()


def test_broadcast_views_are_accepted():
    cost = np.broadcast_to(CASE.cost[0], CASE.cost.shape)
    weights = np.broadcast_to(1.0, 9)
    solution = solve(cost, weights)
    np.testing.assert_allclose(solution.plan, solve(cost.copy(), weights.copy()).plan, rtol=0, atol=1e-10)


def test_lists_and_scalar_types_are_array_likes():
    solution = eot.solve([[0, 1], [1, 0]], [1, 1], [1, 1], epsilon=1, tol=1e-12, on_failure="raise")
    np.testing.assert_allclose(solution.plan, np.array([[1.0, np.exp(-1.0)], [np.exp(-1.0), 1.0]]) / (1 + np.exp(-1.0)))
    numpy_scalars = eot.solve(
        [[0, 1], [1, 0]],
        (1, 1),
        (1, 1),
        epsilon=np.float32(1),
        tol=np.float64(1e-12),
        max_iter=np.int64(50),
        mask=[[1 == 1] * 2] * 2,
    )
    np.testing.assert_allclose(numpy_scalars.plan, solution.plan)


def test_default_weights_are_uniform_of_mass_one():
    solution = eot.solve(CASE.cost, epsilon=0.1, tol=1e-10, on_failure="raise")
    explicit = eot.solve(CASE.cost, np.full(9, 1 / 9), np.full(14, 1 / 14), epsilon=0.1, tol=1e-10, on_failure="raise")
    np.testing.assert_allclose(solution.plan, explicit.plan, rtol=1e-12)
    assert solution.plan.sum() == pytest.approx(1.0, rel=1e-9)


def test_mask_and_infinite_costs_add_up():
    rng = np.random.default_rng(136)
    mask, cost = rng.random(CASE.cost.shape) > 0.2, CASE.cost.copy()
    cost[rng.random(CASE.cost.shape) > 0.8] = np.inf
    both = solve(cost, mask=mask, rows=eot.KL(1.0))
    one = solve(np.where(mask, cost, np.inf), rows=eot.KL(1.0))
    np.testing.assert_allclose(both.plan, one.plan, rtol=0, atol=1e-15)


def test_what_lies_under_a_mask_is_not_read():
    mask = CASE.cost < 0.9
    hidden = np.where(mask, CASE.cost, 1e30)
    expected = solve(CASE.cost, mask=mask, rows=eot.KL(1.0))
    np.testing.assert_allclose(solve(hidden, mask=mask, rows=eot.KL(1.0)).plan, expected.plan, rtol=0, atol=1e-12)
    assert solve(hidden, mask=mask, rows=eot.KL(1.0)).method == expected.method


def test_penalties_are_values():
    assert eot.KL(0.5) == eot.KL(0.5)
    assert eot.KL(0.5) != eot.KL(0.6)
    assert eot.KL(0.5) != eot.TV(0.5)
    assert len({eot.Fixed(), eot.Fixed(), eot.AtMost(), eot.Between(0.5, 2.0)}) == 3
    assert "0.5" in repr(eot.KL(0.5))
    with pytest.raises(AttributeError):
        eot.KL(0.5).rho = 1.0


def test_the_case_helper_passes_its_dtype_on():
    case = Case(np.zeros((2, 2)), np.ones(2), np.ones(2), 1.0, dtype=np.float32)
    assert case.solve().plan.dtype == np.float32
