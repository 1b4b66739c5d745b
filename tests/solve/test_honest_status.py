"""A result never says converged when it is not, whatever the range of the costs, epsilon and the method.

The verdict is taken from R exp((f + g - C)/epsilon) in float64. A potential or a cost of size M is stored with an
error of about M 1e-16, so an entry of that plan is uncertain by a few M / epsilon 1e-16 of itself: this much is allowed
for, and no more (`Case.rounding`).
"""

import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

import elastic_ot as eot
from helpers.oracle import FIRST_ORDER, METHODS, PENALTIES, allowed, random_case, scaled, spec_id
from helpers.verdicts import judge

RANGES = [1e-3, 1.0, 1e3, 1e6]
RATIOS = [1.0, 1e-1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6]
BY_NAME = {spec[0]: spec for spec in PENALTIES}
PAIRS = [("Fixed", "Fixed"), ("Fixed", "KL"), ("KL", "KL"), ("TV", "Fixed"), ("L2", "AtMost"), ("Between", "Elastic")]


@pytest.mark.sampled(3)
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize(("rows", "cols"), PAIRS)
@pytest.mark.parametrize("cost_range", RANGES)
def test_every_verdict_is_true(rows, cols, cost_range, dtype, method):
    tol = 1e-7 if dtype == np.float64 else 1e-4
    for ratio in RATIOS:
        case = random_case(81, 9, 11, rows=BY_NAME[rows], cols=BY_NAME[cols], epsilon=ratio * cost_range, dtype=dtype)
        case = case.but(
            cost=(case.cost - 0.3) * cost_range, rows=scaled(case.rows, cost_range), cols=scaled(case.cols, cost_range)
        )
        solution = case.solve(method=method, tol=tol, max_iter=400, on_failure="ignore")
        judge(case, solution, tol)
        if ratio == 1.0:
            assert solution.converged, solution.message


@settings(max_examples=60, phases=(Phase.explicit, Phase.generate))
@given(
    seed=st.integers(0, 10_000),
    shape=st.tuples(st.integers(1, 12), st.integers(1, 12)),
    rows=st.sampled_from(PENALTIES),
    cols=st.sampled_from(PENALTIES),
    reference=st.sampled_from(["product", "counting"]),
    log_range=st.floats(-3.0, 6.0),
    log_ratio=st.floats(-6.0, 0.0),
    offset=st.sampled_from([0.0, -1.0, 30.0]),
    log_strength=st.floats(-4.0, 4.0),
    spread=st.sampled_from([0.0, 3.0, 12.0]),
    relaxation=st.sampled_from([1.0, 0.01, 0.5, 1.5, 1.95]),
    max_iter=st.sampled_from([1, 2, 10, 300]),
    tol=st.sampled_from([1e-3, 1e-8, 1e-15]),
)
@pytest.mark.parametrize("method", METHODS)
def test_every_verdict_on_a_random_problem_is_true(
    method,
    seed,
    shape,
    rows,
    cols,
    reference,
    log_range,
    log_ratio,
    offset,
    log_strength,
    spread,
    relaxation,
    max_iter,
    tol,
):
    cost_range = 10.0**log_range
    case = random_case(seed, *shape, rows=rows, cols=cols, reference=reference, epsilon=cost_range * 10.0**log_ratio)
    rng = np.random.default_rng(seed)
    a, b = (w * 10.0 ** -(spread * rng.random(w.size)) for w in (case.a, case.b))
    case = case.but(
        cost=(case.cost + offset) * cost_range,
        a=a / a.sum() * case.a.sum(),
        b=b / b.sum() * case.b.sum(),
        rows=scaled(rows, cost_range * 10.0**log_strength),
        cols=scaled(cols, cost_range * 10.0**log_strength),
    )
    solution = case.solve(
        method=method, relaxation=allowed(method, relaxation), max_iter=max_iter, tol=tol, on_failure="ignore"
    )
    judge(case, solution, tol)
    assert solution.n_iter <= max_iter


@pytest.mark.parametrize("method", FIRST_ORDER)
def test_slow_steps_are_not_convergence(method):
    # Every step moves the potentials by less than 1e-6: a rule on the change of iterates would stop at once.
    case = random_case(83, epsilon=0.05)
    solution = case.solve(method=method, relaxation=1e-6, max_iter=50, tol=1e-6, on_failure="ignore")
    assert judge(case, solution, 1e-6) > 1e-3
    assert not solution.converged


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("rho", [1e2, 1e4, 1e6])
def test_a_strong_penalty_converges_only_when_it_has(rho, method):
    case = random_case(84, rows=("KL", rho), cols=("KL", rho)).but(epsilon=0.1)
    for max_iter in (3, 30, 3000):
        judge(case, case.solve(method=method, max_iter=max_iter, tol=1e-9, on_failure="ignore"), 1e-9)


@pytest.mark.parametrize("method", METHODS)
def test_small_entries_are_not_masked_by_large_ones(method):
    case = random_case(85, rows=("KL", 1.0), cols=("KL", 1.0))
    cost = case.cost.copy()
    cost[0] -= 30.0  # one huge scaling beside eleven of order 1
    case = case.but(cost=cost)
    for max_iter in (2, 5, 20, 1000):
        judge(case, case.solve(method=method, max_iter=max_iter, tol=1e-8, on_failure="ignore"), 1e-8)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    ("rows", "cols"),
    [(("Free",), ("Free",)), (("TV", 0.1), ("Free",)), (("KL", 1e-4), ("L2", 1e-4)), (("Free",), ("KL", 0.1))],
)
def test_a_plan_that_no_float_holds_is_not_called_converged(rows, cols, method):
    # Costs of -1 at epsilon = 1e-3 ask for entries of about exp(1000 - strength / epsilon).
    case = random_case(90, 4, 5, rows=rows, cols=cols, epsilon=1e-3)
    case = case.but(cost=case.cost * 0.01 - 1.0)
    try:
        solution = case.solve(method=method, max_iter=500, on_failure="ignore")
    except ValueError:
        return
    assert np.isfinite(solution.plan).all() or not solution.converged
    assert solution.gap >= 0.0


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("reference", ["product", "counting"])
@pytest.mark.parametrize("cols", PENALTIES, ids=spec_id)
def test_a_free_side_has_potentials_of_exactly_zero(cols, reference, method):
    # Off zero the dual of Free is -inf, and no finite number would be a lower bound.
    case = random_case(91, rows=("Free",), cols=cols, reference=reference, epsilon=0.03)
    for max_iter in (1, 3, 1000):
        solution = case.solve(method=method, max_iter=max_iter, on_failure="ignore")
        assert (solution.f == 0.0).all()
        assert np.isfinite(solution.dual_value)
        swapped = case.transposed.solve(method=method, max_iter=max_iter, on_failure="ignore")
        assert (swapped.g == 0.0).all()
        assert np.isfinite(swapped.dual_value)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("relaxation", [0.3, 1.0, 1.6])
@pytest.mark.parametrize("cols", [("TV", 0.3), ("Free",), ("Between", 0.5, np.inf)], ids=spec_id)
def test_a_start_outside_the_domain_of_the_dual_is_brought_into_it(cols, relaxation, method):
    # There the dual is -inf; a damped potential would only creep towards the edge and never be certified.
    case = random_case(93, 7, 7, rows=("KL", 1.0), cols=cols, reference="counting")
    start = np.zeros(7), np.full(7, -2.0)
    solution = case.solve(method=method, relaxation=allowed(method, relaxation), init=start, on_failure="raise")
    judge(case, solution, 1e-6)
    assert np.isfinite(solution.gap)


@pytest.mark.parametrize("offset", [1.0, 100.0])
def test_plain_scaling_says_so_when_its_kernel_underflows(offset):
    case = random_case(86, epsilon=1e-3)
    case = case.but(cost=case.cost + offset)  # exp(-1000) is 0
    solution = case.solve(method="scaling", max_iter=300, tol=1e-6, on_failure="ignore")
    judge(case, solution, 1e-6)
    auto = case.solve(max_iter=200_000, tol=1e-6, on_failure="raise")
    assert judge(case, auto, 1e-6) <= 2e-6


@pytest.mark.parametrize("method", METHODS)
def test_a_mask_that_cannot_carry_the_masses_never_converges(method):
    # Rows 0 and 1 may use column 0 alone, which is lighter than the two: no row or column is empty.
    mask = np.ones((4, 4), dtype=bool)
    mask[:2, 1:] = False
    case = random_case(87, 4, 4).but(a=np.full(4, 0.25), b=np.full(4, 0.25), mask=mask)
    try:
        solution = case.solve(method=method, max_iter=3000, tol=1e-6, on_failure="ignore")
    except eot.InfeasibleError:
        return
    assert not solution.converged
    assert judge(case, solution, 1e-6) > 0.1


@pytest.mark.parametrize("method", METHODS)
def test_a_tolerance_below_rounding_ends_with_the_best_answer_and_no_claim(method):
    case = random_case(88, epsilon=0.01)
    solution = case.solve(method=method, tol=1e-18, max_iter=20_000, on_failure="ignore")
    assert not solution.converged
    assert solution.status in {eot.Status.STALLED, eot.Status.MAX_ITER}
    assert judge(case, solution, 1e-18) < 1e-11


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("cols", PENALTIES, ids=spec_id)
def test_the_history_ends_with_the_residual_that_decided(cols, method):
    case = random_case(89, cols=cols)
    for max_iter in (1, 4, 5000):
        solution = case.solve(method=method, tol=1e-8, max_iter=max_iter, on_failure="ignore")
        true = case.residual(solution.f, solution.g)
        mass = case.unit_of_mass(solution.f, solution.g)
        assert solution.residual == pytest.approx(true, rel=1e-6, abs=1e-13 * mass)
        if solution.history.epsilon[-1] == case.epsilon:  # not while annealing is above the target
            assert solution.history.residual[-1] == pytest.approx(true, rel=1e-6, abs=1e-13 * mass)
