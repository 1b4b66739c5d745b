"""Derivatives of the value: of the own rows, and of what all share, against one process and differences."""

import numpy as np
import pytest

import elastic_ot as eot
from helpers.oracle import random_case
from helpers.ranks import all_well, on_ranks, parts

PAIRS = [
    (("Fixed",), ("Fixed",)),
    (("KL", 0.4), ("Fixed",)),
    (("TV", 0.3), ("KL", 0.5)),
    (("L2", 0.5), ("Between", 0.6, 1.4)),
]


@pytest.mark.parametrize("reference", ["product", "counting"])
@pytest.mark.parametrize(("rows", "cols"), PAIRS)
def test_gradients_are_those_of_one_process(rows, cols, reference):
    case = random_case(2, n=23, rows=rows, cols=cols, reference=reference)
    one, own = case.solve(tol=1e-11).gradients(), parts(23, 3)

    def work(comm):
        mine = own[comm.rank]
        options = {"epsilon": case.epsilon, "reference": reference, "tol": 1e-11}
        sides = {name: getattr(eot, spec[0])(*spec[1:]) for name, spec in (("rows", rows), ("cols", cols))}
        return eot.solve(case.cost[mine], case.a[mine], case.b, comm=comm, **options, **sides).gradients()

    found = all_well(on_ranks(3, work))
    np.testing.assert_allclose(np.concatenate([x.cost for x in found]), one.cost, rtol=0, atol=1e-9)
    np.testing.assert_allclose(np.concatenate([x.a for x in found]), one.a, rtol=0, atol=1e-8)
    for x in found:
        assert x.b.tobytes() == found[0].b.tobytes()
        assert (x.epsilon, x.rows, x.cols) == (found[0].epsilon, found[0].rows, found[0].cols)
        np.testing.assert_allclose(x.b, one.b, rtol=0, atol=1e-8)
        for name in ("epsilon", "rows", "cols"):
            assert getattr(x, name) == pytest.approx(getattr(one, name), abs=1e-8)


@pytest.mark.parametrize("metric", ["sqeuclidean", "euclidean", "cosine"])
@pytest.mark.parametrize("n", [30, 1500])
def test_points_have_derivatives_on_the_rank_that_has_them(metric, n):
    """Of 1500 x 1100 points no matrix is stored. Against differences of the value in two coordinates."""
    rng = np.random.default_rng(1)
    x, y = rng.random((n, 2)) + 0.2, rng.random((n * 11 // 15, 2)) + 0.2
    own, h = parts(n, 3), 1e-4
    options = {"epsilon": 0.1, "tol": 1e-9, "cols": eot.KL(1.0), "method": "log"}

    def value(x, y):
        return eot.solve(eot.PointCloud(x, y, metric), **options).value

    def work(comm):
        mine = own[comm.rank]
        cloud = eot.PointCloud(x[mine], y, metric) if mine.start < mine.stop else None
        return eot.solve(cloud, comm=comm, **options).gradients()

    found = all_well(on_ranks(3, work))
    by_x = np.concatenate([part.x for part in found])
    assert by_x.shape == x.shape
    for part in found[1:]:
        assert part.y.tobytes() == found[0].y.tobytes()
    step = np.zeros_like(x)
    step[n // 2, 1] = h
    assert by_x[n // 2, 1] == pytest.approx((value(x + step, y) - value(x - step, y)) / (2 * h), rel=1e-4, abs=1e-8)
    step = np.zeros_like(y)
    step[3, 0] = h
    assert found[0].y[3, 0] == pytest.approx((value(x, y + step) - value(x, y - step)) / (2 * h), rel=1e-4, abs=1e-8)


@pytest.mark.parametrize("bars", ["plan", "f", "g", "all"])
@pytest.mark.parametrize(("rows", "cols"), PAIRS)
def test_vjp_is_that_of_one_process(rows, cols, bars):
    case = random_case(4, n=23, rows=rows, cols=cols)
    rng = np.random.default_rng(0)
    given = {"plan": rng.random((23, 17)), "f": rng.random(23), "g": rng.random(17)}
    given = given if bars == "all" else {bars: given[bars]}
    one, own = case.solve(tol=1e-11).vjp(**given), parts(23, 3)

    def work(comm):
        mine = own[comm.rank]
        sides = {name: getattr(eot, spec[0])(*spec[1:]) for name, spec in (("rows", rows), ("cols", cols))}
        options = {"epsilon": case.epsilon, "tol": 1e-11}
        sol = eot.solve(case.cost[mine], case.a[mine], case.b, comm=comm, **options, **sides)
        return sol.vjp(**{name: bar if name == "g" else bar[mine] for name, bar in given.items()})

    found = all_well(on_ranks(3, work))
    size = np.abs(one.cost).max()
    np.testing.assert_allclose(np.concatenate([x.cost for x in found]), one.cost, rtol=0, atol=1e-6 * size)
    np.testing.assert_allclose(np.concatenate([x.a for x in found]), one.a, rtol=0, atol=1e-6 * np.abs(one.a).max())
    for x in found:
        assert x.b.tobytes() == found[0].b.tobytes()
        np.testing.assert_allclose(x.b, one.b, rtol=0, atol=1e-6 * np.abs(one.b).max())
        for name in ("epsilon", "rows", "cols"):
            expected = getattr(one, name)
            assert getattr(x, name) == pytest.approx(expected, rel=1e-6, abs=1e-6 * size)


def test_a_singular_system_is_decomposed_over_all_rows():
    """Two blocks that nothing links: conjugate gradients alone do not solve such a system."""
    rng = np.random.default_rng(0)
    cost = rng.random((20, 16))
    cost[:10, 8:] = cost[10:, :8] = np.inf
    weights = np.full(20, 1 / 20), np.full(16, 1 / 16)
    bar, own = rng.random((20, 16)), parts(20, 3)
    one = eot.solve(cost, *weights, epsilon=0.05, tol=1e-11).vjp(plan=bar)

    def work(comm):
        mine = own[comm.rank]
        return eot.solve(cost[mine], weights[0][mine], weights[1], epsilon=0.05, tol=1e-11, comm=comm).vjp(
            plan=bar[mine]
        )

    found = all_well(on_ranks(3, work))
    np.testing.assert_allclose(np.concatenate([x.cost for x in found]), one.cost, rtol=0, atol=1e-8)
