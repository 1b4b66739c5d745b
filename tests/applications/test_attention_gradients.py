"""Gradients of the attention systems: torch's own checks, loops written in torch, and JAX against torch."""

import numpy as np
import pytest

from helpers.array_libraries import library

library("torch")
import torch  # noqa: E402
from torch.autograd import gradcheck  # noqa: E402

from elastic_ot.applications.attention import attention_weights, damped_weights, elastic_attention, sinkformer_weights  # noqa: E402
from elastic_ot.applications.blocks import block_scores, sort_blocks  # noqa: E402
from elastic_ot.applications.causal import causal_weights  # noqa: E402
from elastic_ot.applications.low_rank import low_rank_attention  # noqa: E402
from elastic_ot.applications.sparse import sparse_attention  # noqa: E402

DOUBLE = {"dtype": torch.float64}


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), **DOUBLE).requires_grad_()


def number(*values):
    return torch.tensor(values if len(values) > 1 else values[0], **DOUBLE).requires_grad_()


MASK = torch.tensor([[True] * 4, [True, False, True, True], [False] * 4])
OPTIONS = {
    "softmax": {"lam": 0.0},
    "elastic": {"lam": 0.6},
    "doubly stochastic": {"lam": 1.0},
    "rho": {"rho": 0.8, "epsilon": 0.5},
    "half steps": {"lam": 0.6, "n_half_steps": 4},
    "implicit": {"lam": 0.6, "tol": 1e-13},
    "masked": {"lam": 0.6, "mask": MASK},
    "masked keys": {"lam": 1.0, "mask": MASK[1]},
    "masked queries": {"lam": 0.6, "mask": MASK[:, :1]},
    "null key": {"lam": 0.6, "null_score": 0.2},
}


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_weights_in_the_scores(options):
    assert gradcheck(lambda s: attention_weights(s, **options), normal(2, 3, 4))


STRENGTHS = [("lam", None), ("lam", 1e-13), ("rho", None), ("rho", 1e-13), ("epsilon", None), ("epsilon", 1e-13)]


@pytest.mark.parametrize(("name", "tol"), [*STRENGTHS, ("null_score", None)])
def test_weights_in_strengths_of_every_head(name, tol):
    strengths = number(0.3, 0.8)

    def weights(scores, x):
        options = {"lam": 0.5, "epsilon": 0.7} if name in ("epsilon", "null_score") else {"epsilon": 0.7}
        return attention_weights(scores, iterations=3, tol=tol, **{**options, name: x})

    scores = normal(3, 2, 3, 4)
    assert gradcheck(weights, (scores, strengths))
    for head in range(2):
        alone = weights(scores[:, head], strengths[head])
        torch.testing.assert_close(weights(scores, strengths)[:, head], alone, rtol=0, atol=1e-12)


def test_a_tensor_of_lam_is_the_same_as_the_number():
    scores = normal(2, 3, 4)
    for lam in (0.0, 0.7):
        found = attention_weights(scores, lam=number(lam))
        torch.testing.assert_close(found, attention_weights(scores, lam=lam), rtol=0, atol=1e-13)
    for bad in (1.0, 1.2, -0.1):
        with pytest.raises(ValueError, match=r"lam is .*must be >= 0 and < 1"):
            attention_weights(scores, lam=number(bad))


def test_what_is_masked_has_gradient_0():
    scores = normal(2, 3, 4)
    attention_weights(scores, lam=0.6, mask=MASK).square().sum().backward()
    assert (scores.grad[:, ~MASK] == 0).all()
    assert (scores.grad[:, MASK] != 0).all()


def test_attention_in_all_inputs():
    q, k, v, rho = normal(2, 3, 4), normal(5, 4, seed=1), normal(2, 5, 2, seed=2), number(0.9)
    assert gradcheck(lambda *x: elastic_attention(*x[:3], rho=x[3], iterations=3), (q, k, v, rho))
    assert gradcheck(lambda *x: elastic_attention(*x, lam=0.7, causal=True), (normal(3, 2), normal(3, 2), v[:, :3]))


def sinkformer(scores, count, tau=1.0, detach=False, target=None):
    """Half steps in torch; columns aim at n / m unless told."""
    n, m = scores.shape[-2:]
    target = n / m if target is None else target
    f, g = scores.new_zeros(n, 1), scores.new_zeros(1, m)
    for step in range(count):
        if step % 2 == 0:
            f = -torch.logsumexp(scores + g, -1, keepdim=True)
        else:
            g = tau * (np.log(target) - torch.logsumexp(scores + f, -2, keepdim=True))
            g = g.detach() if detach else g
    return torch.exp(scores + f + g)


@pytest.mark.parametrize("tau", [1.0, 10 / 11])
@pytest.mark.parametrize(("count", "grad"), [(1, "unroll"), (4, "unroll"), (5, "unroll"), (3, "detach"), (7, "detach")])
def test_gradients_of_a_sinkformer_are_those_of_its_loop(count, grad, tau):
    scores, bar = normal(2, 5, 4), normal(2, 5, 4, seed=1).detach()
    weights = sinkformer_weights(scores, count, column_exponent=tau, grad=grad)
    expected = sinkformer(scores, count, tau, grad == "detach")
    torch.testing.assert_close(weights, expected, rtol=1e-12, atol=0)
    found, wanted = (torch.autograd.grad(x, scores, bar)[0] for x in (weights, expected))
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-12)


def test_the_implicit_gradient_is_that_of_many_steps():
    scores, bar = normal(2, 5, 4), normal(2, 5, 4, seed=1).detach()
    found = torch.autograd.grad(sinkformer_weights(scores, None), scores, bar)[0]
    wanted = torch.autograd.grad(sinkformer(scores, 401), scores, bar)[0]
    # solved to 1e-9 of the mass
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-7)


def test_detached_weights_know_their_masks():
    scores = normal(2, 3, 4)
    for mask in (MASK, MASK[1], MASK[:, :1]):
        constant = attention_weights(scores, lam=0.6, mask=mask, grad="detach")
        torch.testing.assert_close(constant, attention_weights(scores, lam=0.6, mask=mask), rtol=1e-12, atol=0)
        (slope,) = torch.autograd.grad(constant.square().sum(), scores)
        assert torch.isfinite(slope).all()
        assert (slope[~mask.expand(2, 3, 4)] == 0).all()


def test_a_null_key_has_the_gradient_of_a_free_column():
    scores, null, bar = normal(5, 4), number(0.3), normal(5, 4, seed=1).detach()
    lam = torch.tensor([0.6] * 4 + [0.0], **DOUBLE)
    extended = torch.cat([scores, null.expand(5, 1)], dim=-1)
    expected = sinkformer(extended, 7, lam, target=5 / 4)[:, :4]
    weights = attention_weights(scores, lam=0.6, iterations=4, null_score=null)
    found, wanted = (torch.autograd.grad(x, (scores, null), bar) for x in (weights, expected))
    # the column is free to 1e-12
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-11)


def test_damped_weights_hold_their_column_potentials():
    scores = normal(3, 4)
    weights = damped_weights(scores, 0.5, 4, 0.7)
    (slope,) = torch.autograd.grad(weights[0, 0], scores)
    # of a softmax over 0.7
    expected = weights[0, 0] * (torch.eye(4, **DOUBLE)[0] - weights[0]) / 0.7
    torch.testing.assert_close(slope[0], expected, rtol=1e-12, atol=0)
    assert (slope[1:] == 0).all()


@pytest.mark.parametrize("options", [{}, {"lam": 0.5}, {"rho": 0.7, "epsilon": 0.5}, {"mask": MASK[:, :3]}], ids=str)
def test_causal_weights(options):
    assert gradcheck(lambda s: causal_weights(s, rounds=3, **options), normal(2, 3, 3))


def test_what_lies_above_the_diagonal_has_gradient_0():
    scores, epsilon = normal(4, 4), number(0.7)
    with torch.no_grad():
        scores[0, 1], scores[1, 3] = torch.nan, torch.inf
    slopes = torch.autograd.grad(causal_weights(scores, epsilon=epsilon).square().sum(), (scores, epsilon))
    assert all(torch.isfinite(x).all() for x in slopes)
    assert (slopes[0].triu(1) == 0).all()


def test_causal_weights_in_their_strength():
    assert gradcheck(lambda s, lam: causal_weights(s, lam=lam), (normal(2, 3, 3), number(0.2, 0.9)))


KEYS = torch.tensor([True] * 5 + [False, True])


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"combine": "sum"},
        {"sortcut": 2},
        {"causal": True},
        {"key_mask": KEYS},
        {"causal": True, "key_mask": KEYS},
        {"causal": True, "causal_columns": "one"},
        {"causal": True, "causal_columns": "one", "key_mask": KEYS},
    ],
    ids=lambda x: " ".join(x),
)
@pytest.mark.parametrize("length", [6, 7])
def test_sparse_attention(length, options):
    if "key_mask" in options:
        options = {**options, "key_mask": KEYS[:length]}
    inputs = *(normal(length, 2, seed=seed) for seed in (1, 2, 3)), normal(-(-length // 2), -(-length // 2))
    assert gradcheck(lambda *x: sparse_attention(*x, block=2, iterations=3, **options), inputs)


@pytest.mark.parametrize("options", [{}, {"causal": True}, {"causal": True, "causal_columns": "one"}], ids=str)
def test_sorting_of_blocks(options):
    inputs = normal(8, 2, seed=1), normal(8, 2, seed=2)
    causal = "causal" in options
    assert gradcheck(lambda q, k: sort_blocks(block_scores(q, k, 2, causal=causal), **options), inputs)


@pytest.mark.parametrize("options", [{}, {"lam": 0.5, "tol": 1e-13}, {"key_mask": KEYS[2:]}], ids=str)
def test_low_rank_attention(options):
    inputs = normal(4, 2, seed=1), normal(5, 2, seed=2), normal(5, 3, seed=3), normal(2, 2, seed=4)
    assert gradcheck(lambda *x: low_rank_attention(*x, **options), inputs)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("options", [{}, {"causal": True}, {"grad": "detach"}, {"null_score": 0.0}], ids=str)
def test_half_precision_is_that_of_its_rounding(options, dtype):
    inputs = [normal(2, 16, 8, seed=seed).detach().to(dtype).requires_grad_() for seed in range(3)]
    found = elastic_attention(*inputs, lam=0.5, **options)
    assert found.dtype == dtype
    exact = elastic_attention(*(x.double() for x in inputs), lam=0.5, **options)
    # a few roundings of numbers of order 1
    torch.testing.assert_close(found.double(), exact, rtol=0, atol=4 * torch.finfo(dtype).eps)
    for slope, x in zip(torch.autograd.grad(found.sum(), inputs), inputs, strict=True):
        assert slope.dtype == x.dtype
        assert torch.isfinite(slope).all()


def test_jax_traces_masks_and_strengths():
    library("jax")
    import jax

    scores = normal(2, 3, 4).detach()
    with jax.enable_x64(True):
        jitted = jax.jit(lambda s, mask, lam, epsilon: attention_weights(s, lam=lam, epsilon=epsilon, mask=mask))
        arrays = (jax.numpy.asarray(x.numpy()) for x in (scores, MASK))
        found = np.asarray(jitted(*arrays, jax.numpy.asarray([0.2, 0.7]), 0.8))
    wanted = attention_weights(scores, lam=number(0.2, 0.7), epsilon=0.8, mask=MASK).detach()
    np.testing.assert_allclose(found, wanted, rtol=1e-12)


def test_jax_has_the_gradients_of_torch():
    library("jax")
    import jax

    q, k, v = (normal(2, 6, 4, seed=seed) for seed in (1, 2, 3))
    order, pivots, rho = normal(3, 3), normal(2, 4), number(0.9)
    calls = {
        "elastic": (lambda q, k, v, rho: elastic_attention(q, k, v, rho=rho), (q, k, v, rho)),
        "implicit": (lambda q, k, v: elastic_attention(q, k, v, lam=0.5, tol=1e-12), (q, k, v)),
        "detached": (lambda q, k, v: elastic_attention(q, k, v, lam=0.5, grad="detach"), (q, k, v)),
        "null": (lambda q, k, v: elastic_attention(q, k, v, lam=0.5, null_score=0.1), (q, k, v)),
        "causal": (lambda q, k, v: elastic_attention(q, k, v, lam=0.5, causal=True), (q, k, v)),
        "damped": (lambda q: damped_weights(q, 0.5, 4, (1.0, 0.5)), (q,)),
        "sparse": (lambda q, k, v, r: sparse_attention(q, k, v, r, block=2), (q, k, v, order)),
        "low rank": (lambda q, k, v, p: low_rank_attention(q, k, v, p), (q, k, v, pivots)),
    }
    with jax.enable_x64(True):
        for name, (call, inputs) in calls.items():
            arrays = [jax.numpy.asarray(x.detach().numpy()) for x in inputs]
            slopes = jax.jit(jax.grad(lambda *x, call=call: (call(*x) ** 2).sum(), range(len(inputs))))(*arrays)
            wanted = torch.autograd.grad((call(*inputs) ** 2).sum(), inputs)
            for x, y in zip(slopes, wanted, strict=True):
                # the converged one to its tolerance
                np.testing.assert_allclose(x, y, rtol=0, atol=1e-8 if name == "implicit" else 1e-12, err_msg=name)
