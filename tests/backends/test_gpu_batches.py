"""Tiles of K in registers (`batch_tiles`) against the CPU's batches, on the host build of the GPU kernels."""

import pytest

from helpers import gpu_shim
from helpers.gpu_comparisons import comparisons_of, tiles

pytestmark = pytest.mark.skipif(gpu_shim.compiler() is None, reason="needs g++, which builds the kernels for the host")
globals().update(comparisons_of(tiles))
