"""Multiscale solves: certificates that hold for all pairs of points, on every family, penalty, reference and metric."""

from dataclasses import replace

import numpy as np
import pytest

import elastic_ot as eot
from elastic_ot.costs import scan
from elastic_ot.problems.build import build
from elastic_ot.problems.scaled import make_task
from elastic_ot.solvers import methods
from elastic_ot.solvers.multiscale.pyramid import Bounds, Pyramid
from helpers.clouds import FAMILIES, METRICS, clustered, costs, displaced, mixture, pair, plan_of, sphere, uniform

BLUR = {"sqeuclidean": 0.03, "euclidean": 0.02, "cityblock": 0.03}
PAIRS = [
    (eot.KL(1.0), eot.KL(1.0)),
    (eot.KL(1e-2), eot.Fixed()),
    (eot.Fixed(), eot.KL(1e-3)),
    (eot.KL(1e-6), eot.KL(1e-6)),
    (eot.KL(1e3), eot.KL(1e3)),
    (eot.TV(0.2), eot.Fixed()),
    (eot.L2(3.0), eot.KL(0.1)),
    (eot.Between(0.5, 1.5), eot.Fixed()),
    (eot.AtMost(), eot.AtMost()),
    (eot.Fixed(), eot.Free()),
    (eot.Elastic(0.5), eot.Elastic(0.5)),
]


def epsilon_of(metric):
    return BLUR[metric] ** 2 if metric == "sqeuclidean" else BLUR[metric]


def solve(x, y, metric="sqeuclidean", epsilon=None, **options):
    options = {"method": "multiscale", "tol": 1e-4, "on_failure": "ignore"} | options
    return eot.solve(eot.PointCloud(x, y, metric), epsilon=epsilon or epsilon_of(metric), **options)


def true_error(found, x, y, metric, epsilon, a, b):
    plan = plan_of(found, costs(x, y, metric), epsilon, a, b)
    return np.abs(plan.sum(axis=1) - a).sum() + np.abs(plan.sum(axis=0) - b).sum()


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("family", FAMILIES)
def test_certified_error_is_at_least_the_true_one(family, metric):
    n, m, epsilon = 900, 1100, epsilon_of(metric)
    x, y = pair(family, n, m, 2)
    rng = np.random.default_rng(1)
    a, b = rng.random(n), rng.random(m)
    a[:40] = 0.0
    a, b = a / a.sum(), b / b.sum()
    found = solve(x, y, metric, a=a, b=b, tol=1e-3)
    assert found.converged, found.message
    assert found.method == "multiscale"
    error = true_error(found, x, y, metric, epsilon, a, b)
    # brute force rounds exponents up to 1e5 at 1e-11
    assert error <= found.residual + 1e-9
    assert found.residual <= 1e-3
    assert found.row_marginal[:40].max() == 0.0


@pytest.mark.parametrize("tol", [1e-2, 1e-6, 1e-9])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_every_tolerance(tol, dtype):
    x, y = (z.astype(dtype) for z in pair(mixture, 1500, 1400, 3))
    a, b = np.full(1500, 1 / 1500), np.full(1400, 1 / 1400)
    epsilon = 2.5e-3
    found = solve(x, y, epsilon=epsilon, tol=tol)
    assert found.converged, found.message
    error = true_error(found, x.astype(float), y.astype(float), "sqeuclidean", epsilon, a, b)
    assert error <= found.residual + 1e-12
    assert found.residual <= tol


@pytest.mark.parametrize("reference", ["product", "counting"])
@pytest.mark.parametrize("penalties", PAIRS, ids=str)
def test_gap_and_dual_hold_for_every_penalty(penalties, reference):
    rows, cols = penalties
    n, m = 500, 600
    x, y = pair(mixture, n, m, 2)
    sides = {"rows": rows, "cols": cols, "reference": reference}
    # R = 1 has n m times the mass of a b^T, and pays for it in the entropy
    found = solve(x, y, epsilon=2e-3, tol=1e-5, **sides)
    exact = eot.solve(costs(x, y, "sqeuclidean"), epsilon=2e-3, tol=1e-9, method="newton", **sides)
    assert exact.converged
    assert found.converged, found.message
    unit = max(abs(exact.dual_value), 2e-3 * exact.row_marginal.sum())
    assert found.dual_value <= exact.value + 1e-9 * unit
    assert found.value >= exact.dual_value - 1e-9 * unit
    assert 0 <= found.gap <= 3e-3 * unit
    mass = exact.row_marginal.sum()
    assert np.abs(found.row_marginal - exact.row_marginal).sum() <= 3e-3 * mass
    assert found.marginal_error <= 1e-5 * max(mass, 1.0)


@pytest.mark.parametrize("ratio", [1e-3, 1.0, 1e3])
def test_strengths_far_below_and_above_epsilon(ratio):
    x, y = pair(mixture, 700, 700, 2)
    epsilon = 1e-3
    found = solve(x, y, epsilon=epsilon, rows=eot.KL(ratio * epsilon), cols=eot.KL(ratio * epsilon))
    assert found.converged, found.message
    assert np.isfinite(found.f).all()
    assert np.isfinite(found.g).all()
    assert np.isfinite(found.gap)


def test_sums_over_the_plan():
    n, m, epsilon, tol = 900, 800, 1e-3, 1e-6
    x, y = pair(mixture, n, m, 2)
    found = solve(x, y, epsilon=epsilon, tol=tol)
    cost, a, b = costs(x, y, "sqeuclidean"), np.full(n, 1 / n), np.full(m, 1 / m)
    plan = plan_of(found, cost, epsilon, a, b)
    z = np.random.default_rng(0).normal(size=(m, 2))
    left = tol * np.abs(z).max()
    np.testing.assert_allclose(found.apply(z), plan @ z, atol=left)
    np.testing.assert_allclose(found.apply(plan.sum(axis=1), axis=0), plan.T @ plan.sum(axis=1), atol=tol)
    assert abs(found.transport_cost - (plan * cost).sum()) <= tol * cost.max()
    np.testing.assert_allclose(found.plan, plan, atol=1e-9 * plan.max())
    gradients = found.gradients()
    np.testing.assert_allclose(gradients.x, 2 * (plan.sum(axis=1)[:, None] * x - plan @ y), atol=4 * tol)
    low, high = found.bounds()
    exact = eot.exact(cost).value
    assert low <= exact <= high


def test_the_gap_bounds_what_a_feasible_plan_costs():
    n, m, epsilon = 700, 600, 2e-3
    x, y = pair(mixture, n, m, 2)
    found = solve(x, y, epsilon=epsilon, tol=1e-3)
    best = eot.solve(costs(x, y, "sqeuclidean"), epsilon=epsilon, tol=1e-10, method="newton")
    assert found.dual_value <= best.value
    assert found.value >= best.dual_value
    assert found.gap < 0.01 * best.value


@pytest.mark.parametrize("metric", ["sqeuclidean", "euclidean"])  # entries of "cityblock" are often equal
@pytest.mark.parametrize("mass", [0.9, 0.999, 1.0])
def test_sparse_plans_hold_the_largest_entries(metric, mass):
    n, m, epsilon = 500, 600, epsilon_of(metric)
    x, y = pair(mixture, n, m, 2)
    found = solve(x, y, metric, tol=1e-8)
    a, b = np.full(n, 1 / n), np.full(m, 1 / m)
    plan, kept = plan_of(found, costs(x, y, metric), epsilon, a, b), found.sparse_plan(mass).toarray()
    inside = kept > 0
    np.testing.assert_allclose(kept[inside], plan[inside], rtol=1e-8)
    if mass == 1.0:
        assert plan[~inside].sum() <= 1e-8
        return
    wanted = largest_of_rows(plan, mass) | largest_of_rows(plan.T, mass).T
    # shares are of sums that lack what is not read, so that the last entry of a line may be in or out
    assert (wanted != inside).sum() <= 3


def largest_of_rows(plan, mass):
    """The largest entries of every row that together carry a share of it."""
    order = np.argsort(-plan, axis=1)
    ordered = np.take_along_axis(plan, order, axis=1)
    before = np.cumsum(ordered, axis=1) - ordered
    out = np.empty(plan.shape, bool)
    np.put_along_axis(out, order, before < mass * plan.sum(axis=1, keepdims=True), axis=1)
    return out


@pytest.mark.parametrize("penalties", [(eot.Fixed(), eot.Fixed()), (eot.KL(0.1), eot.KL(0.1))], ids=str)
def test_divergences(penalties, monkeypatch):
    monkeypatch.setattr(scan, "KEPT_ENTRIES", 0)
    rows, cols = penalties
    x, y = pair(mixture, 500, 600, 2)
    sides = {"rows": rows, "cols": cols, "tol": 1e-7, "blur": 0.05}
    found = eot.divergence(eot.PointCloud(x, y), **sides)
    assert {found.cross.method, found.self_x.method, found.self_y.method} == {"multiscale"}
    matrices = (costs(x, y, "sqeuclidean"), costs(x, x, "sqeuclidean"), costs(y, y, "sqeuclidean"))
    expected = eot.divergence(*matrices, rows=rows, cols=cols, tol=1e-9, epsilon=0.05**2)
    # the error of a dual value is of second order in that of the marginals, plus what is not read
    assert abs(found.value - expected.value) <= 1e-6
    slopes = found.gradients()
    exact = eot.divergence(eot.PointCloud(x, y), method="newton", **sides).gradients()
    np.testing.assert_allclose(slopes.x, exact.x, atol=1e-6)
    same = eot.divergence(eot.PointCloud(x, x.copy()), **sides)
    assert 0.0 <= same.value <= 1e-8


def test_cells_lead_newton_s_steps_where_they_are_few():
    n = 6000  # 4 % of the points stand for the cloud at this blur
    x, y = pair(mixture, n, n, 2)
    found = solve(x, y, epsilon=0.05**2, tol=1e-7)
    assert found.converged
    a = np.full(n, 1 / n)
    error = true_error(found, x, y, "sqeuclidean", 0.05**2, a, a)
    assert error <= found.residual + 1e-12


def test_clusters_take_hardly_more_iterations_than_a_cube():
    """What is near together there is spread far: its cells must be smaller than the blur alone asks for."""
    spread, cube = (
        solve(*pair(family, 10_000, 10_000, 3), epsilon=0.01**2, tol=1e-3) for family in (clustered, uniform)
    )
    assert spread.converged
    assert spread.n_iter <= 1.5 * cube.n_iter


def test_cells_lie_in_those_above_and_keep_their_bounds():
    rng = np.random.default_rng(0)
    points, weights = np.sort(rng.random((777, 1)), axis=0), rng.random(777)
    pyramid = Pyramid(points, weights)
    above = pyramid.cut(1e-2)
    radii = 10.0 ** rng.uniform(-9, -2, above.size)
    found = pyramid.cut(3e-3, Bounds(above, radii, 777))
    ends = np.append(found.starts[1:], 777)
    cells = above.cells_of(found)
    np.testing.assert_array_equal(np.searchsorted(above.starts, ends - 1, side="right") - 1, cells)
    assert found.starts[0] == 0
    sizes = ends - found.starts
    assert sizes.max() > 1
    for first, end, cell in zip(found.starts, ends, cells, strict=True):
        w, x = weights[first:end], points[first:end, 0]
        variance = w @ (x - w @ x / w.sum()) ** 2 / w.sum()
        assert variance <= min(3e-3, radii[cell]) * (1.0 + 1e-9)
    np.testing.assert_allclose(found.weights.sum(), weights.sum(), rtol=1e-12)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("transpose", [False, True])
def test_slopes_of_costs_and_how_much_they_differ(metric, transpose):
    x, y = pair(mixture, 300, 340, 2)
    problem = build(eot.PointCloud(x, y, metric), None, None, 0.1, eot.Fixed(), eot.Fixed(), "product", None)
    task = make_task(replace(problem, cost=eot.PointCloud(x, y, metric)._known().pruned(1e-6)))
    rng = np.random.default_rng(0)
    alpha, beta = 0.3 * rng.normal(size=300) - 6.0, 0.3 * rng.normal(size=340) - 6.0
    means, spread = task.plan.mean_slopes(alpha, beta, transpose)
    p = np.exp(alpha[:, None] + beta - costs(x, y, metric) / 0.1)
    apart = x[:, None] - y
    if transpose:
        p, apart = p.T, -apart.transpose(1, 0, 2)
    lengths = np.linalg.norm(apart, axis=2, keepdims=True)
    slopes = {"sqeuclidean": 2.0 * apart, "euclidean": apart / lengths, "cityblock": np.sign(apart)}[metric]
    share = p / p.sum(axis=1, keepdims=True)
    wanted = np.einsum("ij,ijk->ik", share, slopes)
    np.testing.assert_allclose(means, wanted, atol=1e-5)
    expected = np.einsum("ij,ijk->i", share, (slopes - wanted[:, None]) ** 2)
    np.testing.assert_allclose(spread, expected, atol=5e-5)


def test_auto_takes_it_for_points_of_few_coordinates(monkeypatch):
    monkeypatch.setattr(scan, "KEPT_ENTRIES", 0)
    x, y = pair(uniform, 400, 400, 3)
    assert eot.solve(eot.PointCloud(x, y), epsilon=1e-3).method == "multiscale"
    many = np.random.default_rng(0).random((2, 60, 20))
    assert eot.solve(eot.PointCloud(*many), epsilon=0.5).method != "multiscale"


def test_all_pairs_are_read_by_another_method_where_that_can_end(monkeypatch):
    problem = build(
        eot.PointCloud(*pair(uniform, 50, 50, 2)), None, None, 0.1, eot.Fixed(), eot.Fixed(), "product", None
    )
    large = replace(problem, cost=eot.PointCloud(*pair(uniform, 50, 50, 2))._known().pruned(1e-6))
    assert [phase.name for phase in methods.choose("auto", large, 1.0, 1e-3)] == ["multiscale", "newton", "log"]
    monkeypatch.setattr(methods, "READABLE", 2000)
    assert [phase.name for phase in methods.choose("auto", large, 1.0, 1e-3)] == ["multiscale"]


def test_warm_start_and_time_limit():
    x, y = pair(mixture, 1500, 1500, 3)
    first = solve(x, y, epsilon=1e-3)
    again = solve(x, y, epsilon=1e-3, init=first)
    assert again.converged
    assert again.n_iter <= 3
    stopped = solve(x, y, epsilon=1e-4, tol=1e-8, time_limit=1e-3)
    assert stopped.status is eot.Status.TIME_LIMIT
    a = np.full(1500, 1 / 1500)
    error = true_error(stopped, x, y, "sqeuclidean", 1e-4, a, a)
    assert error <= stopped.residual * (1 + 1e-9)


def test_callback_stops_a_level_above_the_target():
    x, y = pair(mixture, 1500, 1500, 3)
    found = solve(x, y, epsilon=1e-3, callback=lambda iteration, residual: iteration >= 3)
    assert found.status is eot.Status.STOPPED
    assert found.f.shape == (1500,)
    assert set(found.history.method) == {"multiscale"}
    assert found.history.epsilon[0] > 1e-3


@pytest.mark.parametrize("blur", [1e-4, 30.0])
def test_blurs_below_the_spacing_and_above_the_diameter(blur):
    x, y = pair(uniform, 400, 400, 2)
    found = solve(x, y, epsilon=blur**2, tol=1e-3)
    assert found.converged or found.status in (eot.Status.STALLED, eot.Status.MAX_ITER)
    assert np.isfinite(found.f).all()
    if blur > 1:
        assert found.converged


def test_weights_over_twelve_decades():
    x, y = pair(mixture, 600, 600, 2)
    a = 10.0 ** np.random.default_rng(3).uniform(-12, 0, 600)
    found = solve(x, y, epsilon=1e-3, a=a / a.sum(), tol=1e-3)
    assert found.converged, found.message


def test_an_outlier_s_potential_hides_the_blur_and_that_is_said():
    x, y = pair(mixture, 600, 600, 2)
    y[0] = 1e4
    assert solve(x, y, epsilon=1e-3, tol=1e-3).converged
    y[0] = 1e6  # its costs are 1e15 epsilon: float64 resolves them to about one
    found = solve(x, y, epsilon=1e-3, tol=1e-3)
    assert found.status is eot.Status.STALLED
    assert "float64 resolves marginals" in found.message


@pytest.mark.parametrize(
    ("cost", "options", "words"),
    [
        (np.ones((3, 3)), {}, "pass an elastic_ot.PointCloud"),
        (eot.PointCloud(np.ones((3, 2)), metric="dot"), {}, "is for a metric of 'sqeuclidean'"),
        (eot.PointCloud(np.ones((3, 2))), {"tol": 0}, "tol > 0"),
        (eot.PointCloud(np.ones((3, 2))), {"relaxation": 1.2}, "leave it at 1"),
        (eot.PointCloud(np.ones((2, 3, 2))), {}, "one by one"),
    ],
)
def test_what_it_is_not_for(cost, options, words):
    with pytest.raises(ValueError, match=words):
        eot.solve(cost, epsilon=0.1, method="multiscale", **options)


@pytest.mark.parametrize("ratio", [0.1, 1.0, 10.0])
def test_marginals_that_span_hundreds_of_decades(ratio):
    n, epsilon = 2500, 1e-4  # potentials fall by a hundred nats and more within a block of neighbours
    x, y = pair(mixture, n, n, 3)
    sides = {"rows": eot.KL(ratio * epsilon), "cols": eot.KL(ratio * epsilon)}
    found = solve(x, y, epsilon=epsilon, tol=1e-4, **sides)
    assert found.converged, found.message
    assert found.method == "multiscale"
    exact = eot.solve(costs(x, y, "sqeuclidean"), epsilon=epsilon, tol=1e-8, method="newton", **sides)
    unit = max(abs(exact.dual_value), epsilon * exact.row_marginal.sum())
    assert found.dual_value <= exact.value + 1e-9 * unit
    assert found.value >= exact.dual_value - 1e-9 * unit
    assert found.gap <= 1e-2 * unit


def test_a_bound_that_underflowed_says_nothing_of_potentials_far_above():
    n, side = 2400, np.repeat([1.0, -1.0], 1200)
    x = 1e-3 * np.random.default_rng(0).random((n, 2))
    x[1200:] += 40.0  # two clusters, whose mass between them is exp(-3200)
    problem = build(eot.PointCloud(x), None, None, 1.0, eot.Fixed(), eot.Fixed(), "product", None)
    plan = make_task(replace(problem, cost=problem.cost.pruned(1e-6))).plan
    alpha, rows, cols = np.full(n, -np.log(n)), np.empty(n), np.empty(n)
    assert plan.marginals(alpha, alpha, rows, cols) == 0.0
    # potentials that make up for the distance from the first cluster to the second
    risen = alpha + 1600.0 * side, alpha - 1600.0 * side
    left = plan.marginals(*risen, rows, cols)
    true = np.exp(risen[0][:, None] + risen[1] - costs(x, x, "sqeuclidean")).sum(axis=1)
    assert np.abs(true - rows).sum() <= left + 1e-9


@pytest.mark.parametrize(
    ("family", "d", "penalty"),
    [(mixture, 2, eot.TV(0.1)), (uniform, 2, eot.TV(0.1)), (sphere, 3, eot.KL(1e-3)), (sphere, 3, eot.TV(0.1))],
)
def test_what_lists_lack_is_read_in_the_end(family, d, penalty):
    """Potentials drift until the pair that would stop them is listed; gaps of a firm TV ask for smaller residuals."""
    x, y = pair(family, 3000, 3000, d)
    before, sides = eot.get_num_threads(), {"rows": penalty, "cols": penalty}
    eot.set_num_threads(1)
    try:
        found = eot.solve(eot.PointCloud(x, y), epsilon=0.003**2, tol=1e-3, method="multiscale", **sides)
    finally:
        eot.set_num_threads(before)
    assert found.converged
    weights = np.full(3000, 1 / 3000)
    plan = plan_of(found, costs(x, y, "sqeuclidean"), 0.003**2, weights, weights)
    np.testing.assert_allclose(plan.sum(axis=1), found.row_marginal, rtol=0, atol=1e-4 * plan.sum())
    np.testing.assert_allclose(plan.sum(axis=0), found.col_marginal, rtol=0, atol=1e-4 * plan.sum())


@pytest.mark.parametrize("method", ["multiscale", "newton", "log"])
def test_a_plan_that_vanishes_is_called_so(method):
    x, y = pair(displaced, 300, 300, 2)
    cost = eot.PointCloud(x, y) if method == "multiscale" else costs(x, y, "sqeuclidean")
    sides = {"rows": eot.TV(0.1), "cols": eot.TV(0.1)}
    found = eot.solve(cost, epsilon=1e-3, method=method, on_failure="ignore", **sides)
    assert found.status is eot.Status.NUMERICAL
    assert "holds no mass" in found.message


def test_the_message_says_where_lists_do_not_pay():
    x, y = pair(uniform, 1500, 1500, 8)
    assert "of all pairs of points were read" in solve(x, y, epsilon=0.1).message
    assert "of all pairs" not in solve(*pair(uniform, 1500, 1500, 2), epsilon=1e-3).message
