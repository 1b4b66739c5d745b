"""GNU's OpenMP library where it is in the process, brought along by Numba or by PyTorch; nothing loads it here.

After a parallel region its threads spin for some milliseconds, waiting for the next. Threads of another kind have to
share the processors with them meanwhile; a region of the same library is entered at once. So beside PyTorch, whose
every operation is such a region, kernels enter it too. In other processes they do not: on a busy machine, a thread that
spins in place of one that works costs more than it saves.
"""

from __future__ import annotations

import ctypes
import itertools
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

UNLIMITED = 1 << 30
_BODY = ctypes.CFUNCTYPE(None, ctypes.c_void_p)


class _Library:
    """The library once it was found: it may come later than this module, but stays."""

    found: ctypes.CDLL | None = None


def resident() -> ctypes.CDLL | None:
    """The library whose threads PyTorch and Numba run on, or None. Of two copies the first, whose symbols both take."""
    if _Library.found is None and sys.platform == "linux":
        try:
            library = ctypes.CDLL("libgomp.so.1", mode=os.RTLD_NOLOAD | os.RTLD_NOW)
        except OSError:  # not there, or not yet
            return None
        library.GOMP_parallel.argtypes = [_BODY, ctypes.c_void_p, ctypes.c_uint, ctypes.c_uint]
        library.GOMP_parallel.restype = None
        _Library.found = library
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


def beside_torch() -> ctypes.CDLL | None:
    """The library if PyTorch is loaded, whose threads it has then."""
    return resident() if "torch" in sys.modules else None


def split(library: ctypes.CDLL, run: Callable[[int], Any], threads: int, failed: list[BaseException]) -> None:
    """run(part) for each part, in one parallel region; what is raised is collected.

    A thread takes the next part until there is none, so all are done even if the library grants fewer threads.
    """
    parts = itertools.count()

    def body(_: Any) -> None:
        try:
            while (part := next(parts)) < threads:
                run(part)
        except BaseException as error:
            failed.append(error)

    library.GOMP_parallel(_BODY(body), None, threads, 0)
    body(None)  # what is left where an interrupt came as the library called this thread's, which C code swallows
