"""What `exact` refuses: bad input and objectives without a minimum, named, and masks that leave no plan."""

import re

import numpy as np
import pytest
from scipy import sparse
from scipy.sparse.csgraph import maximum_flow

import elastic_ot as eot
from helpers.assignments import begin_with_few_cells
from helpers.oracle import make, spec_id

INF = np.inf


def refused(error, *parts, **changes):
    """Assert that a valid call with these changes raises `error` with every part in its one-line message."""
    arguments = {"cost": np.ones((4, 5)), "a": np.full(4, 0.25), "b": np.full(5, 0.2)} | changes
    with pytest.raises(error) as caught:
        eot.exact(arguments.pop("cost"), arguments.pop("a"), arguments.pop("b"), **arguments)
    message = str(caught.value)
    for part in parts:
        assert re.search(part, message), f"{part!r} is not in {message!r}"
    assert "\n" not in message
    return message


def spoiled(index, value, shape=(4, 5), order="C"):
    array = np.full(shape, 0.2, order=order)
    array[index] = value
    return array


@pytest.mark.parametrize("penalty", [eot.KL(1.0), eot.L2(2.0), eot.Elastic(0.5)])
@pytest.mark.parametrize("name", ["rows", "cols"])
def test_penalties_that_are_not_linear(penalty, name):
    refused(ValueError, rf"\b{name}\b", re.escape(repr(penalty)), "linear", **{name: penalty})


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize(
    ("rows", "cols", "least"),
    [
        (("Free",), ("Free",), 0.0),
        (("TV", 1.0), ("TV", 0.5), -1.5),
        (("TV", 1.0), ("Free",), -1.0),
        (("Free",), ("TV", 0.5), -0.5),
        (("Between", 0.5, INF), ("Free",), 0.0),
        (("Between", 0.5, INF), ("Between", 0.0, INF), 0.0),
    ],
    ids=spec_id,
)
def test_a_cell_that_earns_more_than_mass_costs(rows, cols, least, order):
    sides = {"rows": make(rows), "cols": make(cols)}
    refused(ValueError, r"cost\[2, 3\]", "bound", cost=spoiled((2, 3), least - 0.125, order=order), **sides)
    assert np.isfinite(eot.exact(spoiled((2, 3), least, order=order), **sides).value)


def test_a_forbidden_or_removed_cell_earns_nothing():
    sides = {"rows": eot.TV(1.0), "cols": eot.TV(1.0)}
    cost = spoiled((2, 3), -9.0)
    assert eot.exact(cost, mask=cost > 0.0, **sides).plan[2, 3] == 0.0
    assert eot.exact(cost, np.array([0.5, 0.5, 0.0, 0.5]), **sides).plan[2, 3] == 0.0


@pytest.mark.parametrize("order", ["C", "F"])
def test_costs_that_are_not_numbers(order):
    refused(ValueError, r"cost\[2, 3\] is nan", cost=spoiled((2, 3), np.nan, order=order))
    refused(ValueError, r"cost\[2, 3\] is nan", cost=spoiled((2, 3), np.nan), mask=~np.eye(4, 5, 1, dtype=bool))
    refused(ValueError, r"cost\[2, 3\] is -inf", cost=spoiled((2, 3), -INF, order=order))
    integers = np.ones((4, 5), np.int64, order)
    integers[2, 3] = -(2**50) - 1
    refused(ValueError, r"cost\[2, 3\] is -1125899906842625", r"2\*\*50", cost=integers)


@pytest.mark.parametrize("shape", [(), (5,), (2, 2, 4, 5), (0, 5), (4, 0)])
def test_costs_of_the_wrong_shape(shape):
    refused(ValueError, r"\bcost\b", re.escape(str(shape)), cost=np.zeros(shape), a=None, b=None)


def test_costs_of_the_wrong_type():
    refused(TypeError, r"\bcost\b", "complex", cost=np.ones((4, 5), complex))
    refused(TypeError, r"\bcost\b", "csr_array", cost=sparse.csr_array(np.ones((4, 5))))
    refused(TypeError, r"\bcost\b", "mask", cost=np.ma.masked_array(np.ones((4, 5))))


@pytest.mark.parametrize(("name", "size"), [("a", 4), ("b", 5)])
def test_bad_weights(name, size):
    for value in (np.nan, -0.2, INF):
        refused(ValueError, rf"\b{name}\[3\] is {value}", **{name: spoiled(3, value, size)})
    refused(ValueError, rf"\b{name}\b", "7", str(size), **{name: np.full(7, 0.1)})
    refused(ValueError, rf"\b{name}\b", "shape", **{name: 1.0})
    refused(ValueError, rf"\b{name} sums to 0", **{name: np.zeros(size)})
    refused(TypeError, rf"\b{name}\b", **{name: np.full(size, 0.2 + 0j)})


def test_a_mask_of_the_wrong_shape_or_type():
    refused(ValueError, "mask", r"\(5, 4\)", r"\(4, 5\)", mask=np.ones((5, 4), bool))
    refused(TypeError, "mask", "bool", mask=np.ones((4, 5)))


@pytest.mark.parametrize("name", ["rows", "cols"])
@pytest.mark.parametrize("value", ["fixed", 0.5, None, eot.TV])
def test_a_side_that_is_not_a_penalty(name, value):
    refused(TypeError, name, "penalt", **{name: value})


def test_options_of_the_entropic_problem():
    for option in ("epsilon", "tol", "reference", "method"):
        refused(TypeError, option, **{option: 1.0})


def test_masses_that_cannot_meet_are_shown():
    refused(eot.InfeasibleError, r"\ba\b", r"\bb\b", r"1\.5", b=np.full(5, 0.3))
    refused(eot.InfeasibleError, r"1\.00000000?2", b=np.full(5, 0.2 * (1.0 + 2e-9)))
    refused(eot.InfeasibleError, "AtMost", cols=eot.AtMost(), b=np.full(5, 0.1))
    refused(eot.InfeasibleError, "Between", rows=eot.Between(1.5, 2.0), cols=eot.AtMost())


def test_a_row_or_column_without_an_allowed_cell_is_named_if_it_must_carry_mass():
    mask = np.ones((4, 5), bool)
    mask[2] = False
    refused(eot.InfeasibleError, r"\brow 2\b", mask=mask)
    refused(eot.InfeasibleError, r"\brow 2\b", mask=mask, rows=eot.Between(0.5, 2.0), cols=eot.TV(1.0))
    refused(eot.InfeasibleError, r"\bcolumn 3\b", cost=spoiled((slice(None), 3), INF))
    refused(eot.InfeasibleError, "every cell", mask=np.zeros((4, 5), bool))
    for rows in (eot.TV(1.0), eot.AtMost(), eot.Free()):
        sol = eot.exact(np.ones((4, 5)), rows=rows, cols=eot.TV(1.0), mask=mask)
        assert np.isneginf(sol.f[2])


COMPETITION = re.compile(r"^(rows|columns) \[([\d, ]+)\] have allowed cells in (?:rows|columns) \[([\d, ]+)\] only")


def assert_compete(message, allowed, a, b, rows, cols):
    """The message names lines of one side that must carry more than the lines they reach can take."""
    least_a, least_b, most_a, most_b = rows.box()[0] * a, cols.box()[0] * b, rows.box()[1] * a, cols.box()[1] * b
    allowed = allowed & (a > 0)[:, None] & (b > 0)
    alone = re.match(r"^(row|column) (\d+)", message)
    found = COMPETITION.match(message)
    if alone:
        of_row = alone[1] == "row"
        assert not (allowed if of_row else allowed.T)[int(alone[2])].any()
        assert (least_a if of_row else least_b)[int(alone[2])] > 0
    elif found:
        members, partners = (np.array([int(k) for k in found[group].split(",")]) for group in (2, 3))
        if found[1] == "columns":
            allowed, least_a, most_b = allowed.T, least_b, most_a
        reached = np.flatnonzero(allowed[members].any(axis=0))
        assert set(reached) <= set(partners)  # those without weight may be named, too
        assert least_a[members].sum() > most_b[partners].sum()
    elif not message.startswith("every cell"):
        assert "no plan has both" in message
        on = allowed.any(axis=1), allowed.any(axis=0)
        assert least_a.sum() > most_b[on[1]].sum() or least_b.sum() > most_a[on[0]].sum()


def largest_flow(allowed, a, b):
    """Mass that the allowed cells can carry, for whole weights."""
    n, m = allowed.shape
    capacity = np.zeros((n + m + 2, n + m + 2), np.int32)
    capacity[-2, :n], capacity[n : n + m, -1] = a, b
    capacity[:n, n : n + m] = np.where(allowed, a.sum(), 0)
    return maximum_flow(sparse.csr_array(capacity), n + m, n + m + 1).flow_value


@pytest.mark.parametrize("few_cells", [False, True])
@pytest.mark.parametrize("share", [0.2, 0.35, 0.5])
@pytest.mark.parametrize("cols", [eot.Fixed(), eot.AtMost(), eot.Between(0.0, 2.0)], ids=repr)
def test_there_is_a_plan_or_a_reason_why_not(cols, share, few_cells, monkeypatch):
    """The largest flow is the mass of the rows exactly if there is one; at most 8 lines a side are all listed."""
    if few_cells:
        begin_with_few_cells(monkeypatch)
    for seed in range(60):
        rng = np.random.default_rng([31, seed])
        n, m = rng.integers(2, 9, 2)
        a, b = rng.multinomial(20, np.full(n, 1 / n)), rng.multinomial(20, np.full(m, 1 / m))
        cost, allowed = rng.random((n, m)), rng.random((n, m)) < share
        allowed[0, 0] = True
        if largest_flow(allowed, a, (cols.box()[1] * b).astype(int)) == a.sum():
            sol = eot.exact(cost, a, b, cols=cols, mask=allowed)
            np.testing.assert_allclose(sol.row_marginal, a, rtol=0, atol=1e-13)
        else:
            for problem in ((allowed, a, b, eot.Fixed(), cols), (allowed.T, b, a, cols, eot.Fixed())):
                changes = dict(zip(("mask", "a", "b", "rows", "cols"), problem, strict=True))
                message = refused(eot.InfeasibleError, cost=np.zeros(problem[0].shape), **changes)
                assert_compete(message, *problem)
