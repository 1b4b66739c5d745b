"""Exponentials as explicit vectors: their digits, the ends of rows, the ends of the range, on every kind of target."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from numba import njit

from elastic_ot.backends.cpu.vectors import fill

KINDS = [  # dtypes of the cost, of the exponents, and of the result
    (np.float64, np.float64, np.float64),
    (np.float32, np.float64, np.float64),
    (np.float64, np.float64, np.float32),
    (np.float32, np.float64, np.float32),
    (np.float32, np.float32, np.float32),
]
TARGETS = {"AVX2": "haswell", "SSE2": "x86-64"}
GUARD = 7.0


@njit
def filled(c, inv2, beta2, start, p):
    return fill(c, inv2, beta2, start, p)


def row(size, kind, low=-40.0, seed=0):
    rng = np.random.default_rng(seed)
    cost, exponent, result = kind
    memory = np.full(size + 16, GUARD, result)
    c, beta2 = rng.random(size).astype(cost), rng.uniform(low, 3, size).astype(exponent)
    return c, exponent(37.5), beta2, exponent(-1.25), memory[:size], memory[size:]


def expected(c, inv2, beta2, start):
    wide = (x.astype(np.longdouble) for x in (c, beta2))
    c, beta2 = wide
    return np.exp2(np.longdouble(start) + beta2 - c * np.longdouble(inv2))


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: "-".join(x.__name__ for x in kind))
@pytest.mark.parametrize("size", [1, 2, 3, 7, 8, 9, 15, 16, 17, 31, 33, 64, 100, 2048, 2051])
def test_a_row_and_its_sum(kind, size):
    c, inv2, beta2, start, p, behind = row(size, kind)
    total = filled(c, inv2, beta2, start, p)
    exact = expected(c, inv2, beta2, start)
    _, exponent, result = kind
    # three roundings of an exponent up to 80 in size, the last one to the precision of the result, and the polynomial
    formed, told = np.finfo(exponent).eps, np.finfo(result).eps
    error = 80 * np.log(2) * (1.5 * formed + 0.5 * told) + 3 * told
    assert (np.abs(p / exact - 1) <= error).all()
    assert abs(float(total) / float(p.astype(np.float64).sum()) - 1) <= size * told
    assert (behind == GUARD).all()


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: "-".join(x.__name__ for x in kind))
@pytest.mark.parametrize("size", [5, 8, 16, 21])
def test_masked_entries_and_removed_columns_are_nothing(kind, size):
    c, inv2, beta2, start, p, _ = row(size, kind)
    c[1], beta2[2] = np.inf, -np.inf
    filled(c, inv2, beta2, start, p)
    exact = expected(c, inv2, beta2, start)
    nothing = 2.0**-125 if kind[2] == np.float32 else 2.0**-1021
    assert 0.0 <= p[1] <= nothing
    assert 0.0 <= p[2] <= nothing
    others = np.arange(size) > 2
    np.testing.assert_allclose(p[others], exact[others].astype(np.float64), rtol=3e-5)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: "-".join(x.__name__ for x in kind))
def test_the_ends_of_the_range(kind):
    c, inv2, beta2, start, p, _ = row(40, kind)
    c[:], start = 0.0, kind[1](0.0)
    single = kind[2] == np.float32
    least, most = (-125, 127) if single else (-1021, 1023)
    beta2[:] = np.linspace(least, most - 0.1, 40)
    filled(c, inv2, beta2, start, p)
    np.testing.assert_allclose(p, np.exp2(beta2.astype(np.float64)).astype(kind[2]), rtol=1e-4 if single else 1e-12)
    beta2[:] = 3.0 * most
    assert filled(c, inv2, beta2, start, p) >= 2.0**most
    beta2[:] = -3.0 * most
    assert filled(c, inv2, beta2, start, p) <= 40 * 2.0**least


def test_powers_of_2_are_exact():
    c, inv2, beta2, start, p, _ = row(64, KINDS[0])
    c[:], start, beta2[:] = 0.0, 0.0, np.arange(64) - 32.0
    filled(c, inv2, beta2, start, p)
    np.testing.assert_allclose(p, 2.0 ** (np.arange(64) - 32), rtol=4e-16)


@pytest.mark.parametrize("target", TARGETS)
def test_on_other_targets(target, tmp_path):
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", __file__, "-k", "not on_other_targets"]
    settings = {"NUMBA_CPU_NAME": TARGETS[target], "NUMBA_CPU_FEATURES": "", "NUMBA_CACHE_DIR": str(tmp_path)}
    done = subprocess.run(
        command, env=os.environ | settings, cwd=Path(__file__).parents[2], capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stdout
