"""Batches: shapes that broadcast, strengths per problem, shorter problems, masks, dtypes, strides and libraries."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import elastic_ot as eot
from helpers.array_libraries import LIBRARIES, library
from helpers.batches import agree, alone, costs, random_cases, stacked, weights


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
