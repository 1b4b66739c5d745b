"""A memory-mapped cost that is larger than the memory that the solve may take."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

TESTS = Path(__file__).parents[1]
CODE = """
import resource, sys
import numpy as np
import elastic_ot as eot
from helpers.user_costs import Given

def data():
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmData"))

matrix = np.load(sys.argv[1], mmap_mode="r")
n, m = matrix.shape
eot.solve(Given(np.array(matrix[:1500, :1000])), epsilon=0.05, **{options})  # what is compiled is compiled
room = matrix.nbytes // 2
resource.setrlimit(resource.RLIMIT_DATA, (data() + room, -1))
solution = eot.solve(Given(matrix), epsilon=0.05, **{options})
assert solution.converged and solution.gap < 1e-4, solution
assert solution.apply(np.ones((m, 2))).shape == (n, 2)
try:
    solution.plan
except ValueError as error:
    assert "use apply" in str(error), error
else:
    raise AssertionError("a plan beyond the number of entries that is stated")
"""


@pytest.mark.skipif(sys.platform != "linux", reason="limits the memory as Linux counts it")
@pytest.mark.parametrize("options", ["{'method': 'auto'}", "{'method': 'newton', 'rows': eot.KL(0.5)}"])
def test_a_cost_larger_than_the_memory(tmp_path, options):
    path, rng = tmp_path / "cost.npy", np.random.default_rng(0)
    x, y = rng.random(6000), rng.random(4000)
    out = np.lib.format.open_memmap(path, mode="w+", dtype=np.float32, shape=(x.size, y.size))
    for i in range(0, x.size, 500):
        out[i : i + 500] = np.abs(x[i : i + 500, None] - y)
    out.flush()
    code = f"import sys\nsys.path.insert(0, {str(TESTS)!r})\n" + CODE.replace("{options}", options)
    ended = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
