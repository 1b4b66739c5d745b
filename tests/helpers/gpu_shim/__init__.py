"""A device that is none: the kernels built for the host by g++, launched on NumPy arrays.

`device()` has what `elastic_ot.backends.gpu` asks of one. Arrays are surrounded by guards, so that a kernel that writes
where it should not is found out at its launch; memory that was not written is nan.
"""

from __future__ import annotations

import ctypes
import functools
import math
import mmap
import os
import platform
import shutil
import subprocess
import tempfile
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from elastic_ot.backends import gpu
from elastic_ot.backends.gpu.transfers import Room

HERE = Path(__file__).parent
SHARED = "ELASTIC_OT_TEST_SESSION"  # the folder of a session
GUARD = 64  # bytes on either side of an array
POISON = 0x7F  # as bytes of a double a number that nothing else is, as bytes of an index one that is out of bounds
OUTCOMES = {1: "some threads wait where others never come", 2: "blocks must have a multiple of 32 threads, at most 512"}


def compiler() -> str | None:
    return shutil.which("g++")


@functools.cache
def library() -> ctypes.CDLL:
    """All kernels, an exported function `launch_<k>` for the k-th name; built once for all processes of a session."""
    calls = [
        f'extern "C" int launch_{k}(unsigned x, unsigned y, unsigned threads, long long shared, int order, void** args)'
        f" {{ return shim::launch(&{name}, x, y, threads, shared, order, args); }}\n"
        for k, name in enumerate(gpu.KERNELS)
    ]
    source = f'#include "{HERE / "cuda_shim.h"}"\n{gpu.source()}' + "".join(calls)
    source += 'extern "C" void corners(int only) { shim::corners = only; }\n'
    with shared_folder() as folder, only_one(folder):
        path = folder / "kernels.so"
        if not path.exists():
            _build(source, path, "-shared", "-fPIC")
        return ctypes.CDLL(str(path))


@contextmanager
def shared_folder() -> Iterator[Path]:
    """That of the session, which its first process makes and removes (conftest), or one of this process."""
    if SHARED in os.environ:
        yield Path(os.environ[SHARED])
    else:
        with tempfile.TemporaryDirectory(prefix="elastic_ot_shim_") as folder:
            yield Path(folder)  # what was loaded stays


@contextmanager
def only_one(folder: Path, name: str = "kernels") -> Iterator[None]:
    """One process at a time; the others wait."""
    import fcntl  # only where there is g++

    with open(folder / f"{name}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def run(source: Path) -> int:
    """Build a program and run it; its exit status."""
    program = source.with_suffix("")
    _build(source.read_text(), program)
    return subprocess.run([program], check=False).returncode


def _build(source: str, path: Path, *options: str) -> None:
    # the fibres jump between stacks, and packs of 16 bytes are read where single numbers were written
    always = ["-std=c++17", "-O1", "-w", "-fno-strict-aliasing", "-U_FORTIFY_SOURCE"]
    if platform.machine() == "x86_64":
        always.append("-mtls-dialect=gnu2")  # shared memory is one a thread of the host, and looked at all the time
    subprocess.run(
        [compiler() or "g++", *always, *options, "-xc++", "-", "-o", path], input=source.encode(), check=True
    )


def to_brain(values: np.ndarray) -> np.ndarray:
    """bfloat16 as its bits: float32 without the lower half."""
    return np.ascontiguousarray(values, np.float32).view(np.uint16)[..., 1::2].copy()


def of_brain(bits: np.ndarray) -> np.ndarray:
    """In float32, exactly."""
    return np.stack([np.zeros_like(bits), bits], axis=-1).view(np.float32)[..., 0]


class Device:
    """`gpu.Device` on the host: small, so that few rows already make many blocks, and wide matrices come early."""

    multiprocessors = 3
    cache = 1 << 15
    shared = 1 << 14
    together = 40
    corners = False  # run the first and the last block of every grid only
    whole = ("log_columns",)  # but of these, the blocks of which have rows and columns both

    def __init__(self, order: int = 0, widest: int = gpu.WIDEST, together: int = together) -> None:
        self.order, self.widest, self.together = order, widest, together
        self.launched: set[str] = set()
        self.numbers = {name: k for k, name in enumerate(gpu.KERNELS)}
        self.guards: dict[int, weakref.ref] = {}
        self.packs: dict[int, int] = {}  # of memory, which pack it belongs to
        self.repeating = False

    def empty(self, shape, dtype) -> np.ndarray:
        assert not self.repeating, "memory in a block of launches that is repeated"
        size = int(np.prod(shape)) * np.dtype(dtype).itemsize
        memory = np.full(size + 2 * GUARD, POISON, np.uint8)
        array = memory[GUARD : GUARD + size].view(dtype).reshape(shape)
        if np.dtype(dtype).kind == "f":
            array.fill(np.nan)
        self.guards[id(memory)] = weakref.ref(memory)
        self.packs.pop(id(memory), None)
        return array

    def zeros(self, shape, dtype) -> np.ndarray:
        array = self.empty(shape, dtype)
        array.fill(0)
        return array

    def put(self, values: np.ndarray) -> np.ndarray:
        array = self.empty(values.shape, values.dtype)
        array[...] = values
        return array

    def get(self, values: np.ndarray) -> np.ndarray:
        assert not self.repeating, "a look in a block of launches that is repeated"
        return values.copy()

    def pack(self, parts) -> list[np.ndarray]:
        """Each with guards of its own, so that a kernel that leaves one for its neighbour is found out, too."""
        number = max(self.packs.values(), default=0) + 1
        arrays = [self.empty(x.shape, x.dtype) if isinstance(x, Room) else self.put(x) for x in parts]
        self.packs.update((id(_memory(x)), number) for x in arrays)
        return arrays

    def get_all(self, arrays) -> list[np.ndarray]:
        assert len({self.packs[id(_memory(x))] for x in arrays}) == 1, "arrays of several packs lie apart"
        return [self.get(x) for x in arrays]

    def holds(self, values) -> bool:
        return isinstance(values, np.ndarray)

    def launch(self, name: str, grid: tuple[int, int], threads: int, args: tuple, shared: int = 0) -> None:
        kept = [x.ctypes.data_as(ctypes.c_void_p) if isinstance(x, np.ndarray) else x for x in args]
        kept = [
            ctypes.c_void_p(None)
            if x is None
            else x
            if isinstance(x, ctypes.c_void_p)
            else np.ctypeslib.as_ctypes_type(x.dtype)(x)
            for x in kept
        ]
        pointers = (ctypes.c_void_p * len(kept))(*(ctypes.addressof(x) for x in kept))
        function = getattr(library(), f"launch_{self.numbers[name]}")
        library().corners(self.corners and name not in self.whole)
        code = function(*grid, threads, ctypes.c_longlong(shared), self.order, pointers)
        assert code == 0, f"{name}: {OUTCOMES[code]}"
        self.launched.add(name)
        self.check(name)

    def copy(self, values: np.ndarray, out: np.ndarray) -> None:
        out[...] = values

    def repeat(self, block, times: int) -> None:
        self.repeating = True
        for _ in range(times):
            block()
        self.repeating = False

    def check(self, name: str) -> None:
        alive = {key: memory for key, ref in self.guards.items() if (memory := ref()) is not None}
        self.guards = {key: self.guards[key] for key in alive}
        for memory in alive.values():
            assert (memory[:GUARD] == POISON).all(), f"{name} wrote before an array"
            assert (memory[-GUARD:] == POISON).all(), f"{name} wrote beyond an array"


def _memory(array: np.ndarray) -> np.ndarray:
    while isinstance(array.base, np.ndarray):
        array = array.base
    return array


class Vast(Device):
    """A device whose large arrays are address space: zeros that cost nothing until they are written.

    Kernels run at the corners of their grids only, so that indices beyond 2^32 come at once. Cost, kernel and results
    are read from the rows and columns there.
    """

    multiprocessors = 1 << 14
    cache = 1 << 40
    corners = True

    def empty(self, shape, dtype) -> np.ndarray:
        size = math.prod(shape if isinstance(shape, tuple) else (shape,)) * np.dtype(dtype).itemsize
        if size < 1 << 24:
            return super().empty(shape, dtype)
        reserve_nothing = getattr(mmap, "MAP_NORESERVE", 0x4000)
        memory = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | reserve_nothing)
        return np.frombuffer(memory, dtype).reshape(shape)

    def zeros(self, shape, dtype) -> np.ndarray:
        array = self.empty(shape, dtype)
        if array.nbytes < 1 << 24:
            array.fill(0)
        return array
