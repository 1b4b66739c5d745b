"""The kernels: CUDA C++ in files of one idea each, joined to one program, which NVRTC compiles when it is first used.

A file uses what those before it in `NAMES` have, and nothing else. The tests build the same program for the host.
"""

from __future__ import annotations

import functools
from pathlib import Path

NAMES = (
    "types",  # what every kernel is made of, and the conventions of all files
    "arithmetic",  # powers of two; sums and maxima over a warp or a block
    "penalties",  # the update rule of every penalty
    "streams",  # how rows come from memory, and how blocks that share a row wait for each other
    "log_sweeps",  # rows of an iteration in the log domain
    "dense_sweeps",  # the same with a stored matrix
    "columns",  # between the sweeps: column sums and updates, and who stops the block of iterations
    "conjugate_gradients",  # the recurrences
    "passes",  # over the plan: maxima, sums, products, tangent, rounding, the cheapest cells of rows
    "supports",  # cells of a support: finding them, ordering them, sweeps on them
    "sparse",  # products with Newton's sparse matrix
    "batch_solve",  # many problems, a block each
    "tiles",  # what the next one is made of
    "batch_tiles",  # many problems, a tile of K a thread
)
"""Names of the files `*.cuh` in this folder, in the order in which they are joined."""


@functools.cache
def source() -> str:
    """The whole program."""
    folder = Path(__file__).parent
    return "\n".join((folder / f"{name}.cuh").read_text(encoding="utf-8") for name in NAMES)
