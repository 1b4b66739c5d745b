"""Newton's method: accuracy, speed, supports, its parameters and what the history says of it."""

import time

import numpy as np
import ot
import pytest
from scipy.optimize import linear_sum_assignment

import elastic_ot as eot
from elastic_ot.solvers import annealing
from elastic_ot.solvers.passes import MARGIN, SupportPasses, support_of
from helpers.optimality import PAIRS, check
from helpers.oracle import PENALTIES, cloud_case, random_case, spec_id

COSTS = {
    "cloud": lambda n, share, **fields: cloud_case(301, n, share=share, **fields),
    "uniform": lambda n, share, **fields: random_case(302, n, n, epsilon=share, **fields),
}
BOTH_COSTS = pytest.mark.parametrize("make", COSTS.values(), ids=COSTS)


def on_target(case, history):
    return history.residual[history.epsilon == case.epsilon]


def spied(monkeypatch, choose=support_of):
    """The supports chosen while annealing (None where they were too large), as a list that fills."""
    found = []

    def spy(state, *args, **options):
        build = choose(state, *args, **options)
        passes = build and build()
        found.append(passes)
        return passes and (lambda: passes)

    monkeypatch.setattr(annealing, "support_of", spy)
    return found


@BOTH_COSTS
@pytest.mark.parametrize("share", [1e-2, 1e-3])
def test_convergence_is_superlinear(share, make):
    case, tol = make(150, share), 1e-10
    solution = check(case, tol, method="newton")
    exact = case.residual(solution.f, solution.g)
    assert exact <= tol
    residuals = on_target(case, solution.history)
    tail = residuals[np.flatnonzero(residuals > 1e-3)[-1] + 1 :]
    # Order 1.2 in units of the mass, which is 1; the last step goes no further than the tolerance asks. Two iterations
    # may be spent on going over to double precision and to a smaller support.
    slow = tail[1:] > np.maximum(tail[:-1] ** 1.2, tol)
    assert np.count_nonzero(slow) <= 2, tail
    assert tail.size <= 8, tail


@pytest.mark.parametrize(("rows", "cols"), PAIRS)
def test_every_pair_of_penalties_is_solved_at_a_small_epsilon(rows, cols):
    case = random_case(303, 23, 31, rows=rows, cols=cols, epsilon=5e-3)
    check(case, 1e-9, method="newton", max_iter=1000)


@BOTH_COSTS
@pytest.mark.parametrize("share", [1e-2, 1e-3])
@pytest.mark.parametrize("cols", [("Fixed",), ("KL", 0.5), ("TV", 0.3)], ids=spec_id)
def test_a_float32_cost_is_solved_to_a_tolerance_beyond_float32(cols, share, make):
    solution = check(make(80, share, cols=cols, dtype=np.float32), 1e-9, method="newton")
    assert solution.plan.dtype == np.float32


@BOTH_COSTS
@pytest.mark.parametrize("share", [1e-1, 1e-2, 1e-3, 1e-4, 1e-5])
def test_a_tolerance_near_rounding_is_met_or_the_residual_is_named(share, make):
    case, tol = make(60, share), 1e-12
    solution = case.solve(method="newton", tol=tol, on_failure="ignore")
    residual, rounding = case.residual(solution.f, solution.g), case.rounding(solution.f, solution.g)
    if solution.converged:
        assert residual <= tol + rounding
    else:
        assert solution.status is eot.Status.STALLED
        assert f"{solution.residual:.2e}" in solution.message
        # Only where rounding is above the tolerance, or next to it, may the answer miss it.
        assert residual <= 10.0 * rounding
        assert rounding > 0.1 * tol


@pytest.mark.parametrize("epsilon", [0.1, 0.02])
def test_the_plan_is_that_of_sinkhorn_log(epsilon):
    case = random_case(304, 40, 50, epsilon=epsilon)
    expected = ot.bregman.sinkhorn_log(case.a, case.b, case.cost, epsilon, stopThr=1e-12, numItermax=100_000)
    solution = case.solve(method="newton", tol=1e-11, on_failure="raise")
    # POT stops at an L2 error of 1e-12 of the marginals, and slow modes hide some 100 times that in the plan.
    np.testing.assert_allclose(solution.plan, expected, rtol=0, atol=1e-9)


@BOTH_COSTS
def test_bounds_enclose_the_assignment_in_the_limit(make):
    n = 60
    case = make(n, 1e-5).but(a=np.full(n, 1 / n), b=np.full(n, 1 / n))
    best = case.cost[linear_sum_assignment(case.cost)].sum() / n
    solution = case.solve(method="newton", tol=1e-9, on_failure="raise")
    lower, upper = solution.bounds()
    rounded = solution.rounded_plan()
    # A rounding for each of n + n additions when it was made, and of the n here.
    np.testing.assert_allclose(rounded.sum(axis=1), case.a, rtol=4 * n * 2.0**-53)
    np.testing.assert_allclose(rounded.sum(axis=0), case.b, rtol=4 * n * 2.0**-53)
    assert lower <= best + 1e-15
    assert best <= upper + 1e-15
    assert best - 1e-15 <= case.transport_cost(rounded)
    # The entropy of a plan relative to a b^T is at most log n, and a residual of 1e-9 moves mass at a cost of 1.
    assert case.transport_cost(rounded) <= best + case.epsilon * np.log(n) + 1e-8
    assert upper - lower <= 10.0 * case.epsilon * np.log(n)


@pytest.mark.parametrize("make", COSTS.values(), ids=COSTS)
@pytest.mark.parametrize("share", [1e-3, 1e-4])
def test_cells_are_left_out_and_the_full_cost_decides(share, make, monkeypatch):
    supports = spied(monkeypatch)
    case, tol = make(400, share), 1e-8
    solution = check(case, tol, method="newton")
    used = [found for found in supports if found is not None]
    if share == 1e-4:
        assert used, "a plan with so few cells should have been truncated"
    for found in used:
        assert isinstance(found, SupportPasses)
        assert found.support.values.size < 0.2 * case.cost.size
    assert case.residual(solution.f, solution.g) <= tol * case.mass


@BOTH_COSTS
@pytest.mark.parametrize("share", [1e-2, 1e-3, 1e-4])
@pytest.mark.parametrize("missing", [20.0, 100.0])
@pytest.mark.parametrize("admitted", [True, False])
def test_a_support_without_cells_that_matter_is_found_out(admitted, missing, share, make, monkeypatch):
    def first_too_few(state, tol, margin=MARGIN):
        """The first support lacks cells up to exp(missing) times the threshold, and that is admitted or not."""
        build = support_of(state, tol, margin if spoilt else -missing)
        found = build and build()
        if found is not None and not spoilt:
            spoilt.append(found)
            found.log_share -= 0.0 if admitted else missing + margin
        return found and (lambda: found)

    spoilt = []
    spied(monkeypatch, first_too_few)
    case = make(200, share)
    solution = case.solve(method="newton", tol=1e-8, max_iter=2000, on_failure="ignore")
    assert spoilt or missing < 100.0
    assert solution.converged, solution.message
    assert case.residual(solution.f, solution.g) <= 1e-8 + case.rounding(solution.f, solution.g)


@pytest.mark.parametrize("method", ["auto", "newton"])
@pytest.mark.parametrize("share", [1e-2, 1e-3])
def test_a_stronger_penalty_takes_no_more_iterations(share, method):
    counts = {}
    for ratio in (10.0, 1000.0):
        side = ("KL", ratio * share)
        case = cloud_case(305, 200, share=share, rows=side, cols=side)
        counts[ratio] = check(case, 1e-6, method=method).n_iter
    assert counts[1000.0] <= 2 * counts[10.0] + 5


@pytest.mark.parametrize("cols", PENALTIES, ids=spec_id)
@pytest.mark.parametrize("top_k", [5, 20, 500])
def test_top_k_has_the_same_answer(top_k, cols):
    case = random_case(306, 30, 25, cols=cols, epsilon=0.02)
    check(case, 1e-9, method=eot.Newton(top_k=top_k), max_iter=20_000)


def test_top_k_is_slow_on_smooth_costs():
    case = cloud_case(307, 200, share=1e-2)
    default = case.solve(method="newton", tol=1e-8, on_failure="raise")
    sparse = case.solve(method=eot.Newton(top_k=3), tol=1e-8, on_failure="ignore")
    assert not sparse.converged or sparse.n_iter >= 3 * default.n_iter


def test_stalled_is_not_said_while_the_residual_falls():
    case = cloud_case(307, 200, share=1e-2)
    solution = case.solve(method=eot.Newton(top_k=3), tol=1e-8, max_iter=5000, on_failure="ignore")
    residuals = on_target(case, solution.history)
    if solution.status is eot.Status.STALLED:
        # Ten iterations that lower the residual by a third are progress, however slow.
        assert residuals[-1] > residuals[-11] / 1.5, residuals[-11:]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"top_k": 0}, r"top_k=0.*>= 1"),
        ({"damping": -1}, r"damping=-1.*> 0"),
        ({"drop": float("nan")}, r"drop=nan"),
        ({"level_tol": float("inf")}, r"level_tol=inf"),
    ],
)
def test_a_parameter_out_of_range_is_named(options, message):
    with pytest.raises(ValueError, match=message):
        random_case(308).solve(method=eot.Newton(**options))


@pytest.mark.parametrize("options", [{"top_k": 1.5}, {"steps": True}, {"damping": "small"}])
def test_a_parameter_of_the_wrong_type_is_named(options):
    (name,) = options
    with pytest.raises(TypeError, match=name):
        random_case(308).solve(method=eot.Newton(**options))


def test_an_unknown_parameter_is_refused():
    with pytest.raises(TypeError, match="topk"):
        eot.Newton(topk=5)


@pytest.mark.parametrize("method", ["newton", eot.Newton(), eot.Newton(top_k=5)], ids=["name", "record", "top_k"])
def test_newton_has_no_relaxation(method):
    for relaxation in (0.5, 1.3):
        with pytest.raises(ValueError, match=rf"relaxation.*{relaxation}.*newton"):
            random_case(308).solve(method=method, relaxation=relaxation)
    assert random_case(308).solve(method=method, relaxation=1.0, on_failure="raise").method == "newton"


@pytest.mark.parametrize("method", ["scaling", "stabilized", "log", "epsilon_scaling", "newton", "auto"])
def test_the_history_counts_products_and_names_the_method(method):
    case = random_case(309, 40, 40, epsilon=0.01)
    solution = case.solve(method=method, tol=1e-8, on_failure="raise")
    history = solution.history
    assert len(history.method) == len(history.products) == len(history) == len(history.residual)
    assert (np.diff(history.products) >= 0).all()
    assert history.method[-1] == solution.method
    newton = history.method == "newton"
    assert (history.products[~newton] == 0).all()
    if method == "newton":
        assert newton.all()
        assert history.products[-1] > 0
    elif method != "auto":
        assert not newton.any()


def test_auto_hands_over_from_scaling_to_newton_where_scaling_is_slow():
    case = cloud_case(310, 300, share=6e-3)
    solution = check(case, 1e-6)
    method = solution.history.method
    handover = int(np.flatnonzero(method == "newton")[0])
    assert handover > 0
    assert (method[:handover] == "scaling").all()
    assert (method[handover:] == "newton").all()
    assert solution.method == "newton"
    assert solution.history.products[handover - 1] == 0 < solution.history.products[-1]
    slow = case.solve(method="scaling", max_iter=100_000, on_failure="raise")
    assert solution.n_iter < 0.5 * slow.n_iter


@pytest.mark.parametrize("relaxation", [0.8, 1.3])
@pytest.mark.parametrize("share", [6e-3, 3e-3])
def test_auto_with_a_relaxation_stays_with_sweeps(share, relaxation):
    case = cloud_case(310, 100, share=share)
    solution = case.solve(relaxation=relaxation, max_iter=300, on_failure="ignore")
    assert "newton" not in solution.history.method
    assert (solution.history.products == 0).all()


@pytest.mark.parametrize("tol", [0.0, 1e-18])
@BOTH_COSTS
@pytest.mark.parametrize("share", [1e-1, 1e-2, 1e-3, 1e-4])
def test_when_nothing_moves_the_best_iterate_is_returned(share, make, tol):
    case = make(60, share)
    solution = case.solve(method="newton", tol=tol, on_failure="ignore")
    assert solution.status is eot.Status.STALLED
    best = on_target(case, solution.history)[:-1].min()
    f, g = solution.f, solution.g
    assert case.residual(f, g) <= best + 2.0 * case.rounding(f, g)


def test_the_time_limit_ends_newton():
    case = cloud_case(311, 400, share=1e-4)
    case.solve(method="newton", max_iter=40, on_failure="ignore")  # compile first
    start = time.perf_counter()
    solution = case.solve(method="newton", tol=1e-18, time_limit=0.2, on_failure="ignore")
    # A few passes over a cost of 1 MB take a millisecond; the rest is for a busy machine.
    assert time.perf_counter() - start < 2.0
    assert solution.status in {eot.Status.TIME_LIMIT, eot.Status.STALLED}
    assert np.isfinite(solution.plan).all()
    short = case.solve(method="newton", tol=1e-18, time_limit=1e-4, on_failure="ignore")
    assert short.status is eot.Status.TIME_LIMIT
    assert short.n_iter < solution.n_iter


@pytest.mark.parametrize("method", ["auto", "newton"])
@pytest.mark.parametrize("share", [1e-3, 1e-5])
@pytest.mark.parametrize("limit", [1, 5])
def test_an_interruption_while_annealing_returns_no_worse_than_a_sweep(limit, share, method):
    case = cloud_case(311, 100, share=share)
    solution = case.solve(method=method, max_iter=limit, on_failure="ignore")
    assert solution.status is eot.Status.MAX_ITER
    # After an exact update of the rows both column marginals have mass 1, and differ by 2 at most.
    assert case.residual(solution.f, solution.g) <= 2.0 * case.mass + 1e-9


@BOTH_COSTS
def test_max_iter_is_hard_and_the_callback_sees_every_iteration(make):
    case = make(100, 1e-3)
    full = case.solve(method="newton", tol=1e-9, on_failure="raise").n_iter
    for limit in (1, 2, full // 2, full - 1):
        seen = []

        def note(iteration, residual, seen=seen):
            seen.append(iteration)

        solution = case.solve(method="newton", tol=1e-9, max_iter=limit, callback=note, on_failure="ignore")
        assert solution.status is eot.Status.MAX_ITER
        assert solution.n_iter == limit
        assert seen == list(range(1, limit + 1))


@pytest.mark.parametrize(("rows", "cols"), [(10.0, 10.0), (None, 10.0), (0.5, 30.0)])
def test_auto_leaves_weak_penalties_to_sweeps(rows, cols):
    # An error shrinks by tau_a tau_b in each sweep, whatever the cost and epsilon: at most 145 sweeps here.
    share = 1e-4
    sides = {side: ("KL", ratio * share) if ratio else ("Fixed",) for side, ratio in (("rows", rows), ("cols", cols))}
    solution = check(cloud_case(312, 100, share=share, **sides), 1e-6)
    assert "newton" not in solution.history.method
    tau = [ratio / (1.0 + ratio) if ratio else 1.0 for ratio in (rows, cols)]
    # Starting from an error of order one; translations and absorption cost a few sweeps more.
    assert solution.n_iter <= 1.3 * np.log(1e-6) / np.log(tau[0] * tau[1]) + 10
