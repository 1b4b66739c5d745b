"""Second derivatives of the value in the weights of two fixed sides: on directions that keep the masses equal."""

import numpy as np
import pytest

import elastic_ot as eot
from helpers.application_arrays import opened

pytestmark = pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated:DeprecationWarning")
N, M = 3, 4
TIGHT = {"tol": 1e-13}


def problem(mass, mask, removed):
    rng = np.random.default_rng(0)
    cost, a, b = rng.random((N, M)), rng.random(N) + 0.2, rng.random(M) + 0.2
    if mask:
        cost[0, 1] = np.inf
    if removed:
        b[2] = 0.0
    return cost, mass * a / a.sum(), mass * b / b.sum()


def tangent(b, seed):
    """A direction of (a, b, epsilon) along which both masses change alike; zero weights stay."""
    d = np.random.default_rng(seed).normal(size=N + M + 1)
    used = np.append(np.ones(N, bool), b > 0)
    d[:-1] *= used
    d[N:-1] += (b > 0) * (d[:N].sum() - d[N:-1].sum()) / (b > 0).sum()
    return d


def hessian(name, cost, a, b, epsilon, reference):
    """The matrix in (a, b, epsilon), by the library's own transform."""
    with opened(name) as found:
        made, *inputs = (found.make(np.asarray(x, float)) for x in (cost, a, b, epsilon))

        def value(a, b, epsilon):
            return getattr(eot, name).value(made, a, b, epsilon=epsilon, reference=reference, **TIGHT)

        if name == "torch":
            import torch

            blocks = torch.func.hessian(value, (0, 1, 2))(*inputs)
        else:
            import jax

            blocks = jax.jit(jax.hessian(value, (0, 1, 2)))(*inputs)
    sizes = N, M, 1
    return np.block([[np.asarray(blocks[i][j]).reshape(sizes[i], sizes[j]) for j in range(3)] for i in range(3)])


def gradient(cost, a, b, epsilon, reference):
    found = eot.solve(cost, a, b, epsilon=float(epsilon), reference=reference, **TIGHT).gradients()
    return np.concatenate([found.a, found.b, [found.epsilon]])


@pytest.mark.parametrize("name", ["torch", "jax"])
@pytest.mark.parametrize("reference", ["product", pytest.param("counting", marks=pytest.mark.slow)])
@pytest.mark.parametrize(("mass", "mask", "removed"), [(1.0, False, False), (3.0, True, False), (0.5, False, True)])
def test_it_is_the_derivative_of_the_gradient_where_masses_stay_equal(name, reference, mass, mask, removed):
    cost, a, b = problem(mass, mask, removed)
    matrix = hessian(name, cost, a, b, 0.3, reference)
    np.testing.assert_allclose(matrix, matrix.T, atol=1e-11 * np.abs(matrix).max())
    for seed in (1, 2):
        d, h = tangent(b, seed), 1e-5
        moved = [gradient(cost, a + s * d[:N], b + s * d[N:-1], 0.3 + s * d[-1], reference) for s in (h, -h)]
        numeric = (moved[0] - moved[1]) / (2 * h)
        # the difference's error, h^2 times a third derivative of some hundred, and solves' over h
        np.testing.assert_allclose(matrix @ d, numeric, atol=2e-6 * np.abs(matrix).max())


@pytest.mark.parametrize("name", ["torch", "jax"])
def test_values_bend_by_it_along_tangents(name):
    """Of the value itself: the second difference, which no constant of a gradient can reach."""
    cost, a, b = problem(1.0, False, False)
    matrix, h = hessian(name, cost, a, b, 0.3, "product"), 1e-3
    d = tangent(b, 3)
    values = [
        eot.solve(cost, a + s * d[:N], b + s * d[N:-1], epsilon=0.3 + s * d[-1], **TIGHT).value for s in (-h, 0.0, h)
    ]
    bend = (values[0] - 2 * values[1] + values[2]) / h**2
    assert d @ matrix @ d == pytest.approx(bend, rel=1e-4)


def test_a_batch_has_the_matrices_of_its_problems():
    torch = pytest.importorskip("torch")
    cost, a, b = (torch.tensor(x) for x in problem(1.0, False, False))
    costs = torch.stack([cost, cost**2])

    def value(costs, a):
        return eot.torch.value(costs, a.expand(*costs.shape[:-2], N), b, epsilon=0.3, **TIGHT)

    both = torch.func.hessian(lambda a: value(costs, a).sum())(a)
    each = [torch.func.hessian(lambda a, c=c: value(c, a))(a) for c in costs]
    torch.testing.assert_close(both, each[0] + each[1], rtol=1e-9, atol=1e-9)


def test_double_backward_of_torch_is_the_same_matrix():
    torch = pytest.importorskip("torch")
    cost, a, b = problem(1.0, True, False)
    wanted = hessian("jax", cost, a, b, 0.3, "product")[:N, :N]
    leaf = torch.tensor(a, requires_grad=True)
    value = eot.torch.value(torch.tensor(cost), leaf, torch.tensor(b), epsilon=0.3, **TIGHT)
    (slope,) = torch.autograd.grad(value, leaf, create_graph=True)
    rows = [torch.autograd.grad(x, leaf, retain_graph=True)[0] for x in slope]
    np.testing.assert_allclose(torch.stack(rows), wanted, atol=1e-9 * np.abs(wanted).max())


def test_a_relaxed_side_has_the_whole_matrix():
    """Nothing is left open there: every direction agrees with differences."""
    torch = pytest.importorskip("torch")
    cost, a, b = problem(1.0, False, False)
    matrix = torch.func.hessian(
        lambda a: eot.torch.value(torch.tensor(cost), a, torch.tensor(b), epsilon=0.3, cols=eot.KL(0.5), **TIGHT)
    )(torch.tensor(a))
    for i in range(N):
        move = 1e-5 * np.eye(N)[i]
        up, down = (
            eot.solve(cost, a + s * move, b, epsilon=0.3, cols=eot.KL(0.5), **TIGHT).gradients().a for s in (1, -1)
        )
        np.testing.assert_allclose(matrix[:, i], (up - down) / 2e-5, atol=1e-5)
