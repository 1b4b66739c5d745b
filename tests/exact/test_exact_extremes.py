"""`exact` and `assign` where digits are scarce: weights over hundreds of decades, and an offset of all costs."""

import numpy as np
import ot
import pytest
from scipy.optimize import linear_sum_assignment

import elastic_ot as eot
from elastic_ot.api import assign as unregularised
from helpers.oracle import Case
from helpers.transport_proof import assert_proved, solved


def softmax(rng, n, spread):
    logits = spread * rng.random(n)
    weights = np.exp(logits - logits.max())
    return weights / weights.sum()


@pytest.mark.parametrize("n", [20, 450])
@pytest.mark.parametrize("spread", [300.0, 740.0, 2000.0])
def test_weights_down_to_subnormal_numbers(spread, n):
    rng = np.random.default_rng([1, n])
    case = Case(rng.random((n, n)), softmax(rng, n, spread), softmax(rng, n, spread), 1.0)
    for one in (case, case.transposed):
        sol = solved(one)
        assert_proved(one, sol)
        # The weights that POT would trip over carry less than a unit in the last place of the value.
        a, b = (np.where(w < 1e-20, 0.0, w) for w in (one.a, one.b))
        assert sol.value == pytest.approx(ot.emd2(a / a.sum(), b / b.sum(), one.cost), abs=1e-15)


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_weights_in_low_precision_over_their_whole_range(dtype):
    rng = np.random.default_rng(2)
    tiny = float(np.finfo(dtype).smallest_subnormal)
    a = np.array([tiny, 3 * tiny, 0.25, 0.5, 0.25], dtype)
    b = np.array([0.5, tiny, 0.25, 0.25, 2 * tiny, tiny], dtype)
    case = Case(rng.random((5, 6)), a.astype(float), b.astype(float), 1.0)
    sol = eot.exact(case.cost, a, b)
    best = ot.emd2(case.a / case.a.sum(), case.b / case.b.sum(), case.cost) * case.a.sum()
    assert sol.value == pytest.approx(best, rel=1e-12)


def test_a_weight_that_no_plan_can_carry_does_not_cost_the_others_their_digits():
    """Less than a unit of mass, and only by way of a number that stands for a forbidden cell."""
    cost = np.array([[0.9, 1e20, 1e20], [0.6, 1e20, 0.8]])
    a, b = np.array([1.0, 0.5]), np.array([1.0, 1e-46, 0.5])
    sol = eot.exact(cost, a, b)
    assert sol.value == pytest.approx(0.9 + 0.5 * 0.8, rel=1e-15)
    assert (cost - sol.f[:, None] - sol.g).min() >= -1e-15
    assert np.abs((cost - sol.f[:, None] - sol.g)[sol.row_ind, sol.col_ind]).max() <= 1e-15


def test_sides_of_very_different_mass():
    """What the lighter side has is moved to its last digit; the heavier one only bounds it."""
    rng = np.random.default_rng(3)
    cost, a, b = rng.random((6, 5)), rng.dirichlet(np.ones(6)), rng.dirichlet(np.ones(5))
    for factor in (1e20, 1e100, 1e250):
        sol = eot.exact(cost, a, factor * b, cols=eot.AtMost())
        assert sol.value == pytest.approx(a @ cost.min(axis=1), rel=1e-14)
        least = eot.exact(cost, factor * a, b, rows=eot.AtMost(), cols=eot.Between(0.5, np.inf))
        assert least.value == pytest.approx(0.5 * b @ cost.min(axis=0), rel=1e-14)


OFFSETS = [1e3, 1e8, 1e12, 1e15, -1e10, -1e15]


@pytest.mark.parametrize("offset", OFFSETS)
@pytest.mark.parametrize("shape", [(12, 12), (9, 20), (20, 9)])
def test_an_offset_of_all_costs_changes_no_assignment(shape, offset, monkeypatch):
    """Costs with the offset are given; what they differ by is what float64 has left of them."""
    rng = np.random.default_rng([4, *shape])
    cost = rng.random(shape) + offset
    best = linear_sum_assignment(cost - offset)  # exact: the differences are floats
    for small in (0, 1000):
        monkeypatch.setattr(unregularised, "SMALL", small)
        for one in (cost, np.asfortranarray(cost)):
            result = eot.assign(one)
            assert (cost - offset)[tuple(result)].sum() == pytest.approx((cost - offset)[best].sum(), abs=1e-12)
            # The cost is one rounded sum, and so is every potential.
            assert result.gap <= 4.0 * np.finfo(float).eps * abs(result.cost)
            slack = cost - result.u[:, None] - result.v
            assert slack.min() >= -np.spacing(abs(offset))


@pytest.mark.parametrize("offset", OFFSETS)
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_an_offset_of_all_costs_moves_no_plan(offset, dtype):
    for n, m, seed in ((12, 12, 0), (9, 30, 1), (60, 60, 2)):
        rng = np.random.default_rng([5, seed])
        cost = (rng.random((n, m)) + offset).astype(dtype)
        a, b = rng.dirichlet(np.ones(n)), rng.dirichlet(np.ones(m))
        sol = eot.exact(cost, a, b)
        differences = cost.astype(float) - float(cost.min())
        value = float((sol.mass * differences[sol.row_ind, sol.col_ind]).sum())
        assert value == pytest.approx(ot.emd2(a, b, differences), rel=1e-12, abs=1e-12)
        assert sol.gap <= 8.0 * np.finfo(float).eps * abs(offset)


def test_an_offset_beside_numbers_that_stand_for_forbidden_cells():
    rng = np.random.default_rng(6)
    differences, mask = rng.random((15, 15)), rng.random((15, 15)) < 0.6
    np.fill_diagonal(mask, True)
    a = rng.dirichlet(np.ones(15))
    best = eot.exact(differences, a, a[::-1], mask=mask | np.eye(15, dtype=bool)[::-1])
    cost = np.where(mask | np.eye(15, dtype=bool)[::-1], differences + 1e12, 1e20)
    sol = eot.exact(cost, a, a[::-1])
    moved = (sol.mass * differences[sol.row_ind, sol.col_ind]).sum()
    assert moved == pytest.approx(best.value, abs=15 * np.spacing(1e12))


@pytest.mark.parametrize("cols", [eot.Between(0.5, 2.0), eot.TV(3.0), eot.AtMost(), eot.Free()], ids=repr)
@pytest.mark.parametrize("offset", [1e10, -1e10])
def test_an_offset_where_one_side_bounds_the_mass(offset, cols):
    """All rows send what they have, so that the offset adds its product with their mass and changes nothing else."""
    rng = np.random.default_rng(7)
    grid = np.round(rng.random((8, 6)), 3) * 1024.0
    a = rng.dirichlet(np.ones(8))
    sol, plain = eot.exact(grid + offset, a, cols=cols), eot.exact(grid, a, cols=cols)
    moved = (sol.mass * grid[sol.row_ind, sol.col_ind]).sum()
    assert moved == pytest.approx(plain.transport_cost, rel=1e-9)
    assert sol.gap <= 1e-15 * abs(offset)
