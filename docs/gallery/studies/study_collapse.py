"""
Attention that collapses
========================

Attention averages tokens, and layers of nothing else make all tokens alike: the rank of what they carry falls to one,
fast :cite:p:`dong2021`. Are balanced columns a help? Weights whose columns sum to one, too, may be as flat as a
softmax's; but where scores are sharp, a softmax lets many queries read one key and drops the others, and a balanced
matrix comes near to a permutation, which drops nothing. Here are stacks of random layers, where only the effective rank
is measured; nothing is trained. Stacks that are trained: :doc:`study_trained_stacks`.

.. code-block:: console

   $ python -m docs.gallery.studies.study_collapse             # a minute
   $ python -m docs.gallery.studies.study_collapse --quick     # shows that all runs
   $ python -m docs.gallery.studies.study_collapse --redraw    # tables and figure of the stored numbers

This page is not run when the documentation is built; it shows what a run stored. It needs torch.
"""

# sphinx_gallery_thumbnail_path = '../benchmarks/results/studies/collapse.svg'

# %%
# The question
# ------------
# Asked before the run: is the effective rank of the tokens after four layers with lam = 0.5 or 1 different from that
# with a softmax, at each of three sizes of scores? A size is one over epsilon, so that the three are stages of an
# annealing, too. Stacks with skip connections, which do not collapse, are the control.
#
# Each of twelve seeds draws the tokens and all layers; within a seed they are the same for every lam. A difference
# counts as found if its interval leaves out 0, where all intervals of the page hold together with a probability of
# 95 %.
#
# The answer
# ----------
# **At the size of a network that has not been trained no difference was found**: with every lam the rank is 1 after
# four layers. Its weights are nearly uniform, and uniform weights are balanced as they are.
#
# **Where scores are sharp, balance holds the collapse off**: after four layers 6.3 of 32 with lam = 1 and 3.6 with a
# softmax at size 4, 19.1 and 4.9 at size 16. lam = 0.5 gains 1.5 and 1.3. It holds it off and does not end it: at size
# 4 the rank is 1 after eight layers with every lam, at size 16 it is 10 with lam = 1 and 1.4 with a softmax.
#
# **With skip connections** ranks stay between 23 and 25 after four layers; of six differences four were found, the
# largest 1.5. There balance does little for the rank, because little is lost.

import argparse
import math
import statistics
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from array_api_compat import array_namespace

from benchmarks import paired, studies
from benchmarks.tables import Table
from elastic_ot.applications import attention_weights, effective_rank, sink_metrics

# %%
# The stacks
# ----------
# Eight layers on 32 tokens of 32 normal features. A layer normalises every token, as layer norm does; queries and keys
# are random and linear in the token, values are the token, turned, so that nothing but the attention can lose rank.
# Without skip connections what the attention gives is the next layer's token; with them it is added to the token.
# Scores are multiplied by a size: 1 is that of a network that has not been trained. Columns are met to 1e-6. The
# effective rank is the exponential of the entropy of the singular values: 1 if all tokens are multiples of one.

SEEDS, SIZES, RANDOM_LAMS, DEPTH, PLACES, COMPARED_LAYER = range(12), (1, 4, 16), (0.0, 0.5, 1.0), 8, 32, 4
STACKS = {"plain": "Without skip connections", "skips": "With skip connections"}
LISTS = "ranks of tokens", "ranks of weights", "largest columns"


def layer_norm(x: Any) -> Any:
    """Of tokens in the last axis, an array of NumPy or of torch."""
    xp = array_namespace(x)
    return (x - xp.mean(x, axis=-1, keepdims=True)) / xp.std(x, axis=-1, keepdims=True)


def random_stack(stack: str, size: float, lam: float, seed: int) -> dict[str, Any]:
    """Of every layer the effective rank of tokens and weights, and the largest column."""
    generator = np.random.default_rng(seed)
    tokens = generator.normal(size=(PLACES, PLACES))
    split, layers = paired.fingerprint(tokens), []
    for _ in range(DEPTH):
        to_query, to_key, to_value = generator.normal(size=(3, PLACES, PLACES)) / math.sqrt(PLACES)
        seen = layer_norm(tokens)
        scores = (seen @ to_query) @ (seen @ to_key).T / math.sqrt(PLACES)
        weights = attention_weights(size * scores, lam=lam, tol=1e-6)
        out = weights @ seen @ np.linalg.qr(to_value)[0]
        tokens = tokens + out if stack == "skips" else out
        metrics = sink_metrics(weights)
        layers.append((effective_rank(tokens), metrics.effective_rank, metrics.max_over_mean))
    series = {
        name: [float(value) for value in values] for name, values in zip(LISTS, zip(*layers, strict=True), strict=True)
    }
    return paired.rounded({"seed": seed, "split": split, "rank": series[LISTS[0]][COMPARED_LAYER - 1], **series})


# %%
# Tables and figure
# -----------------

COMPARISONS = len(STACKS) * len(SIZES) * (len(RANDOM_LAMS) - 1)
COLOURS = paired.GREY, "#56B4E9", paired.BLUE


def differences(runs: paired.Runs) -> dict[str, paired.Difference]:
    """From the softmax."""
    return paired.differences(runs, "0", "rank", COMPARISONS)


def by_layer(runs: list[paired.Run], key: str) -> list[float]:
    """Means over the seeds."""
    return [statistics.mean(layer) for layer in zip(*(run[key] for run in runs), strict=True)]


def tables(numbers: dict[str, Any]) -> list[Table]:
    shown = []
    note = (
        f"Means of {len(numbers['seeds'])} seeds ± standard errors. Intervals hold for all {COMPARISONS} comparisons "
        f"together with a probability of {1 - paired.LEVEL:.0%}; a difference is found if its interval leaves out 0. "
        f"Effective ranks after layer {COMPARED_LAYER}, at most {PLACES}; differences are from lam = 0, the softmax."
    )
    for stack, title in STACKS.items():
        rows, layers = [], []
        for size, runs in numbers["runs"][stack].items():
            found = differences(runs)
            for lam, each in runs.items():
                compared = paired.difference_cells(found.get(lam), 2)
                rows.append([size, lam, paired.mean_cell(each, "rank", 1, 2), *compared])
                layers.append([size, lam, *(", ".join(f"{x:.1f}" for x in by_layer(each, name)) for name in LISTS)])
        header = ["size of scores", "lam"]
        shown.append(Table(f"{title}: rank of tokens", [*header, "rank", *paired.HEADER], rows, "" if shown else note))
        shown.append(Table(f"{title}, layer by layer", [*header, *LISTS], layers))
    return shown


def draw(numbers: dict[str, Any]) -> plt.Figure:
    figure, axes = plt.subplots(1, len(SIZES), figsize=(10, 3), layout="constrained", sharey=True)
    for ax, size in zip(axes, map(str, SIZES), strict=True):
        for stack, style in (("plain", "o-"), ("skips", ":")):
            for (lam, each), colour in zip(numbers["runs"][stack][size].items(), COLOURS, strict=True):
                label = f"lam = {lam}" + (", skips" if stack == "skips" else "")
                ax.semilogy(range(1, DEPTH + 1), by_layer(each, LISTS[0]), style, ms=3, color=colour, label=label)
        ax.set(xlabel="layer", ylim=(0.9, 1.1 * PLACES), yticks=(1, 2, 4, 8, 16, 32), yticklabels=(1, 2, 4, 8, 16, 32))
        ax.set_title(f"size of scores {size}", fontsize=9)
    axes[0].set(ylabel="effective rank of tokens")
    axes[-1].legend(frameon=False, fontsize=7, loc="lower left")
    return figure


def study(arguments: argparse.Namespace) -> dict[str, Any]:
    seeds = SEEDS[:1] if arguments.quick else SEEDS
    return {
        "seeds": list(seeds),
        "runs": {
            stack: {
                str(size): {f"{lam:g}": [random_stack(stack, size, lam, k) for k in seeds] for lam in RANDOM_LAMS}
                for size in SIZES
            }
            for stack in STACKS
        },
    }


if __name__ == "__main__":
    studies.run("collapse", studies.options(__doc__).parse_args(), study, tables, draw)

# %%
# Results
# -------
#
# .. image:: ../../../benchmarks/results/studies/collapse.svg
#    :alt: Effective rank of the tokens, layer by layer, for three sizes of scores and three lam.
#    :width: 100%
#
# .. include:: ../../../benchmarks/results/studies/collapse.rst
#
# At size 16 the effective rank of the weights themselves shows it: with lam = 1 it is 29.9 of 32 in the first layer
# and 25.6 in the eighth, near to that of a permutation. A softmax gives the largest column 4 to 10 times the mean.
#
# What it does not say
# --------------------
# Layers are random; whether networks with balanced columns are trained more easily when they are deep is the question
# of :doc:`study_trained_stacks`, of a task made for it. Sharp scores of random layers are not those of a trained
# network, in which a sharp softmax may well be a permutation. Tokens are normalised in every layer; without that,
# scores would shrink as tokens become alike, and the rank fall faster. The effective rank counts the token that all
# have in common as one.
