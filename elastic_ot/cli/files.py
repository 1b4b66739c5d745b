"""Files and standard input, opened by their name or their content; whatever is wrong with one is a `BadInput`."""

from __future__ import annotations

import argparse
import io
import sys
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from .errors import BadInput, alternatives
from .pictures import UnreadablePicture, grey_values
from .text import WrongText, read_table

STANDARD = "-"  # in place of a name: standard input, or standard output
TEXT = (".csv", ".tsv", ".txt")
ARRAY_ENDINGS = (".npy", ".npz", *TEXT)
PICTURE = "picture"
FIRST_BYTES = {b"\x93NUMPY": ".npy", b"PK\x03\x04": ".npz", b"PK\x05\x06": ".npz"}
NEITHER = "is neither .npy nor .npz nor text"
COMPANIONS = ("a", "b", "mask")  # what a .npz file may hold beside the cost

Rows = Callable[[int], slice] | None
"""Which of n rows are wanted; None: all of them."""


class FileName(str):
    """The value of an option that names a file, which shells complete."""


@dataclass(frozen=True)
class Source:
    """A file, or what standard input has brought."""

    option: str
    name: str
    kind: str
    """How it is read: the ending of its name, or the one that its content would have."""
    data: bytes | None = None
    """The content, where it could be read once only."""

    def __str__(self) -> str:
        return f"{self.option} {self.name}"

    def array(self, key: str, *, ndim: int | None, mapped: bool = False) -> NDArray[Any]:
        """Return its numbers: of a .npz file the array named `key`, or the only one beside weights and mask.

        Weights may also be a matrix of one row or one column. With `mapped` a .npy file is mapped into memory.
        """
        with self._reading():
            return self._checked(self._read(key, mapped), ndim)

    def companion(self, key: str, *, ndim: int) -> NDArray[Any] | None:
        """Return the array of this name that lies in the same .npz file, if there is one."""
        if self.kind != ".npz":
            return None
        with self._reading(), self._archive() as archive:
            return self._checked(archive[key], ndim) if key in archive.files else None

    def picture(self, key: str) -> NDArray[np.float64]:
        """Return the grey values of a picture, or an array of them, over their sum."""
        with self._reading():
            values = self._read(key, mapped=False) if self.kind != PICTURE else self._grey_values()
            values = self._checked(values, None).astype(np.float64)
        wrong = ~((values >= 0) & np.isfinite(values))
        if wrong.any():
            index = tuple(int(place[0]) for place in wrong.nonzero())
            raise BadInput(f"{self}: entry {list(index)} is {values[index]}; grey values must be >= 0 and finite")
        if values.ndim == 0 or not values.any():
            raise BadInput(f"{self}: holds no grey value above 0, so there is no mass to move")
        found: NDArray[np.float64] = values / values.sum()
        return found

    def _read(self, key: str, mapped: bool) -> NDArray[Any]:
        if self.kind == PICTURE:
            raise BadInput(f"{self}: {NEITHER}")
        if self.kind == ".npy":
            if mapped and self.data is None:
                found: NDArray[Any] = np.load(self.name, mmap_mode="r", allow_pickle=False)
                return found
            with self._open() as file:
                return np.lib.format.read_array(file, allow_pickle=False)
        if self.kind == ".npz":
            with self._archive() as archive:
                return _chosen(archive, key)
        with self._open() as file:
            return read_table(file.read())

    def _grey_values(self) -> NDArray[Any]:
        try:
            return grey_values(self.name if self.data is None else io.BytesIO(self.data))
        except UnreadablePicture as error:
            raise BadInput(f"{self}: {error}") from error

    def _open(self) -> BinaryIO:
        return open(self.name, "rb") if self.data is None else io.BytesIO(self.data)

    @contextmanager
    def _archive(self) -> Iterator[np.lib.npyio.NpzFile]:
        with self._open() as file:
            with zipfile.ZipFile(file):  # np.load takes anything, and says other things of a file that is cut
                file.seek(0)
            with np.load(file, allow_pickle=False) as archive:
                yield archive

    @contextmanager
    def _reading(self) -> Iterator[None]:
        """Say of every way to fail which file it is."""
        try:
            yield
        except OSError as error:
            raise BadInput(f"{self}: {error.strerror or error}") from error
        except WrongText as error:
            raise BadInput(f"{self}: {error}") from error
        except (ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
            raise BadInput(f"{self}: not a readable {self.kind} file: {error}") from error

    def _checked(self, array: NDArray[Any], ndim: int | None) -> NDArray[Any]:
        if array.dtype.kind not in "biuf":
            raise BadInput(f"{self}: holds {array.dtype}, not real numbers")
        if ndim == 1 and array.ndim == 2 and 1 in array.shape:
            array = array.ravel()
        if ndim is not None and array.ndim != ndim:
            raise BadInput(f"{self}: has {array.ndim} dimensions, expected {ndim}")
        return array


def readers_of(options: argparse.Namespace) -> int:
    """Return how many of the files are standard input."""
    given = (values for name, values in vars(options).items() if name != "output")
    return sum(value == STANDARD for values in given for value in (values if isinstance(values, list) else [values]))


def opened(option: str, name: str, *, pictures: bool = False) -> Source:
    """Return the source of this name; `pictures` says that one may be given."""
    ending = Path(name).suffix.lower()
    if name == STANDARD:
        data = sys.stdin.buffer.read() if hasattr(sys.stdin, "buffer") else b""
        if not data:
            raise BadInput(f"{option} {name}: standard input is empty; pipe a .npy or .npz file or text into it")
    elif ending in ARRAY_ENDINGS:
        return Source(option, name, ending)
    elif ending and pictures:
        return Source(option, name, PICTURE)
    elif ending:
        raise BadInput(f"{option} {name}: the name must end in {alternatives(ARRAY_ENDINGS)}")
    else:
        try:
            data = Path(name).read_bytes()
        except OSError as error:
            raise BadInput(f"{option} {name}: {error.strerror or error}") from error
    return Source(option, name, _kind(data), data)


def _kind(data: bytes) -> str:
    """Return the ending that a file of this content should have."""
    for magic, ending in FIRST_BYTES.items():
        if data.startswith(magic):
            return ending
    return PICTURE if b"\0" in data else ".txt"


def _chosen(archive: np.lib.npyio.NpzFile, key: str) -> NDArray[Any]:
    others = [name for name in archive.files if name not in COMPANIONS] or archive.files
    if key not in archive.files and len(others) != 1:
        raise ValueError(f"it holds {', '.join(archive.files) or 'nothing'}; name one array {key}")
    found: NDArray[Any] = archive[key if key in archive.files else others[0]]
    return found


def rows_of(source: Source, key: str, own: Rows) -> NDArray[Any]:
    """Read some rows of a matrix; of a .npy file no others are read, unless they are all."""
    array = source.array(key, ndim=2, mapped=own is not None)
    return array if own is None else array[own(array.shape[0])]


def as_mask(source: Source, mask: NDArray[Any]) -> NDArray[np.bool_]:
    """Return a mask that is given as booleans or as 0 and 1."""
    wrong = (mask != 0) & (mask != 1)
    if wrong.any():
        i, j = (int(index[0]) for index in wrong.nonzero())
        raise BadInput(f"{source}: entry [{i}, {j}] is {mask[i, j]}; a mask holds 0 and 1")
    return mask.astype(bool)
