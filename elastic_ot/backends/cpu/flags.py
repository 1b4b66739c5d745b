"""What Numba is told about every function: keyword arguments of `njit`, and the kinds of functions of the backend.

What makes compiling dear is left out: wrappers to be called by from outside of compiled code where nothing outside
calls (a quarter of the time), and counting references (a tenth) where nothing is allocated. For the same reason,
compiled code clears arrays in loops (a slice assignment compiles NumPy's messages about shapes along, for 2 s), takes
indices of one type, and hands on no literals: `f(0)` and `f(i)` are compiled apart.
"""

from typing import Any

from numba import njit

INSIDE_ALLOCATING: dict[str, Any] = {"error_model": "numpy", "no_cfunc_wrapper": True, "no_cpython_wrapper": True}
OUTSIDE_ALLOCATING: dict[str, Any] = {"error_model": "numpy", "no_cfunc_wrapper": True, "nogil": True, "cache": True}
INSIDE = INSIDE_ALLOCATING | {"_nrt": False}  # called from compiled code only: from outside it would be a crash
OUTSIDE = OUTSIDE_ALLOCATING | {"_nrt": False}

# `inner`: called from compiled code only, and always inlined. Left alone it may exist twice, by itself and beside its
# caller, and LLVM may vectorise the two differently; code from the cache calls the second, code just compiled the
# first, and they would round differently. `elementary`: the same where sums must not be rearranged. `moves`: without
# arithmetic that flags could rearrange, so that all copies have the same bits. `whole`: the body of one entry point,
# compiled with it only. `rows_kernel`: one pass over a block of rows, called from Python. `threaded`: rows split by
# prange. `entry_point`: loops of iterations, called from Python.
FAST = {"reassoc", "contract", "arcp", "nsz"}
inner = njit(fastmath=FAST, forceinline=True, **INSIDE)
elementary = njit(fastmath=FAST - {"reassoc"}, forceinline=True, **INSIDE)
whole = njit(fastmath=FAST, inline="always", **INSIDE)
moves = njit(fastmath=False, forceinline=False, **INSIDE)
rows_kernel = njit(fastmath=FAST, **OUTSIDE)
threaded = njit(parallel=True, nogil=True, cache=True, error_model="numpy")
entry_point = njit(**OUTSIDE)
