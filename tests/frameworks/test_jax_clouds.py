"""Operators of JAX on points: values and derivatives of the matrix between them, without it."""

from functools import partial

import numpy as np
import pytest

import elastic_ot as eot
from elastic_ot.costs import scan
from elastic_ot.frameworks import clouds
from helpers.array_libraries import library

library("jax")
import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402

import elastic_ot.jax as eot_jax  # noqa: E402

METRICS = ("sqeuclidean", "euclidean", "cosine", "dot")
TIGHT = {"tol": 1e-13}


@pytest.fixture(params=["computed once", "strip by strip"])
def storage(request, monkeypatch):
    if request.param == "strip by strip":
        monkeypatch.setattr(scan, "KEPT_ENTRIES", 0)
        monkeypatch.setattr(clouds, "KEPT_ENTRIES", 0)


@pytest.fixture(autouse=True)
def double():
    with jax.enable_x64(True):
        yield


def drawn(seed=0, n=5, m=6, d=2):
    rng = np.random.default_rng(seed)
    a, b = rng.uniform(0.5, 1.5, n), rng.uniform(0.5, 1.5, m)
    points = rng.normal(size=(n, d)), rng.normal(size=(m, d)) + 0.4
    return tuple(map(jnp.asarray, (*points, a / a.sum(), b / b.sum())))


def matrix(metric, x, y):
    apart = x[:, None] - y
    if metric == "cosine":
        return 1 - (x / jnp.linalg.norm(x, axis=1, keepdims=True)) @ (y / jnp.linalg.norm(y, axis=1, keepdims=True)).T
    if metric == "dot":
        return -x @ y.T
    squares = jnp.sum(apart**2, axis=-1)
    return squares if metric == "sqeuclidean" else jnp.sqrt(squares)


def assert_close(found, expected, atol=1e-8):
    for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=atol)


@pytest.mark.parametrize("metric", METRICS)
def test_value_and_two_derivatives_are_those_of_the_matrix(metric, storage):
    x, y, a, b = drawn()

    def cloud(x, y, b):
        return eot_jax.value(eot.PointCloud(x, y, metric), a, b, epsilon=0.5, cols=eot.KL(0.7), **TIGHT)

    def dense(x, y, b):
        return eot_jax.value(matrix(metric, x, y), a, b, epsilon=0.5, cols=eot.KL(0.7), **TIGHT)

    both = [jax.jit(jax.value_and_grad(one, (0, 1, 2)))(x, y, b) for one in (cloud, dense)]
    assert_close(*both)
    assert_close(*(jax.jacfwd(jax.grad(one))(x, y, b) for one in (cloud, dense)), 1e-6)


@pytest.mark.parametrize("metric", METRICS[:2])
def test_potentials_and_products_are_differentiated(metric, storage):
    x, y, a, b = drawn(1)
    v, u = (jnp.asarray(np.random.default_rng(2).normal(size=(k, 3))) for k in (6, 5))

    def outcome(cost, u, v):
        how = {"epsilon": 0.6, "cols": eot.KL(1.0), **TIGHT}
        f, g = eot_jax.potentials(cost, a, b, **how)
        moved = eot_jax.plan_apply(cost, v, a, b, **how), eot_jax.plan_apply(cost, u, a, b, axis=0, **how)
        return sum(jnp.sum(jnp.sin(3 * z)) for z in (f, g, *moved))

    found = jax.value_and_grad(lambda x, y, u, v: outcome(eot.PointCloud(x, y, metric), u, v), (0, 1, 2, 3))
    expected = jax.value_and_grad(lambda x, y, u, v: outcome(matrix(metric, x, y), u, v), (0, 1, 2, 3))
    assert_close(found(x, y, u, v), expected(x, y, u, v), 1e-7)


def test_products_have_forward_derivatives():
    x, y, a, b = drawn(3)
    v, step = jnp.ones((6, 1)), jnp.asarray(np.random.default_rng(4).normal(size=x.shape))

    def carried(cost_of, x):
        return eot_jax.plan_apply(cost_of(x), v + x[:1, :1], a, b, epsilon=0.5, cols=eot.KL(1.0), **TIGHT)

    found, expected = (
        jax.jvp(lambda x, of=of: carried(of, x), (x,), (step,))
        for of in (lambda x: eot.PointCloud(x, y), lambda x: matrix("sqeuclidean", x, y))
    )
    assert_close(found, expected)


def test_the_divergence_makes_its_costs_itself_and_maps_over_clouds():
    x, y, a, b = drawn(5)

    def cloud(x):
        return eot_jax.divergence(eot.PointCloud(x, y), a=a, b=b, epsilon=0.4, **TIGHT)

    def dense(x):
        costs = [matrix("sqeuclidean", *pair) for pair in ((x, y), (x, x), (y, y))]
        return eot_jax.divergence(*costs, a=a, b=b, epsilon=0.4, **TIGHT)

    assert_close(jax.value_and_grad(cloud)(x), jax.value_and_grad(dense)(x))
    many = jnp.stack([x, 1.2 * x])
    assert_close(jax.vmap(cloud)(many), jnp.stack([cloud(z) for z in many]))
    with pytest.raises(ValueError, match="leave out cost_xx"):
        eot_jax.divergence(eot.PointCloud(x, y), matrix("sqeuclidean", x, x), epsilon=0.4)


def test_clouds_with_leading_dimensions_have_the_values_of_single_ones(storage):
    x, y, a, b = drawn(7)
    xs, ys = jnp.stack([x, 1.2 * x])[:, None], jnp.stack([y, y + 0.3, 0.7 * y])
    how = {"epsilon": 0.5, "cols": eot.KL(0.7), **TIGHT}

    def outcome(x, y):
        cloud = eot.PointCloud(x, y, "euclidean")
        f, g = eot_jax.potentials(cloud, a, b, **how)
        moved = eot_jax.plan_apply(cloud, jnp.sin(y), a, b, **how)
        apart = eot_jax.divergence(cloud, a=a, b=b, epsilon=0.5, **TIGHT)
        return eot_jax.value(cloud, a, b, **how), f, g, moved, apart

    def one(x, y):  # of single clouds, which other tests have compared with matrices
        return jax.vmap(lambda z: jax.vmap(lambda w: outcome(z, w))(y))(x[:, 0])

    @partial(jax.jit, static_argnums=0)
    def derived(of, x, y):
        found, pull = jax.vjp(of, x, y)
        return found, pull(jax.tree.map(lambda z: jnp.cos(jnp.arange(z.size)).reshape(z.shape), found))

    both = [derived(of, xs, ys) for of in (outcome, one)]
    assert_close(both[0][0], both[1][0])
    assert_close(both[0][1], both[1][1], 1e-7)


def test_values_of_many_clouds_are_differentiated_twice():
    x, y, *_ = drawn(8, 3, 4)
    xs, step = jnp.stack([x, 1.2 * x]), jnp.stack([y[:3], -y[1:]])

    def slope(x):
        return jax.grad(lambda x: eot_jax.value(eot.PointCloud(x, y), epsilon=0.5, cols=eot.KL(0.7), **TIGHT).sum())(x)

    bent = jax.jit(lambda x, step: jax.jvp(slope, (x,), (step,))[1])
    found = bent(xs, step)
    for k in range(2):
        assert_close(found[k], bent(xs[k], step[k]), 1e-6)


def test_a_traced_cloud_is_for_operators():
    x, y, *_ = drawn(6)
    with pytest.raises(TypeError, match="x is a JAX tracer"):
        jax.jit(lambda x: eot.solve(eot.PointCloud(x, y), epsilon=0.5).f)(x)
    with pytest.raises(ValueError, match=r"right has shape \(5, 1\)"):
        eot_jax.plan_apply(eot.PointCloud(x, y), jnp.ones((5, 1)), epsilon=0.5)
