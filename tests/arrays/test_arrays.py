"""Any array in, the same kind of array out; what cannot be read without harm is refused by name."""

import numpy as np
import pytest

import elastic_ot as eot
from helpers.array_libraries import LIBRARIES, library
from helpers.oracle import random_case

SINGLE = 2e-6  # JAX computes in float32 unless told otherwise, so numbers may have been rounded on the way in


@pytest.fixture(params=LIBRARIES)
def xp(request):
    return library(request.param)


def solve(xp, case, **options):
    return eot.solve(xp.make(case.cost), xp.make(case.a), xp.make(case.b), epsilon=case.epsilon, tol=1e-10, **options)


def test_the_answer_is_of_the_cost_s_library(xp):
    case = random_case(401)
    solution = solve(xp, case)
    arrays = solution.f, solution.g, solution.row_marginal, solution.col_marginal, solution.plan
    for array in (*arrays, solution.rounded_plan(), solution.apply(xp.make(np.ones(case.cost.shape[1])))):
        assert isinstance(array, xp.kind)
    assert isinstance(solution.gap, float)
    np.testing.assert_allclose(xp.read(solution.plan), case.solve(tol=1e-10).plan, rtol=0, atol=SINGLE)


def test_the_answer_has_the_cost_s_dtype(xp):
    cost = xp.make(random_case(402).cost.astype(np.float32))
    solution = eot.solve(cost, epsilon=0.1)
    assert solution.plan.dtype == cost.dtype
    if "numpy" not in xp.name:  # there, potentials are float64 in any case
        assert solution.f.dtype == solution.row_marginal.dtype == cost.dtype


def test_a_contiguous_cost_is_read_where_it_lies(xp):
    cost = xp.make(random_case(403).cost.astype(np.float32))
    solution = eot.solve(cost, epsilon=0.1)
    assert np.shares_memory(solution.problem.cost.matrix, xp.read(cost))


def test_weights_may_be_lists_whatever_the_cost_is(xp):
    solution = eot.solve(xp.make([[0.0, 1.0], [1.0, 0.5]]), [0.5, 0.5], [0.25, 0.75], epsilon=0.5)
    assert isinstance(solution.g, xp.kind)


def test_masks_and_warm_starts_come_in_too(xp):
    case = random_case(404)
    mask = np.ones(case.cost.shape, bool)
    mask[0, 1:] = False
    masked = solve(xp, case, mask=xp.make(mask), rows=eot.KL(1.0))
    assert (xp.read(masked.plan)[0, 1:] == 0).all()
    first = solve(xp, case)
    again = solve(xp, case, init=(first.f, first.g))
    assert again.converged
    assert solve(xp, case, init=first).n_iter <= 3


def test_transposed_views_are_read_by_their_strides():
    torch = library("torch")
    case = random_case(405, 6, 9)
    solution = eot.solve(torch.make(case.cost.T.copy()).T, torch.make(case.a), torch.make(case.b), epsilon=case.epsilon)
    np.testing.assert_allclose(torch.read(solution.plan), case.solve().plan, rtol=0, atol=1e-7)


@pytest.mark.parametrize("name", ["torch", "jax"])
@pytest.mark.parametrize("half", ["float16", "bfloat16"])
def test_half_precision_is_computed_in_single_and_returned_in_half(name, half):
    xp = library(name)
    cost = np.array([[0.0, 1.0, 0.5], [1.0, 0.25, 2.0]], np.float32)  # exact in half precision
    made = xp.make(cost)
    made = made.to(getattr(__import__("torch"), half)) if name == "torch" else made.astype(half)
    solution = eot.solve(made, epsilon=0.5)
    assert solution.plan.dtype == made.dtype
    np.testing.assert_allclose(solution.host.f, eot.solve(cost, epsilon=0.5).f, rtol=0, atol=1e-6)


def test_arrays_of_two_libraries_do_not_mix():
    torch = library("torch")
    cost = np.array([[0.0, 1.0], [1.0, 0.0]])
    with pytest.raises(TypeError, match=r"cost is a numpy\.ndarray and a a torch\.Tensor on cpu"):
        eot.solve(cost, torch.make([0.5, 0.5]), epsilon=0.5)
    with pytest.raises(TypeError, match=r"cost is a torch\.Tensor on cpu and mask a numpy\.ndarray"):
        eot.solve(torch.make(cost), epsilon=0.5, mask=np.ones((2, 2), bool))
    with pytest.raises(TypeError, match=r"x a torch\.Tensor"):
        eot.solve(cost, epsilon=0.5).apply(torch.make([1.0, 1.0]))


def test_a_tensor_that_requires_grad_is_not_detached_in_silence():
    torch = library("torch")
    cost = torch.make([[0.0, 1.0], [1.0, 0.0]]).requires_grad_()
    with pytest.raises(TypeError, match=r"cost requires grad.*cost\.detach\(\)"):
        eot.solve(cost, epsilon=0.5)
    assert eot.solve(cost.detach(), epsilon=0.5).converged
    for call in (eot.assign, eot.exact):
        with pytest.raises(TypeError, match="cost requires grad"):
            call(cost)


def test_tracers_of_jax_are_refused():
    library("jax")
    import jax

    with pytest.raises(TypeError, match=r"cost is a JAX tracer.*elastic_ot\.jax"):
        jax.jit(lambda cost: eot.solve(cost, epsilon=0.5).f)(jax.numpy.eye(2))


def test_sparse_matrices_are_refused():
    from scipy.sparse import csr_array

    with pytest.raises(TypeError, match="sparse"):
        eot.solve(csr_array(np.eye(2)), epsilon=0.5)


class OnlyDLPack:
    """Memory that offers itself by DLPack, and nothing else."""

    def __init__(self, array, device=None):
        self.array, self.device_of = array, device

    def __dlpack__(self, **options):
        return self.array.__dlpack__(**options)

    def __dlpack_device__(self):
        return self.device_of or self.array.__dlpack_device__()


@pytest.mark.parametrize("shape", [(4, 5), (3, 4, 5)])
def test_memory_without_a_library_is_read_and_answered_in_numpy(shape):
    cost = np.random.default_rng(171).random(shape)
    wrapped = eot.solve(OnlyDLPack(cost), OnlyDLPack(np.full(4, 0.25)), epsilon=0.1)
    assert type(wrapped.plan) is np.ndarray
    np.testing.assert_array_equal(wrapped.plan, eot.solve(cost, epsilon=0.1).plan)
    with pytest.raises(TypeError, match="OnlyDLPack on a device"):
        eot.solve(OnlyDLPack(cost, (2, 0)), epsilon=0.1)


@pytest.mark.parametrize("shape", [(4, 5), (3, 4, 5)])
def test_weights_in_half_precision_sum_to_one_as_far_as_they_can(shape):
    cost = np.random.default_rng(172).random(shape).astype(np.float16)
    a, b = (np.full(size, 1 / size, np.float16) for size in shape[-2:])
    assert abs(float(b.astype(np.float64).sum()) - 1) > 1e-5
    assert np.all(eot.solve(cost, a, b, epsilon=0.1).converged)
    with pytest.raises(eot.InfeasibleError):
        eot.solve(cost, a, np.float16(1.1) * b, epsilon=0.1)
