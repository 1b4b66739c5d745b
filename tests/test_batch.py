"""Many problems in one call: every one is solved as it would be alone."""

import numba
import numpy as np
import pytest
from array_libraries import LIBRARIES, library
from batches import agree, alone, check, random_cases, stacked
from hypothesis import given, settings
from hypothesis import strategies as st
from oracle import METHODS, PENALTIES, spec_id

import elastic_ot as eot
from elastic_ot.backends.batch import LANES

PAIRS = [pytest.param(rows, cols, id=f"{spec_id(rows)}/{spec_id(cols)}") for rows in PENALTIES for cols in PENALTIES]
STATUS = eot.Status


def costs(seed, *shape, dtype=np.float64):
    return np.random.default_rng(seed).random(shape).astype(dtype)


def weights(seed, *shape):
    found = np.random.default_rng(seed).uniform(0.2, 1.0, shape)
    return found / found.sum(axis=-1, keepdims=True)


# --- optimality -------------------------------------------------------------------------------------------------------


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


# --- hard problems ----------------------------------------------------------------------------------------------------


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


@pytest.mark.parametrize("method", ["auto", "log"])
@pytest.mark.parametrize("shape", [(4, 4), (7, 12)])
@pytest.mark.parametrize("rows", [("KL", 0.7), ("L2", 2.0), ("Elastic", 0.6), ("TV", 0.3), ("AtMost",)], ids=spec_id)
@pytest.mark.parametrize("cols", [("Fixed",), ("KL", 0.3)], ids=spec_id)
def test_potentials_of_outliers_are_found_though_their_mass_vanishes(shape, rows, cols, method):
    # exp(-range / epsilon) is below the smallest double, and the dual value rests on those potentials.
    if (rows, cols, method) == (("AtMost",), ("Fixed",), "log"):
        pytest.skip("sweeps need 1e5 iterations")
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


# --- shapes -----------------------------------------------------------------------------------------------------------


def test_a_shared_cost_with_many_strengths_of_the_entropy():
    cost, epsilon = costs(41, 6, 7), np.array([0.05, 0.1, 1.0])
    solution = eot.solve(cost, epsilon=epsilon, tol=1e-12)
    assert solution.plan.shape == (3, 6, 7)
    assert np.shares_memory(solution.problem.cost, cost)
    agree(solution, {"cost": cost, "epsilon": epsilon})


def test_a_shared_cost_with_many_weights():
    cost, a, b = costs(42, 5, 4), weights(43, 6, 5), weights(44, 4)
    solution = eot.solve(cost, a, b, epsilon=0.1, tol=1e-12)
    assert solution.f.shape == (6, 5)
    agree(solution, {"cost": cost, "a": a, "b": b, "epsilon": 0.1})


def test_shared_weights_with_many_costs():
    cost, a, b = costs(45, 2, 3, 5, 4), weights(46, 5), weights(47, 4)
    solution = eot.solve(cost, a, b, epsilon=0.1, tol=1e-12)
    assert solution.g.shape == (2, 3, 4)
    agree(solution, {"cost": cost, "a": a, "b": b, "epsilon": 0.1})


def test_leading_dimensions_broadcast():
    arguments = {
        "cost": costs(48, 5, 1, 3, 4),
        "a": weights(49, 7, 3),
        "epsilon": np.geomspace(0.05, 1.0, 5)[:, None],
        "cols": eot.KL(np.linspace(0.2, 1.0, 7)),
    }
    solution = eot.solve(**arguments, tol=1e-12)
    assert solution.plan.shape == (5, 7, 3, 4)
    agree(solution, arguments)


def test_a_batch_of_one_and_a_batch_without_dimensions():
    cost = costs(50, 4, 5)
    single = eot.solve(cost[:3], epsilon=0.1, tol=1e-12)
    for padded in (cost, np.where(np.arange(4)[:, None] < 3, cost, np.nan)):
        solution = eot.solve(padded, epsilon=0.1, tol=1e-12, row_lengths=3)
        assert solution.plan.shape == (4, 5)
        assert solution.gap.shape == solution.status.shape == solution.converged.shape == ()
        np.testing.assert_allclose(solution.plan[:3], single.plan, rtol=0, atol=1e-12)
        assert (solution.plan[3] == 0).all()
        assert solution.f[3] == -np.inf
        assert solution[()].plan.shape == (3, 5)
        assert "BatchSolution" in repr(solution)
        with pytest.raises(TypeError, match="length"):
            len(solution)
    one = eot.solve(cost[None], epsilon=0.1, tol=1e-12)
    np.testing.assert_allclose(one.plan[0], eot.solve(cost, epsilon=0.1, tol=1e-12).plan, rtol=0, atol=1e-12)


@settings(max_examples=30)
@given(data=st.data())
def test_any_shapes_that_broadcast(data):
    shape = tuple(data.draw(st.lists(st.integers(1, 3), max_size=2)))
    n, m = data.draw(st.integers(1, 5)), data.draw(st.integers(1, 15))

    def leading(at_least=0):
        cut = shape[data.draw(st.integers(0, len(shape))) :]
        return tuple(data.draw(st.sampled_from([1, size])) for size in cut)

    seed = data.draw(st.integers(0, 99))
    arguments = {
        "cost": costs(seed, *leading(), n, m),
        "a": weights(seed + 1, *leading(), n),
        "b": weights(seed + 2, *leading(), m),
        "epsilon": np.random.default_rng(seed).uniform(0.1, 1.0, shape),
    }
    kind = data.draw(st.sampled_from([eot.KL, eot.TV, eot.L2, eot.Elastic, None]))
    if kind is not None:
        arguments["rows"] = kind(np.random.default_rng(seed + 3).choice([0.0, 0.3, 0.7, 1.0], leading()))
    if not shape:
        return
    solution = eot.solve(**arguments, tol=1e-11, on_failure="raise")
    assert solution.plan.shape == (*shape, n, m)
    agree(solution, arguments, atol=1e-8)


# --- strengths per problem --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(3, 4), (9, 12)])
@pytest.mark.parametrize("side", ["rows", "cols"])
@pytest.mark.parametrize(
    "penalty",
    [
        eot.KL([0.0, 0.3, np.inf, 2.0]),
        eot.TV([0.0, 0.3, np.inf, 2.0]),
        eot.L2([0.0, 0.3, np.inf, 2.0]),
        eot.Elastic([0.0, 0.3, 1.0, 0.9]),
        eot.KL([np.inf] * 4),
        eot.Elastic([0.0] * 4),
        eot.Elastic([1.0] * 4),
        eot.TV([0.5, 0.6, 0.7, 0.8]),
        eot.L2(np.inf),
        eot.Elastic(1.0),
    ],
    ids=repr,
)
def test_strengths_and_their_ends_differ_from_problem_to_problem(penalty, side, shape):
    n, m = shape
    a, b = weights(51, 4, n), weights(52, 4, m)
    arguments = {"cost": costs(53, 4, n, m), "a": a, "b": b, "epsilon": np.array([0.05, 0.1, 0.2, 0.4])}
    for other in (eot.Fixed(), eot.KL(0.5), eot.KL([0.4, np.inf, 1.0, np.inf])):
        sides = {side: penalty, "cols" if side == "rows" else "rows": other}
        solution = eot.solve(**arguments, **sides, tol=1e-11, on_failure="raise")
        agree(solution, arguments | sides, atol=1e-8)
        for k in range(4):  # certificates, too
            single = alone((k,), (4,), **arguments, **sides, init=(solution.f[k], solution.g[k]), tol=1e-11)
            np.testing.assert_allclose(solution.dual_value[k], single.dual_value, rtol=1e-9, atol=1e-12)
            assert solution.gap[k] >= 0
            assert solution.gap[k] < 1e-8


# --- shorter problems, zero weights, forbidden cells ------------------------------------------------------------------


@pytest.mark.parametrize("garbage", [np.nan, np.inf, -np.inf, 1e300, 7.0])
@pytest.mark.parametrize("shape", [(5, 6), (11, 9)])
@pytest.mark.parametrize("cols", [eot.Fixed(), eot.KL(0.5)], ids=["fixed", "kl"])
def test_shorter_problems_are_the_trimmed_ones(cols, shape, garbage):
    n, m = shape
    rng = np.random.default_rng(61)
    cost, a, b = rng.random((4, n, m)), rng.uniform(0.2, 1, (4, n)), rng.uniform(0.2, 1, (4, m))
    row_lengths, col_lengths = np.array([n, 2, 1, n - 1]), np.array([m - 1, m, 3, 1])
    epsilon = 0.1
    for k, (p, q) in enumerate(zip(row_lengths, col_lengths, strict=True)):
        for beyond in (cost[k, p:], cost[k, :, q:], a[k, p:], b[k, q:]):
            beyond[:] = garbage
        a[k, :p] /= a[k, :p].sum()
        b[k, :q] /= b[k, :q].sum()
    lengths = {"row_lengths": row_lengths, "col_lengths": col_lengths}
    given_weights = eot.solve(cost, a, b, epsilon=epsilon, cols=cols, tol=1e-12, on_failure="raise", **lengths)
    uniform = eot.solve(cost, epsilon=epsilon, cols=cols, tol=1e-12, on_failure="raise", **lengths)
    with np.errstate(over="ignore"):
        single_cost = cost.astype(np.float32)
    quick = eot.solve(single_cost, epsilon=epsilon, cols=cols, on_failure="raise", **lengths)
    budget = eot.solve(cost, epsilon=epsilon, cols=cols, tol=0, max_iter=3, **lengths)
    for k, (p, q) in enumerate(zip(row_lengths, col_lengths, strict=True)):
        corner = cost[k, :p, :q]
        one = eot.solve(corner, a[k, :p], b[k, :q], epsilon=epsilon, cols=cols, tol=1e-12)
        two = eot.solve(corner, epsilon=epsilon, cols=cols, tol=1e-12)
        three = eot.solve(corner, epsilon=epsilon, cols=cols, tol=0, max_iter=3)
        for solution, single, atol in (
            (given_weights, one, 1e-11),
            (uniform, two, 1e-11),
            (quick, two, 1e-5),
            (budget, three, 1e-13),
        ):
            plan = np.zeros((n, m))
            plan[:p, :q] = single.plan
            np.testing.assert_allclose(solution.plan[k], plan, rtol=0, atol=atol)
            assert (solution.plan[k][p:] == 0).all()
            assert (solution.plan[k][:, q:] == 0).all()
            assert (solution.f[k, p:] == -np.inf).all()
            assert (solution.g[k, q:] == -np.inf).all()
            assert (solution.row_marginal[k, p:] == 0).all()
            assert (solution.col_marginal[k, q:] == 0).all()
            np.testing.assert_allclose(solution.value[k], single.value, rtol=2e-5)
            np.testing.assert_allclose(solution.transport_cost[k], single.transport_cost, rtol=2e-5)
            assert solution[k].plan.shape == (p, q)
            np.testing.assert_allclose(solution[k].value, solution.value[k], rtol=1e-12)
            assert solution.rounded_plan()[k].shape == (n, m)


def test_zero_weights_remove_their_row():
    for n, m in ((4, 5), (10, 9)):
        cost, a, b = costs(62, 3, n, m), weights(63, 3, n), weights(64, 3, m)
        a[0, 1] = a[2, 0] = b[1, 3] = 0.0
        a, b = a / a.sum(axis=1, keepdims=True), b / b.sum(axis=1, keepdims=True)
        arguments = {"cost": cost, "a": a, "b": b, "epsilon": 0.1}
        for options in ({}, {"rows": eot.KL(0.5)}, {"rows": eot.TV([0.0, 0.5, np.inf])}, {"reference": "counting"}):
            solution = eot.solve(**arguments, **options, tol=1e-12, on_failure="raise")
            agree(solution, arguments | options, atol=1e-10)
            assert solution.f[0, 1] == solution.f[2, 0] == solution.g[1, 3] == -np.inf
            assert (solution.plan[0, 1] == 0).all()


@pytest.mark.parametrize("shape", [(4, 5), (9, 12)])
@pytest.mark.parametrize("leading", [(), (3,), (1,), (2, 1)])
def test_masks_and_infinite_costs_forbid_cells(leading, shape):
    rng = np.random.default_rng(65)
    mask = rng.random((*leading, *shape)) > 0.1
    mask[..., 0, :] = mask[..., :, 0] = True
    cost = costs(66, 3, *shape)
    arguments = {"cost": cost, "a": weights(67, 3, shape[0]), "epsilon": np.array([0.1, 0.2, 0.4]), "mask": mask}
    for options in ({}, {"rows": eot.KL(0.5), "cols": eot.AtMost()}, {"cols": eot.Free(), "reference": "counting"}):
        solution = eot.solve(**arguments, **options, tol=1e-11, on_failure="raise")
        agree(solution, arguments | options, atol=1e-9)
        assert (solution.plan[~np.broadcast_to(mask, solution.plan.shape)] == 0).all()
        infinite = np.where(mask, cost, np.inf)
        same = eot.solve(**arguments | options | {"cost": infinite, "mask": None}, tol=1e-11)
        np.testing.assert_array_equal(same.plan, solution.plan)


def test_a_shared_cost_with_masks_of_its_own_for_every_problem():
    mask = np.random.default_rng(68).random((3, 4, 5)) > 0.2
    mask[:, 0] = mask[:, :, 0] = True
    arguments = {"cost": costs(69, 4, 5), "epsilon": 0.2, "mask": mask}
    agree(eot.solve(**arguments, tol=1e-12), arguments)


def test_rows_without_an_allowed_cell_are_removed_where_that_is_possible():
    cost = costs(70, 3, 4, 5)
    cost[1, 2] = np.inf
    for rows in (eot.KL(0.5), eot.KL([0.5, 1.0, np.inf]), eot.TV(1.0), eot.L2(1.0), eot.AtMost(), eot.Elastic(0.4)):
        arguments = {"cost": cost, "epsilon": 0.1, "rows": rows, "cols": eot.KL(1.0)}
        solution = eot.solve(**arguments, tol=1e-11, on_failure="raise")
        assert solution.f[1, 2] == -np.inf
        agree(solution, arguments, atol=1e-8)


# --- inputs -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, np.int32, np.int64, np.uint8, np.bool_])
def test_dtypes(dtype):
    cost = (costs(71, 3, 4, 5) * 4).astype(dtype)
    solution = eot.solve(cost, epsilon=2.0, tol=1e-6)
    assert solution.plan.dtype == (np.float32 if dtype in (np.float16, np.float32) else np.float64)
    agree(solution, {"cost": cost.astype(np.float64), "epsilon": 2.0}, atol=3e-6)


def test_strides_do_not_matter():
    cost = costs(72, 3, 6, 7)
    plain = eot.solve(cost, epsilon=0.1)
    frozen = cost.copy()
    frozen.flags.writeable = False
    for given_cost in (
        np.asfortranarray(cost),
        np.ascontiguousarray(cost.transpose(0, 2, 1)).transpose(0, 2, 1),
        np.repeat(cost, 2, axis=0)[::2],
        np.repeat(cost, 2, axis=2)[:, :, ::2],
        frozen,
        cost.tolist(),
    ):
        np.testing.assert_array_equal(eot.solve(given_cost, epsilon=0.1).plan, plain.plan)
    np.testing.assert_array_equal(frozen, cost)
    assert np.shares_memory(eot.solve(frozen, epsilon=0.1).problem.cost, frozen)


def test_nothing_that_is_given_is_changed():
    arguments = stacked(random_cases(73, 3, 4, 5))
    copies = {name: np.array(arguments[name]) for name in ("cost", "a", "b", "epsilon")}
    start = np.zeros((3, 4)), np.zeros((3, 5))
    solution = eot.solve(**arguments, mask=np.ones((4, 5), bool), init=start)
    solution.transport_cost, solution.gap, solution.plan  # noqa: B018
    for name, copy in copies.items():
        np.testing.assert_array_equal(arguments[name], copy)
    assert not start[0].any()
    assert not start[1].any()


@pytest.mark.parametrize("name", LIBRARIES)
def test_results_are_of_the_cost_s_library(name):
    xp = library(name)
    cases = random_cases(74, 3, 4, 5)
    arguments = stacked(cases)
    given_arrays = {key: xp.make(arguments[key]) for key in ("cost", "a", "b", "epsilon")}
    solution = eot.solve(**given_arrays, mask=xp.make(np.ones((3, 4, 5), bool)), row_lengths=xp.make([4, 4, 4]))
    ones = xp.make(np.ones((3, 5, 2), np.float64 if name != "jax" else np.float32))
    arrays = solution.f, solution.g, solution.row_marginal, solution.col_marginal, solution.plan
    for array in (*arrays, solution.rounded_plan(), solution.apply(ones)):
        assert isinstance(array, xp.kind)
    single = solution[1]
    for array in (single.f, single.g, single.row_marginal, single.plan):
        assert isinstance(array, xp.kind)
    np.testing.assert_allclose(xp.read(single.plan), cases[1].solve().plan, rtol=0, atol=5e-6)
    assert isinstance(solution.gap, np.ndarray)
    single = eot.solve(xp.make(arguments["cost"].astype(np.float32)), epsilon=0.1)
    assert single.plan.dtype == xp.make(np.zeros(1, np.float32)).dtype
    if "numpy" not in name:
        assert single.f.dtype == single.plan.dtype
        with pytest.raises(TypeError, match="cost is a"):
            single.apply(np.ones((5, 1)))


# --- limits, failures, warm starts ------------------------------------------------------------------------------------

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
    np.testing.assert_allclose(solution.row_marginal, 1 / 5, atol=1e-9 if method == "newton" else 1e-12)
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
                agree(eot.solve(**arguments, tol=1e-10, init=init, on_failure="raise"), arguments, atol=1e-8)
                init = np.zeros(n), start * np.arange(m)
                agree(eot.solve(**arguments, tol=1e-10, init=init, on_failure="raise"), arguments, atol=1e-8)


# --- independence -----------------------------------------------------------------------------------------------------

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


# --- the solution -----------------------------------------------------------------------------------------------------


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
