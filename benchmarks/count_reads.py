"""What a solve reads: every call of the CPU's kernels for one matrix, with the entries that it goes through."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any
from unittest.mock import patch

from elastic_ot.backends.cpu import dense


@dataclass
class Reads:
    """Entries gone through, of the cost, of a kernel made of it and of cells that carry mass, and their bytes.

    Those of which an exponential is taken are counted again, by the precision in which it is.
    """

    cost: float = 0.0
    kernel: float = 0.0
    cells: float = 0.0
    bytes: float = 0.0
    exponentials: dict[str, float] = field(default_factory=lambda: {"float32": 0.0, "float64": 0.0})

    def whole(self, matrix: Any, passes: float = 1.0) -> None:
        self.cost += passes * matrix.size
        self.bytes += passes * matrix.nbytes

    def power(self, dtype: Any, entries: float) -> None:
        self.exponentials[str(dtype)] += entries


def _log_sweeps(reads: Reads, done: Any, cost: Any, *rest: Any) -> None:
    scratch, count = rest[-2], rest[-1]
    reads.whole(cost, count)
    reads.power(scratch[0][1].dtype, count * cost.size)


def _scaling_sweeps(reads: Reads, done: Any, kernel: Any, *rest: Any) -> None:
    passes = done[0] + (not done[1] and done[0] == 0)
    reads.kernel += passes * kernel.size
    reads.bytes += passes * kernel.nbytes


def _plan(reads: Reads, done: Any, cost: Any, *rest: Any, coarse: bool = False) -> None:
    out = rest[3]
    reads.whole(cost)
    reads.bytes += out.nbytes
    reads.power("float32" if coarse and out.dtype == "float32" else "float64", cost.size)


def _marginals(reads: Reads, done: Any, cost: Any, *rest: Any) -> None:
    reads.whole(cost)
    reads.power("float64", cost.size)


def _extremes(reads: Reads, done: Any, cost: Any, *rest: Any) -> None:
    reads.whole(cost)


def _sizes(reads: Reads, done: Any, cost: Any, *rest: Any) -> None:
    reads.whole(cost, rest[-2].size / cost.shape[0])


def _products(reads: Reads, done: Any, kernel: Any, *rest: Any) -> None:
    passes = done[0] if isinstance(done, tuple) else 1
    reads.kernel += passes * kernel.size
    reads.bytes += passes * kernel.nbytes


def _support_sweeps(reads: Reads, done: Any, support: Any, *rest: Any) -> None:
    count = rest[-1]
    reads.cells += count * support.values.size
    reads.bytes += count * (support.values.nbytes + support.cost.nbytes + support.indices.nbytes)
    reads.power("float64", count * support.values.size)


def _sparse(reads: Reads, done: Any, matrix: Any, *rest: Any) -> None:
    entries = int(matrix.pointers[-1])
    reads.cells += done[0] * entries
    reads.bytes += done[0] * entries * (matrix.values.itemsize + matrix.indices.itemsize)


COUNTED: dict[str, Callable[..., None]] = {
    "log_sweeps": _log_sweeps,
    "scaling_sweeps": _scaling_sweeps,
    "plan": _plan,
    "marginals": _marginals,
    "row_max": _extremes,
    "col_max": _extremes,
    "support_sizes": _sizes,
    "support_cells": _extremes,
    "dense_product": _products,
    "dense_gradients": _products,
    "support_sweeps": _support_sweeps,
    "sparse_gradients": _sparse,
}


@contextmanager
def counted() -> Iterator[Reads]:
    """What is read while it lasts."""
    reads = Reads()

    def watched(name: str) -> Callable[..., Any]:
        call, note = getattr(dense, name), COUNTED[name]

        def run(*arguments: Any, **options: Any) -> Any:
            done = call(*arguments, **options)
            note(reads, done, *arguments, **options)
            return done

        return run

    with ExitStack() as stack:
        for name in COUNTED:
            stack.enter_context(patch.object(dense, name, watched(name)))
        yield reads
