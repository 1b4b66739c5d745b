"""Studies in small: kinds of a seed have equal splits, and trained attention has the marginals that it promises.

And what is stored of them: enough seeds, pairs, rates that validation chose, tables that follow from the numbers.
"""

import importlib
import json
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from helpers.array_libraries import library

library("torch")
for needed in ("matplotlib", "sklearn"):
    pytest.importorskip(needed)
torch = importlib.import_module("torch")
STORED = Path(__file__).parents[2] / "benchmarks/results/studies"
STUDIES = (
    "attention_on_digits",
    "attention_on_digits_mean",
    "attention_sinks",
    "collapse",
    "corrupted_experts",
    "distillation",
    "doubly_stochastic",
    "experts_on_digits",
    "graph_matching",
    "hubs",
    "long_lists",
    "long_range",
    "patches",
    "shapes",
    "sink_mitigations",
    "sort_and_match",
    "sort_lists",
    "trained_stacks",
)
PLACES = {"attention_sinks": ["trained"]}
PLACES["long_lists"] = [f"learning runs {tokens}" for tokens in ("5-20", "20-60", "100-200")]
PLACES["long_range"] = ["runs digits", "runs paths", "runs texts"]
PLACES["sort_and_match"] = ["runs sorting", "runs matching"]
PLACES["distillation"] = ["runs digits", "runs mails"]
PLACES["collapse"] = [f"runs {stack} {size}" for stack in ("plain", "skips") for size in (1, 4, 16)]
PLACES["patches"] = ["runs 14", "runs 7", "runs 4", "runs 7-all"]
PLACES["trained_stacks"] = [f"runs {stack}" for stack in (1, 2, 4, "skips")]
PLACES["hubs"] = ["runs hubs", "runs normal", "runs equal", "runs uneven"]
COMPARED = [(name, place) for name in STUDIES for place in PLACES.get(name, ["runs"])]
"""Studies, and where their runs are stored."""
ROUNDING = 1e-5
"""Of a sum of at most 64 weights in single precision, and then some."""


def study(name):
    return importlib.import_module(f"docs.gallery.studies.study_{name.removesuffix('_mean')}")


@cache
def stored(name):
    return json.loads((STORED / f"{name}.json").read_text())


def stored_runs(name, place):
    found = stored(name)
    for key in place.split():
        found = found[key]
    return found


@pytest.mark.parametrize(("name", "place"), COMPARED)
def test_stored_runs_are_pairs_of_twelve_seeds_at_least(name, place):
    pairs = {kind: [(run["seed"], run["split"]) for run in runs] for kind, runs in stored_runs(name, place).items()}
    first, *others = pairs.values()
    assert len(set(first)) == len({split for _, split in first}) >= 12
    assert all(other == first for other in others)


@pytest.mark.parametrize(("name", "place"), [one for one in COMPARED if one[0] != "collapse"])
def test_stored_rates_are_those_that_validation_chose(name, place):
    rates = study(name).RATES
    assert len(rates) >= 2
    for run in (run for runs in stored_runs(name, place).values() for run in runs):
        assert len(run["validation"]) == len(rates)
        assert run["validation"][rates.index(run["rate"])] == max(run["validation"])


@pytest.mark.parametrize("name", STUDIES)
def test_stored_tables_follow_from_the_stored_numbers(name):
    text = (STORED / f"{name}.rst").read_text()
    for table in study(name).tables(stored(name)):
        assert table.rst() in text


def few_digits():
    digits = study("attention_on_digits")
    return digits, digits.small_digits(120)


def test_digits_of_a_seed_are_split_alike_and_once():
    digits, (_, kinds) = few_digits()
    parts = digits.split(kinds, 3)
    assert sorted(np.concatenate(parts)) == list(range(120))
    runs = [digits.one_run(kind, 3, None, 120, 0) for kind in ("softmax", "QR, identity added")]
    assert runs[0]["split"] == runs[1]["split"] != digits.one_run("softmax", 4, None, 120, 0)["split"]


@pytest.mark.parametrize(("kind", "balanced"), [("softmax", False), ("sliced", True), ("QR, identity added", True)])
def test_trained_attention_on_digits_has_its_marginals(kind, balanced):
    digits, data = few_digits()
    trained = digits.Training(kind, data, 0, 1e-2).run(1)
    with torch.no_grad():
        weights = trained.model(data[0])[1]
    assert abs(weights.sum(dim=-1) - 1).max() < ROUNDING
    assert bool(abs(weights.sum(dim=-2) - 1).max() < ROUNDING) == balanced


@pytest.mark.parametrize("kind", ["QR", "circuit"])
def test_weights_of_eight_tokens_are_doubly_stochastic_and_learn(kind):
    weights = study("doubly_stochastic")
    data = few_digits()[1]
    trained, alone = (weights.Training(kind, data, 0, 1e-2).run(epochs) for epochs in (1, 0))
    with torch.no_grad():
        found, before = trained.model(data[0])[1], alone.model(data[0])[1]
    assert abs(found.sum(dim=-1) - 1).max() < ROUNDING
    assert abs(found.sum(dim=-2) - 1).max() < ROUNDING
    assert abs(found - before).max() > 1e-3
    measured = trained.measure()
    assert 0 <= measured["entropy"] <= 8 * np.log(8) + ROUNDING
    assert measured["diversity"] > 0


def test_a_mean_over_tokens_does_not_see_balanced_weights():
    """The reason that the page on digits gives against this readout."""
    digits, (images, _) = few_digits()
    q, k = torch.randn(2, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    values = images[:1, :, :8]
    for kind, same in (("softmax", False), ("QR, identity added", True)):
        mean = (digits.KINDS[kind](q, k, None) @ values).mean(dim=-2)
        assert bool(abs(mean - values.mean(dim=-2)).max() < ROUNDING) == same


@pytest.mark.parametrize("kind", ["softmax", "Sinkhorn"])
def test_shapes_are_classified_whatever_the_order_of_their_points(kind):
    shapes = study("shapes")
    trained = shapes.Training(kind, 0, shapes.QUICK, 1e-2)
    clouds = trained.test.clouds
    order = torch.randperm(clouds.shape[1], generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        (one, weights), (other, _) = trained.model(clouds), trained.model(clouds[:, order])
    torch.testing.assert_close(one, other, rtol=1e-4, atol=ROUNDING)
    assert abs(weights.sum(dim=-1) - 1).max() < ROUNDING
    assert len(trained.columns) == shapes.QUICK.steps // shapes.QUICK.every + 1


def test_sinks_give_at_most_what_a_row_has_and_nothing_to_the_future():
    sinks = study("attention_sinks")
    for kind in sinks.KINDS:
        trained = sinks.Training(kind, 0, 1, 4, 1e-2)
        with torch.no_grad():
            weights = trained.model(trained.test.tokens)[1]
        rows = weights.sum(dim=-1)
        assert bool(abs(rows - 1).max() < ROUNDING) == ("null" not in kind)
        assert rows.max() < 1 + ROUNDING
        assert bool(weights.triu(1).max() == 0) == ("causal" in kind)


def test_ways_around_sinks_are_what_they_are_called():
    ways = study("sink_mitigations")
    weights, models = {}, {}
    for kind in ways.KINDS:
        trained = ways.Training(kind, 0, 0, 4, 1e-2)
        models[kind] = trained.model
        with torch.no_grad():
            weights[kind] = trained.model(trained.test.tokens)[1]
        assert weights[kind].triu(1).max() == 0
        rows = weights[kind].sum(dim=-1)
        gives_less = kind in ("null key", "softmax-off-by-one", "sigmoid attention", "registers")
        assert bool(abs(rows - 1).max() < ROUNDING) != gives_less
    softmax = weights["softmax"]
    # the score of a null key begins at 0; a gate is no matter of the weights
    for kind, same in (("null key", "softmax-off-by-one"), ("gated output", "softmax")):
        torch.testing.assert_close(weights[kind], weights[same], rtol=0, atol=ROUNDING)
    model = models["softmax"]
    with torch.no_grad():
        q, k, _ = model.heads(model.embed(trained.test.tokens) + model.position)
        exp = model.scores(q, k).exp().tril()
    torch.testing.assert_close(softmax, exp / exp.sum(dim=-1, keepdim=True), rtol=0, atol=ROUNDING)
    off_by_one = exp / (1 + exp.sum(dim=-1, keepdim=True))
    torch.testing.assert_close(weights["softmax-off-by-one"], off_by_one, rtol=0, atol=ROUNDING)
    torch.testing.assert_close(weights["sigmoid attention"], (exp / (exp + 32)).tril(), rtol=0, atol=ROUNDING)


def test_no_way_around_sinks_looks_ahead():
    ways = study("sink_mitigations")
    for kind in ways.KINDS:
        trained = ways.Training(kind, 0, 1, 4, 1e-2)
        changed = trained.test.tokens.clone()
        changed[:, 20:] = (changed[:, 20:] + 1) % 16
        with torch.no_grad():
            one, other = (trained.model(tokens)[0] for tokens in (trained.test.tokens, changed))
        torch.testing.assert_close(one[:, :20], other[:, :20], rtol=0, atol=ROUNDING)
        assert abs(one[:, 20:] - other[:, 20:]).max() > 1e-3


@pytest.mark.parametrize("task", ["hubs", "normal", "equal"])
def test_a_query_without_noise_has_the_direction_of_its_key(task, monkeypatch):
    hubs = study("hubs")
    monkeypatch.setattr(hubs, "NOISE", 0.0)
    lists = hubs.draw_lists(task, 5, torch.Generator().manual_seed(0))
    found = torch.cosine_similarity((lists.queries @ hubs.TURN.T)[:, :, None], lists.keys[:, None], dim=-1)
    assert abs(found.amax(dim=-1) - 1).max() < ROUNDING
    assert torch.equal(lists.symbols.gather(1, found.argmax(dim=-1)), lists.answers)
    # every key has one query, and hubs are longer than they were
    assert torch.equal(found.argmax(dim=-1).sort(dim=-1).values, torch.arange(16).expand(5, 16))
    mine = lists.keys.take_along_dim(found.argmax(dim=-1)[..., None], dim=1).norm(dim=-1) / lists.queries.norm(dim=-1)
    assert (mine > 1 + ROUNDING).sum(dim=-1).tolist() == [3 if task == "hubs" else 0] * 5


def test_keys_of_one_length_know_no_hubs():
    hubs = study("hubs")
    lists = hubs.draw_lists("hubs", 5, torch.Generator().manual_seed(0))
    shorter = lists._replace(keys=torch.cat([lists.keys[:, :3] / 3, lists.keys[:, 3:]], dim=1))
    for kind, same in (("softmax, unit keys", True), ("softmax", False)):
        model = hubs.Training("hubs", kind, 0, hubs.QUICK, 1e-2).model
        with torch.no_grad():
            weights, others = (model(each)[1] for each in (lists, shorter))
        assert bool(abs(weights - others).max() < ROUNDING) == same
        assert abs(weights.sum(dim=-1) - 1).max() < ROUNDING


def test_random_stacks_of_a_seed_begin_alike_and_lose_rank():
    collapse = study("collapse")
    for stack in collapse.STACKS:
        runs = [collapse.random_stack(stack, 4, lam, 3) for lam in collapse.RANDOM_LAMS]
        assert len({run["split"] for run in runs}) == 1 != len({run["rank"] for run in runs})
        for run in runs:
            assert run["rank"] == run["ranks of tokens"][collapse.COMPARED_LAYER - 1]
            for name in collapse.LISTS:
                assert len(run[name]) == collapse.DEPTH
                assert all(1 - ROUNDING <= x <= collapse.PLACES for x in run[name])
        # columns are met to 1e-6, relative to the total of 32
        assert max(runs[-1]["largest columns"]) < 1 + 1e-4


@pytest.mark.parametrize("task", ["sorting", "matching"])
def test_the_order_of_a_list_is_what_makes_it_right(task):
    drawn = study("sort_and_match").TASKS[task].draw(5, np.random.default_rng(0))
    ordered = drawn.given.take_along_dim(drawn.order[..., None], dim=-2)
    assert torch.equal(ordered, drawn.wanted)
    assert not torch.equal(drawn.given, drawn.wanted)


def test_kinds_of_permutations_are_what_they_are_called():
    permutations = study("sort_and_match")
    generator = torch.Generator().manual_seed(0)
    scores, noise = torch.randn(2, 4, 10, 10, generator=generator)
    made = {kind: permutations.permutation(scores, how, how.end, noise) for kind, how in permutations.KINDS.items()}
    for kind, found in made.items():
        assert abs(found.sum(dim=-2) - 1).max() < ROUNDING
        assert bool(((found == 0) | (found == 1)).all()) == (kind == "straight-through")
    largest = {kind: found.amax(dim=-1).mean() for kind, found in made.items()}
    assert largest["fixed at 1"] < largest["fixed at 0.22"] < largest["fixed at 0.05"]
    assert torch.equal(made["annealed"], made["fixed at 0.05"])
    for kind, without_noise in (("Gumbel", "fixed at 0.22"), ("Gumbel, annealed", "annealed")):
        assert abs(made[kind] - made[without_noise]).max() > 0.1


def test_matches_of_all_images_are_counted_together():
    graphs = study("graph_matching")
    right = torch.eye(4, dtype=torch.bool)[None].repeat(2, 1, 1)
    right[1, 2:] = False
    matches = torch.tensor([[0, 1, 3, -1], [0, -1, -1, 3]])  # three of six pairs, and two that are wrong
    found = graphs.quality(matches, right)
    assert found == pytest.approx({"precision": 3 / 5, "recall": 3 / 6, "F1": 6 / 11})
    assert graphs.quality(torch.full((2, 4), -1), right) == {"precision": 0, "recall": 0, "F1": 0}


def test_the_loss_is_that_of_pairs_and_of_those_without():
    graphs = study("graph_matching")
    right = torch.tensor([[[True, False, False], [False, False, False]]])
    log_plan = -torch.arange(12.0).reshape(1, 3, 4)
    # the pair (0, 0), row 1 and columns 1 and 2 in the dustbins
    assert float(graphs.loss(log_plan, right)) == pytest.approx((0 + 7 + 9 + 10) / 4)


def test_matchers_do_not_depend_on_the_order_of_keypoints():
    graphs = study("graph_matching")
    pairs = graphs.split(0, graphs.QUICK)["held_out"]
    order = torch.randperm(64, generator=torch.Generator().manual_seed(0))
    around = {kind: x.clone() for kind, x in pairs.around.items()}
    for x in around.values():
        x[:, 1] = x[:, 1][:, order][:, :, order]
    points, looks = pairs.points.clone(), pairs.looks.clone()
    points[:, 1], looks[:, 1] = points[:, 1, order], looks[:, 1, order]
    moved = graphs.Pairs(points, looks, pairs.right[..., order], around)
    columns = torch.cat([order, torch.tensor([64])])
    for kind in graphs.KINDS[:-1]:
        torch.manual_seed(0)
        model = graphs.model(kind)
        with torch.no_grad():
            one, other = model(pairs).log_plan, model(moved).log_plan
        # fifty iterations in single precision add up their rounding
        torch.testing.assert_close(one[..., columns], other, rtol=1e-3, atol=1e-3)


def test_graphs_of_the_study_are_connected_and_averages():
    graphs = study("graph_matching")
    around = graphs.split(0, graphs.QUICK)["photographs"].around
    for kind, weights in around.items():
        torch.testing.assert_close(weights.sum(dim=-1), torch.ones(weights.shape[:-1]), rtol=ROUNDING, atol=0)
        links = weights > 0
        assert torch.equal(links, links.mT)
        assert bool(links.diagonal(dim1=-2, dim2=-1).any()) == (kind == "none")
    assert int((around["nearest"] > 0).sum(dim=-1).min()) == graphs.NEIGHBOURS


def test_all_kinds_but_one_sort_with_what_other_blocks_hold():
    sort = study("sort_lists")
    lists = sort.split(0, sort.QUICK).held_out
    changed = lists.clone()
    changed[:, -1] = (lists[:, -1] + 5) % sort.DIGITS
    for kind in sort.KINDS:
        torch.manual_seed(0)
        model = sort.Sorter(kind).eval()
        with torch.no_grad():
            one, other = (model(x)[:, : sort.BLOCK] for x in (lists, changed))
        assert torch.equal(one, other) == (kind == sort.LOCAL)


def test_short_lists_teach_the_perceptron_nothing_of_later_blocks():
    sort = study("sort_lists")
    trained = sort.Training(sort.PERCEPTRON, 3, sort.QUICK, 1e-2).model
    torch.manual_seed(3)
    before = sort.Sorter(sort.PERCEPTRON)
    blocks, most = (length // sort.BLOCK for length in (sort.LENGTHS[0], sort.LENGTHS[-1]))
    for one, other in zip(before.layers, trained.layers, strict=True):
        moved = (one.attention.sort_out.bias != other.attention.sort_out.bias).reshape(sort.HEADS, most)
        assert moved[:, :blocks].any()
        assert not moved[:, blocks:].any()


def test_lists_of_a_seed_are_those_of_all_kinds():
    sort = study("sort_lists")
    splits = [sort.one_run(kind, 3, sort.QUICK)["split"] for kind in (sort.BASE, sort.SORTCUT)]
    assert splits[0] == splits[1] != sort.one_run(sort.BASE, 4, sort.QUICK)["split"]
