"""Schedules of epsilon: values in every library, the permutations that they end at, and derivatives on the way."""

import math
import pickle

import numpy as np
import pytest
from scipy.optimize import linear_sum_assignment

from elastic_ot.applications import (
    EpsilonSchedule,
    attention_weights,
    causal_weights,
    damped_weights,
    gumbel_sinkhorn,
    match,
    route,
)
from helpers.array_libraries import LIBRARIES, library

KINDS = ("geometric", "linear", "cosine")


def assigned(scores):
    """The permutation matrix of the largest total score."""
    rows, cols = linear_sum_assignment(scores, maximize=True)
    matrix = np.zeros(scores.shape)
    matrix[rows, cols] = 1.0
    return matrix


def apart(scores):
    """A tenth more for the pairs of the assignment: any other permutation has two of them less at least."""
    return scores + 0.1 * np.stack([assigned(s) for s in scores])


CLOSE = 1e-5
"""At epsilon = 0.005 other pairs have weights of order exp(-0.2 / 0.005); the tolerance of the solves is 1e-6."""


def random_scores(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


def test_geometric_and_linear_steps_are_those_of_numpy():
    steps = np.arange(6)
    np.testing.assert_allclose(EpsilonSchedule(2.0, 0.01, 5)(steps), np.geomspace(2.0, 0.01, 6), rtol=1e-14)
    np.testing.assert_allclose(EpsilonSchedule(2.0, 0.01, 5, "linear")(steps), np.linspace(2.0, 0.01, 6), rtol=1e-14)


def test_cosine_steps_are_those_of_torchs_learning_rates():
    library("torch")
    import torch

    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=2.0)
    rates = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=7, eta_min=0.1)
    schedule = EpsilonSchedule(2.0, 0.1, 7, "cosine")
    for step in range(8):
        # theirs is a product of as many factors as there are steps
        assert schedule(step) == pytest.approx(rates.get_last_lr()[0], rel=1e-12)
        optimizer.step()
        rates.step()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("start", "end"), [(3.0, 0.1), (0.1, 3.0), (1e-300, 1e300)])
def test_a_schedule_has_its_ends_exactly_and_stays_at_the_last(kind, start, end):
    schedule = EpsilonSchedule(start, end, 10, kind)
    values = [schedule(step) for step in range(14)]
    assert values[0] == start
    assert values[10:] == [end] * 4
    assert values == sorted(values, reverse=start > end)
    assert type(schedule(np.int64(3))) is type(schedule(2.5)) is float


@pytest.mark.parametrize("name", LIBRARIES)
@pytest.mark.parametrize("kind", KINDS)
def test_of_arrays_of_steps_the_values_are_those_of_numbers(name, kind):
    lib, schedule = library(name), EpsilonSchedule(2.0, 0.05, 4, kind)
    steps = np.array([[0.0, 1.0, 2.5], [4.0, 5.0, 100.0]])
    found = schedule(lib.make(steps))
    assert isinstance(found, lib.kind)
    # JAX computes in single precision
    np.testing.assert_allclose(lib.read(found), [[schedule(x) for x in row] for row in steps], rtol=1e-6)
    assert float(schedule(lib.make(3))) == pytest.approx(schedule(3), rel=1e-6)


def test_schedules_are_values():
    schedule = EpsilonSchedule(np.float32(0.5), 0.25, np.int64(4), kind="linear")
    assert schedule == EpsilonSchedule(0.5, 0.25, 4, "linear") == pickle.loads(pickle.dumps(schedule))
    assert hash(schedule) == hash(EpsilonSchedule(0.5, 0.25, 4, "linear"))
    assert repr(schedule) == "EpsilonSchedule(start=0.5, end=0.25, steps=4, kind='linear')"


GOOD = {"start": 1.0, "end": 0.1, "steps": 10}


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"start": 0}, "start is 0; it must be finite and > 0"),
        ({"end": -0.1}, "end is -0.1; it must be finite and > 0"),
        ({"start": math.inf}, "start is inf"),
        ({"end": math.nan}, "end is nan"),
        ({"steps": 0}, "steps is 0; it must be an integer >= 1"),
        ({"steps": 2.5}, "steps is 2.5"),
        ({"steps": True}, "steps is True"),
        ({"kind": "step"}, "kind is 'step'; choose from 'geometric', 'linear', 'cosine'"),
    ],
)
def test_bad_schedules_are_refused_by_name(given, message):
    with pytest.raises(ValueError, match=message):
        EpsilonSchedule(**{**GOOD, **given})


@pytest.mark.parametrize("value", ["1", None, True, np.array([1.0, 2.0]), 1j])
def test_what_is_no_number_is_a_type_error(value):
    with pytest.raises(TypeError, match=r"start is .*; it must be a number > 0"):
        EpsilonSchedule(value, 0.1, 10)


@pytest.mark.parametrize(
    ("step", "message"),
    [
        (-1, "step is -1; it must be finite and >= 0"),
        (math.nan, "step is nan"),
        (np.array([0, 3, -2]), r"step\[2\] is -2; values must be finite and >= 0"),
        (np.array(-1), "step is -1; it must be finite and >= 0"),
    ],
)
def test_bad_steps_are_refused(step, message):
    with pytest.raises(ValueError, match=message):
        EpsilonSchedule(**GOOD)(step)


@pytest.mark.parametrize(
    "call",
    [
        lambda s, x: attention_weights(x, lam=0.5, epsilon=s),
        lambda s, x: causal_weights(x, epsilon=s),
        lambda s, x: route(x, method="sinkhorn", epsilon=s),
        lambda s, x: gumbel_sinkhorn(x, temperature=s),
        lambda s, x: match(x, dustbin=0.0, epsilon=s),
    ],
)
def test_functions_ask_for_the_value_at_a_step(call):
    with pytest.raises(TypeError, match=r"is EpsilonSchedule\(.*; it must be a number > 0, say of a schedule"):
        call(EpsilonSchedule(**GOOD), np.zeros((2, 2)))


@pytest.mark.parametrize("call", [causal_weights, lambda x, **given: attention_weights(x, lam=0.5, **given), route])
@pytest.mark.parametrize(
    ("epsilon", "message"),
    [
        (math.inf, "epsilon is inf; it must be finite and > 0"),
        (0, "epsilon is 0;"),
        (np.array([1.0, math.nan]), r"epsilon\[1\] is nan; values must be finite and > 0"),
        ([1.0, -1.0], r"epsilon\[1\] is -1"),
    ],
)
def test_temperatures_that_are_none_are_refused(call, epsilon, message):
    with pytest.raises(ValueError, match=message):
        call(np.zeros((2, 3, 3)), epsilon=epsilon)


@pytest.mark.parametrize("kind", KINDS)
def test_annealed_balanced_weights_end_at_the_assignment(kind):
    schedule = EpsilonSchedule(1.0, 0.005, 20, kind)
    scores = apart(random_scores(3, 6, 6, seed=1))
    expected = np.stack([assigned(s) for s in scores])
    distances = [
        abs(attention_weights(scores, lam=1.0, epsilon=schedule(step), tol=1e-6) - expected).max()
        for step in (0, 10, 20)
    ]
    assert distances == sorted(distances, reverse=True)
    assert distances[-1] < CLOSE < 0.3 < distances[0]


def test_with_a_held_lam_the_end_is_the_largest_score_of_a_row_and_with_a_held_rho_the_assignment():
    scores = np.array([[1.0, 0.8, 0.0], [1.0, 0.2, 0.0], [0.9, 0.1, 0.6]])
    end = EpsilonSchedule(1.0, 0.01, 5)(5)
    found = attention_weights(scores, lam=0.5, epsilon=end, tol=1e-6)
    np.testing.assert_allclose(found, np.eye(3)[scores.argmax(axis=1)], atol=1e-3)
    found = attention_weights(scores, rho=10.0, epsilon=end, tol=1e-6)
    np.testing.assert_array_equal(found.argmax(axis=1), assigned(scores).argmax(axis=1))
    # a column sum is exp(price / rho), and prices are at most as far apart as scores
    assert abs(np.log(found.sum(axis=0))).max() <= np.ptp(scores) / 10.0


def test_the_damped_rule_takes_all_values_at_once():
    scores = np.random.default_rng(5).random((7, 7))
    levels = EpsilonSchedule(1.0, 3e-4, 19)(np.arange(20))
    # an exponential of minus the gap to the second best over epsilon
    np.testing.assert_allclose(damped_weights(scores, 0.3, 60, levels), assigned(scores), atol=1e-2)


def test_an_annealed_router_ends_at_the_assignment_of_equal_loads():
    logits = random_scores(12, 3, seed=2)
    best = route(logits, method="base").idx
    logits = logits + 0.1 * (best == np.arange(3))
    schedule = EpsilonSchedule(1.0, 0.005, 10)
    found = route(logits, method="sinkhorn", epsilon=schedule(10))
    np.testing.assert_array_equal(found.idx, best)
    np.testing.assert_allclose(found.weight, 1.0, atol=CLOSE)
    assert found.converged
    assert route(logits, method="sinkhorn", epsilon=schedule(0)).weight.max() < 0.95


@pytest.mark.parametrize("name", LIBRARIES)
@pytest.mark.parametrize("method", ["softmax", "sinkhorn", "s-base"])
def test_a_router_takes_an_epsilon_for_each_problem(name, method):
    lib, logits = library(name), random_scores(2, 8, 3)
    found = route(lib.make(logits), 2, method=method, epsilon=lib.make([0.3, 0.9]), tol=1e-6)
    for k, epsilon in enumerate((0.3, 0.9)):
        alone = route(lib.make(logits[k]), 2, method=method, epsilon=epsilon, tol=1e-6)
        np.testing.assert_array_equal(lib.read(found.idx[k, ...]), lib.read(alone.idx))
        # both to the tolerance
        np.testing.assert_allclose(lib.read(found.weight[k, ...]), lib.read(alone.weight), atol=1e-5)
        assert found.weight.dtype == alone.weight.dtype


def leaf(values):
    import torch

    return torch.tensor(values, dtype=torch.float64, requires_grad=True)


EPSILONS = [EpsilonSchedule(1.0, 0.02, 2)(step) for step in range(3)]


@pytest.mark.parametrize("epsilon", EPSILONS)
@pytest.mark.parametrize("options", [{"lam": 1.0}, {"lam": 0.5}, {"rho": 0.8}, {"lam": 1.0, "tol": 1e-13}], ids=str)
def test_weights_have_derivatives_at_every_epsilon(epsilon, options):
    library("torch")
    from torch.autograd import gradcheck

    def weights(scores, epsilon):
        return attention_weights(scores, epsilon=epsilon, **options)

    # differences of steps small beside epsilon; scores so close that weights are no permutation
    inputs = leaf(epsilon * random_scores(2, 3, 3)), leaf(epsilon)
    assert gradcheck(weights, inputs, eps=1e-6 * epsilon, atol=1e-5 / epsilon)


@pytest.mark.parametrize("epsilon", EPSILONS)
@pytest.mark.parametrize("combine", ["plan", "softmax", "sigmoid"])
def test_routers_have_derivatives_at_every_epsilon(epsilon, combine):
    library("torch")
    from torch.autograd import gradcheck

    def weight(logits, epsilon):
        return route(logits, 2, method="sinkhorn", epsilon=epsilon, combine=combine, tol=1e-13).weight

    inputs = leaf(epsilon * random_scores(2, 4, 3)), leaf([epsilon, 1.1 * epsilon])
    assert gradcheck(weight, inputs, eps=1e-6 * epsilon, atol=1e-5 / epsilon)


def test_at_a_permutation_derivatives_vanish_and_are_numbers():
    library("torch")
    scores = leaf(random_scores(5, 5, seed=3))
    for given in ({"tol": 1e-9}, {"iterations": 50}):
        (slope,) = np.asarray(
            [leaf_slope(attention_weights(scores, lam=1.0, epsilon=1e-3, **given).square().sum(), scores)]
        )
        assert np.isfinite(slope).all()
        assert abs(slope).max() < 1e-6


def leaf_slope(value, leaf):
    import torch

    return torch.autograd.grad(value, leaf)[0].numpy()


def test_jax_traces_the_step():
    library("jax")
    import jax

    schedule = EpsilonSchedule(1.0, 0.1, 10, "cosine")
    scores = random_scores(3, 3)

    def weights(scores, step):
        return attention_weights(scores, lam=1.0, epsilon=schedule(step))

    with jax.enable_x64(True):
        found = jax.jit(weights)(jax.numpy.asarray(scores), 4)
    np.testing.assert_allclose(found, attention_weights(scores, lam=1.0, epsilon=schedule(4)), rtol=1e-12)
