"""Arguments of sweeps over a batch of small problems, and what a backend makes of them."""

import numpy as np

from elastic_ot.backends import protocol
from elastic_ot.backends.protocol import Side
from helpers.sweeps import side


def batch_of(size, shape, rule, dtype=np.float64, ragged=False, seed=0, inv_epsilon=20.0):
    """(cost, batch, sides, alpha, beta): problems that share costs, some smaller than the stack."""
    rng = np.random.default_rng(seed)
    n, m = shape
    cost = rng.random((size, n, m)).astype(dtype)
    counts = (rng.integers((x + 1) // 2, x + 1, size) if ragged else np.full(size, x) for x in shape)
    batch = protocol.Batch(
        rng.integers(0, size, size),
        np.full(size, inv_epsilon) * rng.uniform(0.5, 1.0, size),
        *counts,
        np.full(size, 2.0),
    )
    sides = []
    for lengths, width in zip(batch[2:4], shape, strict=True):
        singles = [side(rng, width, rule, removed=range(k, width)) for k in lengths]
        stacked = [np.stack([getattr(s, name) for s in singles]) for name in ("weight", "log_weight", "offset")]
        code, strength, strength2 = (np.array([s[i] for s in singles]) for i in (3, 4, 5))
        sides.append(Side(*stacked, code.astype(np.int64), strength.astype(float), strength2.astype(float)))
    return cost, batch, *sides, sides[0].log_weight.copy(), sides[1].log_weight.copy()


def run_batch(each, args, which, goal, count, end="rows", cold=True, precision="double", omega=(1.0, 1.0)):
    cost, batch, rows, cols, alpha, beta = args
    alpha, beta = alpha.copy(), beta.copy()
    done, residual = np.zeros(which.size, np.int64), np.full(which.size, np.inf)
    each.batch_sweeps(
        *(cost, batch, rows, cols, omega, alpha, beta, which, goal, count, end, cold, precision, done, residual)
    )
    return alpha, beta, done, residual
