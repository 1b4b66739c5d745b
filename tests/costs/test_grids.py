"""A cost between grids, which is never written out, gives what its matrix gives."""

import itertools

import numpy as np
import pytest
from scipy.spatial.distance import cdist
from scipy.stats import wasserstein_distance

import elastic_ot as eot
from elastic_ot.costs import grid_plan
from helpers.grids import bumps, images, some_grids, whole
from helpers.user_costs import METHODS, PENALTIES

NAMES = list(some_grids())


def same(grid, a, b, **options):
    """Solve with the grid and with its matrix to 1e-10, and compare."""
    how = {"tol": 1e-10, "on_failure": "raise"} | options
    found = eot.solve(grid, a, b, **how)
    expected = eot.solve(whole(grid), np.ravel(a), np.ravel(b), **how)
    scale = abs(expected.dual_value) + options["epsilon"]
    # dual values are within their gaps of one optimum
    assert abs(found.dual_value - expected.dual_value) <= found.gap + expected.gap + 1e-12 * scale
    assert found.gap <= expected.gap + 1e-6 * scale
    return found, expected


@pytest.mark.parametrize("metric", ["sqeuclidean", "cityblock"])
@pytest.mark.parametrize("d", [1, 2, 3])
def test_entries_are_distances_of_the_points(d, metric):
    rng = np.random.default_rng(d)
    axes = [[rng.standard_normal(size) for size in sizes[:d]] for sizes in ((4, 3, 5), (2, 6, 3))]
    points = [np.stack(np.meshgrid(*side, indexing="ij"), axis=-1).reshape(-1, d) for side in axes]
    expected, grid = cdist(*points, metric), eot.Grid(*axes, metric=metric)
    # a handful of additions, each right to its last digit
    np.testing.assert_allclose(whole(grid), expected, rtol=1e-14)
    n, m = grid.shape
    for rows, cols in ((slice(1, n), slice(1, 2)), (slice(n - 1, n), slice(0, m - 1)), (slice(0, 2), slice(1, m))):
        np.testing.assert_allclose(grid.block(rows, cols), expected[rows, cols], rtol=1e-14)
    i, j = rng.integers(n, size=50), rng.integers(m, size=50)
    np.testing.assert_allclose(grid.at(i, j), expected[i, j], rtol=1e-14)


def test_a_number_of_points_stands_for_the_centres_of_equal_cells():
    grid = eot.Grid((4, 2))
    np.testing.assert_array_equal(whole(grid), whole(eot.Grid([[0.125, 0.375, 0.625, 0.875], [0.25, 0.75]])))
    fine = images(eot.Grid((6, 6)))[0]
    coarse = fine.reshape(3, 2, 3, 2).sum(axis=(1, 3))  # one picture in two resolutions
    value = eot.exact(eot.Grid((6, 6), (3, 3)), fine, coarse).value
    assert value <= 2 * (1 / 12) ** 2 + 1e-12  # mass moves to the centre of its cell


def test_a_sum_over_axes_is_that_of_its_matrices():
    rng = np.random.default_rng(0)
    c, d = rng.standard_normal((3, 4)), rng.standard_normal((5, 2))
    expected = (c[:, None, :, None] + d[None, :, None, :]).reshape(15, 8)
    np.testing.assert_allclose(whole(eot.Grid.from_matrices([c, d])), expected, rtol=1e-14, atol=1e-15)


@pytest.mark.parametrize("name", NAMES)
def test_every_pair_of_penalties(name):
    """Every pair, each on one of the grids and with one of the methods."""
    grid = some_grids()[name]
    lift = max(0.0, -whole(grid).min())  # free sides carry without bound what earns
    for k, (rows, cols) in enumerate(itertools.product(PENALTIES, repeat=2)):
        if k % len(NAMES) == NAMES.index(name):
            a, b = images(grid)
            factors = (1.5 if side == "AtMost" else 1.0 for side in (rows, cols))
            given = grid if not lift else eot.Grid.from_matrices([grid.matrices[0] + lift, *grid.matrices[1:]])
            sides = {"rows": PENALTIES[rows], "cols": PENALTIES[cols]}
            a, b = (x * factor for x, factor in zip((a, b), factors, strict=True))
            same(given, a, b, epsilon=0.1, method=METHODS[k % len(METHODS)], tol=1e-8, **sides)


@pytest.mark.parametrize("epsilon", [0.1, 1e-3, 1e-5])
@pytest.mark.parametrize("name", NAMES)
def test_any_epsilon_and_points_without_mass(name, epsilon):
    grid = some_grids()[name]
    a, b = images(grid, zeros=True)
    span = whole(grid).max() - whole(grid).min()
    # potentials are span / epsilon nats, of which 1e-16 is lost
    found, expected = same(grid, a, b, epsilon=epsilon * span, tol=1e-8)
    np.testing.assert_allclose(found.row_marginal.reshape(grid.shape_x), a, atol=1e-8)
    assert (found.f[a.ravel() == 0] == -np.inf).all()
    relaxed = {"rows": eot.KL(span), "cols": eot.TV(0.3 * span)}
    same(grid, a, b, epsilon=epsilon * span, tol=1e-8, **relaxed)


@pytest.mark.parametrize("options", [{}, {"rows": eot.KL(0.5)}, {"cols": eot.Between(0.8, 1.2)}])
@pytest.mark.parametrize("name", NAMES)
def test_what_a_solution_gives(name, options):
    grid = some_grids()[name]
    a, b = images(grid)
    found, expected = same(grid, a, b, epsilon=0.1, tol=1e-11, **options)
    # Marginals are within 1e-11, which a condition number of 100 or so magnifies.
    np.testing.assert_allclose(found.plan, expected.plan, atol=1e-9)
    np.testing.assert_allclose(found.log_plan, expected.log_plan, atol=1e-7)
    assert abs(found.sparse_plan(0.99) - expected.sparse_plan(0.99)).max() <= 1e-9
    for axis in (0, 1):
        x = np.random.default_rng(axis).standard_normal((grid.shape[axis], 3))
        np.testing.assert_allclose(found.apply(x, axis=axis), expected.apply(x, axis=axis), atol=1e-9)
    assert found.transport_cost == pytest.approx(expected.transport_cost, abs=1e-9)
    assert found.value == pytest.approx(expected.value, abs=1e-9)
    np.testing.assert_allclose(found.bounds(), expected.bounds(), atol=1e-7)
    again = eot.solve(grid, a, b, epsilon=0.1, tol=1e-8, init=found, **options)
    assert again.n_iter <= 2


def test_the_gap_at_a_large_epsilon_is_of_second_order():
    grid = some_grids()["plane"]
    a, b = images(grid)
    found = eot.solve(grid, a, b, epsilon=0.3, tol=1e-6)
    assert found.gap <= 100 * found.residual**2 + 1e-14


@pytest.mark.parametrize("end", ["rows", "cols"])
def test_a_number_of_iterations(end):
    grid = some_grids()["unequal plane"]
    a, b = images(grid)
    found = eot.solve(grid, a, b, epsilon=0.1, tol=0, max_iter=7, end=end)
    expected = eot.solve(whole(grid), a.ravel(), b.ravel(), epsilon=0.1, tol=0, max_iter=7, end=end)
    np.testing.assert_allclose(found.f, expected.f, atol=1e-12)
    np.testing.assert_allclose(found.g, expected.g, atol=1e-12)


def test_single_precision():
    axes = [np.linspace(0, 1, 6, dtype=np.float32), np.linspace(0, 2, 5, dtype=np.float32)]
    grid = eot.Grid(axes)
    assert grid.dtype == whole(grid).dtype == np.float32
    a, b = images(grid)
    found = eot.solve(grid, a, b, epsilon=0.01, tol=1e-6)
    assert found.converged
    assert found.plan.dtype == np.float32
    matrix = whole(eot.Grid([axis.astype(np.float64) for axis in axes]))
    expected = eot.solve(matrix, a.ravel(), b.ravel(), epsilon=0.01, tol=1e-9)
    assert found.value == pytest.approx(expected.value, rel=1e-5)  # costs are rounded at 6e-8, some 1e2 epsilon


def test_transport_on_a_line_is_between_the_bounds():
    x = np.linspace(-1, 1, 40)
    a, b = np.exp(-8 * (x - 0.4) ** 2), np.exp(-3 * (x + 0.3) ** 2) + 0.1
    a, b = a / a.sum(), b / b.sum()
    found = eot.solve(eot.Grid([x], metric="cityblock"), a, b, epsilon=2e-5)
    lower, upper = found.bounds()
    expected = wasserstein_distance(x, x, a, b)
    assert lower - 1e-9 <= expected <= upper + 1e-9
    assert upper - lower <= 1e-3


def test_transport_of_squares_on_a_line_is_monotone():
    x = np.sort(np.random.default_rng(0).random(30))
    y = np.sort(np.random.default_rng(1).random(30))
    found = eot.solve(eot.Grid([x], [y]), epsilon=1e-5)
    assert found.transport_cost == pytest.approx(((x - y) ** 2).mean(), abs=1e-5 * np.log(30))


def test_weights_may_be_images_lists_or_flat():
    grid = eot.Grid((3, 4))
    a, b = images(grid)
    expected = eot.solve(grid, a, b, epsilon=0.1)
    for one, other in ((a.ravel(), b), (a.tolist(), b.ravel().tolist()), (np.asfortranarray(a), b)):
        np.testing.assert_array_equal(eot.solve(grid, one, other, epsilon=0.1).f, expected.f)
    assert eot.exact(grid, a, b).value <= expected.transport_cost + 1e-9


def test_gradients_of_the_value_are_central_differences():
    grid = some_grids()["unequal plane"]
    a, b = images(grid)

    def solved(a=a, b=b, epsilon=0.1, rows=1.0, cols=2.0):
        return eot.solve(grid, a, b, epsilon=epsilon, rows=eot.KL(rows), cols=eot.L2(cols), tol=1e-12)

    found, h = solved().gradients(), 1e-5
    assert found.cost is None
    step = np.zeros_like(a)
    step[1, 2] = h
    difference = (solved(a=a + step).value - solved(a=a - step).value) / (2 * h)
    assert found.a.reshape(grid.shape_x)[1, 2] == pytest.approx(difference, rel=1e-5)
    for field, at in (("epsilon", 0.1), ("rows", 1.0), ("cols", 2.0)):
        difference = (solved(**{field: at + h}).value - solved(**{field: at - h}).value) / (2 * h)
        assert getattr(found, field) == pytest.approx(difference, rel=1e-5)


def test_a_common_offset_is_taken_off():
    rng = np.random.default_rng(0)
    matrices = rng.random((4, 4)), rng.random((5, 5))
    high = eot.solve(eot.Grid.from_matrices([matrices[0] + 1e6, matrices[1]]), epsilon=0.1, tol=1e-9)
    expected = eot.solve(eot.Grid.from_matrices(matrices), epsilon=0.1, tol=1e-9)
    # of costs near 1e6, 1e-10 is lost
    assert high.dual_value - 1e6 == pytest.approx(expected.dual_value, abs=1e-8)


def test_a_given_mass_and_exact_transport():
    grid = some_grids()["plane"]
    a, b = images(grid)
    found = eot.solve(grid, a, b, epsilon=0.1, mass=0.5, tol=1e-9)
    expected = eot.solve(whole(grid), a.ravel(), b.ravel(), epsilon=0.1, mass=0.5, tol=1e-9)
    assert found.price == pytest.approx(expected.price, abs=1e-6)
    for options in ({}, {"mass": 0.4}):
        cost = eot.exact(grid, a, b, **options)
        assert cost.value == pytest.approx(eot.exact(whole(grid), a.ravel(), b.ravel(), **options).value, rel=1e-9)


@pytest.mark.parametrize("zeros", [False, True])
def test_images_are_solved_without_a_look_at_the_entries(monkeypatch, zeros):
    monkeypatch.setattr(grid_plan, "SEARCHED", 0)

    def refuse(*_):
        raise AssertionError("entries were asked for")

    monkeypatch.setattr(grid_plan, "entries_between", refuse)
    monkeypatch.setattr(grid_plan, "entries_at", refuse)
    a, b = bumps(32, zeros)
    for epsilon, options in ((2e-3, {}), (2e-5, {}), (2e-3, {"rows": eot.KL(0.1), "cols": eot.AtMost()})):
        found = eot.solve(eot.Grid((32, 32)), a, 1.1 * b if options else b, epsilon=epsilon, **options)
        assert found.converged
        assert found.gap <= 1e-5 * (abs(found.value) + epsilon)
        assert found.transport_cost <= found.value + 20 * epsilon
        lower, upper = found.bounds()
        assert lower <= upper
        np.testing.assert_allclose(found.apply(np.ones(1024)), found.row_marginal, atol=1e-12)
        assert found.gradients().cost is None
