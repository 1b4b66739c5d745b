"""
Sorting lists by sorted blocks
==============================

Sparse Sinkhorn attention lets a token see its own block of tokens and one more, which a learned soft permutation brings
to it. The first task of its paper :cite:p:`tay2020` is to sort: a list of integers goes in, the same list in order
comes out, and the lists of the test are longer than those of the training. This study does that in small, with lists of
digits, and asks what the sorted block is worth between the two ends that a token sees everything, or its own block
alone; whether the paper's sort net, a perceptron, does better than products of means; and what SortCut loses, where all
tokens see the first two sorted blocks and nothing else.

.. code-block:: console

   $ python -m docs.gallery.studies.study_sort_lists             # five to ten minutes
   $ python -m docs.gallery.studies.study_sort_lists --quick     # shows that all runs
   $ python -m docs.gallery.studies.study_sort_lists --redraw    # tables and figure of the stored numbers

This page is not run when the documentation is built; it shows what a run stored. It needs torch.
"""

# sphinx_gallery_thumbnail_path = '../benchmarks/results/studies/sort_lists.svg'

# %%
# The question
# ------------
# Asked before the run, at the length that was trained, at 1.5 times and at twice that length: is the share of places
# with the right digit different
#
# * from that of softmax over the whole list, for each of the four others;
# * with a sorted block beside the own one from that with the own one alone;
# * with the perceptron from that with products of means?
#
# Each of twelve seeds draws what trains, validates and tests, and chooses the parameters and the noise; within a seed
# they are the same for all kinds. Every kind is trained with two learning rates, the one that has more places right on
# validation, of the length that is trained, is kept, and its network is tested once at every length. A difference
# counts as found if its interval leaves out 0, where the eighteen intervals hold together with a probability of 95 %.
#
# The answer
# ----------
# **All sparse kinds are less accurate than softmax over the whole list**, a little at the length that was trained and
# much beyond it. At 24 digits softmax has 98.5 % of the places right; SortCut is 1.9 points below it (interval -3.6 to
# -0.3), products are 4.1 below (-5.5 to -2.7), the perceptron 4.5 (-5.5 to -3.5). At 48 digits softmax has 96.4 %.
# SortCut is 17.5 points below it, products 22.3 and the perceptron 29.7, and hardly a list is right in all places.
#
# **The sorted block is worth a lot**: 41 points over the own block alone at 24 digits (+39 to +42), 17 at 48 (+14 to
# +20). The own block alone tells little more than the place: who guesses by the place has 48 % right at 24 digits, and
# 59 % at 48, which is more than the own block alone gets there.
#
# **The paper's perceptron was nowhere found better than products of means.** No difference was found at 24 and at 36
# digits; at 48 it is 7.3 points lower (-11.2 to -3.4). There it scores four blocks with outputs that no list of the
# training reached, and products have no such outputs.

import argparse
import math
from functools import cache, partial
from typing import Any, NamedTuple

import matplotlib.pyplot as plt
import numpy as np
import torch
from torch import Tensor, nn

from benchmarks import paired, studies
from benchmarks.tables import Table
from elastic_ot.torch import SparseSinkhornAttention

DIGITS, LENGTHS, BLOCK, WIDTH, HEADS, LAYERS, WAVES = 10, (24, 36, 48), 6, 32, 2, 2, 8
MOST_BLOCKS = max(LENGTHS) // BLOCK
SEEDS, RATES = range(12), (3e-3, 1e-2)
BASE, LOCAL, SORTCUT = "softmax", "own block", "SortCut"
PRODUCTS, PERCEPTRON = "sorted, products", "sorted, perceptron"
PAIRS = (
    (LOCAL, BASE),
    (PRODUCTS, BASE),
    (PERCEPTRON, BASE),
    (SORTCUT, BASE),
    (PRODUCTS, LOCAL),
    (PERCEPTRON, PRODUCTS),
)


class Scale(NamedTuple):
    """Lists that validate, and that test at each length; steps of training, and new lists in each."""

    held_out: int = 256
    test: int = 512
    steps: int = 300
    batch: int = 32


QUICK = Scale(held_out=8, test=8, steps=3, batch=4)

# %%
# Five kinds of attention
# -----------------------
# All have two heads. Blocks have six tokens, so that there are four in training and eight at twice the length. The
# sparse kinds have the paper's temperature of 0.75, seven iterations and Gumbel noise in training, which are the
# defaults. The perceptron scores as many places as there are blocks in the longest list; training reaches the first
# four of them. SortCut has products, and keeps two blocks, so that a token sees as many keys as in the other sparse
# kinds.


class Whole(nn.Module):
    """Softmax attention to all tokens."""

    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(WIDTH, HEADS, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        attended: Tensor = self.attention(x, x, x, need_weights=False)[0]
        return attended


class OwnBlock(Whole):
    """Softmax attention to the tokens of the own block."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.reshape(-1, BLOCK, WIDTH)).reshape(x.shape)


KINDS = {
    BASE: Whole,
    LOCAL: OwnBlock,
    PRODUCTS: partial(SparseSinkhornAttention, WIDTH, HEADS, BLOCK),
    PERCEPTRON: partial(SparseSinkhornAttention, WIDTH, HEADS, BLOCK, sort_net="mlp", max_blocks=MOST_BLOCKS),
    SORTCUT: partial(SparseSinkhornAttention, WIDTH, HEADS, BLOCK, sortcut=2),
}

# %%
# The network
# -----------
# Two layers of attention and a perceptron with layer norms in front, and a linear layer that says at every place which
# digit stands there when the list is in order. Places are told as a share of the list, by eight waves: what is in the
# middle of a long list is where the middle of a short one was, and a network that counts shares can go on to longer
# lists.


class Layer(nn.Module):
    def __init__(self, kind: str) -> None:
        super().__init__()
        self.attention = KINDS[kind]()
        self.before, self.between = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.perceptron = nn.Sequential(nn.Linear(WIDTH, 2 * WIDTH), nn.GELU(), nn.Linear(2 * WIDTH, WIDTH))

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attention(self.before(x))
        return x + self.perceptron(self.between(x))


class Sorter(nn.Module):
    """Scores of the digits at every place of the list in order: (lists, length) to (lists, length, digits)."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.digit, self.place = nn.Embedding(DIGITS, WIDTH), nn.Linear(2 * WAVES, WIDTH)
        self.layers = nn.Sequential(*(Layer(kind) for _ in range(LAYERS)))
        self.norm, self.head = nn.LayerNorm(WIDTH), nn.Linear(WIDTH, DIGITS)

    def forward(self, lists: Tensor) -> Tensor:
        x = self.digit(lists) + self.place(waves(lists.shape[1]))
        scores: Tensor = self.head(self.norm(self.layers(x)))
        return scores


def waves(length: int) -> Tensor:
    """Of places as shares of the list, (length, 2 WAVES)."""
    angles = math.pi * (torch.arange(length)[:, None] + 0.5) / length * torch.arange(1, WAVES + 1)
    return torch.cat([angles.sin(), angles.cos()], dim=-1)


def ordered(lists: Tensor) -> Tensor:
    return lists.sort(dim=-1).values


# %%
# Training
# --------
# Adam on the cross entropy of the places; every list is seen once.


class Lists(NamedTuple):
    """Lists of digits: that train, (steps, batch, length), and validate; those of the test by their length."""

    train: Tensor
    held_out: Tensor
    test: dict[int, Tensor]


@cache
def split(seed: int, scale: Scale) -> Lists:
    generator, trained = np.random.default_rng(seed), LENGTHS[0]

    def drawn(*shape: int) -> Tensor:
        return torch.from_numpy(generator.integers(DIGITS, size=shape))

    train, held_out = drawn(scale.steps, scale.batch, trained), drawn(scale.held_out, trained)
    return Lists(train, held_out, {length: drawn(scale.test, length) for length in LENGTHS})


class Training:
    """A network, trained."""

    def __init__(self, kind: str, seed: int, scale: Scale, rate: float) -> None:
        torch.manual_seed(seed)
        self.lists, self.model = split(seed, scale), Sorter(kind)
        optimizer = torch.optim.Adam(self.model.parameters(), lr=rate)
        for lists in self.lists.train:
            loss = nn.functional.cross_entropy(self.model(lists).flatten(0, 1), ordered(lists).flatten())
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        self.model.eval()

    @torch.no_grad()
    def right(self, lists: Tensor) -> tuple[float, float]:
        """The shares of places that are right, and of lists in which all are."""
        found = self.model(lists).argmax(dim=-1) == ordered(lists)
        return float(found.double().mean()), float(found.all(dim=-1).double().mean())

    def validation(self) -> float:
        return self.right(self.lists.held_out)[0]


def one_run(kind: str, seed: int, scale: Scale) -> dict[str, Any]:
    """The split, the rate that was kept, and its figures on the test lists of every length."""
    best, tuned = paired.tune(partial(Training, kind, seed, scale), RATES)
    found: dict[str, Any] = {}
    for length, lists in best.lists.test.items():
        found[f"places at {length}"], found[f"lists at {length}"] = best.right(lists)
    train, held_out, test = best.lists
    return {"split": paired.fingerprint(train, held_out, *test.values()), **tuned, **found}


def guessed(length: int) -> float:
    """The share of places that are right without a look at the list, by the commonest digit of each place."""
    places = ordered(torch.from_numpy(np.random.default_rng(0).integers(DIGITS, size=(20_000, length))))
    return float((places == places.mode(dim=0).values).double().mean())


# %%
# Tables and figure
# -----------------


def differences(runs: paired.Runs, length: int) -> dict[str, paired.Difference]:
    """Of the places that are right, in percentage points, of every pair."""
    count, key = len(PAIRS) * len(LENGTHS), f"places at {length}"
    return {f"{kind} less {base}": paired.difference(runs[kind], runs[base], key, count, 100) for kind, base in PAIRS}


def tables(numbers: dict[str, Any]) -> list[Table]:
    scale, runs, guess = Scale(**numbers["scale"]), numbers["runs"], numbers["guess"]
    note = (
        f"{paired.note(len(numbers['seeds']), len(PAIRS) * len(LENGTHS), RATES)} {scale.steps} steps of {scale.batch} "
        f"lists of {LENGTHS[0]} digits; {scale.held_out} lists validate and {scale.test} test at each length."
    )
    shown = []
    for what, title in (("places", "Places that are right, %"), ("lists", "Lists that are right in all places, %")):
        keys = [f"{what} at {length}" for length in LENGTHS]
        rows = [[kind, *(paired.mean_cell(each, key, 100) for key in keys)] for kind, each in runs.items()]
        if what == "places":
            rows.append(["guess by the place alone", *(f"{100 * share:.1f}" for share in guess)])
        header = ["attention", *(f"{length} digits" for length in LENGTHS)]
        shown.append(Table(title, header, rows, "" if shown else note))
    rows = [
        [pair, str(length), *paired.difference_cells(found)]
        for length in LENGTHS
        for pair, found in differences(runs, length).items()
    ]
    shown.append(Table("Differences of right places, points", ["kinds", "digits", *paired.HEADER], rows))
    return shown


def draw(numbers: dict[str, Any]) -> plt.Figure:
    figure, axes = plt.subplots(1, 4, figsize=(12, 3.2), width_ratios=(1.1, 1, 1, 1), layout="constrained")
    for (kind, each), marker in zip(numbers["runs"].items(), "osD^v", strict=True):
        means = [100 * float(np.mean([run[f"places at {n}"] for run in each])) for n in LENGTHS]
        axes[0].plot(LENGTHS, means, marker=marker, label=kind)
    axes[0].plot(LENGTHS, 100 * np.array(numbers["guess"]), "--", color=paired.GREY, label="guess by the place")
    axes[0].set(xlabel="digits", ylabel="right places, %", xticks=LENGTHS, ylim=(20, 102))
    axes[0].legend(frameon=False, fontsize=6.5, ncols=2, loc="lower center")
    for ax, length in zip(axes[1:], LENGTHS, strict=True):
        paired.draw_differences(ax, differences(numbers["runs"], length), "right places, points")
        ax.set_title(f"{length} digits", fontsize=9)
    for ax in axes[2:]:
        ax.set(yticklabels=[])
    return figure


def study(arguments: argparse.Namespace) -> dict[str, Any]:
    seeds, scale = (SEEDS[:1], QUICK) if arguments.quick else (SEEDS, Scale())
    runs = paired.run_all(partial(one_run, scale=scale), list(KINDS), seeds, arguments.processes)
    return {"seeds": list(seeds), "scale": scale._asdict(), "guess": [guessed(n) for n in LENGTHS], "runs": runs}


if __name__ == "__main__":
    studies.run("sort_lists", studies.options(__doc__).parse_args(), study, tables, draw)

# %%
# Results
# -------
#
# .. image:: ../../../benchmarks/results/studies/sort_lists.svg
#    :alt: Right places against the length of the list for five kinds of attention; differences between kinds.
#    :width: 100%
#
# .. include:: ../../../benchmarks/results/studies/sort_lists.rst
#
# What it does not say
# --------------------
# Networks have two layers of width 32 and see 9600 lists; the numbers are digits, so that counting them is enough, and
# places are told as shares of the list, which suits softmax over a list of another length. Settings were chosen with
# one other seed, so that softmax does not have all right. The paper decodes digit by digit with networks many times
# as large, on longer lists; its table is not reproduced here, and nothing follows for it. Temperature, iterations and
# noise are the defaults, SortCut has two blocks, and others were not tried: a lower temperature may change what is left
# of a sorted block where there are more blocks to mix. Learning rates are two; kinds that kept the larger one may do
# better with a still larger. Blocks of six tokens save nothing in time at these lengths.
