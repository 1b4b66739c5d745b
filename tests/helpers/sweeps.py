"""Arguments of sweeps over a small cost, and what a backend makes of them."""

import inspect

import numpy as np

from elastic_ot.backends import protocol
from elastic_ot.backends.protocol import Side

PRIMITIVES = [name for name, value in vars(protocol.Backend).items() if inspect.isfunction(value) and name[0] != "_"]
RULES = {
    "fixed": (protocol.LOGARITHMIC, 1.0, 0.0),
    "kl": (protocol.LOGARITHMIC, 0.7, 0.0),
    "free": (protocol.LOGARITHMIC, 0.0, 0.0),
    "tv": (protocol.CLIPPED, 1.3, 0.0),
    "between": (protocol.BOXED, np.log(0.5), np.log(1.5)),
    "at_least": (protocol.BOXED, np.log(0.5), np.inf),
    "l2": (protocol.QUADRATIC, 0.3, 0.0),
}
# (rows, columns): one row, one column, below and above the size where threads begin, not multiples of the row block
SHAPES = [(1, 7), (7, 1), (13, 29), (401, 503)]


def side(rng, size, rule="fixed", removed=()):
    weight = rng.random(size) + 0.1
    weight[list(removed)] = 0.0
    weight /= weight.sum()
    log_weight = np.full(size, -np.inf)
    np.log(weight, out=log_weight, where=weight > 0)
    return Side(weight, log_weight, log_weight.copy(), *RULES[rule])


def problem(shape, rows="fixed", cols="fixed", dtype=np.float64, removed=False, seed=0):
    """Arguments of the sweeps: a cost with a few forbidden cells, removed entries if asked, potentials near balance."""
    rng = np.random.default_rng(seed)
    n, m = shape
    cost = rng.random(shape).astype(dtype)
    if min(shape) > 5:
        cost[rng.random(shape) < 0.05] = np.inf
    gone = ([2], [1, 3]) if removed and min(shape) > 5 else ([], [])
    row, col = side(rng, n, rows, gone[0]), side(rng, m, cols, gone[1])
    alpha = row.log_weight + 0.3 * rng.normal(size=n)
    beta = col.log_weight + 0.3 * rng.normal(size=m)
    return cost, row, col, alpha, beta


def run_log(backend, cost, row, col, alpha, beta, inv_epsilon, omega, count, fast):
    n, m = cost.shape
    vectors = [alpha.copy(), beta.copy(), np.zeros(n), np.zeros(m), alpha.copy(), np.zeros(m)]
    scratch = backend.scratch(cost.shape, fast)
    backend.log_sweeps(cost, inv_epsilon, row, col, (1.0, 0.0), *vectors, scratch, 1)
    backend.log_sweeps(cost, inv_epsilon, row, col, omega, *vectors, scratch, count)
    return vectors


def assert_same(found, expected, rtol, atol):
    for name, x, y in zip(("alpha", "beta", "log_row", "log_col", "previous", "updated"), found, expected, strict=True):
        np.testing.assert_allclose(x, y, rtol=rtol, atol=atol, err_msg=name)


def assert_quadratic_roots(backend):
    """What weights over 50 decades ask for is what the update gives them, weight - strength F = weight exp(F - ratio).

    By logarithms, whose rounding beside 1 and beside the ratio they hold to; F is far too small to tell where the
    strength is many times the weight.
    """
    slopes, ratios = np.logspace(-25, 25, 51)[:, None], -np.logspace(-6, 2.8, 30)
    ratios = np.concatenate([ratios, -ratios])
    weight, ratio = (np.ascontiguousarray(x).ravel() for x in np.broadcast_arrays(1.0 / slopes, ratios))
    found = np.empty_like(ratio)
    backend.potential(Side(weight, np.log(weight), np.zeros_like(weight), protocol.QUADRATIC, 1.0, 0.0), ratio, found)
    wanted, given = 1.0 - found / weight, np.exp(found - ratio)
    below = ratio < 0
    np.testing.assert_allclose(np.log(wanted[below]), (found - ratio)[below], rtol=0, atol=1e-12)
    np.testing.assert_allclose(wanted[~below], given[~below], rtol=0, atol=1e-12)


def run_scaling(backend, cost, row, col, alpha, beta, omega, count, limit=1e50):
    n, m = cost.shape
    kernel = np.empty(cost.shape)
    base_alpha = np.where(np.isneginf(alpha), -np.inf, 0.0)
    base_beta = np.where(np.isneginf(beta), -np.inf, 0.0)
    backend.plan(cost, 20.0, base_alpha, base_beta, kernel)
    vectors = [alpha.copy(), beta.copy(), np.zeros(n), np.zeros(m), alpha.copy(), np.zeros(m)]
    scratch = backend.scratch(cost.shape, False)
    backend.log_sweeps(cost, 20.0, row, col, (1.0, 0.0), *vectors, scratch, 1)
    outcome = backend.scaling_sweeps(kernel, base_alpha, base_beta, row, col, omega, *vectors, scratch, count, limit)
    return outcome, vectors
