"""The flag of convergence out of the operators of PyTorch and JAX: eager, compiled, in batches and under vmap."""

import numpy as np
import pytest

import elastic_ot as eot
from helpers.application_arrays import DIFFERENTIABLE, opened
from helpers.array_libraries import library

pytestmark = pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated:DeprecationWarning")
NAMES = ("plan", "log_plan", "potentials", "transport_cost", "value")
SOME = [name if name in ("plan", "value") else pytest.param(name, marks=pytest.mark.slow) for name in NAMES]
QUIET = {"epsilon": 0.05, "on_failure": "ignore"}


def operators(name):
    """`elastic_ot.torch` or `elastic_ot.jax`, where the library is there."""
    library(name)
    return getattr(eot, name)


def some_costs():
    """The first problem is solved by one sweep, the others are not."""
    costs = np.random.default_rng(0).random((3, 4, 5))
    costs[0] = 0.25
    return costs


def first(found):
    return found[0] if isinstance(found, tuple) else found


@pytest.mark.parametrize("name", DIFFERENTIABLE)
@pytest.mark.parametrize("operator", SOME)
def test_the_flag_is_that_of_solve_and_the_result_that_of_the_operator(name, operator):
    calls = operators(name)
    pair, plain = calls.with_converged(getattr(calls, operator)), getattr(calls, operator)
    with opened(name) as found:
        costs = found.make(some_costs())
        for max_iter in (1, 10_000):
            wanted = eot.solve(some_costs(), tol=1e-9, max_iter=max_iter, **QUIET).converged
            result, converged = pair(costs, max_iter=max_iter, **QUIET)
            assert np.asarray(converged).dtype == bool
            np.testing.assert_array_equal(converged, wanted)
            alone = plain(costs, max_iter=max_iter, **QUIET)
            np.testing.assert_array_equal(np.asarray(first(result)), np.asarray(first(alone)))
        assert list(wanted) == [True, True, True]
        _, single = pair(costs[1], max_iter=1, **QUIET)
        assert single.shape == ()
        assert not bool(single)


@pytest.mark.parametrize("name", DIFFERENTIABLE)
def test_a_divergence_has_converged_where_its_three_terms_have(name):
    calls, x = operators(name), np.random.default_rng(0).random((2, 6))
    costs = np.abs(x[:, :, None] - x[:, None])
    costs[1] = 0.0
    with opened(name) as found:
        costs = found.make(costs)
        divergence = calls.with_converged(calls.divergence)
        value, converged = divergence(costs, costs, costs, max_iter=1, **QUIET)
        assert list(np.asarray(converged)) == [False, True]
        value, converged = divergence(costs, costs, costs, **QUIET)
        assert np.asarray(converged).all()
        np.testing.assert_allclose(value, 0.0, atol=1e-9)


@pytest.mark.parametrize("name", DIFFERENTIABLE)
def test_a_budget_says_nothing_about_convergence(name):
    calls = operators(name)
    with opened(name) as found:
        _, converged = calls.with_converged(calls.plan)(
            found.make(some_costs()), epsilon=1.0, grad="unroll", max_iter=500
        )
        assert not np.asarray(converged).any()


@pytest.mark.parametrize("operator", ["plan", "value"])
@pytest.mark.parametrize("dynamic", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_it_stands_in_one_graph_of_torch(operator, dynamic):
    torch = pytest.importorskip("torch")
    pair = eot.torch.with_converged(getattr(eot.torch, operator))

    @torch.compile(fullgraph=True, backend="aot_eager", dynamic=dynamic)
    def compiled(costs):
        result, converged = pair(costs, max_iter=1, **QUIET)
        return first(result).sum() * 2, converged

    costs = torch.tensor(some_costs(), requires_grad=True)
    total, converged = compiled(costs)
    assert converged.tolist() == [True, False, False]
    total.backward()
    assert costs.grad.isfinite().all()
    torch._dynamo.reset()


@pytest.mark.parametrize("operator", SOME)
def test_it_goes_with_the_transforms_of_torch(operator):
    torch = pytest.importorskip("torch")
    pair = eot.torch.with_converged(getattr(eot.torch, operator))
    costs = torch.tensor(some_costs())
    _, converged = torch.vmap(lambda cost: pair(cost, max_iter=1, **QUIET))(costs)
    assert converged.tolist() == [True, False, False]

    def loss(costs):
        result, converged = pair(costs, **QUIET)
        return first(result).sum(), converged

    by_costs, converged = torch.func.grad(loss, has_aux=True)(costs)
    assert converged.all()
    move, tangent = torch.func.jvp(lambda costs: loss(costs)[0], (costs,), (torch.ones_like(costs),))
    torch.testing.assert_close(tangent, by_costs.sum(), atol=1e-7, rtol=1e-6)


@pytest.mark.parametrize("operator", [pytest.param("log_plan", marks=pytest.mark.slow), "value"])
def test_it_goes_with_the_transforms_of_jax(operator):
    jax = pytest.importorskip("jax")
    pair = eot.jax.with_converged(getattr(eot.jax, operator))
    for x64 in (True, False):
        with jax.enable_x64(x64):
            costs = jax.numpy.asarray(some_costs())
            flags = jax.jit(jax.vmap(lambda cost: pair(cost, max_iter=1, **QUIET)[1]))(costs)
            assert flags.tolist() == [True, False, False]

            def loss(costs):
                result, converged = pair(costs, **QUIET)
                return first(result).sum(), converged

            by_costs, converged = jax.jit(jax.grad(loss, has_aux=True))(costs)
            assert converged.all()
            _, tangent, _ = jax.jvp(loss, (costs,), (jax.numpy.ones_like(costs),), has_aux=True)
            np.testing.assert_allclose(tangent, by_costs.sum(), atol=1e-6 if x64 else 1e-3, rtol=1e-4)


@pytest.mark.parametrize("name", DIFFERENTIABLE)
def test_what_is_no_operator_is_refused(name):
    with pytest.raises(TypeError, match=r"is no operator of elastic_ot\.torch or elastic_ot\.jax"):
        operators(name).with_converged(np.sum)


@pytest.mark.parametrize("name", DIFFERENTIABLE)
def test_operators_show_what_they_return(name):
    from inspect import signature

    calls = operators(name)
    kind = "Tensor" if name == "torch" else "Array"
    assert signature(calls.value).return_annotation == kind
    assert signature(calls.potentials).return_annotation == f"tuple[{kind}, {kind}]"
    assert signature(calls.with_converged(calls.value)).return_annotation == f"tuple[{kind}, {kind}]"
