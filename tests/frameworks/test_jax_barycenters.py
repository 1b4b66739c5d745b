"""Barycenters as operators of JAX: as those of PyTorch, under jit, vmap, grad, jvp and hessian."""

import numpy as np
import pytest

import elastic_ot as eot
from helpers.array_libraries import library

library("jax")
import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402
from jax.test_util import check_grads  # noqa: E402

import elastic_ot.jax as eot_jax  # noqa: E402

TIGHT = {"tol": 1e-13}


@pytest.fixture(autouse=True)
def double():
    with jax.enable_x64(True):
        yield


def inputs(kind, count=3, n=5, m=6):
    rng = np.random.default_rng(0)
    logits, weights = rng.normal(size=(count, n)), rng.uniform(0.5, 1.5, count)
    if kind in ("one", "each"):
        costs = rng.normal(size=(*([count] if kind == "each" else []), n, m)) ** 2
        return (costs, logits, weights), lambda costs: costs
    if kind == "grid":
        grid = eot.Grid((5,), (np.linspace(0, 1, m),))
        return (np.zeros(()), logits, weights), lambda _: grid
    x, y = rng.normal(size=(count, n, 2)), rng.normal(size=(m, 2))
    return (x, logits, weights), lambda x: eot.PointCloud(x, jnp.asarray(y) if isinstance(x, jax.Array) else y)


@pytest.mark.parametrize("rows", [eot.Fixed(), eot.KL(0.5)], ids=str)
@pytest.mark.parametrize("kind", ["one", "each", "clouds", "grid"])
def test_derivatives_are_differences(kind, rows):
    given, costs = inputs(kind)

    def masses(places, logits, weights, epsilon):
        measures = jax.nn.softmax(logits)
        return eot_jax.barycenter(costs(places), measures, weights, epsilon=epsilon, rows=rows, **TIGHT)

    def value(places, logits, weights, epsilon):
        measures = jax.nn.softmax(logits)
        return eot_jax.barycenter_value(costs(places), measures, weights, epsilon=epsilon, rows=rows, **TIGHT)

    arrays = (*map(jnp.asarray, given), jnp.asarray(0.5))
    check_grads(masses, arrays, order=1, modes=["fwd", "rev"], atol=1e-5, rtol=1e-5)
    order = 2 if kind in ("each", "clouds") else 1
    check_grads(value, arrays, order=order, modes=["fwd", "rev"], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("kind", ["one", "each", "clouds", "grid"])
def test_values_and_gradients_are_those_of_torch(kind):
    library("torch")
    import torch

    import elastic_ot.torch as eot_torch

    (places, logits, weights), _ = inputs(kind)
    measures = np.exp(logits) / np.exp(logits).sum(axis=-1, keepdims=True)
    support = np.random.default_rng(1).normal(size=(6, 2))
    grid = eot.Grid((5,), (np.linspace(0, 1, 6),))

    def costs(places, support):
        return {"clouds": lambda: eot.PointCloud(places, support), "grid": lambda: grid}.get(kind, lambda: places)()

    def outcome(operators, places, measures, weights, support):
        args = (costs(places, support), measures, weights)
        masses = operators.barycenter(*args, epsilon=0.4, **TIGHT)
        return (masses**2).sum() + operators.barycenter_value(*args, epsilon=0.4, **TIGHT)

    tensors = [torch.tensor(x, requires_grad=True) for x in (places, measures, weights, support)]
    loss = outcome(eot_torch, *tensors)
    found = torch.autograd.grad(loss, tensors, allow_unused=True)
    arrays = tuple(map(jnp.asarray, (places, measures, weights, support)))
    value, slopes = jax.value_and_grad(lambda *x: outcome(eot_jax, *x), (0, 1, 2, 3))(*arrays)
    np.testing.assert_allclose(value, loss.item(), rtol=1e-12)
    for one, other in zip(slopes, found, strict=True):
        np.testing.assert_allclose(one, 0.0 if other is None else other, atol=1e-9)


def test_jit_vmap_and_hessian():
    (costs, logits, weights), _ = inputs("each")
    many = jnp.stack([jnp.asarray(logits), 2 * jnp.asarray(logits)])

    def loss(logits):
        return jnp.sum(eot_jax.barycenter(jnp.asarray(costs), jax.nn.softmax(logits), epsilon=0.5, **TIGHT) ** 2)

    slopes = jax.jit(jax.vmap(jax.grad(loss)))(many)
    for one, logit in zip(slopes, many, strict=True):
        np.testing.assert_allclose(one, jax.grad(loss)(logit), atol=1e-10)

    def value(weights):
        how = {"epsilon": 0.5, **TIGHT}
        return eot_jax.barycenter_value(jnp.asarray(costs), jax.nn.softmax(jnp.asarray(logits)), weights, **how)

    hessian, step = jax.hessian(value)(jnp.asarray(weights)), 1e-5
    for k in range(3):
        move = jnp.zeros(3).at[k].set(step)
        slope = (jax.grad(value)(weights + move) - jax.grad(value)(weights - move)) / (2 * step)
        np.testing.assert_allclose(hessian[k], slope, atol=1e-6)


def test_without_double_precision():
    """Potentials travel as bits; results have the dtype of the costs."""
    (costs, logits, weights), _ = inputs("each")
    with jax.enable_x64(False):
        given = [jnp.asarray(x, jnp.float32) for x in (costs, logits, weights)]

        def loss(costs, logits, weights):
            return eot_jax.barycenter(costs, jax.nn.softmax(logits), weights, epsilon=0.5, tol=1e-6)[0]

        slopes = jax.jit(jax.grad(loss, (0, 1, 2)))(*given)
        assert all(x.dtype == jnp.float32 for x in slopes)
    double = [jnp.asarray(np.float32(x), jnp.float64) for x in (costs, logits, weights)]
    for one, other in zip(slopes, jax.grad(loss, (0, 1, 2))(*double), strict=True):
        np.testing.assert_allclose(one, other, atol=2e-5)


def test_what_cannot_be_differentiated_is_refused():
    (costs, logits, _), _ = inputs("each")
    measures = jax.nn.softmax(jnp.asarray(logits))
    with pytest.raises(ValueError, match="debiased barycenters are fixed points without derivatives"):
        eot_jax.barycenter(jnp.asarray(costs), measures, epsilon=0.5, debiased=True)
    with pytest.raises(TypeError, match="costs is a list; stack"):
        eot_jax.barycenter(list(costs), measures, epsilon=0.5)
    with pytest.raises(ValueError, match="pass the measures"):
        eot_jax.barycenter(jnp.asarray(costs[0]), epsilon=0.5)
    with pytest.raises(TypeError, match="differentiated once"):
        jax.hessian(lambda x: eot_jax.barycenter(jnp.asarray(costs), jax.nn.softmax(x), epsilon=0.5)[0])(measures)


@pytest.mark.parametrize("kind", ["one", "each", "grid"])
def test_a_relative_epsilon_is_of_the_costs_of_all_measures(kind):
    (places, logits, weights), costs = inputs(kind)
    measures, given = np.asarray(jax.nn.softmax(logits)), costs(places)
    plain = list(given) if kind == "each" else given
    expected = eot.barycenter(plain, measures, weights, epsilon="0.1x", tol=1e-9)
    call = jax.jit(
        lambda m: eot_jax.barycenter_value(given if kind == "grid" else jnp.asarray(given), m, weights, epsilon="0.1x")
    )
    assert float(call(measures)) == pytest.approx(expected.value, abs=1e-9)
