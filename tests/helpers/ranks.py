"""Many ranks in one process: threads whose communicator waits at a barrier, and rows dealt out to them."""

import threading

import numpy as np

import elastic_ot as eot

PATIENCE = 60.0  # seconds for which a rank waits for the others: a test that hangs has failed


class Room:
    """What the ranks of one call share."""

    def __init__(self, size):
        self.size, self.barrier = size, threading.Barrier(size, timeout=PATIENCE)
        self.slots = [None] * size


class ThreadComm(eot.distributed.Communicator):
    """A rank among threads; `messages` are the sizes of what it has added up or compared."""

    def __init__(self, room, rank):
        self.room, self.rank, self.size, self.messages = room, rank, room.size, []

    def allgather(self, values):
        self.room.slots[self.rank] = values.copy()
        self.room.barrier.wait()
        found = np.stack(self.room.slots)
        self.room.barrier.wait()
        return found

    def allreduce_sum(self, values):
        self.messages.append(values.size)
        super().allreduce_sum(values)

    def allreduce_max(self, values):
        self.messages.append(values.size)
        super().allreduce_max(values)


def on_ranks(size, work):
    """`work(comm)` on so many ranks: what each has returned or raised, in order."""
    room, found = Room(size), [None] * size

    def run(rank):
        try:
            found[rank] = work(ThreadComm(room, rank))
        except BaseException as error:
            found[rank] = error

    threads = [threading.Thread(target=run, args=(rank,)) for rank in range(size)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return found


def all_well(found):
    """The same, where none has raised."""
    for answer in found:
        if isinstance(answer, BaseException):
            raise answer
    return found


def parts(n, size, uneven=True):
    """Slices of n rows, one a rank: of different lengths, and with an empty one where there are many ranks."""
    weights = np.arange(1, size + 1.0) if uneven else np.ones(size)
    if uneven and size > 2:
        weights[1] = 0.0
    ends = np.round(np.cumsum(weights) / weights.sum() * n).astype(int)
    return [slice(int(first), int(last)) for first, last in zip([0, *ends[:-1]], ends, strict=True)]
