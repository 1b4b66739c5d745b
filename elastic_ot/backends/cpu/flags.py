"""What Numba is told about every function, in keyword arguments of `njit`.

What makes compiling dear is left out: wrappers to be called by from outside of compiled code where nothing outside
calls (a quarter of the time), and counting references (a tenth) where nothing is allocated. For the same reason,
compiled code clears arrays in loops (a slice assignment compiles NumPy's messages about shapes along, for 2 s), takes
indices of one type, and hands on no literals: `f(0)` and `f(i)` are compiled apart.
"""

from typing import Any

INSIDE_ALLOCATING: dict[str, Any] = {"error_model": "numpy", "no_cfunc_wrapper": True, "no_cpython_wrapper": True}
OUTSIDE_ALLOCATING: dict[str, Any] = {"error_model": "numpy", "no_cfunc_wrapper": True, "nogil": True, "cache": True}
INSIDE = INSIDE_ALLOCATING | {"_nrt": False}  # called from compiled code only: from outside it would be a crash
OUTSIDE = OUTSIDE_ALLOCATING | {"_nrt": False}
