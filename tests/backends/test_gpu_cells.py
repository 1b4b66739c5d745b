"""Supports and Newton's sparse matrices on the host build of the GPU kernels, against the reference and dense NumPy."""

import numpy as np
import pytest

from helpers import gpu_shim
from helpers.gpu_comparisons import cells, comparisons_of
from helpers.gpu_comparisons.cells import backend, everything

pytestmark = pytest.mark.skipif(gpu_shim.compiler() is None, reason="needs g++, which builds the kernels for the host")
globals().update(comparisons_of(cells))


@pytest.mark.parametrize("order", [1, 7])
def test_results_do_not_depend_on_the_order_of_the_threads(order):
    """To the bit, and whatever runs first between two barriers."""
    for x, y in zip(everything(backend()), everything(backend(order)), strict=True):
        np.testing.assert_array_equal(x, y)
