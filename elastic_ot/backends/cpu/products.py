"""Products of matrices on the threads of this package, which BLAS knows nothing of.

A BLAS brings threads of its own: beside other work on the same cores they wait for one another far longer than they
compute. Its results depend on their number, and `set_num_threads` is not for them.

A tile of the result, `TILE_ROWS` times three vectors, stays in registers while a slice of the inner dimension is gone
through; the columns that it needs are copied side by side first, because rows a power of two apart share few lines of
the cache.

Numba's cache watches this file only: after a change of `vectors` in a checkout, delete the cache (`__pycache__`).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from ..protocol import Array
from .dense import BRIEF_SERIAL_BELOW
from .flags import rows_kernel
from .threads import available, split
from .vectors import F64, I64, Vectors

TILE_ROWS, TILE_VECTORS = 4, 3  # of a tile: with two more registers they fill the 16 of AVX2
TILE_WIDEST = 8 * TILE_VECTORS  # columns of a tile where a vector has 8 numbers
TILE_DEPTH = 256  # of a slice: what it reads of the columns stays in the fastest cache
FLOPS = 8  # multiplications that take as long as an entry of a sweep does


@intrinsic
def _width(typingctx: Any) -> Any:
    """Return the columns of a tile."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return I64(Vectors(context, builder, F64).lanes * TILE_VECTORS)

    return types.int64(), generate


@intrinsic
def _tile(typingctx: Any, a: Any, rows: Any, start: Any, depth: Any, panel: Any, out: Any) -> Any:
    """Write a tile of the product of four rows of `a`, from `start` on, and a panel of so many short rows."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        vectors = Vectors(context, builder, F64)
        matrix = context.make_array(a)(context, builder, arguments[0])
        length = builder.extract_value(matrix.shape, 1)
        numbers = cgutils.unpack_tuple(builder, arguments[1])
        starts = [builder.gep(matrix.data, [builder.add(builder.mul(i, length), arguments[2])]) for i in numbers]
        columns = context.make_array(panel)(context, builder, arguments[4]).data
        result = context.make_array(out)(context, builder, arguments[5]).data
        sums = [
            [cgutils.alloca_once_value(builder, vectors.constant(0.0)) for _ in range(TILE_VECTORS)] for _ in starts
        ]
        width = I64(vectors.lanes * TILE_VECTORS)
        with cgutils.for_range(builder, arguments[3], intp=I64) as loop:
            first = builder.mul(loop.index, width)
            right = [vectors.load(columns, builder.add(first, I64(v * vectors.lanes))) for v in range(TILE_VECTORS)]
            for row, mine in zip(starts, sums, strict=True):
                left = vectors.splat(builder.load(builder.gep(row, [loop.index])))
                for x, total in zip(right, mine, strict=True):
                    builder.store(vectors.fma(left, x, builder.load(total)), total)
        for r, mine in enumerate(sums):
            for v, total in enumerate(mine):
                vectors.store(builder.load(total), result, I64((r * TILE_VECTORS + v) * vectors.lanes))
        return context.get_dummy_value()

    return types.none(a, rows, start, depth, panel, out), generate


width_of: Any = _width  # both to be called from compiled code
tile_of: Any = _tile


@rows_kernel
def _product_part(a, b, out, panel, tile, part, parts, by_rows):
    """One of so many parts of out = a @ b: some rows of all, or some of the panels, counted through the stack."""
    width, inner, columns = width_of(), b.shape[1], b.shape[2]
    panels = (columns + width - 1) // width
    total, n = b.shape[0] * panels, a.shape[0]
    low, high, top, bottom = 0, total, part * n // parts, (part + 1) * n // parts
    if not by_rows:
        low, high, top, bottom = part * total // parts, (part + 1) * total // parts, 0, n
    for p in range(low, high):
        q, left = p // panels, (p % panels) * width
        wide = min(width, columns - left)
        for start in range(0, inner, TILE_DEPTH):
            depth = min(TILE_DEPTH, inner - start)
            for j in range(depth):
                for f in range(wide):
                    panel[j * width + f] = b[q, start + j, left + f]
            for i in range(top, bottom, TILE_ROWS):
                last = bottom - 1
                tile_of(a, (i, min(i + 1, last), min(i + 2, last), min(i + 3, last)), start, depth, panel, tile)
                for r in range(min(TILE_ROWS, bottom - i)):
                    for f in range(wide):
                        before = out[q, i + r, left + f] if start else 0.0
                        out[q, i + r, left + f] = before + tile[r * width + f]


def multiply(a: Array, b: Array, out: Array) -> None:
    """Write a @ b[q] for every matrix of a stack b (q, m, k); all of them in C order and float64."""
    threads = 1 if a.shape[0] * b.size < FLOPS * BRIEF_SERIAL_BELOW else available()
    by_rows = b.shape[0] * b.shape[2] < 4 * TILE_WIDEST * threads

    def run(part: int) -> None:
        panel, tile = np.zeros(TILE_DEPTH * TILE_WIDEST), np.empty(TILE_ROWS * TILE_WIDEST)
        _product_part(a, b, out, panel, tile, part, threads, by_rows)

    split(run, threads)
