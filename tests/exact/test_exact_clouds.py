"""`assign` and `exact` of clouds, by searches of trees: optimal by other solvers, and proved on all pairs."""

import numpy as np
import ot
import pytest
from scipy.optimize import linear_sum_assignment

import elastic_ot as eot
from elastic_ot.costs import scan, tiled_plan
from helpers.clouds import FAMILIES, METRICS, copies, costs, displaced, pair, uniform

ROUNDING = 1e-12
LINEAR = (eot.Fixed(), eot.TV(0.3), eot.TV(5.0), eot.Between(0.5, 2.0), eot.AtMost(), eot.Free())


@pytest.fixture(autouse=True)
def clouds_are_not_stored_and_strips_are_not_read(monkeypatch):
    def refuse(self):
        raise AssertionError("all pairs were read")

    monkeypatch.setattr(scan, "KEPT_ENTRIES", 0)
    monkeypatch.setattr(tiled_plan.TiledPlan, "least_cells", refuse)
    monkeypatch.setattr("elastic_ot.costs.blocks.BlockCost.strips", refuse)


def assert_assigned(result, c, optimum):
    n, m = c.shape
    assert result.row_ind.size == min(n, m) == np.unique(result.col_ind).size == np.unique(result.row_ind).size
    size = c.max() + np.abs(result.u).max() + np.abs(result.v).max()
    assert result.cost == pytest.approx(c[result].sum(), rel=1e-13)
    assert result.cost == pytest.approx(optimum, rel=ROUNDING, abs=ROUNDING * size)
    assert (c - result.u[:, None] - result.v).min() >= -ROUNDING * size
    assert abs(result.cost - result.u.sum() - result.v.sum()) <= ROUNDING * size * min(n, m)
    for longer, shorter, potential, used in ((m, n, result.v, result.col_ind), (n, m, result.u, result.row_ind)):
        if longer > shorter:
            assert potential.max() <= 0.0
            assert not np.delete(potential, used).any()


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize(("n", "m"), [(300, 300), (150, 400), (400, 150)])
@pytest.mark.parametrize("d", [1, 2, 3])
@pytest.mark.parametrize("family", FAMILIES)
def test_assignments_are_those_of_scipy_and_proved(family, d, n, m, metric):
    x, y = pair(family, n, m, d)
    c = costs(x, y, metric)
    assert_assigned(eot.assign(eot.PointCloud(x, y, metric)), c, c[linear_sum_assignment(c)].sum())


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("family", FAMILIES)
def test_plans_cost_what_pot_finds(family, metric):
    (x, y), rng = pair(family, 200, 260, 2), np.random.default_rng(5)
    a, b = rng.random(200), rng.random(260)
    a[::7], b[::5] = 0.0, 0.0
    a, b = a / a.sum(), b / b.sum()
    c = costs(x, y, metric)
    solution = eot.exact(eot.PointCloud(x, y, metric), a, b)
    assert solution.value == pytest.approx(ot.emd2(a, b, c, numItermax=10**7), rel=1e-9)
    assert_proved(solution, c, a, b)


def assert_proved(solution, c, a, b):
    used = np.ix_(a > 0, b > 0)
    size = c.max() + np.abs(solution.f[a > 0]).max() + np.abs(solution.g[b > 0]).max()
    slack = (c - solution.f[:, None] - solution.g)[used]
    assert slack.min() >= -ROUNDING * size
    assert solution.gap <= ROUNDING * size * max(a.sum(), b.sum())
    assert (solution.mass > 0).all()
    assert (a[solution.row_ind] > 0).all()
    assert (b[solution.col_ind] > 0).all()


@pytest.mark.parametrize("cols", LINEAR, ids=str)
@pytest.mark.parametrize("rows", LINEAR, ids=str)
@pytest.mark.parametrize("family", [uniform, copies])
def test_penalties_have_the_optimum_of_the_matrix(family, rows, cols):
    """The matrix is solved on all cells or strips of it, by the solver whose optimum other tests prove."""
    (x, y), rng = pair(family, 90, 120, 2), np.random.default_rng(1)
    x[:20] = x[0]
    a, b = rng.integers(0, 4, 90) + 0.0, rng.integers(0, 4, 120) + 0.0
    a, b = a / a.sum(), b / b.sum()
    c = costs(x, y, "euclidean")
    solution = eot.exact(eot.PointCloud(x, y, "euclidean"), a, b, rows=rows, cols=cols)
    used = np.ix_(a > 0, b > 0)
    whole = eot.exact(c[used], a[a > 0], b[b > 0], rows=rows, cols=cols)
    assert solution.value == pytest.approx(whole.value, abs=ROUNDING * 10)
    assert solution.gap <= ROUNDING * 10
    assert (c - solution.f[:, None] - solution.g)[used].min() >= -ROUNDING * 10


def test_fixed_weights_are_met_by_every_copy():
    (x, y), rng = pair(copies, 300, 300, 2), np.random.default_rng(2)
    x[100:200] = x[0]
    a, b = rng.random(300), rng.random(300)
    a, b = a / a.sum(), b / b.sum()
    solution = eot.exact(eot.PointCloud(x, y), a, b)
    np.testing.assert_allclose(solution.row_marginal, a, rtol=0, atol=1e-15)
    np.testing.assert_allclose(solution.col_marginal, b, rtol=0, atol=1e-15)


@pytest.mark.parametrize("metric", METRICS)
def test_pairs_that_do_not_pay_stay_apart(metric):
    x, y = pair(uniform, 250, 300, 2)
    c = costs(x, y, metric)
    limit = float(np.quantile(c, 0.002))
    result = eot.assign(eot.PointCloud(x, y, metric), cost_limit=limit)
    # the matrix with a partner of its own for every row and column, by SciPy
    n, m = c.shape
    apart = np.full((n + m, n + m), np.inf)
    apart[:n, :m], apart[n:, m:] = c, 0.0
    np.fill_diagonal(apart[:n, m:], limit / 2)
    np.fill_diagonal(apart[n:, :m], limit / 2)
    assert 0 < result.row_ind.size < n
    assert result.cost + result.unmatched_cost == pytest.approx(apart[linear_sum_assignment(apart)].sum(), rel=ROUNDING)


@pytest.mark.parametrize("metric", METRICS)
def test_regular_grids_have_many_optimal_assignments_and_one_is_found(metric):
    """A grid moved by whole cells: by the triangle inequality nothing is cheaper than the shift."""
    axis = np.arange(24.0)
    x = np.stack(np.meshgrid(axis, axis), axis=-1).reshape(-1, 2)
    result = eot.assign(eot.PointCloud(x, x[::-1] + np.array([3.0, 0.0]), metric))
    shift = 9.0 if metric == "sqeuclidean" else 3.0
    assert result.cost == pytest.approx(len(x) * shift, rel=ROUNDING)
    assert result.gap <= ROUNDING * len(x) * shift


@pytest.mark.parametrize("metric", METRICS)
def test_all_points_at_one_place(metric):
    rng = np.random.default_rng(0)
    x, y = rng.random((3000, 2)), np.full((3000, 2), 0.3)
    result = eot.assign(eot.PointCloud(x, y, metric))
    assert np.unique(result.col_ind).size == 3000
    assert result.cost == pytest.approx(costs(x, y[:1], metric).sum(), rel=ROUNDING)


def test_clouds_far_apart_keep_their_digits():
    """Translations change costs of sqeuclidean by sums of a term a row and one a column: the assignment stays."""
    x, y = pair(displaced, 400, 400, 2)
    c, far = costs(x, y, "sqeuclidean"), costs(x, y + 1024.0, "sqeuclidean")
    result = eot.assign(eot.PointCloud(x, y + 1024.0))
    rounded = 8 * 2.0**-53 * far.max()  # a cost: of coordinates, and of sums
    assert c[result].sum() == pytest.approx(c[linear_sum_assignment(c)].sum(), abs=2 * 400 * rounded)
    assert rounded < 1e-8


def test_points_in_single_precision_have_costs_in_double_precision():
    x, y = (z.astype(np.float32) for z in pair(uniform, 300, 300, 3))
    c = costs(x, y, "sqeuclidean")
    assert_assigned(eot.assign(eot.PointCloud(x, y)), c, c[linear_sum_assignment(c)].sum())


def test_bounds_of_an_entropic_solution_hold_the_optimum():
    x, y = pair(uniform, 400, 400, 2)
    c = costs(x, y, "sqeuclidean")
    best = c[linear_sum_assignment(c)].sum() / 400
    lower, upper = eot.solve(eot.PointCloud(x, y), epsilon=1e-3, tol=1e-4, method="multiscale").bounds()
    assert lower <= best * (1 + ROUNDING)
    assert best <= upper * (1 + ROUNDING)


def test_a_time_limit_ends_the_solve():
    x, y = pair(uniform, 20_000, 20_000, 2)
    with pytest.raises(eot.ConvergenceError, match="time_limit"):
        eot.assign(eot.PointCloud(x, y), time_limit=0.05)


@pytest.mark.slow
def test_a_hundred_thousand_points_are_assigned_and_proved():
    x, y = pair(uniform, 100_000, 100_000, 2)
    result = eot.assign(eot.PointCloud(x, y))
    assert result.gap <= 1e-12 * result.cost
    assert np.unique(result.col_ind).size == 100_000
    for i in range(0, 100_000, 999):  # the proof, on some rows with all columns
        assert (((x[i] - y) ** 2).sum(axis=1) - result.u[i] - result.v).min() >= -1e-13
