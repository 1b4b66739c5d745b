"""Modules of torch: against torch.nn.MultiheadAttention, NumPy, the functions they are made of, and gradcheck."""

import copy
import io

import numpy as np
import pytest
from scipy.special import logsumexp

from helpers.array_libraries import library

library("torch")
import torch  # noqa: E402

import elastic_ot.torch as eot_torch  # noqa: E402
from elastic_ot.applications.matching import match  # noqa: E402
from elastic_ot.applications.routing import route  # noqa: E402
from elastic_ot.torch import DustbinMatcher, ElasticAttention, SinkhornRouter, SparseSinkhornAttention  # noqa: E402

# torch's own, when forward mode is used for the first time
pytestmark = pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated:DeprecationWarning")

N, L, S, E, H = 3, 5, 7, 8, 2
SOFTMAX = {"lam": 0.0, "learn_lam": False}
DOUBLE = {"dtype": torch.float64}
MODULES = {
    "attention": lambda **made: ElasticAttention(E, H, batch_first=True, null_key=True, iterations=3, **made),
    "sparse": lambda **made: SparseSinkhornAttention(E, H, block=2, iterations=3, noise=False, **made),
    "router": lambda **made: SinkhornRouter(E, 3, k=2, lam=0.7, tol=0, max_iter=5, grad="unroll", bias=True, **made),
    "matcher": lambda **made: DustbinMatcher(0.7, iterations=5, **made),
}


@pytest.fixture(autouse=True)
def _seeded():
    """The same numbers for every test, and torch's global generator as it was before."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield


def inputs(length=L, size=S, n=N, width=E, **made):
    return (
        torch.randn(n, length, width, **made),
        torch.randn(n, size, width, **made),
        torch.randn(n, size, width, **made),
    )


def randomised(module):
    """Every parameter moved, so that none is at an initial value that hides it."""
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return module


def output(module, x):
    """One tensor of a module, differentiable in all of its parameters."""
    if isinstance(module, ElasticAttention):
        return module(x, x, x)[0]
    if isinstance(module, SinkhornRouter):
        return module(x).weight
    if isinstance(module, DustbinMatcher):
        return module(x @ x.mT).log_plan
    return module(x)


class Output(torch.nn.Module):
    """`output` as a module, whose parameters can be given from outside."""

    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, x):
        return output(self.inner, x)


def mask_of(kind):
    """Masks as torch takes them; no query is left without a key."""
    causal = torch.ones(L, S, dtype=torch.bool).triu(2)
    padding = torch.arange(S) >= torch.tensor([[7], [4], [5]])
    per_head = torch.rand(N * H, L, S) < 0.4
    per_head[..., 0] = False
    return {
        "none": {},
        "padding": {"key_padding_mask": padding},
        "added padding": {"key_padding_mask": torch.zeros(N, S).masked_fill(padding, -torch.inf)},
        "mask": {"attn_mask": causal},
        "added": {"attn_mask": torch.randn(L, S).masked_fill(causal, -torch.inf)},
        "per head": {"attn_mask": per_head},
        "both": {"attn_mask": causal, "key_padding_mask": padding},
    }[kind]


MASKS = ("none", "padding", "added padding", "mask", "added", "per head", "both")


def torch_attention(**options):
    return randomised(torch.nn.MultiheadAttention(E, H, **options)).eval()


@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("mask", MASKS)
def test_lam_0_is_the_attention_of_torch(mask, batch_first):
    theirs = torch_attention(batch_first=batch_first)
    ours = ElasticAttention.from_multihead(theirs, **SOFTMAX)
    given = inputs() if batch_first else [x.transpose(0, 1) for x in inputs()]
    options = mask_of(mask)
    for shown in ({"average_attn_weights": True}, {"average_attn_weights": False}, {"need_weights": False}):
        for found, expected in zip(ours(*given, **options, **shown), theirs(*given, **options, **shown), strict=True):
            # float32 sums of a few terms of order one
            assert (found is None and expected is None) or torch.allclose(found, expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("options", [{"bias": False}, {"kdim": 4, "vdim": 6}, {"kdim": 4, "vdim": 6, "bias": False}])
def test_other_widths_and_no_bias_are_those_of_torch(options):
    theirs = torch_attention(batch_first=True, **options)
    ours = ElasticAttention.from_multihead(theirs, **SOFTMAX)
    x, y, z = inputs()
    given = (x, y[..., : options.get("kdim", E)], z[..., : options.get("vdim", E)])
    assert torch.allclose(ours(*given)[0], theirs(*given)[0], rtol=0, atol=1e-6)


def test_inputs_without_a_batch_are_as_torch_has_them():
    theirs = torch_attention()
    ours = ElasticAttention.from_multihead(theirs, **SOFTMAX)
    x, y, z = (x[0] for x in inputs())
    per_head = torch.rand(H, L, S) < 0.3
    per_head[..., 0] = False
    for options in ({}, {"key_padding_mask": torch.arange(S) > 4}, {"attn_mask": per_head}):
        for average in (True, False):
            found = ours(x, y, z, average_attn_weights=average, **options)
            expected = theirs(x, y, z, average_attn_weights=average, **options)
            assert all(torch.allclose(a, b, rtol=0, atol=1e-6) for a, b in zip(found, expected, strict=True))


def test_self_attention_with_padding_is_that_of_torch_at_lam_0():
    theirs = torch_attention(batch_first=True)
    ours = ElasticAttention.from_multihead(theirs, **SOFTMAX)
    x = torch.randn(N, S, E)
    options = mask_of("padding")
    assert torch.allclose(ours(x, x, x, **options)[0], theirs(x, x, x, **options)[0], rtol=0, atol=1e-6)


def test_a_causal_hint_is_the_causal_mask_of_torch_at_lam_0():
    theirs = torch_attention(batch_first=True)
    ours = ElasticAttention.from_multihead(theirs, **SOFTMAX)
    x = torch.randn(N, L, E)
    mask = torch.nn.Transformer.generate_square_subsequent_mask(L)
    expected = theirs(x, x, x, attn_mask=mask, is_causal=True)[0]
    for given in ({}, {"attn_mask": mask}, {"attn_mask": mask == -torch.inf}):
        assert torch.allclose(ours(x, x, x, is_causal=True, **given)[0], expected, rtol=0, atol=1e-6)


def numpy_attention(module, query, key, value, allowed, iterations):
    """Elastic attention of one sequence in NumPy: (L, E), (heads, L, S)."""
    weight, bias, out = (
        x.detach().numpy() for x in (module.in_proj_weight, module.in_proj_bias, module.out_proj.weight)
    )
    projected = [
        x @ w.T + b for x, w, b in zip((query, key, value), np.split(weight, 3), np.split(bias, 3), strict=True)
    ]
    weights, outputs = [], []
    width = E // H
    for head, lam in enumerate(module.lam.detach().numpy()):
        q, k, v = (x[:, head * width : (head + 1) * width] for x in projected)
        logits = np.where(allowed, q @ k.T / np.sqrt(width), -np.inf) / module.epsilon
        keys = allowed.any(axis=0)
        target = np.where(keys, len(q) / keys.sum(), 0.0)
        g = np.where(keys, 0.0, -np.inf)
        for step in range(iterations):
            f = -logsumexp(logits + g, axis=1)
            if step < iterations - 1:
                sums = logsumexp(logits[:, keys] + f[:, None], axis=0)
                g[keys] = lam * (np.log(target[keys]) - sums)
        weights.append(np.exp(logits + f[:, None] + g))
        outputs.append(weights[-1] @ v)
    return np.concatenate(outputs, axis=1) @ out.T + module.out_proj.bias.detach().numpy(), np.array(weights)


@pytest.mark.parametrize("padded", [False, True])
def test_elastic_attention_is_the_loop_of_numpy(padded):
    module = randomised(ElasticAttention(E, H, batch_first=True, lam=[0.3, 0.8], epsilon=0.7, iterations=4, **DOUBLE))
    given = inputs(n=1, **DOUBLE)
    allowed = np.ones((L, S), dtype=bool)
    options = {}
    if padded:
        options["key_padding_mask"] = (torch.arange(S) > 4)[None]
        allowed[:, 5:] = False
    out, weights = module(*given, average_attn_weights=False, **options)
    expected, expected_weights = numpy_attention(module, *(x[0].numpy() for x in given), allowed, 4)
    np.testing.assert_allclose(weights[0].detach(), expected_weights, rtol=0, atol=1e-12)
    np.testing.assert_allclose(out[0].detach(), expected, rtol=0, atol=1e-12)


def test_a_padded_sequence_gives_what_it_gives_alone():
    module = randomised(ElasticAttention(E, H, batch_first=True, **DOUBLE))
    x = torch.randn(2, S, E, **DOUBLE)
    padding = torch.arange(S) >= torch.tensor([[S], [4]])
    out, _ = module(x, x, x, key_padding_mask=padding)
    short = x[1:, :4]
    np.testing.assert_allclose(out[1, :4].detach(), module(short, short, short)[0][0].detach(), rtol=0, atol=1e-12)
    assert torch.equal(out[1, 4:], module.out_proj.bias.expand(3, E))


def test_causal_attention_tells_no_query_of_later_tokens():
    module = randomised(ElasticAttention(E, H, batch_first=True, lam=0.9))
    x = torch.randn(1, L, E)
    later = x.clone()
    later[:, 3:] += 1
    before, after = (module(y, y, y, is_causal=True)[0] for y in (x, later))
    assert torch.equal(before[:, :3], after[:, :3])
    assert not torch.allclose(before[:, 3:], after[:, 3:])


def test_a_query_without_keys_has_weights_and_gradients_0():
    module = ElasticAttention(E, H, batch_first=True)
    x = torch.randn(1, L, E, requires_grad=True)
    mask = torch.zeros(L, L, dtype=torch.bool)
    mask[2] = True
    out, weights = module(x, x, x, attn_mask=mask)
    assert torch.equal(weights[0, 2], torch.zeros(L))
    out.sum().backward()
    assert all(torch.isfinite(p.grad).all() for p in module.parameters())


def test_a_null_key_takes_what_it_scores():
    module = ElasticAttention(E, H, batch_first=True, null_key=True)
    x = torch.randn(1, L, E)
    rows = []
    for score in (-50.0, 0.0, 50.0):
        with torch.no_grad():
            module.null_score.fill_(score)
            rows.append(module(x, x, x)[1].sum(-1).mean().item())
    assert rows[0] == pytest.approx(1.0, abs=1e-5)  # float32
    assert rows[0] > rows[1] > rows[2]


def test_lam_stays_between_0_and_1_and_learns_towards_balance():
    module = ElasticAttention(E, H, batch_first=True, lam=0.5, iterations=20)
    optimiser = torch.optim.SGD([module.theta], lr=20.0)
    x = torch.randn(2, L, E)
    for _ in range(5):
        optimiser.zero_grad()
        columns = module(x, x, x, average_attn_weights=False)[1].sum(dim=-2)
        (columns - 1).square().sum().backward()
        optimiser.step()
    assert torch.all((module.lam > 0.5) & (module.lam < 1))


@pytest.mark.parametrize(("options", "shape"), [({}, (H,)), ({"per_head": False}, (1,))])
def test_lam_is_a_parameter_a_head_or_one(options, shape):
    module = ElasticAttention(E, H, lam=0.25, **options)
    assert module.theta.shape == shape
    assert torch.allclose(module.lam, torch.full(shape, 0.25))
    fixed = ElasticAttention(E, H, lam=0.25, learn_lam=False)
    assert fixed.lam == 0.25
    assert "theta" not in dict(fixed.named_parameters())


@pytest.mark.parametrize("is_causal", [False, True])
def test_gradients_of_attention_are_those_of_differences(is_causal):
    module = randomised(ElasticAttention(4, H, batch_first=True, iterations=3, null_key=not is_causal, **DOUBLE))
    x = torch.randn(1, 3, 4, requires_grad=True, **DOUBLE)
    names = [name for name, _ in module.named_parameters()]

    def call(x, *parameters):
        given = dict(zip(names, parameters, strict=True))
        return torch.func.functional_call(module, given, (x, x, x), {"is_causal": is_causal})[0]

    assert "theta" in names
    assert torch.autograd.gradcheck(call, (x, *module.parameters()))


@pytest.mark.parametrize("name", ["sparse", "router", "matcher"])
def test_gradients_of_modules_are_those_of_differences(name):
    module = randomised(MODULES[name](**DOUBLE))
    x = torch.randn(1, 4, E, **DOUBLE)
    names = [f"inner.{name}" for name, _ in module.named_parameters()]

    def call(*parameters):
        given = dict(zip(names, parameters, strict=True))
        return torch.func.functional_call(Output(module), given, (x,))

    assert torch.autograd.gradcheck(call, tuple(module.parameters()))


@pytest.mark.parametrize("name", MODULES)
def test_gradients_reach_every_parameter(name):
    module = MODULES[name]()
    (output(module, torch.randn(2, 6, E)) * torch.randn(1)).square().sum().backward()
    for parameter in module.parameters():
        assert parameter.grad.abs().max() > 0


@pytest.mark.parametrize("name", MODULES)
def test_modules_are_saved_copied_and_printed(name):
    module = randomised(MODULES[name]()).eval()
    file = io.BytesIO()
    torch.save(module.state_dict(), file)
    file.seek(0)
    loaded = MODULES[name]().eval()
    loaded.load_state_dict(torch.load(file))
    x = torch.randn(2, 6, E)
    expected = output(module, x)
    assert torch.equal(output(loaded, x), expected)
    duplicate = copy.deepcopy(module)
    assert torch.equal(output(duplicate, x), expected)
    randomised(duplicate)
    assert torch.equal(output(module, x), expected)
    assert type(module).__name__ in repr(module)


@pytest.mark.parametrize("name", MODULES)
def test_under_autocast_results_are_near_those_of_float32(name):
    module = MODULES[name]().eval()
    x = torch.randn(2, 6, E)
    expected = output(module, x)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = output(module, x)
    found.float().sum().backward()
    # bfloat16 has 8 bits; logs of the plan are sums of a few scores of some 10
    bound = 0.3 if name == "matcher" else 0.03
    assert torch.allclose(found.float(), expected, rtol=0.02, atol=bound)


@pytest.mark.parametrize("name", ["attention", "sparse"])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_attention_in_half_precision_keeps_the_dtype(name, dtype):
    module = MODULES[name]()
    x = torch.randn(2, 6, E)
    expected = output(module, x)
    found = output(module.to(dtype), x.to(dtype))
    assert found.dtype == dtype
    assert torch.allclose(found.float(), expected, rtol=0.02, atol=0.03)


def test_dropout_acts_in_training_alone():
    module = ElasticAttention(E, H, dropout=0.5, batch_first=True)
    x = torch.randn(1, 20, E)
    weights = module(x, x, x, average_attn_weights=False)[1]
    assert 0.3 < (weights == 0).float().mean() < 0.7  # 800 draws: seven standard deviations
    module.eval()
    assert torch.equal(module(x, x, x)[0], module(x, x, x)[0])
    assert (module(x, x, x)[1] > 0).all()


@pytest.mark.parametrize("is_causal", [False, True])
def test_a_layer_of_torch_computes_elastic_attention_in_evaluation_too(is_causal):
    """In evaluation torch's layer has a way past the attention module, which must not be taken."""
    layer = torch.nn.TransformerEncoderLayer(E, H, 16, dropout=0.0, batch_first=True)
    layer.self_attn = ElasticAttention.from_multihead(layer.self_attn, lam=0.9)
    encoder = torch.nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
    x = torch.randn(N, L, E)
    options = {"src_key_padding_mask": torch.arange(L) >= torch.tensor([[5], [3], [4]])}
    if is_causal:
        options = {"mask": torch.nn.Transformer.generate_square_subsequent_mask(L)}
    training = encoder(x, **options)
    with torch.no_grad():
        assert torch.allclose(encoder.eval()(x, **options), training, rtol=0, atol=1e-5)
    if is_causal:
        x[:, 3:] += 1
        assert torch.allclose(encoder(x, **options)[:, :3], training[:, :3], rtol=0, atol=1e-5)


def test_a_nested_tensor_is_refused_with_the_way_out():
    module = ElasticAttention(E, H, batch_first=True)
    x = torch.nested.nested_tensor([torch.randn(3, E), torch.randn(2, E)], layout=torch.jagged)
    with pytest.raises(TypeError, match="enable_nested_tensor=False"):
        module(x, x, x)


def test_sparse_attention_pads_and_takes_short_sequences():
    module = randomised(SparseSinkhornAttention(E, H, block=4, **DOUBLE)).eval()
    x = torch.randn(2, 10, E, **DOUBLE)
    padding = torch.arange(10) >= torch.tensor([[10], [8]])
    found = module(x, key_padding_mask=padding)
    np.testing.assert_allclose(found[0].detach(), module(x[0]).detach(), rtol=0, atol=1e-12)
    np.testing.assert_allclose(found[1, :8].detach(), module(x[1, :8]).detach(), rtol=0, atol=1e-12)
    assert module(x[0, :3]).shape == (3, E)


def test_a_single_block_attends_to_itself_and_to_its_copy():
    """Both halves of the softmax are the same then: it is ordinary attention."""
    module = SparseSinkhornAttention(E, H, block=6).eval()
    theirs = torch.nn.MultiheadAttention(E, H, batch_first=True).eval()
    with torch.no_grad():
        theirs.in_proj_weight.copy_(module.in_proj.weight)
        theirs.in_proj_bias.copy_(module.in_proj.bias)
        theirs.out_proj.load_state_dict(module.out_proj.state_dict())
    x = torch.randn(2, 6, E)
    assert torch.allclose(module(x), theirs(x, x, x)[0], rtol=0, atol=1e-6)


def test_the_sort_net_scores_means_of_blocks():
    module = SparseSinkhornAttention(E, H, block=2, causal=False, **DOUBLE)
    x = torch.randn(6, E, **DOUBLE)
    means = x.reshape(3, 2, E).mean(1).numpy()
    rows, cols = (means @ net.weight.detach().numpy().T for net in (module.sort_rows, module.sort_cols))
    expected = [rows[:, h] @ cols[:, h].T / np.sqrt(E // H) for h in (slice(0, E // H), slice(E // H, E))]
    found = module._sort_scores(x, 2, None)
    np.testing.assert_allclose(found.detach(), expected, rtol=0, atol=1e-12)


def test_causal_sparse_attention_tells_no_token_of_later_ones():
    module = SparseSinkhornAttention(E, H, block=2, causal=True).eval()
    x = torch.randn(1, 9, E)
    expected = module(x)
    for token in range(1, 9):
        later = x.clone()
        later[:, token:] += 1
        assert torch.equal(module(later)[:, :token], expected[:, :token])


def test_noise_sorts_in_training_alone_and_follows_torchs_seed():
    module = SparseSinkhornAttention(E, H, block=2)
    x = torch.randn(1, 8, E)
    torch.manual_seed(1)
    first, second = module(x), module(x)
    assert not torch.allclose(first, second)
    torch.manual_seed(1)
    assert torch.equal(module(x), first)
    module.eval()
    assert torch.equal(module(x), module(x))


def test_sortcut_is_cut_to_the_blocks_there_are():
    module = SparseSinkhornAttention(E, H, block=2, sortcut=3).eval()
    assert module(torch.randn(1, 4, E)).shape == (1, 4, E)


@pytest.mark.parametrize("method", ["softmax", "sinkhorn", "base", "s-base"])
def test_the_router_is_route_of_its_scores(method):
    lam = {"lam": 0.6} if method == "sinkhorn" else {}
    router = SinkhornRouter(E, 4, method=method, **lam)
    x = torch.randn(2, 12, E)
    mask = torch.arange(12) < torch.tensor([[12], [9]])
    found, expected = router(x, mask), route(x @ router.scores.weight.T, method=method, mask=mask, **lam)
    assert torch.equal(found.idx, expected.idx)
    assert torch.allclose(found.weight, expected.weight, rtol=0, atol=1e-6)


def test_the_router_never_solves_in_evaluation():
    router = SinkhornRouter(E, 4, lam=1.0).eval()
    x = torch.randn(12, E)
    found = router(x)
    assert found.plan is None
    assert torch.equal(found.idx[:, 0], (x @ router.scores.weight.T).argmax(-1))
    assert router.train()(x).plan is not None


def test_ssr_draws_from_torchs_generator():
    router = SinkhornRouter(E, 4, method="ssr", probability=0.3)
    x = torch.randn(12, E)
    torch.manual_seed(5)
    solved = [router(x).plan is not None for _ in range(40)]
    torch.manual_seed(5)
    assert solved == [float(torch.rand(())) < 0.3 for _ in range(40)]
    assert not any(router.eval()(x).plan is not None for _ in range(40))


@pytest.mark.parametrize("training", [True, False])
def test_a_capacity_holds_in_training_and_evaluation(training):
    router = SinkhornRouter(E, 4, k=2, lam=0.2, capacity_factor=1.25).train(training)
    with torch.no_grad():
        router.scores.weight[0] += 2.0
    assert router(torch.randn(10, E).abs()).load.max() <= 7  # 1.25 * 10 * 2 / 4, rounded up


def test_the_matcher_is_match_with_a_learned_dustbin():
    matcher = DustbinMatcher(1.5, iterations=30, tau=0.8)
    scores = torch.randn(2, 4, 5)
    lengths = torch.tensor([4, 3])
    found = matcher(scores, row_lengths=lengths)
    expected = match(scores, dustbin=1.5, iterations=30, tau=0.8, row_lengths=lengths)
    assert torch.equal(found.matches0, expected.matches0)
    assert torch.equal(found.log_plan, expected.log_plan)
    found.log_plan[:, :3, :-1].logsumexp((1, 2)).sum().backward()
    assert matcher.dustbin.grad < 0  # a higher dustbin takes mass from pairs


def test_modules_are_public_and_loaded_on_first_use():
    assert {"ElasticAttention", "SparseSinkhornAttention", "SinkhornRouter", "DustbinMatcher"} <= set(dir(eot_torch))
    assert all(getattr(eot_torch, name) is not None for name in eot_torch.__all__)
    with pytest.raises(AttributeError, match="SoftSort"):
        eot_torch.SoftSort  # noqa: B018


REFUSED = {
    "embed_dim is 7": lambda: ElasticAttention(7, 2),
    "num_heads is 0": lambda: ElasticAttention(8, 0),
    "add_bias_kv is True": lambda: ElasticAttention(E, H, add_bias_kv=True),
    "add_zero_attn is True": lambda: ElasticAttention(E, H, add_zero_attn=True),
    "dropout is 1.5": lambda: ElasticAttention(E, H, dropout=1.5),
    "lam is 1.0; it must lie in .0, 1. to be learned": lambda: ElasticAttention(E, H, lam=1.0),
    "lam is 1.2": lambda: ElasticAttention(E, H, lam=1.2, learn_lam=False),
    "lam has shape .3,.; it must be a number or 2": lambda: ElasticAttention(E, H, lam=[0.1, 0.2, 0.3]),
    "a number where learn_lam is False": lambda: ElasticAttention(E, H, lam=[0.1, 0.2], learn_lam=False),
    "epsilon is 0": lambda: ElasticAttention(E, H, epsilon=0.0),
    "iterations is 0": lambda: ElasticAttention(E, H, iterations=0),
    "unroll": lambda: ElasticAttention(E, H, tol=1e-6, grad="unroll"),
    "null_key is True": lambda: ElasticAttention(E, H, tol=1e-6, null_key=True),
    "query has shape .5, 3, 9.": lambda: ElasticAttention(E, H)(*(torch.randn(5, 3, 9),) * 3),
    "batches must agree": lambda: ElasticAttention(E, H)(torch.randn(5, 3, E), *(torch.randn(5, 2, E),) * 2),
    "lengths must agree": lambda: ElasticAttention(E, H)(*(torch.randn(n, 3, E) for n in (5, 5, 4))),
    "attn_mask has shape .4, 4.": lambda: ElasticAttention(E, H)(
        *(torch.randn(5, 3, E),) * 3, attn_mask=torch.zeros(4, 4)
    ),
    "key_padding_mask has shape .5, 3.": lambda: ElasticAttention(E, H)(
        *(torch.randn(5, 3, E),) * 3, key_padding_mask=torch.zeros(5, 3)
    ),
    "is_causal is True with 5 queries and 6 keys": lambda: ElasticAttention(E, H)(
        torch.randn(5, 3, E), *(torch.randn(6, 3, E),) * 2, is_causal=True
    ),
    "the module has null_key": lambda: ElasticAttention(E, H, null_key=True)(
        *(torch.randn(5, 3, E),) * 3, is_causal=True
    ),
    "block is 0": lambda: SparseSinkhornAttention(E, H, block=0),
    "temperature is 0": lambda: SparseSinkhornAttention(E, H, block=2, temperature=0.0),
    "sortcut is 2 and causal": lambda: SparseSinkhornAttention(E, H, block=2, sortcut=2, causal=True),
    "combine is 'mean'": lambda: SparseSinkhornAttention(E, H, block=2, combine="mean"),
    "x has shape .4, 9.": lambda: SparseSinkhornAttention(E, H, block=2)(torch.randn(4, 9)),
    "key_padding_mask has shape .3,.": lambda: SparseSinkhornAttention(E, H, block=2)(
        torch.randn(4, E), torch.zeros(3, dtype=torch.bool)
    ),
    "experts is 0": lambda: SinkhornRouter(E, 0),
    "method is 'topk'": lambda: SinkhornRouter(E, 4, method="topk"),
    "k is 5": lambda: SinkhornRouter(E, 4, k=5),
    "probability is 2": lambda: SinkhornRouter(E, 4, method="ssr", probability=2.0),
    "capacity_factor is 0.5": lambda: SinkhornRouter(E, 4, capacity_factor=0.5),
    "x has shape .4, 9.; it must be .*T, 8": lambda: SinkhornRouter(E, 4)(torch.randn(4, 9)),
    "tau is 0": lambda: DustbinMatcher(tau=0.0),
    "dustbin is nan": lambda: DustbinMatcher(float("nan")),
    "scores has shape .4,.": lambda: DustbinMatcher()(torch.randn(4)),
}


@pytest.mark.parametrize("message", REFUSED)
def test_bad_arguments_are_named(message):
    with pytest.raises(ValueError, match=message):
        REFUSED[message]()


def test_masks_are_bool_or_floating():
    module, x = ElasticAttention(E, H), torch.randn(5, 3, E)
    with pytest.raises(TypeError, match=r"attn_mask has dtype torch\.int64"):
        module(x, x, x, attn_mask=torch.zeros(5, 5, dtype=torch.int64))
