"""Derivatives by POT's calls in PyTorch and JAX: POT's own where it has them, and differences."""

import numpy as np
import ot
import pytest

import elastic_ot.compat.pot as front
from helpers.array_libraries import library
from helpers.pot_problems import problem, quiet_pot

library("torch")
import torch  # noqa: E402

# torch's own, when forward mode is used for the first time
pytestmark = pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated:DeprecationWarning")


def tensors(*values):
    return [torch.tensor(x, requires_grad=True) for x in values]


def slopes(value, inputs):
    """Derivatives, those in weights less their mean: masses move together."""
    value.backward()
    return [x.grad.numpy() if x.ndim == 2 else (x.grad - x.grad.mean()).numpy() for x in inputs]


def test_slopes_of_the_exact_cost_are_those_of_pot():
    p = problem()
    found, expected = (slopes(call.emd2(*x), x) for call, x in ((c, tensors(p.a, p.b, p.cost)) for c in (front, ot)))
    np.testing.assert_allclose(found[2], expected[2], atol=1e-12)
    u, v = found[:2]
    assert abs(u.sum()) + abs(v.sum()) < 1e-12
    plan = expected[2]
    slack = p.cost - u[:, None] - v
    assert np.ptp(slack[plan > 0]) < 1e-10
    assert slack.min() > slack[plan > 0].max() - 1e-10


def test_slopes_of_entropic_costs_are_those_of_the_iterations_of_pot():
    p = problem()
    inputs, theirs = tensors(p.a, p.b, p.cost), tensors(p.a, p.b, p.cost)
    found = slopes(front.sinkhorn2(*inputs, 0.2, stopThr=1e-12), inputs)
    expected = slopes(ot.sinkhorn2(*theirs, 0.2, method="sinkhorn_log", stopThr=1e-13, numItermax=5000), theirs)
    for mine, original in zip(found, expected, strict=True):
        np.testing.assert_allclose(mine, original, atol=1e-7)


def test_slopes_of_plans_are_differences():
    p = problem(4, 3)
    inputs = tensors(p.cost)

    def plan(cost):
        return front.sinkhorn(torch.tensor(p.a), torch.tensor(p.b), cost, 0.2, stopThr=1e-12)

    torch.autograd.gradcheck(plan, inputs)


@pytest.mark.parametrize("returned", ["linear", "total"])
@pytest.mark.parametrize("reg_type", ["kl", "entropy"])
def test_slopes_of_relaxed_costs_are_differences(reg_type, returned):
    p = problem(4, 3, masses=(1.0, 1.3))

    def cost(a, b, M):
        options = {"reg_type": reg_type, "returnCost": returned, "stopThr": 1e-12, "numItermax": 10_000}
        return front.sinkhorn_unbalanced2(a, b, M, 0.2, 0.7, **options)

    torch.autograd.gradcheck(cost, tensors(p.a, p.b, p.cost))


@pytest.mark.parametrize("grad", ["autodiff", "envelope", "last_step", "implicit"])
def test_slopes_of_values_are_plan_and_potentials(grad):
    p = problem()
    M, a, b = inputs = tensors(p.cost, p.a, p.b)
    result = front.solve(*inputs, reg=0.2, grad=grad, tol=1e-12)
    of_cost, of_a, of_b = slopes(result.value, inputs)
    theirs = ot.solve(p.cost, p.a, p.b, reg=0.2, max_iter=100_000, tol=1e-13)
    np.testing.assert_allclose(of_cost, theirs.plan, atol=1e-8)
    for mine, scaling, weights in ((of_a, theirs.potential_a, p.a), (of_b, theirs.potential_b, p.b)):
        expected = 0.2 * (scaling - np.log(weights))  # the entropy is relative to a b^T, which moves, too
        np.testing.assert_allclose(mine - mine.mean(), expected - expected.mean(), atol=1e-6)


def test_detached_results_have_none():
    p = problem()
    result = front.solve(*tensors(p.cost, p.a, p.b), reg=0.2, grad="detach")
    assert not result.value.requires_grad
    assert not result.plan.requires_grad


def test_slopes_of_points_pass_through_the_costs():
    p = problem()
    x, y = tensors(p.x, p.y)
    front.solve_sample(x, y, reg=0.2, tol=1e-11).value.backward()
    theirs = tensors(p.x, p.y)
    ot.solve_sample(*theirs, reg=0.2, tol=1e-13, max_iter=5000).value.backward()
    for mine, original in zip((x, y), theirs, strict=True):
        np.testing.assert_allclose(mine.grad, original.grad, atol=1e-7)


@pytest.mark.parametrize("loss_fun", ["square_loss", "kl_loss"])
def test_slopes_of_gromov_losses_are_those_of_pot(loss_fun):
    rng = np.random.default_rng(0)
    x, y = rng.random((7, 2)), rng.random((5, 2))
    C1, C2, M = ot.dist(x, x) + 0.1, ot.dist(y, y) + 0.1, rng.random((7, 5))
    p, q = np.full(7, 1 / 7), np.full(5, 1 / 5)
    found = []
    for call in (front, ot):
        inputs = tensors(M, C1, C2, p, q)
        alpha = torch.tensor(0.4, dtype=torch.float64, requires_grad=True)
        call.fused_gromov_wasserstein2(*inputs, loss_fun=loss_fun, alpha=alpha).backward()
        found.append([z.grad.numpy() for z in (*inputs[:3], alpha)])
        inputs = tensors(C1, C2)
        call.gromov_wasserstein2(*inputs, loss_fun=loss_fun).backward()
        found[-1] += [z.grad.numpy() for z in inputs]
    for mine, original in zip(*found, strict=True):
        np.testing.assert_allclose(mine, original, atol=1e-8)


def test_what_has_no_slopes_says_so():
    p = problem()
    a, b, M, x = tensors(p.a, p.b, p.cost, p.x)
    calls = (
        lambda: front.barycenter(M, torch.ones(9, 9), 0.1),
        lambda: front.partial.entropic_partial_wasserstein(a, b, M, 0.1, 0.5),
        lambda: front.gromov.entropic_gromov_wasserstein2(M[:7], M[:7]),
        lambda: front.solve_sample(x, x, reg=0.1, lazy=True),
        lambda: front.bregman.empirical_sinkhorn(x, x, 0.1, isLazy=True),
    )
    for call in calls:
        with pytest.raises(NotImplementedError, match="no derivatives"):
            call()
    plan = front.partial.partial_wasserstein2(a, b, M, 0.5)
    plan.backward()
    with quiet_pot():
        expected = ot.partial.partial_wasserstein(p.a, p.b, p.cost, 0.5)
    np.testing.assert_allclose(M.grad, expected, atol=1e-12)


def test_slopes_in_jax():
    jax = library("jax") and pytest.importorskip("jax")
    p = problem()
    given = [jax.numpy.asarray(x) for x in (p.a, p.b, p.cost)]
    moved = jax.grad(lambda cost: front.emd2(*given[:2], cost))(given[2])
    np.testing.assert_allclose(moved, ot.emd(p.a, p.b, p.cost), atol=1e-6)
    mine = jax.grad(lambda cost: front.sinkhorn2(*given[:2], cost, 0.2))(given[2])
    (M,) = tensors(p.cost)
    front.sinkhorn2(torch.tensor(p.a), torch.tensor(p.b), M, 0.2).backward()
    np.testing.assert_allclose(mine, M.grad, atol=1e-5)
    with pytest.raises(NotImplementedError, match=r"jax\.jit"):
        jax.jit(lambda cost: front.emd2(*given[:2], cost))(given[2])
