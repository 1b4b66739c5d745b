"""Divergences of costs that know their points: against the three matrices, and finite differences in the points."""

import numpy as np
import pytest
from scipy.spatial.distance import cdist

import elastic_ot as eot
from elastic_ot.costs import scan
from helpers.user_costs import GreatCircle, sphere

METRICS = ("sqeuclidean", "euclidean", "cityblock", "cosine", "dot")
SIDES = [
    (eot.Fixed(), eot.Fixed()),
    (eot.KL(0.5), eot.KL(0.5)),
    (eot.TV(0.3), eot.L2(2.0)),
    (eot.Between(0.7, 1.3), eot.AtMost()),
    (eot.Elastic(0.6), eot.Free()),
]
TOL = 1e-12


@pytest.fixture(params=["computed once", "never stored"])
def storage(request, monkeypatch):
    """Small costs are computed once and kept as matrices; with no entry kept they are read as large ones are."""
    if request.param == "never stored":
        monkeypatch.setattr(scan, "KEPT_ENTRIES", 0)


def drawn(n=9, m=12, d=3):
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(n, d)), rng.normal(size=(m, d)) + 0.3
    a, b = rng.uniform(0.5, 1.5, n), rng.uniform(0.5, 1.5, m)
    return x, y, a / a.sum(), b / b.sum()


def costs(metric, x, y):
    return -(x @ y.T) if metric == "dot" else cdist(x, y, metric)


def matrices(metric, x, y):
    return costs(metric, x, y), costs(metric, x, x), costs(metric, y, y)


@pytest.mark.usefixtures("storage")
@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize(("rows", "cols"), SIDES, ids=str)
def test_points_have_the_divergence_of_their_three_matrices(metric, rows, cols):
    x, y, a, b = drawn()
    how = {"a": a, "b": b, "epsilon": 0.6, "rows": rows, "cols": cols, "tol": TOL}
    found = eot.divergence(eot.PointCloud(x, y, metric), **how)
    expected = eot.divergence(*matrices(metric, x, y), **how)
    assert found.value == pytest.approx(expected.value, abs=1e-10)
    one, other = found.gradients(), expected.gradients()
    assert (one.cost_xy, one.cost_xx, one.cost_yy) == (None, None, None)
    np.testing.assert_allclose(one.a, other.a, rtol=0, atol=1e-9)
    np.testing.assert_allclose(one.b, other.b, rtol=0, atol=1e-9)
    assert one.epsilon == pytest.approx(other.epsilon, abs=1e-9)


@pytest.mark.usefixtures("storage")
@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize(("rows", "cols"), SIDES, ids=str)
def test_derivatives_in_the_points_are_those_of_central_differences(metric, rows, cols):
    x, y, a, b = drawn()
    a[2] = 0.0
    a /= a.sum()
    rng, h = np.random.default_rng(1), 1e-5
    u, v = rng.normal(size=x.shape), rng.normal(size=y.shape)

    def solved(s=0.0, t=0.0):
        cloud = eot.PointCloud(x + s * u, y + t * v, metric)
        return eot.divergence(cloud, a=a, b=b, epsilon=0.6, rows=rows, cols=cols, tol=TOL, on_failure="ignore")

    found = solved().gradients()
    assert (found.x[2] == 0).all()
    by_x = (solved(s=h).value - solved(s=-h).value) / (2 * h)
    by_y = (solved(t=h).value - solved(t=-h).value) / (2 * h)
    # the quotients carry the rounding of the values over h, and the third derivative times h^2
    assert (found.x * u).sum() == pytest.approx(by_x, rel=1e-8, abs=2e-6)
    assert (found.y * v).sum() == pytest.approx(by_y, rel=1e-8, abs=2e-6)


@pytest.mark.usefixtures("storage")
def test_points_that_are_given_three_times_have_the_same_derivatives():
    x, y, a, b = drawn()
    clouds = eot.PointCloud(x, y), eot.PointCloud(x.copy()), eot.PointCloud(y.copy(), y)
    found, expected = (eot.divergence(*given, a=a, b=b, epsilon=0.3).gradients() for given in (clouds, clouds[:1]))
    assert (found.x == expected.x).all()
    assert (found.y == expected.y).all()


def test_points_of_another_cloud_within_have_no_derivative():
    x, y, a, b = drawn()
    found = eot.divergence(eot.PointCloud(x, y), eot.PointCloud(2.0 * x), a=a, b=b, epsilon=0.3).gradients()
    assert found.x is None
    assert found.y is None


@pytest.mark.usefixtures("storage")
def test_a_cloud_is_at_no_distance_from_itself_and_does_not_move():
    x, _, a, _ = drawn()
    found = eot.divergence(eot.PointCloud(x), a=a, b=a, blur=0.5)
    gradients = found.gradients()
    assert abs(found.value) <= 1e-15
    np.testing.assert_allclose(gradients.x, 0.0, rtol=0, atol=1e-14)


@pytest.mark.usefixtures("storage")
@pytest.mark.parametrize("metric", ["sqeuclidean", "cityblock"])
def test_grids_have_the_divergence_of_their_three_matrices(metric):
    rng = np.random.default_rng(2)
    axes_x, axes_y = (np.arange(5.0), np.arange(4.0)), (0.5 + np.arange(3.0), np.arange(6.0))
    a, b = rng.random((5, 4)), rng.random((3, 6))
    a, b = a / a.sum(), b / b.sum()
    x, y = (np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 2) for axes in (axes_x, axes_y))
    found = eot.divergence(eot.Grid(axes_x, axes_y, metric), a=a, b=b, epsilon=0.7, tol=TOL)
    expected = eot.divergence(*matrices(metric, x, y), a.ravel(), b.ravel(), epsilon=0.7, tol=TOL)
    assert found.value == pytest.approx(expected.value, abs=1e-10)
    np.testing.assert_allclose(found.gradients().a, expected.gradients().a, rtol=0, atol=1e-9)


def test_axes_of_two_precisions_are_compared_in_the_larger_one():
    narrow, wide = np.linspace(0, 1, 5, dtype=np.float32), np.linspace(0, 1, 4)
    own = eot.Grid([narrow, narrow], [wide, wide]).within()
    assert [grid.dtype for grid in own] == [np.float64, np.float64]
    assert own[0].matrices[0][0, 1] == np.float64(narrow[1]) ** 2


@pytest.mark.parametrize(
    "cost",
    [
        eot.PointCloud(np.random.default_rng(0).random((1100, 2))),
        eot.PointCloud(np.zeros((1100, 2)), np.zeros((1100, 2)), "cityblock"),
        eot.Grid((40, 30)),
        eot.Grid.from_matrices([1 - np.eye(40), np.ones((30, 30))]),
    ],
    ids=["points", "equal points", "grid", "matrices"],
)
def test_symmetry_of_what_is_symmetric_by_construction_is_not_looked_for(cost, monkeypatch):
    monkeypatch.setattr(type(cost), "block", None)
    monkeypatch.setattr(type(cost._known()), "block", None)
    assert cost._known().symmetric


def test_a_grid_that_is_not_symmetric_names_the_cells():
    lopsided = np.arange(1600.0).reshape(40, 40)
    grid = eot.Grid.from_matrices([lopsided, np.zeros((30, 30))])
    with pytest.raises(ValueError, match=r"cost_xx\[0, 30\] is 1.* and cost_xx\[30, 0\] is 40.*symmetric"):
        eot.divergence(grid, grid, grid, epsilon=1.0)


def test_nothing_of_the_size_of_a_matrix_is_made_of_large_clouds():
    import tracemalloc

    rng = np.random.default_rng(3)
    x, y = rng.random((5000, 2)), 0.2 + rng.random((4000, 2))
    tracemalloc.start()
    found = eot.divergence(eot.PointCloud(x, y), blur=0.7, tol=1e-3)
    assert found.gradients().x.shape == (5000, 2)
    assert tracemalloc.get_traced_memory()[1] < 5000 * 4000 * 4 / 2
    tracemalloc.stop()


class Sphere(GreatCircle):
    """Angles, which know the points they lie between."""

    def within(self):
        return Sphere(self.x, self.x), Sphere(self.y, self.y)


def test_a_cost_of_your_own_may_know_its_points():
    x, y = sphere(20, 0), sphere(25, 1)
    found = eot.divergence(Sphere(x, y), epsilon=0.1)
    assert found.value == eot.divergence(Sphere(x, y), Sphere(x, x), Sphere(y, y), epsilon=0.1).value


def test_what_is_missing_is_named():
    x, y, _, _ = drawn()
    matrix = costs("sqeuclidean", x, y)
    with pytest.raises(ValueError, match="cost_xx and cost_yy are missing, and cost_xy is a matrix"):
        eot.divergence(matrix, epsilon=0.1)
    with pytest.raises(ValueError, match="cost_yy is missing, and cost_xy is a matrix"):
        eot.divergence(matrix, costs("sqeuclidean", x, x), epsilon=0.1)
    with pytest.raises(ValueError, match=r"are missing, and GreatCircle.within\(\) returned None"):
        eot.divergence(GreatCircle(x, y), epsilon=0.1)
    with pytest.raises(ValueError, match=r"are missing, and Grid.within\(\) returned None"):
        eot.divergence(eot.Grid.from_matrices([np.eye(3)]), epsilon=0.1)
    with pytest.raises(ValueError, match=r"cost_xx has shape \(9,\).*by name"):
        eot.divergence(eot.PointCloud(x, y), np.full(9, 1 / 9), epsilon=0.1)
    with pytest.raises(TypeError, match="epsilon is missing"):
        eot.divergence(eot.PointCloud(x, y))


@pytest.mark.parametrize(("metric", "power"), [("sqeuclidean", 2), ("euclidean", 1), ("cityblock", 1)])
def test_a_blur_is_a_length(metric, power):
    x, y, _, _ = drawn()
    for cost in (eot.PointCloud(x, y, metric), *([] if metric == "euclidean" else [eot.Grid((3, 4), metric=metric)])):
        found, expected = eot.divergence(cost, blur=0.7), eot.divergence(cost, epsilon=0.7**power)
        assert found.value == expected.value
        assert found.cross.epsilon == expected.cross.epsilon


def test_many_blurs_are_a_batch():
    x, y, a, b = drawn()
    cloud, blurs = eot.PointCloud(x, y), np.array([0.5, 1.0])
    found = eot.divergence(cloud, a=a, b=np.stack([b, b[::-1]]), blur=blurs)
    alone = eot.divergence(cloud, a=a, b=b[::-1], blur=1.0)
    assert found.value[1] == alone.value
    assert found.gradients().cost_xy is None
    assert (found.gradients().y[1] == alone.gradients().y).all()


@pytest.mark.parametrize("metric", ["sqeuclidean", "cosine"])
def test_clouds_with_leading_dimensions_are_a_batch(metric):
    x, y, a, b = drawn()
    xs, ys = np.stack([x, x + 0.2])[:, None], np.stack([y, 1.1 * y, y - 0.4])
    many = eot.divergence(eot.PointCloud(xs, ys, metric), a=a, b=b, epsilon=0.6)
    own = eot.divergence(eot.PointCloud(ys, metric=metric), a=b, b=b[::-1], epsilon=0.6)
    assert many.value.shape == (2, 3)
    for i, j in np.ndindex(2, 3):
        alone = eot.divergence(eot.PointCloud(xs[i, 0], ys[j], metric), a=a, b=b, epsilon=0.6)
        assert many.value[i, j] == alone.value
        assert (many.gradients().x[i, j] == alone.gradients().x).all()
        itself = eot.divergence(eot.PointCloud(ys[j], metric=metric), a=b, b=b[::-1], epsilon=0.6)
        assert own.value[j] == itself.value
    ys[1, 2, 0] = np.nan
    with pytest.raises(ValueError, match=r"y\[1, 2, 0\] is nan; coordinates must be finite"):
        eot.divergence(eot.PointCloud(xs, ys, metric), epsilon=0.6)


@pytest.mark.parametrize(
    ("cost", "options", "text"),
    [
        (eot.PointCloud(np.eye(3)), {"blur": 0.1, "epsilon": 0.1}, "epsilon is 0.1 and blur is 0.1; give one"),
        (eot.PointCloud(np.eye(3), metric="cosine"), {"blur": 0.1}, "the cosine cost.*give epsilon"),
        (eot.PointCloud(np.eye(3), metric="dot"), {"blur": 0.1}, "the dot cost.*give epsilon"),
        (eot.Grid.from_matrices([np.eye(3)]), {"blur": 0.1}, "this cost.*give epsilon"),
        (np.eye(3), {"blur": 0.1}, "this cost.*give epsilon"),
        (eot.PointCloud(np.eye(3)), {"blur": -0.1}, "blur is -0.1; it must be positive"),
        (eot.PointCloud(np.eye(3)), {"blur": [0.1, np.nan]}, "blur is nan"),
    ],
)
def test_a_blur_without_a_meaning_is_refused(cost, options, text):
    with pytest.raises(ValueError, match=text):
        eot.divergence(cost, **options)
