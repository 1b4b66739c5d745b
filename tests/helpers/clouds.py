"""Clouds of many shapes, and their plans by brute force: the oracle for what leaves pairs of points out."""

import numpy as np

from elastic_ot.backends import reference_cloud

METRICS = ("sqeuclidean", "euclidean", "cityblock")


def uniform(rng, n, d):
    return rng.random((n, d))


def mixture(rng, n, d):
    centres = 0.2 + 0.6 * rng.random((5, d))
    return centres[rng.integers(0, 5, n)] + 0.08 * rng.normal(size=(n, d))


def sphere(rng, n, d):
    x = rng.normal(size=(n, d))
    return 0.5 + 0.5 * x / np.linalg.norm(x, axis=1, keepdims=True)


def clustered(rng, n, d):
    """Spacings over four decades."""
    return 10.0 ** rng.uniform(-4, 0, (n, 1)) * rng.normal(size=(n, d))


def displaced(rng, n, d):
    return 3.0 + mixture(rng, n, d)


def heavy_tails(rng, n, d):
    """Student's t with two degrees of freedom."""
    return 0.1 * rng.standard_t(2, (n, d))


def copies(rng, n, d):
    """Many equal points, and some others."""
    x = uniform(rng, n, d)
    x[: n // 2] = x[0]
    return x


FAMILIES = (uniform, mixture, sphere, clustered, displaced, heavy_tails, copies)


def pair(family, n, m, d, seed=0):
    """A cloud of the family, and one uniform on the cube to be moved to it."""
    rng = np.random.default_rng(seed)
    return uniform(rng, n, d), family(rng, m, d)


def costs(x, y, metric):
    return reference_cloud.cloud(x, y, metric).costs()


def plan_of(solution, cost, epsilon, a, b):
    """The plan of a solution's potentials, all entries, in double precision; of the product reference."""
    with np.errstate(divide="ignore"):
        logs = (solution.f / epsilon + np.log(a))[:, None] + (solution.g / epsilon + np.log(b)) - cost / epsilon
    return np.exp(logs)
