"""Torch operators: the values of `solve`, torch's own gradient checks, and its compilers and transforms."""

import itertools
import warnings

import numpy as np
import pytest

import elastic_ot as eot
from helpers.array_libraries import library

library("torch")
import torch  # noqa: E402

import elastic_ot.torch as eot_torch  # noqa: E402
from elastic_ot.frameworks.options import encode, plain  # noqa: E402

# torch's own, when forward mode is used for the first time
pytestmark = pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated:DeprecationWarning")

DOUBLE = {"dtype": torch.float64}
ELASTIC = {"rows": eot.KL(0.5), "cols": eot.KL(2.0)}
PENALTIES = [eot.Fixed(), eot.KL(0.5), eot.TV(0.05), eot.L2(5.0), eot.Between(0.6, 1.3), eot.Free(), eot.Elastic(0.5)]
SOLVES = {
    "plan": eot_torch.plan,
    "log_plan": eot_torch.log_plan,
    "potentials": eot_torch.potentials,
    "transport_cost": eot_torch.transport_cost,
    "value": eot_torch.value,
}


def tensors(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    cost = torch.rand(*shape, generator=generator, **DOUBLE)
    a = torch.rand(shape[-2], generator=generator, **DOUBLE) + 0.2
    b = torch.rand(shape[-1], generator=generator, **DOUBLE) + 0.2
    return cost.requires_grad_(), (a / a.sum()).requires_grad_(), (b / b.sum()).requires_grad_()


def number(x):
    return torch.tensor(x, **DOUBLE).requires_grad_()


def flat(result):
    return torch.cat([x.reshape(-1) for x in (result if isinstance(result, tuple) else (result,))])


@pytest.mark.parametrize(("rows", "cols"), list(zip(PENALTIES, PENALTIES[1:] + PENALTIES[:1], strict=True)), ids=repr)
def test_results_are_those_of_solve(rows, cols):
    cost, a, b = (x.detach() for x in tensors(2, 4, 5))
    options = {"rows": rows, "cols": cols, "epsilon": 0.2, "tol": 1e-9}
    found = {name: function(cost, a, b, **options) for name, function in SOLVES.items()}
    for i in range(2):
        one = eot.solve(cost[i], a, b, **options)
        # a batch does not stop at the same iteration as a single solve: both meet the tolerance
        np.testing.assert_allclose(found["plan"][i], one.plan, rtol=0, atol=1e-8)
        np.testing.assert_allclose(found["potentials"][0][i], one.f, rtol=0, atol=1e-7)
        np.testing.assert_allclose(found["potentials"][1][i], one.g, rtol=0, atol=1e-7)
        np.testing.assert_allclose(found["transport_cost"][i], one.transport_cost, rtol=1e-7)
        np.testing.assert_allclose(found["value"][i], one.value, rtol=1e-7)


def test_every_penalty_travels_as_text():
    cost, a, b = (x.detach() for x in tensors(4, 5))
    for penalty in (*PENALTIES, eot.AtMost()):
        one = eot.solve(cost, a, 2 * b, epsilon=0.2, rows=eot.KL(1.0), cols=penalty, tol=1e-9)
        found = eot_torch.plan(cost, a, 2 * b, epsilon=0.2, rows=eot.KL(1.0), cols=penalty)
        np.testing.assert_allclose(found, one.plan, rtol=0, atol=1e-8)  # both meet tol


def test_leading_dimensions_broadcast():
    cost, a, _ = (x.detach() for x in tensors(3, 1, 4, 5))
    b = torch.rand(2, 5, generator=torch.Generator().manual_seed(3), **DOUBLE)
    b = b / b.sum(-1, keepdim=True)
    epsilon = torch.tensor([[0.1], [0.2], [0.3]], **DOUBLE).requires_grad_()
    found = eot_torch.plan(cost.requires_grad_(), a, b, epsilon=epsilon)
    assert found.shape == (3, 2, 4, 5)
    one = eot.solve(cost[1, 0].detach(), a, b[1], epsilon=0.2, tol=1e-9)
    np.testing.assert_allclose(found[1, 1].detach(), one.plan, rtol=0, atol=1e-8)
    found.square().sum().backward()
    assert cost.grad.shape == cost.shape
    assert epsilon.grad.shape == epsilon.shape


def test_a_mask_broadcasts_and_forbidden_cells_have_no_gradient():
    cost, _, _ = tensors(2, 4, 5)
    mask = torch.ones(4, 5, dtype=torch.bool)
    mask[0, 1] = mask[3, 2] = False
    found = eot_torch.transport_cost(cost, epsilon=0.3, mask=mask)
    one = eot.solve(cost[1].detach(), epsilon=0.3, mask=mask, tol=1e-9)
    assert found[1].item() == pytest.approx(one.transport_cost, rel=1e-12)
    found.sum().backward()
    assert (cost.grad[:, ~mask] == 0).all()
    assert (cost.grad[:, mask] != 0).all()


def test_zero_weights_have_a_zero_plan_and_no_gradient_in_the_cost():
    cost, a, b = tensors(3, 4)
    a = torch.tensor([0.5, 0.0, 0.5], **DOUBLE).requires_grad_()
    found = eot_torch.plan(cost, a, b, epsilon=0.3, cols=eot.KL(1.0))
    assert (found[1] == 0).all()
    assert eot_torch.potentials(cost, a, b, epsilon=0.3, cols=eot.KL(1.0))[0][1] == -torch.inf
    found.square().sum().backward()
    assert (cost.grad[1] == 0).all()
    assert a.grad[1] == 0


@pytest.mark.parametrize("name", ["plan", "potentials", "transport_cost"])
@pytest.mark.parametrize("options", [{"tol": 1e-13}, {"grad": "unroll", "max_iter": 5}], ids=["implicit", "unroll"])
def test_first_derivatives_forward_and_backward(name, options):
    inputs = (*tensors(3, 4), number(0.3))
    assert torch.autograd.gradcheck(
        lambda cost, a, b, epsilon: SOLVES[name](cost, a, b, epsilon=epsilon, **ELASTIC, **options),
        inputs,
        check_forward_ad=True,
        check_batched_grad=True,
    )


# With two hard sides the weights must keep their masses.
@pytest.mark.parametrize(
    ("rows", "cols"),
    [*itertools.combinations(PENALTIES[1:4], 2), (PENALTIES[0], PENALTIES[4]), (PENALTIES[5], PENALTIES[6])],
    ids=repr,
)
def test_the_value_is_differentiated_twice(rows, cols):
    cost, a, b = tensors(2, 3, seed=2)
    inputs = (cost, a.log().detach().requires_grad_(), b.log().detach().requires_grad_(), number(0.4))

    def value(cost, a, b, epsilon):
        return eot_torch.value(
            cost, a.softmax(0), b.softmax(0), epsilon=epsilon, rows=rows, cols=cols, tol=1e-13, on_failure="ignore"
        )

    assert torch.autograd.gradcheck(value, inputs, check_forward_ad=True)
    assert torch.autograd.gradgradcheck(value, inputs)


PAIRS = [(eot.KL(1.0), eot.L2(1.0)), (eot.TV(1.0), eot.KL(1.0)), (eot.L2(1.0), eot.Fixed())]


@pytest.mark.parametrize("name", SOLVES)
@pytest.mark.parametrize(("rows", "cols"), PAIRS, ids=repr)
def test_strengths_as_tensors_are_those_of_the_penalties(name, rows, cols):
    cost, a, b = (x.detach() for x in tensors(2, 3, 4))
    strengths = torch.tensor([0.2, 0.7], **DOUBLE)
    given = {"row_rho": strengths} if cols == eot.Fixed() else {"row_rho": strengths, "col_rho": 0.3}
    found = SOLVES[name](cost, a, b, epsilon=0.3, rows=rows, cols=cols, **given)
    for i, rho in enumerate(strengths.tolist()):
        sides = {"rows": type(rows)(rho), "cols": cols if cols == eot.Fixed() else type(cols)(0.3)}
        expected = SOLVES[name](cost[i : i + 1], a, b, epsilon=0.3, **sides)
        torch.testing.assert_close(
            flat(tuple(x[i] for x in found) if isinstance(found, tuple) else found[i]),
            flat(expected),
            rtol=0,
            atol=1e-8,
        )  # tol 1e-9, and neighbours in the batch


@pytest.mark.parametrize("options", [{"tol": 1e-13}, {"grad": "unroll", "max_iter": 5}], ids=["implicit", "unroll"])
@pytest.mark.parametrize(("rows", "cols"), PAIRS[:2], ids=repr)
@pytest.mark.parametrize("shape", [(3, 4), (2, 3, 4)], ids=["single", "batch"])
def test_strengths_are_differentiated(shape, rows, cols, options):
    cost, a, b = tensors(*shape)
    inputs = number(0.2), torch.full(shape[:-2], 0.3, **DOUBLE).requires_grad_(), number(0.3)

    def solve(row_rho, col_rho, epsilon):
        given = {"row_rho": row_rho, "col_rho": col_rho, "rows": rows, "cols": cols}
        return eot_torch.plan(cost.detach(), a.detach(), b.detach(), epsilon=epsilon, **given, **options)

    assert torch.autograd.gradcheck(solve, inputs, check_forward_ad=len(shape) == 2)


def test_the_value_is_differentiated_twice_in_strengths():
    cost, a, b = tensors(2, 3)
    sides = {"rows": eot.KL(1.0), "cols": eot.L2(1.0), "tol": 1e-13, "on_failure": "ignore"}

    def value(cost, row_rho, col_rho):
        given = {"row_rho": row_rho, "col_rho": col_rho}
        return eot_torch.value(cost, a.detach(), b.detach(), epsilon=0.4, **given, **sides)

    inputs = cost, number(0.5), number(2.0)
    assert torch.autograd.gradcheck(value, inputs, check_forward_ad=True)
    assert torch.autograd.gradgradcheck(value, inputs)


def test_hessians_in_every_order_agree():
    cost, a, b = (x.detach() for x in tensors(2, 3))
    inputs = cost, a, b, torch.tensor(0.3, **DOUBLE)
    which = (0, 1, 2, 3)

    def value(cost, a, b, epsilon):
        return eot_torch.value(cost, a, b, epsilon=epsilon, tol=1e-12, **ELASTIC)

    found = torch.func.hessian(value, which)(*inputs)
    twice = torch.func.jacrev(torch.func.jacrev(value, which), which)(*inputs)
    for x, y in zip(itertools.chain(*found), itertools.chain(*twice), strict=True):
        torch.testing.assert_close(x, y, rtol=0, atol=1e-12)


@pytest.mark.parametrize("rows", [eot.Fixed(), eot.KL(0.5)], ids=repr)
def test_the_divergence_is_0_between_equal_measures_and_differentiable(rows):
    generator = torch.Generator().manual_seed(5)
    x, y = (torch.rand(n, 2, generator=generator, **DOUBLE) for n in (4, 5))
    a, b = (x.detach() for x in tensors(4, 5)[1:])
    if not rows.hard:
        b = 1.3 * b

    def divergence(x, y, a, b):
        between, first, second = (0.5 * ((u[:, None] - v) ** 2).sum(-1) for u, v in ((x, y), (x, x), (y, y)))
        return eot_torch.divergence(between, first, second, a, b, epsilon=0.3, rows=rows, cols=rows, tol=1e-12)

    assert abs(divergence(x, x, a, a).item()) < 1e-12
    assert divergence(x, y, a, b).item() > 0.01
    inputs = (x.requires_grad_(), y.requires_grad_())
    assert torch.autograd.gradcheck(lambda x, y: divergence(x, y, a, b), inputs)


def test_backward_passes_solve_nothing(monkeypatch):
    cost, a, b = tensors(3, 4)
    results = [function(cost, a, b, epsilon=0.3) for function in SOLVES.values()]
    monkeypatch.setattr("elastic_ot.frameworks.stateless.solve_for", None)
    for result in results:
        flat(result).sum().backward(retain_graph=True)
    (slope,) = torch.autograd.grad(results[-1], cost, create_graph=True)
    slope.square().sum().backward()


def test_plans_are_not_differentiated_twice():
    cost, _, _ = tensors(3, 4)
    (slope,) = torch.autograd.grad(eot_torch.plan(cost, epsilon=0.3)[0, 0], cost, create_graph=True)
    with pytest.raises(RuntimeError, match="can be differentiated once"):
        slope.sum().backward()


def test_nested_forward_mode_is_refused():
    cost = tensors(2, 2)[0].detach()
    with pytest.raises(RuntimeError, match="jvp within jvp"):
        torch.func.jacfwd(torch.func.jacfwd(lambda x: eot_torch.value(x, epsilon=0.3)))(cost)


def test_vmap_is_a_batch():
    cost, a, _ = (x.detach() for x in tensors(3, 4, 5))
    b = torch.rand(3, 5, generator=torch.Generator().manual_seed(3), **DOUBLE) + 0.1
    epsilon = torch.tensor([0.1, 0.2, 0.3], **DOUBLE)

    def loss(cost, b, epsilon):
        return eot_torch.plan(cost, a, b, epsilon=epsilon, **ELASTIC).square().sum()

    def total(cost, b, epsilon):
        return eot_torch.plan(cost, a, b, epsilon=epsilon, **ELASTIC).square().sum()

    each = torch.func.vmap(torch.func.grad(loss, (0, 1, 2)), in_dims=(0, 1, 0))(cost, b.T, epsilon)
    batch = torch.func.grad(total, (0, 1, 2))(cost, b, epsilon)
    for x, y in zip(each, batch, strict=True):
        torch.testing.assert_close(x, y, rtol=0, atol=1e-12)


@pytest.mark.parametrize("backend", ["eager", "aot_eager"])
@pytest.mark.parametrize("name", SOLVES)
def test_compiled_whole(name, backend):
    torch.compiler.reset()

    def loss(cost, a, epsilon, rho):
        mask = torch.ones(cost.shape[-2:], dtype=torch.bool)
        options = {"rows": eot.KL(rho), "cols": eot.Between(0.5, 1.5), "method": eot.Newton(steps=10), "mask": mask}
        return flat(SOLVES[name](cost, a, epsilon=epsilon, max_iter=500, **options)).square().sum()

    compiled = torch.compile(loss, fullgraph=True, backend=backend)
    for rho, size in ((0.5, 4), (0.7, 4), (0.9, 5)):  # numbers and sizes become symbols
        slopes = []
        for function in (compiled, loss):
            cost, a, _ = tensors(2, size, 3)
            epsilon = number(0.3)
            function(cost, a, epsilon, rho).backward()
            slopes.append((cost.grad, a.grad, epsilon.grad))
        for x, y in zip(*slopes, strict=True):
            torch.testing.assert_close(x, y, rtol=0, atol=1e-8)  # of two methods, to tol


def test_compiled_graphs_have_no_silent_forward_mode():
    torch.compiler.reset()
    cost = tensors(2, 2)[0].detach()
    slopes = torch.func.jacfwd(lambda x: eot_torch.plan(x, epsilon=0.3))
    with pytest.raises(torch._dynamo.exc.Unsupported, match="no forward mode"):
        torch.compile(slopes, backend="eager", fullgraph=True)(cost)


@pytest.mark.parametrize("name", ["plan", "value", "value_gradients"])
def test_operators_pass_torch_s_own_check(name):
    cost, a, b = tensors(2, 3, 4)
    f, g = (x.detach() for x in eot_torch.potentials(cost, a, b, epsilon=0.3, **ELASTIC))
    weights = a.detach().expand(2, 3), b.detach().expand(2, 4)
    problem = (cost, *weights, torch.full((2,), 0.3, **DOUBLE), torch.zeros(2, 2, **DOUBLE))
    arguments = (*problem, f, g) if name == "value_gradients" else problem
    options = encode(plain({"tol": 1e-9, **ELASTIC}))
    torch.library.opcheck(getattr(torch.ops.elastic_ot, name).default, (*arguments, options))


@pytest.mark.parametrize("half", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_single_and_comes_back(half):
    cost = tensors(3, 4)[0].detach().to(half).requires_grad_()
    found = eot_torch.plan(cost, epsilon=0.5)
    assert found.dtype == half
    single = eot_torch.plan(cost.detach().float(), epsilon=0.5)
    torch.testing.assert_close(found, single.to(half), rtol=0, atol=0)
    found[0, 0].backward()
    assert cost.grad.dtype == half
    with torch.autocast("cpu", dtype=torch.bfloat16):
        torch.testing.assert_close(eot_torch.plan(cost.detach(), epsilon=0.5), single, rtol=0, atol=0)


def test_single_precision_stays_single():
    cost, a, b = (x.detach().float().requires_grad_() for x in tensors(3, 4))
    for function in SOLVES.values():
        found = flat(function(cost, a, b, epsilon=0.5, tol=1e-6))
        assert found.dtype == torch.float32
        found.sum().backward()
    assert cost.grad.dtype == a.grad.dtype == torch.float32


def test_integers_are_costs_too():
    cost = torch.tensor([[0, 1], [1, 0]])
    torch.testing.assert_close(eot_torch.plan(cost, epsilon=0.5), eot_torch.plan(cost.double(), epsilon=0.5))


def test_any_memory_layout_will_do():
    cost, a, b = (x.detach() for x in tensors(6, 4, 5))
    wanted = eot_torch.plan(cost, a, b, epsilon=0.3)
    strided = torch.stack([cost, cost])[1].movedim(0, 2).contiguous().movedim(2, 0)
    turned = cost.mT.contiguous().mT.requires_grad_()
    torch.testing.assert_close(eot_torch.plan(strided, a, b, epsilon=0.3), wanted, rtol=0, atol=1e-9)
    found = eot_torch.plan(turned, a, b, epsilon=0.3)
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-9)
    found.square().sum().backward()
    plain = cost.clone().requires_grad_()
    eot_torch.plan(plain, a, b, epsilon=0.3).square().sum().backward()
    torch.testing.assert_close(turned.grad, plain.grad, rtol=0, atol=1e-7)


def test_detached_solves_have_no_gradient():
    cost, _, _ = tensors(3, 4)
    assert not eot_torch.plan(cost, epsilon=0.5, grad="detach").requires_grad


def test_what_does_not_converge_warns_on_both_ways():
    cost, _, _ = tensors(2, 3, 4)
    with pytest.warns(eot.ConvergenceWarning, match="max_iter"):
        found = eot_torch.plan(cost, epsilon=1e-3, max_iter=2)
    with pytest.warns(eot.ConvergenceWarning, match="gradients hold at the optimum"):
        found.sum().backward()


def test_warnings_can_be_switched_off():
    cost, _, _ = tensors(2, 3, 4)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        eot_torch.plan(cost, epsilon=1e-3, max_iter=2, on_failure="ignore").sum().backward()


def test_training_moves_the_plan_to_its_target():
    """A few steps of gradient descent on the cost, through the plan."""
    cost = torch.zeros(3, 3, **DOUBLE).requires_grad_()
    target = torch.eye(3, **DOUBLE) / 3
    losses = []
    for _ in range(20):
        loss = ((eot_torch.plan(cost, epsilon=0.5) - target) ** 2).sum()
        losses.append(loss.item())
        (gradient,) = torch.autograd.grad(loss, cost)
        cost = (cost - 20.0 * gradient).detach().requires_grad_()
    assert losses[-1] < 0.05 * losses[0]


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        ((np.eye(2),), {}, "cost must be a torch.Tensor, got ndarray"),
        ((torch.eye(2), np.ones(2)), {}, "a must be a torch.Tensor, got ndarray"),
        ((torch.eye(2), torch.ones(3)), {}, r"a has shape \(3,\) and cost \(2, 2\)"),
        ((torch.ones(2, 3, 3), None, torch.ones(4, 3)), {}, r"b has shape \(4, 3\) and cost \(2, 3, 3\)"),
        ((torch.ones(3, 2, 2),), {"epsilon": torch.ones(2)}, r"epsilon has shape \(2,\) and cost \(3, 2, 2\)"),
        ((torch.ones(2),), {}, r"cost has shape \(2,\)"),
        ((torch.ones(2, 2, dtype=torch.complex64),), {}, "complex64"),
        ((torch.ones(2, 2, device="meta"),), {}, "cost is on meta; it must be on the CPU or on a CUDA device"),
        ((torch.eye(2),), {"mask": torch.ones(2, 2)}, "mask has dtype torch.float32"),
        ((torch.eye(2),), {"mask": torch.ones(3, 2, dtype=torch.bool)}, r"mask has shape \(3, 2\) and cost \(2, 2\)"),
        ((torch.eye(2),), {"grad": "forward"}, "grad is 'forward'"),
        ((torch.eye(2),), {"grad": "unroll"}, "max_iter"),
        ((torch.eye(2),), {"init": None}, "init"),
        ((torch.eye(2),), {"tolerance": 0.1}, "there is no option 'tolerance'"),
        ((torch.eye(2),), {"rows": 0.1}, "rows must be a penalty"),
        ((torch.eye(2),), {"col_rho": 0.1}, r"col_rho is given and cols is Fixed\(\), which has no rho"),
        ((torch.eye(2),), {"rows": eot.Elastic(0.5), "row_rho": 0.1}, r"row_rho is given and rows is Elastic"),
        ((torch.eye(2),), {"rows": eot.KL(1.0), "row_rho": -0.1}, r"rho is -0.1"),
        ((torch.ones(2, 2, 2),), {"rows": eot.KL(1.0), "row_rho": torch.ones(3)}, r"row_rho has shape \(3,\)"),
        ((torch.eye(2),), {"epsilon": -1.0}, "epsilon is -1.0"),
        ((torch.eye(2),), {"method": "simplex"}, "method is 'simplex'"),
        ((torch.full((2, 2), torch.nan),), {}, r"cost\[0, 0\] is nan"),
    ],
)
def test_mistakes_are_named(arguments, options, message):
    with pytest.raises((TypeError, ValueError), match=message):
        eot_torch.plan(*arguments, **{"epsilon": 0.5, **options})


def test_a_divergence_takes_no_mask():
    with pytest.raises(TypeError, match="a divergence has no mask"):
        eot_torch.divergence(*[torch.eye(2)] * 3, epsilon=0.5, mask=torch.eye(2) == 0)


def test_a_relative_epsilon_is_a_constant_fraction_of_the_range_of_each_problem():
    costs = torch.rand(3, 4, 5, dtype=torch.float64, requires_grad=True)
    numbers = [0.1 * float(cost.max() - cost.min()) for cost in costs.detach()]
    expected = torch.stack([eot_torch.value(c, epsilon=x) for c, x in zip(costs, numbers, strict=True)])
    wanted = torch.autograd.grad(expected.sum(), costs)[0]
    for call in (eot_torch.value, torch.compile(eot_torch.value, fullgraph=True, backend="eager")):
        found = call(costs, epsilon="0.1x")
        assert torch.allclose(found, expected)
        assert torch.allclose(torch.autograd.grad(found.sum(), costs)[0], wanted)
    options = {"epsilon": "0.1x", "mask": costs.detach() < 0.8, "rows": eot.KL(1.0), "cols": eot.KL(1.0)}
    masked = eot_torch.plan(costs, **options)
    assert torch.allclose(masked, torch.as_tensor(eot.solve(costs.detach(), **options).plan), atol=1e-6)


def test_a_relative_epsilon_of_a_divergence_is_that_of_the_costs_between():
    x = torch.rand(4, dtype=torch.float64)
    costs = [(u[:, None] - v).square() for u, v in ((x, 2 * x), (x, x), (2 * x, 2 * x))]
    found = eot_torch.divergence(*costs, epsilon="0.1x")
    assert float(found) == pytest.approx(eot.divergence(*costs, epsilon="0.1x", tol=1e-9).value, abs=1e-8)


def test_a_relative_epsilon_of_points_is_refused_with_the_way_out():
    cloud = eot.PointCloud(torch.rand(4, 2))
    for call in (eot_torch.value, eot_torch.divergence, eot_torch.potentials):
        with pytest.raises(TypeError, match=r"for a PointCloud give a number, or elastic_ot\.solve"):
            call(cloud, epsilon="0.1x")


def test_wrong_arguments_are_told_what_was_meant():
    cost = torch.rand(3, 4)
    with pytest.raises(TypeError, match=r"plan\(\) has no argument 'reg'; did you mean epsilon=\?"):
        eot_torch.plan(cost, reg=0.1)
    with pytest.raises(TypeError, match=r"no option 'numItermax'; did you mean max_iter=\?"):
        eot_torch.plan(cost, epsilon=0.1, numItermax=5)
    with pytest.raises(TypeError, match=r"value\(\) needs epsilon"):
        eot_torch.value(cost)
    with pytest.raises(ValueError, match=r"order \(a, b, cost\) is that of POT"):
        eot_torch.plan(torch.ones(3), torch.ones(4), cost, epsilon=0.1)


def test_what_is_listed_is_public():
    assert dir(eot_torch) == sorted(eot_torch.__all__)
    assert not {"detached", "traced", "integers", "logs_and_potentials"} & set(dir(eot_torch))
