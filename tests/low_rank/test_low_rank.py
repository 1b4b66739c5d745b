"""Plans of low rank: sums, values and stationarity recomputed, POT's values, bounds beside exact plans, groups."""

import numpy as np
import ot
import pytest
from scipy.optimize import linprog

import elastic_ot as eot
from elastic_ot.solvers.low_rank import bound
from helpers.array_libraries import LIBRARIES, library

PENALTIES = [
    (eot.Fixed(), eot.Fixed()),
    (eot.KL(1.0), eot.KL(0.3)),
    (eot.Fixed(), eot.KL(0.5)),
    (eot.KL(2.0), eot.Fixed()),
]
METRICS = ("sqeuclidean", "euclidean", "cityblock", "cosine", "dot")


def clouds(n=60, m=50, d=2, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, d)), rng.normal(size=(m, d)) * rng.uniform(0.5, 2.0, d) + rng.normal(size=d)


def weights(n, seed):
    a = np.random.default_rng(seed).random(n) + 0.1
    return a / a.sum()


def squares(x, y):
    return ((x[:, None] - y) ** 2).sum(axis=2)


def penalty_by_definition(side, sums, w):
    """rho sum(r log(r / a) - r + a)."""
    if isinstance(side, eot.Fixed):
        return 0.0
    return side.rho * float((sums * np.log(sums / w) - sums + w).sum())


def entropy_by_definition(q, r, g, a, b):
    """KL(Q | a 1^T / k) + KL(R | b 1^T / k) + KL(g | m 1 / k)."""
    k, mass = g.size, np.sqrt(a.sum() * b.sum())
    terms = (q, np.outer(a, np.full(k, 1 / k))), (r, np.outer(b, np.full(k, 1 / k))), (g, np.full(k, mass / k))
    return sum(float((x * np.log(np.maximum(x, 1e-300) / t) - x + t).sum()) for x, t in terms)


def gain_by_linear_programme(cost, factors, a, b, least):
    """How much less the linearised transport cost could be between fixed sides, by SciPy's HiGHS."""
    q, r, g = factors
    (n, k), m = q.shape, r.shape[0]
    slopes = np.concatenate(
        [(cost @ r / g).ravel(), (cost.T @ q / g).ravel(), -np.einsum("ik,ij,jk->k", q, cost, r) / g**2]
    )
    size = (n + m + 1) * k
    rows, wanted = [], []
    for i in range(n + m):
        row = np.zeros(size)
        row[i * k : (i + 1) * k] = 1.0
        rows.append(row)
        wanted.append(np.concatenate([a, b])[i])
    for part in (slice(0, n), slice(n, n + m)):
        for column in range(k):
            row = np.zeros(size)
            row[:-k].reshape(n + m, k)[part, column] = 1.0
            row[size - k + column] = -1.0
            rows.append(row)
            wanted.append(0.0)
    bounds = [(0, None)] * (size - k) + [(least, None)] * k
    found = linprog(slopes, A_eq=np.array(rows), b_eq=np.array(wanted), bounds=bounds)
    assert found.status == 0
    return float(slopes @ np.concatenate([q.ravel(), r.ravel(), g])) - found.fun


@pytest.mark.parametrize("epsilon", [0.0, 0.05])
@pytest.mark.parametrize(("rows", "cols"), PENALTIES, ids=repr)
def test_values_and_sums_are_what_they_say(rows, cols, epsilon):
    x, y = clouds()
    fixed = isinstance(rows, eot.Fixed) and isinstance(cols, eot.Fixed)
    a, b = weights(60, 1), weights(50, 2) * (1.0 if fixed else 1.3)
    found = eot.low_rank(eot.PointCloud(x, y), 5, a, b, rows=rows, cols=cols, epsilon=epsilon)
    assert found.converged
    q, r, g = found.factors
    assert min(q.min(), r.min(), g.min()) >= 0
    np.testing.assert_allclose(q.sum(axis=0), g, rtol=1e-12)
    np.testing.assert_allclose(r.sum(axis=0), g, rtol=1e-12)
    plan = (q / g) @ r.T
    np.testing.assert_allclose(found.plan, plan, atol=1e-16)
    sums = plan.sum(axis=1), plan.sum(axis=0)
    for side, got, w, attribute in ((rows, sums[0], a, found.row_marginal), (cols, sums[1], b, found.col_marginal)):
        np.testing.assert_allclose(attribute, got, rtol=1e-12)
        if isinstance(side, eot.Fixed):
            np.testing.assert_allclose(got, w, rtol=1e-12)
    transport = float((squares(x, y) * plan).sum())
    penalty = penalty_by_definition(rows, sums[0], a) + penalty_by_definition(cols, sums[1], b)
    assert found.transport_cost == pytest.approx(transport, rel=1e-12)
    assert found.upper == pytest.approx(transport + penalty, rel=1e-12)
    entropy = epsilon * entropy_by_definition(q, r, g, a, b) if epsilon else 0.0
    assert found.value == pytest.approx(transport + penalty + entropy, rel=1e-8)
    assert found.gap == found.upper - found.lower


@pytest.mark.parametrize(("rows", "cols"), PENALTIES, ids=repr)
def test_the_objective_never_rises(rows, cols):
    x, y = clouds(seed=3)
    for epsilon in (0.0, 0.1):
        found = eot.low_rank(squares(x, y), 6, rows=rows, cols=cols, epsilon=epsilon, init="random")
        values = found.history.value
        assert len(values) == found.n_iter > 3
        assert (np.diff(values) <= 1e-12 * np.abs(values[:-1])).all()
        assert found.value <= values[-1] + 1e-9 * abs(values[-1])


@pytest.mark.parametrize("seed", range(4))
def test_factors_are_stationary_by_a_linear_programme(seed):
    x, y = clouds(25, 20, 2, seed)
    cost, a, b = squares(x, y), weights(25, seed), weights(20, seed + 1)
    found = eot.low_rank(cost, 3, a, b, tol=1e-6)
    assert found.converged
    gain = gain_by_linear_programme(cost, found.factors, a, b, 1e-6 / 3)
    allowed = 1e-6 * np.ptp(cost)
    assert gain <= found.residual + 1e-9 <= allowed + 1e-9


def test_a_residual_bounds_what_the_linear_programme_gains_where_factors_are_not_stationary():
    x, y = clouds(25, 20)
    cost, a, b = squares(x, y), weights(25, 0), weights(20, 1)
    found = eot.low_rank(cost, 3, a, b, max_iter=2, init="random", on_failure="ignore")
    assert not found.converged
    first = eot.low_rank(cost, 3, a, b, max_iter=1, init=found, on_failure="ignore")
    assert 0 < gain_by_linear_programme(cost, found.factors, a, b, 1e-6 / 3) <= first.residual + 1e-7


@pytest.mark.parametrize(("rows", "cols"), PENALTIES, ids=repr)
def test_nearby_factors_are_no_better(rows, cols):
    """Of softened and entropic problems: the objective along the way to random factors that meet the fixed sides."""
    x, y = clouds(30, 25, 2, 5)
    cost, a, b = squares(x, y), weights(30, 0), weights(25, 1)
    rng = np.random.default_rng(0)
    found = eot.low_rank(cost, 3, a, b, rows=rows, cols=cols, epsilon=0.2, tol=1e-9)
    assert found.converged

    def objective(q, r, g):
        plan = (q / g) @ r.T
        sums = penalty_by_definition(rows, plan.sum(axis=1), a), penalty_by_definition(cols, plan.sum(axis=0), b)
        return float((cost * plan).sum()) + sum(sums) + 0.2 * entropy_by_definition(q, r, g, a, b)

    base = objective(*found.factors)
    q, r, g = found.factors
    for _ in range(20):
        other_g = rng.random(3) + 0.1
        ends = []
        for factor, side in ((q, rows), (r, cols)):
            sums = factor.sum(axis=1)
            total = sums.sum()
            if not isinstance(side, eot.Fixed):
                sums = sums * rng.uniform(0.5, 1.5, sums.size)
                sums *= total / sums.sum()
            ends.append(ot.sinkhorn(sums / total, other_g / other_g.sum(), rng.random(factor.shape), 0.3) * total)
        t = 1e-4
        moved = q + t * (ends[0] - q), r + t * (ends[1] - r), g + t * (other_g / other_g.sum() * g.sum() - g)
        assert objective(*moved) >= base - 1e-8


@pytest.mark.parametrize(("n", "d", "rank"), [(100, 2, 4), (120, 5, 6), (150, 2, 10)])
def test_values_are_no_higher_than_those_of_pot(n, d, rank):
    x, y = clouds(n, n, d, n + d)
    a, b, cost = np.full(n, 1 / n), np.full(n, 1 / n), squares(x, y)
    found = eot.low_rank(eot.PointCloud(x, y), rank, starts=5)
    for init in ("random", "kmeans"):
        q, r, g = ot.lowrank_sinkhorn(x, y, a, b, rank=rank, init=init, warn=False)
        assert found.value <= float((cost * ((q / g) @ r.T)).sum()) * (1.0 + 1e-6)


def test_the_entropic_objective_is_no_higher_than_that_of_pot():
    x, y = clouds(80, 80, 2, 1)
    a, cost = np.full(80, 1 / 80), squares(x, y)
    found = eot.low_rank(eot.PointCloud(x, y), 4, epsilon=0.1, starts=3)
    q, r, g = ot.lowrank_sinkhorn(x, y, a, a, reg=0.1, rank=4, rescale_cost=False, warn=False)
    theirs = float((cost * ((q / g) @ r.T)).sum()) + 0.1 * entropy_by_definition(q, r, g, a, a)
    assert found.value <= theirs * (1.0 + 1e-6)


def test_rank_one_is_the_product_of_the_weights():
    x, y = clouds(40, 30, 3)
    a, b = weights(40, 0), weights(30, 1)
    found = eot.low_rank(eot.PointCloud(x, y), 1, a, b)
    assert found.converged
    np.testing.assert_allclose(found.plan, np.outer(a, b), rtol=1e-12)
    assert found.value == pytest.approx(float(a @ squares(x, y) @ b), rel=1e-12)


@pytest.mark.parametrize(("n", "m"), [(30, 30), (20, 35), (35, 20)])
def test_the_full_rank_reaches_the_cheapest_plan(n, m):
    x, y = clouds(n, m, 2, 4)
    a, b = weights(n, 0), weights(m, 1)
    expected = ot.emd2(a, b, squares(x, y))
    found = eot.low_rank(eot.PointCloud(x, y), max(n, m), a, b)
    assert found.rank == min(n, m)
    assert found.value == pytest.approx(expected, rel=1e-4)
    assert found.lower == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("seed", range(12))
def test_bounds_enclose_the_cheapest_plan(seed):
    rng = np.random.default_rng(seed)
    n, m, d = (int(rng.integers(*ends)) for ends in ((2, 40), (2, 40), (1, 5)))
    x, y = clouds(n, m, d, seed)
    cost = rng.normal(size=(n, m)) if seed % 3 == 0 else squares(x, y)
    a, b = weights(n, seed), weights(m, seed + 1)
    if seed % 2:
        a[rng.integers(n)] = b[rng.integers(m)] = 0.0
        a, b = a / a.sum(), b / b.sum()
    found = eot.low_rank(cost, int(rng.integers(1, 8)), a, b, init=("kmeans", "random")[seed % 2], on_failure="ignore")
    exact = ot.emd2(a, b, cost)
    size = np.abs(cost).max()
    assert found.lower <= exact + 1e-9 * size
    assert found.upper >= exact - 1e-9 * size
    np.testing.assert_allclose(found.plan.sum(axis=1), a, atol=1e-14)
    np.testing.assert_allclose(found.plan.sum(axis=0), b, atol=1e-14)


@pytest.mark.parametrize(("rows", "cols"), PENALTIES[1:], ids=repr)
def test_soft_bounds_enclose_what_a_convex_solve_proves(rows, cols):
    x, y = clouds(50, 40)
    a, b = weights(50, 0), 1.4 * weights(40, 1)
    found = eot.low_rank(eot.PointCloud(x, y), 4, a, b, rows=rows, cols=cols)
    proved = eot.solve(squares(x, y), a, b, epsilon=1e-3, rows=rows, cols=cols, tol=1e-4).bounds()
    assert found.lower <= proved[1] + 1e-9
    assert found.upper >= proved[0] - 1e-9
    assert found.lower >= proved[0] - 0.01 * abs(proved[0])


@pytest.mark.parametrize("kind", ["cloud", "many coordinates", "stored", "blocks"])
def test_the_bound_of_larger_problems_is_near_what_is_proved(kind, monkeypatch):
    """Potentials come from other methods there; they are feasible everywhere, and nearly optimal."""
    monkeypatch.setattr(bound, "EXACT_POINTS", 500)
    monkeypatch.setattr(bound, "SUMMARISED", 400)
    monkeypatch.setattr(bound, "LARGEST_PLAN", 1 << 20)
    n = 1200
    x, y = clouds(n, n, 12 if kind == "many coordinates" else 2, 1)
    cloud = eot.PointCloud(x, y)
    cost = {"stored": squares(x, y), "blocks": Blocks(x, y)}.get(kind, cloud)
    found = eot.low_rank(cost, 3, max_iter=3, on_failure="ignore")
    lower, f, g = found.bound
    exact = eot.exact(cloud).value
    assert (squares(x, y) - f[:, None] - g).min() >= -1e-9
    assert lower == pytest.approx(f.mean() + g.mean(), rel=1e-9)
    assert 0.97 * exact <= lower <= exact * (1 + 1e-9)


class Blocks(eot.Cost):
    """Squared distances, by blocks."""

    def __init__(self, x, y):
        self.x, self.y, self.shape, self.dtype = x, y, (len(x), len(y)), np.float64

    def block(self, rows, cols):
        return squares(self.x[rows], self.y[cols])


def test_groups_that_were_permuted_are_recovered():
    rng = np.random.default_rng(0)
    centres = 10.0 * np.array([[0, 0], [1, 0], [0, 1], [1, 1], [2, 0.5]])
    groups = rng.integers(0, 5, 200)
    x = centres[groups] + 0.3 * rng.normal(size=(200, 2))
    order = rng.permutation(200)
    y = (centres[groups] + 0.3 * rng.normal(size=(200, 2)))[order] + [1.0, -1.0]
    for init in ("kmeans", "random"):
        found = eot.low_rank(eot.PointCloud(x, y), 5, init=init, starts=3)
        of_rows, of_cols = (factor.argmax(axis=1) for factor in found.factors[:2])
        assert len(set(zip(groups, of_rows, strict=True))) == 5
        np.testing.assert_array_equal(of_cols, of_rows[order])


def test_every_kind_of_cost_has_the_same_plan():
    """From the same factors; products by factors, along axes, stored and by blocks."""
    x, y = clouds(40, 30)
    q, r = np.random.default_rng(0).random((40, 4)), np.random.default_rng(1).random((30, 4))
    costs = [squares(x, y), np.asfortranarray(squares(x, y)), eot.PointCloud(x, y), Blocks(x, y)]
    values = [eot.low_rank(cost, 4, init=(q, r), max_iter=8, on_failure="ignore").value for cost in costs]
    assert values == pytest.approx([values[0]] * 4, rel=1e-9)
    axes = [np.arange(6.0), np.arange(5.0)]
    image = np.random.default_rng(2).random((6, 5))
    grid = eot.Grid(axes)
    start = np.random.default_rng(3).random((30, 3)), np.random.default_rng(4).random((30, 3))
    matrix = grid.block(slice(0, 30), slice(0, 30))
    options = {"init": start, "max_iter": 8, "on_failure": "ignore"}
    of_grid = eot.low_rank(grid, 3, image, image[::-1], **options)
    of_matrix = eot.low_rank(matrix, 3, image.ravel(), image[::-1].ravel(), **options)
    assert of_grid.value == pytest.approx(of_matrix.value, rel=1e-9)


@pytest.mark.parametrize("metric", METRICS)
def test_metrics_of_clouds(metric):
    x, y = clouds(50, 45, 3)
    cloud = eot.PointCloud(x, y, metric=metric)
    found = eot.low_rank(cloud, 4)
    cost = cloud.block(slice(0, 50), slice(0, 45))
    assert found.converged
    assert found.transport_cost == pytest.approx(float((cost * found.plan).sum()), rel=1e-10)
    assert found.lower == pytest.approx(ot.emd2(np.full(50, 1 / 50), np.full(45, 1 / 45), cost), abs=1e-9)


def test_translation_and_permutation_change_nothing():
    x, y = clouds(60, 50)
    q, r = np.random.default_rng(0).random((60, 4)), np.random.default_rng(1).random((50, 4))
    options = {"max_iter": 10, "on_failure": "ignore"}
    base = eot.low_rank(eot.PointCloud(x, y), 4, init=(q, r), **options)
    moved = eot.low_rank(eot.PointCloud(x + 100.0, y + 100.0), 4, init=(q, r), **options)
    assert moved.value == pytest.approx(base.value, rel=1e-8)
    p, s = np.random.default_rng(2).permutation(60), np.random.default_rng(3).permutation(50)
    permuted = eot.low_rank(eot.PointCloud(x[p], y[s]), 4, init=(q[p], r[s]), **options)
    assert permuted.value == pytest.approx(base.value, rel=1e-8)
    turned = eot.low_rank(eot.PointCloud(y, x), 4, init=(r, q), **options)
    assert turned.value == pytest.approx(base.value, rel=1e-8)
    shifted = eot.low_rank(squares(x, y) + 7.0, 4, init=(q, r), **options)
    assert shifted.value == pytest.approx(base.value + 7.0, rel=1e-8)


def test_products_maps_and_samples_are_those_of_the_plan():
    x, y = clouds(60, 50)
    found = eot.low_rank(eot.PointCloud(x, y), 5)
    plan = found.plan
    np.testing.assert_allclose(found.apply(y), plan @ y, atol=1e-14)
    np.testing.assert_allclose(found.apply(x[:, 0], axis=0), plan.T @ x[:, 0], atol=1e-14)
    np.testing.assert_allclose(found.barycentric_map(y), (plan @ y) / plan.sum(axis=1)[:, None], atol=1e-13)
    rows, cols = found.sample(200_000, rng=0)
    counts = np.zeros((60, 50))
    np.add.at(counts, (rows, cols), 1 / 200_000)
    deviation = (counts - plan) / np.sqrt(np.maximum(plan, 1e-12) / 200_000)
    assert np.abs(deviation[plan > 1e-4]).max() < 6.0
    assert counts[plan < 1e-12].sum() == 0.0


@pytest.mark.parametrize("name", LIBRARIES)
def test_arrays_of_other_libraries(name):
    xp = library(name)
    x, y = clouds(30, 25)
    found = eot.low_rank(xp.make(squares(x, y).astype(np.float32)), 3)
    plain = eot.low_rank(squares(x, y).astype(np.float32), 3)
    for got, expected in zip(found.factors, plain.factors, strict=True):
        assert isinstance(got, xp.kind)
        np.testing.assert_allclose(xp.read(got), expected, atol=1e-6)
    assert isinstance(found.apply(xp.make(y.astype(np.float32))), xp.kind)
    assert found.value == plain.value


def test_single_precision_costs_are_computed_with_in_double():
    x, y = clouds(40, 30)
    cost = squares(x, y)
    q, r = np.random.default_rng(0).random((40, 4)), np.random.default_rng(1).random((30, 4))
    for single in (cost.astype(np.float32), np.asfortranarray(cost.astype(np.float32))):
        options = {"init": (q, r), "max_iter": 10, "on_failure": "ignore"}
        found = eot.low_rank(single, 4, **options)
        again = eot.low_rank(single.astype(np.float64), 4, **options)
        assert found.value == pytest.approx(again.value, rel=1e-11)
        np.testing.assert_allclose(found.plan.sum(axis=1), 1 / 40, rtol=1e-12)


def test_points_that_coincide_cost_nothing():
    found = eot.low_rank(eot.PointCloud(np.ones((20, 2)), np.ones((15, 2))), 3)
    assert found.converged
    assert (found.value, found.lower) == pytest.approx((0.0, 0.0), abs=1e-14)


def test_a_time_limit_and_a_callback_end_it():
    x, y = clouds()
    seen = []
    found = eot.low_rank(
        eot.PointCloud(x, y), 5, callback=lambda k, residual: seen.append(residual) or k == 3, on_failure="ignore"
    )
    assert found.status is eot.Status.STOPPED
    np.testing.assert_array_equal(seen, found.history.residual)
    found = eot.low_rank(eot.PointCloud(x, y), 5, time_limit=1e-6, on_failure="ignore")
    assert found.status is eot.Status.TIME_LIMIT
    np.testing.assert_allclose(found.plan.sum(axis=1), 1 / 60, rtol=1e-12)
    with pytest.raises(eot.ConvergenceError, match="max_iter"):
        eot.low_rank(eot.PointCloud(x, y), 5, max_iter=2, on_failure="raise")
    with pytest.warns(eot.ConvergenceWarning, match="max_iter"):
        eot.low_rank(eot.PointCloud(x, y), 5, max_iter=2)


def test_a_solution_is_a_start():
    x, y = clouds()
    first = eot.low_rank(eot.PointCloud(x, y), 5)
    again = eot.low_rank(eot.PointCloud(x, y), 5, init=first)
    assert again.n_iter <= first.n_iter
    assert again.value <= first.value * (1 + 1e-6)


def test_more_starts_are_never_worse():
    x, y = clouds(80, 80, 3, 7)
    values = [eot.low_rank(eot.PointCloud(x, y), 8, starts=k, tol=1e-4).value for k in (1, 2, 4)]
    assert values[0] >= values[1] >= values[2]


def test_the_texts():
    x, y = clouds()
    found = eot.low_rank(eot.PointCloud(x, y), 5)
    assert repr(found).startswith("LowRankSolution(60 x 50, rank=5, value=")
    assert repr(found).endswith("CONVERGED)")
    assert "factors are stationary" in found.message


GOOD = np.random.default_rng(0).random((6, 5))


@pytest.mark.parametrize(
    ("arguments", "options", "words"),
    [
        ((GOOD, 0), {}, "rank is 0; it must be an integer >= 1"),
        ((GOOD, 2.5), {}, "rank is 2.5"),
        ((GOOD, True), {}, "rank is True"),
        ((np.where(GOOD > 0.9, np.inf, GOOD), 2), {}, r"is inf; low_rank takes finite costs"),
        ((np.where(GOOD > 0.9, np.nan, GOOD), 2), {}, r"is nan"),
        ((np.ones((2, 3, 4)), 2), {}, r"cost has shape \(2, 3, 4\)"),
        ((GOOD, 2, [1.0, -1.0, 1, 1, 1, 1]), {}, r"a\[1\] is -1.0"),
        ((GOOD, 2, np.ones(6), 2 * np.ones(5)), {}, "no plan has both"),
        ((GOOD, 2), {"epsilon": -1.0}, "epsilon is -1.0; it must be >= 0"),
        ((GOOD, 2), {"step": 0.0}, "step is 0.0"),
        ((GOOD, 2), {"least_share": 1.0}, r"least_share is 1.0; it must lie in \(0, 1\)"),
        ((GOOD, 2), {"tol": 0}, "tol is 0; low_rank has no fixed number of steps"),
        ((GOOD, 2), {"starts": 0}, "starts is 0"),
        ((GOOD, 2), {"seed": -1}, "seed is -1"),
        ((GOOD, 2), {"init": "best"}, "init is 'best'; choose from"),
        (
            (GOOD, 2),
            {"init": (np.ones((6, 3)), np.ones((5, 2)))},
            r"init\[0\] has shape \(6, 3\); it must have \(6, 2\)",
        ),
        ((GOOD, 2), {"init": (np.ones((6, 2)), -np.ones((5, 2)))}, r"init\[1\]\[0, 0\] is -1.0"),
        ((GOOD, 2), {"rows": eot.TV(1.0)}, r"rows is TV\(rho=1.0\); low_rank takes Fixed\(\) and KL\(rho\)"),
        ((GOOD, 2), {"cols": eot.KL(0.0)}, "cols is KL"),
        ((GOOD, 2), {"cols": eot.Elastic(0.5)}, "cols is Elastic"),
        ((GOOD, 2), {"on_failure": "stop"}, "on_failure is 'stop'"),
    ],
)
def test_bad_input_is_named(arguments, options, words):
    with pytest.raises(ValueError, match=words):
        eot.low_rank(*arguments, **options)


def test_wrong_types_are_named():
    with pytest.raises(TypeError, match="init is a dict"):
        eot.low_rank(GOOD, 2, init={})
    with pytest.raises(TypeError, match="rows must be a penalty"):
        eot.low_rank(GOOD, 2, rows="fixed")
    found = eot.low_rank(GOOD, 2)
    with pytest.raises(ValueError, match="axis is 2"):
        found.apply(np.ones(5), axis=2)
    with pytest.raises(ValueError, match="size is -1"):
        found.sample(-1)


@pytest.mark.slow
def test_many_points_take_no_matrix():
    """A matrix of 10^10 entries would take 75 GiB; the factors take 8 MB each."""
    import resource

    x, y = clouds(100_000, 100_000, 3)
    eot.low_rank(eot.PointCloud(x[:2000], y[:2000]), 10, max_iter=3, on_failure="ignore")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    found = eot.low_rank(eot.PointCloud(x, y), 10, max_iter=12, on_failure="ignore")
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024 < 1000.0
    np.testing.assert_allclose(found.row_marginal, 1e-5, rtol=1e-10)
    centred = [z - z.mean(axis=0) for z in (x, y)]
    apart = float(((x.mean(axis=0) - y.mean(axis=0)) ** 2).sum())
    product = sum(float((z**2).sum(axis=1).mean()) for z in centred) + apart
    assert apart < found.value < product
    with pytest.raises(ValueError, match="use apply, sample or the factors"):
        found.plan  # noqa: B018
    assert found.lower <= found.upper
