"""Many problems in one call of `assign` and `exact` are what each of them is alone."""

import pickle

import numpy as np
import pytest

import elastic_ot as eot
from elastic_ot.api import assign as unregularised
from helpers.assignments import assert_proved


@pytest.mark.parametrize("shape", [(6, 6), (4, 9), (9, 4), (1, 3)])
@pytest.mark.parametrize("maximize", [False, True])
@pytest.mark.parametrize("kind", ["float", "whole", "single precision"])
def test_assignments_are_proved_and_those_of_each_alone(shape, maximize, kind):
    rng = np.random.default_rng([1, *shape])
    costs = rng.random((20, *shape))
    costs = {"float": costs, "whole": (9 * costs).astype(int), "single precision": costs.astype(np.float32)}[kind]
    result = eot.assign(costs, maximize)
    assert isinstance(result, eot.BatchAssignment)
    assert len(result) == 20
    assert result.row_ind.shape == result.col_ind.shape == (20, min(shape))
    assert result.u.shape == (20, shape[0])
    assert result.v.shape == (20, shape[1])
    for k, one in enumerate(result):
        assert_proved(one, costs[k], maximize)
        alone = eot.assign(costs[k], maximize)
        assert kind == "whole" or (one.col_ind == alone.col_ind).all()  # of several optima either may be found
        assert result.cost[k] == alone.cost
        assert (result.u[k] == one.u).all()
        assert result.gap[k] == one.gap
    assert len(result[2:5]) == 3
    assert (pickle.loads(pickle.dumps(result)).col_ind == result.col_ind).all()
    with pytest.raises(IndexError):
        result[20]


def test_masks_of_all_problems_or_of_each():
    rng = np.random.default_rng(2)
    costs, masks = rng.random((12, 5, 7)), rng.random((12, 5, 7)) < 0.7
    masks[:, np.arange(5), np.arange(5)] = True
    for mask in (masks, masks[0]):
        result = eot.assign(costs, mask=mask)
        for k, one in enumerate(result):
            assert_proved(one, costs[k], mask=mask if mask.ndim == 2 else mask[k])


def test_problems_that_scipy_does_not_solve(monkeypatch):
    for name in ("SMALL", "SOLVED_AT_ONCE"):
        monkeypatch.setattr(unregularised, name, 0)
    costs = np.random.default_rng(3).random((3, 8, 8))
    result = eot.assign(costs)
    for one, cost in zip(result, costs, strict=True):
        assert_proved(one, cost)


def test_no_problems_and_empty_ones():
    assert len(eot.assign(np.empty((0, 3, 4)))) == 0
    assert eot.assign(np.empty((2, 0, 4))).v.tolist() == np.zeros((2, 4)).tolist()
    with pytest.raises(ValueError, match="at least one problem"):
        eot.exact(np.empty((0, 3, 4)))


def test_mistakes_are_named_with_their_problem():
    costs = np.ones((3, 2, 2))
    costs[1, 0, 1] = np.nan
    with pytest.raises(ValueError, match=r"^matrix contains invalid numeric entries: problem 1: cost\[0, 1\] is nan"):
        eot.assign(costs)
    with pytest.raises(ValueError, match=r"^problem 1: cost\[0, 1\] is nan"):
        eot.exact(costs)
    costs[1] = np.inf
    with pytest.raises(eot.InfeasibleError, match="problem 1"):
        eot.assign(costs)
    with pytest.raises(eot.InfeasibleError, match="problem 2: mass is 3"):
        eot.exact(np.ones((3, 2, 2)), mass=[0.1, 0.2, 3.0])
    with pytest.raises(ValueError, match=r"a has shape \(2, 2\); for 3 problems"):
        eot.exact(np.ones((3, 2, 2)), np.ones((2, 2)))
    with pytest.raises(ValueError, match="cost_limit"):
        eot.assign(np.ones((3, 2, 2)), cost_limit=1.0)


@pytest.mark.parametrize("sides", [{}, {"rows": eot.TV(0.4), "cols": eot.AtMost()}], ids=["fixed", "relaxed"])
def test_plans_are_those_of_each_alone(sides):
    rng = np.random.default_rng(4)
    costs, a, b = rng.random((5, 4, 6)), rng.dirichlet(np.ones(4), 5), rng.dirichlet(np.ones(6))
    result = eot.exact(costs, a, b, **sides)
    assert isinstance(result, eot.BatchExactSolution)
    assert result.plan.shape == (5, 4, 6)
    for k, one in enumerate(result):
        alone = eot.exact(costs[k], a[k], b, **sides)
        for name in ("f", "g", "plan", "value", "dual_value", "gap", "row_marginal", "col_marginal", "transport_cost"):
            assert (getattr(result, name)[k] == getattr(alone, name)).all()
            assert np.array_equal(getattr(one, name), getattr(alone, name))
    assert result[1:3] == result.solutions[1:3]
    np.testing.assert_array_equal(
        eot.exact(costs, a, b, mass=0.5).value[2], eot.exact(costs[2], a[2], b, mass=0.5).value
    )


def test_one_time_limit_is_for_all():
    costs = np.random.default_rng(5).random((50, 40, 40))
    with pytest.raises(eot.ConvergenceError, match="time_limit"):
        eot.exact(costs, time_limit=1e-9)
    with pytest.raises(eot.ConvergenceError, match="time_limit"):
        eot.assign(costs, time_limit=1e-9)
