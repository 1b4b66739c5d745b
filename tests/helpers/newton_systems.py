"""Small systems as Newton's method has them, and conjugate gradients begun on them."""

import numpy as np
import pytest

from elastic_ot.backends.protocol import Krylov, Sparse


def random_sparse(shape, seed=0):
    """A matrix with a few entries a row, as CSR with spare room at the end, and the same one dense."""
    rng = np.random.default_rng(seed)
    dense = np.where(rng.random(shape) < 0.4, rng.random(shape), 0.0)
    rows, cells = np.nonzero(dense)
    pointers = np.concatenate([[0], np.cumsum(np.bincount(rows, minlength=shape[0]))])
    spare = np.zeros(3)
    matrix = Sparse(
        pointers, np.concatenate([cells, spare]).astype(np.int32), np.concatenate([dense[rows, cells], spare + 9.0])
    )
    return matrix, dense


def positive_definite(shape, outside=(), seed=0):
    """(kernel in float32, col_factor, CSR of their product, row_weight, diagonal, S, right side)."""
    rng = np.random.default_rng(seed)
    kernel = np.where(rng.random(shape) < 0.5, rng.random(shape), 0.0).astype(np.float32)
    kernel[:, 0] += 0.1  # no empty row
    factor = rng.uniform(0.5, 2.0, shape[1])
    dense = kernel.astype(float) * factor
    weight = 1.0 / dense.sum(axis=1)
    diagonal = 1.05 * dense.sum(axis=0) + 0.01  # by Gershgorin's theorem S is positive definite
    rows, cells = np.nonzero(dense)
    pointers = np.concatenate([[0], np.cumsum(np.bincount(rows, minlength=shape[0]))])
    sparse = Sparse(pointers, cells.astype(np.int32), dense[rows, cells])
    matrix = np.diag(diagonal) - dense.T @ (weight[:, None] * dense)
    return kernel, factor, sparse, weight, diagonal, matrix, rng.normal(size=shape[1])


def begun(rhs, preconditioner):
    residual = np.where(preconditioner > 0, rhs, 0.0)
    direction = preconditioner * residual
    return Krylov(
        np.zeros_like(rhs), residual, direction, preconditioner.copy(), np.array([float(direction @ residual)])
    )


def gradients(backend, kind, system):
    """The primitive with its matrix filled in."""
    kernel, factor, sparse, weight, diagonal = system[:5]
    if kind == "sparse":
        sparse = backend.sparse_of(*sparse, diagonal.shape[0])
        return lambda *rest: backend.sparse_gradients(sparse, weight, diagonal, *rest)
    return lambda *rest: backend.dense_gradients(kernel, factor, weight, diagonal, *rest)


KINDS = pytest.mark.parametrize("kind", ["sparse", "dense"])
