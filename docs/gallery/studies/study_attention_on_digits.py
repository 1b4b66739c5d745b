"""
Attention on digits
===================

What does balancing the columns of attention do to a small classifier: to its accuracy, to the time of a training step,
and to the share of the attention that each token gets? The same model is trained with twelve kinds of weights.

.. code-block:: console

   $ python -m docs.gallery.studies.study_attention_on_digits    # digits of scikit-learn, two to four minutes
   $ python -m docs.gallery.studies.study_attention_on_digits --mnist FOLDER --output FOLDER   # 10,000 images of MNIST
   $ python -m docs.gallery.studies.study_attention_on_digits --quick    # shows that all runs
   $ python -m docs.gallery.studies.study_attention_on_digits --redraw       # table and figure of the stored numbers

This page is not run when the documentation is built. It needs torch.
"""

# sphinx_gallery_thumbnail_path = '../benchmarks/results/studies/attention_on_digits.svg'

# %%
# Results
# -------
#
# .. image:: ../../../benchmarks/results/studies/attention_on_digits.svg
#    :alt: Test accuracy, time of a training step and entropy of the column sums for each kind of attention weights.
#
# .. include:: ../../../benchmarks/results/studies/attention_on_digits.rst
#
# Every kind starts from the same parameters and sees the same batches. A spread is that of three seeds, which choose
# both the parameters and the order of the images; the split into training and test images is one, and one of the 450
# test images is 0.2%.
#
# Elastic weights with lam = 0.25, 0.5, 0.75 and learned are on average 0.7 to 1.4 points above softmax, with ranges
# that lie above it or touch it. Weights closer to doubly stochastic, by Sinkhorn steps, lam = 1 or sliced plans, are
# on average below it. Learned lam start at 0.5 and end between 0.39 and 0.48. QR of the scores is the least accurate
# and had gradients that were not finite; with the identity added it has none, and is as accurate as softmax within
# the spread. A step with five elastic iterations takes a little over twice the time of one with softmax, sliced plans
# about four times.

import argparse
import gzip
import math
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import Tensor, nn

from benchmarks import studies
from benchmarks.tables import Table, milliseconds
from elastic_ot.applications.attention import attention_weights, sinkformer_weights
from elastic_ot.applications.doubly_stochastic import qr_plan
from elastic_ot.applications.sinks import sink_metrics
from elastic_ot.applications.sliced_plans import expected_sliced_plan

WIDTH, HEADS, LAYERS = 32, 4, 2
BATCH, EPOCHS, SEEDS, RATE = 64, 12, (0, 1, 2), 3e-3

# %%
# Weights
# -------
# From queries and keys, shape (images, heads, tokens, 8), to weights whose rows sum to one. Sinkformers take 3 and 7
# half steps. Elastic weights take five iterations, of which lam = 1 is a Sinkformer with 9 half steps. A learnable lam
# is a rho = exp(theta) for each head, which starts at lam = rho / (rho + epsilon) = 1/2. Sliced plans sort the eight
# features of a head one by one. Sorting has no derivative, so it is either soft, or exact with the derivative of the
# soft one. The orthogonal factor of a singular matrix has none either: QR is tried on the scores, which have as many
# features as there are tokens but may be singular all the same, and on scores to which the identity is added.

Weights = Callable[[Tensor, Tensor, Tensor], Tensor]


def scores(q: Tensor, k: Tensor) -> Tensor:
    return q @ k.mT / math.sqrt(q.shape[-1])


def elastic(lam: float) -> Weights:
    return lambda q, k, theta: attention_weights(scores(q, k), lam=lam)


def sliced(**sorting: float) -> Weights:
    root = math.sqrt(WIDTH // HEADS)
    return lambda q, k, theta: expected_sliced_plan(q / root, k / root, **sorting)


KINDS: dict[str, Weights] = {
    "softmax": lambda q, k, theta: torch.softmax(scores(q, k), dim=-1),
    "Sinkformer, 3": lambda q, k, theta: sinkformer_weights(scores(q, k), 3),
    "Sinkformer, 7": lambda q, k, theta: sinkformer_weights(scores(q, k), 7),
    "elastic, lam = 0.25": elastic(0.25),
    "elastic, lam = 0.5": elastic(0.5),
    "elastic, lam = 0.75": elastic(0.75),
    "elastic, lam = 1": elastic(1.0),
    "elastic, learned lam": lambda q, k, theta: attention_weights(scores(q, k), rho=torch.exp(theta)),
    "sliced, soft": sliced(tau=0.1),
    "sliced, straight through": sliced(straight_through=0.1),
    "QR": lambda q, k, theta: qr_plan(scores(q, k)),
    "QR, identity added": lambda q, k, theta: qr_plan(scores(q, k) + torch.eye(q.shape[-2])),
}

# %%
# Model
# -----
# A token is a row of the image (or a band of rows), embedded with its position; two layers of attention and a
# perceptron; the mean over tokens is classified.


class Layer(nn.Module):
    def __init__(self, weights: Weights):
        super().__init__()
        self.weights = weights
        self.theta = nn.Parameter(torch.zeros(HEADS))
        self.qkv = nn.Linear(WIDTH, 3 * WIDTH)
        self.out = nn.Linear(WIDTH, WIDTH)
        self.before, self.between = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.perceptron = nn.Sequential(nn.Linear(WIDTH, 2 * WIDTH), nn.GELU(), nn.Linear(2 * WIDTH, WIDTH))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        q, k, v = self.qkv(self.before(x)).unflatten(-1, (3, HEADS, WIDTH // HEADS)).permute(2, 0, 3, 1, 4)
        weights = self.weights(q, k, self.theta)
        x = x + self.out((weights @ v).transpose(1, 2).flatten(-2))
        return x + self.perceptron(self.between(x)), weights


class Classifier(nn.Module):
    """Logits, shape (images, 10), and the weights of all layers, shape (layers, images, heads, tokens, tokens)."""

    def __init__(self, weights: Weights, tokens: int, pixels: int):
        super().__init__()
        self.embed = nn.Linear(pixels, WIDTH)
        self.position = nn.Parameter(0.02 * torch.randn(tokens, WIDTH))
        self.layers = nn.ModuleList(Layer(weights) for _ in range(LAYERS))
        self.read = nn.Sequential(nn.LayerNorm(WIDTH), nn.Linear(WIDTH, 10))

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        x, seen = self.embed(images) + self.position, []
        for layer in self.layers:
            x, weights = layer(x)
            seen.append(weights)
        return self.read(x.mean(dim=-2)), torch.stack(seen)


# %%
# Data
# ----
# Images come as tokens, shape (images, tokens, pixels), between 0 and 1.

Data = tuple[Tensor, Tensor, Tensor, Tensor]


def small_digits(size: int) -> Data:
    """1797 images of 8 x 8 in eight rows; a quarter is for tests."""
    images, kinds = load_digits(return_X_y=True)
    images, kinds = images[:size].reshape(-1, 8, 8) / 16, kinds[:size]
    split = train_test_split(images, kinds, test_size=0.25, random_state=0, stratify=kinds)
    return tuple(torch.tensor(x, dtype=torch.int64 if x.ndim == 1 else torch.float32) for x in split)


def mnist(folder: Path, size: int) -> Data:
    """The first images of MNIST in seven bands of four rows, and as many for tests (there are 10,000)."""
    images, kinds = zip(*(_idx_pair(folder, part, size) for part in ("train", "t10k")), strict=True)
    images = [torch.tensor(x.reshape(len(x), 7, 4 * 28) / 255, dtype=torch.float32) for x in images]
    return (*images, *(torch.tensor(x, dtype=torch.int64) for x in kinds))


def _idx_pair(folder: Path, part: str, size: int) -> tuple[np.ndarray, np.ndarray]:
    return _idx(folder, f"{part}-images*idx3-ubyte*")[:size], _idx(folder, f"{part}-labels*idx1-ubyte*")[:size]


def _idx(folder: Path, pattern: str) -> np.ndarray:
    """An array of bytes: two zeros, the type, the number of dimensions, each as a big-endian integer, the entries."""
    found = sorted(folder.glob(pattern))
    if not found:
        raise FileNotFoundError(f"{folder} has no {pattern}; MNIST's four files, gzipped or not, belong there")
    raw = (gzip.open if found[0].suffix == ".gz" else open)(found[0], "rb").read()
    shape = np.frombuffer(raw, ">i4", count=raw[3], offset=4)
    return np.frombuffer(raw, np.uint8, offset=4 + 4 * raw[3]).reshape(shape)


# %%
# Training
# --------


class Training:
    """A classifier, its optimizer and the order of its batches, all from one seed.

    Gradients are clipped to the norm 1; a step whose gradient is not finite is left out, and counted.
    """

    def __init__(self, kind: str, data: Data, seed: int):
        torch.manual_seed(seed)
        self.images, self.test, self.kinds, self.test_kinds = data
        self.model = Classifier(KINDS[kind], *self.images.shape[1:])
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=RATE)
        self.order = torch.Generator().manual_seed(seed)
        self.left_out = 0

    def step(self, batch: Tensor) -> None:
        loss = nn.functional.cross_entropy(self.model(self.images[batch])[0], self.kinds[batch])
        self.optimizer.zero_grad()
        loss.backward()
        if nn.utils.clip_grad_norm_(self.model.parameters(), 1.0).isfinite():
            self.optimizer.step()
        else:
            self.left_out += 1

    def run(self, epochs: int) -> None:
        for _ in range(epochs):
            for batch in torch.randperm(len(self.images), generator=self.order).split(BATCH):
                self.step(batch)

    @torch.no_grad()
    def measure(self) -> dict[str, object]:
        """On the test images; metrics of columns are means over layers, images and heads."""
        logits, weights = self.model(self.test)
        metrics = sink_metrics(weights, position=None)
        theta = torch.stack([layer.theta for layer in self.model.layers])
        return {
            "accuracy": float((logits.argmax(dim=-1) == self.test_kinds).double().mean()),
            "column entropy": float(metrics.entropy.mean()),
            "sink rate": metrics.sink_rate,
            "column error": float((weights.sum(dim=-2) - 1).abs().mean()),
            "steps left out": self.left_out,
            "lam by layer and head": torch.sigmoid(theta).tolist(),
        }


def step_seconds(data: Data, rounds: int) -> dict[str, float]:
    """Median time of a training step, the kinds in turn; an untimed step before each warms the caches."""
    runs = {kind: Training(kind, data, 0) for kind in KINDS}
    seconds: dict[str, list[float]] = {kind: [] for kind in KINDS}
    batch = torch.arange(min(BATCH, len(data[0])))
    for _ in range(rounds):
        for kind, run in runs.items():
            run.step(batch)
            began = time.perf_counter()
            run.step(batch)
            seconds[kind].append(time.perf_counter() - began)
    return {kind: statistics.median(x) for kind, x in seconds.items()}


# %%
# Table and figure
# ----------------


def tables(numbers: dict[str, Any]) -> list[Table]:
    found, seconds, (tokens, _) = numbers["runs"], numbers["seconds of a step"], numbers["tokens and pixels"]
    rows = []
    for kind, runs in found.items():
        accuracy = [100 * run["accuracy"] for run in runs]
        rows.append(
            [
                kind,
                f"{statistics.mean(accuracy):.1f} ({min(accuracy):.1f} to {max(accuracy):.1f})",
                milliseconds(seconds[kind]),
                *(f"{statistics.mean(run[name] for run in runs):{digits}}" for name, digits in COLUMNS.items()),
            ]
        )
    note = (
        f"{numbers['steps']} steps of {BATCH} images. Entropy of the column sums in nats, at most log {tokens} = "
        f"{math.log(tokens):.3f}; the sink rate is the share of keys that get more than 0.3 of the attention; the "
        "column error is the mean of abs(column sum - 1). Steps whose gradient was not finite were left out. Means of "
        f"{len(numbers['seeds'])} seeds."
    )
    header = ["weights", "test accuracy, % (seeds)", "training step", *COLUMNS]
    return [Table("Attention on digits", header, rows, note)]


COLUMNS = {"column entropy": ".3f", "sink rate": ".3f", "column error": ".3f", "steps left out": ".2g"}


def draw(numbers: dict[str, Any]) -> plt.Figure:
    found, seconds, (tokens, _) = numbers["runs"], numbers["seconds of a step"], numbers["tokens and pixels"]
    figure, axes = plt.subplots(1, 3, figsize=(10, 3.6), sharey=True, layout="constrained")
    places = range(len(found))
    for place, runs in zip(places, found.values(), strict=True):
        axes[0].plot([100 * run["accuracy"] for run in runs], [place] * len(runs), "o", color="#0072B2", alpha=0.6)
        axes[2].plot([run["column entropy"] for run in runs], [place] * len(runs), "o", color="#0072B2", alpha=0.6)
    axes[1].barh(places, [1e3 * seconds[kind] for kind in found], color="#C9CED6")
    axes[2].axvline(math.log(tokens), color="0.6", lw=0.8, ls="--")
    axes[0].set(xlabel="test accuracy, %, three seeds", yticks=places, yticklabels=found)
    axes[0].invert_yaxis()
    axes[1].set(xlabel="training step, ms", xscale="log")
    axes[2].set(xlabel="column entropy, nats (dashed: balanced)")
    return figure


def study(arguments: argparse.Namespace) -> dict[str, Any]:
    size, epochs, seeds, rounds = (200, 1, SEEDS[:1], 1) if arguments.quick else (10_000, EPOCHS, SEEDS, 15)
    data = small_digits(size) if arguments.mnist is None else mnist(arguments.mnist, size)
    seconds = step_seconds(data, rounds)
    found: dict[str, list[dict]] = {}
    for kind in KINDS:
        found[kind] = []
        for seed in seeds:
            run = Training(kind, data, seed)
            run.run(epochs)
            found[kind].append({"seed": seed, **run.measure()})
            print(f"{kind}, seed {seed}: accuracy {found[kind][-1]['accuracy']:.3f}", flush=True)
    return {
        "images to train and to test": [len(data[0]), len(data[1])],
        "tokens and pixels": list(data[0].shape[1:]),
        "threads": torch.get_num_threads(),
        "seeds": list(seeds),
        "steps": epochs * -(-len(data[0]) // BATCH),
        "seconds of a step": seconds,
        "runs": found,
    }


def main() -> None:
    parser = studies.options(__doc__)
    parser.add_argument("--mnist", type=Path, metavar="FOLDER", help="10,000 images of MNIST, in its four files")
    studies.run("attention_on_digits", parser.parse_args(), study, tables, draw)


if __name__ == "__main__":
    main()
