"""`Shares` of the protocol: the rows' half of iterations on the kernels of `dense` and `cloud`."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..protocol import LOG2E, LOGARITHMIC, Array, Side, Sparse, Support, Vectors
from . import dense
from .cloud import rows_updated as cloud_share

__all__ = ["cloud_share", "dense_share", "log_share", "scaling_share", "sparse_share", "support_share"]


def log_share(
    cost: Array, inv_epsilon: float, rows: Side, omega: float, vectors: Vectors, scratch: Any, out: Array
) -> None:
    out[:] = 0.0
    muted = Side(out, np.full_like(out, -np.inf), out, LOGARITHMIC, 0.0, 0.0)  # no column moves, and none is missed
    own = vectors._replace(log_col=np.zeros_like(out), log_col_updated=np.zeros_like(out))
    dense.log_sweeps(cost, inv_epsilon, rows, muted, (omega, 0.0), *own, scratch, 1)
    out[:] = dense.column_sums(scratch)


def scaling_share(
    kernel: Array, base_alpha: Array, rows: Side, omega: float, vectors: Vectors, v: Array, limit: float, out: Array
) -> int:
    def run(t: int, lo: int, hi: int) -> None:
        dense._scaling_share_rows(frozen, rows, omega, base_alpha, u, v, row_sum, acc[t], w[t], lo, hi)

    alpha, frozen, threads, used = (
        vectors.alpha,
        dense._frozen(kernel),
        dense._threads(kernel),
        rows.log_weight > -np.inf,
    )
    acc, w, u, row_sum = np.empty((threads, v.size)), np.empty((threads, 8)), np.empty_like(alpha), np.zeros_like(alpha)
    dense._exponentials(alpha, base_alpha, u)
    dense._split(run, alpha.size, threads)
    np.multiply(v, acc.sum(axis=0), out=out)
    sound = (u > 1e-300) & (u < 1e300) & (row_sum > 1e-300) & (row_sum < 1e300)
    if not (sound | ~used).all():
        return 0
    vectors.previous_alpha[:] = alpha
    dense._logarithms(u, base_alpha, alpha)
    dense._logarithms(row_sum, np.zeros_like(alpha), vectors.log_row)
    return 2 if (((u > 1.0 / limit) & (u < limit)) | ~used).all() else 1


def support_share(support: Support, inv_epsilon: float, rows: Side, omega: float, vectors: Vectors, out: Array) -> bool:
    def run(t: int, lo: int, hi: int) -> None:
        given = support, inv_epsilon * LOG2E, beta2, rows, omega, alpha, previous, log_row
        sound[t] = dense._support_rows(*given, acc[t], lo, hi)

    alpha, beta, log_row, _, previous, _ = vectors
    threads, beta2 = dense._sparse_threads(support.values, alpha), beta * LOG2E
    acc, sound = np.empty((threads, beta.size)), [True] * threads
    dense._split(run, alpha.size, threads)
    np.sum(acc, axis=0, out=out)
    return all(sound)


def sparse_share(matrix: Sparse, row_weight: Array, x: Array, out: Array) -> None:
    def run(t: int, lo: int, hi: int) -> None:
        dense._sparse_product_rows(matrix, row_weight, x, acc[t], lo, hi)

    threads = dense._sparse_threads(matrix.values[: matrix.pointers[-1]], row_weight)
    acc = np.empty((threads, out.size))
    dense._split(run, row_weight.size, threads)
    np.sum(acc, axis=0, out=out)


def dense_share(kernel: Array, row_weight: Array, x: Array, out: Array) -> None:
    def run(t: int, lo: int, hi: int) -> None:
        dense._dense_product_rows(frozen, row_weight, x, acc[t], s[t], lo, hi)

    frozen, threads = dense._frozen(kernel), dense._threads(kernel)
    acc, s = np.empty((threads, out.size)), np.empty((threads, 8))
    dense._split(run, row_weight.size, threads)
    np.sum(acc, axis=0, out=out)
