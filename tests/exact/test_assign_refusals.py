"""What `assign` refuses: bad input, named, and forbidden pairs that leave no assignment, with those that compete."""

import re

import array_api_strict
import numpy as np
import pytest
from scipy import sparse
from scipy.optimize import linear_sum_assignment
from scipy.sparse.csgraph import maximum_bipartite_matching

import elastic_ot as eot
from elastic_ot.api import assign as unregularised
from helpers.assignments import assert_as_cheap_as_scipy, assert_proved, begin_with_few_cells, choose_cells

INF = np.inf


@pytest.fixture(autouse=True, scope="module", params=["scipy", "all cells", "few cells", "grown"])
def solver(request):
    """Whoever would solve the problem."""
    with pytest.MonkeyPatch.context() as patch:
        if request.param != "scipy":
            patch.setattr(unregularised, "SMALL", 0)
        if request.param == "few cells":
            choose_cells(patch)
        if request.param == "grown":
            begin_with_few_cells(patch)
        yield request.param


def refused(error, *parts, cost, **options):
    """Assert that the call raises `error` with every part in its one-line message."""
    with pytest.raises(error) as caught:
        eot.assign(cost, **options)
    message = str(caught.value)
    for part in parts:
        assert re.search(part, message), f"{part!r} is not in {message!r}"
    assert "\n" not in message
    return message


def spoiled(value, order="C", dtype=float):
    cost = np.ones((3, 4), dtype, order)
    cost[1, 2] = value
    return cost


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("maximize", [False, True])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_nan_is_named(order, maximize, dtype):
    refused(ValueError, r"cost\[1, 2\] is nan", cost=spoiled(np.nan, order, dtype), maximize=maximize)


def test_nan_under_a_mask_is_a_mistake_as_well():
    cost = spoiled(np.nan)
    refused(ValueError, r"cost\[1, 2\] is nan", cost=cost, mask=~np.isnan(cost))


@pytest.mark.parametrize("order", ["C", "F"])
def test_an_infinity_that_would_always_be_chosen_is_named(order):
    refused(ValueError, r"cost\[1, 2\] is -inf", cost=spoiled(-INF, order))
    refused(ValueError, r"cost\[1, 2\] is inf", "maximize", cost=spoiled(INF, order), maximize=True)


@pytest.mark.parametrize(
    ("value", "dtype"), [(2**50 + 1, np.int64), (-(2**50) - 1, np.int64), (-(2**63), np.int64), (2**64 - 1, np.uint64)]
)
def test_integers_that_float64_cannot_hold_are_named(value, dtype):
    refused(ValueError, rf"cost\[1, 2\] is {value}\b", r"2\*\*50", cost=spoiled(value, dtype=dtype))


@pytest.mark.parametrize("value", [2**50, -(2**50)])
def test_integers_that_float64_just_holds_are_no_mistake(value):
    assert eot.assign(spoiled(value, dtype=np.int64)).gap == 0


@pytest.mark.parametrize("shape", [(), (5,), (2, 2, 3, 4)])
def test_a_cost_that_is_no_matrix(shape):
    refused(ValueError, r"\bcost\b", "matrix", re.escape(str(shape)), cost=np.zeros(shape))


@pytest.mark.parametrize(
    ("cost", "shown"),
    [
        (np.zeros((2, 3), complex), "complex"),
        (np.array([["a", "b"], ["c", "d"]]), "U1"),
        (np.array([[object()]]), "object"),
        (np.zeros((2, 2), "M8[s]"), "datetime"),
        (sparse.csr_array(np.eye(3)), "csr_array"),
        (np.ma.masked_array(np.eye(3)), "mask"),
        ([[1.0, 2.0], [3.0]], "rectangular"),
        (None, "cost"),
    ],
)
def test_a_cost_that_is_no_array_of_real_numbers(cost, shown):
    refused((TypeError, ValueError), r"\bcost\b", shown, cost=cost)


def test_a_mask_of_the_wrong_shape_or_type():
    refused(ValueError, "mask", r"\(4, 3\)", r"\(3, 4\)", cost=np.ones((3, 4)), mask=np.ones((4, 3), bool))
    refused(TypeError, "mask", "bool", cost=np.ones((3, 4)), mask=np.ones((3, 4)))
    foreign = array_api_strict.ones((3, 4), dtype=array_api_strict.bool)
    refused(TypeError, "mask", "array_api_strict", cost=np.ones((3, 4)), mask=foreign)


def test_arrays_of_other_libraries_are_read():
    cost = np.array([[4.0, 1.0, 3.0], [2.0, 0.0, 5.0], [3.0, 2.0, 2.0]])
    assert eot.assign(array_api_strict.asarray(cost)).col_ind.tolist() == [1, 0, 2]


def test_mask_is_a_keyword():
    with pytest.raises(TypeError):
        eot.assign(np.eye(2), False, np.ones((2, 2), bool))


@pytest.mark.parametrize("order", ["C", "F"])
def test_a_line_of_the_shorter_side_without_an_allowed_pair_is_named(order):
    square = np.where(np.arange(3) == 1, INF, np.ones((3, 3)))
    refused(eot.InfeasibleError, r"\bcolumn 1\b", cost=square.copy(order))
    refused(eot.InfeasibleError, r"\brow 1\b", cost=square.T.copy(order))
    mask = np.repeat([[True], [False], [True]], 4, axis=1)
    refused(eot.InfeasibleError, r"\brow 1\b", cost=spoiled(2.0, order), mask=mask)
    refused(eot.InfeasibleError, r"\brow 1\b", cost=-square.T.copy(order), maximize=True)


def test_a_line_of_the_longer_side_without_an_allowed_pair_is_left_over():
    cost = np.array([[4.0, INF, 3.0], [2.0, INF, 5.0]])
    for matrix, allowed in ((cost, None), (np.where(np.isinf(cost), 0.0, cost), np.isfinite(cost))):
        assert eot.assign(matrix, mask=allowed).col_ind.tolist() == [2, 0]
        assert_proved(eot.assign(matrix, mask=allowed), matrix, mask=allowed)
        transposed = None if allowed is None else allowed.T
        assert eot.assign(matrix.T, mask=transposed).row_ind.tolist() == [0, 2]
        assert_proved(eot.assign(matrix.T, mask=transposed), matrix.T, mask=transposed)


PREFIX = r"^cost matrix is infeasible: "  # SciPy's
COMPETITION = re.compile(
    PREFIX + r"(rows|columns) \[([\d, ]+)\] have allowed cells in (?:rows|columns) \[([\d, ]+)\] only"
)


def assert_compete(message, allowed):
    """The message names lines of one side with fewer partners than they are, or a line without any."""
    alone = re.match(PREFIX + r"(row|column) (\d+)", message)
    if alone:
        assert not (allowed if alone[1] == "row" else allowed.T)[int(alone[2])].any()
        return
    found = COMPETITION.match(message)
    assert found, message
    members, partners = (np.array([int(k) for k in found[group].split(",")]) for group in (2, 3))
    reached = (allowed if found[1] == "rows" else allowed.T)[members].any(axis=0)
    assert np.flatnonzero(reached).tolist() == partners.tolist()
    assert np.unique(members).size == members.size > partners.size


@pytest.mark.parametrize("maximize", [False, True])
def test_rows_or_columns_that_compete_for_fewer_partners_are_named(maximize):
    cost = np.array([[1.0, 9.0, INF, INF], [2.0, 8.0, INF, INF], [3.0, 7.0, INF, INF], [4.0, 6.0, 5.0, 5.0]])
    sign = -1.0 if maximize else 1.0
    wide = np.column_stack([cost, [INF, INF, INF, 5.0]])
    for matrix in (cost, cost.T, np.asfortranarray(cost), wide, wide.T):
        assert_compete(refused(eot.InfeasibleError, cost=sign * matrix, maximize=maximize), np.isfinite(matrix))


def test_the_longer_side_s_lines_do_not_replace_each_other():
    """Two rows whose only column is the same, beside columns that nobody may take."""
    cost = np.array([[1.0, INF, INF], [2.0, INF, INF]])
    assert_compete(refused(eot.InfeasibleError, cost=cost), np.isfinite(cost))
    assert_compete(refused(eot.InfeasibleError, cost=cost.T), np.isfinite(cost.T))


@pytest.mark.parametrize("shape", [(6, 6), (9, 9), (5, 8), (8, 5)])
@pytest.mark.parametrize("share", [0.15, 0.25, 0.4])
def test_there_is_an_assignment_or_a_reason_why_not(shape, share):
    """Hall's theorem; at most 9 lines a side, so that messages list all of them."""
    for seed in range(60):
        rng = np.random.default_rng([seed, *shape])
        cost, allowed = rng.random(shape), rng.random(shape) < share
        size = (maximum_bipartite_matching(sparse.csr_array(allowed)) >= 0).sum()
        if size < min(shape):
            assert_compete(refused(eot.InfeasibleError, cost=cost, mask=allowed), allowed)
            refused(eot.InfeasibleError, cost=np.where(allowed, cost, INF))
        else:
            assert_proved(eot.assign(cost, mask=allowed), cost, mask=allowed)
            assert_as_cheap_as_scipy(eot.assign(cost, mask=allowed), cost, mask=allowed)


def test_a_long_list_of_competitors_is_cut_short():
    cost = np.ones((40, 40))
    cost[:30, 20:] = INF
    message = refused(eot.InfeasibleError, r"\.\.\.\]", cost=cost)
    rows, columns = map(int, re.search(r"\((\d+) rows, (\d+) columns\)", message).groups())
    assert 30 >= rows > columns == 20
    assert len(message) < 300


def test_infeasible_is_a_value_error():
    with pytest.raises(ValueError, match="forbidden"):
        eot.assign(np.full((3, 3), INF))


NAN = float("nan")


@pytest.mark.parametrize(
    "cost",
    [
        [1, 2, 3],
        np.zeros(()),
        np.zeros((2, 2, 2, 2)),
        np.eye(3).astype(str),
        np.eye(3) * 1j,
        np.diag([NAN, 1, 1]),
        np.diag([1, -INF, 1]),
        np.full((2, 3), INF),
        np.where(np.arange(3) == 0, INF, np.eye(3)),
        [[1.0, INF, INF], [2.0, INF, INF], [3.0, 4.0, 5.0]],
    ],
    ids=str,
)
def test_scipys_own_words_come_first(cost):
    """Those of the installed version, whichever it is."""
    with pytest.raises((ValueError, TypeError)) as its:
        linear_sum_assignment(cost)
    message = refused(type(its.value), cost=cost)
    assert message.startswith(f"{its.value}: ")
    assert len(message) > len(str(its.value)) + 20


def test_scipys_words_for_the_largest_sum():
    cost = np.diag([1.0, INF, 1.0])
    with pytest.raises(ValueError, match="invalid") as its:
        linear_sum_assignment(cost, maximize=True)
    assert refused(ValueError, cost=cost, maximize=True).startswith(str(its.value))


def test_mistakes_that_scipy_does_not_see_are_named_in_our_words_alone():
    assert refused(ValueError, cost=np.full((2, 2), 2**52)).startswith("cost[0, 0]")
    assert refused(ValueError, cost=np.eye(3), mask=np.ones((2, 2), bool)).startswith("mask")
