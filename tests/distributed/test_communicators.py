"""Sums, maxima and broadcasts: in the order of the ranks, and the same bits on all of them."""

import subprocess
import sys

import numpy as np
import pytest

import elastic_ot as eot
from elastic_ot.distributed.communicator import FEW_NUMBERS
from helpers.ranks import all_well, on_ranks

COUNTS = [1, 5, FEW_NUMBERS, FEW_NUMBERS + 1, 2 * FEW_NUMBERS + 7]


@pytest.mark.parametrize("count", COUNTS)
def test_sums_are_added_in_the_order_of_the_ranks(count):
    """(1e16 + 1) - 1e16 is 0 in float64, and any other order gives 1."""
    brought = np.array([1e16, 1.0, -1e16])

    def work(comm):
        values = np.full(count, brought[comm.rank])
        comm.allreduce_sum(values)
        return values

    for values in all_well(on_ranks(3, work)):
        assert (values == 0.0).all()


@pytest.mark.parametrize("count", COUNTS)
def test_every_number_is_added_to_its_own(count):
    expected = np.random.default_rng(0).random((3, count))

    def work(comm):
        total, largest, first = (expected[comm.rank].copy() for _ in range(3))
        comm.allreduce_sum(total)
        comm.allreduce_max(largest)
        comm.broadcast(first, root=2)
        return total, largest, first

    for total, largest, first in all_well(on_ranks(3, work)):
        assert np.array_equal(total, (expected[0] + expected[1]) + expected[2])
        assert np.array_equal(largest, expected.max(axis=0))
        assert np.array_equal(first, expected[2])


def test_infinities_are_compared():
    def work(comm):
        values = np.array([-np.inf, -np.inf if comm.rank else 3.0])
        comm.allreduce_max(values)
        return values

    for values in all_well(on_ranks(2, work)):
        assert values.tolist() == [-np.inf, 3.0]


def test_a_process_alone_may_be_a_communicator():
    cost = np.random.default_rng(0).random((12, 9))
    alone, found = (
        eot.solve(cost, epsilon=0.1, method="log", comm=comm) for comm in (None, eot.distributed.SelfComm())
    )
    np.testing.assert_allclose(found.f, alone.f, rtol=0, atol=1e-14)
    assert found.n_iter == alone.n_iter


def test_engines_are_not_imported():
    program = (
        "import sys, numpy as np, elastic_ot as eot;"
        "eot.solve(np.eye(3), epsilon=0.1, comm=eot.distributed.SelfComm());"
        "sys.exit(any(name in sys.modules for name in ('torch', 'mpi4py')))"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
