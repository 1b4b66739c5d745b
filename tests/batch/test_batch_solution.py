"""Batches: limits and failures, warm starts, independence of the neighbours, and what a solution tells."""

import numba
import numpy as np
import pytest

import elastic_ot as eot
from elastic_ot.problems.mixed import Mixed
from elastic_ot.problems.penalty import Penalty
from helpers.batches import agree, costs, random_cases, stacked

STATUS = eot.Status


HARD = {"epsilon": np.array([1.0, 1e-3, 2e-3]), "method": "log"}


@pytest.mark.parametrize("shape", [(4, 5), (12, 9)])
@pytest.mark.parametrize("end", ["rows", "cols"])
def test_those_that_fail_are_reported_in_one_warning(shape, end):
    cost = costs(81, 3, *shape)
    with pytest.warns(eot.ConvergenceWarning, match=r"2 of 3 problems did not converge.*problem \[[12]\]") as caught:
        solution = eot.solve(cost, **HARD, max_iter=15, end=end)
    assert len(caught) == 1
    assert caught[0].filename == __file__
    assert [status.name for status in solution.status] == ["CONVERGED", "MAX_ITER", "MAX_ITER"]
    np.testing.assert_array_equal(solution.converged, [True, False, False])
    assert (solution.n_iter[1:] == 15).all()
    assert solution.n_iter[0] < 15
    assert (solution.message == [status.value for status in solution.status]).all()
    exact = solution.row_marginal - 1 / shape[0] if end == "rows" else solution.col_marginal - 1 / shape[1]
    assert np.abs(exact).max() < 1e-12
    assert np.isfinite(solution.gap).all()
    with pytest.raises(eot.ConvergenceError, match="2 of 3 problems"):
        eot.solve(cost, **HARD, max_iter=15, on_failure="raise")
    eot.solve(cost, **HARD, max_iter=15, on_failure="ignore")
    budget = eot.solve(cost[1], epsilon=1e-3, max_iter=15, end=end, tol=0)  # as many
    np.testing.assert_allclose(solution.residual[1], budget.residual, rtol=1e-9)
    np.testing.assert_allclose(solution.plan[1], budget.plan, rtol=0, atol=1e-11)


def test_one_iteration_is_one_iteration():
    cost = costs(82, 3, 4, 5)
    solution = eot.solve(cost, epsilon=0.1, max_iter=1, on_failure="ignore")
    assert (solution.n_iter == 1).all()
    single = eot.solve(cost[0], epsilon=0.1, method="log", max_iter=1, on_failure="ignore")
    np.testing.assert_allclose(solution.plan[0], single.plan, rtol=1e-6)


def test_auto_never_takes_more_iterations_than_it_may():
    cost = costs(83, 4, 6, 7)
    for limit in (1, 2, 11, 40, 100):
        solution = eot.solve(cost, epsilon=[1e-4, 1e-3, 1e-2, 1.0], max_iter=limit, on_failure="ignore", tol=1e-8)
        assert (solution.n_iter <= limit).all()


@pytest.mark.parametrize("method", ["auto", "log", "newton", "scaling"])
def test_a_callback_stops_all_that_are_left(method):
    seen = []

    def look(iteration, residual):
        seen.append((iteration, residual.shape))
        return True

    cost = costs(84, 3, 5, 6)
    with pytest.warns(eot.ConvergenceWarning, match="stopped by the callback"):
        solution = eot.solve(cost, epsilon=1e-3, tol=1e-9, callback=look, method=method)
    assert len(seen) == 1
    assert seen[0][1] == (3,)
    assert STATUS.STOPPED in solution.status
    assert solution.status[-1] in (STATUS.STOPPED, STATUS.CONVERGED)
    assert np.isfinite(solution.residual).all()
    exact = solution.row_marginal if method in ("auto", "log") else solution.row_marginal[1:]  # one has been solved
    np.testing.assert_allclose(exact, 1 / 5, rtol=0, atol=1e-12)
    calls = []
    eot.solve(cost, epsilon=0.1, tol=1e-9, callback=lambda *args: calls.append(args), method=method)
    assert calls
    assert (calls[-1][1] <= 1e-9).all()


@pytest.mark.parametrize("method", ["auto", "log", "newton"])
def test_the_time_limit_is_one_for_all(method):
    cost = costs(85, 40, 30, 30)
    with pytest.warns(eot.ConvergenceWarning, match="time_limit reached"):
        solution = eot.solve(cost, epsilon=1e-4, tol=1e-11, time_limit=1e-4, method=method)
    assert STATUS.TIME_LIMIT in solution.status
    assert solution.history.seconds[-1] < 5.0
    assert np.isfinite(solution.residual).all()


def test_log_stalls_and_says_so():
    with pytest.warns(eot.ConvergenceWarning):
        solution = eot.solve(costs(86, 2, 12, 12) * 1e3, epsilon=[1e-3, 1e3], tol=1e-14, method="log", max_iter=3000)
    assert solution.status[0] in (STATUS.STALLED, STATUS.MAX_ITER)


@pytest.mark.parametrize("shape", [(4, 5), (12, 9)])
def test_a_warm_start_is_used(shape):
    arguments = stacked(random_cases(87, 3, *shape, epsilon=0.02))
    first = eot.solve(**arguments, tol=1e-10, on_failure="raise")
    for init in (first, (first.f, first.g), (first.host.f, first.host.g)):
        again = eot.solve(**arguments, tol=1e-9, init=init, on_failure="raise")
        assert (again.n_iter <= 3).all()
        np.testing.assert_allclose(again.plan, first.plan, rtol=0, atol=1e-9)
    one = eot.solve(arguments["cost"], epsilon=0.02, init=first[0], on_failure="raise", tol=1e-9)
    plain = eot.solve(arguments["cost"], epsilon=0.02, on_failure="raise", tol=1e-9)
    np.testing.assert_allclose(one.plan, plain.plan, rtol=0, atol=1e-8)
    newton = eot.solve(**arguments, tol=1e-10, init=first, method="newton")
    assert (newton.n_iter <= 3).all()


def test_warm_starts_far_from_the_answer_do_no_harm():
    for n, m in ((4, 4), (9, 12)):
        for rows in (eot.Fixed(), eot.KL(0.5), eot.TV(0.3)):
            arguments = stacked(random_cases(88, 3, n, m)) | {"rows": rows}
            for start in (1e3, -1e3, 1e4):
                init = np.full((3, n), start), np.zeros(m)
                agree(eot.solve(**arguments, tol=1e-9, init=init, on_failure="raise"), arguments, atol=1e-7)
                init = np.zeros(n), start * np.arange(m)
                agree(eot.solve(**arguments, tol=1e-9, init=init, on_failure="raise"), arguments, atol=1e-7)


NEIGHBOURS = {
    "fixed": {},
    "kl": {"rows": eot.KL(np.array([0.3, 0.7, 1.0, np.inf]))},
    "tv": {"rows": eot.TV(np.array([0.3, 0.7, 1.0, np.inf]))},
    "bounded": {"cols": eot.Between(0.5, 1.5)},
}


@pytest.mark.parametrize("sides", NEIGHBOURS)
@pytest.mark.parametrize("shape", [(4, 4), (9, 12)])
@pytest.mark.parametrize("tol", [1e-9, 1e-6, 0])
def test_a_problem_does_not_depend_on_its_neighbours(sides, shape, tol):
    # Kernels of tiny problems are made anew together, so that rounding may differ: of float32 where tol allows it.
    cost = costs(91, 4, *shape)
    cost[2] *= 300.0  # needs other arithmetic
    epsilon = np.array([0.1, 0.02, 0.1, 1.0])
    options = {"max_iter": 50 if tol == 0 else 5000, "on_failure": "ignore", "tol": tol}
    together = eot.solve(cost, epsilon=epsilon, **NEIGHBOURS[sides], **options)
    for k in range(4):
        one = {
            side: type(penalty)(penalty.rho[k : k + 1]) if hasattr(penalty, "rho") else penalty
            for side, penalty in NEIGHBOURS[sides].items()
        }
        single = eot.solve(cost[k : k + 1], epsilon=epsilon[k : k + 1], **one, **options)
        atol = 1e-12 if tol != 1e-6 else 5e-6
        np.testing.assert_allclose(together.plan[k], single.plan[0], rtol=0, atol=atol * single.plan.sum())
        if tol != 1e-6:
            assert together.n_iter[k] == single.n_iter[0]
        assert together.status[k] == single.status[0]
        assert together.method[k] == single.method[0]


def test_the_number_of_threads_changes_nothing():
    for count, n, m in ((3000, 4, 4), (20, 40, 45)):
        cost = costs(92, count, n, m)
        threads = numba.get_num_threads()
        plans = []
        try:
            for number in {1, threads}:
                numba.set_num_threads(number)
                plans.append(eot.solve(cost, epsilon=0.1).plan)
        finally:
            numba.set_num_threads(threads)
        for plan in plans:
            np.testing.assert_array_equal(plan, plans[0])


def test_problems_come_back_in_their_order():
    cost = costs(93, 2, 3, 4, 5)
    solution = eot.solve(cost, epsilon=0.1, tol=1e-11)
    flipped = eot.solve(cost[::-1, ::-1], epsilon=0.1, tol=1e-11)
    np.testing.assert_allclose(flipped.plan[::-1, ::-1], solution.plan, rtol=0, atol=1e-13)


def test_every_number_has_the_batch_shape():
    cost = costs(101, 2, 3, 4, 5)
    solution = eot.solve(cost, epsilon=[0.05, 0.1, 1.0])
    names = "status n_iter method converged message epsilon residual marginal_error dual_value gap value transport_cost"
    for name in names.split():
        assert getattr(solution, name).shape == (2, 3), name
    assert solution.n_iter.dtype.kind == "i"
    assert solution.converged.dtype == bool
    assert all(isinstance(status, STATUS) for status in solution.status.flat)
    lower, upper = solution.bounds()
    assert lower.shape == upper.shape == (2, 3)
    history = solution.history
    rounds = history.seconds.size
    for name in ("iteration", "residual", "dual", "epsilon"):
        assert getattr(history, name).shape == (rounds, 2, 3), name
    np.testing.assert_array_equal(history.iteration[-1], solution.n_iter)
    np.testing.assert_allclose(history.residual[-1], solution.residual, rtol=0, atol=1e-12)
    np.testing.assert_allclose(history.dual[-1], solution.dual_value, rtol=1e-12)
    assert (np.diff(history.iteration, axis=0) >= 0).all()
    assert (np.diff(history.seconds) >= 0).all()
    assert repr(solution) == "BatchSolution(2 x 3 problems 4 x 5, 6 of 6 converged)"
    assert len(solution) == 2


def test_the_history_ends_with_what_is_returned():
    cost = costs(102, 4, 7, 8)
    for options in ({"method": "log"}, {"method": "newton"}, {}, {"max_iter": 13}, {"relaxation": 1.3}):
        solution = eot.solve(cost, epsilon=[1e-4, 1e-3, 0.1, 1], tol=1e-7, on_failure="ignore", **options)
        history = solution.history
        np.testing.assert_array_equal(history.iteration[-1], solution.n_iter)
        np.testing.assert_allclose(history.residual[-1], solution.residual, rtol=1e-6, atol=1e-10)
        np.testing.assert_allclose(history.dual[-1], solution.dual_value, rtol=1e-9)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_a_problem_of_the_batch_is_a_solution(dtype):
    for n, m in ((4, 5), (10, 12)):
        cost = costs(103, 2, 3, n, m, dtype=dtype)
        solution = eot.solve(cost, epsilon=[0.05, 0.1, 1.0], rows=eot.KL([0.5, 1.0, np.inf]))
        for k in np.ndindex(2, 3):
            single = solution[k]
            assert isinstance(single, eot.Solution)
            assert single.status is solution.status[k]
            assert single.n_iter == solution.n_iter[k]
            assert single.method == solution.method[k]
            for name in ("f", "g", "row_marginal", "col_marginal"):
                np.testing.assert_allclose(getattr(single, name), getattr(solution, name)[k], rtol=0, atol=1e-12)
            for name in ("gap", "dual_value", "value", "residual", "marginal_error", "epsilon", "transport_cost"):
                np.testing.assert_allclose(getattr(single, name), getattr(solution, name)[k], rtol=1e-9, atol=1e-12)
            np.testing.assert_allclose(single.plan, solution.plan[k], rtol=1e-5 if dtype == np.float32 else 1e-9)
            assert solution[k].bounds() == tuple(bound[k] for bound in solution.bounds())
            np.testing.assert_allclose(single.rounded_plan(), solution.rounded_plan()[k], rtol=0, atol=1e-12)
        assert len(list(solution)) == 6
        np.testing.assert_allclose([s.value for s in solution], solution.value.reshape(-1), rtol=1e-9)
    with pytest.raises(IndexError, match="one index for each"):
        solution[0]
    with pytest.raises(IndexError):
        solution[2, 0]


def test_value_minus_dual_value_is_the_gap():
    for tol in (1e-2, 1e-5):
        for rows in (eot.Fixed(), eot.KL(0.4), eot.TV([0.3, np.inf, 0.0])):
            solution = eot.solve(costs(104, 3, 5, 6), epsilon=0.1, rows=rows, tol=tol)
            assert (solution.gap >= 0).all()
            np.testing.assert_array_equal(solution.value, solution.dual_value + solution.gap)


def test_apply_is_the_product_with_the_plans():
    cost = costs(105, 2, 3, 4, 5, dtype=np.float32)
    solution = eot.solve(cost, epsilon=0.1)
    rng = np.random.default_rng(106)
    for leading in ((), (3,), (2, 1), (2, 3)):
        x, y = rng.random((*leading, 5, 2)), rng.random((*leading, 4, 3))
        np.testing.assert_allclose(solution.apply(x), solution.plan @ x, rtol=1e-6)
        np.testing.assert_allclose(solution.apply(y, axis=0), solution.plan.swapaxes(-1, -2) @ y, rtol=1e-6)
        assert solution.apply(x).dtype == np.float64


def test_converged_means_the_certificate():
    cases = random_cases(107, 40, 4, 4, epsilon=0.03)
    for tol in (1e-3, 1e-6):
        solution = eot.solve(**stacked(cases), tol=tol)
        assert (solution.marginal_error <= tol).all()
        assert (solution.residual <= tol).all()


@pytest.mark.parametrize(
    "options",
    [{}, {"rows": eot.KL([0.4, 0.8, 2.0])}, {"cols": eot.Free()}, {"tol": 0, "max_iter": 4}, {"ragged": True}],
)
def test_gradients_are_those_of_the_problems(options):
    options = dict(options)
    arguments = {"cost": costs(108, 3, 4, 5), "epsilon": np.array([0.1, 0.2, 0.5])}
    if options.pop("ragged", False):
        options["col_lengths"] = [5, 3, 4]
    solution = eot.solve(**arguments, **{"tol": 1e-11, **options})
    rng = np.random.default_rng(109)
    bars = {"plan": rng.normal(size=(3, 4, 5)), "f": rng.normal(size=(3, 4)), "g": rng.normal(size=(3, 5))}
    found, values = solution.vjp(**bars), None if "max_iter" in options else solution.gradients()
    for k in range(3):
        single = solution[k]
        m = single.problem.shape[1]
        expected = single.vjp(bars["plan"][k, :, :m], bars["f"][k], bars["g"][k, :m])
        for name in ("cost", "a", "b", "epsilon", "rows", "cols"):
            corner = tuple(map(slice, np.shape(getattr(expected, name))))
            got = getattr(found, name)[k]
            np.testing.assert_allclose(got[corner], getattr(expected, name), rtol=1e-6, atol=1e-7, err_msg=name)
            if values is not None:
                got = getattr(values, name)[k]
                np.testing.assert_allclose(got[corner], getattr(single.gradients(), name), rtol=1e-9, atol=1e-12)
    if "col_lengths" in options:
        assert (found.cost[1, :, 3:] == 0).all()
        assert (found.b[1, 3:] == 0).all()


@pytest.mark.parametrize("cols", [eot.Fixed(), eot.KL(0.5), eot.TV(0.3), eot.Elastic([0.0, 0.4, 1.0])], ids=repr)
@pytest.mark.parametrize("tol", [1e-2, 1e-8])
def test_gaps_are_those_of_single_solutions_without_making_them(cols, tol, monkeypatch):
    """Values of tens of thousands of problems rest on them."""
    rng = np.random.default_rng(5)
    a, b = rng.dirichlet(np.ones(5), 3), rng.dirichlet(np.ones(6), 3)
    a[1, 2] = 0.0
    a[1] /= a[1].sum()
    solution = eot.solve(rng.random((3, 5, 6)), 2 * a, 2 * b, epsilon=0.1, cols=cols, tol=tol)
    expected = [single.gap for single in solution]
    monkeypatch.setattr(eot.BatchSolution, "_single", None)
    np.testing.assert_allclose(solution.gap, expected, rtol=1e-6, atol=1e-14)


def test_mixed_penalties_choose_in_every_formula():
    """One that is not asked part by part would answer for the wrong penalty, in silence."""
    formulas = {name for name in dir(Penalty) if not name.startswith("_")} - {"at", "hard"}
    assert formulas <= set(vars(Mixed))
