"""Commands under mpiexec: which process this is, which rows are its own, and what only the first one prints."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from ..distributed.adapters import communicator_of
from ..distributed.ranks import ALONE, Ranks, Together
from ..errors import RankError
from .errors import BadInput

SIZES = "OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "MPI_LOCALNRANKS"  # as Open MPI, MPICH and others call how many there are


class Alone:
    """One process, which has all rows."""

    comm: Any = None
    ranks: Ranks = ALONE
    first = True

    def own(self, n: int) -> slice:
        """Return the own ones of n rows."""
        return slice(0, n)

    def part(self, path: Path) -> Path:
        """Return the file that the own rows are written to."""
        return path


class Process(Alone):
    """One of several that mpiexec has started."""

    def __init__(self, comm: Any) -> None:
        self.comm = communicator_of(comm)
        self.rank, self.size = self.comm.rank, self.comm.size
        self.ranks, self.first = Together(self.comm), self.comm.rank == 0

    def own(self, n: int) -> slice:
        """Return the own ones of n rows, about as many as each of the others."""
        return slice(self.rank * n // self.size, (self.rank + 1) * n // self.size)

    def part(self, path: Path) -> Path:
        """Return the file that the own rows are written to."""
        return path.with_name(f"{path.stem}-{self.rank}-of-{self.size}{path.suffix}")


def this_process() -> Alone:
    """Return what mpiexec says of this process."""
    if not any(int(os.environ.get(name, "1")) > 1 for name in SIZES):
        return Alone()
    try:
        from mpi4py import MPI
    except ImportError as error:
        raise BadInput('mpiexec: needs mpi4py: pip install "elastic-ot[mpi]"') from error
    return Process(MPI.COMM_WORLD)


def one_process(command: str) -> Alone:
    """Return this process, of a command that takes all rows."""
    process = this_process()
    if process.comm is None:
        return process
    text = f"{command}: runs on one process, only solve splits its rows; start it without mpiexec"
    raise BadInput(text) if process.first else RankError(text)
