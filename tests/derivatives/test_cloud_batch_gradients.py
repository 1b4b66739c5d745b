"""Derivatives of batches in the points of their clouds: those of single clouds, and finite differences."""

import numpy as np
import pytest

import elastic_ot as eot

METRICS = ("sqeuclidean", "euclidean", "cityblock", "cosine", "dot")
SIDES = [(eot.Fixed(), eot.Fixed()), (eot.Fixed(), eot.KL(0.7)), (eot.Elastic(0.6), eot.L2(1.0))]
LENGTHS = np.array([7, 5, 6])[:, None]
TIGHT = {"epsilon": 0.6, "tol": 1e-13}


def drawn(dtype=np.float64):
    """Three clouds with two others each; points beyond the lengths are nan."""
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(3, 1, 7, 2)).astype(dtype), (0.3 + rng.normal(size=(2, 8, 2))).astype(dtype)
    for k, n in enumerate(LENGTHS[:, 0]):
        x[k, 0, n:] = np.nan
    return x, y


def steps(x, y, seed=1):
    rng = np.random.default_rng(seed)
    return rng.normal(size=x.shape), rng.normal(size=y.shape)


def stacked(x, y, derive):
    """What ``derive(i, j, rows)`` has of every problem, 0 beyond the lengths."""
    out = np.zeros((3, 2, *x.shape[-2:])), np.zeros((3, 2, *y.shape[-2:]))
    for i, j in np.ndindex(3, 2):
        rows = slice(LENGTHS[i, 0])
        found = derive(i, j, rows)
        out[0][i, j, rows], out[1][i, j] = found.x, found.y
    return out


def assert_points(found, expected, atol):
    assert found.cost is None
    for one, other in zip((found.x, found.y), expected, strict=True):
        assert one.dtype == np.float64
        np.testing.assert_allclose(one, other, rtol=0, atol=atol)


# In double precision both are solved to 1e-13; in float32 the matrix of the linear system is rounded to that.
@pytest.mark.parametrize(("dtype", "atol"), [(np.float64, 1e-8), (np.float32, 1e-5)])
@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize(("rows", "cols"), SIDES, ids=str)
def test_derivatives_are_those_of_single_clouds(metric, rows, cols, dtype, atol):
    x, y = drawn(dtype)
    how = TIGHT | {"rows": rows, "cols": cols}
    many = eot.solve(eot.PointCloud(x, y, metric), row_lengths=LENGTHS, **how)
    alone = {
        (i, j): eot.solve(eot.PointCloud(x[i, 0, : LENGTHS[i, 0]], y[j], metric), **how) for i, j in np.ndindex(3, 2)
    }
    rng, (u, v) = np.random.default_rng(2), steps(x, y)
    plan, f, g = rng.normal(size=(3, 2, 7, 8)).astype(dtype), rng.normal(size=(3, 2, 7)), rng.normal(size=(3, 2, 8))
    assert_points(many.gradients(), stacked(x, y, lambda i, j, _: alone[i, j].gradients()), atol)
    by_bars = stacked(x, y, lambda i, j, r: alone[i, j].vjp(plan[i, j, r], f[i, j, r], g[i, j]))
    assert_points(many.vjp(plan, f, g), by_bars, atol)
    bent = stacked(x, y, lambda i, j, r: alone[i, j].hvp(x=u[i, 0, r], y=v[j], epsilon=0.2))
    assert_points(many.hvp(x=u, y=v, epsilon=0.2), bent, atol)
    moved = many.jvp(x=u, y=v, epsilon=0.2)
    for (i, j), one in alone.items():
        r = slice(LENGTHS[i, 0])
        expected = one.jvp(x=u[i, 0, r], y=v[j], epsilon=0.2)
        np.testing.assert_allclose(moved.plan[i, j, r], expected.plan, rtol=0, atol=atol)
        np.testing.assert_allclose(moved.f[i, j, r], expected.f, rtol=0, atol=atol)
        assert (moved.plan[i, j, LENGTHS[i, 0] :] == 0).all()
        one, other = many.gradients(), alone[i, j].gradients()
        np.testing.assert_allclose(one.a[i, j, r], other.a, rtol=0, atol=atol)
        assert one.epsilon[i, j] == pytest.approx(other.epsilon, abs=atol)


@pytest.mark.parametrize("metric", METRICS)
def test_derivatives_are_those_of_central_differences(metric):
    x, y = drawn()
    u, v = steps(x, y)
    h, weight = 1e-5, np.random.default_rng(3).normal(size=(3, 2))

    def solved(t):
        cloud = eot.PointCloud(x + t * u, y + t * v, metric)
        return eot.solve(cloud, cols=eot.KL(0.7), row_lengths=LENGTHS, **TIGHT)

    at, up, down = solved(0.0), solved(h), solved(-h)
    gradients, used = at.gradients(), ~np.isnan(x)
    along = (gradients.x * np.where(used, u, 0.0)).sum() + (gradients.y * v).sum()
    # quotients carry the rounding of the values, 1e-13, over h, and the third derivative times h^2
    assert along == pytest.approx((up.value - down.value).sum() / (2 * h), rel=1e-7, abs=1e-6)
    assert (gradients.x[np.broadcast_to(~used, gradients.x.shape)] == 0).all()
    moved, bar = at.jvp(x=u, y=v), weight[..., None, None] * np.ones((7, 8))
    np.testing.assert_allclose(moved.plan, (up.plan - down.plan) / (2 * h), rtol=0, atol=1e-6)
    pulled = at.vjp(plan=bar)
    both = (pulled.x * np.where(used, u, 0.0)).sum() + (pulled.y * v).sum()
    assert both == pytest.approx((moved.plan * bar).sum(), rel=1e-9, abs=1e-10)  # one is the other's transpose
    bent = at.hvp(x=u, y=v)
    for one, first, second in ((bent.x, up.gradients().x, down.gradients().x), (bent.y, *_of_y(up, down))):
        np.testing.assert_allclose(one, (first - second) / (2 * h), rtol=0, atol=1e-6)


def _of_y(up, down):
    return up.gradients().y, down.gradients().y


def test_a_budget_has_the_derivatives_of_its_iterations():
    x, y = drawn()
    u, v = steps(x, y)
    how = {"epsilon": 0.5, "tol": 0, "max_iter": 4, "row_lengths": LENGTHS}

    def plans(t):
        return eot.solve(eot.PointCloud(x + t * u, y + t * v), **how).plan

    at, bar = eot.solve(eot.PointCloud(x, y), **how), np.random.default_rng(4).normal(size=(3, 2, 7, 8))
    moved, pulled, used = at.jvp(x=u, y=v), at.vjp(plan=bar), ~np.isnan(x)
    np.testing.assert_allclose(moved.plan, (plans(1e-5) - plans(-1e-5)) / 2e-5, rtol=0, atol=1e-7)
    along = (pulled.x * np.where(used, u, 0.0)).sum() + (pulled.y * v).sum()
    assert along == pytest.approx((moved.plan * bar).sum(), rel=1e-10)


def test_one_cloud_with_many_epsilons_has_derivatives_of_each():
    x, y = drawn()
    cloud = eot.PointCloud(x[0, 0], y[0])
    found = eot.solve(cloud, epsilon=[0.3, 0.6, 1.0], tol=1e-13).gradients()
    parts = [eot.solve(cloud, epsilon=epsilon, tol=1e-13).gradients() for epsilon in (0.3, 0.6, 1.0)]
    assert_points(found, (np.stack([part.x for part in parts]), np.stack([part.y for part in parts])), 1e-10)
    assert found.x.shape[:1] == found.a.shape[:1] == (3,)


def test_distances_of_equal_points_have_derivative_0():
    points = np.array([[[0.0, 0.0], [1.0, 0.0]], [[2.0, 1.0], [2.0, 3.0]]])
    found = eot.solve(eot.PointCloud(points, metric="euclidean"), epsilon=0.5).gradients()
    assert np.isfinite(found.x).all()
    assert found.x.shape == found.y.shape == (2, 2, 2)
    assert (found.x[0, :, 1] == 0).all()  # the distance that is left has none along the second axis


def test_a_problem_that_is_looked_at_alone_has_the_same_derivatives(monkeypatch):
    from elastic_ot.derivatives import batch

    x, y = drawn()
    many = eot.solve(eot.PointCloud(x, y), row_lengths=LENGTHS, **TIGHT)
    plan = np.random.default_rng(5).normal(size=(3, 2, 7, 8))
    expected, load = many.vjp(plan=plan), batch.load_batch_gradients_for

    class Lossy:
        """A backend that gives up the second problem."""

        def __init__(self, inner):
            self.inner = inner

        def batch_pull_back(self, *arguments):
            self.inner.batch_pull_back(*arguments)
            arguments[-1].sound[1] = False

    monkeypatch.setattr(batch, "load_batch_gradients_for", lambda cost: Lossy(load(cost)))
    found = many.vjp(plan=plan)
    assert_points(found, (expected.x, expected.y), 1e-9)


def test_wrong_directions_are_refused():
    x, y = drawn()
    many = eot.solve(eot.PointCloud(x, y), row_lengths=LENGTHS, epsilon=1.0)
    with pytest.raises(ValueError, match="cost is a direction of a matrix and the cost is a PointCloud; give x, y or"):
        many.jvp(cost=np.ones((7, 8)))
    with pytest.raises(ValueError, match=r"x has shape \(6, 2\); it must have that of the input it changes"):
        many.hvp(x=np.ones((6, 2)))
    dense = eot.solve(np.ones((2, 3, 4)), epsilon=1.0)
    with pytest.raises(ValueError, match="y is a direction of points and the cost is a matrix; give the direction as"):
        dense.jvp(y=np.ones((4, 2)))
