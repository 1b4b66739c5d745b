"""The sliced distances in PyTorch: values of the call on numbers, and derivatives by differences."""

import numpy as np
import pytest

import elastic_ot as eot
from helpers.array_libraries import library

library("torch")
import torch  # noqa: E402

import elastic_ot.torch as eot_torch  # noqa: E402

# torch's own, when forward mode is used for the first time
pytestmark = pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated:DeprecationWarning")


def points(dtype=torch.float64):
    generator = torch.Generator().manual_seed(0)
    return (torch.randn(k, 3, generator=generator, dtype=dtype).requires_grad_() for k in (9, 7))


@pytest.mark.parametrize("kind", ["mean", "max", "min", "expected"])
def test_values_are_those_of_numbers(kind):
    x, y = points()
    found = eot_torch.sliced(x, y, kind=kind, p=1.5, seed=0)
    expected = eot.sliced(x.detach().numpy(), y.detach().numpy(), kind=kind, p=1.5, seed=0)
    assert found.item() == expected.value
    found.backward()
    np.testing.assert_array_equal(x.grad, expected.gradients().x)
    np.testing.assert_array_equal(y.grad, expected.gradients().y)


@pytest.mark.parametrize("kind", ["mean", "expected"])
def test_derivatives_are_differences(kind):
    x, y = points()
    a = torch.softmax(torch.arange(9.0, dtype=torch.float64) / 9, 0)
    directions = torch.eye(3, dtype=torch.float64)
    torch.autograd.gradcheck(lambda x, y: eot_torch.sliced(x, y, a, kind=kind, projections=directions), (x, y))


def test_single_precision_stays_and_constants_have_no_derivatives():
    x, y = points(torch.float32)
    found = eot_torch.sliced(2 * x, y.detach(), seed=0)
    assert found.dtype == torch.float32
    found.backward()
    assert x.grad.dtype == torch.float32
    assert y.grad is None
    assert not eot_torch.sliced(x.detach(), y.detach(), seed=0).requires_grad


def test_a_descent_moves_the_points_onto_the_others():
    x, y = points()
    x, y = x.detach()[:7].clone().requires_grad_(), y.detach()
    for step in range(300):
        (slope,) = torch.autograd.grad(eot_torch.sliced(x, y, projections=6, seed=step), x)
        x = (x - 7 * 1.5 * slope).detach().requires_grad_()
    assert eot.sliced(x.detach(), y, seed=0).value < 1e-3 * eot.sliced(next(points())[:7].detach(), y, seed=0).value


def test_weights_have_no_derivatives():
    x, y = points()
    with pytest.raises(TypeError, match="a requires grad"):
        eot_torch.sliced(x, y, torch.full((9,), 1 / 9, requires_grad=True))


def test_tensors_of_the_line_are_read_where_they_lie_and_those_with_derivatives_are_refused():
    x, y = (z.detach()[:, 0] for z in points())
    found = eot.transport_1d(x, y, metric=1.5)
    assert found.value == eot.transport_1d(x.numpy(), y.numpy(), metric=1.5).value
    with pytest.raises(TypeError, match="y requires grad, and transport_1d is not differentiated"):
        eot.transport_1d(x, y.requires_grad_())
    with pytest.raises(TypeError, match="arrays must come from one library"):
        eot.transport_1d(x, np.zeros(3))
