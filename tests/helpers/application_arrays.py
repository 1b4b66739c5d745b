"""Libraries that the tests of applications run in, and derivatives of scalar functions in each of them."""

import contextlib

import numpy as np
import pytest

from helpers.array_libraries import library

LIBRARIES = ("numpy", "array_api_strict", "torch", "jax")
DIFFERENTIABLE = ("torch", "jax")


@contextlib.contextmanager
def opened(name):
    """The library, JAX with float64."""
    found = library(name)
    if name != "jax":
        yield found
        return
    import jax

    with jax.enable_x64(True):
        yield found


def gradient(name, function, values):
    """The derivative of a scalar function at NumPy `values`, by the library's own reverse mode."""
    with opened(name) as found:
        if name == "torch":
            x = found.make(values).requires_grad_()
            function(x).backward()
            return x.grad.numpy()
        import jax

        return np.asarray(jax.grad(function)(found.make(values)))


def differences(function, values, step=1e-6):
    """Central differences of a scalar function of a NumPy array."""
    out = np.empty_like(values)
    for index in np.ndindex(values.shape):
        move = np.zeros_like(values)
        move[index] = step
        out[index] = (function(values + move) - function(values - move)) / (2 * step)
    return out


@pytest.fixture(params=LIBRARIES)
def arrays(request):
    """Every library in turn."""
    with opened(request.param) as found:
        yield found
