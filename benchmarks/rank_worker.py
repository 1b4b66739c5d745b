"""A process of `benchmarks.ranks`: ``python -m benchmarks.rank_worker KIND N M THREADS [mpi]`` prints JSON once.

Seconds of an iteration are those of many less those of few, over the difference, the least of some runs.
"""

import json
import sys
import time
from typing import Any

import numpy as np
from numpy.typing import NDArray

import elastic_ot as eot
from elastic_ot.distributed import Communicator, SelfComm
from elastic_ot.distributed.adapters import communicator_of

FEW, MANY, RUNS, SWAPS = 2, 22, 4, 30
LONG = 1e9  # entries whose iterations take so long that few of them are measured, once
EPSILON = 0.05


class Counting(Communicator):
    """Counts what goes through another communicator."""

    def __init__(self, comm: Communicator) -> None:
        self.comm, self.rank, self.size = comm, comm.rank, comm.size
        self.clear()

    def clear(self) -> None:
        self.messages, self.bytes = 0, 0

    def _sent(self, values: NDArray[np.float64]) -> None:
        self.messages, self.bytes = self.messages + 1, self.bytes + values.nbytes

    def allgather(self, values: NDArray[np.float64], out: NDArray[np.float64]) -> None:
        self.comm.allgather(values, out)

    def allreduce_sum(self, values: NDArray[np.float64]) -> None:
        self._sent(values)
        self.comm.allreduce_sum(values)

    def allreduce_max(self, values: NDArray[np.float64]) -> None:
        self._sent(values)
        self.comm.allreduce_max(values)


def cost_of(kind: str, n: int, m: int, rank: int, size: int) -> Any:
    """The own rows of a matrix, or of points in three dimensions."""
    rng = np.random.default_rng(0)
    x, y = rng.random((n, 3)), rng.random((m, 3))
    cloud = eot.PointCloud(np.array_split(x, size)[rank], y)
    return cloud if kind == "points" else cloud.block(slice(0, cloud.shape[0]), slice(0, m))


def measure(kind: str, n: int, m: int, comm: Counting | None) -> dict[str, float]:
    rank, size = (0, 1) if comm is None else (comm.rank, comm.size)
    cost = cost_of(kind, n, m, rank, size)

    def seconds(count: int, cost: Any = cost) -> float:
        if comm is not None:
            comm.clear()
            comm.comm.allreduce_sum(np.zeros(1))  # all begin at once
        began = time.perf_counter()
        eot.solve(cost, epsilon=EPSILON, tol=0, max_iter=count, comm=comm)
        return time.perf_counter() - began

    first, last, runs = (1, 6, 1) if n * m > LONG else (FEW, MANY, RUNS)
    seconds(first, cost_of(kind, 4000, 1500, rank, size))  # compiles
    taken: dict[int, list[float]] = {first: [], last: []}
    sent = {first: (0, 0), last: (0, 0)}
    for _ in range(runs):
        for count in (first, last):
            taken[count].append(seconds(count))
            sent[count] = (0, 0) if comm is None else (comm.messages, comm.bytes)
    (few, many), difference = (min(taken[count]) for count in (first, last)), last - first
    return {
        "seconds": (many - few) / difference,
        "messages": (sent[last][0] - sent[first][0]) / difference,
        "bytes": (sent[last][1] - sent[first][1]) / difference,
    }


def message(comm: Communicator, count: int) -> float:
    """The least seconds of a sum of so many numbers."""
    values, least = np.ones(count), np.inf
    for _ in range(SWAPS):
        comm.allreduce_sum(np.zeros(1))
        began = time.perf_counter()
        comm.allreduce_sum(values)
        least = min(least, time.perf_counter() - began)
    return least


def main() -> None:
    kind, n, m, threads, *mpi = sys.argv[1:]
    eot.set_num_threads(int(threads))
    comm: Communicator = SelfComm()
    if mpi:
        from mpi4py import MPI

        comm = communicator_of(MPI.COMM_WORLD)
    if kind == "message":
        found = {"seconds": message(comm, int(m))}
    else:
        found = measure(kind, int(n), int(m), Counting(comm) if mpi else None)
    if comm.rank == 0:
        print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main()
