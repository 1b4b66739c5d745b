"""The scripts of the page on processes, run as it says."""

import re
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest

import elastic_ot as eot
from helpers.array_libraries import _import
from helpers.engines import environment, mpi_command

PAGE = (Path(__file__).parents[2] / "docs" / "distributed.rst").read_text()


def script(name, folder):
    """The block of that caption, as a file."""
    block = re.search(rf"   :caption: {name}\n\n((?:   .*\n|\n)+)", PAGE)
    assert block, name
    path = folder / name
    path.write_text(textwrap.dedent(block[1]))
    return str(path)


def run(command):
    done = subprocess.run(command, env=environment(), timeout=180, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def value(text):
    return float(re.search(r"value ([\d.]+)", text)[1])


@pytest.mark.parametrize("size", [1, 3])
def test_clouds_by_mpi(size, tmp_path):
    said = run([*mpi_command(size), sys.executable, script("clouds_by_mpi.py", tmp_path)])
    assert said.count("CONVERGED") == 1
    rng = np.random.default_rng(0)
    x, y = rng.random((3000, 3)), rng.random((2000, 3))
    assert value(said) == pytest.approx(eot.solve(eot.PointCloud(x, y), epsilon=0.01, tol=1e-5).value, rel=1e-4)


def test_a_matrix_by_gloo(tmp_path):
    _import("torch")
    start = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    said = run([*start, script("matrix_by_gloo.py", tmp_path)])
    assert said.count("CONVERGED") == 1
    cost = np.abs(np.arange(600)[:, None] / 600 - np.linspace(0.0, 1.0, 500))
    assert value(said) == pytest.approx(eot.solve(cost, epsilon=0.02, rows=eot.KL(1.0)).value, abs=2e-6)


def test_workers(tmp_path):
    _import("torch")
    said = run([sys.executable, script("workers.py", tmp_path)])
    assert said.startswith("400 potentials")
    cost = (np.linspace(0.0, 1.0, 400)[:, None] - np.linspace(0.0, 1.0, 300)) ** 2
    assert value(said) == pytest.approx(eot.solve(cost, epsilon=0.01).value, abs=2e-6)
