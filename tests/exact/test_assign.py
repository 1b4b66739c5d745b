"""`assign` does what SciPy's `linear_sum_assignment` documents and proves it, whoever has solved the problem."""

import copy
import pickle
from itertools import permutations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import linear_sum_assignment

import elastic_ot as eot
from elastic_ot.api import assign as unregularised
from helpers.assignments import (
    FAMILIES,
    as_floats,
    assert_as_cheap_as_scipy,
    assert_matching,
    assert_proved,
    begin_with_few_cells,
    choose_cells,
    cloud,
    feasible_mask,
    matched_sum,
)

INF = np.inf
OWN = 1  # nothing but an empty matrix is smaller


@pytest.fixture(autouse=True, scope="module", params=["scipy", "all cells", "few cells", "grown"])
def solver(request):
    """Everything below holds for small matrices, which go to SciPy, and for what our own solvers find for them."""
    with pytest.MonkeyPatch.context() as patch:
        if request.param != "scipy":
            patch.setattr(unregularised, "SMALL", OWN)
        if request.param == "few cells":
            choose_cells(patch)
        if request.param == "grown":
            begin_with_few_cells(patch)
        yield request.param


# Optima that stand in SciPy's tests or in textbooks; the last ones have forbidden pairs.
KNOWN = [
    ([[4, 1, 3], [2, 0, 5], [3, 2, 2]], 5),
    ([[400, 150, 400], [400, 450, 600], [300, 225, 300]], 850),
    ([[400, 150, 400, 1], [400, 450, 600, 2], [300, 225, 300, 3]], 452),
    ([[10, 10, 8], [9, 8, 1], [9, 7, 4]], 18),
    ([[10, 10, 8, 11], [9, 8, 1, 1], [9, 7, 4, 10]], 15),
    ([[7]], 7),
    ([[-3, -1], [-2, -5]], -8),
    ([[3, 1, 2]], 1),
    ([[10, INF, INF], [INF, INF, 1], [INF, 7, INF]], 18),
    ([[INF, 2.5], [0.5, INF]], 3.0),
    ([[INF, 2.5, 9.0], [0.5, INF, INF]], 3.0),
]


@pytest.mark.parametrize(("cost", "optimum"), KNOWN)
def test_known_optima(cost, optimum):
    for matrix, maximize in ((np.array(cost), False), (-np.array(cost), True)):
        result = eot.assign(matrix, maximize)
        assert result.cost == (-optimum if maximize else optimum)
        assert_proved(result, matrix, maximize)
        transposed = eot.assign(matrix.T, maximize=maximize)
        assert transposed.cost == result.cost
        assert_proved(transposed, matrix.T, maximize)


def test_the_result_is_scipy_s_tuple():
    cost = np.array([[4, 1, 3], [2, 0, 5], [3, 2, 2]])
    result = eot.assign(cost)
    row_ind, col_ind = result
    assert isinstance(result, tuple)
    assert len(result) == 2
    assert row_ind is result[0] is result.row_ind
    assert col_ind is result[1] is result.col_ind
    assert row_ind.tolist() == [0, 1, 2]
    assert col_ind.tolist() == [1, 0, 2]
    assert cost[result].tolist() == [1, 2, 2]
    assert cost[result].sum() == result.cost == 5
    assert result.status is eot.Status.OPTIMAL
    assert_matching(result, cost.shape)


def test_the_representation_is_short():
    shown = repr(eot.assign([[4, 1, 3], [2, 0, 5]]))
    assert shown.startswith("Assignment(2 ")
    assert shown.endswith(", cost=3, OPTIMAL)")


@pytest.mark.parametrize("shape", [(0, 0), (0, 3), (3, 0)])
@pytest.mark.parametrize("maximize", [False, True])
def test_an_empty_matrix_has_an_empty_assignment(shape, maximize):
    result = eot.assign(np.empty(shape), maximize)
    assert_matching(result, shape)
    assert result.cost == result.gap == 0
    assert result.u.shape == shape[:1]
    assert result.v.shape == shape[1:]


@pytest.mark.parametrize("shape", [(0, 0), (0, 3), (3, 0)])
def test_an_empty_matrix_with_a_mask_has_an_empty_assignment(shape):
    assert_matching(eot.assign(np.empty(shape), mask=np.ones(shape, bool)), shape)


@pytest.mark.parametrize("shape", [(5, 5), (4, 6), (6, 4)])
@pytest.mark.parametrize("maximize", [False, True])
def test_no_permutation_is_better(shape, maximize):
    short, long = sorted(shape)
    for seed in range(10):
        cost = np.random.default_rng(seed).integers(-9, 9, shape)
        wide = cost if shape[0] <= shape[1] else cost.T
        sums = [int(wide[np.arange(short), p].sum()) for p in permutations(range(long), short)]
        assert eot.assign(cost, maximize).cost == (max(sums) if maximize else min(sums))


@pytest.mark.parametrize("n", [1, 2, 7, 40])
def test_products_are_matched_in_opposite_order(n):
    cost = FAMILIES["Machol-Wien"](None, n, n)
    assert eot.assign(cost).cost == n * (n + 1) * (n + 2) // 6
    assert eot.assign(cost).col_ind.tolist() == list(range(n))[::-1]
    assert eot.assign(cost, maximize=True).cost == n * (n + 1) * (2 * n + 1) // 6
    assert eot.assign(cost, maximize=True).col_ind.tolist() == list(range(n))


def test_points_on_a_line_are_matched_in_order():
    x, y = np.random.default_rng(1).random((2, 50))
    squares = (x[:, None] - y) ** 2
    result = eot.assign(squares)
    assert (result.col_ind[np.argsort(x)] == np.argsort(y)).all()
    assert_proved(result, squares)
    distances = np.abs(x[:, None] - y)
    assert eot.assign(distances).cost == pytest.approx(np.abs(np.sort(x) - np.sort(y)).sum(), rel=1e-13)


@pytest.mark.parametrize("dtype", ["bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"])
@pytest.mark.parametrize("maximize", [False, True])
def test_integers_are_solved_exactly(dtype, maximize):
    cost = np.random.default_rng(2).integers(0, 100, (7, 9)).astype(dtype)
    for matrix in (cost, cost.T):
        result = eot.assign(matrix, maximize)
        assert_proved(result, matrix, maximize)
        assert_as_cheap_as_scipy(result, matrix, maximize)
        assert result.gap == 0.0


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize("maximize", [False, True])
def test_whole_numbers_in_floats_are_solved_as_integers_are(dtype, maximize):
    rng = np.random.default_rng(4)
    offsets = 50 * rng.integers(0, 20, (8, 1)) + 50 * rng.integers(0, 20, (1, 11))
    cost = (rng.integers(0, 30, (8, 11)) + offsets).astype(dtype)
    cost[rng.random((8, 11)) < 0.2] = -INF if maximize else INF
    before = cost.copy()
    for matrix in (cost, cost.T):
        result = eot.assign(matrix, maximize)
        assert_proved(result, matrix, maximize)
        assert_as_cheap_as_scipy(result, matrix, maximize)
        assert result.gap == 0.0
        assert isinstance(result.cost, float)
    assert (cost == before).all()


@pytest.mark.parametrize("large", [2.0**40, 2.0**49, 2.0**53 + 2, 1e200])
def test_floats_are_whole_numbers_at_any_size(large):
    """Beyond 2**50 they are what floats are, while integers are refused."""
    rng = np.random.default_rng(5)
    cost = np.diag([large] * 6) + rng.integers(0, 9, (6, 6))
    result = eot.assign(cost)
    assert_as_cheap_as_scipy(result, cost)


def test_small_integers_are_summed_without_overflow():
    cost = np.full((5, 5), 127, np.int8)
    assert eot.assign(cost).cost == 5 * 127
    assert eot.assign(-cost, maximize=True).cost == -5 * 127


@pytest.mark.parametrize("bits", [30, 40, 45, 48, 50])
def test_integers_up_to_2_to_the_50_are_exact(bits):
    """A common large number hides no difference: it may be taken off before."""
    for seed in range(20):
        small = np.random.default_rng(seed).integers(0, 9, (6, 6))
        large = 2**bits - 8 + small
        result = eot.assign(large)
        assert result.cost == matched_sum(large, eot.assign(small))
        assert result.gap == 0.0


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "longdouble", ">f8", ">i4"])
def test_other_dtypes(dtype):
    cost = np.random.default_rng(3).integers(0, 100, (8, 6)).astype(dtype)
    result = eot.assign(cost)
    assert_proved(result, cost)
    assert_as_cheap_as_scipy(result, cost)
    assert isinstance(result.cost, int if cost.dtype.kind == "i" else float)


@pytest.mark.parametrize("family", ["cloud", "integers with ties"])
def test_memory_layout_and_writability_change_nothing(family):
    cost = FAMILIES[family](np.random.default_rng(4), 9, 12)
    expected = eot.assign(cost).cost
    layouts = {
        "fortran": np.asfortranarray(cost),
        "strided": np.repeat(np.repeat(cost, 2, axis=0), 3, axis=1)[::2, ::3],
        "reversed": cost[::-1, ::-1].copy()[::-1, ::-1],
        "unaligned": np.frombuffer(b"\0" + cost.tobytes(), cost.dtype, offset=1).reshape(cost.shape),
        "list": cost.tolist(),
    }
    for name, layout in layouts.items():
        if isinstance(layout, np.ndarray):
            layout.flags.writeable = False
        result = eot.assign(layout)
        assert_proved(result, layout)
        assert result.cost == pytest.approx(expected, rel=1e-14), name
    assert eot.assign(np.broadcast_to(cost[0], cost.shape)).gap <= 1e-13


def test_the_cost_is_never_written():
    cost = cloud(np.random.default_rng(5), 9, 12)
    mask, before = cost < 0.5, cost.copy()
    for maximize in (False, True):
        result = eot.assign(cost, maximize, mask=mask)
        assert result.gap <= 1e-13
    assert (cost == before).all()


@pytest.mark.parametrize("maximize", [False, True])
@pytest.mark.parametrize("shape", [(23, 23), (12, 31), (31, 12), (1, 9), (9, 1)])
@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_has_scipy_s_optimum_and_a_proof(family, shape, maximize):
    rng = np.random.default_rng([6, *shape])
    cost = FAMILIES[family](rng, *shape)
    mask = feasible_mask(rng, *shape)
    for matrix, allowed in ((cost, None), (cost, mask), (as_floats(cost, maximize, mask), None)):
        result = eot.assign(matrix, maximize, mask=allowed)
        assert_proved(result, matrix, maximize, allowed)
        assert_as_cheap_as_scipy(result, matrix, maximize, allowed)


def blocks(rng, n, m):
    """Four problems side by side, whose costs differ in size."""
    of_row, of_col = np.arange(n) * 4 // n, np.arange(m) * 4 // m
    return np.where(of_row[:, None] == of_col, rng.random((n, m)) * 10.0 ** of_row[:, None], INF)


@pytest.mark.parametrize("maximize", [False, True])
@pytest.mark.parametrize(
    ("family", "shape"),
    [
        (cloud, (450, 450)),
        (cloud, (300, 520)),
        (FAMILIES["integers with ties"], (600, 600)),
        (FAMILIES["large integers"], (400, 350)),
        (FAMILIES["line"], (420, 420)),
        (FAMILIES["line"], (300, 310)),
        (FAMILIES["Machol-Wien"], (300, 300)),
        (FAMILIES["low rank"], (400, 400)),
        (blocks, (400, 400)),
    ],
)
def test_larger_problems_are_proved(family, shape, maximize):
    cost = family(np.random.default_rng(7), *shape)
    cost = -cost if maximize else cost
    result = eot.assign(cost, maximize)
    assert_proved(result, cost, maximize)
    assert_as_cheap_as_scipy(result, cost, maximize)


@pytest.mark.parametrize("large", [1e6, 1e9, 1e12, 1e15, 1e18, 1e30])
def test_a_large_number_that_stands_for_forbidden_hides_no_difference(large):
    """SciPy's users write such numbers; where an assignment avoids them its cost does not depend on them."""
    rng = np.random.default_rng(9)
    cost, allowed = rng.random((100, 100)), feasible_mask(rng, 100, 100)
    best = eot.assign(np.where(allowed, cost, INF)).cost
    assert eot.assign(np.where(allowed, cost, large)).cost == pytest.approx(best, rel=1e-12)


def test_a_result_is_pickled_and_copied_with_its_proof():
    cost = np.random.default_rng(8).random((5, 7))
    result = eot.assign(cost)
    for again in (pickle.loads(pickle.dumps(result)), copy.copy(result), copy.deepcopy(result)):
        assert type(again) is eot.Assignment
        assert (again.col_ind == result.col_ind).all()
        assert again.cost == result.cost
        assert again.status is eot.Status.OPTIMAL
        assert_proved(again, cost)


integer_costs = st.builds(
    lambda seed, n, m, top: np.random.default_rng(seed).integers(-top, top + 1, (n, m)),
    st.integers(0, 10_000),
    st.integers(1, 9),
    st.integers(1, 9),
    st.sampled_from([1, 4, 1000]),
)
directions = st.booleans()
seeds = st.integers(0, 1000)


@given(cost=integer_costs, maximize=directions, seed=seeds)
def test_a_constant_added_to_every_line_of_the_shorter_side_is_paid_once(cost, maximize, seed):
    cost = cost if cost.shape[0] <= cost.shape[1] else cost.T
    shift = np.random.default_rng(seed).integers(-50, 50, cost.shape[0])
    assert eot.assign(cost + shift[:, None], maximize).cost == eot.assign(cost, maximize).cost + shift.sum()
    assert eot.assign(cost.T + shift, maximize).cost == eot.assign(cost.T, maximize).cost + shift.sum()


@given(cost=integer_costs, maximize=directions, seed=seeds)
def test_the_order_of_rows_and_columns_does_not_matter(cost, maximize, seed):
    rng = np.random.default_rng(seed)
    i, j = rng.permutation(cost.shape[0]), rng.permutation(cost.shape[1])
    assert eot.assign(cost[np.ix_(i, j)], maximize).cost == eot.assign(cost, maximize).cost


@given(cost=integer_costs, maximize=directions)
def test_transposed_and_negated_problems_have_the_same_optimum(cost, maximize):
    best = eot.assign(cost, maximize).cost
    assert eot.assign(cost.T, maximize).cost == best
    assert eot.assign(-cost, not maximize).cost == -best


@given(cost=integer_costs, maximize=directions, factor=st.sampled_from([2.0**-900, 1e-30, 1e-3, 7.0, 1e9, 2.0**900]))
def test_the_unit_of_the_cost_does_not_matter(cost, maximize, factor):
    scaled = eot.assign(cost * factor, maximize)
    assert_proved(scaled, cost * factor, maximize)
    assert matched_sum(cost, scaled) == eot.assign(cost, maximize).cost


@given(cost=integer_costs, maximize=directions)
def test_a_row_s_double_has_the_same_potential(cost, maximize):
    doubled = np.vstack([cost[:1], cost])
    result = eot.assign(doubled, maximize)
    assert_proved(result, doubled, maximize)
    if 0 in result.row_ind and 1 in result.row_ind:  # both as large as their columns allow
        assert result.u[0] == result.u[1]


@given(cost=integer_costs, maximize=directions)
def test_a_column_that_nobody_can_better_is_left_over(cost, maximize):
    """A column worse than all others, beside enough of them, changes nothing."""
    worst = np.full((cost.shape[0], 1), -5000 if maximize else 5000)
    widened = np.hstack([cost, worst])
    if cost.shape[0] <= cost.shape[1]:
        assert eot.assign(widened, maximize).cost == eot.assign(cost, maximize).cost
    assert_proved(eot.assign(widened, maximize), widened, maximize)


@pytest.mark.parametrize("maximize", [False, True])
@pytest.mark.parametrize(("n", "m", "d"), [(150, 150, 9), (90, 130, 20), (130, 90, 64)])
def test_points_in_many_coordinates_are_assigned_as_their_matrix_is(n, m, d, maximize):
    rng = np.random.default_rng(d)
    x, y = rng.normal(size=(n, d)), rng.normal(size=(m, d))
    cost = ((x[:, None] - y) ** 2).sum(axis=-1)
    found, sign = eot.assign(eot.PointCloud(x, y), maximize), -1.0 if maximize else 1.0
    assert found.cost == pytest.approx(cost[linear_sum_assignment(cost, maximize)].sum(), rel=1e-13)
    assert (sign * (cost - found.u[:, None] - found.v)).min() >= -1e-12 * cost.max()
    assert found.gap <= 1e-12 * abs(found.cost)
