"""
Attention sinks
===============

Heads that have nothing to do for most queries learn to put their attention on a few keys that do no harm: sinks. What
do elastic columns do to them, with and without a null key, which lets a head do nothing? First on fixed scores, where
the answer is exact; then in a small model that is trained with each.

.. code-block:: console

   $ python -m docs.gallery.studies.study_attention_sinks             # some ten minutes
   $ python -m docs.gallery.studies.study_attention_sinks --quick     # shows that all runs
   $ python -m docs.gallery.studies.study_attention_sinks --redraw    # tables and figure of the stored numbers

This page is not run when the documentation is built; it shows what a run stored. It needs torch.
"""

# sphinx_gallery_thumbnail_path = '../benchmarks/results/studies/attention_sinks.svg'

# %%
# The question
# ------------
# Asked before the run, of the trained model: does lam = 0.5 or 1 change the largest column, and the accuracy at the
# places where there is something to do, against lam = 0; and lam = 1 where rows look at the past alone? Does a null key
# change them at lam = 1? Each of twelve seeds draws the parameters and all sequences, to train, to validate and to
# test; within a seed they are the same for every kind of weights. Every kind is trained with two learning rates, the
# one that does better on the validation sequences is kept, and its model is tested once. A difference counts as found
# if its interval leaves out 0, where all intervals of both tables hold together with a probability of 95 %.
#
# The answer
# ----------
# **The largest column falls with lam**: from 10.6 times the mean at lam = 0 to 6.6 at lam = 0.5 and 1.9 at lam = 1;
# where rows look at the past alone, from 21 to 9.9 times. **No difference of accuracy at the marks was found.** The
# means are 20.8 points lower at lam = 1 (interval -43.8 to +2.3), 9.0 lower with a causal order (-19.1 to +1.1), and
# 14.4 higher at lam = 0.5 (-18.4 to +47.2). **Nor was any difference found for a null key** at lam = 1, in accuracy or
# in the largest column. Single seeds that fail are what widens the intervals: only differences of some 10 to 35 points
# would have been found.

import argparse
import math
import statistics
from functools import partial
from typing import Any, NamedTuple

import matplotlib.pyplot as plt
import numpy as np
import torch
from torch import Tensor, nn

from benchmarks import paired, studies
from benchmarks.tables import Table
from elastic_ot.applications.attention import attention_weights
from elastic_ot.applications.causal import causal_weights
from elastic_ot.applications.sinks import sink_metrics

BLUE, ORANGE, GREEN = "#0072B2", "#D55E00", "#009E73"

# %%
# A planted sink
# --------------
# Normal scores of 64 queries and 64 keys; the first key is raised by a height for all queries. Solved to 1e-9. At the
# optimum the score of key j is lowered by rho log(c_j / b_j), c its column sum and rho = lam / (1 - lam) in units of
# epsilon. If the sink has little of a row, that undoes all but the share 1 - lam of its height.

HEIGHTS, PLANTED_LAMS = (2.0, 4.0, 8.0), (0.0, 0.25, 0.5, 0.75, 1.0)


def planted(height: float, lam: float, size: int = 64) -> dict[str, float]:
    scores = np.random.default_rng(0).normal(size=(size, size))
    scores[:, 0] += height
    weights = attention_weights(scores, lam=lam, tol=1e-9)
    metrics = sink_metrics(weights)
    return {
        "height": height,
        "lam": lam,
        "share of the sink": float(metrics.importance[0]),
        "max over mean": float(metrics.max_over_mean),
        "column entropy": float(metrics.entropy),
        "effective rank": float(metrics.effective_rank),
    }


# %%
# A task with little to do
# ------------------------
# A begin token, then letters and, in a fifth of the places, marks. At a mark the model has to name the letter before
# it; at every other token, nothing. The answer is read from the attention alone, so that a query at a letter has to
# find something that says nothing.

TOKENS, LETTERS, WIDTH, HEADS = 32, 16, 32, 2
MARK, BEGIN, NOTHING = LETTERS, LETTERS + 1, LETTERS
BATCH, STEPS, RATES, SEEDS = 32, 300, (1e-2, 3e-2), range(12)


class Sequences(NamedTuple):
    """Tokens and answers, shape (sequences, tokens), and where the marks are."""

    tokens: Tensor
    answers: Tensor
    marks: Tensor


def draw_sequences(count: int, generator: torch.Generator) -> Sequences:
    letters = torch.randint(LETTERS, (count, TOKENS), generator=generator)
    marks = torch.rand(count, TOKENS, generator=generator) < 0.2
    marks[:, :2] = False
    for place in range(2, TOKENS):
        marks[:, place] &= ~marks[:, place - 1]
    tokens = letters.masked_fill(marks, MARK)
    tokens[:, 0] = BEGIN
    return Sequences(tokens, letters.roll(1, 1).masked_fill(~marks, NOTHING), marks)


class Kind(NamedTuple):
    """Elastic weights; those of `causal_weights` look at the past alone and have no null key."""

    lam: float
    null: bool = False
    causal: bool = False


class Model(nn.Module):
    """One layer of attention with learned biases for distances; a null key's score is learned for each head."""

    def __init__(self, kind: Kind):
        super().__init__()
        self.kind = kind
        self.embed = nn.Embedding(LETTERS + 2, WIDTH)
        self.position = nn.Parameter(0.02 * torch.randn(TOKENS, WIDTH))
        self.before, self.qkv = nn.LayerNorm(WIDTH), nn.Linear(WIDTH, 3 * WIDTH)
        self.read = nn.Linear(WIDTH, LETTERS + 1)
        self.bias = nn.Parameter(torch.zeros(HEADS, 2 * TOKENS - 1))
        self.null = nn.Parameter(torch.zeros(HEADS)) if kind.null else None
        place = torch.arange(TOKENS)
        self.distance = place[:, None] - place + TOKENS - 1

    def heads(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values, shape (..., heads, tokens, width of a head)."""
        q, k, v = self.qkv(self.before(x)).unflatten(-1, (3, HEADS, WIDTH // HEADS)).movedim(-3, 0).transpose(-3, -2)
        return q, k, v

    def scores(self, q: Tensor, k: Tensor) -> Tensor:
        return q @ k.mT / math.sqrt(WIDTH // HEADS) + self.bias[:, self.distance]

    def forward(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        q, k, v = self.heads(self.embed(tokens) + self.position)
        scores = self.scores(q, k)
        if self.kind.causal:
            weights = causal_weights(scores, lam=self.kind.lam)
        else:
            weights = attention_weights(scores, lam=self.kind.lam, null_score=self.null)
        return self.read((weights @ v).transpose(1, 2).flatten(-2)), weights


KINDS = {
    "elastic, lam = 0": Kind(0.0),
    "elastic, lam = 0.5": Kind(0.5),
    "elastic, lam = 1": Kind(1.0),
    "null key, lam = 1": Kind(1.0, null=True),
    "causal, lam = 0": Kind(0.0, causal=True),
    "causal, lam = 1": Kind(1.0, causal=True),
}
PAIRS = [
    ("elastic, lam = 0.5", "elastic, lam = 0"),
    ("elastic, lam = 1", "elastic, lam = 0"),
    ("null key, lam = 1", "elastic, lam = 1"),
    ("causal, lam = 1", "causal, lam = 0"),
]


class Training:
    """A model, trained; sequences to train, to validate and to test come from one generator each."""

    def __init__(self, kind: str, seed: int, steps: int, size: int, rate: float):
        torch.manual_seed(seed)
        self.model = self.make(kind)
        batches, held_out, tested = (torch.Generator().manual_seed(3 * seed + part) for part in range(3))
        self.held_out, self.test = draw_sequences(size, held_out), draw_sequences(size, tested)
        optimizer = torch.optim.Adam(self.model.parameters(), lr=rate)
        for _ in range(steps):
            batch = draw_sequences(BATCH, batches)
            optimizer.zero_grad()
            self.loss(batch).backward()
            optimizer.step()

    @staticmethod
    def make(kind: str) -> Model:
        return Model(KINDS[kind])

    def loss(self, batch: Sequences) -> Tensor:
        return nn.functional.cross_entropy(self.model(batch.tokens)[0].flatten(0, 1), batch.answers.flatten())

    @torch.no_grad()
    def validation(self) -> float:
        return -float(self.loss(self.held_out))

    @torch.no_grad()
    def measure(self) -> dict[str, float]:
        """Metrics of columns are means over sequences and heads."""
        logits, weights = self.model(self.test.tokens)
        right = logits.argmax(dim=-1) == self.test.answers
        metrics = sink_metrics(weights, causal=self.model.kind.causal)
        return {
            "at marks": float(right[self.test.marks].double().mean()),
            "elsewhere": float(right[~self.test.marks].double().mean()),
            "largest column": float(metrics.max_over_mean.mean()),
            "begin token": float(metrics.importance[..., 0].mean()),
            "effective rank": float(metrics.effective_rank.mean()),
            "attention given": float(weights.sum(dim=-1).mean()),
        }


PICTURES = {"elastic, lam = 0": "softmax, first head", "elastic, lam = 1": "lam = 1", "null key, lam = 1": "null key"}


def one_run(kind: str, seed: int, steps: int, size: int) -> dict[str, Any]:
    """The split, the rate that was kept, what the model does, and of seed 0 the weights that are shown."""
    best, tuned = paired.tune(partial(Training, kind, seed, steps, size), RATES)
    run = {"split": paired.fingerprint(best.held_out.tokens, best.test.tokens), **tuned, **best.measure()}
    if seed == 0 and kind in PICTURES:
        weights = best.model(best.test.tokens[:1])[1][0, 0]
        run["weights"] = (100 * weights).round().int().tolist()
    return run


# %%
# Tables and figure
# -----------------

OUTCOMES = {"at marks": ("Accuracy at marks, %", 100, 1), "largest column": ("Largest column over the mean", 1, 2)}
COLUMNS = {"elsewhere": (100, 1), "begin token": (1, 3), "effective rank": (1, 1), "attention given": (1, 3)}


def planted_table(found: list[dict[str, float]]) -> Table:
    rows = [[f"{x['height']:g}", f"{x['lam']:g}", *(f"{x[name]:.3f}" for name in list(x)[2:])] for x in found]
    note = f"64 keys: balanced are a share of {1 / 64:.3f} and an entropy of {math.log(64):.3f} nats."
    return Table("A planted sink, solved to 1e-9", list(found[0]), rows, note)


def differences(runs: paired.Runs, outcome: str) -> dict[tuple[str, str], paired.Difference]:
    _, factor, _ = OUTCOMES[outcome]
    count = len(PAIRS) * len(OUTCOMES)
    return {pair: paired.difference(*(runs[kind] for kind in pair), outcome, count, factor) for pair in PAIRS}


def tables(numbers: dict[str, Any]) -> list[Table]:
    runs, seeds = numbers["trained"], len(numbers["seeds"])
    rows = []
    for kind, found in runs.items():
        cells = [paired.mean_cell(found, name, factor, digits) for name, (_, factor, digits) in OUTCOMES.items()]
        rows.append([kind, *cells, *(paired.mean_cell(found, name, *form) for name, form in COLUMNS.items())])
    note = (
        f"{paired.note(seeds, len(PAIRS) * len(OUTCOMES), RATES)} {numbers['steps']} steps of {BATCH} sequences. "
        "Accuracies in %; the largest column sum is over the mean one. In causal rows a key's share is of the queries "
        "that can see it. Attention given is the sum of a row, what a null key left of it."
    )
    shown = [planted_table(numbers["planted"]), Table("Trained models", ["weights", *OUTCOMES, *COLUMNS], rows, note)]
    for outcome, (title, _, digits) in OUTCOMES.items():
        found = differences(runs, outcome)
        rows = [[*pair, *paired.difference_cells(one, digits)] for pair, one in found.items()]
        shown.append(Table(f"{title}, differences", ["weights", "from", *paired.HEADER], rows))
    return shown


def draw(numbers: dict[str, Any]) -> plt.Figure:
    fixed, runs = numbers["planted"], numbers["trained"]
    figure, axes = plt.subplots(2, 3, figsize=(10, 6.6), layout="constrained")
    top = axes[0]
    for height, colour in zip(HEIGHTS, (BLUE, ORANGE, GREEN), strict=True):
        line = [(x["lam"], x["share of the sink"]) for x in fixed if x["height"] == height]
        top[0].plot(*zip(*line, strict=True), "o-", color=colour, label=f"height {height:g}")
    top[0].axhline(1 / 64, color="0.6", lw=0.8, ls="--", label="balanced")
    top[0].set(ylabel="share of a planted sink", xlabel="lam", yscale="log")
    top[0].legend(frameon=False)
    for ax, (name, (label, factor, _)) in zip(top[1:], OUTCOMES.items(), strict=True):
        for place, (kind, found) in enumerate(runs.items()):
            colour = GREEN if "causal" in kind else ORANGE if "null" in kind else BLUE
            values = [factor * run[name] for run in found]
            ax.plot(values, [place] * len(values), ".", color=colour, alpha=0.4, mew=0)
            ax.plot(statistics.mean(values), place, "o", color=colour)
        ax.set(xlabel=label, yticks=range(len(runs)), yticklabels=list(runs) if ax is top[1] else [])
        ax.invert_yaxis()
    for ax, (title, weights) in zip(axes[1], numbers["weights of the first head, %"].items(), strict=True):
        ax.imshow(weights, cmap="Blues", vmin=0, vmax=100)
        ax.set(title=title, xlabel="key", ylabel="query")
    return figure


def study(arguments: argparse.Namespace) -> dict[str, Any]:
    seeds, steps, size = (SEEDS[:1], 5, 32) if arguments.quick else (SEEDS, STEPS, 256)
    one = partial(one_run, steps=steps, size=size)
    runs = paired.run_all(one, list(KINDS), seeds, arguments.processes)
    return {
        "seeds": list(seeds),
        "steps": steps,
        "planted": [planted(height, lam) for height in HEIGHTS for lam in PLANTED_LAMS],
        "weights of the first head, %": {title: runs[kind][0].pop("weights") for kind, title in PICTURES.items()},
        "trained": runs,
    }


if __name__ == "__main__":
    studies.run("attention_sinks", studies.options(__doc__).parse_args(), study, tables, draw)

# %%
# Results
# -------
#
# .. image:: ../../../benchmarks/results/studies/attention_sinks.svg
#    :alt: Share of a planted sink, largest column sum and accuracy of trained models against lam; weights of one head.
#
# .. include:: ../../../benchmarks/results/studies/attention_sinks.rst
#
# On fixed scores the share of the sink falls with every step of lam, and at lam = 1 it is that of any other key,
# however high the sink was.
#
# In the trained models without a causal order the begin token is no sink: it gets no more than an even share (1/32) on
# average, and the large columns are others. Causal models give 0.56 of the attention to it at lam = 0 and 0.30 at lam =
# 1. Five iterations do not balance trained scores quite, so that the largest column at lam = 1 is twice the mean.
#
# What it does not say
# --------------------
# Training was stopped after 300 steps, when 10 of 12 runs with a softmax and 11 with its causal form, 11 with lam = 0.5
# and one with lam = 1, causal or not, were right at more than 99 % of the marks: a lower accuracy means slower as much
# as worse. A run of 200 steps, before this one and on the same seeds, found lam = 1 less accurate, by 31 points and by
# 14 with a causal order. The model has one layer, and its sinks are those of a made-up task, not of a language model.
