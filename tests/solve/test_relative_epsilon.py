"""epsilon="0.05x" is a fraction of the range of the costs: of those that are finite and allowed, of each problem."""

import numpy as np
import pytest

import elastic_ot as eot

RNG = np.random.default_rng(0)
COST = 3.0 + 2.0 * RNG.random((6, 5))
X, Y = RNG.random((30, 2)), RNG.random((20, 2))
SQUARES = ((X[:, None] - Y) ** 2).sum(axis=2)


def within(low, epsilon, high):
    return low * (1 - 1e-12) <= epsilon <= high * (1 + 1e-12)


def test_of_a_matrix():
    sol = eot.solve(COST, epsilon="0.05x")
    assert sol.epsilon == pytest.approx(0.05 * np.ptp(COST), rel=1e-12)
    assert np.array_equal(sol.plan, eot.solve(COST, epsilon=sol.epsilon).plan)
    assert eot.solve(COST.astype(np.float32), epsilon="0.05x").epsilon == pytest.approx(sol.epsilon, rel=1e-6)
    assert eot.solve((10 * COST).astype(int), epsilon="1e-1x").epsilon == 0.1 * np.ptp((10 * COST).astype(int))
    assert eot.solve(COST.tolist(), epsilon="0.05x").epsilon == sol.epsilon


def test_it_follows_the_scale_and_not_the_level_of_the_costs():
    plan = eot.solve(COST, epsilon="0.05x", tol=1e-12).plan
    assert np.allclose(eot.solve(1e6 * COST - 7.0, epsilon="0.05x", tol=1e-12).plan, plan, atol=1e-9)


def test_forbidden_entries_do_not_count():
    mask = COST < 4.5
    inside = 0.05 * np.ptp(COST[mask])
    assert eot.solve(COST, epsilon="0.05x", mask=mask).epsilon == pytest.approx(inside, rel=1e-12)
    assert eot.solve(np.where(mask, COST, np.inf), epsilon="0.05x").epsilon == pytest.approx(inside, rel=1e-12)


def test_of_a_batch_each_problem_has_its_own():
    costs = COST * np.arange(1.0, 5.0).reshape(2, 2, 1, 1)
    found = eot.solve(costs, epsilon="0.1x").epsilon
    assert np.allclose(found, 0.1 * np.ptp(costs, axis=(2, 3)), rtol=1e-12)
    weights = RNG.dirichlet(np.ones(6), size=3)
    assert np.allclose(eot.solve(COST, weights, epsilon="0.1x").epsilon, 0.1 * np.ptp(COST), rtol=1e-12)
    masks = RNG.random((3, 6, 5)) < 0.9
    expected = [0.1 * np.ptp(COST[mask]) for mask in masks]
    assert np.allclose(eot.solve(COST, epsilon="0.1x", mask=masks).epsilon, expected, rtol=1e-12)


def test_what_lies_beyond_the_lengths_does_not_count():
    padded = np.full((2, 6, 5), np.nan)
    padded[0, :3, :4], padded[1] = COST[:3, :4], COST
    found = eot.solve(padded, epsilon="0.1x", row_lengths=[3, 6], col_lengths=[4, 5]).epsilon
    assert np.allclose(found, [0.1 * np.ptp(COST[:3, :4]), 0.1 * np.ptp(COST)], rtol=1e-12)
    points = np.full((2, 30, 2), np.nan)
    points[0, :10], points[1] = X[:10], X
    cloud = eot.PointCloud(points, Y)
    found = eot.solve(cloud, epsilon="0.1x", row_lengths=[10, 30]).epsilon
    alone = [eot.solve(eot.PointCloud(x, Y), epsilon="0.1x").epsilon for x in (X[:10], X)]
    assert np.allclose(found, alone, rtol=1e-12)


def test_of_points_and_grids_it_is_of_a_bound_on_the_range():
    cloud = eot.PointCloud(X, Y)
    assert within(np.ptp(SQUARES), eot.solve(cloud, epsilon="1x").epsilon, 2.0)  # the square of the diagonal
    assert eot.solve(eot.Grid((3, 3)), epsilon="0.5x").epsilon == pytest.approx(4 / 9, rel=1e-15)


def test_of_a_cost_of_ones_own():
    class Own(eot.Cost):
        shape, dtype = COST.shape, np.float64

        def block(self, rows, cols):
            return COST[rows, cols]

    assert eot.solve(Own(), epsilon="0.05x").epsilon == pytest.approx(0.05 * np.ptp(COST), rel=1e-12)


def test_of_a_divergence_it_is_of_the_costs_between_the_clouds():
    cloud = eot.PointCloud(X, Y)
    found = eot.divergence(cloud, epsilon="0.1x")
    assert {term.epsilon for term in (found.cross, found.self_x, found.self_y)} == {found.cross.epsilon}
    assert found.cross.epsilon == eot.solve(cloud, epsilon="0.1x").epsilon
    many = eot.divergence(eot.PointCloud(np.stack([X, 2 * X]), Y), epsilon="0.1x")
    assert many[0].cross.epsilon == found.cross.epsilon < many[1].cross.epsilon


def test_of_a_barycenter_it_is_of_all_costs_together():
    costs = [COST, 3.0 * COST]
    both = 0.1 * (3.0 * COST.max() - COST.min())
    for given in (costs, np.stack(costs)):
        assert eot.barycenter(given, epsilon="0.1x").epsilon == pytest.approx(both, rel=1e-12)
    free = eot.free_barycenter([X, Y], support=X[:5], epsilon="0.1x", max_moves=3, on_failure="ignore")
    squares = [((x[:, None] - X[:5]) ** 2).sum(axis=2) for x in (X, Y)]
    assert within(0.1 * np.ptp(np.concatenate(squares)), free.barycenter.epsilon, 0.2)


def test_of_a_plan_of_low_rank():
    assert eot.low_rank(COST, 2, epsilon="0.05x").epsilon == pytest.approx(0.05 * np.ptp(COST), rel=1e-12)
    cloud = eot.PointCloud(X, Y)
    found, expected = eot.low_rank(cloud, 2, epsilon="0.1x").epsilon, eot.solve(cloud, epsilon="0.1x").epsilon
    assert found == pytest.approx(expected, rel=1e-12)
    with pytest.raises(ValueError, match="give a number in the units of the cost"):
        eot.low_rank(COST, 2, epsilon="0.05")


def test_of_a_coupling():
    found = eot.couple(X, Y, k=5, method="entropic", epsilon="0.1x", seed=0)
    assert found.epsilon == eot.solve(eot.PointCloud(X, Y), epsilon="0.1x").epsilon


@pytest.mark.parametrize("text", ["x", "0.05", "-1x", "0x", "infx", "nanx", "0.05 of the range", ""])
def test_other_texts_are_refused(text):
    with pytest.raises(ValueError, match=r"epsilon is .*; give a number .* such as '0\.05x'"):
        eot.solve(COST, epsilon=text)


def test_what_has_no_range_is_refused():
    with pytest.raises(ValueError, match="epsilon is '1x', and all finite costs are equal"):
        eot.solve(np.ones((2, 3)), epsilon="1x")
    with pytest.raises(ValueError, match=r"all finite costs of problem \[1\] are equal"):
        eot.solve(np.stack([COST, np.ones_like(COST)]), epsilon="1x")
    with pytest.raises(TypeError, match="gromov makes its costs of the plan"):
        eot.gromov(COST[:5], COST[:5], epsilon="0.05x")
    with pytest.raises(TypeError, match="temperature of scores"):
        eot.applications.attention_weights(COST, lam=0.5, epsilon="0.05x")


@pytest.mark.parametrize(
    ("cost", "message"),
    [
        (np.ones(3), "it must be a matrix"),
        (np.full((2, 2), np.inf), "every cell of cost is forbidden"),
        (np.array([[1.0, np.nan], [0.0, 2.0]]), r"cost\[0, 1\] is nan"),
        (np.array([["a", "b"]]), "it must hold real numbers"),
    ],
)
def test_wrong_costs_keep_their_own_messages(cost, message):
    with pytest.raises((ValueError, TypeError), match=message):
        eot.solve(cost, epsilon="0.05x")
