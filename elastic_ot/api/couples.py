"""The call `couples`: pairs of one batch after the other, found by a thread while the caller works on those before."""

from __future__ import annotations

import operator
import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from queue import Full, Queue
from typing import Any, Unpack

import numpy as np

from ..calls import public
from ..solutions.coupling import Coupling
from ..typing import ArrayLike, Seed
from .couple import couple
from .signatures import CoupleOptions

ASKED_EVERY = 0.1  # seconds after which a thread that waits for room looks whether anybody still wants its batches


@public
def couples(
    batches: Iterable[tuple[ArrayLike, ArrayLike]],
    *,
    ahead: int = 2,
    seed: Seed = None,
    **options: Unpack[CoupleOptions],
) -> Iterator[tuple[ArrayLike, ArrayLike, Coupling]]:
    """Pairs of the points of many batches, found in the background: for the loop that trains on them.

    Parameters
    ----------
    batches : sequence of (x0, x1)
        Pairs of batches, as for `couple`, or a generator or loader that yields them. They are taken from it in another
        thread, one after the other.
    ahead : int
        How many coupled batches may wait for the caller, >= 1: the memory that it takes.
    seed : int or numpy.random.Generator, optional
        Where randomness comes from: of all batches, in their order, whatever the timing.
    **options
        Those of `couple`, the same for all batches.

    Yields
    ------
    x0, x1 : array
        What `batches` gave.
    coupling : Coupling
        Their pairs, as `couple` returns them.

    Raises
    ------
    ValueError, TypeError, ConvergenceError
        As `couple`, in place of the batch that is wrong. What `batches` raises is raised, too. Nothing follows.

    See Also
    --------
    couple : the pairs of one batch.

    Notes
    -----
    Kernels release the interpreter lock, so that batches are coupled while a network is trained by compiled code. On a
    machine whose cores are all at work anyway nothing is gained. The thread ends with the iterator, or when it is
    closed or forgotten.

    Examples
    --------
    >>> import numpy as np
    >>> import elastic_ot as eot
    >>> rng = np.random.default_rng(0)
    >>> batches = ((rng.normal(size=(64, 2)), rng.normal(size=(64, 2)) + 3.0) for _ in range(3))
    >>> for x0, x1, (rows, cols) in eot.couples(batches):
    ...     velocities = x1[cols] - x0[rows]  # the network learns these
    >>> velocities.shape
    (64, 2)
    """
    try:
        room = operator.index(ahead)
    except TypeError:
        raise TypeError(f"ahead is {ahead!r}; it must be an integer") from None
    if room < 1:
        raise ValueError(f"ahead is {ahead}; it must be >= 1")
    return _coupled(_Worker(iter(batches), np.random.default_rng(seed), dict(options), Queue(room)))


def _coupled(worker: _Worker) -> Iterator[tuple[ArrayLike, ArrayLike, Coupling]]:
    thread = threading.Thread(target=worker.run, daemon=True, name="elastic_ot.couples")
    thread.start()
    try:
        while True:
            found = worker.queue.get()
            if found is None:
                return
            if isinstance(found, BaseException):
                raise found
            yield found
    finally:
        worker.closed.set()
        thread.join()


@dataclass(frozen=True, eq=False)
class _Worker:
    """Couples batches, and puts them where the caller takes them from; then None, or what went wrong."""

    batches: Iterator[tuple[Any, Any]]
    rng: np.random.Generator
    options: dict[str, Any]
    queue: Queue[Any]
    closed: threading.Event = field(default_factory=threading.Event)

    def run(self) -> None:
        try:
            for x0, x1 in self.batches:
                if not self._put((x0, x1, couple(x0, x1, seed=self.rng, **self.options))):
                    return
        except BaseException as error:
            self._put(error)
            return
        self._put(None)

    def _put(self, found: object) -> bool:
        """True once there was room; False if nobody wants it any more."""
        while not self.closed.is_set():
            try:
                self.queue.put(found, timeout=ASKED_EVERY)
            except Full:
                continue
            return True
        return False
