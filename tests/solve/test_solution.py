"""Reading a result: the plan and everything that is computed from it."""

import copy
import pickle

import numpy as np
import pytest
from scipy.sparse import csr_array

import elastic_ot as eot
from helpers.oracle import METHODS, random_case

CASE = random_case(151, cols=("KL", 0.5), epsilon=0.03)


@pytest.fixture(params=["C", "F"])
def solution(request):
    case = CASE.but(cost=np.array(CASE.cost, order=request.param))
    return case.solve(tol=1e-9, on_failure="raise")


def test_plan_is_computed_once_and_is_the_formula(solution):
    assert solution.plan is solution.plan
    np.testing.assert_allclose(solution.plan, CASE.plan(solution.f, solution.g), rtol=1e-12, atol=1e-300)


def test_apply_is_the_product_with_the_plan(solution):
    rng = np.random.default_rng(152)
    x, y = rng.normal(size=17), rng.normal(size=(17, 3))
    np.testing.assert_allclose(solution.apply(x), solution.plan @ x, rtol=1e-12, atol=1e-15)
    np.testing.assert_allclose(solution.apply(y, axis=1), solution.plan @ y, rtol=1e-12, atol=1e-15)
    x, y = rng.normal(size=12), rng.normal(size=(12, 3))
    np.testing.assert_allclose(solution.apply(x, axis=0), solution.plan.T @ x, rtol=1e-12, atol=1e-15)
    np.testing.assert_allclose(solution.apply(y, axis=0), solution.plan.T @ y, rtol=1e-12, atol=1e-15)


def test_apply_takes_lists_integers_and_float32(solution):
    np.testing.assert_allclose(solution.apply([1] * 17), solution.row_marginal, rtol=1e-12)
    np.testing.assert_allclose(solution.apply(np.ones(17, dtype=np.float32)), solution.row_marginal, rtol=1e-12)


def test_apply_needs_no_plan():
    fresh = CASE.solve(tol=1e-9, on_failure="raise")
    rows = fresh.apply(np.ones(17))
    np.testing.assert_allclose(rows, fresh.row_marginal, rtol=1e-12)
    np.testing.assert_allclose(rows, fresh.plan.sum(axis=1), rtol=1e-12)


def test_removed_points_receive_and_send_nothing():
    a = CASE.a.copy()
    a[3] = 0.0
    solution = CASE.but(a=a / a.sum()).solve(tol=1e-9, on_failure="raise")
    assert solution.apply(np.ones(17))[3] == 0.0
    assert np.isfinite(solution.apply(np.ones(12), axis=0)).all()
    assert solution.row_marginal[3] == 0.0
    assert solution.sparse_plan(mass=1.0).toarray()[3].sum() == 0.0


@pytest.mark.parametrize("mass", [0.5, 0.9, 0.999, 1.0])
def test_sparse_plan_keeps_the_asked_share_of_every_row_and_column(solution, mass):
    sparse, plan = solution.sparse_plan(mass=mass), solution.plan
    assert isinstance(sparse, csr_array)
    assert sparse.shape == plan.shape
    dense = sparse.toarray()
    kept = dense > 0.0
    np.testing.assert_allclose(dense[kept], plan[kept], rtol=1e-12)
    assert dense.sum() >= mass * plan.sum() * (1 - 1e-12)
    if mass < 1.0:
        assert kept.sum() < plan.size
        # The largest entries are the ones that are kept: what is dropped in a row is below what is kept in it.
        for row, row_kept in zip(plan, kept, strict=True):
            if row_kept.any() and not row_kept.all():
                assert row[~row_kept].max() <= row[row_kept].max()


def test_default_sparse_plan_drops_a_thousandth_at_most(solution):
    assert solution.sparse_plan().sum() >= 0.999 * solution.plan.sum()


@pytest.mark.parametrize("method", METHODS)
def test_a_result_says_what_it_solved_and_how(method):
    solution = CASE.solve(method=method, tol=1e-9, on_failure="raise")
    assert solution.epsilon == CASE.epsilon
    assert solution.problem.epsilon == CASE.epsilon
    assert solution.method in METHODS
    assert solution.method != "auto"
    if method != "auto":
        assert solution.method == method
    text = repr(solution)
    assert len(text) < 1000
    assert "converged" in text.lower()


def test_scalars_are_python_floats(solution):
    names = ["transport_cost", "value", "dual_value", "gap", "marginal_error"]
    assert {name: type(getattr(solution, name)) for name in names} == dict.fromkeys(names, float)
    assert type(solution.n_iter) is int
    assert type(solution.converged) is bool
    assert type(solution.message) is str


def test_value_counts_every_term():
    solution = CASE.solve(tol=1e-11, on_failure="raise")
    plan = solution.rounded_plan()
    np.testing.assert_allclose(plan.sum(axis=1), CASE.a, rtol=1e-13)
    kl = (plan * np.log(plan / np.outer(CASE.a, CASE.b))).sum() - plan.sum() + CASE.a.sum() * CASE.b.sum()
    columns = plan.sum(axis=0)
    penalty = 0.5 * (columns * np.log(columns / CASE.b) - columns + CASE.b).sum()
    assert solution.value == pytest.approx((CASE.cost * plan).sum() + CASE.epsilon * kl + penalty, rel=1e-10)


def test_a_solution_survives_pickling(solution):
    import pickle

    copy = pickle.loads(pickle.dumps(solution))
    assert (copy.plan == solution.plan).all()
    assert copy.status is solution.status
    assert copy.gap == solution.gap


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))], ids=["copy", "pickle"])
@pytest.mark.parametrize("library", ["numpy", "array_api_strict"])
@pytest.mark.parametrize("shape", [(5, 4), (3, 5, 4)])
def test_solutions_and_batches_of_every_library_can_be_copied(shape, library, copied):
    xp = pytest.importorskip(library)
    cost = xp.asarray(np.random.default_rng(153).random(shape))
    try:
        copied(cost)
    except TypeError:
        pytest.skip("this version of the library does not copy its own arrays")
    found = eot.solve(cost, epsilon=0.1)
    again = copied(found)
    assert type(again.plan) is type(found.plan)
    np.testing.assert_array_equal(np.from_dlpack(again.plan), np.from_dlpack(found.plan))
    np.testing.assert_array_equal(again.vjp(plan=np.ones(shape)).epsilon, found.vjp(plan=np.ones(shape)).epsilon)


def test_a_share_of_mass_that_is_no_number_is_named(solution):
    with pytest.raises(TypeError, match="mass must be a real number, got 'all'"):
        solution.sparse_plan(mass="all")
