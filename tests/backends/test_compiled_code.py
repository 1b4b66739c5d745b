"""Code that was just compiled and code from Numba's cache round alike."""

import importlib
import os
import subprocess
import sys

import pytest
from numba.core.dispatcher import Dispatcher

import elastic_ot

MODULES = ("cloud", "dense", "batch", "batch_derivatives", "graph", "layers", "paths", "simplex", "small")
PRINTED = """
import hashlib, sys
import numpy as np
import elastic_ot as eot

def digest(*arrays):
    return hashlib.sha256(b"".join(np.ascontiguousarray(x, float).tobytes() for x in arrays)).hexdigest()

rng = np.random.default_rng(0)
cost, bar = rng.random((2, 60, 60))
a, b = rng.dirichlet(np.ones(60), 2)
wanted = sys.argv[1:]
for method in ("scaling", "stabilized", "log", "epsilon_scaling", "newton"):
    if method in wanted:
        for epsilon in (0.05, 1e-4):
            for rows, cols in ((eot.Fixed(), eot.Fixed()), (eot.L2(1.0), eot.TV(0.1))):
                options = dict(epsilon=epsilon, rows=rows, cols=cols, tol=1e-9, on_failure="ignore", max_iter=300)
                found = eot.solve(cost, a, b, method=method, **options)
                print(method, epsilon, digest(found.f, found.g, found.plan, found.rounded_plan()))
if "small" in wanted:
    for rows, cols in ((eot.Fixed(), eot.Fixed()), (eot.KL(1.0), eot.Free())):
        found = eot.solve(cost, a, b, epsilon=0.05, rows=rows, cols=cols, tol=1e-9)
        print("small", digest(found.f, found.g, found.plan, found.row_marginal, [found.dual_value, found.residual]))
if "gradients" in wanted:
    found = eot.solve(cost, a, b, epsilon=0.05, tol=1e-10)
    back, ahead, twice = found.vjp(plan=bar), found.jvp(cost=bar), found.hvp(cost=bar)
    print("implicit", digest(back.cost, back.a, ahead.plan, twice.cost))
    found = eot.solve(cost, a, b, epsilon=0.05, tol=0, max_iter=7)
    print("unrolled", digest(found.vjp(plan=bar).cost, found.jvp(cost=bar).plan))
if "batches" in wanted:
    for dtype in (np.float32, np.float64):
        for shape in ((40, 4, 4), (5, 30, 40)):
            stack, pull = rng.random((2, *shape)).astype(dtype)
            for options in ({"tol": 1e-7}, {"tol": 0, "max_iter": 5}):
                for cols in (eot.Fixed(), eot.L2(1.0)):
                    found = eot.solve(stack, epsilon=0.1, cols=cols, **options)
                    back = found.vjp(plan=pull)
                    print(shape, options, digest(found.f, found.plan, found.gap, back.cost, back.a))
if "clouds" in wanted:
    for dtype in (np.float32, np.float64):
        x = rng.random((1100, 3)).astype(dtype)
        found = eot.solve(eot.PointCloud(x, 1 - x), epsilon=0.1, tol=0, max_iter=7)
        print("clouds", digest(found.f, found.g, found.apply(x)))
if "exact" in wanted:
    found = eot.exact(cost, a, b)
    print("simplex", digest(found.f, found.g, found.plan))
    found = eot.exact(cost, a, b, rows=eot.TV(0.1), cols=eot.AtMost())
    print("paths", digest(found.f, found.g, found.plan))
    found = eot.assign(rng.random((1100, 1000)))
    print("assignment", digest(found.row_ind, found.col_ind, found.u, found.v))
"""
SLOW = ("clouds", "small", "scaling", "stabilized", "epsilon_scaling", "newton", "gradients", "batches", "exact")


@pytest.mark.parametrize("name", MODULES)
def test_what_compiled_code_calls_has_the_same_bits_in_every_copy(name):
    """Inlined whatever LLVM thinks of it, or without flags that let it reorder arithmetic."""
    module = importlib.import_module(f"elastic_ot.backends.cpu.{name}")
    for function in (x for x in vars(module).values() if isinstance(x, Dispatcher)):
        options = function.targetoptions
        if "nogil" not in options:  # not called from Python
            fixed = options.get("forceinline") or options.get("inline") == "always" or not options.get("fastmath")
            assert fixed, f"{function.py_func.__name__} may be left apart, with flags {options['fastmath']}"


@pytest.mark.parametrize(
    "wanted", [("log",), *(pytest.param((kind,), marks=pytest.mark.slow) for kind in SLOW)], ids="-".join
)
def test_compiled_and_cached_code_give_the_same_bits(wanted, tmp_path):
    command = [sys.executable, "-W", "ignore", "-c", PRINTED, *wanted]
    places = {"NUMBA_CACHE_DIR": str(tmp_path), "PYTHONPATH": os.path.dirname(os.path.dirname(elastic_ot.__file__))}
    first, second = (
        subprocess.run(command, env=os.environ | places, capture_output=True, text=True, check=True).stdout
        for _ in range(2)
    )
    assert first
    assert first == second
