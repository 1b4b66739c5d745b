"""Lists of problems of different sizes: each has the answer that it has alone."""

import numpy as np
import pytest
import scipy.optimize

import elastic_ot as eot
from helpers.array_libraries import LIBRARIES, library

RNG = np.random.default_rng(0)
SIZES = [(5, 4), (3, 6), (1, 2), (7, 7)]
COSTS = [RNG.random(size) for size in SIZES]
AS = [RNG.dirichlet(np.ones(n)) for n, _ in SIZES]
BS = [RNG.dirichlet(np.ones(m)) for _, m in SIZES]
MASKS = [RNG.random(size) < 0.9 for size in SIZES]


def alone(k, **options):
    return eot.solve(COSTS[k], AS[k], BS[k], epsilon=0.1, tol=1e-10, **options)


@pytest.mark.parametrize("options", [{}, {"cols": eot.KL(0.5)}, {"rows": eot.TV(0.5), "cols": eot.Free()}])
def test_each_problem_is_solved_as_it_is_alone(options):
    many = eot.solve(COSTS, AS, BS, epsilon=0.1, tol=1e-10, **options)
    assert isinstance(many, eot.BatchSolution)
    assert len(many) == len(COSTS)
    assert many.converged.all()
    for k, one in enumerate(many):
        expected = alone(k, **options)
        assert one.plan.shape == SIZES[k]
        assert np.allclose(one.plan, expected.plan, atol=1e-9)
        assert np.allclose(one.row_marginal, expected.row_marginal, atol=1e-9)
        assert many.value[k] == pytest.approx(expected.value, abs=1e-9)


def test_arrays_are_padded_with_what_changes_nothing():
    many = eot.solve(COSTS, AS, BS, epsilon=0.1)
    assert many.plan.shape == (4, 7, 7)
    for k, (n, m) in enumerate(SIZES):
        assert many.plan[k].sum() == pytest.approx(many.plan[k, :n, :m].sum(), rel=1e-15)
        assert np.isneginf(many.f[k, n:]).all()
        assert np.isneginf(many.g[k, m:]).all()


def test_weights_that_are_left_out_are_uniform():
    many = eot.solve(COSTS, epsilon=0.1)
    for cost, one in zip(COSTS, many, strict=True):
        assert np.allclose(one.plan, eot.solve(cost, epsilon=0.1).plan, atol=1e-6)
    some = eot.solve(COSTS, [None, AS[1], None, None], epsilon=0.1)
    assert np.allclose(some[1].row_marginal, AS[1], atol=1e-6)
    assert np.allclose(some[0].row_marginal, 0.2, atol=1e-6)


def test_masks_epsilons_and_budgets_of_each():
    epsilons = [0.1, 0.2, 0.3, 0.4]
    many = eot.solve(COSTS, AS, BS, epsilon=epsilons, mask=MASKS, cols=eot.KL(1.0), rows=eot.KL(1.0), tol=1e-10)
    relaxed = {"cols": eot.KL(1.0), "rows": eot.KL(1.0), "tol": 1e-10}
    for k, one in enumerate(many):
        expected = eot.solve(COSTS[k], AS[k], BS[k], epsilon=epsilons[k], mask=MASKS[k], **relaxed)
        assert np.allclose(one.plan, expected.plan, atol=1e-9)
    budget = eot.solve(COSTS, AS, BS, epsilon=0.1, tol=0, max_iter=3)
    for k, one in enumerate(budget):
        expected = eot.solve(COSTS[k], AS[k], BS[k], epsilon=0.1, tol=0, max_iter=3)
        assert np.allclose(one.plan, expected.plan, atol=1e-12)


def test_a_relative_epsilon_is_of_each():
    found = eot.solve(COSTS[:2], epsilon="0.1x").epsilon
    assert np.allclose(found, [0.1 * np.ptp(cost) for cost in COSTS[:2]], rtol=1e-12)


def test_a_solution_of_a_list_is_a_start_for_it():
    first = eot.solve(COSTS, AS, BS, epsilon=0.1, tol=1e-10)
    again = eot.solve(COSTS, AS, BS, epsilon=0.1, tol=1e-8, init=first)
    assert (again.n_iter <= first.n_iter).all()


@pytest.mark.parametrize("same", [[COSTS[0], 2 * COSTS[0]], [COSTS[0].tolist(), (2 * COSTS[0]).tolist()]])
def test_a_list_of_one_size_is_a_stack(same):
    many, stack = eot.solve(same, epsilon=0.1), eot.solve(np.stack([COSTS[0], 2 * COSTS[0]]), epsilon=0.1)
    assert np.array_equal(many.plan, stack.plan)
    assert np.array_equal(eot.exact(same).value, eot.exact(np.stack([COSTS[0], 2 * COSTS[0]])).value)


def test_rows_in_a_list_are_one_matrix():
    rows = list(COSTS[0])
    assert isinstance(eot.solve(rows, epsilon=0.1), eot.Solution)
    assert isinstance(eot.exact(rows), eot.ExactSolution)
    assert isinstance(eot.assign(rows), eot.Assignment)


def test_nested_lists_of_different_sizes():
    nested = [cost.tolist() for cost in COSTS]
    assert np.array_equal(eot.solve(nested, epsilon=0.1).plan, eot.solve(COSTS, epsilon=0.1).plan)
    assert np.array_equal(eot.exact(nested).value, eot.exact(COSTS).value)


def test_clouds_of_different_sizes():
    points = [RNG.random((n, 2)) for n in (9, 5, 12)]
    clouds = [eot.PointCloud(x, x[:4] + 1.0) for x in points]
    many = eot.solve(clouds, epsilon=0.1, tol=1e-9)
    proofs = eot.exact(clouds)
    for cloud, one, proof in zip(clouds, many, proofs, strict=True):
        assert np.allclose(one.plan, eot.solve(cloud, epsilon=0.1, tol=1e-9).plan, atol=1e-8)
        assert proof.value == pytest.approx(eot.exact(cloud).value, abs=1e-12)
    with pytest.raises(ValueError, match=r"cost\[1\] is PointCloud.*with one metric"):
        eot.solve([clouds[0], eot.PointCloud(points[1], metric="euclidean")], epsilon=0.1)


@pytest.mark.parametrize("name", LIBRARIES)
def test_results_are_of_the_library_of_the_list(name):
    lib = library(name)
    many = eot.solve([lib.make(cost) for cost in COSTS], [lib.make(a) for a in AS], epsilon=0.1)
    assert isinstance(many.plan, lib.kind)
    assert np.allclose(lib.read(many[1].plan), eot.solve(COSTS[1], AS[1], epsilon=0.1).plan, atol=1e-5)


def test_exact_plans_of_each_by_scipy():
    many = eot.exact(COSTS, AS, BS)
    assert repr(many) == "BatchExactSolution(4 problems up to 7 x 7, OPTIMAL)"
    for k, (n, m) in enumerate(SIZES):
        sums = np.vstack([np.kron(np.eye(n), np.ones(m)), np.kron(np.ones(n), np.eye(m))])
        linear = scipy.optimize.linprog(COSTS[k].ravel(), A_eq=sums, b_eq=np.append(AS[k], BS[k]))
        assert many[k].value == pytest.approx(linear.fun, abs=1e-9)
        assert many[k].plan.shape == (n, m)
        assert np.array_equal(many.plan[k, :n, :m], many[k].plan)
        assert np.isneginf(many.f[k, n:]).all()
        assert np.array_equal(many.g[k, :m], many[k].g)
    assert many.plan.shape == (4, 7, 7)
    assert many.value.shape == many.gap.shape == (4,)


def test_exact_masks_and_masses_of_each():
    masks = [np.ones(size, bool) for size in SIZES]
    masks[0][0, 0] = False
    found = eot.exact(COSTS, AS, BS, mask=masks, mass=[0.5, 0.4, 0.3, 0.2])
    for k, one in enumerate(found):
        assert one.value == pytest.approx(eot.exact(COSTS[k], AS[k], BS[k], mask=masks[k], mass=0.5 - 0.1 * k).value)


@pytest.mark.parametrize("maximize", [False, True])
def test_assignments_of_each_by_scipy(maximize):
    many = eot.assign(COSTS, maximize)
    assert isinstance(many, eot.BatchAssignment)
    assert repr(many) == "BatchAssignment(4 problems, 1 to 7 pairs each, OPTIMAL)"
    for k, (cost, one) in enumerate(zip(COSTS, many, strict=True)):
        rows, cols = scipy.optimize.linear_sum_assignment(cost, maximize)
        assert one.cost == many.cost[k] == pytest.approx(cost[rows, cols].sum(), abs=1e-12)
        pairs = rows.size
        assert np.array_equal(many.col_ind[k, :pairs], one.col_ind)
        assert (many.col_ind[k, pairs:] == -1).all()
        assert np.array_equal(many.u[k, : SIZES[k][0]], one.u)
        assert np.isnan(many.v[k, SIZES[k][1] :]).all()
    assert (many.gap < 1e-12).all()
    assert len(many[1:3]) == 2


def test_assignments_with_a_limit_and_masks_of_each():
    limited = eot.assign(COSTS, cost_limit=0.2)
    for cost, one in zip(COSTS, limited, strict=True):
        assert one.cost == pytest.approx(eot.assign(cost, cost_limit=0.2).cost)
    masks = [np.ones(size, bool) for size in SIZES]
    masks[3][0, 0] = False
    masked = eot.assign(COSTS, mask=masks)
    assert masked[3].cost == pytest.approx(eot.assign(COSTS[3], mask=masks[3]).cost)


def test_integers_stay_integers():
    found = eot.assign([np.array([[4, 1], [2, 0]]), np.array([[5, 3, 9]])])
    assert found.cost.tolist() == [3, 3]
    assert found.cost.dtype.kind == "i"


def solved(cost, *weights, **options):
    return eot.solve(cost, *weights, epsilon=0.1, **options)


NANS, INFS, ONE_CLOUD = np.full((2, 2), np.nan), np.full((2, 2), np.inf), eot.PointCloud(AS[0][:, None])
WRONG = {
    "another rank": (lambda: solved([COSTS[0], np.ones(3)]), r"cost\[1\] has shape \(3,\)"),
    "an empty one": (lambda: solved([COSTS[0], np.ones((0, 3))]), r"cost\[1\] has shape \(0, 3\)"),
    "other weights": (lambda: solved(COSTS, AS[::-1]), r"a\[0\] has shape \(7,\), cost\[0\] has 5"),
    "too few weights": (lambda: solved(COSTS, AS[:2]), "a is a list of 2 for 4 problems"),
    "too few weights of exact": (lambda: eot.exact(COSTS, AS[:2]), "a is a list of 2 for 4 problems"),
    "another mask": (lambda: solved(COSTS, mask=MASKS[::-1]), r"mask\[0\] has shape \(7, 7\)"),
    "lengths as well": (lambda: solved(COSTS, row_lengths=[1, 1, 1, 1]), "row_lengths is given and cost is a list"),
    "no number": (lambda: solved([COSTS[0], NANS]), r"cost\[1, 0, 0\] is nan"),
    "no plan": (lambda: eot.exact([COSTS[0], INFS]), "problem 1: every cell"),
    "a mixture": (lambda: solved([ONE_CLOUD, COSTS[0]]), r"cost\[1\] is a ndarray; .*PointClouds"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_is_named_with_its_number(name):
    call, message = WRONG[name]
    with pytest.raises(ValueError, match=message):
        call()
