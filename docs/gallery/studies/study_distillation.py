"""
Which loss makes the better student
===================================

A small network learns from a large one. Usual losses compare the predictions of the two sample by sample; SinKD
:cite:p:`cui2024` moves the student's predictions of a batch to the teacher's, and charges what that costs. The losses
are tried on digits and on mails, as :doc:`the introduction </auto_examples/learning/plot_distillation>` writes them.

.. code-block:: console

   $ python -m docs.gallery.studies.study_distillation             # some six minutes; fetches 20 MB once
   $ python -m docs.gallery.studies.study_distillation --quick     # shows that all runs; digits alone
   $ python -m docs.gallery.studies.study_distillation --redraw    # tables and figure of the stored numbers

This page is not run when the documentation is built; it shows what a run stored. It needs torch.
"""

# sphinx_gallery_thumbnail_path = '../benchmarks/results/studies/distillation.svg'

# %%
# The questions
# -------------
# Asked before the run: does SinKD, alone or added to KL, make a student whose test accuracy is another than that of
# KL's student? And do elastic columns at lam = 0.5 make another student than the rigid ones of the published loss? The
# other losses, and a student that has the labels alone, are compared with KL too.
#
# Two tasks: the 1797 digits of scikit-learn, in ten classes, and 5666 mails of SpamAssassin's public corpus, in two,
# wanted and spam. Each of twelve seeds splits them anew, 60 % to train, 15 % to validate and 25 % to test, draws the 50
# labels that students see, trains a teacher, and chooses the first student and the order of the batches; within a seed
# all losses have the same of each. Every loss is tried with two learning rates and four weights; what is right most
# often on the validation split is kept, and its student is tested once. A difference counts as found if its interval
# leaves out 0, where the intervals of all comparisons of both tasks hold together with a probability of 95 %.
#
# The answers
# -----------
# **SinKD makes no better student than KL.** Alone it is 6.3 points below on mails (interval -8.2 to -4.5); on digits no
# difference was found (-1.6 to +0.2). Added to KL, in an equal share or a small one, it makes no difference that was
# found in either task: the means are within 0.1 points, and no interval reaches further than 0.8.
#
# **Elastic columns make worse students than rigid ones**, by 5.0 points on digits (-8.5 to -1.6) and by 8.0 on mails
# (-12.2 to -3.9). On mails their mean is even below that of the labels alone.
#
# No difference from KL was found for reverse KL and JS. The labels alone are 12.4 points behind it on digits and 10.2
# on mails.

import argparse
import statistics
import time
from collections import Counter
from collections.abc import Callable
from functools import cache, partial
from typing import Any, NamedTuple

import matplotlib.pyplot as plt
import numpy as np
import torch
from sklearn.datasets import load_digits
from sklearn.feature_extraction.text import HashingVectorizer
from sklearn.model_selection import train_test_split
from torch import Tensor, nn

from benchmarks import labelled_texts, paired, studies
from benchmarks.tables import Table, milliseconds
from elastic_ot import Elastic, Fixed
from elastic_ot.applications.distillation import js_loss, kl_loss, reverse_kl_loss, sinkd_loss

TEACHER, STUDENT, WORDS, BATCH = 64, 12, 1024, 50
TEACHERS_RATE = 3e-3
SEEDS, RATES, WEIGHTS = range(12), (1e-2, 3e-2), (0.03, 0.3, 3.0, 30.0)


class Scale(NamedTuple):
    """Steps of the teacher and of a student, labels that students see, and how many items there are at most."""

    teacher: int = 300
    student: int = 160
    labels: int = 50
    items: int = 10_000


QUICK = Scale(teacher=2, student=2, labels=20, items=200)

# %%
# Losses
# ------
# All are means over the samples of a batch, at the temperature 2. SinKD takes its published 20 iterations at
# epsilon = 0.1, and is a sum over samples by itself. One of the released scripts adds 0.001 of that sum; here that is
# tried beside KL, as well as an equal share of both.

Loss = Callable[[Tensor, Tensor], Tensor]


def sinkd(student: Tensor, teacher: Tensor, cols: Fixed | Elastic = Fixed()) -> Tensor:  # noqa: B008 - frozen
    return sinkd_loss(student, teacher, cols=cols) / len(student)


LABELS, BASE, RIGID, ELASTIC = "labels alone", "KL", "SinKD", "SinKD, lam = 0.5"
LOSSES: dict[str, Loss] = {
    BASE: kl_loss,
    "reverse KL": reverse_kl_loss,
    "JS": js_loss,
    RIGID: sinkd,
    ELASTIC: partial(sinkd, cols=Elastic(0.5)),
    "KL + SinKD": lambda student, teacher: kl_loss(student, teacher) + sinkd(student, teacher),
    "KL + SinKD / 1000": lambda student, teacher: kl_loss(student, teacher) + 1e-3 * sinkd_loss(student, teacher),
}
KINDS = [LABELS, *LOSSES]

# %%
# Data
# ----


class Data(NamedTuple):
    """Shapes (items, features) and (items,)."""

    inputs: Tensor
    kinds: Tensor


def digits() -> Data:
    images, kinds = load_digits(return_X_y=True)
    return Data(torch.tensor(images / 16 - 0.5, dtype=torch.float32), torch.tensor(kinds))


def mails() -> Data:
    """Which words the first 1000 characters of a mail have, hashed into 1024 places; rows have the length 1."""
    texts, kinds = labelled_texts.load()
    words = HashingVectorizer(n_features=WORDS, alternate_sign=False, binary=True).transform(texts)
    return Data(torch.tensor(words.toarray(), dtype=torch.float32), torch.tensor(kinds))


TASKS: dict[str, Callable[[], Data]] = {"digits": digits, "mails": mails}


@cache
def data(task: str, items: int) -> Data:
    """As many as there may be, drawn."""
    found = TASKS[task]()
    chosen = torch.randperm(len(found.kinds), generator=torch.Generator().manual_seed(0))[:items]
    return Data(found.inputs[chosen], found.kinds[chosen])


class Split(NamedTuple):
    """Places of the items that train, of those among them whose labels students see, and of those held out."""

    train: np.ndarray
    labelled: np.ndarray
    held_out: np.ndarray
    test: np.ndarray


def split(kinds: Tensor, seed: int, labels: int) -> Split:
    """Every class has its share in each part."""
    rest, test = train_test_split(np.arange(len(kinds)), test_size=0.25, random_state=seed, stratify=kinds)
    train, held_out = train_test_split(rest, test_size=0.2, random_state=seed, stratify=kinds[rest])
    labelled, _ = train_test_split(train, train_size=labels, random_state=seed, stratify=kinds[train])
    return Split(train, labelled, held_out, test)


# %%
# Training
# --------
# Networks have one hidden layer, the teacher's of 64 units and the student's of 12. The teacher sees the labels of all
# that trains. A step of a student takes the cross-entropy of its 50 labels, and adds the loss of a batch of 50, drawn
# from all that trains, times its weight.


def network(data: Data, hidden: int, seed: int) -> nn.Sequential:
    torch.manual_seed(seed)
    classes = int(data.kinds.max()) + 1
    return nn.Sequential(nn.Linear(data.inputs.shape[1], hidden), nn.Tanh(), nn.Linear(hidden, classes))


def descend(model: nn.Module, train: np.ndarray, seed: int, rate: float, steps: int, loss: Callable[..., Any]) -> None:
    """Adam on the loss of drawn batches."""
    optimizer = torch.optim.Adam(model.parameters(), lr=rate)
    order = torch.Generator().manual_seed(seed)
    for _ in range(steps):
        optimizer.zero_grad()
        loss(train[torch.randperm(len(train), generator=order)[:BATCH].numpy()]).backward()
        optimizer.step()


@cache
def teacher(task: str, seed: int, scale: Scale) -> Tensor:
    """Its logits for all items."""
    items = data(task, scale.items)
    model, train = network(items, TEACHER, seed), split(items.kinds, seed, scale.labels).train

    def loss(batch: np.ndarray) -> Tensor:
        return nn.functional.cross_entropy(model(items.inputs[batch]), items.kinds[batch])

    descend(model, train, seed, TEACHERS_RATE, scale.teacher, loss)
    with torch.no_grad():
        return model(items.inputs)


class Training:
    """A student, trained with one rate and one weight."""

    def __init__(self, task: str, kind: str, seed: int, scale: Scale, rate: float, weight: float):
        self.data, self.taught, self.weight = data(task, scale.items), teacher(task, seed, scale), weight
        self.split = split(self.data.kinds, seed, scale.labels)
        self.model = network(self.data, STUDENT, seed)
        self.loss = LOSSES.get(kind)
        began = time.process_time()
        descend(self.model, self.split.train, seed, rate, scale.student, self.total)
        self.seconds = time.process_time() - began
        self.score = self.accuracy(self.split.held_out)

    def total(self, batch: np.ndarray) -> Tensor:
        """Of a batch, whose labels it does not see, and of the labels that students see."""
        labelled = self.split.labelled
        found = nn.functional.cross_entropy(self.model(self.data.inputs[labelled]), self.data.kinds[labelled])
        if self.loss is None:
            return found
        return found + self.weight * self.loss(self.model(self.data.inputs[batch]), self.taught[batch])

    @torch.no_grad()
    def predicted(self, items: np.ndarray) -> Tensor:
        return self.model(self.data.inputs[items]).argmax(dim=-1)

    def accuracy(self, items: np.ndarray) -> float:
        return share(self.predicted(items) == self.data.kinds[items])

    def validation(self) -> float:
        return self.score


def share(right: Tensor) -> float:
    return float(right.double().mean())


def one_run(name: str, seed: int, scale: Scale) -> dict[str, Any]:
    """The split, the rate and the weight that were kept, and what their student does on the test split.

    ``agreement`` is the share of items for which student and teacher predict the same class.
    """
    task, kind = name.split(": ")
    weights = WEIGHTS if kind in LOSSES else (0.0,)

    def fit(rate: float) -> Training:
        return max((Training(task, kind, seed, scale, rate, weight) for weight in weights), key=Training.validation)

    best, tuned = paired.tune(fit, RATES)
    test, taught = best.split.test, best.taught[best.split.test].argmax(dim=-1)
    return {
        "split": paired.fingerprint(*best.split),
        **tuned,
        "weight": best.weight,
        "accuracy": best.accuracy(test),
        "agreement": share(best.predicted(test) == taught),
        "teacher": share(taught == best.data.kinds[test]),
        "seconds of a step": best.seconds / scale.student,
    }


# %%
# Tables and figure
# -----------------


def comparisons(runs: dict[str, paired.Runs]) -> int:
    """Of all other kinds with KL, and of the two kinds of columns, in every task."""
    return len(KINDS) * len(runs)


def differences(runs: dict[str, paired.Runs], task: str) -> dict[str, paired.Difference]:
    """From KL, in percentage points."""
    return paired.differences(runs[task], BASE, "accuracy", comparisons(runs), 100)


def elastic_less_rigid(runs: dict[str, paired.Runs], task: str) -> paired.Difference:
    return paired.difference(runs[task][ELASTIC], runs[task][RIGID], "accuracy", comparisons(runs), 100)


def tables(numbers: dict[str, Any]) -> list[Table]:
    runs, scale = numbers["runs"], Scale(**numbers["scale"])
    header = ["loss", "test accuracy", *paired.HEADER, "agrees with teacher", "weights kept", "training step"]
    found = [Table(f"{task.capitalize()}: test accuracy, %", header, rows(runs, task)) for task in runs]
    columns = [[task, *paired.difference_cells(elastic_less_rigid(runs, task))] for task in runs]
    teachers = " and ".join(f"{paired.mean_cell(runs[task][BASE], 'teacher', 100)} on {task}" for task in runs)
    note = (
        f"{paired.note(len(numbers['seeds']), comparisons(runs), RATES)} So were the weights "
        f"{', '.join(f'{weight:g}' for weight in WEIGHTS)} with each rate. Differences are from KL in the tables by "
        f"task, in points. The teacher's accuracy is {teachers}. {scale.student} steps; students see {scale.labels} "
        "labels. Times are of the processor."
    )
    return [*found, Table(f"{ELASTIC}, less {RIGID}, points", ["task", *paired.HEADER], columns, note)]


def rows(runs: dict[str, paired.Runs], task: str) -> list[list[str]]:
    found, cells = differences(runs, task), []
    for kind, each in runs[task].items():
        compared = paired.difference_cells(found.get(kind))
        kept = Counter(run["weight"] for run in each)
        weights = ", ".join(f"{weight:g}: {kept[weight]}" for weight in WEIGHTS if kept[weight])
        seconds = statistics.median(run["seconds of a step"] for run in each)
        agreement = paired.mean_cell(each, "agreement", 100)
        cells.append(
            [kind, paired.mean_cell(each, "accuracy", 100), *compared, agreement, weights, milliseconds(seconds)]
        )
    return cells


def draw(numbers: dict[str, Any]) -> plt.Figure:
    runs = numbers["runs"]
    figure, axes = plt.subplots(1, len(runs), figsize=(9, 3.2), sharey=True, squeeze=False, layout="constrained")
    for ax, task in zip(axes[0], runs, strict=True):
        paired.draw_differences(ax, differences(runs, task), "test accuracy less that of KL, points")
        ax.set_title(task)
    return figure


def study(arguments: argparse.Namespace) -> dict[str, Any]:
    seeds, scale, tasks = (SEEDS[:1], QUICK, ["digits"]) if arguments.quick else (SEEDS, Scale(), list(TASKS))
    runs = paired.run_tasks(partial(one_run, scale=scale), tasks, KINDS, seeds, arguments.processes)
    return {"seeds": list(seeds), "scale": scale._asdict(), "runs": runs}


if __name__ == "__main__":
    studies.run("distillation", studies.options(__doc__).parse_args(), study, tables, draw)

# %%
# Results
# -------
#
# .. image:: ../../../benchmarks/results/studies/distillation.svg
#    :alt: Differences of test accuracy from KL by loss, on digits and on mails.
#
# .. include:: ../../../benchmarks/results/studies/distillation.rst
#
# What a perfect student pays
# ---------------------------
# KL, reverse KL and JS are 0, with a slope of 0, where the student predicts what the teacher does. SinKD is neither:
# its entropy spreads every sample over those that are near, at a cost that other predictions than the teacher's can
# lower. Both vanish as epsilon does. And SinKD is the same for any order of the student's predictions within a batch,
# so that which sample is which comes from the labels alone. That may be why it is behind most where there are two
# classes; it was not measured.
#
# What it does not say
# --------------------
# Small networks, two data sets, 160 steps, one temperature, one epsilon, one size of batch: nothing follows for the
# language models that SinKD was proposed for. The weights and the rates were set after a look at two other seeds. With
# elastic columns the smallest weight was kept for 11 of 12 seeds of mails; a smaller one would come nearer to the
# labels alone. The seeds split the same items, so that the standard errors are those of splits, labels, networks and
# orders. Mails come without headers, are cut at 1000 characters, and those that say the same are one; some still name
# the list that sent them. Times were taken beside other programs, and tell sizes alone.
