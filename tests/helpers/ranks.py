"""Many ranks in one process: threads whose communicator waits at a barrier, and rows dealt out to them."""

import threading
from dataclasses import fields

import numpy as np

import elastic_ot as eot
from helpers.oracle import make

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

    def allgather(self, values, out):
        self.room.slots[self.rank] = values
        self.room.barrier.wait()
        for row, brought in zip(out, self.room.slots, strict=True):
            row[:] = brought
        self.room.barrier.wait()

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


def solve_case(case, size, uneven=True, cost_of=lambda cost: cost, **options):
    """A case of the oracle over so many ranks: what each has returned, in order."""
    rows = parts(case.cost.shape[0], size, uneven)

    def work(comm):
        own = rows[comm.rank]
        return eot.solve(
            cost_of(case.cost[own].astype(case.dtype)),
            case.a[own],
            case.b,
            epsilon=case.epsilon,
            rows=make(case.rows),
            cols=make(case.cols),
            reference=case.reference,
            mask=None if case.mask is None else case.mask[own],
            comm=comm,
            **options,
        )

    return all_well(on_ranks(size, work))


def gathered(solutions, name):
    """An array of the rows, of all ranks."""
    return np.concatenate([getattr(solution, name) for solution in solutions])


SAME = (
    "g",
    "col_marginal",
    "value",
    "dual_value",
    "gap",
    "transport_cost",
    "residual",
    "marginal_error",
    "status",
    "message",
    "n_iter",
    "method",
)


def assert_alike(solutions):
    """What is not of the rows is the same on every rank, bit for bit."""
    first = solutions[0]
    for other in solutions[1:]:
        for name in SAME:
            assert np.array_equal(getattr(other, name), getattr(first, name)), name
        for field in fields(first.history):
            assert np.array_equal(getattr(other.history, field.name), getattr(first.history, field.name)), field.name


def assert_agree(solutions, one, rtol=1e-12):
    """Potentials of one process, but for rounding: relative to the largest."""
    for found, expected in ((gathered(solutions, "f"), one.f), (solutions[0].g, one.g)):
        used = np.isfinite(expected)
        assert np.array_equal(np.isfinite(found), used)
        np.testing.assert_allclose(found[used], expected[used], rtol=0, atol=rtol * np.abs(expected[used]).max())
