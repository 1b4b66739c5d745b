"""Passes over listed pairs of blocks, and the bound on what a list leaves out, against all pairs by brute force."""

import numpy as np
import pytest

from elastic_ot.backends import protocol, reference_cloud
from elastic_ot.backends.cpu import cloud as cpu
from elastic_ot.backends.cpu import point_lists, point_prune, point_tree
from elastic_ot.backends.cpu.tiles import BLOCK_POINTS
from elastic_ot.backends.protocol import Side, Vectors
from helpers.clouds import FAMILIES, METRICS, costs, pair

N, M = 701, 830


@pytest.fixture(autouse=True)
def few_blocks_are_searched(monkeypatch):
    monkeypatch.setattr(point_prune, "UNSEARCHED", 0)
    monkeypatch.setattr(point_prune, "WORTH", 1.0)


def balanced(x, y, metric, epsilon, sweeps=12):
    """Potentials near balance of equal weights, and their plan."""
    n, m, c = len(x), len(y), costs(x, y, metric) / epsilon
    alpha, beta = np.full(n, -np.log(n)), np.full(m, -np.log(m))
    for _ in range(sweeps):
        top = (beta - c).max(axis=1)
        alpha = -np.log(n) - np.log(np.exp(beta - c - top[:, None]).sum(axis=1)) - top
        top = (alpha[:, None] - c).max(axis=0)
        beta = -np.log(m) - np.log(np.exp(alpha[:, None] - c - top).sum(axis=0)) - top
    return alpha, beta, np.exp(alpha[:, None] + beta - c)


def pruned(x, y, metric, epsilon, alpha, beta, most):
    offsets = np.full(len(x), -np.log(len(x))), np.full(len(y), -np.log(len(y)))
    return cpu.prune(cpu.cloud(x, y, metric), 1.0 / epsilon, alpha, beta, offsets, most)


def swept(alpha, beta):
    """Vectors of sweeps at these potentials."""
    n, m = alpha.size, beta.size
    return Vectors(alpha.copy(), beta.copy(), np.zeros(n), np.zeros(m), alpha.copy(), np.zeros(m))


def listed(cloud, n, m):
    """Which pairs of points a cloud reads."""
    out = np.zeros((n, m), bool)
    pairs = cloud.pairs
    assert pairs is not None
    for i, j in zip(pairs.rows, pairs.partners, strict=True):
        rows, cols = (
            points.order[BLOCK_POINTS * k : BLOCK_POINTS * (k + 1)] for points, k in ((cloud.rows, i), (cloud.cols, j))
        )
        out[np.ix_(rows, cols)] = True
    return out


@pytest.mark.parametrize("most", [1e-3, 1e-9])
@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("d", [1, 2, 3])
@pytest.mark.parametrize("family", FAMILIES)
def test_what_is_left_out_stays_below_its_bound(family, d, metric, most):
    x, y = pair(family, N, M, d)
    epsilon = (3e-3 if metric == "sqeuclidean" else 3e-2) * d
    alpha, beta, plan = balanced(x, y, metric, epsilon)
    cloud, left = pruned(x, y, metric, epsilon, alpha, beta, most)
    if cloud.pairs is None:
        assert left == 0.0
        return
    inside = listed(cloud, N, M)
    # plan entries are exponentials of differences of numbers up to 1e5, and round at 1e-11
    assert plan[~inside].sum() <= left * (1 + 1e-9) + 1e-300
    assert left <= 4 * most
    rows, cols = np.empty(N), np.empty(M)
    cpu.marginals(cloud, 1.0 / epsilon, alpha, beta, rows, cols)
    np.testing.assert_allclose(rows, (plan * inside).sum(axis=1), rtol=1e-8, atol=1e-14)
    np.testing.assert_allclose(cols, (plan * inside).sum(axis=0), rtol=1e-8, atol=1e-14)


@pytest.mark.parametrize("metric", METRICS)
def test_lists_are_short_where_the_blur_is_small(metric):
    x, y = pair(FAMILIES[1], 1500, 1500, 2)
    epsilon = 2e-4 if metric == "sqeuclidean" else 5e-3
    alpha, beta, _ = balanced(x, y, metric, epsilon, sweeps=100)
    cloud, _ = pruned(x, y, metric, epsilon, alpha, beta, 1e-4)
    # a block meets those within some blurs of its images; bounds of distances are the widest
    assert cpu.share(cloud) < (0.3 if metric == "sqeuclidean" else 0.7)


def test_potentials_far_from_balance_are_bounded_too():
    rng = np.random.default_rng(0)
    x, y = pair(FAMILIES[0], N, M, 2)
    alpha, beta = -7.0 + 3.0 * rng.normal(size=N), -7.0 + 3.0 * rng.normal(size=M)
    plan = np.exp(alpha[:, None] + beta - costs(x, y, "sqeuclidean") / 1e-3)
    cloud, left = pruned(x, y, "sqeuclidean", 1e-3, alpha, beta, 1e-6)
    inside = listed(cloud, N, M)
    assert plan[~inside].sum() <= left <= 1e-5
    assert plan[~inside].max() < plan[inside].max()


def test_points_without_weight_need_no_pairs():
    x, y = pair(FAMILIES[0], N, M, 2)
    alpha, beta, plan = balanced(x, y, "sqeuclidean", 1e-3)
    order = cpu.cloud(x, y, "sqeuclidean").rows.order
    gone = order[: 4 * BLOCK_POINTS]
    alpha[gone], plan[gone] = -np.inf, 0.0
    cloud, left = pruned(x, y, "sqeuclidean", 1e-3, alpha, beta, 1e-6)
    assert np.diff(cloud.pairs.pointers)[:4].sum() == 0
    assert plan[~listed(cloud, N, M)].sum() <= left


def test_costs_less_a_constant():
    x, y = pair(FAMILIES[0], N, M, 2)
    alpha, beta, plan = balanced(x, y, "sqeuclidean", 1e-3)
    cloud = cpu.shifted(cpu.cloud(x, y, "sqeuclidean"), 0.5)  # potentials are less by as much
    offsets = np.zeros(N), np.zeros(M)
    found, left = cpu.prune(cloud, 1e3, alpha - 500.0, beta, offsets, 1e-6)
    assert plan[~listed(found, N, M)].sum() <= left <= 1e-5


@pytest.mark.parametrize("metric", ["cosine", "dot"])
def test_other_metrics_read_all_pairs(metric):
    x, y = pair(FAMILIES[0], N, M, 2)
    cloud, left = pruned(1 + x, 1 + y, metric, 1e-3, np.zeros(N), np.zeros(M), 1e-6)
    assert cloud.pairs is None
    assert left == 0.0
    assert cpu.share(cloud) == 1.0


def test_trimming_leaves_out_the_lightest_pairs():
    x, y = pair(FAMILIES[1], N, M, 2)
    alpha, beta, plan = balanced(x, y, "sqeuclidean", 1e-3)
    cloud, _ = pruned(x, y, "sqeuclidean", 1e-3, alpha, beta, 1e-9)
    masses, vectors = np.empty(cpu.pairs_read(cloud)), swept(alpha, beta)
    still = Side(np.ones(N), np.zeros(N), np.zeros(N), protocol.CLIPPED, 0.0, 0.0)  # an update that moves nothing
    over = still._replace(weight=np.ones(M), log_weight=np.zeros(M), offset=np.zeros(M))
    cpu.sweeps(cloud, 1e3, still._replace(offset=alpha), over, (0.0, 0.0), vectors, False, 1, masses)
    np.testing.assert_allclose(masses.sum(), plan[listed(cloud, N, M)].sum(), rtol=1e-9)
    trimmed = cpu.trim(cloud, masses, 1e-3)
    before, after = listed(cloud, N, M), listed(trimmed, N, M)
    assert not (after & ~before).any()
    gone = plan[before & ~after].sum()
    assert 0 < gone <= 1e-3 * (1 + 1e-9)
    assert after.sum() < 0.8 * before.sum()


@pytest.mark.parametrize("spread", [0.01, 1.0, 30.0])
def test_the_lightest_pairs_are_all_that_fit(spread):
    rng = np.random.default_rng(0)
    for _ in range(300):
        masses = np.exp(spread * rng.normal(size=rng.integers(1, 60)))
        masses[rng.random(masses.size) < 0.2] = 0.0
        if rng.random() < 0.3:
            masses = np.ceil(masses)  # many are equal
        most = masses.sum() * rng.choice([0.0, 1e-3, 0.1, 0.5, 1.0, 2.0]) * rng.random()
        limit = cpu._too_heavy(masses, most)
        assert masses[masses < limit].sum() <= most * (1.0 + 1e-12)
        assert limit == np.inf or masses[masses <= limit].sum() >= most * (1.0 - 1e-12)


def test_pairs_by_columns_are_the_same_pairs():
    x, y = pair(FAMILIES[1], N, M, 2)
    alpha, beta, _ = balanced(x, y, "sqeuclidean", 1e-3)
    cloud, _ = pruned(x, y, "sqeuclidean", 1e-3, alpha, beta, 1e-6)
    turned = cpu.transposed(cloud)
    np.testing.assert_array_equal(listed(turned, M, N), listed(cloud, N, M).T)
    assert cpu.transposed(turned).pairs is cloud.pairs
    whole = point_lists.every_pair(3, 5)
    assert whole.share == whole.turned.share == 1.0
    assert (whole.turned.pointers.size, whole.turned.longest) == (6, 3)


@pytest.mark.parametrize("fast", [False, True])
@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("listing", [False, True])
def test_products_with_newton_s_matrix(metric, fast, listing):
    rng = np.random.default_rng(2)
    x, y = pair(FAMILIES[1], N, M, 3)
    epsilon = 5e-3 if metric == "sqeuclidean" else 0.05
    alpha, beta, plan = balanced(x, y, metric, epsilon)
    alpha[:3], beta[5] = -np.inf, -np.inf
    plan[:3], plan[:, 5] = 0.0, 0.0
    cloud = cpu.cloud(x, y, metric)
    if listing:
        cloud, _ = pruned(x, y, metric, epsilon, alpha, beta, 1e-12)
        assert cloud.pairs is not None
    v, weight, out, expected = 1e3 * rng.normal(size=M), rng.random(N), np.empty(M), np.empty(M)
    cpu.gram(cloud, 1.0 / epsilon, alpha, beta, weight, fast)(v, out)
    reference_cloud.gram(reference_cloud.cloud(x, y, metric), 1.0 / epsilon, alpha, beta, weight)(v, expected)
    np.testing.assert_allclose(expected, plan.T @ (weight * (plan @ v)), atol=1e-12 * np.abs(expected).max())
    # float32 rounds exponents at 6e-8 of those in a block, its sums and products at 1e-7
    error = 1e-4 if fast else 1e-9
    np.testing.assert_allclose(out, expected, atol=error * np.abs(expected).max())
    assert out[5] == 0.0


@pytest.mark.parametrize("metric", METRICS)
def test_cells_that_carry_mass(metric):
    x, y = pair(FAMILIES[1], N, M, 2)
    epsilon = 1e-3 if metric == "sqeuclidean" else 1e-2
    alpha, beta, plan = balanced(x, y, metric, epsilon)
    cloud, _ = pruned(x, y, metric, epsilon, alpha, beta, 1e-12)
    least = np.full(N, np.log(1e-5 / N)), np.full(M, np.log(1e-6 / M))
    wanted = plan > np.exp(np.minimum(least[0][:, None], least[1]))
    sizes = np.empty(N, np.int64)
    cpu.support_sizes(cloud, 1.0 / epsilon, alpha, beta, least, np.arange(N), sizes)
    # an entry at the threshold may fall to either side
    with np.errstate(divide="ignore"):
        logs = np.log(plan)
    near = np.abs(logs - np.minimum(least[0][:, None], least[1])) < 1e-8
    assert (np.abs(sizes - wanted.sum(axis=1)) <= near.sum(axis=1)).all()
    some, few = np.array([7, 3, 600]), np.empty(3, np.int64)
    cpu.support_sizes(cloud, 1.0 / epsilon, alpha, beta, least, some, few)
    np.testing.assert_array_equal(few, sizes[some])
    pointers = np.append(0, np.cumsum(sizes))
    indices, found = cpu.support_cells(cloud, 1.0 / epsilon, alpha, beta, least, pointers)
    rows = np.repeat(np.arange(N), sizes)
    assert np.unique(rows * M + indices).size == indices.size
    assert (wanted | near)[rows, indices].all()
    np.testing.assert_allclose(found, costs(x, y, metric)[rows, indices], rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("n", [1, 5, 32, 33, 1000, 4097])
@pytest.mark.parametrize("d", [1, 3])
def test_every_cell_of_the_tree_lies_in_its_box(n, d):
    x = np.random.default_rng(0).normal(size=(n, d))
    cloud = cpu.cloud(x, x[:1], "sqeuclidean")
    tree, unit = cloud.rows.tree, cloud.units[0]
    moved, order, _, points, _ = cpu.ordered(cloud)
    np.testing.assert_allclose(points, x[order], rtol=1e-14, atol=1e-15)
    assert (moved.rows.order == np.arange(n)).all()
    scaled = (points - cloud.centre) / unit
    for level in range(tree.levels):
        size = BLOCK_POINTS << level
        for k in range(tree.first[level + 1] - tree.first[level]):
            node, cell = tree.first[level] + k, scaled[k * size : (k + 1) * size]
            assert (np.abs(cell - tree.centres[node]) <= tree.halves[node] * (1 + 1e-9) + 1e-15).all()
    assert tree.first[-1] - tree.first[-2] == 1


def test_cells_below_blocks_are_near_too():
    x = np.random.default_rng(0).random((4096, 2))
    order = point_tree.near_order(x)
    for size in (2, 8):
        cells = x[order].reshape(-1, size, 2)
        extent = np.ptp(cells, axis=1).max(axis=1).mean()
        assert extent < 2.5 * (size / 4096) ** 0.5  # a square of as many points has 1


def test_order_does_not_depend_on_threads(monkeypatch):
    x = np.random.default_rng(0).random((3000, 3))
    alone = point_tree.near_order(x)
    monkeypatch.setattr(point_tree, "THREADED_FROM", 100)
    np.testing.assert_array_equal(point_tree.near_order(x), alone)
