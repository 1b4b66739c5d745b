"""`exact` finds the optimum of POT and of linear programmes, and proves it by its potentials."""

import pickle

import numpy as np
import ot
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import wasserstein_distance

import elastic_ot as eot
from helpers.assignments import begin_with_few_cells, feasible_mask
from helpers.limit_by_scipy import linear_optimum
from helpers.oracle import Case, cloud_case, random_case, scaled, spec_id
from helpers.transport_proof import LINEAR, Rounding, assert_proved, linear_case, pairs, solved

# HiGHS may leave its constraints and prices by 1e-7; at the vertices of these problems both are met to rounding.
HIGHS = 1e-10


@pytest.fixture(autouse=True, scope="module", params=["", "from few cells"])
def solver(request):
    """Everything below holds as it is, and if most of the cost has to be priced before cells of it are used."""
    with pytest.MonkeyPatch.context() as patch:
        if request.param:
            begin_with_few_cells(patch)
        yield request.param


@pairs
@pytest.mark.parametrize("order", ["C", "F"])
def test_every_pair_of_linear_penalties_has_the_optimum_of_linprog(rows, cols, order):
    for seed in range(4):
        case = linear_case(seed, rows, cols)
        sol = solved(case, case.cost.copy(order))
        assert_proved(case, sol)
        assert sol.value == pytest.approx(linear_optimum(case)[0], abs=HIGHS)


@pairs
def test_forbidden_cells_are_respected(rows, cols):
    for seed in range(4):
        rng = np.random.default_rng([11, seed])
        case = linear_case(seed, rows, cols, 6, 6).but(mask=feasible_mask(rng, 6, 6), b=np.full(6, 1 / 6))
        case = case.but(a=case.b.copy())
        sol = solved(case)
        assert_proved(case, sol)
        assert sol.value == pytest.approx(linear_optimum(case)[0], abs=HIGHS)
        infinite = solved(case.but(mask=None), np.where(case.mask, case.cost, np.inf))
        assert infinite.value == pytest.approx(sol.value, abs=Rounding(case, sol).value)


@pairs
def test_integer_costs_and_ties(rows, cols):
    for seed in range(4):
        rng = np.random.default_rng([12, seed])
        cost = rng.integers(0, 4, (5, 7))
        a, b = rng.integers(0, 4, 5), rng.integers(0, 4, 7)
        a[0], b[0] = 1, 1
        case = Case(cost.astype(float), a / a.sum(), b / b.sum(), 1.0, rows, cols)
        for given_cost in (cost, cost.astype(np.float32), cost * 1.0):
            sol = solved(case, given_cost)
            assert_proved(case, sol)
            assert sol.value == pytest.approx(linear_optimum(case)[0], abs=HIGHS)


@pytest.mark.parametrize("rho", [1e-6, 1e-3, 1e3, 1e6])
@pytest.mark.parametrize("other", [spec for spec in LINEAR if spec[0] != "TV"], ids=spec_id)
def test_prices_of_mass_of_another_size_than_the_costs(rho, other):
    """A potential on the edge of the dual's domain must not leave it by rounding of the costs."""
    for seed in range(6):
        case = linear_case(seed, ("TV", rho), other, low=0.0)
        case = case.but(cost=case.cost * 100.0)
        assert_proved(case, solved(case))
        assert_proved(case.transposed, solved(case.transposed))


@pytest.mark.parametrize("shape", [(20, 20), (13, 31), (31, 13), (1, 9), (9, 1), (1, 1)])
def test_balanced_transport_costs_what_pot_s_emd_costs(shape):
    for seed in range(5):
        case = random_case(seed, *shape)
        sol = solved(case)
        assert_proved(case, sol)
        plan = ot.emd(case.a, case.b, case.cost)
        # POT's network simplex is exact to rounding of the sums.
        assert sol.value == pytest.approx(ot.emd2(case.a, case.b, case.cost), rel=1e-12)
        np.testing.assert_allclose(sol.plan, plan, rtol=0, atol=1e-12)  # the only optimal one, costs being generic


@pytest.mark.parametrize("family", ["cloud", "line", "ties", "single precision"])
@pytest.mark.parametrize("shape", [(250, 250), (120, 300), (300, 120)])
def test_larger_balanced_problems(family, shape):
    rng = np.random.default_rng([13, *shape])
    case = cloud_case(14, *shape)
    if family == "line":
        case = case.but(cost=np.abs(rng.random(shape[0])[:, None] - rng.random(shape[1])))
    elif family == "ties":
        case = case.but(cost=rng.integers(0, 5, shape).astype(float))
    elif family == "single precision":
        case = case.but(cost=case.cost.astype(np.float32).astype(float), dtype=np.float32)
    sol = solved(case)
    assert_proved(case, sol)
    assert sol.value == pytest.approx(ot.emd2(case.a, case.b, case.cost, numItermax=10**6), rel=1e-10)


@pairs
def test_larger_problems_are_proved(rows, cols):
    case = cloud_case(15, 90, 110, rows=rows, cols=cols)
    case = case.but(cost=case.cost if (rows, cols) == (("Free",), ("Free",)) else case.cost - 0.1)
    assert_proved(case, solved(case))
    assert_proved(case.transposed, solved(case.transposed))


def test_points_on_a_line_cost_their_wasserstein_distance():
    rng = np.random.default_rng(16)
    x, y, a, b = rng.random(60), rng.random(80), rng.random(60), rng.random(80)
    case = Case(np.abs(x[:, None] - y), a / a.sum(), b / b.sum(), 1.0)
    assert_proved(case, solved(case))
    assert solved(case).value == pytest.approx(wasserstein_distance(x, y, a, b), rel=1e-12)


@pairs
def test_zero_weights_remove_their_rows_and_columns(rows, cols):
    case = linear_case(17, rows, cols)
    padded = case.but(
        cost=np.insert(np.insert(case.cost, [0, 3, 3], -50.0, axis=0), [2, 7], -50.0, axis=1),
        a=np.insert(case.a, [0, 3, 3], 0.0),
        b=np.insert(case.b, [2, 7], 0.0),
    )
    sol = solved(padded)
    assert_proved(padded, sol)
    assert np.flatnonzero(np.isneginf(sol.f)).tolist() == [0, 4, 5]
    assert np.flatnonzero(np.isneginf(sol.g)).tolist() == [2, 8]
    assert (sol.plan[[0, 4, 5]] == 0.0).all()
    assert (sol.plan[:, [2, 8]] == 0.0).all()
    assert sol.value == pytest.approx(solved(case).value, abs=Rounding(case, sol).value)


def test_bounds_without_an_upper_one_allow_zero_weights():
    case = Case(np.eye(3), np.array([0.0, 0.5, 0.5]), np.full(3, 1 / 3), 1.0, ("Between", 0.5, np.inf))
    assert_proved(case, solved(case))
    assert_proved(case.transposed, solved(case.transposed))


def test_weights_of_many_magnitudes():
    for seed in range(10):
        case = random_case(seed, 12, 15)
        rng = np.random.default_rng([18, seed])
        a, b = case.a * 10.0 ** rng.uniform(-12.0, 0.0, 12), case.b * 10.0 ** rng.uniform(-12.0, 0.0, 15)
        case = case.but(a=a / a.sum(), b=b / b.sum())
        sol = solved(case)
        assert_proved(case, sol)
        assert sol.value == pytest.approx(ot.emd2(case.a, case.b, case.cost), abs=1e-12)
        np.testing.assert_allclose(sol.row_marginal, case.a, rtol=0, atol=Rounding(case, sol).mass)


@pytest.mark.parametrize("mass", [2.0**-600, 1e-30, 1e30, 2.0**500])
def test_the_unit_of_mass_does_not_matter(mass):
    case = random_case(19, 8, 9)
    heavy = case.but(a=case.a * mass, b=case.b * mass)
    assert_proved(heavy, solved(heavy))
    assert solved(heavy).value == pytest.approx(mass * solved(case).value, rel=1e-12)


@pytest.mark.parametrize("excess", [5e-10, -5e-10])
def test_masses_that_differ_by_rounding_are_made_equal(excess):
    case = random_case(20, 6, 7)
    wanted = solved(case)
    sol = solved(case.but(b=case.b * (1.0 + excess)))
    np.testing.assert_allclose(sol.row_marginal, case.a, rtol=0, atol=Rounding(case, sol).mass)
    assert sol.value == pytest.approx(wanted.value, abs=Rounding(case, sol).value)
    single = solved(case.but(a=case.a.astype(np.float32), b=case.b.astype(np.float32)))
    assert single.value == pytest.approx(wanted.value, abs=1e-6)  # weights rounded at 6e-8


def test_unit_weights_agree_with_assign():
    for seed in range(5):
        cost = np.random.default_rng([21, seed]).random((9, 13))
        case = Case(cost, np.ones(9), np.ones(13), 1.0, cols=("AtMost",))
        sol, result = solved(case), eot.assign(cost)
        assert_proved(case, sol)
        assert sol.value == pytest.approx(result.cost, rel=1e-14)
        assert (sol.plan[tuple(result)] == 1.0).all()
        assert sol.mass.size == 9


@pairs
def test_the_value_lies_within_the_bounds_of_entropic_solutions(rows, cols):
    case = linear_case(22, rows, cols, 10, 12)
    value, widths = solved(case).value, []
    for epsilon in (1.0, 0.1, 0.01):
        lower, upper = case.but(epsilon=epsilon).solve(tol=1e-8, max_iter=100_000, on_failure="raise").bounds()
        assert lower <= value + 1e-12  # rounding of a value below 1
        assert value <= upper + 1e-12
        widths.append(upper - lower)
    assert widths[2] < 0.5 * widths[1] < 0.25 * widths[0]


@pairs
def test_potentials_are_a_warm_start(rows, cols):
    case = linear_case(23, rows, cols, epsilon=0.05).but(mask=np.arange(7) != np.arange(6)[:, None])
    sol = solved(case)
    warm = case.solve(init=(sol.f, sol.g), tol=1e-10, max_iter=100_000, on_failure="raise")
    cold = case.solve(tol=1e-10, max_iter=100_000, on_failure="raise")
    # Both are within 1e-10 of the mass of the optimum; the contraction of an iteration stays below 0.999.
    np.testing.assert_allclose(warm.plan, cold.plan, rtol=0, atol=1e-7)


def test_plan_and_sparse_plan_are_the_same():
    case = random_case(24, 9, 14)
    sol = solved(case)
    assert (sol.sparse_plan().toarray() == sol.plan).all()
    assert (sol.plan[sol.row_ind, sol.col_ind] == sol.mass).all()
    assert sol.sparse_plan().shape == sol.plan.shape == (9, 14)
    assert sol.mass.size < 9 + 14  # a vertex, the only optimum
    assert sol.plan is sol.plan
    again = pickle.loads(pickle.dumps(sol))
    assert again.value == sol.value
    assert (again.plan == sol.plan).all()
    assert repr(sol).startswith("ExactSolution(9 x 14, value=0.")


def test_default_weights_are_uniform_of_mass_one():
    cost = np.random.default_rng(25).random((6, 8))
    sol = eot.exact(cost)
    np.testing.assert_allclose(sol.row_marginal, np.full(6, 1 / 6), rtol=1e-15)
    assert sol.value == pytest.approx(ot.emd2(np.full(6, 1 / 6), np.full(8, 1 / 8), cost), rel=1e-13)


def test_limits_of_penalties_are_the_linear_ones_they_become():
    cost = np.random.default_rng(26).random((4, 5))
    for limit, linear in (
        (eot.KL(np.inf), eot.Fixed()),
        (eot.TV(np.inf), eot.Fixed()),
        (eot.L2(0.0), eot.Free()),
        (eot.Elastic(1.0), eot.Fixed()),
        (eot.Elastic(0.0), eot.Free()),
    ):
        assert eot.exact(cost, cols=limit).value == eot.exact(cost, cols=linear).value


def test_nothing_is_written():
    case = linear_case(27, ("TV", 0.3), ("AtMost",))
    mask = case.cost < 0.7
    before = [x.copy() for x in (case.cost, case.a, case.b, mask)]
    for x in (case.cost, case.a, case.b, mask):
        x.flags.writeable = False
    solved(case.but(mask=mask))
    for x, old in zip((case.cost, case.a, case.b, mask), before, strict=True):
        assert (x == old).all()


cases = st.builds(
    linear_case,
    st.integers(0, 10_000),
    st.sampled_from(LINEAR),
    st.sampled_from(LINEAR),
    n=st.integers(1, 9),
    m=st.integers(1, 9),
)


@given(case=cases, seed=st.integers(0, 1000))
def test_order_orientation_and_unit_do_not_matter(case, seed):
    rng = np.random.default_rng(seed)
    i, j = rng.permutation(case.a.size), rng.permutation(case.b.size)
    sol = solved(case)
    permuted = case.but(cost=case.cost[np.ix_(i, j)], a=case.a[i], b=case.b[j])
    factor = 10.0 ** rng.uniform(-9.0, 9.0)
    rows, cols = scaled(case.rows, factor), scaled(case.cols, factor)
    scaled_case = case.but(cost=case.cost * factor, rows=rows, cols=cols)
    for other, unit in ((permuted, 1.0), (case.transposed, 1.0), (scaled_case, factor)):
        assert_proved(other, solved(other))
        assert solved(other).value / unit == pytest.approx(sol.value, abs=2.0 * Rounding(case, sol).value)


@given(case=cases, share=st.floats(0.01, 0.99))
def test_a_split_point_costs_what_it_did(case, share):
    a = np.concatenate([[share * case.a[0], (1.0 - share) * case.a[0]], case.a[1:]])
    split = case.but(cost=np.vstack([case.cost[:1], case.cost]), a=a)
    assert_proved(split, solved(split))
    assert solved(split).value == pytest.approx(solved(case).value, abs=2.0 * Rounding(split, solved(split)).value)


@pytest.mark.parametrize("side", ["a", "b"])
def test_weights_that_a_regular_sample_misses(side):
    """Potentials begin on every eighth row and column, where there may be no mass at all."""
    rng = np.random.default_rng(41)
    cost, weights = rng.random((400, 400)), {"a": rng.random(400), "b": rng.random(400)}
    weights[side][::8] = 0.0
    a, b = (weight / weight.sum() for weight in weights.values())
    # POT's network simplex is exact to rounding of the sums.
    assert eot.exact(cost, a, b).value == pytest.approx(ot.emd2(a, b, cost), rel=1e-12)


def test_many_pivots_lose_no_digits():
    """Thousands of shifts of the same potentials: what is returned is summed along the tree anew."""
    rng = np.random.default_rng(42)
    x, y = rng.random((2, 1500, 2))
    cost = ((x[:, None] - y) ** 2).sum(axis=-1)
    a, b = rng.random((2, 1500))
    sol = eot.exact(cost, a / a.sum(), b / b.sum())
    assert (cost - sol.f[:, None] - sol.g).min() >= -1e-14
    tight = cost[sol.row_ind, sol.col_ind] - sol.f[sol.row_ind] - sol.g[sol.col_ind]
    assert np.abs(tight).max() <= 1e-14  # tens of roundings of numbers of order one
