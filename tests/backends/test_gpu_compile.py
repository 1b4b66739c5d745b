"""NVRTC compiles every kernel for the chips that are supported; it needs CuPy with its compiler, but no device.

Where ELASTIC_OT_GPU_REPORT names a file, registers, spills and shared memory of every kernel are written there.
"""

import functools
import os
import re
from pathlib import Path

import numpy as np
import pytest

from elastic_ot.backends import gpu
from elastic_ot.backends.gpu import device
from elastic_ot.backends.gpu.transfers import Room, places, view

ARCHITECTURES = ("80", "90")
REGISTERS = 65536  # of a multiprocessor, and of a block
STATIC_SHARED = 48 * 1024  # bytes that a block has without asking
ASKING = "log_rows", "dense_rows", "plan_sums", "batch_solve", "batch_tiles"
SPILLS = (
    512  # bytes a thread: what is spilled around the update of a row is read once for some rows, not for each entry
)
THREADS = {
    "log_rows": 512,
    "dense_rows": 512,
    "plan_sums": 512,
    "advance": 512,
    "count_cells": 32,
    "write_cells": 32,
    "write_entries": 32,
    "running_sums": 512,
    "smallest_cells": 32,
}
PROPERTIES = re.compile(
    r"Compiling entry function '(?P<name>\w+)'.*?(?P<stack>\d+) bytes stack frame, (?P<stored>\d+) bytes spill stores, "
    r"(?P<loaded>\d+) bytes spill loads.*?Used (?P<registers>\d+) registers(?P<rest>[^\n]*)",
    re.DOTALL,
)


@pytest.fixture(scope="module")
def cupy():
    if "gpu" in os.environ.get("ELASTIC_OT_REQUIRE", ""):
        import cupy
    else:
        cupy = pytest.importorskip("cupy", reason="needs CuPy: pip install 'cupy-cuda13x[ctk]'", exc_type=ImportError)
    return cupy


@pytest.fixture(scope="module")
def nvrtc(cupy):
    return cupy.cuda.nvrtc


@functools.cache
def compiled(nvrtc, architecture):
    """{kernel: what ptxas says of it}, all kernels in one program."""
    program = nvrtc.createProgram(gpu.source(), "kernels", [], [])
    for name in gpu.KERNELS:
        nvrtc.addNameExpression(program, name)
    try:
        nvrtc.compileProgram(program, [*gpu.OPTIONS, f"-arch=sm_{architecture}", "--ptxas-options=-v"])
    except nvrtc.NVRTCError:
        pytest.fail(nvrtc.getProgramLog(program))
    log = nvrtc.getProgramLog(program)
    assert nvrtc.getCUBIN(program)
    names = {nvrtc.getLoweredName(program, name): name for name in gpu.KERNELS}
    assert "warning" not in log
    return {names[found["name"]]: found for found in PROPERTIES.finditer(log)}


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_every_kernel_compiles_and_can_be_launched(nvrtc, architecture):
    found = compiled(nvrtc, architecture)
    assert set(found) == set(gpu.KERNELS)
    for name, properties in found.items():
        threads = THREADS.get(name.split("<")[0], gpu.THREADS)
        assert int(properties["registers"]) * threads <= REGISTERS, name
        asks = name.startswith(ASKING)
        assert _shared(properties) <= (device.STATIC if asks else STATIC_SHARED), name
        assert int(properties["stored"]) <= SPILLS, name
    report = os.environ.get("ELASTIC_OT_GPU_REPORT")
    if report:
        with Path(report).open("a") as file:
            for name, p in found.items():
                file.write(
                    f"sm_{architecture} {name}: {p['registers']} registers, {_shared(p)} bytes of shared memory, "
                )
                file.write(f"spills {p['stored']} bytes stored, {p['loaded']} loaded\n")


def test_arrays_of_a_pack_are_views_of_cupy_s_whose_places_are_known(cupy):
    """Cut out of an array of CuPy over memory of the host, of which nothing is read."""
    parts = [
        *(np.zeros(17), Room((3, 5), np.dtype(np.int32)), np.zeros(0), np.zeros(0, np.int32), np.zeros(4, np.int32)),
        *(np.zeros((2, 3), np.float32), Room((33,)), Room((2, 2), np.dtype(np.int64))),
    ]
    begins, size = places(parts)
    behind = np.zeros(size)
    pointer = cupy.cuda.MemoryPointer(cupy.cuda.UnownedMemory(behind.ctypes.data, behind.nbytes, behind, 0), 0)
    memory = cupy.ndarray((size,), np.float64, pointer)
    for begin, part in zip(begins, parts, strict=True):
        found = view(memory, begin, part)
        assert found.base is memory
        assert found.data.ptr == memory.data.ptr + begin * memory.itemsize
        assert (found.shape, found.dtype) == (part.shape, part.dtype)
        assert found.flags.c_contiguous


def _shared(properties):
    found = re.search(r"(\d+) bytes smem", properties["rest"])
    return int(found[1]) if found else 0
