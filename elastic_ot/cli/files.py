"""Files of numbers and pictures, read; whatever is wrong with one is a `BadInput` of one line."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

GREY_MODES = ("L", "I;16", "I", "F")  # in which Pillow holds one number a pixel


Rows = Callable[[int], slice] | None
"""Which of n rows are wanted; None: all of them."""


class BadInput(Exception):
    """What the user gave cannot be used; the message is one line."""


def load_array(option: str, name: str, key: str, *, ndim: int | None, mapped: bool = False) -> NDArray[Any]:
    """Read numbers from a .npy, .npz or .csv file; weights may also be a matrix of one row or one column.

    With `mapped` a .npy file is mapped into memory, and read where it is used.
    """
    path = Path(name)
    if path.suffix not in READERS:
        raise BadInput(f"{option} {name}: the name must end in .npy, .npz or .csv")
    try:
        with path.open("rb") as file:
            array = READERS[path.suffix](file, key) if not (mapped and path.suffix == ".npy") else _mapped(path)
    except OSError as error:
        raise BadInput(f"{option} {name}: {error.strerror or error}") from error
    except (ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise BadInput(f"{option} {name}: not a readable {path.suffix} file: {error}") from error
    if array.dtype.kind not in "biuf":
        raise BadInput(f"{option} {name}: holds {array.dtype}, not real numbers")
    if ndim is None:
        return array
    if ndim == 1 and array.ndim == 2 and 1 in array.shape:
        array = array.ravel()
    if array.ndim != ndim:
        raise BadInput(f"{option} {name}: has {array.ndim} dimensions, expected {ndim}")
    return array


def _read_npy(file: BinaryIO, key: str) -> NDArray[Any]:
    return np.lib.format.read_array(file, allow_pickle=False)


def _mapped(path: Path) -> NDArray[Any]:
    found: NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    return found


def _read_npz(file: BinaryIO, key: str) -> NDArray[Any]:
    with zipfile.ZipFile(file):
        file.seek(0)
    with np.load(file, allow_pickle=False) as archive:
        if key not in archive.files and len(archive.files) != 1:
            raise ValueError(f"it holds {', '.join(archive.files) or 'nothing'}; name one array {key}")
        array: NDArray[Any] = archive[key if key in archive.files else archive.files[0]]
    return array


def _read_csv(file: BinaryIO, key: str) -> NDArray[Any]:
    lines = file.read().decode().splitlines()
    if not any(line.strip() for line in lines):
        raise ValueError("it is empty")
    return np.loadtxt(lines, delimiter=",", ndmin=2)


READERS = {".npy": _read_npy, ".npz": _read_npz, ".csv": _read_csv}


def load_rows(option: str, name: str, key: str, own: Rows) -> NDArray[Any]:
    """Read some rows of a matrix; of a .npy file no others are read, unless they are all."""
    array = load_array(option, name, key, ndim=2, mapped=own is not None)
    return array if own is None else array[own(array.shape[0])]


def load_mask(name: str, own: Rows) -> NDArray[np.bool_]:
    """Read rows of a mask, given as booleans or as 0 and 1."""
    mask = load_rows("--mask", name, "mask", own)
    wrong = (mask != 0) & (mask != 1)
    if wrong.any():
        i, j = (int(index[0]) for index in wrong.nonzero())
        raise BadInput(f"--mask {name}: entry [{i}, {j}] is {mask[i, j]}; a mask holds 0 and 1")
    return mask.astype(bool)


def load_picture(option: str, name: str, key: str) -> NDArray[np.float64]:
    """Read the grey values of a picture, or an array of them, over their sum."""
    read = load_array(option, name, key, ndim=None) if Path(name).suffix in READERS else _read_picture(option, name)
    values = read.astype(np.float64)
    wrong = ~((values >= 0) & np.isfinite(values))
    if wrong.any():
        index = tuple(int(place[0]) for place in wrong.nonzero())
        raise BadInput(f"{option} {name}: entry {list(index)} is {values[index]}; grey values must be >= 0 and finite")
    if values.ndim == 0 or not values.any():
        raise BadInput(f"{option} {name}: holds no grey value above 0, so there is no mass to move")
    found: NDArray[np.float64] = values / values.sum()
    return found


def _read_picture(option: str, name: str) -> NDArray[Any]:
    try:
        from PIL import Image
    except ImportError as error:
        raise BadInput(
            f"{option} {name}: reading pictures needs Pillow: pip install pillow; or give a .npy file"
        ) from error
    try:
        with Image.open(name) as picture:
            return np.asarray(picture if picture.mode in GREY_MODES else picture.convert("L"))
    except (OSError, ValueError, Image.DecompressionBombError) as error:
        raise BadInput(f"{option} {name}: {getattr(error, 'strerror', None) or error}") from error
