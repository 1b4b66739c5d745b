"""Routers: loads, capacities, assignments and weights against NumPy, SciPy and the definitions."""

import numpy as np
import pytest
from scipy.optimize import linear_sum_assignment, linprog

import elastic_ot as eot
from elastic_ot.applications import routing, routing_plan
from elastic_ot.applications.routing import load_balance, route
from helpers.application_arrays import DIFFERENTIABLE, arrays, differences, gradient, opened  # noqa: F401 - a fixture

TIGHT = {"tol": 1e-11}


def some_logits(tokens=24, experts=4, seed=0, skew=1.0, batch=()):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(*batch, tokens, experts)) + skew * np.linspace(1.0, -1.0, experts)


def softmax(x):
    weights = np.exp(x - x.max(axis=-1, keepdims=True))
    return weights / weights.sum(axis=-1, keepdims=True)


def sinkhorn(scores, a, b, tau=1.0, steps=4000):
    """Scaling in plain NumPy: rows a; columns b to the power tau; ends on the rows."""
    kernel, v = np.exp(scores), np.ones(scores.shape[1])
    for _ in range(steps):
        u = a / (kernel @ v)
        v = (b / (kernel.T @ u)) ** tau
    u = a / (kernel @ v)
    return u[:, None] * kernel * v


def count(idx, experts):
    return np.bincount(idx[idx >= 0], minlength=experts)


def test_softmax_takes_the_largest_logits(arrays):  # noqa: F811
    logits = some_logits()
    found = route(arrays.make(logits), 2)
    order = np.argsort(-logits, axis=-1)[:, :2]
    idx = np.asarray(arrays.read(found.idx))
    np.testing.assert_array_equal(idx, order)
    np.testing.assert_allclose(arrays.read(found.weight), np.take_along_axis(softmax(logits), order, -1), rtol=1e-12)
    np.testing.assert_array_equal(arrays.read(found.load), count(order, 4))
    assert isinstance(found.weight, arrays.kind)
    assert found.plan is None


@pytest.mark.parametrize("lam", [0.0, 0.4, 1.0])
def test_the_plan_is_that_of_scaling_in_numpy(arrays, lam):  # noqa: F811
    logits = some_logits()
    found = route(arrays.make(logits), 2, method="sinkhorn", lam=lam, epsilon=0.7, **TIGHT)
    plan = sinkhorn(logits / 0.7, np.full(24, 2.0), np.full(4, 12.0), lam)
    np.testing.assert_allclose(arrays.read(found.plan), plan, atol=1e-9)  # tol times the mass of 48
    best = np.argsort(-plan, axis=-1)[:, :2]
    np.testing.assert_array_equal(arrays.read(found.idx), best)
    np.testing.assert_allclose(arrays.read(found.weight), np.take_along_axis(plan / 2, best, -1), atol=1e-9)
    assert bool(found.converged)


def test_without_elasticity_sinkhorn_is_softmax():
    logits = some_logits()
    plain, loose = route(logits, 2), route(logits, 2, method="sinkhorn", lam=0.0, **TIGHT)
    np.testing.assert_array_equal(plain.idx, loose.idx)
    np.testing.assert_allclose(plain.weight, loose.weight, rtol=1e-12)


def test_the_largest_load_falls_as_lam_grows():
    logits = some_logits(512, 8, skew=1.5)
    lams = [0.0, 0.2, 0.4, 0.6, 0.8, 0.9, 1.0]
    found = [route(logits, 2, method="sinkhorn", lam=lam) for lam in lams]
    of_plan = [float(load_balance(x.plan.sum(axis=0)).max_over_mean) for x in found]
    of_load = [float(load_balance(x.load).max_over_mean) for x in found]
    assert (np.diff(of_plan) < 0).all()
    assert (np.diff(of_load) <= 0).all()
    assert of_load[-1] < 0.5 * of_load[0]
    assert of_plan[-1] == pytest.approx(1.0, abs=1e-5)  # tol


@pytest.mark.parametrize("method", ["softmax", "sinkhorn", "s-base", "base"])
@pytest.mark.parametrize("training", [True, False])
def test_a_capacity_is_never_exceeded(arrays, method, training):  # noqa: F811
    logits = some_logits(30, 4, skew=3.0, batch=(3,))
    for k, capacity in ((1, 8), (3, 23)):
        if method == "base" and k > 1:
            continue
        found = route(arrays.make(logits), k, method=method, capacity=capacity, training=training)
        idx, load = arrays.read(found.idx), arrays.read(found.load)
        assert load.max() <= capacity
        for i in range(3):
            np.testing.assert_array_equal(load[i], count(idx[i], 4))
            assert all(len(set(row)) == k for row in idx[i].tolist())
        assert idx.min() >= 0


@pytest.mark.parametrize("seed", range(20))
def test_tokens_left_over_displace_others_until_all_are_placed(seed):
    """No room to spare and the same favourites: the first choices leave tokens that have only full experts."""
    rng = np.random.default_rng(seed)
    experts, k = int(rng.integers(3, 7)), int(rng.integers(2, 4))
    tokens = experts * int(rng.integers(2, 6))
    logits = rng.normal(size=(tokens, experts)) + 4.0 * np.arange(experts)
    capacity = tokens * k // experts
    found = route(logits, k, capacity=capacity)
    np.testing.assert_array_equal(found.load, capacity)
    assert all(len(set(row)) == k for row in found.idx.tolist())


def test_a_capacity_with_room_for_all_changes_nothing():
    logits = some_logits()
    np.testing.assert_array_equal(route(logits, 2, capacity=24).idx, route(logits, 2).idx)


def test_the_plan_keeps_capacities_and_leaves_room_where_it_is():
    logits = some_logits(40, 4, skew=2.0)
    found = route(logits, method="sinkhorn", capacity=12, tol=1e-10)
    loads = found.plan.sum(axis=0)
    assert loads.max() <= 12 * (1 + 1e-8)
    assert loads.min() < 11  # 48 places for 40 tokens
    # the dual: experts with room have no price, so their column is that of the row softmax up to a row factor
    g = np.log(found.plan) - logits
    g -= g[:, [3]]
    np.testing.assert_allclose(g[:, loads < 11.9], 0.0, atol=1e-9)
    assert (g[:, loads > 11.9] < 0).all()


def test_a_capacity_that_cannot_hold_all_tokens_is_refused():
    with pytest.raises(ValueError, match=r"4 experts with capacity 11 have 44 places.*need 48.*at least 12"):
        route(some_logits(), 2, capacity=11)
    mask = np.arange(24) < 20
    assert route(some_logits(), 2, capacity=11, mask=mask).load.max() <= 11


@pytest.mark.parametrize("seed", range(3))
def test_base_is_linear_sum_assignment_on_repeated_columns(arrays, seed):  # noqa: F811
    logits = some_logits(24, 4, seed)
    columns = np.repeat(np.arange(4), 6)
    _, chosen = linear_sum_assignment(logits[:, columns], maximize=True)
    found = route(arrays.make(logits), method="base")
    np.testing.assert_array_equal(arrays.read(found.idx)[:, 0], columns[chosen])
    np.testing.assert_allclose(
        arrays.read(found.weight)[:, 0], 1 / (1 + np.exp(-logits[np.arange(24), columns[chosen]])), rtol=1e-12
    )


def test_base_rounds_the_loads_of_an_uneven_number_of_tokens_up_or_down():
    logits = some_logits(26, 4, skew=2.0)
    found = route(logits, method="base")
    assert sorted(found.load.tolist()) == [6, 6, 7, 7]
    # linear programme: rows 1, columns between 6 and 7; its vertices are assignments
    rows, cols = np.kron(np.eye(26), np.ones(4)), np.kron(np.ones(26), np.eye(4))
    limits = np.concatenate([np.full(4, 7.0), np.full(4, -6.0)])
    best = linprog(-logits.ravel(), np.concatenate([cols, -cols]), limits, rows, np.ones(26))
    assert logits[np.arange(26), found.idx[:, 0]].sum() == pytest.approx(-best.fun, rel=1e-12)


def test_base_with_a_capacity_is_the_best_assignment_within_it():
    logits = some_logits(24, 4, skew=2.0)
    columns = np.repeat(np.arange(4), 9)
    row, chosen = linear_sum_assignment(logits[:, columns], maximize=True)
    found = route(logits, method="base", capacity=9)
    np.testing.assert_array_equal(found.idx[:, 0], columns[chosen])
    assert found.load.min() < 6 < found.load.max()


def test_s_base_is_sinkhorn_with_weights_of_the_softmax():
    logits = some_logits()
    found, plain = route(logits, 2, method="s-base", **TIGHT), route(logits, 2, method="sinkhorn", **TIGHT)
    np.testing.assert_array_equal(found.idx, plain.idx)
    np.testing.assert_allclose(found.weight, np.take_along_axis(softmax(logits), found.idx, -1), rtol=1e-12)


def test_entropic_base_tends_to_base():
    logits = some_logits()
    found = route(logits, method="s-base", epsilon=0.01, tol=1e-4)
    np.testing.assert_array_equal(found.idx, route(logits, method="base").idx)


def test_selective_routing_solves_with_the_given_probability(monkeypatch):
    calls = []
    solve = routing.routed_plan
    monkeypatch.setattr(routing, "routed_plan", lambda *x, **y: calls.append(1) or solve(*x, **y))
    logits, rng = some_logits(), np.random.default_rng(0)
    draws = rng.random(400)
    for draw in draws:
        found = route(logits, 2, method="ssr", draw=float(draw), probability=0.1)
        assert (found.plan is not None) == (draw < 0.1)
    assert len(calls) == (draws < 0.1).sum() > 20
    np.testing.assert_array_equal(route(logits, 2, method="ssr", draw=0.5).idx, route(logits, 2).idx)
    solved = route(logits, 2, method="ssr", draw=0.0)
    np.testing.assert_array_equal(solved.plan, route(logits, 2, method="sinkhorn").plan)
    assert route(logits, method="ssr", draw=np.random.default_rng(1), probability=1.0).plan is not None


@pytest.mark.parametrize("method", ["softmax", "sinkhorn", "ssr", "s-base", "base"])
def test_inference_never_solves(monkeypatch, method):
    def fail(*arguments, **options):
        raise AssertionError("solved")

    monkeypatch.setattr(routing, "routed_plan", fail)
    monkeypatch.setattr(routing.capacities, "exact", fail)
    logits = some_logits()
    np.testing.assert_array_equal(route(logits, method=method, training=False).idx, route(logits).idx)
    assert route(logits, method=method, training=False, capacity=6).load.max() == 6
    if method not in ("softmax", "ssr"):
        with pytest.raises(AssertionError, match="solved"):
            route(logits, method=method)


@pytest.mark.parametrize("method", ["softmax", "sinkhorn", "s-base", "base"])
def test_padding_changes_nothing_and_goes_nowhere(arrays, method):  # noqa: F811
    logits = some_logits(20, 4)
    padded = np.concatenate([logits[:7], np.full((5, 4), np.nan), logits[7:]])
    mask = np.isfinite(padded[:, 0])
    for capacity in (None, 6):
        plain = route(logits, method=method, capacity=capacity, tol=1e-10)
        found = route(arrays.make(padded), method=method, capacity=capacity, mask=arrays.make(mask), tol=1e-10)
        idx, weight = arrays.read(found.idx), arrays.read(found.weight)
        np.testing.assert_array_equal(idx[mask], plain.idx)
        np.testing.assert_array_equal(idx[~mask], -1)
        np.testing.assert_allclose(weight[mask], plain.weight, atol=1e-8)  # both solved to tol
        np.testing.assert_array_equal(weight[~mask], 0.0)
        np.testing.assert_array_equal(arrays.read(found.load), plain.load)


@pytest.mark.parametrize("method", ["softmax", "sinkhorn", "base"])
def test_leading_dimensions_are_routed_one_by_one(arrays, method):  # noqa: F811
    logits = some_logits(12, 3, batch=(2, 2))
    found = route(arrays.make(logits), method=method, **TIGHT)
    for index in np.ndindex(2, 2):
        one = route(logits[index], method=method, **TIGHT)
        np.testing.assert_array_equal(arrays.read(found.idx)[index], one.idx)
        np.testing.assert_array_equal(arrays.read(found.load)[index], one.load)
        np.testing.assert_allclose(arrays.read(found.weight)[index], one.weight, atol=1e-9)


def test_a_budget_is_exactly_so_many_iterations():
    logits = some_logits(skew=3.0)
    for count_of in (1, 3):
        found = route(logits, method="sinkhorn", tol=0, max_iter=count_of)
        np.testing.assert_allclose(
            found.plan, sinkhorn(logits, np.ones(24), np.full(4, 6.0), steps=count_of - 1), rtol=1e-10
        )
        moved = np.abs(found.plan.sum(axis=0) - 6).sum() / 24
        assert float(found.residual) == pytest.approx(moved, rel=1e-9)
        assert not found.converged


@pytest.mark.parametrize("options", [{"lam": 1.0}, {"lam": 0.3}, {"capacity": 17}], ids=str)
def test_scalings_find_what_the_solver_finds(arrays, monkeypatch, options):  # noqa: F811
    """Where nothing is differentiated; logarithms of the plan, by which pairs are served, included."""
    logits = some_logits(30, 4, skew=2.0, batch=(2,))
    found = []
    with monkeypatch.context() as patched:
        patched.setattr(routing, "routed_plan", lambda *x: found.append(routing_plan.routed_plan(*x)) or found[-1])
        given = {"method": "sinkhorn", "tol": 1e-12, "epsilon": 0.6, "combine": "sigmoid", **options}
        routed = [route(arrays.make(logits), 2, **given)]
        patched.setattr(routing_plan, "PLAIN_ITERATIONS", 0)
        routed.append(route(arrays.make(logits), 2, **given))
    np.testing.assert_allclose(arrays.read(found[0].plan), arrays.read(found[1].plan), atol=1e-10)
    np.testing.assert_allclose(arrays.read(found[0].logs), arrays.read(found[1].logs), atol=1e-10)
    assert float(np.max(arrays.read(found[0].residual))) <= 1e-12
    np.testing.assert_array_equal(arrays.read(routed[0].idx), arrays.read(routed[1].idx))


def test_logits_beyond_the_range_of_scalings_are_solved_in_logarithms():
    logits = some_logits(30, 4).astype(np.float32)
    logits[:, 3] -= 200  # exp underflows
    found = route(logits, method="sinkhorn", tol=1e-5)
    assert bool(found.converged)
    np.testing.assert_allclose(found.plan.sum(axis=0), 7.5, atol=30 * 1e-5)
    near = some_logits(30, 4).astype(np.float32)
    np.testing.assert_allclose(found.plan, route(near, method="sinkhorn", tol=1e-6).plan, atol=30 * 1e-5)


def test_equal_logits_go_to_the_first_experts(arrays):  # noqa: F811
    for k in (1, 3, 6):
        found = route(arrays.make(np.zeros((2, 8))), k)
        np.testing.assert_array_equal(arrays.read(found.idx), np.broadcast_to(np.arange(k), (2, k)))


def test_an_unconverged_plan_says_so():
    with pytest.warns(eot.ConvergenceWarning):
        found = route(some_logits(skew=3.0), method="sinkhorn", epsilon=0.05, tol=1e-10, max_iter=2)
    assert not found.converged
    assert found.residual > 1e-3


def weighted(name, values, factors, **options):
    """A scalar function of the weights."""
    with opened(name) as found:
        factors = found.make(factors)
    return gradient(name, lambda x: (route(x, **options).weight * factors).sum(), values)


@pytest.mark.parametrize("name", DIFFERENTIABLE)
@pytest.mark.parametrize(
    "options",
    [
        {"method": "softmax"},
        {"method": "sinkhorn", "tol": 1e-12},
        {"method": "sinkhorn", "lam": 0.5, "tol": 1e-12},
        {"method": "sinkhorn", "capacity": 4, "tol": 1e-12},
        {"method": "sinkhorn", "grad": "unroll", "tol": 0, "max_iter": 3},
        {"method": "base", "k": 1},
        {"method": "s-base", "tol": 1e-12},
    ],
    ids=str,
)
def test_gradients_are_those_of_differences(name, options):
    logits = some_logits(6, 4, seed=3)
    options = {"k": 2, **options}
    factors = np.random.default_rng(1).normal(size=(6, options["k"]))
    found = weighted(name, logits, factors, **options)
    numeric = differences(lambda x: (route(x, **options).weight * factors).sum(), logits, step=1e-5)
    np.testing.assert_allclose(found, numeric, atol=1e-6)  # tol times the mass of 12 over the step
    assert np.abs(found).max() > 1e-3


@pytest.mark.parametrize("name", DIFFERENTIABLE)
@pytest.mark.parametrize("combine", ["softmax", "sigmoid"])
def test_selection_is_not_differentiated(name, combine):
    """With weights of the softmax or sigmoid the plan only chooses, and solves nothing backwards."""
    logits = some_logits(6, 4)
    factors = np.random.default_rng(1).normal(size=(6, 2))
    chosen = route(logits, 2, method="sinkhorn").idx

    def by_hand(x):
        gates = softmax(x) if combine == "softmax" else 1 / (1 + np.exp(-x))
        return (np.take_along_axis(gates, chosen, -1) * factors).sum()

    found = weighted(name, logits, factors, k=2, method="sinkhorn", combine=combine)
    np.testing.assert_allclose(found, differences(by_hand, logits), atol=1e-8)


def test_a_detached_plan_has_no_gradient():
    with opened("torch") as found:
        logits = found.make(some_logits()).requires_grad_()
        assert not route(logits, method="sinkhorn", grad="detach").weight.requires_grad


def test_half_precision_is_routed_in_single():
    with opened("torch") as found:
        import torch

        logits = found.make(some_logits()).bfloat16()
        routed = route(logits, method="sinkhorn")
        assert routed.weight.dtype == torch.float32
        np.testing.assert_array_equal(routed.idx, route(logits.float(), method="sinkhorn").idx)
        assert bool(routed.converged)


def test_softmax_and_sinkhorn_can_be_compiled_by_jax():
    with opened("jax") as found:
        import jax

        logits = found.make(some_logits())
        for method in ("softmax", "sinkhorn"):
            jitted = jax.jit(lambda x, method=method: (route(x, 2, method=method).idx, route(x, 2).load))(logits)
            np.testing.assert_array_equal(jitted[0], route(logits, 2, method=method).idx)
            np.testing.assert_array_equal(jitted[1], route(logits, 2).load)


def test_load_balance_measures_known_loads(arrays):  # noqa: F811
    found = load_balance(arrays.make(np.array([[4.0, 4.0, 4.0, 4.0], [16.0, 0.0, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0]])))
    np.testing.assert_allclose(arrays.read(found.max_over_mean), [1.0, 4.0, 0.0])
    np.testing.assert_array_equal(arrays.read(found.dead), [0, 3, 4])
    np.testing.assert_allclose(arrays.read(found.variation), [0.0, np.sqrt(3.0), 0.0])


@pytest.mark.parametrize("method", ["softmax", "sinkhorn", "base"])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_logits_that_are_not_finite_are_named(arrays, method, value):  # noqa: F811
    logits = some_logits()
    logits[3, 2] = value
    with pytest.raises(ValueError, match=rf"logits\[3, 2\] is {value}; values must be finite"):
        route(arrays.make(logits), method=method)


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        ((np.zeros(4),), {}, r"logits has shape \(4,\)"),
        ((np.zeros((4, 0)),), {}, "none of these may be 0"),
        ((np.zeros((4, 2)), 3), {}, "k is 3 and there are 2 experts"),
        ((np.zeros((4, 2)), 0), {}, "k is 0"),
        ((np.zeros((4, 2)),), {"method": "hash"}, "method is 'hash'; choose from 'softmax'"),
        ((np.zeros((4, 2)),), {"combine": "sum"}, "combine is 'sum'"),
        ((np.zeros((4, 2)),), {"epsilon": 0.0}, "epsilon is 0.0"),
        ((np.zeros((4, 2)),), {"lam": 0.5}, "lam is 0.5 and method is 'softmax'"),
        ((np.zeros((4, 2)),), {"lam": 1.5, "method": "sinkhorn"}, "lam is 1.5"),
        ((np.zeros((4, 2)), 2), {"method": "base"}, "k is 2 and method is 'base'"),
        ((np.zeros((4, 2)),), {"method": "base", "combine": "plan"}, "combine is 'plan' and method is 'base'"),
        ((np.zeros((4, 2)),), {"capacity": 2.5}, "capacity is 2.5"),
        ((np.zeros((4, 2)),), {"method": "ssr"}, "pass draw"),
        ((np.zeros((4, 2)),), {"method": "ssr", "draw": 1.0}, "draw is 1.0"),
        ((np.zeros((4, 2)),), {"method": "ssr", "draw": 0.1, "probability": 2}, "probability is 2"),
        ((np.zeros((4, 2)),), {"mask": np.zeros(4, bool)}, "mask leaves no token"),
        ((np.zeros((4, 2)),), {"mask": np.ones(3, bool)}, r"mask has shape \(3,\).*\(4,\)"),
    ],
)
def test_bad_input_is_named(arguments, options, message):
    with pytest.raises(ValueError, match=message):
        route(*arguments, **options)


def test_a_mask_that_is_not_boolean_is_refused():
    with pytest.raises(TypeError, match="mask has dtype"):
        route(np.zeros((4, 2)), mask=np.ones(4))
