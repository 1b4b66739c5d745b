"""Small problems for comparisons with POT, and its own solvers run until they arrive."""

import warnings
from contextlib import contextmanager
from types import SimpleNamespace

import numpy as np
import pytest

from helpers.array_libraries import library

EXACTLY = {"stopThr": 1e-13, "numItermax": 100_000}
FRAMEWORKS = ("numpy", "torch", "jax")


@pytest.fixture(params=FRAMEWORKS)
def arrays(request):
    """`make` and `read` of a library, in double precision where it has that by default."""
    found = library(request.param)
    if request.param == "torch":
        found.read = lambda x: np.asarray(x.detach() if hasattr(x, "detach") else x)
    return found


def accuracy(arrays, usual):
    """Single precision is what JAX has unless it is told otherwise."""
    return max(usual, 3e-6) if arrays.name == "jax" else usual


def problem(n=9, m=7, seed=0, masses=(1.0, 1.0)):
    rng = np.random.default_rng(seed)
    x, y = rng.random((n, 2)), rng.random((m, 2)) + 0.2
    a, b = (rng.random(size) + 0.3 for size in (n, m))
    cost = ((x[:, None] - y) ** 2).sum(-1)
    a, b = (mass * w / w.sum() for mass, w in zip(masses, (a, b), strict=True))
    return SimpleNamespace(x=x, y=y, a=a, b=b, cost=cost)


@contextmanager
def quiet_pot():
    """POT tells of its fallbacks, and passes an option that newer SciPy deprecates."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
