"""tol=0 in a batch: exactly so many iterations, those of a solve alone."""

import numpy as np
import pytest
from scipy.special import softmax

import elastic_ot as eot
from helpers.batches import alone, random_cases, stacked
from helpers.oracle import PENALTIES, spec_id

SIDES = [(rows, cols) for rows in PENALTIES for cols in (("Fixed",), ("KL", 0.7), ("AtMost",), ("Free",))]


def same(solution, arguments, atol=1e-10, **options):
    """Plans and potentials are those of a solve alone."""
    for k in np.ndindex(solution.problem.batch):
        single = alone(k, solution.problem.batch, **arguments, **options)
        scale = max(single.plan.sum(), 1e-300)
        np.testing.assert_allclose(solution.plan[k], single.plan, rtol=0, atol=atol * scale)
        for name in ("f", "g"):
            got, expected = getattr(solution, name)[k], getattr(single, name)
            finite = np.isfinite(expected)
            np.testing.assert_array_equal(np.isfinite(got), finite)
            np.testing.assert_allclose(got[finite], expected[finite], rtol=0, atol=max(atol, 1e-12))
        names = ["row_marginal", "col_marginal", "dual_value", "residual"]
        # what an update would make of a marginal that underflows is known from inside the sweep only
        for name in names if (single.col_marginal[np.isfinite(single.g)] > 0).all() else names[:3]:
            np.testing.assert_allclose(
                getattr(solution, name)[k], getattr(single, name), rtol=10 * atol, atol=atol * scale, err_msg=name
            )


@pytest.mark.sampled(2)
@pytest.mark.parametrize("reference", ["product", "counting"])
@pytest.mark.parametrize(("rows", "cols"), SIDES, ids=lambda spec: spec_id(spec))
def test_a_budget_is_that_of_a_solve_alone(rows, cols, reference):
    for n, m in ((3, 5), (9, 12)):
        cases = random_cases(111, 3, n, m, rows=rows, cols=cols, reference=reference)
        arguments = stacked([case.but(epsilon=e) for case, e in zip(cases, (0.05, 0.1, 0.5), strict=True)])
        for end, count in (("rows", 1), ("cols", 1), ("rows", 2), ("cols", 5), ("rows", 20), (None, 3)):
            options = {"tol": 0, "max_iter": count, "end": end}
            solution = eot.solve(**arguments, **options)
            same(solution, arguments, **options)
            assert all(status is eot.Status.BUDGET for status in solution.status)
            assert (solution.n_iter == count).all()
            assert "budget" in repr(solution)
            assert not solution.converged.any()


@pytest.mark.parametrize("end", ["rows", "cols"])
def test_single_precision(end):
    for n, m in ((3, 5), (9, 12)):
        for cols in (("Fixed",), ("KL", 0.7)):
            arguments = stacked(random_cases(112, 3, n, m, cols=cols), np.float32)
            for scale in (1.0, 30.0):  # up to which arguments may be computed in float32, and beyond
                arguments["epsilon"] = np.full(3, 0.1 / scale)
                options = {"tol": 0, "max_iter": 4, "end": end}
                same(eot.solve(**arguments, **options), arguments, atol=5e-6, **options)


def test_small_epsilons_are_exact_too():
    for n, m in ((4, 4), (9, 12)):
        for rows, cols in ((("Fixed",), ("Fixed",)), (("KL", 0.5), ("Fixed",)), (("TV", 0.4), ("L2", 1.0))):
            cases = random_cases(113, 3, n, m, rows=rows, cols=cols)
            arguments = stacked([case.but(epsilon=e) for case, e in zip(cases, (1e-4, 1e-3, 1e-2), strict=True)])
            for end in ("rows", "cols"):
                for count in (1, 2, 7):
                    options = {"tol": 0, "max_iter": count, "end": end}
                    # exponents reach 1e4, so that each entry has an error of 1e-12
                    same(eot.solve(**arguments, **options), arguments, atol=1e-9, **options)


def test_it_goes_on_from_where_another_ended():
    for n, m in ((3, 5), (9, 12)):
        arguments = stacked(random_cases(114, 3, n, m, cols=("KL", 0.7)))
        options = {"tol": 0, "end": "cols"}
        three = eot.solve(**arguments, max_iter=3, **options)
        five = eot.solve(**arguments, max_iter=5, **options)
        for init in (three, (three.f, three.g)):
            both = eot.solve(**arguments, max_iter=2, init=init, **options)
            np.testing.assert_allclose(both.plan, five.plan, rtol=1e-11)
        single = eot.solve(arguments["cost"][0], epsilon=0.1, tol=0, max_iter=2)
        start = eot.solve(arguments["cost"], epsilon=0.1, tol=0, max_iter=3, init=single)
        alone_start = eot.solve(arguments["cost"][1], epsilon=0.1, tol=0, max_iter=3, init=single)
        np.testing.assert_allclose(start.plan[1], alone_start.plan, rtol=1e-11)


def test_one_iteration_with_free_columns_is_a_softmax():
    for dtype, rtol in ((np.float64, 1e-13), (np.float32, 2e-6)):
        for n, m in ((3, 5), (9, 40)):
            scores = np.random.default_rng(115).normal(size=(2, 3, n, m)).astype(dtype)
            solution = eot.solve(
                -scores,
                np.ones(n),
                np.ones(m),
                epsilon=1.0,
                reference="counting",
                tol=0,
                max_iter=1,
                end="rows",
                cols=eot.Free(),
            )
            np.testing.assert_allclose(solution.plan, softmax(scores.astype(float), axis=-1), rtol=rtol)
            assert solution.plan.dtype == dtype


def test_strengths_differ_from_problem_to_problem():
    cost = np.random.default_rng(116).random((4, 5, 6))
    arguments = {
        "cost": cost,
        "epsilon": np.array([0.1, 0.2, 0.3, 0.4]),
        "rows": eot.TV([0.0, 0.3, np.inf, 0.5]),
        "cols": eot.Elastic([0.0, 0.3, 1.0, 0.5]),
    }
    for end in ("rows", "cols"):
        options = {"tol": 0, "max_iter": 5, "end": end}
        same(eot.solve(**arguments, **options), arguments, **options)
    # a strength that is an end for all problems is that end, and so is the side that is exact
    fixed = eot.solve(cost, epsilon=0.1, rows=eot.KL(0.3), cols=eot.Elastic(1.0), tol=0, max_iter=3)
    assert fixed.budget.end == "cols"


def test_forbidden_cells_and_zero_weights():
    rng = np.random.default_rng(117)
    for n, m in ((4, 5), (9, 12)):
        cost = np.where(rng.random((3, n, m)) < 0.2, np.inf, rng.random((3, n, m)))
        cost[:, 0] = cost[:, :, 0] = 0.5
        a = rng.random((3, n))
        a[1, 2] = 0.0
        a /= a.sum(axis=1, keepdims=True)
        arguments = {"cost": cost, "a": a, "epsilon": 0.1}
        for end in ("rows", "cols"):
            options = {"tol": 0, "max_iter": 4, "end": end}
            same(eot.solve(**arguments, **options), arguments, **options)


def test_enough_iterations_are_the_solution():
    arguments = stacked(random_cases(118, 3, 6, 9))
    budget = eot.solve(**arguments, tol=0, max_iter=500)
    np.testing.assert_allclose(budget.plan, eot.solve(**arguments, tol=1e-12).plan, rtol=0, atol=1e-12)
    assert (budget.residual < 1e-12).all()


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"relaxation": "auto"}, "relaxation"),
        ({"relaxation": 0.5}, "relaxation"),
        ({"callback": lambda *_: None}, "callback"),
        ({"time_limit": 1.0}, "time_limit"),
        ({"progress": True}, "progress"),
    ],
)
def test_what_needs_a_look_between_iterations_is_refused(options, named):
    with pytest.raises(ValueError, match=named):
        eot.solve(np.zeros((2, 2, 2)), epsilon=0.1, tol=0, max_iter=3, **options)


def test_newton_and_tol_0_go_as_far_as_rounding_lets_them():
    solution = eot.solve(**stacked(random_cases(119, 2, 4, 5)), tol=0, method="newton", on_failure="ignore")
    assert (solution.residual < 1e-10).all()
    assert solution.budget is None
