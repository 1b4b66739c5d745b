"""GNU's OpenMP library where it is in the process, brought along by Numba or by PyTorch; nothing loads it here."""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

UNLIMITED = 1 << 30


class _Library:
    """The library once it was found: it may come later than this module, but stays."""

    found: ctypes.CDLL | None = None


def resident() -> ctypes.CDLL | None:
    """The library whose threads PyTorch and Numba run on, or None. Of two copies the first, whose symbols both take."""
    if _Library.found is None and sys.platform == "linux":
        try:
            _Library.found = ctypes.CDLL("libgomp.so.1", mode=os.RTLD_NOLOAD | os.RTLD_NOW)
        except OSError:  # not there, or not yet
            return None
    return _Library.found


def limit() -> int:
    """Threads that a parallel region begun in this thread would have, as OMP_NUM_THREADS and later calls set it."""
    library = resident()
    return min(_from_environment(), UNLIMITED if library is None else int(library.omp_get_max_threads()))


def _from_environment() -> int:
    """OMP_NUM_THREADS: one number, or one for each level of nested regions."""
    first = os.environ.get("OMP_NUM_THREADS", "").split(",")[0].strip()
    return int(first) if first.isdecimal() and int(first) > 0 else UNLIMITED


@contextmanager
def kept_limit() -> Iterator[None]:
    """Put back the limit of this thread if the body changes it."""
    library = resident()
    before = _from_environment() if library is None else int(library.omp_get_max_threads())
    yield
    library = resident()
    if library is not None and before != UNLIMITED and before != int(library.omp_get_max_threads()):
        library.omp_set_num_threads(before)
