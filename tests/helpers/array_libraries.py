"""The array libraries that results are tested in: how to make an array of each and read it back."""

import importlib
import os
from types import SimpleNamespace

import numpy as np
import pytest

REQUIRED = os.environ.get("ELASTIC_OT_REQUIRE", "").split(",")
"""Libraries whose absence is a failure, not a skip: continuous integration names them."""

LIBRARIES = ("numpy", "read-only numpy", "array_api_strict", "torch", "jax")


# Imported here, before any test: the import itself draws from NumPy's global generator, which no test may.
MODULES = {}
for _name in ("array_api_strict", "torch", "jax", "mpi4py"):
    try:
        MODULES[_name] = importlib.import_module(_name)
    except ImportError:
        if _name in REQUIRED:
            raise


def _import(name):
    if name not in MODULES:
        pytest.skip(f"{name} is not installed", allow_module_level=True)
    return MODULES[name]


def library(name):
    """`make(values)` gives an array of the library, `read(array)` its numbers in NumPy, `kind` the type of arrays."""
    if name == "numpy":
        return SimpleNamespace(name=name, make=np.array, read=np.asarray, kind=np.ndarray, single=np.float32)
    if name == "read-only numpy":

        def frozen(values):
            values = np.array(values)
            values.flags.writeable = False
            return values

        return SimpleNamespace(name=name, make=frozen, read=np.asarray, kind=np.ndarray, single=np.float32)
    if name == "array_api_strict":
        xp = _import(name)
        return SimpleNamespace(name=name, make=xp.asarray, read=np.from_dlpack, kind=type(xp.asarray(0.0)))
    if name == "torch":
        torch = _import("torch")
        return SimpleNamespace(name=name, make=lambda x: torch.tensor(np.array(x)), read=np.asarray, kind=torch.Tensor)
    jax = _import("jax")
    return SimpleNamespace(name=name, make=jax.numpy.asarray, read=np.asarray, kind=jax.Array)
