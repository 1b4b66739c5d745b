"""Gromov-Wasserstein: POT's plans, optimality with all four indices, bounds, monotone objectives, bad input."""

import numpy as np
import ot
import pytest

import elastic_ot as eot
from elastic_ot.solvers.gromov import descent

SIDES = [
    (eot.Fixed(), eot.Fixed()),
    (eot.KL(1.0), eot.KL(0.1)),
    (eot.Fixed(), eot.Free()),
    (eot.TV(0.3), eot.Fixed()),
    (eot.AtMost(), eot.Between(0.5, 1.5)),
]


def distances(n, d, seed, power=1.0):
    x = np.random.default_rng(seed).random((n, d))
    return np.linalg.norm(x[:, None] - x, axis=2) ** power


def weights(n, seed):
    a = np.random.default_rng(seed).random(n) + 0.1
    return a / a.sum()


def problem(n=24, m=20, symmetric=True):
    rng = np.random.default_rng(7)
    first, second = distances(n, 2, 0) + 0.1, distances(m, 3, 1) + 0.1
    if not symmetric:
        first, second = first + 0.2 * rng.random((n, n)), second + 0.2 * rng.random((m, m))
    return first, second, weights(n, 2), weights(m, 3)


def losses(first, second, loss):
    """L of all pairs of pairs, from its definition."""
    x, y = first[:, None, :, None], second[None, :, None, :]
    return (x - y) ** 2 if loss == "square" else x * np.log(x / y) - x + y


def rises(history):
    """The largest rise of the objective between inner solves of equal tolerance, in units of that."""
    values, tols = history.value, history.tol
    return max([0.0, *(np.diff(values) / tols[1:])[np.diff(tols) == 0]])


def derivative(four, plan):
    """Of sum L_ijkl P_ij P_kl in P, each pair counted as the first and as the second."""
    return np.einsum("ijkl,kl->ij", four, plan) + np.einsum("klij,kl->ij", four, plan)


@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("loss", ["square", "kl"])
def test_pot_finds_the_same_plan(loss, symmetric):
    first, second, a, b = problem(symmetric=symmetric)
    name = {"square": "square_loss", "kl": "kl_loss"}[loss]
    expected, log = ot.gromov.entropic_gromov_wasserstein(
        first, second, a, b, name, epsilon=0.03, symmetric=symmetric, max_iter=5000, tol=1e-12, log=True
    )
    found = eot.gromov(first, second, a, b, epsilon=0.03, loss=loss, tol=1e-9)
    assert found.converged
    assert np.abs(found.plan - expected).sum() <= 1e-6
    assert found.energy == pytest.approx(float(log["gw_dist"]), rel=1e-6)


def test_pot_finds_the_same_fused_plan():
    first, second, a, b = problem()
    linear = np.random.default_rng(0).random((24, 20))
    expected = ot.gromov.entropic_fused_gromov_wasserstein(
        linear, first, second, a, b, "square_loss", epsilon=0.03, alpha=0.7, max_iter=5000, tol=1e-12
    )
    found = eot.gromov(first, second, a, b, epsilon=0.03, linear=linear, alpha=0.7, tol=1e-9)
    assert np.abs(found.plan - expected).sum() <= 1e-6
    assert found.linear_cost == pytest.approx(float((linear * found.plan).sum()), rel=1e-12)


@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("loss", ["square", "kl"])
@pytest.mark.parametrize(("rows", "cols"), SIDES, ids=repr)
def test_the_plan_is_the_cheapest_under_its_own_derivative(rows, cols, loss, symmetric):
    """Recomputed with all four indices; the linear problem is solved once more, from nothing."""
    first, second, a, b = problem(12, 10, symmetric)
    found = eot.gromov(first, second, a, b, epsilon=0.05, loss=loss, rows=rows, cols=cols, tol=1e-7, max_iter=4000)
    assert found.converged, found.message
    four = losses(first, second, loss)
    plan = found.plan
    assert found.energy == pytest.approx(np.einsum("ijkl,ij,kl", four, plan, plan), rel=1e-10)
    again = eot.solve(derivative(four, plan), a, b, epsilon=0.05, rows=rows, cols=cols, tol=1e-9, method="newton")
    assert np.abs(again.plan - plan).sum() <= 1e-6 * plan.sum()


@pytest.mark.parametrize(("rows", "cols"), SIDES, ids=repr)
def test_the_objective_is_what_it_says_and_never_rises(rows, cols):
    first, second, a, b = problem(14, 12, symmetric=False)
    found = eot.gromov(first, second, a, b, epsilon=0.03, rows=rows, cols=cols, tol=1e-7, max_iter=3000)
    plan, reference = found.plan, np.outer(a, b)
    entropy = float((plan * np.log(plan / reference)).sum() - plan.sum() + reference.sum())
    penalty = sum(
        float(side.phi(x, w).sum())
        for side, x, w in ((rows, plan.sum(axis=1), a), (cols, plan.sum(axis=0), b))
        if not side.hard
    )
    assert found.value == pytest.approx(found.energy + 0.03 * entropy + penalty, abs=1e-6)
    size = abs(found.energy) + 0.03 * abs(entropy) + penalty
    assert rises(found.history) <= 3.0 * size


def test_random_relations_need_shorter_steps():
    """Nothing makes this energy concave, so that full steps raise the objective."""
    rng = np.random.default_rng(1)
    first, second = rng.random((30, 30)), rng.random((26, 26))
    found = eot.gromov(first, second, epsilon=0.004, tol=1e-3, max_iter=400, on_failure="ignore")
    assert found.history.proximal.max() > 0
    assert rises(found.history) <= 10.0 * abs(found.value)


@pytest.mark.parametrize(("rows", "cols"), SIDES, ids=repr)
def test_clouds_are_their_matrices(rows, cols):
    rng = np.random.default_rng(3)
    x, y, a, b = 3.0 + rng.random((40, 2)), rng.random((35, 3)), weights(40, 0), weights(35, 1)
    options = {"epsilon": 0.02, "rows": rows, "cols": cols, "tol": 1e-6, "init": "eccentricity", "max_iter": 3000}
    of_points = eot.gromov(eot.PointCloud(x), eot.PointCloud(y), a, b, **options)
    of_matrices = eot.gromov(*(((p[:, None] - p) ** 2).sum(axis=2) for p in (x, y)), a, b, **options)
    assert of_points.converged, of_points.message
    assert of_points.energy == pytest.approx(of_matrices.energy, rel=1e-5)
    assert of_points.value == pytest.approx(of_matrices.value, rel=1e-5)
    assert np.abs(of_points.plan - of_matrices.plan).sum() <= 1e-4 * of_matrices.plan.sum()


def test_fused_clouds_are_their_matrices():
    rng = np.random.default_rng(3)
    x, y, z, w = rng.random((30, 2)), rng.random((25, 3)), rng.random((30, 2)), rng.random((25, 2))
    options = {"epsilon": 0.05, "alpha": 0.4, "tol": 1e-7, "init": "eccentricity"}
    of_points = eot.gromov(eot.PointCloud(x), eot.PointCloud(y), linear=eot.PointCloud(z, w), **options)
    matrices = [((p[:, None] - q) ** 2).sum(axis=2) for p, q in ((x, x), (y, y), (z, w))]
    of_matrices = eot.gromov(*matrices[:2], linear=matrices[2], **options)
    assert of_points.value == pytest.approx(of_matrices.value, rel=1e-5)
    assert of_points.linear_cost == pytest.approx(of_matrices.linear_cost, rel=1e-4)


def test_a_rotated_and_permuted_cloud_is_found():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(30, 3)) * [1.0, 2.0, 3.0]
    turn, order = np.linalg.qr(rng.normal(size=(3, 3)))[0], rng.permutation(30)
    y = (x @ turn)[order] + 5.0
    found = eot.gromov(eot.PointCloud(x), eot.PointCloud(y), epsilon=0.3, starts=4, tol=1e-4)
    np.testing.assert_array_equal(order[found.plan.argmax(axis=1)], np.arange(30))


def test_more_starts_are_never_worse():
    rng = np.random.default_rng(5)
    first, second = rng.random((20, 20)), rng.random((18, 18))
    values = [eot.gromov(first, second, epsilon=0.02, starts=k, tol=1e-4, on_failure="ignore").value for k in (1, 2, 5)]
    assert values[0] >= values[1] >= values[2]


@pytest.mark.parametrize("loss", ["square", "kl"])
def test_lower_bounds_lie_below_the_energy_of_every_plan(loss):
    first, second, a, b = problem(12, 10, symmetric=False)
    found = eot.gromov(first, second, a, b, epsilon=0.01, loss=loss, starts=3, tol=1e-5, on_failure="ignore")
    bounds = found.lower_bounds(third=True)
    four = losses(first, second, loss)
    plans = [
        found.plan,
        np.outer(a, b),
        *(eot.exact(np.random.default_rng(k).random((12, 10)), a, b).plan for k in range(5)),
    ]
    least = min(np.einsum("ijkl,ij,kl", four, plan, plan) for plan in plans)
    assert 0.0 <= max(bounds) <= least + 1e-12
    assert bounds[1] > 0.0
    assert (bounds[0] > 0.0) == (loss == "square")


def test_bounds_are_met_by_a_copy():
    first = distances(15, 2, 0)
    order = np.random.default_rng(0).permutation(15)
    found = eot.gromov(first, first[np.ix_(order, order)], epsilon=1e-3, starts=2, tol=1e-4, on_failure="ignore")
    assert found.lower_bounds(third=True) == pytest.approx((0.0, 0.0), abs=1e-12)


def test_a_time_limit_and_a_callback_end_it():
    first, second, a, b = problem()
    seen = []
    found = eot.gromov(
        first, second, a, b, epsilon=0.01, callback=lambda k, change: seen.append(k) or k == 3, on_failure="ignore"
    )
    assert seen == [1, 2, 3]
    assert found.status is eot.Status.STOPPED
    found = eot.gromov(first, second, a, b, epsilon=0.01, time_limit=1e-6, on_failure="ignore")
    assert found.status is eot.Status.TIME_LIMIT
    with pytest.raises(eot.ConvergenceError, match="max_iter"):
        eot.gromov(first, second, a, b, epsilon=0.01, max_iter=2, on_failure="raise")
    with pytest.warns(eot.ConvergenceWarning, match="max_iter"):
        eot.gromov(first, second, a, b, epsilon=0.01, max_iter=2)


GOOD = np.ones((3, 3)) - np.eye(3)


@pytest.mark.parametrize(
    ("arguments", "options", "words"),
    [
        ((np.ones((3, 2)), GOOD), {}, r"cost_x has shape \(3, 2\); it must be square"),
        ((GOOD, np.full((3, 3), np.nan)), {}, r"cost_y\[0, 0\] is nan"),
        ((GOOD, GOOD), {"loss": "kl"}, r"cost_y\[0, 0\] is 0.0; loss='kl' needs numbers > 0"),
        ((GOOD, GOOD), {"alpha": 0.5}, "linear is None"),
        ((GOOD, GOOD), {"alpha": 0.0, "linear": GOOD}, r"alpha is 0.0; it must lie in \(0, 1\]"),
        ((GOOD, GOOD), {"linear": np.ones((3, 4))}, r"linear has shape \(3, 4\); it must have \(3, 3\)"),
        ((GOOD, GOOD), {"init": np.ones((2, 3))}, r"init has shape \(2, 3\)"),
        ((GOOD, GOOD), {"init": "best"}, "init is 'best'; choose from"),
        ((GOOD, GOOD), {"starts": 0}, "starts is 0"),
        ((GOOD, GOOD), {"epsilon": 0.0}, "epsilon is 0.0"),
        ((GOOD, GOOD), {"tol": 0}, "tol is 0; gromov has no fixed number of steps"),
        ((GOOD, GOOD, [1.0, -1.0, 1.0]), {}, r"a\[1\] is -1.0"),
        ((GOOD, GOOD, [0.0, 0.0, 0.0]), {}, "a sums to 0"),
        ((eot.PointCloud(GOOD, GOOD.copy()), eot.PointCloud(GOOD)), {}, "cost_x is a PointCloud of two sides"),
        ((eot.PointCloud(np.ones((5000, 1))), GOOD), {}, "too large to be stored"),
    ],
)
def test_bad_input_is_named(arguments, options, words):
    with pytest.raises(ValueError, match=words):
        eot.gromov(*arguments, **{"epsilon": 0.1} | options)


def test_relaxed_sides_have_no_lower_bounds():
    found = eot.gromov(GOOD, GOOD, epsilon=0.1, rows=eot.KL(1.0), on_failure="ignore")
    with pytest.raises(ValueError, match="Fixed sides"):
        found.lower_bounds()


@pytest.mark.parametrize(("rows", "cols"), [(eot.Fixed(), eot.Fixed()), (eot.KL(1.0), eot.Fixed())])
def test_mixed_costs_save_steps_and_end_where_plain_ones_do(rows, cols, monkeypatch):
    """Between points in a plane and in space the last steps are each nine tenths of the one before."""
    rng = np.random.default_rng(0)
    first, second = (np.linalg.norm(x[:, None] - x, axis=2) for x in (rng.random((80, 2)), rng.random((80, 3))))
    found = []
    for below in (descent.MIXED_BELOW, 0.0):
        monkeypatch.setattr(descent, "MIXED_BELOW", below)
        found.append(eot.gromov(first, second, epsilon=0.01, rows=rows, cols=cols, tol=1e-8, max_iter=5000))
    mixed, plain = found
    assert mixed.converged
    assert plain.converged
    assert mixed.n_iter < 0.7 * plain.n_iter
    assert mixed.value == pytest.approx(plain.value, rel=1e-9)
    assert np.abs(mixed.plan - plain.plan).sum() < 1e-6
    assert (np.diff(mixed.history.value) < 1e-4 * mixed.value).all()
