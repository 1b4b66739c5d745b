"""Stacks of assignments, solved in one call on any number of threads, against SciPy and all permutations."""

from itertools import permutations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import linear_sum_assignment

import elastic_ot as eot
from elastic_ot.api import assign_many
from elastic_ot.solvers.exact import all_cells
from helpers.assignments import FAMILIES, as_floats, assert_as_cheap_as_scipy, assert_proved, feasible_mask

INF = np.inf


@pytest.fixture
def all_together(monkeypatch):
    """A problem that is solved apart from the others is a failure."""

    def alone(which, call):
        assert not list(which)
        return iter(())

    monkeypatch.setattr(assign_many, "each", alone)


def stack_of(family, rng, count, shape):
    return np.array([FAMILIES[family](rng, *shape) for _ in range(count)])


@pytest.mark.parametrize("maximize", [False, True])
@pytest.mark.parametrize("shape", [(1, 1), (7, 7), (30, 30), (5, 12), (12, 5), (1, 6), (6, 1)])
@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_has_scipy_s_optima_and_proofs(family, shape, maximize, all_together):
    costs = stack_of(family, np.random.default_rng([1, *shape]), 6, shape)
    result = eot.assign(costs, maximize)
    for one, cost in zip(result, costs, strict=True):
        assert_proved(one, cost, maximize)
        assert_as_cheap_as_scipy(one, cost, maximize)


@pytest.mark.parametrize("maximize", [False, True])
@pytest.mark.parametrize("shape", [(8, 8), (6, 11), (11, 6)])
def test_forbidden_pairs_by_masks_or_infinities(shape, maximize, all_together):
    rng = np.random.default_rng([2, *shape])
    costs, masks = rng.normal(size=(40, *shape)), np.array([feasible_mask(rng, *shape) for _ in range(40)])
    common = feasible_mask(rng, *shape)
    for stack, mask, of in (
        (costs, masks, lambda k: masks[k]),
        (costs, common, lambda _: common),
        (as_floats(costs, maximize, masks), None, lambda k: masks[k]),
    ):
        for k, one in enumerate(eot.assign(stack, maximize, mask=mask)):
            assert_proved(one, costs[k], maximize, of(k))
            assert_as_cheap_as_scipy(one, costs[k], maximize, of(k))


@pytest.mark.parametrize("maximize", [False, True])
@pytest.mark.parametrize("shape", [(5, 5), (4, 6), (6, 4)])
def test_no_permutation_is_better(shape, maximize, all_together):
    costs = np.random.default_rng([3, *shape]).integers(-4, 5, (30, *shape))
    short, long = sorted(shape)
    for cost, found in zip(costs, eot.assign(costs, maximize).cost, strict=True):
        wide = cost if shape[0] <= shape[1] else cost.T
        sums = [int(wide[np.arange(short), p].sum()) for p in permutations(range(long), short)]
        assert found == (max(sums) if maximize else min(sums))


@given(seed=st.integers(0, 2**32), n=st.integers(1, 9), m=st.integers(1, 9), share=st.sampled_from([0.3, 0.6, 1.0]))
def test_random_stacks_are_solved_or_the_first_one_without_an_assignment_is_named(seed, n, m, share):
    rng = np.random.default_rng(seed)
    costs = np.where(rng.random((5, n, m)) < share, rng.integers(0, 4, (5, n, m)).astype(float), INF)
    bad = [k for k, cost in enumerate(costs) if not has_assignment(cost)]
    if bad:
        with pytest.raises(eot.InfeasibleError, match=f"problem {bad[0]}: "):
            eot.assign(costs)
    else:
        for one, cost in zip(eot.assign(costs), costs, strict=True):
            assert_proved(one, cost)
            assert one.gap == 0.0
            assert_as_cheap_as_scipy(one, cost)


def has_assignment(cost):
    try:
        linear_sum_assignment(cost)
    except ValueError:
        return False
    return True


@pytest.mark.parametrize("bits", [20, 40, 50])
@pytest.mark.parametrize("dtype", ["int64", "uint64", "float64"])
def test_whole_numbers_are_exact(bits, dtype, all_together):
    """A difference of one is seen beside numbers that all are large, and where costs differ by as much."""
    rng = np.random.default_rng(4)
    near, far = 2**bits - rng.integers(1, 9, (10, 6, 6)), rng.integers(0, 2 ** min(bits, 46), (10, 6, 6))
    for costs in (near.astype(dtype), far.astype(dtype)):
        result = eot.assign(costs)
        assert (result.gap == 0.0).all()
        for one, cost in zip(result, costs, strict=True):
            sums = [sum(cost[np.arange(6), list(p)].tolist()) for p in permutations(range(6))]
            assert one.cost == min(sums)


def test_integers_that_float64_cannot_hold_are_named():
    costs = np.ones((3, 2, 2), np.int64)
    costs[2, 1, 0] = 2**50 + 1
    with pytest.raises(ValueError, match=r"^problem 2: cost\[1, 0\] is 1125899906842625; beyond 2\*\*50"):
        eot.assign(costs)


def test_integers_whose_potentials_have_no_exact_sums_are_left_to_others():
    cost = 2**49 * np.minimum(np.arange(64)[:, None] + 1, np.arange(64)) - 2**50
    cost = np.clip(cost, -(2**50), 2**50)
    result = eot.assign(np.stack([cost, cost.T]))
    assert_as_cheap_as_scipy(result[0], cost)
    assert_as_cheap_as_scipy(result[1], cost.T)


@pytest.mark.parametrize("offset", [-1e12, 1e12])
def test_a_constant_that_all_costs_share_costs_no_digits(offset, all_together):
    """Differences are multiples of 2^-13, which numbers of this size still have."""
    small = np.random.default_rng(5).integers(0, 1000, (20, 9, 9)) * 2.0**-13
    for shifted, plain in zip(eot.assign(small + offset), eot.assign(small), strict=True):
        assert (shifted.col_ind == plain.col_ind).all()


@pytest.mark.parametrize("dtype", ["bool", "int8", "uint16", "float16", "float32", ">f8", "longdouble"])
@pytest.mark.parametrize("shape", [(7, 9), (9, 7)])
def test_other_dtypes(dtype, shape, all_together):
    costs = np.random.default_rng(6).integers(0, 100, (8, *shape)).astype(dtype)
    for maximize in (False, True):
        for one, cost in zip(eot.assign(costs, maximize), costs, strict=True):
            assert_proved(one, cost, maximize)
            assert_as_cheap_as_scipy(one, cost, maximize)


def test_memory_layout_and_writability_change_nothing(all_together):
    costs = np.random.default_rng(7).random((9, 6, 8))
    before, expected = costs.copy(), eot.assign(costs)
    frozen = costs.copy()
    frozen.flags.writeable = False
    unaligned = np.frombuffer(b"\0" + costs.tobytes(), offset=1).reshape(costs.shape)
    for layout in (frozen, unaligned, np.asfortranarray(costs), costs[::-1].copy()[::-1], costs.tolist()):
        result = eot.assign(layout)
        for name in ("row_ind", "col_ind", "u", "v", "cost", "gap"):
            assert np.array_equal(getattr(result, name), getattr(expected, name))
    assert (costs == before).all()


@pytest.mark.parametrize("shape", [(4, 4), (40, 40), (20, 33)])
def test_threads_and_neighbours_change_no_bit(shape):
    costs = stack_of("low rank", np.random.default_rng(8), 64, shape)
    before = eot.get_num_threads()
    results = []
    try:
        for threads in (1, min(2, before)):
            eot.set_num_threads(threads)
            results.append(eot.assign(costs))
    finally:
        eot.set_num_threads(before)
    results.append(eot.assign(costs[::-1].copy())[::-1])
    one, two, reversed_ = results
    assert (one.col_ind == two.col_ind).all()
    assert (one.u == two.u).all()
    assert (one.v == two.v).all()
    for k in range(64):
        assert (reversed_[k].u == one.u[k]).all()


@pytest.mark.parametrize("count", [0, 1])
def test_a_stack_of_none_or_one(count):
    costs = np.random.default_rng(9).random((count, 3, 4))
    result = eot.assign(costs)
    assert len(result) == count
    assert result.row_ind.shape == result.col_ind.shape == (count, 3)
    assert result.u.shape == (count, 3)
    assert result.v.shape == (count, 4)
    assert result.gap.shape == result.cost.shape == (count,)
    for one, cost in zip(result, costs, strict=True):
        assert_proved(one, cost)


def test_what_is_not_proved_is_solved_alone(monkeypatch):
    """Beside numbers of 1e17 the digits of the others are lost to sums: SciPy decides, as it does for each alone."""
    costs = np.random.default_rng(10).random((4, 6, 6))
    costs[2] = np.where(np.eye(6, dtype=bool), 1e290, INF)
    costs[3] *= 1e-290
    costs[3, 0] = 1e291
    result = eot.assign(costs)
    for one, cost in zip(result, costs, strict=True):
        assert_as_cheap_as_scipy(one, cost)
    monkeypatch.setattr(all_cells, "PROOF", -1.0)
    for one, cost in zip(eot.assign(costs[:2]), costs[:2], strict=True):
        assert_proved(one, cost)


def test_hard_problems_are_left_to_the_choice_of_cells(monkeypatch):
    """Products of two sorted lists: nearly all rows want the same column."""
    cost = FAMILIES["Machol-Wien"](None, 80, 80).astype(float)
    tried = []
    monkeypatch.setattr(all_cells, "_solve", lambda *given: tried.append(solve(*given)) or tried[-1])
    result = eot.assign(cost)
    assert_proved(result, cost)
    assert not tried[0].solved[0]


def test_beyond_1500_rows_all_cells_serve_where_rows_compete(monkeypatch):
    """Products of two factors in size are such costs, in either order and sign; random ones need no annealing."""
    rng = np.random.default_rng(0)
    cost = np.abs(rng.normal(size=(1600, 2)) @ rng.normal(size=(2, 1600)))
    tried = []
    monkeypatch.setattr(all_cells, "_solve", lambda *arguments: tried.append(arguments) or solve(*arguments))
    for matrix, maximize in ((cost, False), (np.asfortranarray(cost), False), (-cost, True)):
        assert_as_cheap_as_scipy(eot.assign(matrix, maximize), matrix, maximize)
    assert len(tried) == 3
    eot.assign(rng.random((1600, 1600)))
    assert len(tried) == 3


solve = all_cells._solve
