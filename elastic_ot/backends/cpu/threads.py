"""How many threads the kernels run on, and how they come by them.

Compiled loops of iterations split their rows by `prange`, within `team`. Everything else is split by `split` into calls
of a Python function, whose kernels release the interpreter lock.

A child that was forked off has one thread of its parent's: OpenMP's team is gone, and GNU's library would wait for it
for ever. So children compute in one thread, and take no lock that a thread of the parent may have held.
"""

from __future__ import annotations

import operator
import os
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import numba
from numba.core.compiler_lock import global_compiler_lock

from . import openmp
from .helpers import Helpers


class _Process:
    """What is true of this process: whether it was forked off, the threads asked for, a lock and helpers of its own."""

    def __init__(self, forked: bool) -> None:
        self.forked = forked
        self.asked: int | None = None
        self.launched = False
        self.lock = threading.Lock()
        self.helpers = Helpers()


_process = _Process(forked=False)


def _after_fork_in_child() -> None:
    _process.__init__(forked=True)  # type: ignore[misc]
    global_compiler_lock.release()  # type: ignore[no-untyped-call]


if hasattr(os, "register_at_fork"):
    # A thread that is compiling would leave its lock to the child, locked: a fork waits until it is done.
    os.register_at_fork(
        before=global_compiler_lock.acquire,
        after_in_parent=global_compiler_lock.release,
        after_in_child=_after_fork_in_child,
    )


def available() -> int:
    """Threads that a parallel loop may take now."""
    most = _most()
    return most if _process.asked is None else min(_process.asked, most)


def _most() -> int:
    if _process.forked:
        return 1
    processors = int(numba.config.NUMBA_DEFAULT_NUM_THREADS)  # type: ignore[attr-defined]
    return max(1, min(_launched(), processors, openmp.limit()))


def _launched() -> int:
    if _process.launched:
        return int(numba.get_num_threads())
    _process.launched = True
    with openmp.kept_limit():  # which Numba sets when it first launches its threads
        return int(numba.get_num_threads())


def get_num_threads() -> int:
    """Return the number of threads that kernels on the CPU may run on.

    The least of the processors this process may use, ``NUMBA_NUM_THREADS`` or ``numba.set_num_threads``,
    ``OMP_NUM_THREADS``, the limit of OpenMP in this thread (``threadpoolctl``, ``torch.set_num_threads``), and what
    `set_num_threads` was given. In a process that was forked off it is 1. Small problems take one thread.

    Returns
    -------
    int
        At least 1.

    Examples
    --------
    >>> import elastic_ot as eot
    >>> eot.get_num_threads() >= 1
    True
    """
    return available()


def set_num_threads(n: int) -> int:
    """Set the number of threads that kernels on the CPU may run on, in this process.

    With the same number, the same input gives the same result to the last bit; with another, sums over the rows of a
    large matrix are added in another order. Not a limit for BLAS, of NumPy and SciPy.

    Parameters
    ----------
    n : int
        At least 1. What is more than there is (see `get_num_threads`) is capped, with a `RuntimeWarning`.

    Returns
    -------
    int
        The number in force.

    Raises
    ------
    TypeError, ValueError
        For an `n` that is no integer, or below 1.

    Examples
    --------
    >>> import elastic_ot as eot
    >>> before = eot.get_num_threads()
    >>> eot.set_num_threads(1)
    1
    >>> eot.set_num_threads(before) == before
    True
    """
    try:
        asked = operator.index(n)
    except TypeError:
        raise TypeError(f"n is {n!r}; the number of threads must be an integer") from None
    if asked < 1:
        raise ValueError(f"n is {n}; the number of threads must be >= 1")
    _process.asked = asked
    number = available()
    if number < asked:
        why = "this process was forked off another, where one is safe" if _process.forked else "there are no more"
        warnings.warn(f"{n} threads were asked for, {number} will be used: {why}", RuntimeWarning, stacklevel=2)
    return number


@contextmanager
def team(threads: int) -> Iterator[None]:
    """Where compiled code may launch a parallel loop of so many parts, on as many threads.

    Numba's `workqueue` threading layer aborts on concurrent launches; the others are left alone.
    """
    if threads == 1:
        yield
        return
    launched = _launched()
    with _process.lock if numba.threading_layer() == "workqueue" else nullcontext():  # type: ignore[attr-defined]
        numba.set_num_threads(min(threads, launched))
        try:
            yield
        finally:
            numba.set_num_threads(launched)


def split(run: Callable[[int], Any], threads: int) -> None:
    """run(part) for each part, on so many threads. If one raises, so does this, once all are done."""
    if threads == 1:
        run(0)
        return
    failed: list[BaseException] = []

    def attempt(part: int) -> None:
        try:
            run(part)
        except BaseException as error:
            failed.append(error)

    if library := openmp.beside_torch():
        openmp.split(library, run, threads, failed)
    else:
        _process.helpers.split(attempt, threads, failed)
    if failed:
        raise failed[0]
