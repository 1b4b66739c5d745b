"""The perceptron that scores blocks in SparseSinkhornAttention, and its columns of one: against plain NumPy."""

import copy

import numpy as np
import pytest
from scipy.special import logsumexp, softmax

from helpers.array_libraries import library

library("torch")
import torch  # noqa: E402

from elastic_ot.torch import SparseSinkhornAttention  # noqa: E402

# torch's own, when forward mode is used for the first time
pytestmark = pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated:DeprecationWarning")

E, H, BLOCK, MOST = 8, 2, 2, 5
DOUBLE = {"dtype": torch.float64}


@pytest.fixture(autouse=True)
def _seeded():
    """The same numbers for every test, and torch's global generator as it was before."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield


def perceptron(**options):
    """In evaluation, every parameter away from its initial value."""
    module = SparseSinkhornAttention(E, H, block=BLOCK, sort_net="mlp", max_blocks=MOST, **options).eval()
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return module


def linear(layer, x):
    return x @ layer.weight.detach().numpy().T + layer.bias.detach().numpy()


def scores_of(module, means):
    """Two layers with a ramp after each; heads take turns of MOST scores, of which the first count."""
    blocks = len(means)
    rows = np.maximum(linear(module.sort_out, np.maximum(linear(module.sort_hidden, means), 0)), 0)
    return np.stack([rows[:, h * MOST : h * MOST + blocks] for h in range(H)])


def permutation(scores):
    logits = scores / 0.75
    for _ in range(7):
        logits = logits - logsumexp(logits, axis=-1, keepdims=True)
        logits = logits - logsumexp(logits, axis=-2, keepdims=True)
    return np.exp(logits)


@pytest.mark.parametrize("blocks", [1, 3, MOST])
def test_the_output_is_the_formula(blocks):
    module = perceptron(**DOUBLE)
    x = torch.randn(blocks * BLOCK, E, **DOUBLE)
    cells = x.numpy().reshape(blocks, BLOCK, E)
    orders = permutation(scores_of(module, cells.mean(axis=1)))
    q, k, v = np.split(linear(module.in_proj, cells), 3, axis=-1)
    heads = []
    for h, order in enumerate(orders):
        part = slice(h * E // H, (h + 1) * E // H)
        brought_k, brought_v = (np.einsum("ij,jpd->ipd", order, y[..., part]) for y in (k, v))
        keys, values = np.concatenate([brought_k, k[..., part]], 1), np.concatenate([brought_v, v[..., part]], 1)
        weights = softmax(q[..., part] @ keys.swapaxes(1, 2) / np.sqrt(E // H), axis=-1)
        heads.append((weights @ values).reshape(-1, E // H))
    expected = linear(module.out_proj, np.concatenate(heads, axis=-1))
    np.testing.assert_allclose(module(x).detach(), expected, rtol=0, atol=1e-11)


def test_a_causal_row_is_made_of_the_block_before():
    module = perceptron(causal=True, **DOUBLE)
    x = torch.randn(8, E, **DOUBLE)
    means = x.numpy().reshape(4, 2, E).mean(axis=1)
    expected = scores_of(module, np.concatenate([np.zeros((1, E)), means[:-1]]))
    np.testing.assert_allclose(module._sort_scores(x, 2, None).detach(), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("columns", ["uniform", "one"])
@pytest.mark.parametrize("options", [{}, {"sort_net": "mlp", "max_blocks": MOST}], ids=["products", "mlp"])
def test_no_token_is_told_of_later_ones(options, columns):
    module = SparseSinkhornAttention(E, H, block=2, causal=True, causal_columns=columns, **options).eval()
    x = torch.randn(1, 9, E)
    expected = module(x)
    for token in range(1, 9):
        later = x.clone()
        later[:, token:] += 1
        assert torch.equal(module(later)[:, :token], expected[:, :token])


def test_the_rule_of_columns_is_that_of_the_module():
    module = perceptron(causal=True, **DOUBLE)
    other = copy.deepcopy(module)
    other.causal_columns = "one"
    x = torch.randn(8, E, **DOUBLE)
    found, expected = other(x), module(x)
    torch.testing.assert_close(found[:4], expected[:4])  # block 1 has one block before it, whatever the rule
    assert (found[4:] - expected[4:]).abs().max() > 1e-3


@pytest.mark.parametrize("options", [{}, {"causal": True}, {"sortcut": 2}], ids=str)
def test_padding_is_not_seen(options):
    module = perceptron(**options, **DOUBLE)
    x = torch.randn(2, 10, E, **DOUBLE)
    padding = torch.arange(10) >= torch.tensor([[10], [8]])
    found = module(x, key_padding_mask=padding)
    np.testing.assert_allclose(found[0].detach(), module(x[0]).detach(), rtol=0, atol=1e-12)
    np.testing.assert_allclose(found[1, :8].detach(), module(x[1, :8]).detach(), rtol=0, atol=1e-12)


@pytest.mark.parametrize("options", [{}, {"causal": True}, {"causal": True, "causal_columns": "one"}], ids=str)
def test_gradients_are_those_of_differences(options):
    module = perceptron(iterations=3, **options, **DOUBLE)
    x = torch.randn(1, 6, E, requires_grad=True, **DOUBLE)
    names = [name for name, _ in module.named_parameters()]

    def call(x, *parameters):
        return torch.func.functional_call(module, dict(zip(names, parameters, strict=True)), (x,))

    assert {"sort_hidden.weight", "sort_out.bias"} < set(names)
    assert torch.autograd.gradcheck(call, (x, *module.parameters()))


def test_gradients_reach_the_scores_that_are_used_alone():
    module = perceptron()
    module(torch.randn(2, 6, E)).square().sum().backward()
    assert all(parameter.grad.abs().max() > 0 for parameter in module.parameters())
    used = module.sort_out.bias.grad.unflatten(0, (H, MOST))
    assert (used[:, 3:] == 0).all()


def test_a_perceptron_is_saved_and_printed_and_has_no_products():
    module, other = perceptron(), perceptron()
    x = torch.randn(2, 6, E)
    assert not torch.equal(other(x), module(x))
    other.load_state_dict(module.state_dict())
    assert torch.equal(other(x), module(x))
    assert "max_blocks=5" in repr(module)
    assert not {"sort_rows.weight", "sort_cols.weight"} & set(module.state_dict())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_keeps_the_dtype(dtype):
    module = SparseSinkhornAttention(E, H, block=2, sort_net="mlp", max_blocks=3).eval()
    x = torch.randn(2, 6, E)
    expected = module(x)
    found = module.to(dtype)(x.to(dtype))
    assert found.dtype == dtype
    assert torch.allclose(found.float(), expected, rtol=0.02, atol=0.03)


def test_under_autocast_results_are_near_those_of_float32():
    module = SparseSinkhornAttention(E, H, block=2, sort_net="mlp", max_blocks=3).eval()
    x = torch.randn(2, 6, E)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = module(x)
    assert torch.allclose(found.float(), module(x), rtol=0.02, atol=0.03)


def test_short_sequences_are_taken_and_the_longest():
    module = perceptron()
    assert module(torch.randn(1, E)).shape == (1, E)
    assert module(torch.randn(2, 9, E)).shape == (2, 9, E)


REFUSED = {
    "sort_net is 'linear'; choose from 'products', 'mlp'": lambda: SparseSinkhornAttention(
        E, H, block=2, sort_net="linear"
    ),
    "sort_net is 'mlp' and max_blocks is None": lambda: SparseSinkhornAttention(E, H, block=2, sort_net="mlp"),
    "max_blocks is 0": lambda: SparseSinkhornAttention(E, H, block=2, sort_net="mlp", max_blocks=0),
    "max_blocks is 4 and sort_net 'products'": lambda: SparseSinkhornAttention(E, H, block=2, max_blocks=4),
    "x has shape .3, 11, 8., 6 blocks of 2, and max_blocks is 5": lambda: perceptron()(torch.randn(3, 11, E)),
    "causal_columns is 'one' and causal is False": lambda: SparseSinkhornAttention(E, H, block=2, causal_columns="one"),
}


@pytest.mark.parametrize("message", REFUSED)
def test_bad_arguments_are_named(message):
    with pytest.raises(ValueError, match=message):
        REFUSED[message]()
