"""Penalties of product measures: the objective, its minima, what they tend to, POT's plans, bad input."""

import numpy as np
import ot
import pytest
from scipy.optimize import minimize

import elastic_ot as eot


def distances(n, d, seed):
    x = np.random.default_rng(seed).random((n, d))
    return np.linalg.norm(x[:, None] - x, axis=2) + 0.1


def problem(n, m, symmetric=True):
    rng = np.random.default_rng(5)
    first, second, linear = distances(n, 2, 0), distances(m, 3, 1), rng.random((n, m))
    if not symmetric:
        first, second = first + 0.2 * rng.random((n, n)), second + 0.2 * rng.random((m, m))
    a, b = rng.random(n) + 0.2, rng.random(m) + 0.2
    return first, second, a / a.sum(), 1.3 * b / b.sum(), linear


def divergence(x, y):
    """KL(x (x) x | y (x) y), all pairs of entries."""
    p, q = np.outer(x, x), np.outer(y, y)
    return float((p * np.log(np.where(p > 0, p / q, 1.0))).sum() - p.sum() + q.sum())


def objective(plan, first, second, a, b, linear, *, alpha, epsilon, strengths, loss="square", reference=None):
    """The objective with all four indices."""
    x, y = first[:, None, :, None], second[None, :, None, :]
    four = (x - y) ** 2 if loss == "square" else x * np.log(x / y) - x + y
    terms = epsilon * divergence(plan, np.outer(a, b) if reference is None else reference)
    for rho, marginal, weights in zip(strengths, (plan.sum(axis=1), plan.sum(axis=0)), (a, b), strict=True):
        terms += rho * divergence(marginal, weights) if rho else 0.0
    energy = np.einsum("ijkl,ij,kl", four, plan, plan)
    return alpha * energy + (1.0 - alpha) * float((linear * plan).sum()) + 0.5 * terms


def least_value(start, *arguments, **options):
    """The least objective near a plan, over logarithms of its entries, by another method."""
    shape = start.shape
    found = minimize(
        lambda logs: objective(np.exp(logs).reshape(shape), *arguments, **options),
        np.log(start).ravel(),
        method="BFGS",
        options={"gtol": 1e-9},
    )
    return found.fun


@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("loss", ["square", "kl"])
@pytest.mark.parametrize("reference", ["product", "counting"])
@pytest.mark.parametrize("alpha", [1.0, 0.6])
def test_the_objective_is_what_it_says_and_the_plan_a_minimum(alpha, reference, loss, symmetric):
    first, second, a, b, linear = problem(4, 3, symmetric)
    ours = {"alpha": alpha, "epsilon": 0.1}
    found = eot.gromov(
        *(first, second, a, b),
        linear=linear if alpha < 1 else None,
        rows=eot.KL(0.7),
        cols=eot.KL(0.4),
        penalties="product",
        reference=reference,
        loss=loss,
        tol=1e-9,
        **ours,
    )
    assert found.converged, found.message
    options = {"strengths": (0.7, 0.4), "loss": loss, "reference": np.ones((4, 3)) if reference == "counting" else None}
    arguments = first, second, a, b, linear
    value = objective(found.plan, *arguments, **ours, **options)
    assert found.value == pytest.approx(value, rel=1e-12)
    start = found.plan * np.exp(0.05 * np.random.default_rng(0).normal(size=(4, 3)))
    assert value <= least_value(start, *arguments, **ours, **options) + 1e-9 * abs(value)


def test_no_small_plan_is_better_than_the_best_of_some_starts():
    first, second, a, b, linear = problem(3, 2)
    options = {"alpha": 0.7, "epsilon": 0.05}
    found = eot.gromov(
        first,
        second,
        a,
        b,
        linear=linear,
        rows=eot.KL(0.5),
        cols=eot.KL(0.5),
        penalties="product",
        starts=6,
        tol=1e-8,
        **options,
    )
    rng, arguments = np.random.default_rng(1), (first, second, a, b, linear)
    starts = (np.outer(a, b) * np.exp(rng.normal(size=(3, 2), scale=1.5)) for _ in range(12))
    values = [least_value(start, *arguments, strengths=(0.5, 0.5), **options) for start in starts]
    assert found.value <= min(values) + 1e-9


@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize(("rho", "epsilon"), [(1.0, 0.1), (0.1, 0.02)])
def test_pot_finds_the_same_plan(rho, epsilon, fused):
    first, second, a, b, linear = problem(9, 7)
    alpha = 0.6 if fused else 1.0
    found = eot.gromov(
        *(first, second, a, b),
        epsilon=epsilon,
        linear=linear if fused else None,
        alpha=alpha,
        rows=eot.KL(rho),
        cols=eot.KL(2 * rho),
        penalties="product",
        tol=1e-8,
    )
    plan, other, log = ot.gromov.fused_unbalanced_gromov_wasserstein(
        *(first, second, a, b),
        reg_marginals=(0.5 * rho / alpha, rho / alpha),
        epsilon=0.5 * epsilon / alpha,
        unbalanced_solver="sinkhorn_log",
        alpha=(1.0 - alpha) / alpha,
        M=linear if fused else None,
        max_iter=500,
        tol=1e-9,
        max_iter_ot=5000,
        tol_ot=1e-10,
        log=True,
    )
    assert np.abs(plan - other).sum() <= 1e-6
    assert np.abs(found.plan - plan).sum() <= 1e-5
    assert found.plan.sum() == pytest.approx(plan.sum(), rel=1e-6)
    assert found.value == pytest.approx(alpha * log["fugw_cost"], rel=1e-8)


def test_a_permuted_copy_is_found_at_its_mass():
    first = distances(12, 3, 4)
    order = np.random.default_rng(0).permutation(12)
    found = eot.gromov(
        first,
        first[np.ix_(order, order)],
        epsilon=1e-3,
        rows=eot.KL(1.0),
        cols=eot.KL(1.0),
        penalties="product",
        starts=3,
        tol=1e-5,
    )
    np.testing.assert_array_equal(order[found.plan.argmax(axis=1)], np.arange(12))


@pytest.mark.parametrize("fused", [False, True])
def test_strong_penalties_tend_to_fixed_sides(fused):
    """The distance falls as 1 / rho."""
    first, second, a, b, linear = problem(8, 6)
    options = {"epsilon": 0.1, "tol": 1e-8} | ({"linear": linear, "alpha": 0.5} if fused else {})
    fixed = eot.gromov(first, second, a, b / b.sum(), **options)
    far = [
        np.abs(
            eot.gromov(
                first, second, a, b / b.sum(), rows=eot.KL(rho), cols=eot.KL(rho), penalties="product", **options
            ).plan
            - fixed.plan
        ).sum()
        for rho in (100.0, 1000.0)
    ]
    assert far[1] <= 0.2 * far[0]
    assert far[1] <= 1e-2


def test_fixed_sides_of_mass_1_have_one_problem():
    first, second, a, b, _ = problem(8, 6)
    plans = [
        eot.gromov(first, second, a, b / b.sum(), epsilon=0.05, penalties=kind, tol=1e-9).plan
        for kind in ("marginal", "product")
    ]
    np.testing.assert_allclose(*plans, atol=1e-7)


def test_a_fixed_side_is_met_beside_a_relaxed_one():
    first, second, a, b, linear = problem(8, 6)
    found = eot.gromov(
        first, second, a, b, epsilon=0.05, linear=linear, cols=eot.KL(0.5), penalties="product", tol=1e-8
    )
    assert found.converged
    np.testing.assert_allclose(found.row_marginal, a, atol=1e-7)
    options = {"alpha": 0.5, "epsilon": 0.05, "strengths": (0.0, 0.5)}
    value = objective(found.plan, first, second, a, b, linear, **options)
    assert found.value == pytest.approx(value, abs=1e-6)
    for k in range(5):  # along directions that keep the fixed side
        rng = np.random.default_rng(k)
        moved = found.plan * np.exp(0.1 * rng.normal(size=(8, 6)))
        moved *= (found.plan.sum(axis=1) / moved.sum(axis=1))[:, None]
        assert value <= objective(moved, first, second, a, b, linear, **options) + 1e-9


def test_the_objective_never_rises_between_equal_tolerances():
    first, second, a, b, linear = problem(10, 9, symmetric=False)
    found = eot.gromov(
        first, second, a, b, epsilon=0.02, linear=linear, rows=eot.KL(0.3), cols=eot.KL(0.3), penalties="product"
    )
    assert found.converged
    values, tols = found.history.value, found.history.tol
    assert np.diff(values)[np.diff(tols) == 0].max(initial=0.0) <= 10.0 * tols.max() * abs(values).max()
    assert found.value == pytest.approx(values[-1], rel=1e-5)


def test_clouds_are_made_matrices():
    rng = np.random.default_rng(2)
    x, y = rng.random((9, 2)), rng.random((8, 3))
    options = {"epsilon": 0.05, "rows": eot.KL(0.5), "cols": eot.KL(0.5), "penalties": "product"}
    of_points = eot.gromov(eot.PointCloud(x), eot.PointCloud(y), **options)
    of_matrices = eot.gromov(*(((p[:, None] - p) ** 2).sum(axis=2) for p in (x, y)), **options)
    np.testing.assert_allclose(of_points.plan, of_matrices.plan, atol=1e-6)


def test_a_plan_may_vanish():
    first, second, a, b, linear = problem(5, 4)
    found = eot.gromov(
        *(first, second, a, b),
        epsilon=0.01,
        linear=100.0 + linear,
        rows=eot.KL(0.01),
        cols=eot.KL(0.01),
        penalties="product",
        on_failure="ignore",
    )
    assert found.status is eot.Status.STALLED
    assert "the plan vanishes" in found.message
    nothing = objective(np.zeros((5, 4)), first, second, a, b, linear, alpha=0.5, epsilon=0.01, strengths=(0.01, 0.01))
    assert found.value == pytest.approx(nothing, rel=1e-3)


def test_other_penalties_and_names_are_refused():
    first, second, a, b, _ = problem(4, 3)
    with pytest.raises(ValueError, match="cols is TV"):
        eot.gromov(first, second, a, b, epsilon=0.1, rows=eot.KL(1.0), cols=eot.TV(1.0), penalties="product")
    with pytest.raises(ValueError, match="penalties is 'products'; choose from"):
        eot.gromov(first, second, a, b, epsilon=0.1, penalties="products")
