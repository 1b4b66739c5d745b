"""Autograd in PyTorch: its own gradient checks, and the values of `solve`."""

import numpy as np
import pytest
from array_libraries import library

import elastic_ot as eot

library("torch")
import torch  # noqa: E402

import elastic_ot.torch as eot_torch  # noqa: E402

DOUBLE = {"dtype": torch.float64}


def tensors(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    cost = torch.rand(*shape, generator=generator, **DOUBLE)
    a = torch.rand(shape[-2], generator=generator, **DOUBLE) + 0.2
    b = torch.rand(shape[-1], generator=generator, **DOUBLE) + 0.2
    return cost.requires_grad_(), (a / a.sum()).requires_grad_(), (b / b.sum()).requires_grad_()


ELASTIC = {"rows": eot.KL(0.5), "cols": eot.KL(2.0)}


@pytest.mark.parametrize("options", [{"tol": 1e-13}, {"grad": "unroll", "max_iter": 6}], ids=["implicit", "unroll"])
def test_gradcheck_of_plan_and_potentials(options):
    cost, a, b = tensors(4, 5)
    epsilon = torch.tensor(0.3, **DOUBLE).requires_grad_()

    def outputs(cost, a, b, epsilon):
        f, g = eot_torch.potentials(cost, a, b, epsilon=epsilon, **ELASTIC, **options)
        return eot_torch.plan(cost, a, b, epsilon=epsilon, **ELASTIC, **options), f, g

    assert torch.autograd.gradcheck(outputs, (cost, a, b, epsilon))


def test_gradcheck_of_value_and_transport_cost():
    cost, a, b = tensors(3, 4, seed=1)
    epsilon = torch.tensor(0.4, **DOUBLE).requires_grad_()
    for function in (eot_torch.value, eot_torch.transport_cost):
        assert torch.autograd.gradcheck(
            lambda *x, function=function: function(*x[:3], epsilon=x[3], tol=1e-13, **ELASTIC), (cost, a, b, epsilon)
        )


def test_the_value_is_differentiated_twice():
    cost, a, b = (x.detach() for x in tensors(3, 4, seed=2))
    assert torch.autograd.gradgradcheck(
        lambda cost: eot_torch.value(cost, a, b, epsilon=0.4, tol=1e-13), (cost.requires_grad_(),)
    )


def test_leading_dimensions_are_problems_of_their_own():
    cost, a, _ = tensors(2, 3, 4, 5)
    b = torch.rand(2, 3, 5, generator=torch.Generator().manual_seed(3), **DOUBLE)
    b = b / b.sum(-1, keepdim=True)
    found = eot_torch.plan(cost, a, b, epsilon=0.2)
    assert found.shape == (2, 3, 4, 5)
    one = eot.solve(cost[1, 2].detach(), a.detach(), b[1, 2], epsilon=0.2, tol=1e-9)
    np.testing.assert_array_equal(found[1, 2].detach(), one.plan)
    found.sum().backward()
    assert cost.grad.shape == cost.shape


def test_single_precision_stays_single():
    cost = torch.rand(3, 4, generator=torch.Generator().manual_seed(4), requires_grad=True)
    found = eot_torch.plan(cost, epsilon=0.5, tol=1e-6)
    assert found.dtype == torch.float32
    found[0, 0].backward()
    assert cost.grad.dtype == torch.float32


def test_detached_solves_have_no_gradient():
    cost, _, _ = tensors(3, 4)
    assert not eot_torch.plan(cost, epsilon=0.5, grad="detach").requires_grad


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
        ((np.eye(2),), {}, "cost must be a torch.Tensor"),
        ((torch.eye(2), torch.ones(3)), {}, r"a has shape \(3,\) and cost \(2, 2\)"),
        ((torch.ones(2),), {}, r"cost has shape \(2,\)"),
        ((torch.eye(2),), {"grad": "forward"}, "grad is 'forward'"),
        ((torch.eye(2),), {"grad": "unroll"}, "max_iter"),
        ((torch.eye(2),), {"init": None}, "init"),
        ((torch.eye(2),), {"epsilon": torch.ones(2)}, "epsilon has 2 elements"),
    ],
)
def test_mistakes_are_named(arguments, options, message):
    with pytest.raises((TypeError, ValueError), match=message):
        eot_torch.plan(*arguments, **{"epsilon": 0.5, **options})
