"""
Sinkformers on shapes
=====================

Sinkformers :cite:p:`sander2022` replace the softmax of a set transformer by Sinkhorn's normalisation, so that every
point of a cloud is attended to as much as any other. Two things are claimed for it: that the attention of a softmax
comes near to doubly stochastic by itself as it is trained, and that asking for it outright helps. This study looks at
both in small, on clouds of 256 points drawn from ten parametric shapes.

.. code-block:: console

   $ python -m docs.gallery.studies.study_shapes             # some fifteen minutes
   $ python -m docs.gallery.studies.study_shapes --quick     # shows that all runs
   $ python -m docs.gallery.studies.study_shapes --redraw    # tables and figure of the stored numbers

This page is not run when the documentation is built; it shows what a run stored. It needs torch.
"""

# sphinx_gallery_thumbnail_path = '../benchmarks/results/studies/shapes.svg'

# %%
# The questions
# -------------
# Asked before the run: is the test accuracy with Sinkhorn's normalisation, or with elastic columns at lam = 0.5,
# different from that with a softmax, at the same number of steps? And is the column error of softmax attention, the
# mean of abs(column sum - 1) over the clouds that validate, another at the end of training than at its start?
#
# Each of twelve seeds draws clouds to train, to validate and to test, and chooses the parameters and the batches;
# within a seed they are the same for all three kinds. Every kind is trained with two learning rates, the one that is
# right on more of the validating clouds is kept, and its network is tested once. A difference counts as found if its
# interval leaves out 0, where all three intervals hold together with a probability of 95 %.
#
# The answers
# -----------
# **No difference of accuracy was found** after 120 steps: elastic columns are 0.7 points below softmax (interval -4.1
# to +2.7), Sinkhorn's normalisation 5.0 (-10.7 to +0.7).
#
# **The column error of softmax attention rises in training**, from 0.13 to 0.92: untrained scores are small and their
# softmax nearly uniform, which is nearly balanced, and what is learnt here is not. That is the opposite of what was
# reported for large networks trained for long.

import argparse
import math
import statistics
from collections.abc import Callable, Sequence
from functools import cache, partial
from typing import Any, NamedTuple

import matplotlib.pyplot as plt
import numpy as np
import torch
from torch import Tensor, nn

from benchmarks import paired, shapes, studies
from benchmarks.tables import Table
from elastic_ot.applications.attention import attention_weights, sinkformer_weights

WIDTH, LAYERS, SEEDS, RATES = 32, 2, range(12), (2e-3, 5e-3)
HALF_STEPS = 11
BASE = "softmax"
KINDS: dict[str, Callable[[Tensor], Tensor]] = {
    BASE: lambda scores: torch.softmax(scores, dim=-1),
    "elastic, lam = 0.5": lambda scores: attention_weights(scores, lam=0.5),
    "Sinkhorn": lambda scores: sinkformer_weights(scores, HALF_STEPS),
}


class Scale(NamedTuple):
    """Clouds are counted by shape; ``every`` so many steps the columns are looked at."""

    points: int = 256
    train: int = 60
    held_out: int = 20
    test: int = 40
    steps: int = 120
    batch: int = 8
    every: int = 15


QUICK = Scale(points=16, train=2, held_out=1, test=1, steps=2, batch=4, every=1)

# %%
# A small set transformer
# -----------------------
# Points are embedded without an order; two blocks of self-attention with one head, each with a perceptron; then a
# learned query attends to all points, by a softmax in every kind, and what it gets is classified. A mean over points in
# its place would be unfair: the mean of what doubly stochastic weights give is the mean of the values, whatever the
# weights are.


class Block(nn.Module):
    def __init__(self, normalise: Callable[[Tensor], Tensor]):
        super().__init__()
        self.normalise = normalise
        self.qkv, self.out = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)
        self.before, self.between = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.perceptron = nn.Sequential(nn.Linear(WIDTH, 2 * WIDTH), nn.GELU(), nn.Linear(2 * WIDTH, WIDTH))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        q, k, v = self.qkv(self.before(x)).chunk(3, dim=-1)
        weights = self.normalise(q @ k.mT / math.sqrt(WIDTH))
        x = x + self.out(weights @ v)
        return x + self.perceptron(self.between(x)), weights


class Classifier(nn.Module):
    """Logits, shape (clouds, 10), and the weights of all layers, shape (layers, clouds, points, points)."""

    def __init__(self, kind: str):
        super().__init__()
        self.embed = nn.Sequential(nn.Linear(3, WIDTH), nn.GELU(), nn.Linear(WIDTH, WIDTH))
        self.blocks = nn.ModuleList(Block(KINDS[kind]) for _ in range(LAYERS))
        self.query = nn.Linear(WIDTH, 1)
        self.read = nn.Sequential(nn.LayerNorm(WIDTH), nn.Linear(WIDTH, len(shapes.SHAPES)))

    def forward(self, clouds: Tensor) -> tuple[Tensor, Tensor]:
        x, seen = self.embed(clouds), []
        for block in self.blocks:
            x, weights = block(x)
            seen.append(weights)
        pooled = (torch.softmax(self.query(x), dim=-2) * x).sum(dim=-2)
        return self.read(pooled), torch.stack(seen)


# %%
# Training
# --------


class Split(NamedTuple):
    clouds: Tensor
    kinds: Tensor


@cache
def split(seed: int, scale: Scale) -> tuple[Split, Split, Split]:
    """Clouds that train, validate and test."""
    counts = scale.train, scale.held_out, scale.test
    drawn = [shapes.draw(count, scale.points, seed=3 * seed + part) for part, count in enumerate(counts)]
    return tuple(Split(torch.from_numpy(x.points), torch.from_numpy(x.shapes)) for x in drawn)


class Training:
    """A network, trained; ``columns`` are the column errors of the layers, at the steps that are looked at."""

    def __init__(self, kind: str, seed: int, scale: Scale, rate: float):
        torch.manual_seed(seed)
        self.train, self.held_out, self.test = split(seed, scale)
        self.model, self.size = Classifier(kind), scale.batch
        optimizer = torch.optim.Adam(self.model.parameters(), lr=rate)
        order = torch.Generator().manual_seed(seed)
        self.columns = [self.column_error()]
        for step in range(1, scale.steps + 1):
            batch = torch.randperm(len(self.train.kinds), generator=order)[: scale.batch]
            loss = nn.functional.cross_entropy(self.model(self.train.clouds[batch])[0], self.train.kinds[batch])
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
            optimizer.step()
            if step % scale.every == 0:
                self.columns.append(self.column_error())

    @torch.no_grad()
    def column_error(self) -> list[float]:
        """By layer, on the first clouds that validate."""
        weights = self.model(self.held_out.clouds[:16])[1]
        return (weights.sum(dim=-2) - 1).abs().mean(dim=(-2, -1)).tolist()

    @torch.no_grad()
    def accuracy(self, which: Split) -> float:
        found = [self.model(clouds)[0].argmax(dim=-1) for clouds in which.clouds.split(self.size)]
        return float((torch.cat(found) == which.kinds).double().mean())

    def validation(self) -> float:
        return self.accuracy(self.held_out)


def one_run(kind: str, seed: int, scale: Scale) -> dict[str, Any]:
    """The split, the rate that was kept, its accuracy on the test clouds, and the column errors on the way there."""
    best, tuned = paired.tune(partial(Training, kind, seed, scale), RATES)
    return {
        "split": paired.fingerprint(best.train.clouds, best.held_out.clouds, best.test.clouds),
        **tuned,
        "accuracy": best.accuracy(best.test),
        "column errors": best.columns,
    }


# %%
# Tables and figure
# -----------------


def differences(runs: paired.Runs) -> dict[str, paired.Difference]:
    """From softmax, in percentage points."""
    return paired.differences(runs, BASE, "accuracy", len(runs), 100)


def column_error(runs: Sequence[paired.Run], place: int) -> list[float]:
    """The mean over layers at one of the steps that were looked at, of every seed."""
    return [statistics.mean(run["column errors"][place]) for run in runs]


def tables(numbers: dict[str, Any]) -> list[Table]:
    runs, scale = numbers["runs"], Scale(**numbers["scale"])
    found = differences(runs)
    rows = []
    for kind, each in runs.items():
        compared = paired.difference_cells(found.get(kind))
        rows.append([kind, paired.mean_cell(each, "accuracy", 100), *compared])
    note = (
        f"{paired.note(len(numbers['seeds']), len(found) + 1, RATES)} Chance is {1 / len(shapes.SHAPES):.0%}. Of each "
        f"shape {scale.train} clouds train, {scale.held_out} validate and {scale.test} test; {scale.steps} steps of "
        f"{scale.batch} clouds of {scale.points} points."
    )
    accuracies = Table("Test accuracy, %", ["attention", "accuracy", *paired.HEADER], rows, note)
    rows = []
    for kind, each in runs.items():
        start, end = column_error(each, 0), column_error(each, -1)
        gaps = [after - before for before, after in zip(start, end, strict=True)]
        change = paired.Difference(gaps, len(found) + 1)
        cells = paired.difference_cells(change, 3) if kind == BASE else [f"{change.mean:+.3f}", "", ""]
        rows.append([kind, f"{statistics.mean(start):.3f}", f"{statistics.mean(end):.3f}", *cells])
    header = ["attention", "before training", "after it", *paired.HEADER]
    return [accuracies, Table("Column error, mean of abs(column sum - 1)", header, rows)]


def draw(numbers: dict[str, Any]) -> plt.Figure:
    runs, scale = numbers["runs"], Scale(**numbers["scale"])
    figure, axes = plt.subplots(1, 3, figsize=(10, 3.4), width_ratios=(1, 1, 1.2), layout="constrained")
    for ax, (name, shape) in zip(figure_axes(figure, axes[0]), shapes.SHAPES.items(), strict=True):
        cloud = shape(*np.random.default_rng(0).random((2, scale.points)))
        ax.scatter(*cloud.T, s=0.5, c=cloud[:, 2], cmap="cividis", rasterized=True)
        ax.set_title(name.replace("_", " "), fontsize=6, pad=-2)
    paired.draw_differences(axes[1], differences(runs), "accuracy less that of softmax, points")
    steps = range(0, scale.steps + 1, scale.every)
    for (kind, each), colour in zip(runs.items(), (paired.ORANGE, paired.GREY, paired.BLUE), strict=True):
        curves = np.array([[statistics.mean(layers) for layers in run["column errors"]] for run in each])
        axes[2].plot(steps, curves.T, color=colour, lw=0.5, alpha=0.3)
        axes[2].plot(steps, curves.mean(axis=0), color=colour, lw=2, label=kind)
    axes[2].set(xlabel="step", ylabel="column error")
    axes[2].legend(frameon=False)
    return figure


def figure_axes(figure: plt.Figure, place: plt.Axes) -> list[plt.Axes]:
    """Ten small axes in the place of one."""
    place.axis("off")
    boxes = [(column / 2, 0.8 - row / 5, 0.5, 0.2) for row in range(5) for column in range(2)]
    found = [place.inset_axes(box, projection="3d") for box in boxes]
    for ax in found:
        ax.axis("off")
    return found


def study(arguments: argparse.Namespace) -> dict[str, Any]:
    seeds, scale = (SEEDS[:1], QUICK) if arguments.quick else (SEEDS, Scale())
    runs = paired.run_all(partial(one_run, scale=scale), list(KINDS), seeds, arguments.processes)
    return {"seeds": list(seeds), "scale": scale._asdict(), "runs": runs}


if __name__ == "__main__":
    studies.run("shapes", studies.options(__doc__).parse_args(), study, tables, draw)

# %%
# Results
# -------
#
# .. image:: ../../../benchmarks/results/studies/shapes.svg
#    :alt: The ten shapes; differences of test accuracy from softmax; column error over the steps by kind of attention.
#
# .. include:: ../../../benchmarks/results/studies/shapes.rst
#
# What it does not say
# --------------------
# Accuracies of 39 to 44 %, where chance has 10 %, are those of networks that are still learning, and the column error
# may fall later. Eleven half steps leave Sinkhorn's columns off by 0.15 once scores are trained. The published
# architecture, its data and its hundreds of epochs are not repeated.
