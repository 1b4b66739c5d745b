"""What a solve over processes asks of the engine that joins them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import numpy as np
from numpy.typing import NDArray

FEW_NUMBERS = (
    4096  # numbers up to which every process adds up all of them itself, which takes one message in place of two
)


class Communicator(ABC):
    """Processes that call the same methods in the same order: bring your own engine.

    `elastic_ot.solve` makes one of the communicators of mpi4py and of the process groups of PyTorch by itself. A
    subclass for another engine says who it is, and brings every process what the others have.

    Attributes
    ----------
    rank : int
        Which process this is, from 0 on.
    size : int
        How many there are.

    Notes
    -----
    Sums are added in the order of the ranks, and every sum is added in one place: they do not depend on timing, and are
    the same on all processes, bit for bit. Where the engine's own sum is as good, override `allreduce_sum`.
    """

    rank: int
    size: int

    @abstractmethod
    def allgather(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return what every process brings.

        Parameters
        ----------
        values : ndarray of float64, shape (k,)
            In C order, of the same k on all processes.

        Returns
        -------
        ndarray, shape (size, k)
        """

    def alltoall(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return what every process has for this one.

        Parameters
        ----------
        values : ndarray of float64, shape (size, k)
            Row q is for process q.

        Returns
        -------
        ndarray, shape (size, k)
            Row q is from process q.
        """
        return self.allgather(values.reshape(-1)).reshape(self.size, self.size, -1)[:, self.rank]

    def allreduce_sum(self, values: NDArray[np.float64]) -> None:
        """Replace values (k,) by their sums over the processes, in the order of the ranks."""
        if values.size <= FEW_NUMBERS:
            values[:] = _added(self.allgather(values))
            return
        share = -(-values.size // self.size)  # each process adds up one part of them
        parts = np.zeros((self.size, share))
        parts.reshape(-1)[: values.size] = values
        values[:] = self.allgather(_added(self.alltoall(parts))).reshape(-1)[: values.size]

    def allreduce_max(self, values: NDArray[np.float64]) -> None:
        """Replace values (k,) by the largest of the processes."""
        if values.size <= FEW_NUMBERS:
            np.max(self.allgather(values), axis=0, out=values)
            return
        share = -(-values.size // self.size)
        parts = np.full((self.size, share), -np.inf)
        parts.reshape(-1)[: values.size] = values
        largest = np.max(self.alltoall(parts), axis=0)
        values[:] = self.allgather(largest).reshape(-1)[: values.size]

    def broadcast(self, values: NDArray[np.float64], root: int = 0) -> None:
        """Replace values (k,) by those of one process."""
        if self.rank != root:
            values[:] = 0.0
        self.allreduce_sum(values)


def _added(parts: NDArray[Any]) -> NDArray[np.float64]:
    """The sum of rows, one after the other: NumPy adds in pairs along other axes only."""
    total: NDArray[np.float64] = parts[0].copy()
    for part in parts[1:]:
        total += part
    return total


class SelfComm(Communicator):
    """The communicator of a single process, which has all rows."""

    rank, size = 0, 1

    def allgather(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the values themselves, shape (1, k)."""
        return values[None].copy()
