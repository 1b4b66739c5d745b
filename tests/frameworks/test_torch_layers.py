"""Layers in eager PyTorch: the short way to a plan of some iterations, and its derivatives, is the way of operators."""

import gc
import sys
import threading
import weakref
from pathlib import Path

import pytest

import elastic_ot as eot
from helpers.array_libraries import library

library("torch")
import torch  # noqa: E402

import elastic_ot.torch as eot_torch  # noqa: E402
from elastic_ot.frameworks import torch_operators  # noqa: E402
from elastic_ot.frameworks.torch_layers import plan_of_layer  # noqa: E402

PACKAGE = str(Path(eot.__file__).parent)
THREE = {"grad": "unroll", "max_iter": 3, "on_failure": "ignore"}
KINDS = [
    {},
    {"reference": "counting", "end": "rows"},
    {"rows": eot.KL(0.7), "cols": eot.Elastic(0.4), "end": "cols"},
    {"cols": eot.Free(), "max_iter": 1},
]
CLOSE = {torch.float32: 2e-5, torch.float64: 1e-11}  # sums of some dozen terms, several times over


def layer(shape, dtype=torch.float64, batched=False, seed=0):
    """A cost, weights of one mass and a derivative in the plan."""
    generator = torch.Generator().manual_seed(seed)
    (*batch, n, m), batch_of_weights = shape, shape[:-2] if batched else ()
    a, b = (torch.rand(*batch_of_weights, k, generator=generator, dtype=torch.float64) + 0.5 for k in (n, m))
    b = b * a.sum(-1, keepdim=True) / b.sum(-1, keepdim=True)
    cost, bar = torch.randn(2, *batch, n, m, generator=generator, dtype=dtype)
    return [x.clone().requires_grad_() for x in (cost, a, b)], bar


def by_operators(cost, a, b, **options):
    """The same solve where epsilon is a tensor, which the short way does not take."""
    return eot_torch.plan(cost, a, b, epsilon=torch.tensor(0.7, dtype=torch.float64), **options)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("kind", KINDS, ids=str)
@pytest.mark.parametrize(("shape", "batched"), [((5, 7), False), ((1, 8, 8), False), ((2, 3, 9, 6), True)])
def test_the_short_way_is_that_of_operators(kind, shape, batched, dtype):
    inputs, bar = layer(shape, dtype, batched)
    options = THREE | kind
    named = {name: value for name, value in options.items() if name != "grad"}
    assert plan_of_layer(*inputs, 0.7, (None, None), "unroll", None, named) is not None
    plans = eot_torch.plan(*inputs, epsilon=0.7, **options), by_operators(*inputs, **options)
    slopes = [torch.autograd.grad((plan * bar).sum(), inputs) for plan in plans]
    torch.testing.assert_close(*plans, rtol=CLOSE[dtype], atol=CLOSE[dtype])
    for x, y, given in zip(*slopes, inputs, strict=True):
        assert x.dtype == given.dtype
        torch.testing.assert_close(x, y, rtol=0, atol=10 * CLOSE[dtype] * max(1.0, y.abs().max().item()))
    alone = torch.autograd.grad((eot_torch.plan(inputs[0], epsilon=0.7, **options) * bar).sum(), inputs[0])[0]
    expected = torch.autograd.grad((by_operators(inputs[0], None, None, **options) * bar).sum(), inputs[0])[0]
    torch.testing.assert_close(alone, expected, rtol=0, atol=10 * CLOSE[dtype] * max(1.0, expected.abs().max().item()))


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_derivatives_are_finite_differences(kind):
    (cost, _, _), _ = layer((2, 4, 5))
    assert torch.autograd.gradcheck(lambda x: eot_torch.plan(x, epsilon=0.7, **(THREE | kind)), cost)


@pytest.mark.parametrize(
    "given",
    [
        {"epsilon": torch.tensor(0.7, dtype=torch.float64)},
        {"grad": "detach", "tol": 0},
        {"mask": torch.ones(5, 7, dtype=torch.bool)},
        {"cols": eot.KL(0.5), "col_rho": torch.tensor(1.0, dtype=torch.float64)},
        {"cols": eot.L2(0.5)},
    ],
    ids=lambda given: ", ".join(given),
)
def test_other_calls_go_the_long_way(given, monkeypatch):
    """They work as before; what they need, tensors of all inputs, is prepared."""
    prepared = []
    real = torch_operators.prepared
    monkeypatch.setattr(torch_operators, "prepared", lambda *given: prepared.append(given) or real(*given))
    (cost, _, _), _ = layer((5, 7))
    eot_torch.plan(cost, **({"epsilon": 0.7} | THREE | given))
    assert prepared
    prepared.clear()
    eot_torch.plan(cost, epsilon=0.7, **THREE)
    assert not prepared


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"epsilon": 0.0}, "epsilon is 0.0"),
        ({"max_iter": None}, "max_iter"),
        ({"end": "diagonal"}, "end is 'diagonal'"),
        ({"rows": "KL"}, "rows must be a penalty"),
        ({"a": torch.ones(4)}, "a has shape"),
    ],
    ids=str,
)
def test_mistakes_are_named_as_elsewhere(given, message):
    (cost, _, _), _ = layer((5, 7))
    with pytest.raises((TypeError, ValueError), match=message):
        eot_torch.plan(cost, **({"epsilon": 0.7} | THREE | given))


def test_costs_beyond_the_reach_of_a_layer_go_the_long_way():
    (cost, a, b), bar = layer((5, 7))
    with torch.no_grad():
        cost[1, 2] = 1e3
    plan = eot_torch.plan(cost, a, b, epsilon=0.7, **THREE)
    torch.testing.assert_close(plan, by_operators(cost, a, b, **THREE), rtol=0, atol=0)
    (plan * bar).sum().backward()
    assert torch.isfinite(cost.grad).all()


def test_the_plan_may_be_changed_and_the_cost_may_not():
    (cost, a, b), bar = layer((3, 5, 7))
    plan = eot_torch.plan(cost, a, b, epsilon=0.7, **THREE)
    (expected,) = torch.autograd.grad((plan * bar).sum(), cost, retain_graph=True)
    with torch.no_grad():
        plan.zero_()
    (found,) = torch.autograd.grad(plan, cost, bar, retain_graph=True)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)
    with torch.no_grad():
        cost.add_(1.0)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        torch.autograd.grad(plan, cost, bar)


def test_a_graph_is_walked_as_often_as_it_is_kept():
    (cost, a, b), bar = layer((3, 5, 7))
    plan = eot_torch.plan(cost, a, b, epsilon=0.7, **THREE)
    slopes = [torch.autograd.grad(plan, cost, bar, retain_graph=keep)[0] for keep in (True, False)]
    torch.testing.assert_close(*slopes, rtol=0, atol=0)
    with pytest.raises(RuntimeError, match="second time"):
        torch.autograd.grad(plan, cost, bar)


def test_layers_are_differentiated_once():
    inputs, bar = layer((3, 5, 7))
    plan = eot_torch.plan(*inputs, epsilon=0.7, **THREE)
    expected = torch.autograd.grad(plan, inputs, bar, retain_graph=True)
    slopes = torch.autograd.grad(plan, inputs, bar, create_graph=True)
    for x, y in zip(slopes, expected, strict=True):
        torch.testing.assert_close(x, y, rtol=0, atol=1e-12)
    with pytest.raises(RuntimeError, match="can be differentiated once"):
        slopes[0].sum().backward()


def test_many_derivatives_at_once():
    inputs, _ = layer((2, 3, 4))

    def plan(*inputs):
        return eot_torch.plan(*inputs, epsilon=0.7, **THREE)

    jacobians = [torch.autograd.functional.jacobian(plan, tuple(inputs), vectorize=way) for way in (False, True)]
    for x, y in zip(*jacobians, strict=True):
        torch.testing.assert_close(x, y, rtol=0, atol=1e-12)


def test_transformations_and_graphs_know_layers_too():
    (cost, a, b), bar = layer((3, 5, 7))
    cost, a, b = (x.detach() for x in (cost, a, b))

    def loss(cost, bar):
        return (eot_torch.plan(cost, a, b, epsilon=0.7, **THREE) * bar).sum()

    given = cost.clone().requires_grad_()
    (expected,) = torch.autograd.grad(loss(given, bar), given)
    each = torch.func.vmap(torch.func.grad(loss))(cost, bar)
    torch.testing.assert_close(each, expected, rtol=0, atol=1e-12)
    torch.compiler.reset()
    compiled = torch.compile(loss, fullgraph=True, backend="aot_eager")
    (found,) = torch.autograd.grad(compiled(given, bar), given)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)


def test_what_is_kept_goes_with_the_plan():
    (cost, a, b), bar = layer((3, 5, 7))
    gc.disable()
    try:
        for walked in (False, True):
            plan = eot_torch.plan(cost, a, b, epsilon=0.7, **THREE)
            kept = weakref.ref(plan.grad_fn.layer.history.plans)
            if walked:
                plan.backward(bar)
            assert kept() is not None
            del plan
            assert kept() is None
    finally:
        gc.enable()


def test_nothing_is_kept_where_nothing_is_differentiated():
    (cost, a, b), _ = layer((3, 5, 7))
    assert eot_torch.plan(cost.detach(), epsilon=0.7, **THREE).grad_fn is None
    with torch.no_grad():
        assert eot_torch.plan(cost, a, b, epsilon=0.7, **THREE).grad_fn is None
    with torch.inference_mode():
        assert eot_torch.plan(cost, a, b, epsilon=0.7, **THREE).grad_fn is None


def test_threads_do_not_meet():
    problems = [layer((4, 9, 6), seed=seed) for seed in range(4)]

    def slope(problem):
        (cost, a, b), bar = problem
        return torch.autograd.grad(eot_torch.plan(cost, a, b, epsilon=0.7, **THREE), cost, bar)[0]

    expected, found = [slope(x) for x in problems], [[] for _ in problems]

    def work(k):
        found[k] += [slope(problems[k]) for _ in range(50)]

    threads = [threading.Thread(target=work, args=(k,)) for k in range(len(problems))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for slopes, y in zip(found, expected, strict=True):
        assert len(slopes) == 50
        for x in slopes:
            torch.testing.assert_close(x, y, rtol=0, atol=0)


def test_a_small_layer_is_few_calls_of_python():
    """Functions of this package, forward and backward, that a step enters once the caches know the call."""
    (cost, a, b), bar = layer((1, 8, 8), torch.float32)
    a, b = a.detach(), b.detach()

    def step():
        torch.autograd.grad(eot_torch.plan(cost, a, b, epsilon=0.7, **THREE), cost, bar)

    entered = []

    def note(frame, event, _):
        if event == "call" and frame.f_code.co_filename.startswith(PACKAGE):
            entered.append(frame.f_code.co_name)

    step()
    sys.setprofile(note)
    try:
        step()
    finally:
        sys.setprofile(None)
    assert len(entered) <= 60, entered
