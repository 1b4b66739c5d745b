"""
Matching keypoints with graphs
==============================

Keypoints of two images are matched by what they look like, and by what is around them. A network that is to use the
latter needs to know who is around whom: a graph on the keypoints of each image. One that adapts to the image connects
those that are near to each other and look alike (:func:`elastic_ot.applications.keypoint_graph`, after
:cite:t:`song2024`). This study compares it with a graph of nearest neighbours and with none, rigid dustbins with
elastic ones, and the network with two matchers that see the descriptors alone.

.. code-block:: console

   $ python -m docs.gallery.studies.study_graph_matching             # some ten minutes
   $ python -m docs.gallery.studies.study_graph_matching --quick     # shows that all runs
   $ python -m docs.gallery.studies.study_graph_matching --redraw    # tables and figure of the stored numbers

This page is not run when the documentation is built; it shows what a run stored. It needs torch.
"""

# sphinx_gallery_thumbnail_path = '../benchmarks/results/studies/graph_matching.svg'

# %%
# The question
# ------------
# Asked before the run: is F1, the harmonic mean of precision and recall, of the network with the adaptive graph and
# rigid dustbins different from that of any of the five others: the same with elastic dustbins (``tau=0.5``), with the
# graph of nearest neighbours, with no connections, and the two that see the descriptors alone? It is asked twice, of
# scenes drawn like those that train, and of photographs that are warped. Nothing is trained on photographs.
#
# Each of twelve seeds draws what trains, validates and tests, the warps of the photographs, the parameters and the
# batches; within a seed they are the same for all kinds. Every kind is trained with two learning rates, the one with
# the larger F1 on drawn scenes for validation is kept, and its matcher is tested once. A difference counts as found if
# its interval leaves out 0, where the ten intervals of both tests hold together with a probability of 95 %.
#
# The answer
# ----------
# **On drawn scenes the network is better than both matchers that see descriptors alone**: these have 6.8 (interval -8.5
# to -5.2) and 7.7 (-9.4 to -6.1) points of F1 less. **On photographs no difference was found**: the gain did not carry
# over from drawn descriptors to those of corners, and the means of the simple matchers are the higher ones.
#
# **The graph made no difference that was found**, in either test: not its kind, and not whether there is one. Without
# connections the means are higher by 0.8 points (-0.1 to +1.8) and 1.1 (-1.6 to +3.8). What the network gains over
# descriptors it gains by positions and by attention to the other image.
#
# **Nor did elastic dustbins**: -0.1 (-1.2 to +1.0) and +0.8 points (-2.2 to +3.8).

import argparse
import math
from functools import lru_cache, partial
from typing import Any, NamedTuple

import matplotlib.pyplot as plt
import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial.distance import cdist
from torch import Tensor, nn

from benchmarks import paired, studies
from benchmarks.keypoint_pairs import LOOKS, PHOTOGRAPHS, Floats, Pair, View, photograph, photographs, scene, view
from benchmarks.tables import Table
from elastic_ot.applications import keypoint_graph
from elastic_ot.torch import DustbinMatcher

WIDTH, HEADS, LAYERS = 32, 2, 2
SEEDS, RATES = range(12), (5e-3, 2e-2)
RADIUS, NEIGHBOURS = 0.36, 5
BASE = "adaptive graph"


NETWORKS = {
    BASE: ("adaptive", 1.0),
    "adaptive graph, elastic dustbins": ("adaptive", 0.5),
    "graph of nearest neighbours": ("nearest", 1.0),
    "no connections": ("none", 1.0),
}
"""The graph of a network, and tau of its dustbins."""
KINDS = [*NETWORKS, "dustbins on descriptors", "mutual nearest neighbours"]
TESTS = {"drawn": "drawn scenes", "photographs": "photographs"}


class Scale(NamedTuple):
    """Scenes that train, validate and test; warps of each photograph; steps, and scenes in one."""

    train: int = 512
    held_out: int = 64
    test: int = 128
    warps: int = 8
    steps: int = 250
    batch: int = 16


QUICK = Scale(train=8, held_out=4, test=4, warps=1, steps=2, batch=4)

# %%
# Drawn scenes
# ------------
# 64 keypoints in each of two images, of which 24 to 48 are the same, moved by a homography and found again a pixel off.
# The rest are in one image only. Homographies turn by up to 15 degrees, zoom by up to a sixth, shift and tilt.
# Descriptors are unit vectors: one of 16 words of the scene, which repeat as windows do, and something of their own;
# both images see them with noise, more in some scenes than in others.
#
# Photographs
# -----------
# The two photographs of scikit-learn at half their size, in grey; each is warped by homographies of the same kind, and
# noise is added to both images. Keypoints are the 64 strongest corners by the smaller eigenvalue of the structure
# tensor. Descriptors are the 8 x 8 values of the smoothed image around, every other pixel, less their mean, in 24
# principal components of equal variance. Components are those of drawn images, whose spectrum falls as that of
# photographs does: nothing is fitted to the photographs. Two keypoints are the same if each is the nearest to the
# other once the homography has moved it, and they are within three pixels.
#
# Both are made in ``benchmarks/keypoint_pairs.py``.

# %%
# Graphs
# ------
# The adaptive graph connects two keypoints within the radius if their similarity is at least the median of one of their
# neighbourhoods, and links the parts. In the other each keypoint is connected to its five nearest and to those for whom
# it is one of these, which makes about as many
# connections in drawn scenes. Without connections a keypoint is its own only neighbour.


def nearest_graph(points: Floats) -> NDArray[np.bool_]:
    apart = cdist(points, points) + np.diag(np.full(len(points), np.inf))
    near = apart <= np.sort(apart, axis=1)[:, [NEIGHBOURS - 1]]
    return near | near.T


def graph(kind: str, image: View) -> NDArray[np.bool_]:
    if kind == "adaptive":
        return keypoint_graph(image.points, image.looks, RADIUS)
    return nearest_graph(image.points) if kind == "nearest" else np.eye(len(image.points), dtype=bool)


class Pairs(NamedTuple):
    """Pairs of images: points (pairs, 2, n, 2), descriptors (pairs, 2, n, LOOKS), what is right (pairs, n, n)."""

    points: Tensor
    looks: Tensor
    right: Tensor
    around: dict[str, Tensor]
    """By the kind of graph the averages over neighbours, (pairs, 2, n, n)."""

    def part(self, which: Any) -> "Pairs":
        chosen = {kind: x[which] for kind, x in self.around.items()}
        return Pairs(self.points[which], self.looks[which], self.right[which], chosen)


def collected(drawn: list[Pair]) -> Pairs:
    around = {}
    for kind in ("adaptive", "nearest", "none"):
        graphs = np.array([[graph(kind, image) for image in images] for *images, _ in drawn], dtype=np.float32)
        around[kind] = torch.from_numpy(graphs / graphs.sum(axis=-1, keepdims=True))
    points, looks = (
        torch.from_numpy(np.array([[image[k] for image in images] for *images, _ in drawn], dtype=np.float32))
        for k in (0, 1)
    )
    return Pairs(points, looks, torch.from_numpy(np.array([right for *_, right in drawn])), around)


@lru_cache(maxsize=1)  # kinds of a seed follow one another
def split(seed: int, scale: Scale) -> dict[str, Pairs]:
    rng, other = np.random.default_rng(seed), np.random.default_rng([seed, 1])
    found = {
        part: collected([scene(rng) for _ in range(count)])
        for part, count in (("train", scale.train), ("held_out", scale.held_out), ("drawn", scale.test))
    }
    return found | {"photographs": collected([photographs(name, other) for name in PHOTOGRAPHS * scale.warps])}


# %%
# Matchers
# --------
# The network embeds descriptors and positions; in each of two layers a keypoint takes in the average of its neighbours
# and what attention finds in the other image. Scores are inner products, and
# :class:`~elastic_ot.torch.DustbinMatcher` makes of them a plan with dustbins, whose score is learnt. The loss is minus
# the logarithm of the plan, averaged over the pairs that are the same and the keypoints without a partner. Of the two
# matchers without a network one learns a dustbin and a scale of the cosines of descriptors by the same loss; the other
# takes pairs that are each other's nearest and at least as similar as a number, which has the largest F1 in training.


def perceptron(size: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(size, 2 * WIDTH), nn.ReLU(), nn.Linear(2 * WIDTH, WIDTH))


class Layer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.local, self.join = perceptron(2 * WIDTH), perceptron(2 * WIDTH)
        self.norm, self.other = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.qkv = nn.Linear(WIDTH, 3 * WIDTH)

    def forward(self, x: Tensor, around: Tensor) -> Tensor:
        h = self.norm(x)
        x = x + self.local(torch.cat([h, around @ h], dim=-1))
        h = self.other(x)
        q, k, v = self.qkv(h).unflatten(-1, (3, HEADS, WIDTH // HEADS)).movedim(-3, 0).transpose(-3, -2)
        seen = nn.functional.scaled_dot_product_attention(q, k.flip(1), v.flip(1)).transpose(-3, -2).flatten(-2)
        return x + self.join(torch.cat([h, seen], dim=-1))


class Network(nn.Module):
    def __init__(self, graph: str, tau: float):
        super().__init__()
        self.graph = graph
        self.embed, self.position = nn.Linear(LOOKS, WIDTH), perceptron(2)
        self.layers = nn.ModuleList(Layer() for _ in range(LAYERS))
        self.out = nn.Linear(WIDTH, WIDTH)
        self.matcher = DustbinMatcher(1.0, tau=tau, iterations=50)

    def forward(self, pairs: Pairs) -> Any:
        x = self.embed(pairs.looks * math.sqrt(LOOKS)) + self.position(pairs.points)
        for layer in self.layers:
            x = layer(x, pairs.around[self.graph])
        first, second = self.out(x).unbind(dim=1)
        return self.matcher(first @ second.mT / math.sqrt(WIDTH))


class Cosines(nn.Module):
    """Dustbins on descriptors."""

    def __init__(self) -> None:
        super().__init__()
        self.log_scale = nn.Parameter(torch.tensor(math.log(10.0)))
        self.matcher = DustbinMatcher(5.0, iterations=50)

    def forward(self, pairs: Pairs) -> Any:
        first, second = pairs.looks.unbind(dim=1)
        return self.matcher(torch.exp(self.log_scale) * first @ second.mT)


class Nearest(nn.Module):
    """Mutual nearest neighbours, at least as similar as a number."""

    least = 0.0

    def forward(self, pairs: Pairs) -> Any:
        first, second = pairs.looks.unbind(dim=1)
        similarity = first @ second.mT
        best = similarity.argmax(dim=-1)
        mutual = similarity.argmax(dim=-2).gather(-1, best) == torch.arange(best.shape[-1])
        return Found(torch.where(mutual & (similarity.amax(dim=-1) >= self.least), best, -1))

    def fit(self, pairs: Pairs) -> None:
        def f1(least: float) -> float:
            self.least = least
            return quality(self(pairs).matches0, pairs.right)["F1"]

        self.least = max(np.linspace(0, 1, 41).tolist(), key=f1)


class Found(NamedTuple):
    matches0: Tensor


def model(kind: str) -> nn.Module:
    if kind in NETWORKS:
        return Network(*NETWORKS[kind])
    return Cosines() if kind == "dustbins on descriptors" else Nearest()


def loss(log_plan: Tensor, right: Tensor) -> Tensor:
    alone = ~right.any(dim=-1), ~right.any(dim=-2)
    terms = log_plan[..., :-1, :-1][right], log_plan[..., :-1, -1][alone[0]], log_plan[..., -1, :-1][alone[1]]
    return -torch.cat(terms).mean()


def quality(matches: Tensor, right: Tensor) -> dict[str, float]:
    """Precision, recall and their harmonic mean F1, of the matches of all pairs of images together."""
    matched = matches >= 0
    correct = float((right.gather(-1, matches.clamp(min=0)[..., None])[..., 0] & matched).sum())
    count, wanted = float(matched.sum()), float(right.sum())
    return {"precision": correct / max(count, 1), "recall": correct / wanted, "F1": 2 * correct / (count + wanted)}


class Training:
    """A matcher, trained; gradients are clipped to the norm 1."""

    def __init__(self, kind: str, seed: int, scale: Scale, rate: float):
        torch.manual_seed(seed)
        self.parts, self.model = split(seed, scale), model(kind)
        train = self.parts["train"]
        if isinstance(self.model, Nearest):
            self.model.fit(train)
            return
        optimizer = torch.optim.Adam(self.model.parameters(), lr=rate)
        drawn = torch.Generator().manual_seed(seed)
        for _ in range(scale.steps):
            batch = train.part(torch.randperm(scale.train, generator=drawn)[: scale.batch])
            value = loss(self.model(batch).log_plan, batch.right)
            optimizer.zero_grad()
            value.backward()
            nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
            optimizer.step()

    @torch.no_grad()
    def quality(self, part: str) -> dict[str, float]:
        return quality(self.model(self.parts[part]).matches0, self.parts[part].right)

    def validation(self) -> float:
        return self.quality("held_out")["F1"]


def one_run(kind: str, seed: int, scale: Scale) -> dict[str, Any]:
    """The split, the rate that was kept, and what its matcher finds in the tests."""
    best, tuned = paired.tune(partial(Training, kind, seed, scale), RATES)
    drawn = [best.parts[part].looks for part in ("train", "held_out", *TESTS)]
    found = {f"{test} {name}": value for test in TESTS for name, value in best.quality(test).items()}
    return {"split": paired.fingerprint(*drawn), **tuned, **found}


# %%
# Tables and figure
# -----------------


def differences(runs: paired.Runs, test: str) -> dict[str, paired.Difference]:
    """From the network with the adaptive graph and rigid dustbins, in points of F1."""
    return paired.differences(runs, BASE, f"{test} F1", len(TESTS) * (len(runs) - 1), 100)


def tables(numbers: dict[str, Any]) -> list[Table]:
    scale, runs, shown = Scale(**numbers["scale"]), numbers["runs"], []
    note = (
        f"{paired.note(len(numbers['seeds']), len(TESTS) * (len(KINDS) - 1), RATES)} {scale.train} drawn scenes "
        f"train, {scale.held_out} validate and {scale.test} test, and {scale.warps} warps of each photograph; "
        f"{scale.steps} steps of {scale.batch} scenes. Differences are those of F1, in points."
    )
    for test, title in TESTS.items():
        found, rows = differences(runs, test), []
        for kind, each in runs.items():
            compared = paired.difference_cells(found.get(kind))
            means = [paired.mean_cell(each, f"{test} {name}", 100) for name in ("precision", "recall", "F1")]
            rows.append([kind, *means, *compared])
        header = ["matcher", "precision", "recall", "F1", *paired.HEADER]
        shown.append(Table(f"{title.capitalize()}, %", header, rows, "" if shown else note))
    rows = [[kind, *(f"{means[test]:.1f}" for test in TESTS)] for kind, means in numbers["connections"].items()]
    return [*shown, Table("Connections of a keypoint, mean", ["graph", *TESTS.values()], rows)]


def draw(numbers: dict[str, Any]) -> plt.Figure:
    figure, axes = plt.subplots(2, 2, figsize=(10, 5), height_ratios=(1.1, 1), layout="constrained")
    for ax, (kind, title) in zip(
        axes[0], (("adaptive", BASE), ("nearest", "graph of nearest neighbours")), strict=True
    ):
        points = np.array(numbers["example"]["points"])
        lines = np.pad(points[np.array(numbers["example"][kind])], ((0, 0), (0, 1), (0, 0)), constant_values=np.nan)
        ax.plot(*lines.reshape(-1, 2).T, color=paired.GREY, lw=0.6)
        ax.plot(*points.T, "o", color=paired.BLUE, ms=3)
        ax.set(aspect="equal", xlim=(-1, 1), ylim=(2 / 3, -2 / 3), xticks=[], yticks=[])
        ax.set_title(f"{title}, corners of the palace", fontsize=9)
    for ax, (test, title) in zip(axes[1], TESTS.items(), strict=True):
        paired.draw_differences(ax, differences(numbers["runs"], test), f"F1 less that of the {BASE}, points")
        ax.set_title(title, fontsize=9)
    axes[1, 1].set(yticklabels=[])
    return figure


def connections(seed: int, scale: Scale) -> dict[str, dict[str, float]]:
    """How many keypoints one is connected to in the tests of a seed, by the kind of graph."""
    parts = split(seed, scale)
    return {
        kind: {test: float((parts[test].around[kind] > 0).sum(dim=-1).double().mean()) for test in TESTS}
        for kind in ("adaptive", "nearest")
    }


def example() -> dict[str, Any]:
    """Corners of a photograph, and both graphs on them, as pairs."""
    image = view(photograph(PHOTOGRAPHS[0]))
    pairs = {kind: np.argwhere(np.triu(graph(kind, image))).tolist() for kind in ("adaptive", "nearest")}
    return {"points": paired.rounded(image.points.tolist()), **pairs}


def study(arguments: argparse.Namespace) -> dict[str, Any]:
    seeds, scale = (SEEDS[:1], QUICK) if arguments.quick else (SEEDS, Scale())
    return {
        "seeds": list(seeds),
        "scale": scale._asdict(),
        "connections": connections(seeds[0], scale),
        "example": example(),
        "runs": paired.run_all(partial(one_run, scale=scale), KINDS, seeds, arguments.processes),
    }


if __name__ == "__main__":
    studies.run("graph_matching", studies.options(__doc__).parse_args(), study, tables, draw)

# %%
# Results
# -------
#
# .. image:: ../../../benchmarks/results/studies/graph_matching.svg
#    :alt: Two graphs on the corners of a photograph; differences of F1 from the adaptive graph, in both tests.
#    :width: 100%
#
# .. include:: ../../../benchmarks/results/studies/graph_matching.rst
#
# What it does not say
# --------------------
# Networks are tiny, 250 steps few, and all but one of 48 kept the larger learning rate, so that still larger ones may
# do better. The one that did not, of the adaptive graph, is the dot at the right of every row of the second test. The
# published network is far larger and sees photographs in training; neighbours are averaged in its code, too. Task,
# radius, steps and rates were chosen with two other seeds: shifts were made larger, since positions alone gave partners
# away, and the radius such that both graphs have about as many connections in drawn scenes. Corners of photographs
# stand in clusters, where the same radius makes more than twice as many. Descriptors of a drawn scene have no order in
# space, so that similarity there says little about what belongs together. Homographies turn by 15 degrees at most, and
# two photographs are few: the intervals of the second test are those of warps of these two.
