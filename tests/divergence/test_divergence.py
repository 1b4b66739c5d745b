"""The debiased divergence: its sign, zeros, limits and gradients, and an oracle that shares no code with it."""

import itertools

import numpy as np
import pytest
from scipy.optimize import linear_sum_assignment

import elastic_ot as eot
from helpers.array_libraries import LIBRARIES, library
from helpers.dual_by_scipy import maximise_dual
from helpers.oracle import Case, make

PENALTIES = [
    eot.Fixed(),
    eot.KL(0.5),
    eot.TV(0.3),
    eot.L2(8.0),
    eot.Between(0.7, 1.3),
    eot.AtMost(),
    eot.Free(),
    eot.Elastic(0.6),
]
SPECS = [("Fixed",), ("KL", 0.5), ("TV", 0.3), ("L2", 8.0), ("Between", 0.7, 1.3), ("Between", 0.0, 1.0), ("Free",)]


def squared(x, y):
    return ((x[:, None] - y[None]) ** 2).sum(axis=-1)


def distance(x, y):
    return np.sqrt(squared(x, y))


class Clouds:
    """Two weighted clouds in the plane; masses differ unless `balanced`."""

    def __init__(self, seed=0, n=12, m=15, cost=squared, balanced=True, shift=0.3):
        rng = np.random.default_rng(seed)
        self.x, self.y = rng.random((n, 2)), rng.random((m, 2)) + shift
        self.a, self.b = rng.random(n) + 0.1, rng.random(m) + 0.1
        self.a /= self.a.sum()
        self.b /= self.b.sum() * (1.0 if balanced else 0.7)
        self.costs = cost(self.x, self.y), cost(self.x, self.x), cost(self.y, self.y)

    def solve(self, **options):
        return eot.divergence(*self.costs, self.a, self.b, **options)


@pytest.mark.parametrize("penalty", PENALTIES, ids=repr)
@pytest.mark.parametrize("tol", [1e-1, 1e-6])
def test_a_cloud_is_at_no_distance_from_itself(penalty, tol):
    clouds = Clouds()
    cost = clouds.costs[1]
    for epsilon in (1.0, 1e-2, 1e-3):
        found = eot.divergence(
            cost, cost.copy(), cost, clouds.a, clouds.a, epsilon=epsilon, rows=penalty, cols=penalty, tol=tol
        )
        assert found.converged
        assert abs(found.value) <= 1e-15
        gradients = found.gradients()
        assert max(np.abs(gradients.a).max(), np.abs(gradients.b).max(), abs(gradients.epsilon)) <= 1e-13


def test_order_of_the_points_does_not_matter():
    clouds, order = Clouds(), np.random.default_rng(1).permutation(12)
    cost = clouds.costs[1]
    found = eot.divergence(
        cost[:, order], cost, cost[order][:, order], clouds.a, clouds.a[order], epsilon=0.05, tol=1e-4
    )
    assert abs(found.value) <= 1e-15


@pytest.mark.parametrize("tol", [1e-1, 1e-2, 1e-6])
@pytest.mark.parametrize("cost", [squared, distance], ids=["squared", "distance"])
def test_it_is_never_negative_for_a_positive_definite_kernel(cost, tol):
    pairs = [(p, p) for p in PENALTIES] + [(eot.Fixed(), eot.KL(0.5)), (eot.TV(0.3), eot.L2(8.0))]
    for (rows, cols), epsilon, shift in itertools.product(pairs, (1.0, 0.1, 1e-2), (0.0, 0.3)):
        found = Clouds(3, cost=cost, shift=shift).solve(
            epsilon=epsilon, rows=rows, cols=cols, tol=tol, on_failure="ignore"
        )
        assert found.value > 0, (rows, cols, epsilon)


@pytest.mark.parametrize("penalty", PENALTIES, ids=repr)
def test_a_cloud_moved_by_a_little_is_at_a_small_positive_distance(penalty):
    clouds = Clouds()
    moved = clouds.x + 1e-3 * np.random.default_rng(2).normal(size=clouds.x.shape)
    costs = squared(clouds.x, moved), squared(clouds.x, clouds.x), squared(moved, moved)
    found = eot.divergence(*costs, clouds.a, clouds.a, epsilon=0.1, rows=penalty, cols=penalty, tol=1e-2)
    assert 0 < found.value < 1e-5


@pytest.mark.sampled(2)
@pytest.mark.parametrize(("rows", "cols"), list(itertools.product(SPECS, SPECS)), ids=repr)
def test_the_value_is_that_of_another_maximiser(rows, cols):
    hard = {"Fixed", "Between"}
    clouds = Clouds(5, 4, 5, balanced=rows[0] in hard and cols[0] in hard)
    xy, xx, yy = clouds.costs
    cases = [
        Case(xy, clouds.a, clouds.b, 0.2, rows, cols),
        Case(xx, clouds.a, clouds.a, 0.2, rows, rows),
        Case(yy, clouds.b, clouds.b, 0.2, cols, cols),
    ]
    values = [case.dual(*maximise_dual(case)) for case in cases]
    expected = values[0] - 0.5 * (values[1] + values[2]) + 0.1 * (clouds.a.sum() - clouds.b.sum()) ** 2
    found = clouds.solve(epsilon=0.2, rows=make(rows), cols=make(cols), tol=1e-10)
    assert found.value == pytest.approx(expected, abs=1e-7)  # what L-BFGS-B attains on terms of order 1


@pytest.mark.parametrize(("rows", "cols"), [(eot.Fixed(), eot.KL(0.5)), (eot.TV(0.3), eot.AtMost())], ids=repr)
def test_exchanging_the_clouds_exchanges_the_penalties(rows, cols):
    clouds = Clouds(balanced=False)
    one = clouds.solve(epsilon=0.1, rows=rows, cols=cols, tol=1e-9)
    xy, xx, yy = clouds.costs
    other = eot.divergence(xy.T, yy, xx, clouds.b, clouds.a, epsilon=0.1, rows=cols, cols=rows, tol=1e-9)
    assert one.value == pytest.approx(other.value, abs=1e-9)


@pytest.mark.parametrize("penalty", PENALTIES, ids=repr)
def test_the_gap_bounds_the_error(penalty):
    clouds = Clouds()
    exact = clouds.solve(epsilon=0.05, rows=penalty, cols=penalty, tol=1e-11).value
    for tol in (1e-1, 1e-3):
        found = clouds.solve(epsilon=0.05, rows=penalty, cols=penalty, tol=tol)
        assert abs(found.value - exact) <= found.gap + 1e-12


def test_a_large_epsilon_gives_half_the_energy_distance():
    clouds = Clouds()
    xy, xx, yy = clouds.costs
    a, b = clouds.a, clouds.b
    energy = a @ xy @ b - 0.5 * (a @ xx @ a + b @ yy @ b)
    assert clouds.solve(epsilon=1e6, tol=1e-12).value == pytest.approx(energy, rel=1e-5)


def test_a_small_epsilon_gives_unregularised_transport():
    clouds = Clouds(4, 20, 20)
    xy, xx, yy = clouds.costs
    cheapest = xy[linear_sum_assignment(xy)].mean()
    found = eot.divergence(xy, xx, yy, epsilon=1e-4)
    assert found.value == pytest.approx(cheapest, rel=1e-2)


def test_free_sides_give_the_squared_distance_of_the_kernel():
    clouds = Clouds(balanced=False)
    a, b, epsilon = clouds.a, clouds.b, 0.3
    kxy, kxx, kyy = (np.exp(-cost / epsilon) for cost in clouds.costs)
    expected = 0.5 * epsilon * (a @ kxx @ a + b @ kyy @ b - 2 * a @ kxy @ b)
    assert clouds.solve(epsilon=epsilon, rows=eot.Free(), cols=eot.Free()).value == pytest.approx(expected, abs=1e-14)


def test_two_points_are_at_the_cost_between_them():
    assert eot.divergence([[2.5]], [[0.0]], [[0.0]], epsilon=0.3).value == pytest.approx(2.5, abs=1e-14)


def test_masses_alone_are_compared_in_one_point():
    """OT(a, b) of masses in one point under KL(rho) by hand."""
    rho, epsilon, a, b = 0.5, 0.2, 2.0, 0.3

    def transport(a, b):
        s = 2 * rho + epsilon
        p = (a * b) ** ((rho + epsilon) / s)  # stationary: epsilon log(p / ab) + rho log(p / a) + rho log(p / b) = 0
        return epsilon * a * b + rho * (a + b) - s * p

    expected = transport(a, b) - 0.5 * (transport(a, a) + transport(b, b)) + 0.5 * epsilon * (a - b) ** 2
    found = eot.divergence([[0.0]], [[0.0]], [[0.0]], [a], [b], epsilon=epsilon, rows=eot.KL(rho), cols=eot.KL(rho))
    assert expected > 0.01
    assert found.value == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize(
    ("rows", "cols"),
    [(p, p) for p in PENALTIES if not isinstance(p, eot.Elastic)] + [(eot.KL(0.5), eot.Fixed())],
    ids=repr,
)
def test_gradients_are_those_of_central_differences(rows, cols):
    hard = rows.hard and cols.hard
    clouds, rng = Clouds(7, 4, 5, balanced=hard), np.random.default_rng(0)
    clouds.a[2] = 0.0
    if hard:
        clouds.b *= clouds.a.sum() / clouds.b.sum()
    steps = [rng.normal(size=cost.shape) for cost in clouds.costs]
    steps[1:] = [step + step.T for step in steps[1:]]
    a_step, b_step = rng.normal(size=4) * clouds.a, rng.normal(size=5) * clouds.b
    if hard:
        b_step -= clouds.b * (b_step.sum() - a_step.sum()) / clouds.b.sum()

    def value(t, which, a=0.0, b=0.0, epsilon=0.0):
        costs = [cost + t * step * (k == which) for k, (cost, step) in enumerate(zip(clouds.costs, steps, strict=True))]
        return eot.divergence(
            *costs,
            clouds.a + t * a * a_step,
            clouds.b + t * b * b_step,
            epsilon=0.15 + t * epsilon,
            rows=rows,
            cols=cols,
            tol=1e-11,
            on_failure="ignore",
        ).value

    def difference(which=None, **directions):
        return (value(1e-5, which, **directions) - value(-1e-5, which, **directions)) / 2e-5

    found = clouds.solve(epsilon=0.15, rows=rows, cols=cols, tol=1e-11).gradients()
    for k, gradient in enumerate((found.cost_xy, found.cost_xx, found.cost_yy)):
        assert (gradient * steps[k]).sum() == pytest.approx(difference(k), abs=2e-6)
    assert found.a @ a_step + found.b @ b_step == pytest.approx(difference(a=1.0, b=1.0), abs=2e-6)
    if not hard:
        assert found.a @ a_step == pytest.approx(difference(a=1.0), abs=2e-6)
    assert found.epsilon == pytest.approx(difference(epsilon=1.0), abs=2e-6)
    assert found.a[2] == 0
    assert (found.cost_xx[2] == 0).all()


def test_fixed_sides_share_the_gradient_in_the_weights_evenly():
    clouds = Clouds()
    found = clouds.solve(epsilon=0.1).gradients()
    assert clouds.a @ found.a == pytest.approx(clouds.b @ found.b, abs=1e-14)


@pytest.mark.parametrize("penalty", PENALTIES, ids=repr)
@pytest.mark.parametrize("epsilon", [0.1, 1e-2, 1e-3, 1e-4])
def test_self_terms_take_few_sweeps_at_any_epsilon_and_are_symmetric(penalty, epsilon):
    clouds = Clouds(n=60, m=70)
    found = clouds.solve(epsilon=epsilon, rows=penalty, cols=penalty, tol=1e-9, on_failure="ignore")
    for term in (found.self_x, found.self_y):
        assert term.converged
        assert term.method == "symmetric"
        assert term.n_iter <= 40
        assert (term.f == term.g).all()
        assert term.gap <= 1e-7


@pytest.mark.parametrize("penalty", PENALTIES, ids=repr)
def test_costs_without_a_positive_kernel_are_solved_by_the_general_method(penalty):
    random = np.random.default_rng(6).random((40, 40))
    cost = random + random.T
    for epsilon, tol in itertools.product((1e-2, 1e-3), (1e-1, 1e-6)):
        found = eot.divergence(cost, cost, cost, epsilon=epsilon, rows=penalty, cols=penalty, tol=tol)
        assert found.converged
        assert (found.self_x.f == found.self_x.g).all()
        assert found.value == 0.0


def test_a_real_negative_value_is_returned():
    """Within each cloud the points are far apart, and each is near a point of the other: no distance does that."""
    far = np.array([[0.0, 5.0], [5.0, 0.0]])
    found = eot.divergence(np.full((2, 2), -1.0), far, far, epsilon=0.5)
    assert found.value < -0.5


def test_forbidden_cells_carry_nothing_and_the_masses_are_those_of_allowed_cells():
    clouds = Clouds(8, 6, 8)
    kind_x, kind_y = np.arange(6) % 2, np.arange(8) % 2
    pairs = (kind_x, kind_y), (kind_x, kind_x), (kind_y, kind_y)
    costs = [np.where(k[:, None] == m, cost, np.inf) for cost, (k, m) in zip(clouds.costs, pairs, strict=True)]
    options = {"epsilon": 0.1, "rows": eot.KL(0.5), "cols": eot.KL(0.5), "tol": 1e-11}
    found = eot.divergence(*costs, clouds.a, clouds.b, **options)
    apart = 0.0
    for kind in (0, 1):  # classes that exchange nothing are separate problems
        x, y = kind_x == kind, kind_y == kind
        parts = [cost[np.ix_(*on)] for cost, on in zip(clouds.costs, ((x, y), (x, x), (y, y)), strict=True)]
        apart += eot.divergence(*parts, clouds.a[x], clouds.b[y], **options).value
    assert found.value == pytest.approx(apart, abs=1e-10)
    step, h = np.array([1.0, -0.5, 0.0, 0.3, 0.2, 0.7]), 1e-5
    up, down = (eot.divergence(*costs, clouds.a + t * step, clouds.b, **options).value for t in (h, -h))
    assert found.gradients().a @ step == pytest.approx((up - down) / (2 * h), abs=1e-6)


def test_a_zero_weight_removes_its_point():
    clouds = Clouds(balanced=False)
    clouds.a[3] = 0.0
    clouds.a /= clouds.a.sum()
    keep = np.arange(12) != 3
    xy, xx, yy = clouds.costs
    options = {"epsilon": 0.1, "cols": eot.KL(0.5), "tol": 1e-10}
    less = eot.divergence(xy[keep], xx[np.ix_(keep, keep)], yy, clouds.a[keep], clouds.b, **options)
    assert clouds.solve(**options).value == pytest.approx(less.value, abs=1e-9)


@pytest.mark.parametrize("layout", [np.ascontiguousarray, np.asfortranarray], ids=["C", "F"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_dtypes_and_layouts(dtype, layout):
    clouds = Clouds(balanced=False)
    options = {"epsilon": 0.1, "rows": eot.Fixed(), "cols": eot.KL(0.5), "tol": 1e-9}
    expected = clouds.solve(**options).value
    costs = [layout(cost.astype(dtype)) for cost in clouds.costs]
    found = eot.divergence(*costs, clouds.a, clouds.b, **options)
    assert found.converged
    assert found.value == pytest.approx(expected, abs=1e-7 if dtype == np.float32 else 1e-9)


def test_single_precision_weights_whose_sums_differ_by_rounding_serve():
    clouds = Clouds()
    a, b = clouds.a.astype(np.float32), (clouds.b * (1 + 1e-6)).astype(np.float32)
    costs = [cost.astype(np.float32) for cost in clouds.costs]
    assert eot.divergence(*costs, a, b, epsilon=0.1).value == pytest.approx(clouds.solve(epsilon=0.1).value, abs=1e-5)


@pytest.mark.parametrize("name", LIBRARIES)
def test_arrays_of_other_libraries(name):
    clouds, xp = Clouds(), library(name)
    costs = [xp.make(cost) for cost in clouds.costs]
    found = eot.divergence(*costs, xp.make(clouds.a), xp.make(clouds.b), epsilon=0.1)
    assert found.value == pytest.approx(clouds.solve(epsilon=0.1).value, abs=1e-6)
    assert type(found.value) is float
    assert isinstance(found.cross.f, xp.kind)
    assert isinstance(found.self_x.f, xp.kind)
    assert isinstance(found.gradients().a, np.ndarray)


def test_weights_are_uniform_by_default():
    clouds = Clouds()
    even = eot.divergence(*clouds.costs, np.full(12, 1 / 12), np.full(15, 1 / 15), epsilon=0.1)
    assert eot.divergence(*clouds.costs, epsilon=0.1).value == even.value


def test_a_shape_that_does_not_fit_names_both():
    xy, xx, yy = Clouds().costs
    with pytest.raises(ValueError, match=r"cost_xx has shape \(15, 15\).*cost_xy of shape \(12, 15\).*\(12, 12\)"):
        eot.divergence(xy, yy, xx, epsilon=0.1)
    with pytest.raises(ValueError, match=r"cost_yy has shape \(12, 15\)"):
        eot.divergence(xy, xx, xy, epsilon=0.1)


def test_an_asymmetric_cost_names_the_cells():
    xy, xx, yy = Clouds().costs
    wrong = yy.copy()
    wrong[9, 4] += 1e-9
    with pytest.raises(ValueError, match=r"cost_yy\[4, 9\] is 0.*cost_yy\[9, 4\] is .*symmetric"):
        eot.divergence(xy, xx, wrong, epsilon=0.1)
    wrong[9, 4] = np.inf
    with pytest.raises(ValueError, match=r"cost_yy\[4, 9\].* is inf"):
        eot.divergence(xy, xx, wrong, epsilon=0.1)


def test_asymmetry_is_found_in_every_tile():
    cost = np.zeros((600, 600))
    cost[599, 300] = 1.0
    small = np.zeros((600, 1))
    with pytest.raises(ValueError, match=r"cost_xx\[300, 599\]"):
        eot.divergence(small, cost, [[0.0]], epsilon=0.1)


def test_refusals_name_the_cost_they_are_about():
    xy, xx, yy = Clouds().costs
    nan = xx.copy()
    nan[1, 2] = np.nan
    with pytest.raises(ValueError, match=r"^cost_xx\[1, 2\] is nan"):
        eot.divergence(xy, nan, yy, epsilon=0.1)
    with pytest.raises(ValueError, match=r"^cost_xy has shape \(12,\)"):
        eot.divergence(xy[:, 0], xx, yy, epsilon=0.1)
    with pytest.raises(ValueError, match=r"^a has 3 entries"):
        eot.divergence(xy, xx, yy, [0.2, 0.3, 0.5], epsilon=0.1)
    apart = np.where(np.arange(12) == 0, np.inf, xx)
    with pytest.raises(eot.InfeasibleError, match=r"^cost_xx: row 0 has only forbidden cells"):
        eot.divergence(xy, np.maximum(apart, apart.T), yy, epsilon=0.1)


def test_fixed_masses_that_differ_are_infeasible():
    with pytest.raises(eot.InfeasibleError, match="total mass"):
        Clouds(balanced=False).solve(epsilon=0.1)


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({"epsilon": 0.0}, ValueError, "epsilon is 0.0"),
        ({"tol": 0}, ValueError, "tol is 0"),
        ({"method": "fast"}, ValueError, "method"),
        ({"rows": "fixed"}, TypeError, "rows must be a penalty"),
        ({"on_failure": "stop"}, ValueError, "on_failure"),
        ({"max_iter": 0}, ValueError, "max_iter"),
        ({"reference": "counting"}, TypeError, "reference"),
        ({"mask": None}, TypeError, "mask"),
    ],
)
def test_bad_options_are_refused(options, error, text):
    with pytest.raises(error, match=text):
        Clouds().solve(**{"epsilon": 0.1, **options})


def test_a_failure_names_its_terms():
    clouds = Clouds()
    with pytest.warns(eot.ConvergenceWarning, match="the term of cost_xy: max_iter.*the term of cost_xx: max_iter"):
        found = clouds.solve(epsilon=0.01, tol=1e-12, max_iter=2)
    assert not found.converged
    assert found.value >= 0
    assert found.self_x.n_iter == 2
    with pytest.raises(eot.ConvergenceError, match="cost_yy"):
        clouds.solve(epsilon=0.01, tol=1e-12, max_iter=2, on_failure="raise")
    with pytest.warns(eot.ConvergenceWarning):
        found.gradients()


def test_a_time_limit_holds_for_all_terms_together():
    found = Clouds().solve(epsilon=0.01, tol=1e-14, time_limit=1e-6, on_failure="ignore")
    assert eot.Status.TIME_LIMIT in {part.status for part in (found.cross, found.self_x, found.self_y)}


@pytest.mark.parametrize("method", ["scaling", "stabilized", "log", "epsilon_scaling", "newton", eot.Newton(top_k=5)])
def test_every_method_has_the_same_value(method):
    clouds = Clouds()
    found = clouds.solve(epsilon=0.05, method=method, tol=1e-9)
    assert found.value == pytest.approx(clouds.solve(epsilon=0.05, tol=1e-11).value, abs=1e-8)


def test_the_result_prints_what_matters():
    text = repr(Clouds().solve(epsilon=0.1))
    assert text.startswith("Divergence(0.")
    assert "12 and 15 points, epsilon=0.1, converged" in text
