"""Applications and modules stand in one graph of torch: torch.compile(fullgraph=True) gives what eager code does."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from elastic_ot import applications as A  # noqa: E402
from elastic_ot import torch as eot_torch  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated:DeprecationWarning")

CALLS = {
    "attention_weights": lambda s: A.attention_weights(s, lam=0.5, mask=s > -1),
    "attention_weights to a tolerance": lambda s: A.attention_weights(s, rho=0.5, tol=1e-6),
    "attention_weights with a null key": lambda s: A.attention_weights(s, lam=0.5, null_score=0.0),
    "attention_weights, columns held": lambda s: A.attention_weights(s, lam=0.5, grad="detach"),
    "elastic_attention": lambda s: A.elastic_attention(s, s, s, lam=0.5, need_weights=True),
    "elastic_attention, causal": lambda s: A.elastic_attention(s, s, s, lam=0.5, causal=True),
    "damped_weights": lambda s: A.damped_weights(s, 0.5, 5),
    "sinkformer_weights": lambda s: A.sinkformer_weights(s, key_mask=s[..., 0, :] > -2),
    "causal_weights": A.causal_weights,
    "sparse_attention": lambda s: A.sparse_attention(s, s, s, A.block_scores(s, s, 2), block=2),
    "sparse_attention, causal": lambda s: A.sparse_attention(
        s, s, s, A.block_scores(s, s, 3, causal=True), block=3, causal=True
    ),
    "sort_blocks": A.sort_blocks,
    "sort_blocks, causal columns of one": lambda s: A.sort_blocks(s[..., :4, :4], causal=True, causal_columns="one"),
    "block_summaries": lambda s: A.block_summaries(s, 3),
    "low_rank_attention": lambda s: A.low_rank_attention(s, s, s, s[..., :3, :]),
    "sliced_attention": lambda s: A.sliced_attention(s, s, s),
    "expected_sliced_plan": lambda s: A.expected_sliced_plan(s, s, inv_temp=1.0, straight_through=1.0),
    "expected_sliced_plan, padded": lambda s: A.expected_sliced_plan(
        s, s, inv_temp=1.0, tau=0.5, squared=True, metric="euclidean", x_mask=s[..., 0] > -2, y_mask=s[..., 0] > -2
    ),
    "sink_metrics": lambda s: tuple(vars(A.sink_metrics(s.abs())).values())[2:],
    "importance": lambda s: A.importance(s.abs(), causal=True),
    "gini": lambda s: A.gini(s.abs()),
    "column_kl": lambda s: A.column_kl(s.abs(), s.abs() + 1),
    "effective_rank": A.effective_rank,
    "balance": lambda s: A.balance(s, 20),
    "balance to a tolerance": lambda s: A.balance(s, None),
    "qr_plan": A.qr_plan,
    "mixture": lambda s: A.mixture(s, s[0, 0, :2]),
    "birkhoff_distance": lambda s: A.birkhoff_distance(s.abs()),
    "plan_entropy": lambda s: A.plan_entropy(s.abs()),
    "unistochastic": lambda s: A.unistochastic(s[0, 0, :6], 4),
    "givens_unitary": lambda s: A.givens_unitary(s[0, 0, :6], 4),
    "simulated_circuit": lambda s: A.simulated_circuit(s[0, 0, :8], 2, 2),
    "gumbel_sinkhorn": A.gumbel_sinkhorn,
    "gumbel_sinkhorn, hard": lambda s: A.gumbel_sinkhorn(s, hard=True),
    "gumbel_noise": lambda s: A.gumbel_noise(s.sigmoid()),
    "EpsilonSchedule": lambda s: A.EpsilonSchedule(1.0, 0.1, 2)(s.abs()),
    "EpsilonSchedule in weights": lambda s: A.attention_weights(
        s, lam=0.5, epsilon=A.EpsilonSchedule(1.0, 0.1, 9, "cosine")(s[0, 0, 0].abs())
    ),
    "route at an epsilon of each problem": lambda s: (
        A.route(s, 2, method="sinkhorn", epsilon=s[:, 0, 0].abs() + 0.5).weight
    ),
    "soft_sort": lambda s: A.soft_sort(s, weights=s.abs()),
    "soft_rank": A.soft_rank,
    "soft_quantile": lambda s: A.soft_quantile(s, [0.25, 0.5]),
    "projected_sort": lambda s: A.projected_sort(s, regularization="entropic"),
    "projected_rank": A.projected_rank,
    "route, softmax": lambda s: A.route(s, 2).idx,
    "route, sinkhorn": lambda s: tuple(vars(A.route(s, 2, method="sinkhorn", mask=s[..., 0] > -2)).values()),
    "route, ssr": lambda s: A.route(s, 2, method="ssr", draw=0.0).weight,
    "route, s-base": lambda s: A.route(s, 2, method="s-base").weight,
    "route, base": lambda s: A.route(s, method="base").idx,
    "route within a capacity": lambda s: A.route(s, 2, capacity=2, mask=s[..., 0] > -2).idx,
    "load_balance": lambda s: tuple(vars(A.load_balance(s.abs())).values()),
    "match": lambda s: tuple(vars(A.match(s, dustbin=s[0, 0, 0])).values()),
    "match, ragged": lambda s: (
        A.match(s, dustbin=1.0, iterations=None, tau=0.5, row_lengths=torch.tensor([3, 0])).matches0
    ),
    "keypoint_graph": lambda s: A.keypoint_graph(s[..., :2], s, 1.0, lengths=torch.tensor([8, 3])),
    "match, nobody": lambda s: A.match(s[:, :0], dustbin=1.0).matches1,
    "sinkd_loss": lambda s: A.sinkd_loss(s, s.flip(0)),
    "kl_loss": lambda s: A.kl_loss(s, s.flip(0)),
    "reverse_kl_loss": lambda s: A.reverse_kl_loss(s, s.flip(0)),
    "js_loss": lambda s: A.js_loss(s, s.flip(0)),
}
NO_ARRAY = {"sink_rate"}  # returns a Python number
OWN_LISTS = {"block_scores"}  # within others
TYPES = {"Routing", "LoadBalance", "Matches", "SinkMetrics"}
QUICK = ("balance", "match", "route within a capacity")


def scores():
    torch.manual_seed(0)
    return torch.randn(2, 8, 8)


def check(function, *inputs, **options):
    torch._dynamo.reset()
    found = torch.compile(function, fullgraph=True, **options)(*inputs)
    torch.testing.assert_close(found, function(*inputs), rtol=1e-5, atol=1e-6)


def marked(names):
    return [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in names]


@pytest.mark.parametrize("name", marked(CALLS))
def test_an_application_is_one_graph(name):
    check(CALLS[name], scores(), backend="eager")


@pytest.mark.slow
@pytest.mark.parametrize("name", CALLS)
def test_its_sizes_may_be_symbols(name):
    if name in ("match, nobody", "gumbel_sinkhorn, hard"):
        return
    check(CALLS[name], scores(), backend="eager", dynamic=True)


def test_every_application_is_on_the_list():
    listed = {name.split(",")[0].split(" ")[0] for name in CALLS}
    assert set(A.__all__) - TYPES - NO_ARRAY - OWN_LISTS == listed


def test_a_graph_has_the_derivatives_of_eager_code():
    x = scores()
    for function in (lambda s: A.balance(s, 20), lambda s: A.match(s, dustbin=1.0).log_plan):
        torch._dynamo.reset()
        grads = []
        for call in (function, torch.compile(function, fullgraph=True, backend="aot_eager")):
            leaf = x.clone().requires_grad_()
            (call(leaf) ** 2).sum().backward()
            grads.append(leaf.grad)
        torch.testing.assert_close(*grads, rtol=1e-4, atol=1e-5)


def test_numbers_are_looked_at_outside_of_graphs_alone():
    bad = scores()
    bad[0, 0, 0] = np.nan
    with pytest.raises(ValueError, match=r"\[0, 0, 0\] is nan"):
        A.soft_rank(bad)
    torch._dynamo.reset()
    with pytest.raises(ValueError, match="nan"):  # by the solver, when it runs
        torch.compile(lambda s: A.balance(s, 20), fullgraph=True, backend="eager")(bad)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["router", "capacity", "matcher", "attention", "sparse", "sort net"])
def test_a_module_is_one_graph(name):
    torch.manual_seed(1)
    module = {
        "router": lambda: eot_torch.SinkhornRouter(8, 4, k=2),
        "capacity": lambda: eot_torch.SinkhornRouter(8, 4, k=2, capacity_factor=1.25),
        "matcher": eot_torch.DustbinMatcher,
        "attention": lambda: eot_torch.ElasticAttention(8, 2, batch_first=True),
        "sparse": lambda: eot_torch.SparseSinkhornAttention(8, 2, block=4),
        "sort net": lambda: eot_torch.SparseSinkhornAttention(8, 2, block=4, sort_net="mlp", max_blocks=3),
    }[name]().eval()

    def call(x):
        found = module(x, x, x) if name == "attention" else module(x)
        if isinstance(found, torch.Tensor):
            return found
        return tuple(x for x in (found if isinstance(found, tuple) else vars(found).values()) if x is not None)

    check(call, scores(), backend="eager")
