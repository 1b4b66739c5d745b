"""Which epsilon? A path of them, each solve starting from the last, with the cost and its proved bounds."""

import numpy as np
import pytest
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import cdist

import elastic_ot as eot

RNG = np.random.default_rng(23)


def path_of_epsilons(cost, shares):
    """For falling shares of the largest cost: the cost of the plan, and two bounds on the cheapest plan's."""
    table, last = [], None
    for share in shares:
        last = eot.solve(cost, epsilon=share * cost.max(), init=last)
        table.append((share, last.transport_cost, *last.bounds()))
    return np.array(table)


def test_costs_fall_to_the_cheapest_and_the_bounds_hold_it():
    cost = cdist(RNG.random((60, 2)), RNG.random((60, 2)), "sqeuclidean")
    cheapest = cost[linear_sum_assignment(cost)].mean()
    table = path_of_epsilons(cost, [0.1, 0.03, 0.01, 0.003, 0.001])
    _, found, lower, upper = table.T
    assert (np.diff(found) < 0).all()
    assert ((lower <= cheapest) & (cheapest <= upper)).all()
    assert found[-1] == pytest.approx(cheapest, rel=0.05)
