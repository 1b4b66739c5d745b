"""Layers: a fixed number of iterations in one compiled call is what `solve` does, plan, potentials and derivatives."""

import numpy as np
import pytest

import elastic_ot as eot
from elastic_ot.backends import load_layers
from elastic_ot.derivatives.layers import LARGEST_LAYER, LONGEST_ROW, MANY_TINY, plain_layer, solved_layer
from elastic_ot.frameworks import stateless
from elastic_ot.frameworks.options import encode, plain

INPUTS = ("cost", "a", "b", "epsilon", "rows", "cols")
PENALTIES = [
    (eot.Fixed(), eot.Fixed()),
    (eot.Fixed(), eot.Free()),
    (eot.Free(), eot.Fixed()),
    (eot.KL(0.7), eot.Fixed()),
    (eot.KL(0.3), eot.KL(2.0)),
    (eot.Elastic(0.4), eot.KL(0.5)),
]
CLOSE = {np.float32: 2e-5, np.float64: 1e-11}  # sums of some dozen terms, several times over, in their own precision


def problems(shape, dtype, seed=0):
    """Costs, weights of one mass and an epsilon for each."""
    rng = np.random.default_rng(seed)
    (n, m), batch = shape[-2:], shape[:-2]
    a, b = rng.uniform(0.5, 1.5, (*batch, n)), rng.uniform(0.5, 1.5, (*batch, m))
    b *= a.sum(axis=-1, keepdims=True) / b.sum(axis=-1, keepdims=True)
    return rng.normal(size=shape).astype(dtype), a, b, rng.uniform(0.3, 1.0, batch)


def options(rows, cols, **more):
    return {"rows": rows, "cols": cols, "tol": 0, "max_iter": 3, "on_failure": "ignore", **more}


def compare(found, expected, close):
    for name, x, y in zip(INPUTS, found, expected, strict=True):
        scale = max(1.0, np.abs(y).max())
        np.testing.assert_allclose(np.asarray(x) / scale, np.asarray(y) / scale, rtol=0, atol=close, err_msg=name)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("reference", ["product", "counting"])
@pytest.mark.parametrize("end", ["rows", "cols", None])
@pytest.mark.parametrize(("rows", "cols"), PENALTIES, ids=str)
def test_a_layer_is_the_budget_of_solve(rows, cols, end, reference, dtype):
    for shape in ((3, 5, 7), (2, 2, 33, 18), (4, 9), (1, 8, 8)):
        cost, a, b, epsilon = problems(shape, dtype)
        how = options(rows, cols, reference=reference, end=end)
        layer = solved_layer(how, cost, a, b, epsilon)
        sol = eot.solve(cost, a, b, epsilon=epsilon if epsilon.ndim else float(epsilon), **how)
        close = CLOSE[dtype]
        np.testing.assert_allclose(layer.plan, sol.plan, rtol=close, atol=close)
        np.testing.assert_allclose(layer.f, sol.host.f.reshape(layer.f.shape), rtol=close, atol=close)
        np.testing.assert_allclose(layer.g, sol.host.g.reshape(layer.g.shape), rtol=close, atol=close)
        assert not layer.converged.any()
        rng = np.random.default_rng(1)
        bars = {name: rng.normal(size=x.shape) for name, x in (("plan", layer.plan), ("f", layer.f), ("g", layer.g))}
        expected = sol.vjp(**bars)
        found = layer.vjp(**bars)
        compare([getattr(found, x) for x in INPUTS], [getattr(expected, x) for x in INPUTS], 10 * close)
        alone = layer.vjp(None, bars["f"], bars["g"])
        np.testing.assert_allclose(alone.a, sol.vjp(f=bars["f"], g=bars["g"]).a, rtol=0, atol=100 * close)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("end", ["rows", "cols"])
@pytest.mark.parametrize("count", [1, 2, 5])
def test_derivatives_are_the_same_with_and_without_what_is_kept(count, end, dtype):
    cost, a, b, epsilon = problems((3, 6, 9), dtype)
    layer = solved_layer(options(eot.KL(0.7), eot.Fixed(), end=end, max_iter=count), cost, a, b, epsilon)
    bar = np.random.default_rng(1).normal(size=cost.shape)
    none = np.zeros_like(a), np.zeros_like(b)
    kept, again = layer.vjp(bar, *none), layer._replace(history=None).vjp(bar, *none)
    compare([getattr(again, x) for x in INPUTS], [getattr(kept, x) for x in INPUTS], 10 * CLOSE[dtype])
    np.testing.assert_array_equal(layer.slope(bar), kept.cost)


@pytest.mark.parametrize("end", ["rows", "cols"])
@pytest.mark.parametrize(("rows", "cols"), PENALTIES[2:], ids=str)
def test_derivatives_are_finite_differences(rows, cols, end):
    cost, a, b, epsilon = problems((2, 6, 5), np.float64)
    how = options(rows, cols, reference="counting", end=end)
    weights = np.random.default_rng(2).normal(size=cost.shape)

    if isinstance(rows, eot.Elastic):  # whose strength follows epsilon; derivatives are at held strengths
        how["rows"] = eot.KL(rows.lam / (1.0 - rows.lam) * epsilon)

    def loss(*inputs):
        return (solved_layer(how, *inputs).plan * weights).sum()

    found = solved_layer(how, cost, a, b, epsilon).vjp(weights, np.zeros(a.shape), np.zeros(b.shape))
    inputs = [cost, a, b, epsilon]
    for q, name in enumerate(INPUTS[:4]):
        step = np.random.default_rng(3).normal(size=inputs[q].shape)
        up, down = (
            loss(*(x + sign * 1e-6 * step if k == q else x for k, x in enumerate(inputs))) for sign in (1.0, -1.0)
        )
        assert (getattr(found, name) * step).sum() == pytest.approx((up - down) / 2e-6, rel=1e-6, abs=1e-7)


@pytest.mark.parametrize("shape", [(300, 9, 8), (3, 40, 30)])
def test_results_do_not_depend_on_threads(shape, monkeypatch):
    monkeypatch.setattr(load_layers(), "PARALLEL_FROM", 1)
    cost, a, b, epsilon = problems(shape, np.float32)
    found = []
    for count in (1, 2):
        monkeypatch.setattr(load_layers(), "available", lambda count=count: count)
        layer = solved_layer(options(eot.Fixed(), eot.KL(1.0)), cost, a, b, epsilon)
        found.append((layer.plan, layer.vjp(layer.plan, layer.f, layer.g).cost))
    for one, other in zip(*found, strict=True):
        np.testing.assert_array_equal(one, other)


def test_shared_costs_and_weights_are_read_once():
    cost, a, b, epsilon = problems((3, 5, 7), np.float64)
    one = [np.broadcast_to(x[:1], x.shape) for x in (cost, a, b)]
    layer = plain_layer(options(eot.Fixed(), eot.Fixed()), *one, epsilon)
    assert layer.task.cost.shape == (1, 5, 7)
    assert layer.task.a.shape == (1, 5)
    whole = solved_layer(options(eot.Fixed(), eot.Fixed()), *(x.copy() for x in one), epsilon)
    np.testing.assert_array_equal(solved_layer(options(eot.Fixed(), eot.Fixed()), *one, epsilon).plan, whole.plan)


def unusual(dtype):
    """What a layer does not serve, by name."""
    cost, a, b, epsilon = problems((2, 5, 7), dtype)
    fixed, many = options(eot.Fixed(), eot.Fixed()), np.zeros((MANY_TINY + 1, 4, 4))
    spots = {"inf": np.inf, "-inf": -np.inf, "nan": np.nan, "high": 1e4, "beyond the reach": 300.0}
    for name, value in spots.items():
        spoilt = cost.copy()
        spoilt[1, 4, 6] = value
        yield name, (fixed, spoilt, a, b, epsilon)
    for name, value in {"zero": 0.0, "negative": -1.0, "nan weight": np.nan}.items():
        spoilt = a.copy()
        spoilt[1, 2] = value
        yield name, (fixed, cost, spoilt, b, epsilon)
    tiny, far = (1e-12, 30.0) if dtype == np.float32 else (1e-90, 245.0)
    light, spread, high = a.copy(), b.copy(), cost.copy()
    light[1, 2] = spread[1, 3] = tiny
    high[1, 2, 3] = far
    spread *= light.sum(axis=-1, keepdims=True) / spread.sum(axis=-1, keepdims=True)
    yield "entries of the plan near underflow", (fixed, high, light, spread, np.ones(2))
    yield "masses", (fixed, cost, 2.0 * a, b, epsilon)
    yield "epsilon", (fixed, cost, a, b, np.array([1.0, 0.0]))
    yield "tol", ({**fixed, "tol": 1e-6}, cost, a, b, epsilon)
    yield "method", ({**fixed, "method": "log"}, cost, a, b, epsilon)
    yield "no iteration", ({**fixed, "max_iter": 0}, cost, a, b, epsilon)
    yield "a penalty with a kink", ({**fixed, "rows": eot.TV(1.0)}, cost, a, b, epsilon)
    yield (
        "many tiny ones",
        (fixed, many, np.ones((MANY_TINY + 1, 4)), np.ones((MANY_TINY + 1, 4)), np.ones(MANY_TINY + 1)),
    )
    yield "large", (fixed, np.zeros((1, 2, LARGEST_LAYER)), np.ones((1, 2)), np.ones((1, LARGEST_LAYER)), np.ones(1))
    yield (
        "long rows",
        (fixed, np.zeros((1, 2, LONGEST_ROW + 1)), np.ones((1, 2)), np.ones((1, LONGEST_ROW + 1)), np.ones(1)),
    )
    yield "halves", (fixed, cost.astype(np.float16), a, b, epsilon)


@pytest.mark.parametrize(
    "case", [*unusual(np.float32), *unusual(np.float64)], ids=lambda case: f"{case[0]}-{case[1][1].dtype}"
)
def test_the_unusual_goes_another_way(case):
    assert solved_layer(*case[1]) is None


def test_a_backward_pass_finds_its_way_around_too():
    cost, a, b, epsilon = problems((2, 5, 7), np.float64)
    cost[1, 4, 6] = 600.0  # beyond the reach of a layer, and known only when it is run
    text = encode(plain(options(eot.Fixed(), eot.Fixed())))
    rho, bar = np.zeros((2, 2)), np.random.default_rng(4).normal(size=cost.shape)
    found, _, f, g = stateless.plan((cost, a, b, epsilon, rho), text)
    by_cost, *_ = stateless.pull_back((cost, a, b, epsilon, rho, f, g, bar, np.zeros_like(a), np.zeros_like(b)), text)
    sol = eot.solve(cost, a, b, epsilon=epsilon, tol=0, max_iter=3)
    np.testing.assert_allclose(found, sol.plan, rtol=1e-12)
    np.testing.assert_allclose(by_cost, sol.vjp(plan=bar).cost, rtol=1e-12, atol=1e-14)
