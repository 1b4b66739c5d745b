"""A cloud is solved in memory of the order of its points."""

import subprocess
import sys

import pytest

CODE = """
import resource, sys
import numpy as np
import elastic_ot as eot

def data():
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmData"))

def solve(n):
    rng = np.random.default_rng(0)
    x, y = rng.random((2, n, 3)).astype(np.{dtype})
    solution = eot.solve(eot.PointCloud(x, y), epsilon=0.1, tol={tol}, max_iter=3, on_failure="ignore")
    return solution.apply(y), solution.gap

eot.set_num_threads(1)
solve(1300)  # what is compiled is compiled
n = 10_000
room = n * n * 4 // 20  # of the matrix; points in blocks, vectors of a solve and strips of a few rows take half of it
resource.setrlimit(resource.RLIMIT_DATA, (data() + room, -1))
solve(n)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="limits the memory as Linux counts it")
@pytest.mark.parametrize(("dtype", "tol"), [("float32", 1e-6), ("float64", 1e-9)])
def test_no_matrix_is_stored(dtype, tol):
    code = CODE.format(dtype=dtype, tol=tol)
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
