"""
Rows over processes
===================

Where the rows of a problem do not fit one machine, each process keeps some, and an iteration takes one message of as
many numbers as there are columns. What carries the messages is MPI or PyTorch's gloo on a cluster; here, so that the
page runs anywhere, it is a communicator of twenty lines between threads.
"""

# %%
# A communicator says who it is, and brings to everybody what everybody has. Nothing else is needed.

import threading

import matplotlib.pyplot as plt
import numpy as np

import elastic_ot as eot
from elastic_ot.distributed import Communicator


class Threads(Communicator):
    """Threads of one process that meet at a barrier; it counts what is sent."""

    def __init__(self, rank, table, barrier):
        self.rank, self.size, self.table, self.barrier = rank, len(table), table, barrier
        self.numbers = self.messages = 0

    def allgather(self, values, out):
        self.table[self.rank] = values
        self.barrier.wait()
        for rank, brought in enumerate(self.table):
            out[rank] = brought
        self.barrier.wait()
        self.numbers, self.messages = self.numbers + values.size, self.messages + 1


def over(size, solve):
    """Run solve(rank, communicator) in so many threads, and return what each gives."""
    table, barrier, found = [None] * size, threading.Barrier(size), [None] * size
    workers = [Threads(rank, table, barrier) for rank in range(size)]

    def run(rank):
        found[rank] = solve(rank, workers[rank])

    threads = [threading.Thread(target=run, args=(rank,)) for rank in range(size)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return found, workers


# %%
# 1500 colours of a photograph and 1200 of another, in four parts of different sizes. Every process passes its own rows
# and all columns.

pictures = np.load(eot.__path__[0] + "/data/photographs.npz")
rng = np.random.default_rng(0)
first, second = (pictures[name].reshape(-1, 3) / 255.0 for name in pictures.files[:2])
x, y = rng.permutation(first)[:1500], rng.permutation(second)[:1200]
parts = np.split(np.arange(1500), [200, 700, 1300])


def own_rows(rank, comm):
    return eot.solve(eot.PointCloud(x[parts[rank]], y), epsilon=0.005, tol=1e-6, method="log", comm=comm)


found, workers = over(len(parts), own_rows)
alone = eot.solve(eot.PointCloud(x, y), epsilon=0.005, tol=1e-6, method="log")
f = np.concatenate([part.f for part in found])
print("largest difference of potentials", f"{np.abs(f - alone.f).max():.1e}, iterations", found[0].n_iter, alone.n_iter)
print("the same number everywhere:", {part.value for part in found} == {found[0].value})

# %%
# What went over the wire, beside what stayed: the messages of a whole solve hold a fraction of the numbers that the
# cost has, and that fraction falls as rows are added.

entries = x.shape[0] * y.shape[0]
numbers = {
    "costs, computed where they are needed": entries * alone.n_iter,
    "plan, if it were stored": entries,
    f"sent by each process, in {workers[0].messages} messages": workers[0].numbers,
}
figure, ax = plt.subplots(figsize=(8, 2.4), layout="constrained")
ax.barh(list(numbers), list(numbers.values()), color=["0.7", "0.7", "#D55E00"])
ax.set(xscale="log", xlabel="numbers")
plt.show()

# %%
# With real processes only the way to start them changes: ``comm=MPI.COMM_WORLD`` under ``mpiexec``, or
# ``comm=torch.distributed``. See :doc:`/distributed` for scripts that are run as they stand.
