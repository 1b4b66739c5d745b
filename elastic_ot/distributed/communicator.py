"""What a solve over processes asks of the engine that joins them."""

from __future__ import annotations

from abc import ABC, abstractmethod

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
    def allgather(self, values: NDArray[np.float64], out: NDArray[np.float64]) -> None:
        """Write what every process brings.

        Parameters
        ----------
        values : ndarray of float64, shape (k,)
            In C order, of the same k on all processes.
        out : ndarray of float64, shape (size, k)
            Row q is to be what process q has brought.
        """

    def alltoall(self, values: NDArray[np.float64], out: NDArray[np.float64]) -> None:
        """Write what every process has for this one; override it where the engine does that without the rest.

        Parameters
        ----------
        values : ndarray of float64, shape (size, k)
            Row q is for process q.
        out : ndarray of float64, shape (size, k)
            Row q is to be what process q has for this one.
        """
        everything = np.empty((self.size, values.size))
        self.allgather(values.reshape(-1), everything)
        out[:] = everything.reshape(self.size, self.size, -1)[:, self.rank]

    def allreduce_sum(self, values: NDArray[np.float64]) -> None:
        """Replace values (k,) by their sums over the processes, in the order of the ranks."""
        self._reduce(values, np.add)

    def allreduce_max(self, values: NDArray[np.float64]) -> None:
        """Replace values (k,) by the largest of the processes."""
        self._reduce(values, np.maximum)

    def broadcast(self, values: NDArray[np.float64], root: int = 0) -> None:
        """Replace values (k,) by those of one process."""
        if self.rank != root:
            values[:] = 0.0
        self.allreduce_sum(values)

    def _reduce(self, values: NDArray[np.float64], join: np.ufunc) -> None:
        """Join rows one after the other; many numbers in parts, of which each process joins one for all."""
        if values.size <= FEW_NUMBERS:
            brought = np.empty((self.size, values.size))
            self.allgather(values, brought)
            _joined(brought, join, values)
            return
        own, others, part = self._space(values.size)
        own.reshape(-1)[: values.size] = values
        self.alltoall(own, others)
        _joined(others, join, part)
        self.allgather(part, own)
        values[:] = own.reshape(-1)[: values.size]

    def _space(self, count: int) -> tuple[NDArray[np.float64], ...]:
        """Two arrays of a row for each process, and a row: kept, because new memory takes longer than a sum."""
        share = -(-count // self.size)
        kept: tuple[NDArray[np.float64], ...] | None = self.__dict__.get("_kept")
        if kept is None or kept[2].size != share:
            kept = np.zeros((self.size, share)), np.zeros((self.size, share)), np.zeros(share)
            self.__dict__["_kept"] = kept
        return kept


def _joined(parts: NDArray[np.float64], join: np.ufunc, out: NDArray[np.float64]) -> None:
    """Join rows in their order: NumPy's own sums add in pairs along some axes."""
    out[:] = parts[0]
    for part in parts[1:]:
        join(out, part, out=out)


class SelfComm(Communicator):
    """The communicator of a single process, which has all rows."""

    rank, size = 0, 1

    def allgather(self, values: NDArray[np.float64], out: NDArray[np.float64]) -> None:
        """Write the values themselves, shape (1, k)."""
        out[0] = values
