"""Starting processes of MPI in tests, which are skipped where there is none."""

import os
import shutil
import sys
from pathlib import Path

import pytest

import elastic_ot as eot
from helpers.array_libraries import REQUIRED, _import

WORKER = Path(__file__).with_name("rank_worker.py")


def environment():
    """Where processes find this checkout and the helpers; one thread each, because there are many."""
    paths = [str(Path(eot.__file__).parents[1]), str(WORKER.parents[1]), os.environ.get("PYTHONPATH", "")]
    return os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(filter(None, paths))}


def mpi_command(size):
    """Return the words that start so many processes, in front of a program."""
    _import("mpi4py")
    found = shutil.which("mpiexec", path=os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]))
    if found is None:
        if "mpi4py" in REQUIRED:
            raise FileNotFoundError("mpiexec")
        pytest.skip("there is no mpiexec")
    return [found, "--allow-run-as-root", "--oversubscribe", "-n", str(size)]
