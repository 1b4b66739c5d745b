"""Layers and losses of networks: doubly stochastic attention, a loss between clouds, experts, pairs for a flow."""

import numpy as np
import ot
import pytest
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import cdist

import elastic_ot as eot
from elastic_ot.applications import elastic_attention, route

RNG = np.random.default_rng(31)


def balanced_attention(q, k, v):
    """Attention whose weights sum to one over the keys, and to the same for every key."""
    return elastic_attention(q, k, v, lam=1.0, tol=1e-9)


def loss_in_torch(points, target):
    """The Sinkhorn divergence of two clouds of tensors; call `backward` on it."""
    return eot.torch.divergence(eot.PointCloud(points, target), blur=0.5)


def loss_in_jax(points, target):
    """The same for JAX, under `jit` and `grad`."""
    return eot.jax.divergence(eot.PointCloud(points, target), blur=0.5)


def choose_experts(logits, k, capacity):
    """k experts a token, none of them with more tokens than its capacity."""
    routing = route(logits, k, method="sinkhorn", capacity=capacity)
    return routing.idx, routing.weight, routing.load


def share_tokens_equally(logits):
    """One expert a token, the same number of tokens for each, with the largest sum of logits."""
    return route(logits, method="base").idx


def pairs_for_a_flow(noise, data):
    rows, cols = eot.couple(noise, data)
    return noise[rows], data[cols]


@pytest.mark.parametrize("library", ["numpy", "torch", "jax"])
def test_attention_is_the_plan_of_pot_times_the_values(library):
    numbers = RNG.normal(size=(3, 12, 4))
    arrays = numbers if library == "numpy" else in_library(library, numbers)
    scores = numbers[0] @ numbers[1].T / 2.0
    plan = ot.sinkhorn(np.ones(12), np.ones(12), -scores, 1.0, stopThr=1e-14, numItermax=10_000)
    assert np.asarray(balanced_attention(*arrays)) == pytest.approx(plan @ numbers[2], abs=1e-6)


def in_library(library, numbers):
    if library == "torch":
        return pytest.importorskip("torch").from_numpy(numbers)
    jax = pytest.importorskip("jax")
    return jax.numpy.asarray(numbers, dtype="float32")


def test_the_loss_of_torch_has_the_slope_of_its_values():
    torch = pytest.importorskip("torch")
    x, y, step = RNG.normal(size=(30, 2)), RNG.normal(size=(40, 2)) + 1.0, RNG.normal(size=(30, 2))
    points = torch.tensor(x, requires_grad=True)
    loss_in_torch(points, torch.tensor(y)).backward()
    slope = (debiased(x + 1e-4 * step, y, 0.25) - debiased(x - 1e-4 * step, y, 0.25)) / 2e-4
    assert (points.grad.numpy() * step).sum() == pytest.approx(slope, rel=1e-5)


def test_the_loss_of_jax_has_the_slope_of_its_values():
    jax = pytest.importorskip("jax")
    x, y, step = RNG.normal(size=(30, 2)), RNG.normal(size=(40, 2)) + 1.0, RNG.normal(size=(30, 2))
    value, slopes = jax.jit(jax.value_and_grad(loss_in_jax))(*(jax.numpy.asarray(p, dtype="float32") for p in (x, y)))
    slope = (debiased(x + 1e-4 * step, y, 0.25) - debiased(x - 1e-4 * step, y, 0.25)) / 2e-4
    assert float(value) == pytest.approx(debiased(x, y, 0.25), rel=1e-4)
    assert (np.asarray(slopes) * step).sum() == pytest.approx(slope, rel=1e-3)  # in single precision


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({}, "epsilon is missing; give it, or a blur"),
        ({"blur": 0.1, "epsilon": 0.1}, "give one of them"),
        ({"blur": -0.1}, "it must be positive and finite"),
        ({"blur": "0.1"}, "it must be a number"),
    ],
)
@pytest.mark.parametrize("library", ["torch", "jax"])
def test_the_blur_of_a_loss_is_checked(library, options, said):
    points, target = in_library(library, RNG.normal(size=(2, 5, 2)))
    cloud = eot.PointCloud(points, target)
    with pytest.raises((TypeError, ValueError), match=said):
        getattr(eot, library).divergence(cloud, **options)


def debiased(x, y, epsilon):
    """The divergence by POT's plans, with the entropy relative to the product of the weights."""
    values = []
    for pair in ((x, y), (x, x), (y, y)):
        cost = cdist(*pair, "sqeuclidean")
        plan = ot.sinkhorn([], [], cost, epsilon, method="sinkhorn_log", stopThr=1e-11, numItermax=100_000)
        values.append((plan * cost).sum() + epsilon * (plan * np.log(plan * plan.size)).sum())
    return values[0] - values[1] / 2 - values[2] / 2


def test_experts_hold_their_capacity():
    logits = RNG.normal(size=(64, 8)) + np.linspace(3.0, -1.0, 8)
    idx, weight, load = choose_experts(logits, 2, capacity=18)
    assert (np.bincount(np.argsort(-logits, axis=1)[:, :2].ravel(), minlength=8) > 18).any()  # the largest logits
    assert (np.bincount(idx.ravel(), minlength=8) == load).all()
    assert load.max() <= 18
    assert (idx[:, 0] != idx[:, 1]).all()
    assert (weight > 0).all()


def test_equal_shares_have_the_largest_sum_of_logits():
    logits = RNG.normal(size=(24, 6)) + np.arange(6)
    found = share_tokens_equally(logits).ravel()
    slots = np.repeat(logits, 4, axis=1)
    best = slots[linear_sum_assignment(slots, maximize=True)].sum()
    assert (np.bincount(found) == 4).all()
    assert logits[np.arange(24), found].sum() == pytest.approx(best, rel=1e-12)


def test_pairs_are_the_cheapest_matching():
    noise, data = RNG.normal(size=(50, 3)), RNG.normal(size=(50, 3)) + 2.0
    x0, x1 = pairs_for_a_flow(noise, data)
    cost = cdist(noise, data, "sqeuclidean")
    assert ((x0 - x1) ** 2).sum() == pytest.approx(cost[linear_sum_assignment(cost)].sum(), rel=1e-12)
    assert np.array_equal(np.sort(x1, axis=0), np.sort(data, axis=0))
