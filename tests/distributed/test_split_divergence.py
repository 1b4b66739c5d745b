"""The divergence over ranks: that of one process, 0 for equal clouds, with gradients of the own points."""

import numpy as np
import pytest

import elastic_ot as eot
from helpers.ranks import all_well, on_ranks, parts

RNG = np.random.default_rng(3)
X, Y = RNG.random((31, 2)), RNG.random((26, 2)) * 0.8 + 0.3
A, B = RNG.random(31) + 0.1, RNG.random(26) + 0.1
A, B = A / A.sum(), B / B.sum()
SIDES = [({}), ({"rows": eot.KL(0.5), "cols": eot.KL(0.5)}), ({"rows": eot.TV(0.3)})]


def squares(x, y):
    return ((x[:, None] - y) ** 2).sum(axis=-1)


def by_matrices(comm, **options):
    own, other = parts(31, comm.size)[comm.rank], parts(26, comm.size, uneven=False)[comm.rank]
    costs = squares(X[own], Y), squares(X[own], X), squares(Y[other], Y)
    return eot.divergence(*costs, A[own], B, epsilon=0.05, comm=comm, **options)


def by_points(comm, x=X, y=Y, a=A, b=B, **options):
    own = parts(len(x), comm.size)[comm.rank]
    cloud = eot.PointCloud(x[own], y) if own.start < own.stop else None
    return eot.divergence(cloud, a=a[own], b=b, epsilon=0.05, comm=comm, **options)


@pytest.mark.parametrize("size", [1, 2, 3])
@pytest.mark.parametrize("way", [by_matrices, by_points])
@pytest.mark.parametrize("sides", SIDES, ids=["fixed", "kl", "tv"])
def test_the_value_is_that_of_one_process(way, size, sides):
    one = eot.divergence(squares(X, Y), squares(X, X), squares(Y, Y), A, B, epsilon=0.05, tol=1e-9, **sides)
    found = all_well(on_ranks(size, lambda comm: way(comm, tol=1e-9, **sides)))
    for x in found:
        assert (x.value, x.gap, x.converged) == (found[0].value, found[0].gap, True)
        assert x.value == pytest.approx(one.value, rel=1e-7)
        assert x.gap <= 1e-7
        np.testing.assert_array_equal(x.self_x.g, found[0].self_x.g)
    own = np.concatenate([x.self_x.f for x in found])
    np.testing.assert_allclose(own, found[0].self_x.g, rtol=0, atol=1e-12)  # f = g


def test_equal_clouds_are_at_no_distance():
    found = all_well(on_ranks(3, lambda comm: by_points(comm, y=X, b=A)))
    assert [x.value for x in found] == [0.0] * 3


@pytest.mark.parametrize("sides", SIDES[:2], ids=["fixed", "kl"])
@pytest.mark.parametrize("way", [by_matrices, by_points])
def test_gradients_are_those_of_one_process(way, sides):
    one = eot.divergence(eot.PointCloud(X, Y), a=A, b=B, epsilon=0.05, tol=1e-10, **sides).gradients()
    found = all_well(on_ranks(3, lambda comm: way(comm, tol=1e-10, **sides).gradients()))
    np.testing.assert_allclose(np.concatenate([x.a for x in found]), one.a, rtol=0, atol=1e-8)
    for x in found:
        np.testing.assert_array_equal(x.b, found[0].b)
        np.testing.assert_allclose(x.b, one.b, rtol=0, atol=1e-8)
        assert x.epsilon == pytest.approx(one.epsilon, abs=1e-8)
    if way is by_points:
        np.testing.assert_allclose(np.concatenate([x.x for x in found]), one.x, rtol=0, atol=1e-8)
        for x in found:
            np.testing.assert_allclose(x.y, one.y, rtol=0, atol=1e-8)


def test_many_points_are_not_stored():
    rng = np.random.default_rng(0)
    x, y = rng.random((1500, 2)), rng.random((1400, 2)) + 0.1
    one = eot.divergence(eot.PointCloud(x, y), epsilon=0.05, tol=1e-7, method="log")
    rows = parts(1500, 3)

    def work(comm):
        own = rows[comm.rank]
        cloud = eot.PointCloud(x[own], y) if own.start < own.stop else None
        return eot.divergence(cloud, blur=0.05**0.5, tol=1e-7, method="log", comm=comm)

    for found in all_well(on_ranks(3, work)):
        assert found.value == pytest.approx(one.value, rel=1e-5)


def test_bad_costs_are_refused_by_all():
    def skew(comm):
        own = parts(31, comm.size)[comm.rank]
        cost = squares(X[own], X)
        cost[-1:, 0] += 1.0 if comm.rank == 2 else 0.0
        return eot.divergence(
            squares(X[own], Y), cost, squares(Y, Y)[: 26 * (comm.rank == 0)], A[own], B, epsilon=0.05, comm=comm
        )

    def missing(comm):
        own = parts(31, comm.size)[comm.rank]
        return eot.divergence(squares(X[own], Y), a=A[own], b=B, epsilon=0.05, comm=comm)

    for error in on_ranks(3, skew):
        assert isinstance(error, ValueError)
        assert "cost_xx: a cost within one cloud must be symmetric" in str(error)
    for error in on_ranks(3, missing):
        assert isinstance(error, ValueError)
        assert "cost_xx and cost_yy are missing" in str(error)
    for error in on_ranks(2, lambda comm: by_points(comm, tol=1e-3 * (comm.rank + 1))):
        assert isinstance(error, ValueError)
        assert "rank 1 differs from rank 0 in tol" in str(error)


def test_a_relative_epsilon_is_of_the_costs_between_all_rows():
    rng = np.random.default_rng(0)
    x, y, rows = rng.random((20, 2)), rng.random((15, 2)), parts(20, 3, uneven=False)

    def work(comm):
        return eot.divergence(eot.PointCloud(x[rows[comm.rank]], y), epsilon="0.1x", comm=comm)

    found = on_ranks(3, work)
    assert len({pair.value for pair in found}) == 1
    bounds = [eot.solve(eot.PointCloud(x[own], y), epsilon="1x").epsilon for own in rows]
    assert 0.1 * max(bounds) <= found[0].cross.epsilon <= 0.2
