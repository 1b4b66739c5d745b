"""Digits of MNIST: bytes come back from the package's decimals, and what was tampered with is refused."""

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


def test_digits_are_fetched_once(images, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    fetched = []
    monkeypatch.setattr(mnist_digits, "fetch", lambda: fetched.append(1) or packed(images))
    first, second = mnist_digits.load(), mnist_digits.load()
    assert len(fetched) == 1
    assert np.array_equal(first.images, second.images)
    assert [one.name for one in tmp_path.rglob("*") if one.is_file()] == ["mnist_digits.npz"]


def test_another_package_is_refused(images, monkeypatch):
    monkeypatch.setattr(mnist_digits.urllib.request, "urlopen", lambda *_, **__: io.BytesIO(packed(images)))
    with pytest.raises(RuntimeError, match="not the package that the studies were run with"):
        mnist_digits.fetch()


def test_no_network_is_said(monkeypatch):
    def none(*_, **__):
        raise OSError("Network is unreachable")

    monkeypatch.setattr(mnist_digits.urllib.request, "urlopen", none)
    with pytest.raises(RuntimeError, match=r"fetched once, and https://.* does not answer: Network is unreachable"):
        mnist_digits.fetch()
