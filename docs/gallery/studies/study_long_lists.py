"""
Long lists of operations
========================

A list such as ``[MAX 2 9 [MIN 4 7 ] 0 ]`` has a value, here 9. A network that reads hundreds of such tokens has to
carry digits through ten levels of brackets: ListOps, the first task of the Long Range Arena :cite:p:`tay2021arena`.
Two questions are asked of three kinds of attention, softmax, elastic and sparse. What does a layer cost in time and
memory as sequences grow from 1024 to 4096 tokens? And does the kind change how well a small network reads lists of 5 to
20, of 20 to 60 and of 100 to 200 tokens?

The second is no attempt at the benchmark, whose lists have 500 to 2000 tokens: in the minutes that a study has, a
network on two cores learns little of lists that long. The page is not run when the documentation is built.
``python -m docs.gallery.studies.study_long_lists`` runs it in some fifteen minutes, prints the tables and writes them
to ``benchmarks/results/studies``; ``--part`` measures one question again and keeps the stored numbers of the other;
``--quick`` shows that all runs, and writes nothing; ``--redraw`` makes tables and figure of the stored numbers. The
lists come from ``benchmarks/list_operations.py``, times and memory are taken as in ``benchmarks/compare_attention.py``.
:doc:`study_long_range` has three more tasks that are like those of the arena.
"""

# sphinx_gallery_thumbnail_path = '../benchmarks/results/studies/long_lists.svg'

# %%
# What is asked of learning
# -------------------------
# Asked before the run, at each of the three lengths: is the test accuracy with elastic or with sparse attention
# different from that with softmax, at the same number of steps? Each of twelve seeds splits the lists anew, to train,
# to validate and to test, and chooses the parameters and the batches; within a seed they are the same for all kinds.
# Every kind is trained with two learning rates, the one that is right on more of the validation lists is kept, and its
# network is tested once. A difference counts as found if its interval leaves out 0, where the intervals of all six
# comparisons hold together with a probability of 95 %.
#
# Also asked before: what of it is learnt at all? Softmax is compared with three guesses, at each length: the commonest
# value; the commonest value of lists with the same first operator, the first of their tokens; and a network without
# attention, whose tokens all read the mean of all, tuned and trained alike. A length counts as learnt as far as softmax
# is above a guess, where these nine intervals hold together with a probability of 95 %.
#
# The answers
# -----------
# **Sparse attention was worse on lists of 5 to 20 tokens**: softmax is right on 54.9 % of them, sparse attention on 1.9
# points less (interval -3.3 to -0.5). **No other difference was found**: elastic attention is 0.9 points above softmax
# there (-0.2 to +2.0), and at the other lengths all means lie within 0.4 points of softmax.
#
# **Only on the short lists was attention found to help**: softmax is 4.2 points above the network without it there, and
# far above the guesses. On 20 to 60 tokens it is right on 35.7 %, 20 points more than the commonest value gets, but
# only 2 more than the first operator tells, and no difference from the network without attention was found. **Lists of
# 100 to 200 tokens are not read**: 34.6 % is no more than the first operator tells, 34.9 %, as that a MIN is most often
# 0 and a MAX 9. So this page does not say whether the kinds differ on longer lists: networks would have to read them.
#
# **Elastic attention costs 0.94 to 1.6 times the time** of softmax attention forward and backward, the less the longer
# the sequence, and 1.2 to 1.4 times the memory. **Sparse attention is 24 times as fast at 4096 tokens**, with 0.11 of
# the memory, and 2.8 times at 1024. The fused kernel has the smallest memory of all at every length, and is 2 to 4
# times faster than the full one: who wants a softmax and no balance should take it. From 2048 tokens on sparse
# attention is faster still, and at 1024 forward and backward.

import math
import statistics
from dataclasses import asdict, dataclass, replace
from functools import cache, partial

import matplotlib.pyplot as plt
import numpy as np
import torch

from benchmarks import attention_layers, list_operations, paired, report, studies
from benchmarks.fresh_processes import measure_attention
from benchmarks.list_operations import COMMONEST, OPERATOR
from benchmarks.tables import Table, milliseconds
from benchmarks.timing import time_calls
from elastic_ot.applications import block_scores, elastic_attention, sparse_attention


@dataclass(frozen=True)
class Scale:
    """Of learning, at one length."""

    shortest: int
    longest: int
    block: int
    batch: int
    steps: int
    train: int = 2500
    held_out: int = 400
    test: int = 800


TASKS = {"5-20": Scale(5, 20, 4, 32, 150), "20-60": Scale(20, 60, 8, 32, 200), "100-200": Scale(100, 200, 16, 16, 80)}
"""By the number of tokens."""
QUICK = {
    task: replace(scale, batch=4, steps=2, train=40, held_out=10, test=10, longest=min(scale.longest, 120))
    for task, scale in TASKS.items()
}
LENGTHS, ROUNDS, SEEDS, RATES = (1024, 2048, 3072, 4096), 5, range(12), (3e-3, 1e-2)
BASE, WITHOUT = "softmax", "no attention"

# %%
# Three kinds of attention
# ------------------------
#
# Each takes queries, keys and values of shape (batch, heads, length, width), and which tokens are no padding. Elastic
# attention has ``lam=0.5`` and its default of five iterations. Sparse attention sorts blocks of tokens by the products
# of their means: there is no sorting network to train. Blocks have 64 tokens in layers that are timed, and 4, 8 and 16
# in the lists, from the short to the long, so that a token sees its own block and one of some five, eight or thirteen.

LAM, BLOCK = 0.5, 64


def softmax(q, k, v, real):
    scores = attention_layers.scores(q, k).masked_fill(~real[:, None, None, :], -math.inf)
    return torch.softmax(scores, -1) @ v


def elastic(q, k, v, real):
    # padding does not ask either: its queries would count in the balance of the keys
    mask = real[:, None, :, None] & real[:, None, None, :]
    return elastic_attention(q, k, v, lam=LAM, mask=mask)


def sparse(q, k, v, real, block):
    mask = real[:, None, :]
    order = block_scores(q, k, block, key_mask=mask)
    return sparse_attention(q, k, v, order, block=block, key_mask=mask)


def no_attention(q, k, v, real):
    """The mean of the values, for every token."""
    weights = real[:, None, :, None].to(v.dtype)
    return ((weights * v).sum(2, keepdim=True) / weights.sum(2, keepdim=True)).expand_as(v)


def kinds(scale):
    return {BASE: softmax, "elastic": elastic, "sparse": partial(sparse, block=scale.block), WITHOUT: no_attention}


COMPARED = ("elastic", "sparse")

# %%
# A small network
# ---------------
#
# Learned embeddings of tokens and positions, blocks of attention and a perceptron with layer norms in front, the first
# token beside the mean over all, and a linear layer to the ten values. The first token is the operator of the list.


class Block(torch.nn.Module):
    def __init__(self, attention, width, heads):
        super().__init__()
        self.attention, self.heads = attention, heads
        self.before, self.between = torch.nn.LayerNorm(width), torch.nn.LayerNorm(width)
        self.projection, self.out = torch.nn.Linear(width, 3 * width), torch.nn.Linear(width, width)
        self.perceptron = torch.nn.Sequential(
            torch.nn.Linear(width, 2 * width), torch.nn.GELU(), torch.nn.Linear(2 * width, width)
        )

    def forward(self, x, real):
        batch, length, width = x.shape
        parts = self.projection(self.before(x)).view(batch, length, 3, self.heads, width // self.heads)
        q, k, v = parts.permute(2, 0, 3, 1, 4)
        mixed = self.attention(q, k, v, real).transpose(1, 2).reshape(batch, length, width)
        x = x + self.out(mixed)
        return x + self.perceptron(self.between(x))


class Reader(torch.nn.Module):
    def __init__(self, attention, longest, width=32, heads=2, layers=1):
        super().__init__()
        self.token = torch.nn.Embedding(list_operations.TOKENS, width)
        self.position = torch.nn.Parameter(0.02 * torch.randn(longest, width))
        self.blocks = torch.nn.ModuleList(Block(attention, width, heads) for _ in range(layers))
        self.norm, self.head = torch.nn.LayerNorm(width), torch.nn.Linear(2 * width, 10)

    def forward(self, tokens):
        real = tokens != list_operations.PAD
        x = self.token(tokens) + self.position[: tokens.shape[1]]
        for block in self.blocks:
            x = block(x, real)
        x = self.norm(x)
        mean = (x * real[..., None]).sum(1) / real.sum(1, keepdim=True)
        return self.head(torch.cat([x[:, 0], mean], -1))


def batch(lists, index):
    """The tokens of some lists, cut behind the longest of them, and their values."""
    longest = int(lists.lengths[index].max())
    return torch.from_numpy(lists.tokens[index, :longest]), torch.from_numpy(lists.values[index])


@cache
def lists(scale):
    """All lists."""
    return list_operations.draw(scale.train + scale.held_out + scale.test, scale.shortest, scale.longest, seed=0)


def split(scale, seed):
    """Which lists train, validate and test."""
    order = np.random.default_rng(seed).permutation(scale.train + scale.held_out + scale.test)
    return np.split(order, np.cumsum([scale.train, scale.held_out]))


class Training:
    """A network, trained."""

    def __init__(self, name, seed, scale, rate):
        torch.manual_seed(seed)
        self.lists, self.size = lists(scale), scale.batch
        self.train, self.held_out, self.test = split(scale, seed)
        self.model = Reader(kinds(scale)[name], scale.longest)
        optimiser = torch.optim.Adam(self.model.parameters(), lr=rate)
        rng, losses = np.random.default_rng(seed), []
        for _ in range(scale.steps):
            tokens, values = batch(self.lists, rng.choice(self.train, scale.batch, replace=False))
            loss = torch.nn.functional.cross_entropy(self.model(tokens), values)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            losses.append(loss.item())
        self.loss = statistics.mean(losses[-20:])

    @torch.no_grad()
    def accuracy(self, which):
        which = which[self.lists.lengths[which].argsort()]  # batches of equal lengths have little padding
        parts = [batch(self.lists, which[k : k + self.size]) for k in range(0, len(which), self.size)]
        return sum((self.model(tokens).argmax(-1) == values).sum().item() for tokens, values in parts) / len(which)

    def validation(self):
        return self.accuracy(self.held_out)


def one_run(name, seed, scales):
    """The split, the rate that was kept, what the network gets right of the test, and the loss of its last steps."""
    task, kind = name.split(": ")
    best, tuned = paired.tune(partial(Training, kind, seed, scales[task]), RATES)
    found = {"accuracy": best.accuracy(best.test), "loss of the last 20 steps": best.loss}
    return {"split": paired.fingerprint(best.train, best.held_out, best.test), **tuned, **found}


def guesses(scale, seed):
    """What every guess gets right of the test, from the lists that train."""
    drawn, (train, held_out, test) = lists(scale), split(scale, seed)
    common = {"seed": seed, "split": paired.fingerprint(train, held_out, test)}
    found = list_operations.guesses(drawn, train, test)
    return {name: {**common, "accuracy": right} for name, right in found.items()}


def learning(scales, seeds, processes):
    """The runs of every length and attention, and what guesses get right."""
    runs = paired.run_tasks(partial(one_run, scales=scales), scales, [BASE, *COMPARED, WITHOUT], seeds, processes)
    guessed = {task: [guesses(scale, seed) for seed in seeds] for task, scale in scales.items()}
    return {
        "setting": studies.setting(),
        "scales": {task: asdict(scale) for task, scale in scales.items()},
        "guesses": {task: {name: [one[name] for one in each] for name in each[0]} for task, each in guessed.items()},
        "runs": runs,
    }


def differences(found, task):
    """From softmax, in percentage points."""
    runs, count = found["runs"][task], len(COMPARED) * len(found["runs"])
    return {kind: paired.difference(runs[kind], runs[BASE], "accuracy", count, 100) for kind in COMPARED}


def learnt(found, task):
    """By how many points softmax is above guesses and the network without attention."""
    runs, guessed = found["runs"][task], found["guesses"][task]
    others = {COMMONEST: guessed[COMMONEST], OPERATOR: guessed[OPERATOR], WITHOUT: runs[WITHOUT]}
    count = len(others) * len(found["runs"])
    return {name: paired.difference(runs[BASE], each, "accuracy", count, 100) for name, each in others.items()}


def learning_tables(found):
    shown, loss = [], "loss of the last 20 steps"
    for task, runs in found["runs"].items():
        scale, compared, rows = Scale(**found["scales"][task]), differences(found, task), []
        for name, each in {**runs, **found["guesses"][task]}.items():
            cells = paired.difference_cells(compared.get(name))
            last = paired.mean_cell(each, loss, 1, 2) if name in runs else ""
            rows.append([name, paired.mean_cell(each, "accuracy", 100), *cells, last])
        title = f"Lists of {task} tokens, {scale.steps} steps of {scale.batch}"
        note = (
            f"{paired.note(len(runs[BASE]), len(compared) * len(found['runs']), RATES)} {scale.train} lists train, "
            f"{scale.held_out} validate and {scale.test} test. The loss of a uniform guess is {math.log(10):.2f}. The "
            "last four rows are guesses by what they look up."
        )
        header = ["attention", "test accuracy, %", *paired.HEADER, loss]
        shown.append(Table(title, header, rows, "" if shown else note))
    rows = [
        [task, name, *paired.difference_cells(one)]
        for task in found["runs"]
        for name, one in learnt(found, task).items()
    ]
    note = f"Intervals hold for all {len(rows)} comparisons of this table together with a probability of 95%."
    shown.append(
        Table("Accuracy of softmax less that of guesses, points", ["tokens", "less", *paired.HEADER], rows, note)
    )
    return shown


# %%
# Time and memory of a layer
# --------------------------
#
# One sequence without padding, two heads of width 16, float32, forward alone and forward and backward. Full is softmax
# attention that stores its weights; fused is torch's kernel for it, which does not. Times are medians over rounds in
# which they take turns. Memory is by how much the peak of the resident memory of a fresh process exceeds what was
# resident before.

WAYS = ("forward", "forward and backward")


def forward(layer, tensors):
    with torch.no_grad():
        layer(*tensors[:3])


def costs(lengths, rounds):
    rows = []
    for length in lengths:
        shape = (1, 2, length, 16)
        tensors = attention_layers.inputs(*shape)
        for way in WAYS:
            step = forward if way == "forward" else lambda layer, tensors: attention_layers.step(layer, *tensors)
            layers = attention_layers.kinds(BLOCK)
            calls = {name: partial(step, layer, tensors) for name, layer in layers.items()}
            seconds = time_calls(calls, rounds)
            for name in layers:
                resident = measure_attention(name, shape, BLOCK, backward=way != "forward")["resident"]
                rows.append({"length": length, "attention": name, "way": way, "seconds": seconds[name]})
                rows[-1]["bytes"] = resident
    return {"setting": studies.setting(), "rows": rows}


def cost_tables(found, where):
    names = list(attention_layers.kinds(BLOCK))
    units = {"seconds": ("Time", milliseconds), "bytes": ("Peak memory", lambda x: f"{x / 2**20:.0f} MiB")}
    tables = []
    for field, (title, written) in units.items():
        for way in WAYS:
            at = {(row["length"], row["attention"]): row[field] for row in found if row["way"] == way}
            lengths = sorted({length for length, _ in at})
            rows = [[str(length), *(written(at[length, name]) for name in names)] for length in lengths]
            tables.append(Table(f"{title} of a layer, {way}", ["length", *names], rows, f"Measured on {where}."))
    return tables


def draw(numbers):
    """Forward and backward, time and memory against length; accuracy, and its differences."""
    figure, panels = plt.subplots(1, 4, figsize=(13, 3.4), layout="constrained")
    for axes, field, label, unit in zip(panels[:2], ("seconds", "bytes"), ("seconds", "MiB"), (1, 2**20), strict=True):
        for name, marker in zip(attention_layers.kinds(BLOCK), "osD^", strict=True):
            rows = [row for row in numbers["layers"]["rows"] if row["attention"] == name and row["way"] == WAYS[1]]
            x, y = [row["length"] for row in rows], [row[field] / unit for row in rows]
            axes.loglog(x, y, marker=marker, label=name)
        axes.set_xticks(x, map(str, x))
        axes.minorticks_off()
        axes.set(xlabel="length", ylabel=label)
        axes.grid(True, alpha=0.3)
    panels[0].legend(frameon=False)
    draw_accuracy(panels[2], numbers["learning"])
    found = {f"{kind}, {task}": one for task in TASKS for kind, one in differences(numbers["learning"], task).items()}
    paired.draw_differences(panels[3], found, "accuracy less that of softmax, points")
    return figure


def draw_accuracy(axes, found):
    """Of every kind against the length of the lists; two of the guesses are lines."""
    tasks = list(found["runs"])
    styles = dict(zip([BASE, *COMPARED, WITHOUT], ("o-", "s-", "D-", "x:"), strict=True))
    lines = {kind: ("runs", style) for kind, style in styles.items()}
    lines |= {OPERATOR: ("guesses", "--"), COMMONEST: ("guesses", ":")}
    for name, (where, style) in lines.items():
        means = [100 * statistics.mean(run["accuracy"] for run in found[where][task][name]) for task in tasks]
        axes.plot(tasks, means, style, label=name, color=paired.GREY if where == "guesses" else None)
    axes.set(xlabel="tokens", ylabel="test accuracy, %", ylim=(0, 80))
    axes.legend(frameon=False, fontsize=7, ncols=2, loc="upper right")


def study(arguments):
    """Both parts, or one of them and what is stored of the other."""
    lengths, rounds, seeds, scales = (
        ((128, 256), 1, SEEDS[:1], QUICK) if arguments.quick else (LENGTHS, ROUNDS, SEEDS, TASKS)
    )
    measured = {
        "layers": partial(costs, lengths, rounds),
        "learning": partial(learning, scales, seeds, arguments.processes),
    }
    stored = report.read(studies.RESULTS / "long_lists.json") if arguments.part else {}
    return {part: call() if arguments.part in (None, part) else stored[part] for part, call in measured.items()}


def tables(numbers):
    setting = numbers["layers"]["setting"]
    where = f"{setting['processor']}, {setting['cores']} cores, {setting['date']}"
    return [*learning_tables(numbers["learning"]), *cost_tables(numbers["layers"]["rows"], where)]


if __name__ == "__main__":
    parser = studies.options("Attention on long lists of operations.")
    parser.add_argument(
        "--part", choices=("layers", "learning"), help="measure this one, keep what is stored of the other"
    )
    studies.run("long_lists", parser.parse_args(), study, tables, draw, single=False)

# %%
# Results
# -------
#
# .. image:: ../../../benchmarks/results/studies/long_lists.svg
#    :alt: Time and memory of a layer against length, four kinds of attention; accuracy by length, and its differences.
#    :width: 100%
#
# .. include:: ../../../benchmarks/results/studies/long_lists.rst
#
# What it does not say
# --------------------
# Networks have one layer, and 80 to 200 steps; larger ones that train for longer may learn to read the longer lists,
# and kinds may differ there. A block and a sorted one are 8 of at most 20 tokens in short lists, and 32 of at most 200
# in long ones; other blocks were not tried. Of the short lists six in ten have one operator alone. At every length the
# seeds split the same 3700 lists. Steps and batches were chosen with one other seed, where networks that read the mean
# over the tokens alone had learnt little of long lists: hence the first token beside it. Layers were measured
# with nothing else to do; learning shared its cores with other programs.
