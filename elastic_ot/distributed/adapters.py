"""Communicators of engines that the user has started: known by what they can do, and never imported here."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .communicator import Communicator


def communicator_of(comm: Any) -> Communicator:
    """Return the communicator of what a user has passed as `comm`.

    Raises
    ------
    TypeError
        It is none of those that are known.
    """
    if isinstance(comm, Communicator):
        return comm
    if all(hasattr(comm, name) for name in ("Get_rank", "Get_size", "Allgather", "Alltoall")):
        return MPIComm(comm)
    torch = sys.modules.get("torch.distributed")
    if torch is not None and (comm is torch or isinstance(comm, torch.ProcessGroup)):
        return TorchComm(torch, None if comm is torch else comm)
    raise TypeError(
        f"comm is {comm!r}; it must be a communicator of mpi4py such as MPI.COMM_WORLD, torch.distributed or a process "
        f"group of it, or an elastic_ot.distributed.Communicator"
    )


class MPIComm(Communicator):
    """A communicator of mpi4py."""

    def __init__(self, comm: Any) -> None:
        self.comm, self.rank, self.size = comm, comm.Get_rank(), comm.Get_size()

    def allgather(self, values: NDArray[np.float64], out: NDArray[np.float64]) -> None:
        self.comm.Allgather(values, out)

    def alltoall(self, values: NDArray[np.float64], out: NDArray[np.float64]) -> None:
        self.comm.Alltoall(values, out)


class TorchComm(Communicator):
    """A process group of torch.distributed whose backend serves the host, such as gloo; None is the default group."""

    def __init__(self, distributed: Any, group: Any) -> None:
        self.distributed, self.group = distributed, group
        self.rank, self.size = distributed.get_rank(group), distributed.get_world_size(group)
        backend = str(distributed.get_backend(group))
        if "gloo" not in backend and "mpi" not in backend:
            raise ValueError(
                f"comm is a process group of {backend!r}; pass one of gloo, which joins processes on hosts"
            )

    def allgather(self, values: NDArray[np.float64], out: NDArray[np.float64]) -> None:
        parts = [self._tensor(part) for part in out]
        self.distributed.all_gather(parts, self._tensor(values), group=self.group)

    def alltoall(self, values: NDArray[np.float64], out: NDArray[np.float64]) -> None:
        self.distributed.all_to_all_single(self._tensor(out), self._tensor(values), group=self.group)

    @staticmethod
    def _tensor(values: NDArray[np.float64]) -> Any:
        return sys.modules["torch"].from_numpy(values)
