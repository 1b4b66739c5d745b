"""
Attention sinks
===============

Heads that have nothing to do for most queries learn to put their attention on a few keys that do no harm: sinks. What
do elastic columns do to them, with and without a null key, which lets a head do nothing? First on fixed scores, where
the answer is exact; then in a small model that is trained with each.

.. code-block:: console

   $ python -m docs.gallery.studies.study_attention_sinks             # two to four minutes
   $ python -m docs.gallery.studies.study_attention_sinks --quick     # shows that all runs
   $ python -m docs.gallery.studies.study_attention_sinks --redraw    # tables and figure of the stored numbers

This page is not run when the documentation is built. It needs torch.
"""

# sphinx_gallery_thumbnail_path = '../benchmarks/results/studies/attention_sinks.svg'

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
# In the trained models without a causal order the begin token gets less than an even share (1/32) on average at lam =
# 0: the large columns are others. The largest column falls from eight times the mean at lam = 0 to less than four at
# lam = 0.75. At lam = 1 and without a null key it is 1.6 and 1.8 times the mean for two seeds and 7.9 times for the
# third, whose begin token gets a quarter of the attention: five iterations do not balance such scores. Marks are
# answered as well as by softmax, or within 0.2%, up to lam = 0.5, and worse at lam = 1. The null key has no clear
# effect on this: accuracies with it are lower at lam = 0.75 and higher at lam = 1, and the ranges of the seeds
# overlap.
#
# Causal models give almost half of the attention to the begin token at lam = 0, and a third at lam = 1. They answer
# as well as softmax up to lam = 0.75.

import argparse
import math
import statistics
from typing import Any, NamedTuple

import matplotlib.pyplot as plt
import numpy as np
import torch
from torch import Tensor, nn

from benchmarks import studies
from benchmarks.tables import Table
from elastic_ot.applications.attention import attention_weights
from elastic_ot.applications.causal import causal_weights
from elastic_ot.applications.sinks import sink_metrics

LAMS = (0.0, 0.25, 0.5, 0.75, 1.0)
BLUE, ORANGE, GREEN = "#0072B2", "#D55E00", "#009E73"

# %%
# A planted sink
# --------------
# Normal scores of 64 queries and 64 keys; the first key is raised by a height for all queries. Solved to 1e-9. At the
# optimum the score of key j is lowered by rho log(c_j / b_j), c its column sum and rho = lam / (1 - lam) in units of
# epsilon. If the sink has little of a row, that undoes all but the share 1 - lam of its height.

HEIGHTS = (2.0, 4.0, 8.0)


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
BATCH, STEPS, RATE, SEEDS = 32, 300, 1e-2, (0, 1, 2)


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

    def forward(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        x = self.before(self.embed(tokens) + self.position)
        q, k, v = self.qkv(x).unflatten(-1, (3, HEADS, WIDTH // HEADS)).permute(2, 0, 3, 1, 4)
        scores = q @ k.mT / math.sqrt(WIDTH // HEADS) + self.bias[:, self.distance]
        if self.kind.causal:
            weights = causal_weights(scores, lam=self.kind.lam)
        else:
            weights = attention_weights(scores, lam=self.kind.lam, null_score=self.null)
        return self.read((weights @ v).transpose(1, 2).flatten(-2)), weights


def train(kind: Kind, seed: int, steps: int) -> Model:
    torch.manual_seed(seed)
    model, generator = Model(kind), torch.Generator().manual_seed(seed)
    optimizer = torch.optim.Adam(model.parameters(), lr=RATE)
    for _ in range(steps):
        batch = draw_sequences(BATCH, generator)
        loss = nn.functional.cross_entropy(model(batch.tokens)[0].flatten(0, 1), batch.answers.flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return model


@torch.no_grad()
def measure(model: Model, test: Sequences) -> dict[str, float]:
    """Metrics of columns are means over sequences and heads."""
    logits, weights = model(test.tokens)
    right = logits.argmax(dim=-1) == test.answers
    metrics = sink_metrics(weights, position=None, causal=model.kind.causal)
    loss = nn.functional.cross_entropy(logits.flatten(0, 1), test.answers.flatten())
    return {
        "accuracy at marks": float(right[test.marks].double().mean()),
        "accuracy elsewhere": float(right[~test.marks].double().mean()),
        "loss": float(loss),
        "sink rate": metrics.sink_rate,
        "max over mean": float(metrics.max_over_mean.mean()),
        "attention to the begin token": float(metrics.importance[..., 0].mean()),
        "effective rank": float(metrics.effective_rank.mean()),
        "attention given": float(weights.sum(dim=-1).mean()),
    }


# %%
# Tables and figure
# -----------------

Trained = dict[str, dict[str, list[dict[str, float]]]]
"""Of every group, by lam, a run a seed."""

GROUPS = {"elastic": Kind(0.0), "elastic, null key": Kind(0.0, null=True), "causal": Kind(0.0, causal=True)}


def planted_table(found: list[dict[str, float]]) -> Table:
    rows = [[f"{x['height']:g}", f"{x['lam']:g}", *(f"{x[name]:.3f}" for name in list(x)[2:])] for x in found]
    note = f"64 keys: balanced are a share of {1 / 64:.3f} and an entropy of {math.log(64):.3f} nats."
    return Table("A planted sink, solved to 1e-9", list(found[0]), rows, note)


def trained_table(found: Trained, steps: int) -> Table:
    digits = {
        "loss": ".4f",
        "sink rate": ".4f",
        "max over mean": ".2f",
        "attention to the begin token": ".3f",
        "effective rank": ".1f",
        "attention given": ".3f",
    }
    rows = []
    for group, by_lam in found.items():
        for lam, runs in by_lam.items():
            cells = [_percent([run[f"accuracy {where}"] for run in runs]) for where in ("at marks", "elsewhere")]
            cells += [f"{statistics.mean(run[name] for run in runs):{form}}" for name, form in digits.items()]
            rows.append([group, f"{float(lam):g}", *cells])
    note = (
        f"{steps} steps of {BATCH} sequences; means of {len(runs)} seeds, the range of the seeds in brackets. The sink "
        f"rate is the share of keys that get more than 0.3 of the attention: one key of each head is "
        f"{1 / TOKENS:.4f}. In causal rows a key's share is of the queries that can see it. Attention given is the sum "
        "of a row, what a null key left of it."
    )
    header = ["weights", "lam", "at marks, %", "elsewhere, %", *digits]
    return Table("Trained models", header, rows, note)


def _percent(values: list[float]) -> str:
    return f"{100 * statistics.mean(values):.1f} ({100 * min(values):.1f} to {100 * max(values):.1f})"


def draw(numbers: dict[str, Any]) -> plt.Figure:
    fixed, found = numbers["planted"], numbers["trained"]
    figure, axes = plt.subplots(2, 3, figsize=(10, 6.6), layout="constrained")
    top = axes[0]
    for height, colour in zip(HEIGHTS, (BLUE, ORANGE, GREEN), strict=True):
        line = [(x["lam"], x["share of the sink"]) for x in fixed if x["height"] == height]
        top[0].plot(*zip(*line, strict=True), "o-", color=colour, label=f"height {height:g}")
    top[0].axhline(1 / 64, color="0.6", lw=0.8, ls="--", label="balanced")
    top[0].set(ylabel="share of a planted sink", xlabel="lam", yscale="log")
    top[0].legend(frameon=False)
    panels = (("max over mean", "largest column sum over the mean"), ("accuracy at marks", "accuracy at marks"))
    for ax, (name, label) in zip(top[1:], panels, strict=True):
        for (group, by_lam), colour in zip(found.items(), (BLUE, ORANGE, GREEN), strict=True):
            values = [[run[name] for run in runs] for runs in by_lam.values()]
            lams = [float(lam) for lam in by_lam]
            ax.plot(lams, [statistics.mean(x) for x in values], "-", color=colour, label=group)
            for lam, runs in zip(lams, values, strict=True):
                ax.plot([lam] * len(runs), runs, ".", color=colour)
        ax.set(xlabel="lam", ylabel=label)
    top[1].legend(frameon=False)
    for ax, (title, weights) in zip(axes[1], numbers["weights of the first head"].items(), strict=True):
        ax.imshow(weights, cmap="Blues", vmin=0.0, vmax=1.0)
        ax.set(title=title, xlabel="key", ylabel="query")
    return figure


PICTURES = {
    ("elastic", 0.0): "softmax, first head",
    ("elastic", 1.0): "lam = 1",
    ("elastic, null key", 1.0): "lam = 1 with a null key",
}


def study(arguments: argparse.Namespace) -> dict[str, Any]:
    lams, seeds, steps = ((0.0, 1.0), SEEDS[:1], 5) if arguments.quick else (LAMS, SEEDS, STEPS)
    test = draw_sequences(32 if arguments.quick else 256, torch.Generator().manual_seed(99))
    fixed = [planted(height, lam) for height in HEIGHTS for lam in lams]
    found: Trained = {group: {str(lam): [] for lam in lams} for group in GROUPS}
    pictures = {}
    for group, kind in GROUPS.items():
        for lam in lams:
            runs = found[group][str(lam)]
            for seed in seeds:
                model = train(kind._replace(lam=lam), seed, steps)
                runs.append({"seed": seed, **measure(model, test)})
                print(f"{group}, lam = {lam:g}, seed {seed}: loss {runs[-1]['loss']:.4f}", flush=True)
                if seed == 0 and (group, lam) in PICTURES:
                    weights = model(test.tokens[:1])[1][0, 0].detach().numpy().astype(float)
                    pictures[PICTURES[group, lam]] = weights.round(3).tolist()
    return {
        "threads": torch.get_num_threads(),
        "seeds": list(seeds),
        "steps": steps,
        "planted": fixed,
        "trained": found,
        "weights of the first head": pictures,
    }


def tables(numbers: dict[str, Any]) -> list[Table]:
    return [planted_table(numbers["planted"]), trained_table(numbers["trained"], numbers["steps"])]


if __name__ == "__main__":
    studies.run("attention_sinks", studies.options(__doc__).parse_args(), study, tables, draw)
