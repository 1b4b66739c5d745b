"""
Learning to sort and to match
=============================

A network that shall find a permutation is trained through a soft one: a doubly stochastic matrix at a temperature
epsilon, the nearer to a permutation the smaller epsilon is. What is said for annealing is that a large epsilon has
derivatives that reach all pairs, that a small one has no error of its own, and that falling from one to the other has
both. This study compares it, on sorting and on matching in small, with epsilons that are fixed, with straight-through
permutations and with Gumbel noise.

.. code-block:: console

   $ python -m docs.gallery.studies.study_sort_and_match             # ten to fifteen minutes
   $ python -m docs.gallery.studies.study_sort_and_match --quick     # shows that all runs
   $ python -m docs.gallery.studies.study_sort_and_match --redraw    # tables and figure of the stored numbers

This page is not run when the documentation is built; it shows what a run stored. It needs torch.
"""

# sphinx_gallery_thumbnail_path = '../benchmarks/results/studies/sort_and_match.svg'

# %%
# The question
# ------------
# Asked before the run: is the share of places that are right on test lists, with epsilon annealed from 1 to 0.05 over
# the steps of the training, different from that with any of the other kinds? They are epsilon fixed at 1, at 0.05 and
# at their geometric mean, where annealing is halfway; permutations that are hard in the forward pass and have the
# derivatives of the soft ones, straight through, at that mean; and Gumbel noise on the scores in training, at that mean
# and annealed.
#
# Each of twelve seeds draws what trains, validates and tests, and chooses the parameters, the batches and the noise;
# within a seed they are the same for all kinds. Every kind is trained with two learning rates, the one that has more
# places right on validation is kept, and its network is tested once, by the permutation of the largest total score
# (`elastic_ot.assign`) in every kind. A difference counts as found if its interval leaves out 0, where the twelve
# intervals of both tasks hold together with a probability of 95 %.
#
# The answer
# ----------
# **Annealing was nowhere found better than a fixed epsilon, and worse twice.** In sorting, epsilon fixed at 1 has 4.2
# points more places right (interval +1.2 to +7.1), and no difference was found for 0.22 and 0.05. In matching, 0.22
# has 2.7 points more (+1.9 to +3.5), and no difference was found for 1 and 0.05.
#
# **Straight-through permutations are less accurate than annealed ones**, by 5.9 points in sorting (-9.2 to -2.6) and by
# 52 in matching (-58 to -45), where the soft permutation that gives the derivatives stays uniform.
#
# **No difference was found for Gumbel noise**, at a fixed epsilon or annealed, in either task; annealed in matching,
# 2.6 points lower, the interval just holds 0.
#
# What annealing does reach is sharpness: at the end the largest entry of a row of the soft permutation is 0.92 on
# average in matching, as with 0.05 from the beginning (0.91), and 0.67 with 0.22. Where the soft permutation itself is
# used afterwards, that counts; where the places are read from the largest total score, as here, it does not.

import argparse
import math
import statistics
from collections.abc import Callable
from functools import cache, partial
from typing import Any, NamedTuple

import matplotlib.pyplot as plt
import numpy as np
import torch
from torch import Tensor, nn

from benchmarks import paired, studies
from benchmarks.tables import Table
from elastic_ot.applications import EpsilonSchedule, gumbel_noise, gumbel_sinkhorn

START, END, MIDDLE = 1.0, 0.05, math.sqrt(1.0 * 0.05)
PLACES, FEATURES, WIDTH, SEEDS, RATES = 10, 6, 32, range(12), (5e-3, 2e-2)
BLUR = {"sorting": 0.15, "matching": 0.2}  # standard deviation of the noise on what is seen
BASE = "annealed"


class Kind(NamedTuple):
    """How a soft permutation is made in training: at one epsilon if both are equal."""

    start: float = MIDDLE
    end: float = MIDDLE
    noise: bool = False
    hard: bool = False


KINDS = {
    BASE: Kind(START, END),
    "fixed at 1": Kind(START, START),
    "fixed at 0.22": Kind(),
    "fixed at 0.05": Kind(END, END),
    "straight-through": Kind(hard=True),
    "Gumbel": Kind(noise=True),
    "Gumbel, annealed": Kind(START, END, noise=True),
}


class Scale(NamedTuple):
    """Lists that train, validate and test; steps, and lists in one."""

    train: int = 512
    held_out: int = 256
    test: int = 512
    steps: int = 300
    batch: int = 32


QUICK = Scale(train=16, held_out=8, test=8, steps=3, batch=4)

# %%
# Two tasks
# ---------
# Both ask for a permutation and are taught by its effect alone: the loss is the mean squared distance between what the
# soft permutation makes of the list and what it should become.
#
# **Sorting.** Ten uniform numbers, of which six waves are seen, with noise; a perceptron makes of each number's waves
# its scores for the ten places, as in :cite:t:`mena2018`. Scores have no bound, so that a network can make up for an
# epsilon by their size.
#
# **Matching.** Ten points with six coordinates, and their partners, in another order: the points are turned, and the
# sines of twice their coordinates are seen, with noise. Two perceptrons describe points and partners; scores are
# cosines, in [-1, 1], as they are for descriptors, so that epsilon limits how sharp the permutation can be.


class Lists(NamedTuple):
    """Lists (lists, places, ...): what scores are made of, what is put in order, and how it looks then.

    ``order`` (lists, places) is the place of the right-hand side that belongs to each of the left.
    """

    left: Tensor
    right: Tensor
    given: Tensor
    wanted: Tensor
    order: Tensor


def sorting(count: int, generator: np.random.Generator) -> Lists:
    values = generator.random((count, PLACES, 1))
    waves = np.cos(np.pi * values * np.arange(1, FEATURES + 1))
    seen = waves + BLUR["sorting"] * generator.normal(size=waves.shape)
    order = values.argsort(axis=1)
    return lists(seen, seen, values, np.take_along_axis(values, order, axis=1), order[..., 0])


def matching(count: int, generator: np.random.Generator) -> Lists:
    points = generator.normal(size=(count, PLACES, FEATURES))
    turn = np.linalg.qr(np.random.default_rng(0).normal(size=(FEATURES, FEATURES)))[0]
    partners = np.sin(2 * points @ turn) + BLUR["matching"] * generator.normal(size=points.shape)
    order = generator.permuted(np.tile(np.arange(PLACES), (count, 1)), axis=1)
    mixed = np.empty_like(partners)
    np.put_along_axis(mixed, order[..., None], partners, axis=1)
    return lists(points, mixed, mixed, partners, order)


def lists(*arrays: np.ndarray) -> Lists:
    *numbers, order = arrays
    return Lists(*(torch.from_numpy(x.astype(np.float32)) for x in numbers), torch.from_numpy(order))


def perceptron(size: int, out: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(size, WIDTH), nn.GELU(), nn.Linear(WIDTH, out))


class Sorter(nn.Module):
    """Scores of every place (row) for every number of the list (column)."""

    def __init__(self) -> None:
        super().__init__()
        self.net = perceptron(FEATURES, PLACES)

    def forward(self, left: Tensor, right: Tensor) -> Tensor:
        return self.net(right).mT


class Matcher(nn.Module):
    """Cosines of descriptions of points (rows) and of partners (columns)."""

    def __init__(self) -> None:
        super().__init__()
        self.points, self.partners = perceptron(FEATURES, WIDTH // 2), perceptron(FEATURES, WIDTH // 2)

    def forward(self, left: Tensor, right: Tensor) -> Tensor:
        points, partners = (nn.functional.normalize(x, dim=-1) for x in (self.points(left), self.partners(right)))
        return points @ partners.mT


class Task(NamedTuple):
    draw: Callable[[int, np.random.Generator], Lists]
    network: Callable[[], nn.Module]


TASKS = {"sorting": Task(sorting, Sorter), "matching": Task(matching, Matcher)}

# %%
# Training
# --------
# One call makes every kind of permutation. Adam; Gumbel noise is scaled by epsilon, so that it is that of a choice with
# probabilities exp(score / epsilon).


def permutation(scores: Tensor, kind: Kind, epsilon: float, noise: Tensor) -> Tensor:
    return gumbel_sinkhorn(
        scores, temperature=epsilon, noise=epsilon * noise if kind.noise else None, iterations=20, hard=kind.hard
    )


@cache
def split(task: str, seed: int, scale: Scale) -> tuple[Lists, Lists, Lists]:
    """Lists that train, validate and test."""
    generator = np.random.default_rng(seed)
    return tuple(TASKS[task].draw(count, generator) for count in (scale.train, scale.held_out, scale.test))


class Training:
    """A network, trained; ``losses`` are those of its batches."""

    def __init__(self, task: str, kind: str, seed: int, scale: Scale, rate: float):
        torch.manual_seed(seed)
        self.train, self.held_out, self.test = split(task, seed, scale)
        self.kind, self.model = KINDS[kind], TASKS[task].network()
        schedule = EpsilonSchedule(self.kind.start, self.kind.end, scale.steps - 1)
        optimizer = torch.optim.Adam(self.model.parameters(), lr=rate)
        drawn = torch.Generator().manual_seed(seed)
        self.losses = []
        for step in range(scale.steps):
            batch = torch.randperm(scale.train, generator=drawn)[: scale.batch]
            noise = gumbel_noise(torch.rand(len(batch), PLACES, PLACES, generator=drawn))
            left, right, given, wanted, _ = (x[batch] for x in self.train)
            soft = permutation(self.model(left, right), self.kind, schedule(step), noise)
            loss = (soft @ given - wanted).square().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            self.losses.append(loss.item())

    @torch.no_grad()
    def right_places(self, which: Lists) -> float:
        """The share of them, by the permutations of the largest total score."""
        hard = gumbel_sinkhorn(self.model(which.left, which.right), hard=True)
        return float((hard.argmax(dim=-1) == which.order).double().mean())

    @torch.no_grad()
    def sharpness(self, which: Lists) -> float:
        """The mean of the largest entry of every row of the soft permutation, at the last epsilon."""
        scores = self.model(which.left, which.right)
        return float(gumbel_sinkhorn(scores, temperature=self.kind.end).amax(dim=-1).double().mean())

    def validation(self) -> float:
        return self.right_places(self.held_out)


def one_run(name: str, seed: int, scale: Scale) -> dict[str, Any]:
    """The split, the rate that was kept, and its figures on the test lists."""
    task, kind = name.split(": ")
    best, tuned = paired.tune(partial(Training, task, kind, seed, scale), RATES)
    return {
        "split": paired.fingerprint(best.train.right, best.held_out.right, best.test.right),
        **tuned,
        "right": best.right_places(best.test),
        "sharpness": best.sharpness(best.test),
    }


# %%
# Tables and figure
# -----------------


def differences(runs: paired.Runs) -> dict[str, paired.Difference]:
    """From the annealed kind, in percentage points."""
    return paired.differences(runs, BASE, "right", len(TASKS) * (len(runs) - 1), 100)


def tables(numbers: dict[str, Any]) -> list[Table]:
    scale, shown = Scale(**numbers["scale"]), []
    note = (
        f"{paired.note(len(numbers['seeds']), len(TASKS) * (len(KINDS) - 1), RATES)} Chance is {1 / PLACES:.0%}. "
        f"{scale.train} lists of {PLACES} train, {scale.held_out} validate and {scale.test} test; {scale.steps} steps "
        f"of {scale.batch} lists. The last column is the mean of the largest entry of the rows of soft permutations "
        "at the last epsilon, without noise."
    )
    for task in TASKS:
        runs = numbers["runs"][task]
        found, rows = differences(runs), []
        for kind, each in runs.items():
            compared = paired.difference_cells(found.get(kind))
            sharp = f"{statistics.mean(run['sharpness'] for run in each):.2f}"
            rows.append([kind, paired.mean_cell(each, "right", 100), *compared, sharp])
        header = ["permutations in training", "right", *paired.HEADER, "largest entry"]
        shown.append(Table(f"{task.capitalize()}: places that are right, %", header, rows, "" if shown else note))
    return shown


def draw(numbers: dict[str, Any]) -> plt.Figure:
    figure, axes = plt.subplots(1, 3, figsize=(10, 3.2), width_ratios=(0.8, 1.2, 1.2), layout="constrained")
    steps = np.arange(Scale(**numbers["scale"]).steps)
    for kind, colour in ((BASE, paired.BLUE), ("fixed at 1", paired.GREY), ("fixed at 0.05", paired.ORANGE)):
        values = EpsilonSchedule(KINDS[kind].start, KINDS[kind].end, len(steps) - 1)(steps)
        axes[0].semilogy(steps, values, color=colour, label=kind)
    axes[0].axhline(MIDDLE, color="black", lw=0.8, ls="--", label="the mean, 0.22")
    axes[0].set(xlabel="step", ylabel="epsilon")
    axes[0].legend(frameon=False, fontsize=7, loc="lower left", bbox_to_anchor=(0, 0.05))
    for ax, task in zip(axes[1:], TASKS, strict=True):
        paired.draw_differences(ax, differences(numbers["runs"][task]), "right places less annealed, points")
        ax.set_title(task, fontsize=9)
    axes[2].set(yticklabels=[])
    return figure


def study(arguments: argparse.Namespace) -> dict[str, Any]:
    seeds, scale = (SEEDS[:1], QUICK) if arguments.quick else (SEEDS, Scale())
    runs = paired.run_tasks(partial(one_run, scale=scale), TASKS, list(KINDS), seeds, arguments.processes)
    return {"seeds": list(seeds), "scale": scale._asdict(), "runs": runs}


if __name__ == "__main__":
    studies.run("sort_and_match", studies.options(__doc__).parse_args(), study, tables, draw)

# %%
# Results
# -------
#
# .. image:: ../../../benchmarks/results/studies/sort_and_match.svg
#    :alt: Epsilon over the steps; differences of right places from annealed permutations, for sorting and for matching.
#    :width: 100%
#
# .. include:: ../../../benchmarks/results/studies/sort_and_match.rst
#
# What it does not say
# --------------------
# Networks are tiny, 300 steps few, and the loss is the squared error of the list that was put in order, not a
# likelihood of pairs. Tasks, blur and learning rates were chosen with two other seeds so that not all places are
# right; matching is nearly solved by most kinds. The schedule is one of many: geometric, from 1 to 0.05, over the whole
# training. Most kinds kept the larger learning rate in nearly all seeds, so that still larger ones may do better.
# Straight-through permutations were tried at 0.22 alone, Gumbel noise at 0.22 and annealed, and another epsilon may
# suit them better. Nothing follows for large models.
