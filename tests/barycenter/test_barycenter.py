"""Barycenters on a given support: optimality recomputed, other software, closed forms, limits, invariances."""

from __future__ import annotations

import numpy as np
import ot
import pytest
from numpy.testing import assert_allclose

import elastic_ot as eot
from elastic_ot.problems.penalties import KL, L2, TV, AtMost, Between, Fixed, Free
from helpers.barycenters import bumps, by_linear_program, plan_of, primal

RNG = np.random.default_rng(3)


@pytest.mark.parametrize("epsilon", [0.3, 0.02, 1e-3])
def test_potentials_are_optimal(epsilon):
    """Stationarity of the dual in f and in g, and equal marginals: all there is to ask for."""
    cost, measures = bumps(4, 40)
    w = np.array([0.1, 0.2, 0.3, 0.4])
    found = eot.barycenter(cost, measures, w, epsilon=epsilon, tol=1e-10)
    assert found.converged
    assert_allclose(w @ np.array(found.g), 0.0, atol=1e-13)
    for a, f, g in zip(measures, found.f, found.g, strict=True):
        plan = plan_of(cost, a, f, g, epsilon)
        assert_allclose(plan.sum(axis=1), a, atol=1e-10)
        assert np.abs(plan.sum(axis=0) - found.weights).sum() <= 1e-10 + 1e-13 / epsilon


@pytest.mark.parametrize("epsilon", [0.1, 0.01, 2e-3])
def test_equals_pot_with_equal_weights(epsilon):
    """With others its first step leaves sum_k w_k g_k = c, not 0, which no later one mends."""
    cost, measures = bumps(3, 60)
    theirs = ot.barycenter(measures.T.copy(), cost, epsilon, stopThr=1e-14, numItermax=20_000)
    ours = eot.barycenter(cost, measures, epsilon=epsilon, tol=1e-10)
    assert np.abs(ours.weights - theirs).sum() <= 1e-7


@pytest.mark.parametrize(("method", "epsilon"), [("sinkhorn_stabilized", 0.02), ("sinkhorn_log", 4e-4)])
def test_equals_other_methods_of_pot(method, epsilon):
    cost, measures = bumps(3, 40)
    measures = (measures + 1e-4) / (1 + 40e-4)
    theirs = ot.barycenter(measures.T.copy(), cost, epsilon, method=method, stopThr=1e-12, numItermax=20_000)
    assert np.abs(eot.barycenter(cost, measures, epsilon=epsilon, tol=1e-9).weights - theirs).sum() <= 1e-6


def test_images_equal_pot():
    images = RNG.random((3, 12, 12)) ** 4
    images /= images.sum(axis=(1, 2), keepdims=True)
    theirs = ot.bregman.convolutional_barycenter2d(images, 0.01, stopThr=1e-14, numItermax=20_000)
    # POT lays pixels over linspace(0, 1), and writes exp(-d^2 / epsilon)
    axis = np.linspace(0, 1, 12)
    ours = eot.barycenter(eot.Grid((axis, axis)), images, epsilon=0.01, tol=1e-10)
    assert np.abs(ours.weights.reshape(12, 12) - theirs).sum() <= 1e-7


@pytest.mark.parametrize("rows", [Fixed(), KL(0.3), TV(0.05), L2(0.5), Between(0.9, 1.1), AtMost(), Free()])
def test_gap_is_that_of_recomputed_values(rows):
    cost, measures = bumps(3, 25)
    w = np.array([0.5, 0.3, 0.2])
    found = eot.barycenter(cost, measures, w, epsilon=0.05, rows=rows, tol=1e-9)
    plans = [part.rounded_plan() for part in found.transports]
    columns = np.array([plan.sum(axis=0) for plan in plans])
    assert_allclose(columns, np.repeat(columns[:1], 3, axis=0), atol=1e-12)
    values = primal([cost] * 3, measures, w, plans, 0.05, None if rows.hard else rows.phi)
    dual = 0.0
    for weight, a, f, g in zip(w, measures, found.f, found.g, strict=True):
        plan = plan_of(cost, a, f, g, 0.05)
        dual += weight * (rows.dual(np.asarray(f), a).sum() - 0.05 * (plan.sum() - 25 * a.sum()))
    assert found.dual_value == pytest.approx(dual, rel=1e-12)
    assert found.value == pytest.approx(values, rel=1e-10)
    assert -1e-12 <= found.gap <= 1e-7


def test_gap_of_a_loose_solve_bounds_the_error():
    cost, measures = bumps(3, 30)
    best = eot.barycenter(cost, measures, epsilon=0.01, tol=1e-11).value
    loose = eot.barycenter(cost, measures, epsilon=0.01, tol=1e-2)
    assert loose.dual_value <= best <= loose.value
    assert 1e-7 < loose.gap < 0.1


@pytest.mark.parametrize("seed", range(3))
def test_limit_is_the_linear_program(seed):
    """The entropy of P, relative to a 1^T, differs from that of the best plan by log m at most."""
    rng = np.random.default_rng(seed)
    costs, measures = rng.random((2, 5, 4)), rng.random((2, 5)) + 0.1
    measures /= measures.sum(axis=1, keepdims=True)
    w, epsilon = np.array([0.3, 0.7]), 1e-3
    exact = by_linear_program(costs, measures, w)
    found = eot.barycenter(costs, measures, w, epsilon=epsilon, tol=1e-3)
    moved = sum(weight * part.transport_cost for weight, part in zip(w, found.transports, strict=True))
    missed = found.residual  # times the largest cost, which is below 1
    assert exact - missed <= moved <= exact + epsilon * np.log(4) + found.gap + missed


def test_gaussians_on_a_line():
    """The barycenter of N(m_k, s_k^2) is N(w @ m, (w @ s)^2); entropy adds epsilon / 2 to its variance, nearly."""
    x = np.linspace(-6, 6, 400)
    mean, deviation, w = np.array([-1.0, 1.5]), np.array([0.4, 0.8]), np.array([0.25, 0.75])
    a = np.exp(-((x - mean[:, None]) ** 2) / (2 * deviation[:, None] ** 2))
    a /= a.sum(axis=1, keepdims=True)
    b = eot.barycenter((x[:, None] - x) ** 2, a, w, epsilon=1e-3 * 144).weights
    centre = b @ x
    assert centre == pytest.approx(w @ mean, abs=1e-6)
    assert np.sqrt(b @ (x - centre) ** 2) == pytest.approx(w @ deviation, rel=0.1)
    b = eot.barycenter((x[:, None] - x) ** 2, a, w, epsilon=1e-5 * 144).weights
    assert np.sqrt(b @ (x - b @ x) ** 2) == pytest.approx(w @ deviation, rel=2e-3)


def test_two_diracs_meet_in_the_middle():
    """The plans are products, so b_j is in proportion to exp(-sum_k w_k C_k / epsilon)."""
    x = np.linspace(0, 1, 21)
    cost, measures = (x[:, None] - x) ** 2, np.zeros((2, 21))
    measures[0, 2] = measures[1, 14] = 1.0
    w, epsilon = np.array([0.25, 0.75]), 1e-3
    found = eot.barycenter(cost, measures, w, epsilon=epsilon)
    expected = np.exp(-(w[0] * cost[2] + w[1] * cost[14]) / epsilon)
    assert_allclose(found.weights, expected / expected.sum(), atol=1e-9)
    assert found.weights.argmax() == 11


def test_one_measure_is_smoothed():
    """K = 1 leaves g = 0: every row spreads by the softmax of its costs."""
    cost, measures = bumps(1, 30)
    kernel = np.exp(-cost / 0.01)
    expected = measures[0] @ (kernel / kernel.sum(axis=1, keepdims=True))
    assert_allclose(eot.barycenter(cost, measures, epsilon=0.01).weights, expected, atol=1e-12)


def test_equal_measures_are_as_one():
    cost, measures = bumps(1, 30)
    one = eot.barycenter(cost, measures, epsilon=0.01)
    many = eot.barycenter(cost, np.repeat(measures, 4, axis=0), [0.1, 0.2, 0.3, 0.4], epsilon=0.01)
    assert_allclose(many.weights, one.weights, atol=1e-7)
    assert many.value == pytest.approx(one.value, abs=1e-9)


def test_every_kind_of_cost_has_one_answer():
    """A matrix, a stack, a list, Fortran order, float32, a cloud, a grid, and a cost of the user's."""

    class Own(eot.Cost):
        def __init__(self, matrix):
            self.matrix, self.shape, self.dtype = matrix, matrix.shape, np.float64

        def block(self, rows, cols):
            return self.matrix[rows, cols].copy()

    x = np.linspace(0, 1, 30)
    cost, measures = bumps(3, 30)
    expected = eot.barycenter(cost, measures, epsilon=0.01, tol=1e-9).weights
    kinds = {
        "stack": np.repeat(cost[None], 3, axis=0),
        "list": [cost, cost, cost],
        "fortran": np.asfortranarray(cost),
        "strided": np.repeat(cost, 2, axis=1)[:, ::2],
        "cloud": eot.PointCloud(x[:, None], x[:, None]),
        "clouds": [eot.PointCloud(x[:, None], x[:, None])] * 3,
        "grid": eot.Grid((x,)),
        "user": Own(cost),
    }
    for name, kind in kinds.items():
        found = eot.barycenter(kind, measures, epsilon=0.01, tol=1e-9)
        assert_allclose(found.weights, expected, atol=1e-8, err_msg=name)
        assert found.gap < 1e-8, name
    single = eot.barycenter(cost.astype(np.float32), measures, epsilon=0.01)
    assert_allclose(single.weights, expected, atol=1e-5)


def test_large_clouds_and_grids_are_not_stored():
    """More entries than are kept as a matrix: sums by points and by axes, against the matrix of distances."""
    axis = (np.arange(40) + 0.5) / 40
    points = np.array([(s, t) for s in axis for t in axis])
    images = RNG.random((2, 40, 40)) ** 6 + 1e-3
    images /= images.sum(axis=(1, 2), keepdims=True)
    cost = ((points[:, None] - points) ** 2).sum(axis=-1)
    flat = images.reshape(2, -1)
    expected = eot.barycenter(cost, flat, epsilon=0.02)
    for kind, given in ((eot.Grid((40, 40)), images), (eot.PointCloud(points, points), flat)):
        found = eot.barycenter(kind, given, epsilon=0.02)
        assert np.abs(found.weights - expected.weights).sum() < 5e-6
        assert found.value == pytest.approx(expected.value, abs=1e-6)


def test_many_measures_are_swept_together_or_one_by_one():
    """From three on a matrix is multiplied with all of them; two are swept each for itself."""
    cost, measures = bumps(2, 40)
    one_by_one = eot.barycenter(cost, measures, [0.3, 0.7], epsilon=0.005, tol=1e-10)
    together = eot.barycenter(cost, measures[[0, 0, 1]], [0.1, 0.2, 0.7], epsilon=0.005, tol=1e-10)
    assert np.abs(together.weights - one_by_one.weights).sum() < 1e-8


@pytest.mark.parametrize("method", ["log", "epsilon_scaling"])
def test_methods_have_one_answer(method):
    cost, measures = bumps(3, 50)
    found = eot.barycenter(cost, measures, epsilon=1e-3, tol=1e-9, method=method)
    assert found.method == method
    assert np.abs(found.weights - eot.barycenter(cost, measures, epsilon=1e-3, tol=1e-9).weights).sum() < 1e-7


@pytest.mark.parametrize("share", [1e-3, 1e-4, 1e-5])
def test_small_epsilon_does_not_underflow(share):
    cost, measures = bumps(4, 100)
    found = eot.barycenter(cost, measures, epsilon=share, max_iter=20_000)
    assert found.converged
    assert found.weights.sum() == pytest.approx(1.0)
    assert -1e-12 <= found.gap <= 1e-6


def test_ragged_measures():
    rng = np.random.default_rng(0)
    support = rng.random((20, 2))
    clouds = [rng.random((n, 2)) for n in (5, 13, 8)]
    costs = [((x[:, None] - support) ** 2).sum(axis=-1) for x in clouds]
    found = eot.barycenter(costs, epsilon=0.02, tol=1e-10)
    assert [part.shape for part in map(found.plan, range(3))] == [(5, 20), (13, 20), (8, 20)]
    for k, part in enumerate(found.transports):
        assert np.abs(found.plan(k).sum(axis=0) - found.weights).sum() < 1e-9
        assert_allclose(part.row_marginal, 1 / clouds[k].shape[0], atol=1e-10)
    assert_allclose(found.apply(0, np.ones(20)), found.row_marginals[0], atol=1e-12)


def test_one_measure_of_weight_one_leaves_the_others_their_transports():
    """Weights of 0, as at the corners of an interpolation, do not count; their plans still end at the barycenter."""
    cost, measures = bumps(3, 30)
    found = eot.barycenter(cost, measures, [0.0, 1.0, 0.0], epsilon=0.01, tol=1e-9)
    alone = eot.barycenter(cost, measures[1:2], epsilon=0.01)
    assert_allclose(found.weights, alone.weights, atol=1e-8)
    assert found.transports[0].converged
    assert found.transports[2].converged


def test_masked_columns_are_empty():
    cost, measures = bumps(2, 20)
    cost = np.repeat(cost[None], 2, axis=0)
    cost[0, :, 7], cost[1, 3, 5:9] = np.inf, np.inf
    found = eot.barycenter(cost, measures, epsilon=0.01, tol=1e-9)
    assert found.weights[7] == 0
    assert np.isneginf(found.g[0][7])
    assert (found.plan(1)[3, 5:9] == 0).all()
    assert found.gap < 1e-6


def test_zero_weights_remove_rows():
    cost, measures = bumps(2, 20)
    measures[:, :4] = 0.0
    measures /= measures.sum(axis=1, keepdims=True)
    found = eot.barycenter(cost, measures, epsilon=0.01, tol=1e-9)
    fewer = eot.barycenter(cost[4:].copy(), measures[:, 4:].copy(), epsilon=0.01, tol=1e-9)
    assert_allclose(found.weights, fewer.weights, atol=1e-8)
    assert np.isneginf(found.f[0][:4]).all()


@pytest.mark.parametrize("rho", [0.1, 1000.0])
def test_unequal_masses_meet_where_rows_are_relaxed(rho):
    cost, measures = bumps(2, 30)
    measures[1] *= 3.0
    found = eot.barycenter(cost, measures, epsilon=0.01, rows=eot.KL(rho), tol=1e-8)
    assert found.converged
    assert 1.0 < found.weights.sum() < 3.0
    assert np.abs(found.col_marginals[0] - found.col_marginals[1]).sum() < 1e-7
    if rho == 1000.0:  # KL(b | 1) + KL(b | 3) is least at the geometric mean
        assert found.weights.sum() == pytest.approx(np.sqrt(3.0), rel=1e-3)


def test_constant_of_costs_moves_the_value_only():
    cost, measures = bumps(3, 30)
    plain = eot.barycenter(cost, measures, epsilon=0.01, tol=1e-9)
    for constant in (0.5, 1e6):
        lifted = eot.barycenter(cost + constant, measures, epsilon=0.01, tol=1e-9)
        assert_allclose(lifted.weights, plain.weights, atol=1e-7)
        assert lifted.value - constant == pytest.approx(plain.value, abs=1e-9 * max(1.0, constant))
        assert_allclose(np.mean(lifted.g, axis=0), 0.0, atol=1e-9 * constant)


def test_scale_of_costs_and_masses():
    cost, measures = bumps(3, 30)
    plain = eot.barycenter(cost, measures, epsilon=0.01, tol=1e-9)
    scaled = eot.barycenter(1e3 * cost, 7.0 * measures, epsilon=10.0, tol=1e-9)
    assert_allclose(scaled.weights, 7.0 * plain.weights, atol=1e-7)
    assert scaled.value == pytest.approx(7e3 * plain.value, rel=1e-8)


def test_order_of_measures_and_of_points_does_not_matter():
    cost, measures = bumps(3, 30)
    w, order, points = np.array([0.2, 0.3, 0.5]), [2, 0, 1], RNG.permutation(30)
    plain = eot.barycenter(cost, measures, w, epsilon=0.01, tol=1e-9)
    turned = eot.barycenter(cost[:, points], measures[order], w[order], epsilon=0.01, tol=1e-9)
    assert_allclose(turned.weights, plain.weights[points], atol=1e-8)


def test_warm_start_takes_few_iterations():
    cost, measures = bumps(3, 40)
    cold = eot.barycenter(cost, measures, epsilon=2e-3)
    warm = eot.barycenter(cost, measures, epsilon=2e-3, init=cold)
    given = eot.barycenter(cost, measures, epsilon=2e-3, init=np.array(cold.g))
    assert max(warm.n_iter, given.n_iter) < 0.3 * cold.n_iter
    assert np.abs(warm.weights - cold.weights).sum() < 1e-5


def test_other_libraries_get_their_arrays_back():
    torch = pytest.importorskip("torch")
    cost, measures = bumps(2, 20)
    found = eot.barycenter(torch.from_numpy(cost), torch.from_numpy(measures), epsilon=0.01)
    assert isinstance(found.weights, torch.Tensor)
    assert isinstance(found.g[0], torch.Tensor)
    assert_allclose(found.weights.numpy(), eot.barycenter(cost, measures, epsilon=0.01).weights)
