"""Digits of a seed to train, to validate and to test, and the last of these as corruptions leave them, for torch."""

from functools import cache, lru_cache
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import Tensor

from . import mnist_digits
from .corruptions import Images, corrupt
from .paired import fingerprint

PIXELS = 14 * 14


class Part(NamedTuple):
    """Pictures (n, PIXELS) and what they show (n,)."""

    x: Tensor
    y: Tensor


class Split(NamedTuple):
    """The parts, the test digits as each corruption leaves them, and a checksum of all."""

    train: Part
    held_out: Part
    test: Part
    corrupted: dict[str, Tensor]
    checksum: str


@cache
def pictures(mnist: bool) -> tuple[Images, NDArray[np.int64]]:
    """Of MNIST or, enlarged, of scikit-learn: shape (n, 28, 28), from 0 to 1, and the digits that they show."""
    if mnist:
        digits = mnist_digits.load()
        return digits.images / 255, digits.labels
    small = load_digits()
    return np.pad(np.kron(small.images / 16, np.ones((3, 3))), ((0, 0), (2, 2), (2, 2))), small.target


def averaged(images: Images) -> Tensor:
    """Four pixels to one, shape (n, PIXELS)."""
    return torch.tensor(images.reshape(-1, 14, 2, 14, 2).mean(axis=(2, 4)).reshape(-1, PIXELS), dtype=torch.float32)


@lru_cache(maxsize=1)
def split(seed: int, mnist: bool, train: int, held_out: int, test: int) -> Split:
    """So many digits a part, of each kind its share."""
    images, labels = pictures(mnist)
    order, parts = np.arange(len(labels)), []
    for size in (train, held_out, test):
        part, order = train_test_split(order, train_size=size, random_state=seed, stratify=labels[order])
        parts.append(part)
    spoilt = {name: averaged(found) for name, found in corrupt(images[parts[-1]], seed).items()}
    first, second, third = (Part(averaged(images[part]), torch.tensor(labels[part])) for part in parts)
    return Split(first, second, third, spoilt, fingerprint(*parts, *spoilt.values()))
