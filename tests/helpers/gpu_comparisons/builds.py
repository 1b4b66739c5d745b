"""The backend that is compared with the reference, the ways in which it reads rows, and shapes that tell them apart."""

import pytest

from elastic_ot.backends import gpu
from helpers import gpu_shim

WIDE = 24  # columns from which on rows are taken not to fit the registers of a block
# how rows are read: by a block each, by blocks that share it, by blocks that do not know of each other
HOW = {"fused": {}, "sliced": {"widest": WIDE}, "wide": {"widest": WIDE, "together": 1}}
# one row, one column; rows that are no multiple of those at a barrier nor of a block, columns not of 16 bytes; aligned
SHAPES = [(1, 7), (7, 1), (13, 29), (31, 36), (23, 301)]
LARGE = [(9, 900), (5, 2000), (5, 3001), (5, 5002), (5, 8192)]  # one for each number of columns a thread


def backend(order=0, how="fused"):
    return gpu.Gpu(gpu_shim.Device(order, **HOW[how]))


@pytest.fixture(params=HOW)
def shim(request):
    return backend(how=request.param)


def fits(device, shape):
    """True if blocks can keep a row in their registers together."""
    return -(-shape[1] // device.widest) <= device.together
