"""What one rank gets wrong is told to all: every rank raises, names the rank, and none waits for the others."""

import numpy as np
import pytest

import elastic_ot as eot
from helpers.ranks import on_ranks, parts

N, M = 30, 20
RNG = np.random.default_rng(0)
COST, A, B = RNG.random((N, M)), RNG.random(N) + 0.1, RNG.random(M) + 0.1
B *= A.sum() / B.sum()


def answers(size=3, odd=None, culprit=2, **options):
    """What every rank returns or raises; `odd` changes the arguments of one of them."""
    rows = parts(N, size, uneven=False)

    def work(comm):
        own = rows[comm.rank]
        given = {"cost": COST[own], "a": A[own], "b": B, "epsilon": 0.05} | options
        if comm.rank == culprit and odd is not None:
            given |= odd(given)
        return eot.solve(**given, comm=comm)

    return on_ranks(size, work)


def assert_all_raise(found, kind, *words):
    for error in found:
        assert isinstance(error, kind), error
        for word in words:
            assert word in str(error), error


BAD = {
    "nan in cost": (lambda given: {"cost": np.where(np.arange(M) == 4, np.nan, given["cost"])}, "cost[0, 4] is nan"),
    "negative weight": (lambda given: {"a": -given["a"]}, "weights must be finite and >= 0"),
    "too few weights": (lambda given: {"a": given["a"][1:]}, "cost has 10 rows"),
    "a list of words": (lambda given: {"a": ["x"] * 10}, "a"),
    "no such method": (lambda given: {"method": "guess"}, "method is 'guess'"),
    "epsilon": (lambda given: {"epsilon": -1.0}, "epsilon is -1.0"),
    "mask": (lambda given: {"mask": np.ones((2, 2), bool)}, "mask"),
    "a batch": (lambda given: {"cost": given["cost"][None]}, "comm splits the rows of one problem"),
    "start": (lambda given: {"init": (np.zeros(3), np.zeros(M))}, "init"),
    "a row without partners": (lambda given: {"cost": np.full((10, M), np.inf)}, "row 0 has only forbidden cells"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_on_one_rank_is_refused_by_all(name):
    odd, words = BAD[name]
    options = {"init": (np.zeros(10), np.zeros(M))} if name == "start" else {}
    assert_all_raise(answers(odd=odd, **options), ValueError | TypeError, "rank 2", words)


DIFFERENT = {
    "b": {"b": B * (1 + 1e-15)},
    "epsilon": {"epsilon": 0.06},
    "rows": {"rows": eot.KL(1.0)},
    "cols": {"cols": eot.TV(1.0)},
    "reference": {"reference": "counting"},
    "method": {"method": "log"},
    "tol": {"tol": 1e-7},
    "max_iter": {"max_iter": 77},
    "relaxation": {"relaxation": 1.2},
    "end": {"end": "cols"},
    "time_limit": {"time_limit": 1.0},
    "on_failure": {"on_failure": "raise"},
    "init": {"init": (np.zeros(10), np.zeros(M))},
}


@pytest.mark.parametrize("name", DIFFERENT)
def test_ranks_that_disagree_are_told_so(name):
    found = answers(odd=lambda given: DIFFERENT[name], culprit=1)
    assert_all_raise(found, ValueError, "rank 1 differs from rank 0", name)


def test_numbers_of_another_type_are_no_difference():
    same = {"epsilon": np.float64(0.05), "rows": eot.KL(np.float32(0.5)), "tol": np.float64(1e-6)}
    found = answers(odd=lambda given: same, rows=eot.KL(0.5))
    assert [solution.converged for solution in found] == [True] * 3


def test_ranks_with_other_columns_are_told_so():
    found = answers(odd=lambda given: {"cost": given["cost"][:, 1:]})
    assert_all_raise(found, ValueError, "19 columns on rank 2", "20 on rank 0")


def test_ranks_with_other_dtypes_are_told_so():
    found = answers(odd=lambda given: {"cost": given["cost"].astype(np.float32)})
    assert_all_raise(found, ValueError, "single precision")


def test_an_error_in_a_callback_ends_all():
    def fail(iteration, residual):
        if iteration == 3:
            raise ZeroDivisionError("oh")

    found = answers(odd=lambda given: {"callback": fail}, culprit=1)
    assert isinstance(found[1], ZeroDivisionError)
    assert_all_raise([found[0], found[2]], eot.RankError, "rank 1", "ZeroDivisionError", "oh")


def test_an_interrupt_in_a_callback_ends_all():
    def interrupt(iteration, residual):
        raise KeyboardInterrupt

    found = answers(odd=lambda given: {"callback": interrupt}, culprit=0)
    assert isinstance(found[0], KeyboardInterrupt)
    assert_all_raise(found[1:], eot.RankError, "rank 0", "KeyboardInterrupt")


def test_a_callback_of_one_rank_stops_all():
    stop = {"callback": lambda iteration, residual: iteration == 4}
    found = answers(odd=lambda given: stop, on_failure="ignore")
    assert [solution.status.name for solution in found] == ["STOPPED"] * 3
    assert [solution.n_iter for solution in found] == [4] * 3


class Failing(eot.Cost):
    """A cost that cannot be read any more after some blocks."""

    def __init__(self, rows, fails):
        self.shape, self.dtype, self.left = (rows, 1100), np.float64, 12 if fails else np.inf

    def block(self, rows, cols):
        self.left -= 1
        if self.left < 0:
            raise OSError("the disk is gone")
        i, j = np.arange(rows.start, rows.stop), np.arange(cols.start, cols.stop)
        return np.abs(np.sin(i[:, None] + 2.0 * j))


@pytest.mark.parametrize("method", ["log", "newton"])
def test_a_cost_that_fails_on_one_rank_ends_all(method):
    def work(comm):
        return eot.solve(Failing(500, comm.rank == 1), epsilon=0.05, method=method, comm=comm)

    assert_all_raise(on_ranks(3, work), ValueError, "rank 1", "the disk is gone")


def test_a_time_limit_is_that_of_all():
    found = answers(epsilon=1e-4, tol=1e-13, method="log", time_limit=0.02, max_iter=10**6, on_failure="ignore")
    assert [solution.status.name for solution in found] == ["TIME_LIMIT"] * 3
    assert len({solution.n_iter for solution in found}) == 1


def test_a_failed_solve_raises_everywhere():
    found = answers(epsilon=1e-3, tol=1e-13, method="log", max_iter=2, on_failure="raise")
    assert_all_raise(found, eot.ConvergenceError, "max_iter")


REFUSED = {
    "mass": ({"mass": 1.0}, "mass is searched for"),
    "multiscale": ({"method": "multiscale"}, "multiscale"),
    "a grid": ({"cost": eot.Grid((5, 4)), "a": None}, "Grid.block"),
    "lengths": ({"row_lengths": [3]}, "batch"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_needs_all_rows_at_once_is_refused_with_a_way_out(name):
    options, words = REFUSED[name]
    assert_all_raise(answers(**options), ValueError, words)


def test_methods_of_a_solution_that_need_all_rows_say_so():
    solution = answers()[0]
    for ask in ("sample", "sparse_plan", "rounded_plan", "bounds", "plot", "jvp", "hvp"):
        with pytest.raises(ValueError, match="this process has some"):
            getattr(solution, ask)(*([3] if ask == "sample" else []))


def test_products_with_a_wrong_vector_on_one_rank_are_refused_by_all():
    rows = parts(N, 3, uneven=False)

    def work(comm):
        own = rows[comm.rank]
        solution = eot.solve(COST[own], A[own], B, epsilon=0.05, comm=comm)
        return solution.apply(np.ones(9 if comm.rank == 1 else 10), axis=0)

    assert_all_raise(on_ranks(3, work), ValueError, "rank 1", "x has shape (9,)")


def test_what_is_no_communicator_is_refused():
    with pytest.raises(TypeError, match="comm is 3; it must be a communicator"):
        eot.solve(COST, epsilon=0.05, comm=3)


def test_an_infeasible_problem_is_refused_by_all():
    found = answers(b=2.0 * B)
    assert_all_raise(found, eot.InfeasibleError, "no plan has both")


def test_no_rows_anywhere_is_refused():
    assert_all_raise(answers(cost=None, a=None), ValueError, "cost has no rows on any process")
