"""Supports of a plan, and what a backend makes of sweeps over them."""

import numpy as np

from elastic_ot.backends.protocol import Support

INV_EPSILON = 20.0


def thresholds(cost, alpha, beta, share=0.4):
    """For every row and column a number below which about this share of its entries lie; -inf where it has none."""
    exponent = alpha[:, None] + beta - cost.astype(float) * INV_EPSILON
    sides = []
    for lines in (exponent, exponent.T):
        used = [line[np.isfinite(line)] for line in lines]
        sides.append(np.array([np.quantile(line, share) - 1e-6 if line.size else -np.inf for line in used]))
    return sides


def support_by(backend, cost, alpha, beta, least):
    """The support as the solvers build it: sizes, pointers, cells."""
    sizes = np.empty(alpha.size, np.int64)
    backend.support_sizes(cost, INV_EPSILON, alpha, beta, *least, np.arange(alpha.size), sizes)
    pointers = np.concatenate([[0], np.cumsum(sizes)])
    return backend.support_cells(cost, INV_EPSILON, alpha, beta, *least, pointers)


def all_cells(cost):
    """The support of every allowed cell."""
    rows, cells = np.nonzero(np.isfinite(cost))
    pointers = np.concatenate([[0], np.cumsum(np.bincount(rows, minlength=cost.shape[0]))])
    return Support(pointers, cells.astype(np.int32), cost[rows, cells], np.zeros(cells.size))


def run_support(backend, support, row, col, alpha, beta, omega=(1.0, 1.0), count=3):
    n, m = alpha.size, beta.size
    support = backend.support_of(*support[:3], m)
    vectors = [alpha.copy(), beta.copy(), np.zeros(n), np.zeros(m), alpha.copy(), np.zeros(m)]
    sound = backend.support_sweeps(support, INV_EPSILON, row, col, (1.0, 0.0), *vectors, 1)
    if sound:
        sound = backend.support_sweeps(support, INV_EPSILON, row, col, omega, *vectors, count)
    return sound, vectors, values_of(backend, support, n, m)


def values_of(backend, support, n, m):
    """Those of the plan; what keeps none is asked for a matrix of all of them."""
    if hasattr(support, "values"):
        return support.values
    matrix = backend.sparse_like(support)
    backend.sparsify(support, np.full(n, -np.inf), np.full(m, -np.inf), matrix)
    return backend.device.get(matrix.rows.values)


def cells_of(each, support):
    """Pointers, indices and costs by rows, on the host, of a support on a device."""
    return [each.device.get(array) for array in support.rows]
