"""Mixed steps of linear iterations, whose limits and rates are known."""

import numpy as np
import pytest

from elastic_ot.solvers.anderson import Mixing

FORMER = 4


def iterated(rates, steps, weight=None):
    """Points of x -> rates x from ones, mixed, and whether each mixture was seen to leave a direction that grows."""
    rates, x = np.array(rates), np.ones(len(rates))
    mixing, points, seen = Mixing(FORMER), [x], []
    mixing.begin(x, rates * x)
    x = rates * x
    for _ in range(steps):
        x = mixing.step(x, rates * x, weight)
        points.append(x)
        seen.append(mixing.expands())
    return points, seen


@pytest.mark.parametrize("weight", [None, np.array([1.0, 3.0, 2.0])])
def test_as_many_rates_as_former_steps_are_solved_for(weight):
    """Three rates take three mixtures, but for what keeps them from going too far."""
    points, _ = iterated([0.9, 0.5, -0.2], 8, weight)
    assert np.abs(points[-1]).max() < 1e-6
    assert 0.9**9 > 0.3  # plain steps


@pytest.mark.parametrize("rates", [[0.9, 0.5, 0.1], [0.99, -0.5, 0.3], [0.0, 0.2, -0.9]])
def test_iterations_that_shrink_are_mixed(rates):
    _, seen = iterated(rates, 2)
    assert not any(seen)


@pytest.mark.parametrize("rates", [[1.2, 0.5, 0.1], [2.0, 0.9, -0.3], [0.6, 1.5, 0.99]])
def test_a_direction_that_grows_is_seen_before_mixtures_end_at_the_saddle(rates):
    points, seen = iterated(rates, 3)
    first = seen.index(True)
    assert np.abs(points[first]).max() > 1e-3


def test_nothing_is_known_of_one_step():
    mixing = Mixing(FORMER)
    assert not mixing.expands()
    mixing.begin(np.ones(2), np.zeros(2))
    assert not mixing.expands()
    assert not mixing.mixes
