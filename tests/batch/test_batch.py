"""Many problems in one call: every one is solved as it would be alone, and certified."""

import numpy as np
import pytest

import elastic_ot as eot
from elastic_ot.backends.cpu.batch import LANES
from helpers.batches import check, costs, random_cases, stacked, weights
from helpers.oracle import METHODS, PENALTIES, spec_id

PAIRS = [pytest.param(rows, cols, id=f"{spec_id(rows)}/{spec_id(cols)}") for rows in PENALTIES for cols in PENALTIES]


@pytest.mark.sampled(2)
@pytest.mark.parametrize("reference", ["product", "counting"])
@pytest.mark.parametrize(("rows", "cols"), PAIRS)
@pytest.mark.parametrize(("dtype", "tol"), [(np.float64, 1e-9), (np.float32, 1e-5)])
def test_tiny_and_small_plans_are_optimal(rows, cols, reference, dtype, tol):
    for n, m in ((2, 3), (5, 17)):
        check(random_cases(21, 3, n, m, rows=rows, cols=cols, reference=reference), tol, dtype)


@pytest.mark.parametrize("rows", PENALTIES, ids=spec_id)
@pytest.mark.parametrize("cols", [("Fixed",), ("KL", 0.7), ("AtMost",)], ids=spec_id)
def test_plans_of_some_size_are_optimal(rows, cols):
    check(random_cases(22, 2, 40, 33, rows=rows, cols=cols), 1e-9)
    check(random_cases(23, 2, 33, 40, rows=rows, cols=cols), 1e-5, np.float32)


@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (9, 1), (2, 70), (70, 2), (8, 8), (4, 16)])
@pytest.mark.parametrize("cols", [("Fixed",), ("KL", 0.3), ("TV", 0.2)], ids=spec_id)
def test_thin_problems_are_solved(shape, cols):
    check(random_cases(24, 3, *shape, cols=cols), 1e-9)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_more_tiny_problems_than_lanes(dtype):
    cases = random_cases(25, 2 * LANES + 3, 3, 4)
    tol = 1e-10 if dtype == np.float64 else 1e-6
    solution = eot.solve(**stacked(cases, dtype), tol=tol, on_failure="raise")
    error = np.abs(solution.plan.sum(axis=-1) - stacked(cases, dtype)["a"]).sum(axis=-1)
    assert error.max() < 1e-6
    for k in (0, LANES - 1, LANES, 2 * LANES + 2):
        np.testing.assert_allclose(solution.plan[k], cases[k].solve(tol=1e-12).plan, rtol=0, atol=20 * tol)


@pytest.mark.parametrize("relaxation", [0.5, 1.5, "auto"])
@pytest.mark.parametrize("end", ["rows", "cols"])
@pytest.mark.parametrize("cols", [("Fixed",), ("KL", 0.5)], ids=spec_id)
def test_relaxation_and_end_change_nothing(cols, end, relaxation):
    for n, m in ((3, 4), (9, 11)):
        check(random_cases(26, 3, n, m, cols=cols), 1e-9, relaxation=relaxation, end=end)


@pytest.mark.parametrize("method", [*METHODS, eot.Newton() if hasattr(eot, "Newton") else "newton"])
@pytest.mark.parametrize(("rows", "cols"), [(("Fixed",), ("Fixed",)), (("KL", 0.5), ("TV", 0.3))])
def test_every_method_has_the_same_answer(rows, cols, method):
    check(random_cases(27, 3, 6, 7, rows=rows, cols=cols), 1e-9, method=method)


@pytest.mark.parametrize("tol", [1e-2, 1e-4, 1e-7, 1e-12])
def test_every_tolerance_is_met(tol):
    for rows, cols in ((("Fixed",), ("Fixed",)), (("KL", 0.5), ("L2", 0.7)), (("AtMost",), ("KL", 1.0))):
        for n, m in ((4, 4), (12, 9)):
            check(random_cases(28, 4, n, m, rows=rows, cols=cols), tol)


@pytest.mark.parametrize("end", ["rows", "cols"])
def test_the_end_is_the_exact_side(end):
    for n, m in ((3, 5), (10, 12)):
        arguments = stacked(random_cases(29, 3, n, m))
        solution = eot.solve(**arguments, tol=1e-3, end=end, method="log")
        errors = [
            np.abs(marginal - given).sum(axis=-1)
            for marginal, given in ((solution.row_marginal, arguments["a"]), (solution.col_marginal, arguments["b"]))
        ]
        exact, other = errors if end == "rows" else errors[::-1]
        assert exact.max() < 1e-13  # rounding
        assert (other > 1e-13).all()
        assert (other <= 1e-3).all()


@pytest.mark.sampled(2)
@pytest.mark.parametrize(
    ("rows", "cols"),
    [
        (("Fixed",), ("Fixed",)),
        (("Fixed",), ("KL", 0.7)),
        (("KL", 0.7), ("KL", 0.7)),
        (("L2", 2.0), ("Between", 0.6, 1.4)),
        (("Elastic", 0.6), ("Fixed",)),
        (("TV", 0.3), ("AtMost",)),
    ],
)
@pytest.mark.parametrize("shape", [(4, 4), (7, 12)])
def test_epsilons_over_five_decades(shape, rows, cols):
    # From potentials that rounding alone moves by 1e-12 of the mass to ones that are almost flat.
    epsilons = np.geomspace(1e-4, 10.0, 7)
    cases = [
        case.but(epsilon=e) for case, e in zip(random_cases(30, 7, *shape, rows=rows, cols=cols), epsilons, strict=True)
    ]
    check(cases, 1e-8, max_iter=30_000)
    solution = check(cases, 1e-5, np.float32, max_iter=30_000)
    assert solution.method[-1] == "log"


# AtMost with fixed columns needs some 1e5 sweeps: a case for "auto", which does not insist on them.
OUTLIERS = [
    (rows, cols, method)
    for rows in (("KL", 0.7), ("L2", 2.0), ("Elastic", 0.6), ("TV", 0.3), ("AtMost",))
    for cols in (("Fixed",), ("KL", 0.3))
    for method in ("auto", "log")
    if (rows, cols, method) != (("AtMost",), ("Fixed",), "log")
]


@pytest.mark.parametrize("shape", [(4, 4), (7, 12)])
@pytest.mark.parametrize(("rows", "cols", "method"), OUTLIERS, ids=lambda x: x if isinstance(x, str) else spec_id(x))
def test_potentials_of_outliers_are_found_though_their_mass_vanishes(shape, rows, cols, method):
    # exp(-range / epsilon) is below the smallest double, and the dual value rests on those potentials.
    for dtype, tol in ((np.float64, 1e-9), (np.float32, 1e-5)):
        cases = random_cases(31, 3, *shape, rows=rows, cols=cols)
        for case in cases:
            case.cost[1] += 300.0
        check(cases, tol, dtype, method=method)
        if cols != ("Fixed",):
            for case in cases:
                case.cost[:, 2] += 300.0
            check(cases, tol, dtype, method=method)


@pytest.mark.parametrize("shape", [(3, 5), (9, 14)])
@pytest.mark.parametrize("shift", [1e6, -1e6])
def test_an_offset_of_the_cost_changes_no_plan(shape, shift):
    arguments = stacked(random_cases(32, 3, *shape))
    moved = eot.solve(**arguments | {"cost": arguments["cost"] + shift}, tol=1e-8, on_failure="raise")
    plain = eot.solve(**arguments, tol=1e-8)
    np.testing.assert_allclose(moved.plan, plain.plan, rtol=0, atol=1e-7)  # shift / epsilon has rounding 2e-9


def test_columns_whose_sums_underflow_at_the_start():
    # the first rows are near one column only: all others get exp(-1000)
    for n, m in ((4, 4), (8, 20)):
        cost = costs(33, 3, n, m) * 0.1
        cost[:, :, 1:] += 100.0
        a, b = weights(34, 3, n), weights(35, 3, m)
        for dtype, tol in ((np.float64, 1e-9), (np.float32, 1e-5)):
            solution = eot.solve(cost.astype(dtype), a, b, epsilon=0.1, tol=tol, on_failure="raise")
            np.testing.assert_allclose(solution.row_marginal, a, rtol=0, atol=2 * tol)
            np.testing.assert_allclose(solution.col_marginal, b, rtol=0, atol=2 * tol)


def test_a_large_range_in_float32():
    for n, m in ((4, 4), (12, 10)):
        for cols in (("Fixed",), ("KL", 0.5)):
            check(random_cases(36, 3, n, m, epsilon=1e-4, cols=cols), 1e-5, np.float32)


@pytest.mark.parametrize("shape", [(4, 4), (9, 12)])
@pytest.mark.parametrize("cols", [("Fixed",), ("KL", 0.5), ("L2", 1.0)], ids=spec_id)
def test_weights_of_very_different_size(shape, cols):
    n, m = shape
    cases = random_cases(37, 3, n, m, cols=cols)
    for case in cases:
        case.a[:3] *= [1e-60, 1e-41, 1e-20]
        case.b[:2] *= [1e-50, 1e-30]
        case.b[:] *= case.a.sum() / case.b.sum()
    solution = check(cases, 1e-9)
    assert np.isfinite(solution.f).all()
    assert np.isfinite(solution.g).all()
    np.testing.assert_allclose(solution.row_marginal[:, 0], [case.a[0] for case in cases], rtol=1e-7)
    quick = eot.solve(**stacked(cases), on_failure="raise")  # in float32, within
    np.testing.assert_allclose(quick.f, solution.f, rtol=0, atol=1e-4)


@pytest.mark.parametrize("mass", [1e-6, 1e6])
@pytest.mark.parametrize(
    ("rows", "cols"), [(("Fixed",), ("Fixed",)), (("KL", 0.5), ("KL", 0.7)), (("Fixed",), ("TV", 1))]
)
def test_masses_far_from_one(rows, cols, mass):
    for n, m in ((3, 5), (8, 11)):
        check([c.but(a=c.a * mass, b=c.b * mass) for c in random_cases(38, 3, n, m, rows=rows, cols=cols)], 1e-9)


def test_unequal_masses_with_a_relaxed_side():
    for n, m in ((3, 5), (8, 11)):
        cases = random_cases(39, 4, n, m, rows=("KL", 0.5), cols=("KL", 0.2))
        check([c.but(a=c.a * 10.0**k) for k, c in enumerate(cases)], 1e-9)
