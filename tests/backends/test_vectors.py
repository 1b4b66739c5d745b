"""Explicit vectors: digits of exponentials, sums and products, the ends of rows and of the range, on every target."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from numba import njit

from elastic_ot.backends.cpu.vectors import collect, divide_lanes, fill, fill_double, fill_plan, products

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


@njit
def filled_plan(c, inv2, beta2, start, p):
    return fill_plan(c, inv2, beta2, start, p)


@njit
def filled_double(c, inv2, beta2, start, p):
    return fill_double(c, inv2, beta2, start, p)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: "-".join(x.__name__ for x in kind))
@pytest.mark.parametrize("size", [3, 8, 37, 70])
def test_rows_of_a_plan_have_exact_zeros(kind, size):
    c, inv2, beta2, start, p, behind = row(size, kind)
    least = -125 if kind[2] == np.float32 else -1021
    beta2[::3] = 2.0 * least
    beta2[1], c[2] = -np.inf, np.inf
    total = filled_plan(c, inv2, beta2, start, p)
    exact = expected(c, inv2, beta2, start)
    kept = exact > 2.0**least
    assert (p[~kept] == 0.0).all()
    np.testing.assert_allclose(p[kept], exact[kept].astype(np.float64), rtol=3e-5)
    assert abs(float(total) - float(p.sum(dtype=np.float64))) <= size * np.finfo(kind[2]).eps * float(total)
    assert (behind == GUARD).all()


@pytest.mark.parametrize("size", [3, 8, 37, 70])
def test_rows_in_double_precision_are_rounded_once(size):
    """Entries of a float32 row are those of a float64 row, rounded; their sum is not rounded with them."""
    c, inv2, beta2, start, p, _ = row(size, KINDS[0])
    beta2[::3] = -3000.0
    rounded = np.empty(size, np.float32)
    totals = filled_double(c, inv2, beta2, start, p), filled_double(c, inv2, beta2, start, rounded)
    np.testing.assert_array_equal(rounded, p.astype(np.float32))
    assert (p[::3] == 0.0).all()
    assert totals[0] == totals[1]


@njit
def summed(kernel, i, last, lo, hi, v, s):
    products(kernel, i, last, lo, hi, v, s)


@njit
def collected(kernel, i, last, w, acc):
    collect(kernel, i, last, w[0], w[1], w[2], w[3], acc)


PRODUCTS = [  # dtypes of the matrix, and of the vectors that it is multiplied with
    (np.float64, np.float64),
    (np.float32, np.float64),
    (np.float32, np.float32),
]


def four(kernel, i, last):
    """The four rows that are meant, in double precision."""
    return kernel[np.minimum(np.arange(i, i + 4), last)].astype(np.float64)


@pytest.mark.parametrize("kind", PRODUCTS, ids=lambda kind: "-".join(x.__name__ for x in kind))
@pytest.mark.parametrize("size", [1, 5, 8, 16, 37, 131])
def test_four_rows_times_a_vector(kind, size):
    rng = np.random.default_rng(size)
    kernel, v = rng.random((7, size)).astype(kind[0]), rng.random(size).astype(kind[1])
    for i, last in ((0, 6), (2, 6), (4, 6), (0, 1)):
        for lo in {0, size // 3}:
            s = np.arange(4.0)
            summed(kernel, i, last, lo, size, v, s)
            exact = np.arange(4.0) + four(kernel, i, last)[:, lo:] @ v[lo:].astype(np.float64)
            np.testing.assert_allclose(s, exact, rtol=size * np.finfo(kind[1]).eps)


@pytest.mark.parametrize("kind", PRODUCTS, ids=lambda kind: "-".join(x.__name__ for x in kind))
@pytest.mark.parametrize("size", [1, 5, 8, 16, 37, 131])
def test_four_rows_added_to_the_columns(kind, size):
    rng = np.random.default_rng(size)
    kernel, w = rng.random((7, size)).astype(kind[0]), rng.random(4).astype(kind[1])
    for i, last in ((0, 6), (4, 6), (0, 1)):
        memory = np.full(size + 16, GUARD)
        collected(kernel, i, last, w, memory[:size])
        exact = GUARD + w.astype(np.float64) @ four(kernel, i, last)
        np.testing.assert_allclose(memory[:size], exact, rtol=5 * np.finfo(kind[1]).eps)
        assert (memory[size:] == GUARD).all()


@njit
def divided(kernel, across, along, weight, x, limit, out, sums):
    return divide_lanes(kernel, across, along, weight, x, limit, out, sums)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("lanes", [32, 96])
def test_half_steps_of_many_problems_side_by_side(dtype, lanes):
    rng = np.random.default_rng(0)
    n, m = 3, 5
    kernel, v = rng.random((n, m, lanes)).astype(dtype), rng.random((m, lanes)).astype(dtype)
    weight = rng.random((n, lanes)).astype(dtype)
    weight[1, 7] = 0.0
    out, sums = np.empty((2, n, lanes), dtype)
    beyond = divided(kernel.reshape(n * m, lanes), m, 1, weight, v, 1e8, out, sums)
    exact = np.einsum("ijz,jz->iz", kernel.astype(np.float64), v)
    np.testing.assert_allclose(sums, exact, rtol=8 * np.finfo(dtype).eps)
    np.testing.assert_allclose(out, weight / exact, rtol=8 * np.finfo(dtype).eps)
    assert not beyond
    back, totals = np.empty((2, m, lanes), dtype)
    divided(kernel.reshape(n * m, lanes), 1, m, np.ones((m, lanes), dtype), out, 1e8, back, totals)
    np.testing.assert_allclose(totals, np.einsum("ijz,iz->jz", kernel, out.astype(np.float64)), rtol=1e-5)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("weight", "beyond"), [(1e9, True), (1e-9, True), (np.nan, False), (0.0, False), (1.0, False)])
def test_scalings_beyond_the_limit_are_reported_wherever_they_lie(dtype, weight, beyond):
    kernel, v = np.ones((2, 64), dtype), np.ones((1, 64), dtype)
    for lane in (0, 31, 63):
        weights, out, sums = np.ones((2, 64), dtype), np.empty((2, 64), dtype), np.empty((2, 64), dtype)
        weights[1, lane] = weight
        assert divided(kernel, 1, 1, weights, v, 1e8, out, sums) == beyond
    kernel[1, 40] = np.nan
    assert divided(kernel, 1, 1, np.ones((2, 64), dtype), v, 1e8, out, sums)


@pytest.mark.parametrize("target", TARGETS)
def test_on_other_targets(target, tmp_path):
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", __file__, "-k", "not on_other_targets"]
    settings = {"NUMBA_CPU_NAME": TARGETS[target], "NUMBA_CPU_FEATURES": "", "NUMBA_CACHE_DIR": str(tmp_path)}
    done = subprocess.run(
        command, env=os.environ | settings, cwd=Path(__file__).parents[2], capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stdout


COMPILED = """
from numba import boolean, float32, float64, int64, void
from tests.backends.test_vectors import collected, divided, filled, filled_plan, summed

rows = (float32[::1], float64, float64[::1], float64, float32[::1])
matrix = (float32[:, ::1], int64, int64)
signatures = {
    filled: rows,
    filled_plan: (float64[::1], float64, float64[::1], float64, float64[::1]),
    summed: (*matrix, int64, int64, float32[::1], float64[::1]),
    collected: (*matrix, float32[::1], float64[::1]),
    divided: (*matrix, *(float32[:, ::1],) * 2, float64, *(float32[:, ::1],) * 2),
}
for function, arguments in signatures.items():
    function.compile(arguments)
    print(function.__name__, *function.inspect_asm(function.signatures[0]).split())
"""


def test_code_for_avx_512_is_generated_on_any_machine(tmp_path):
    """Compiled, not run: vectors of 64 bytes, and exponentials by the fraction of a number."""
    settings = {
        "NUMBA_CPU_NAME": "skylake-avx512",
        "NUMBA_CPU_FEATURES": "+avx2,+fma,+avx512f,+avx512dq,+avx512bw,+avx512vl",
        "NUMBA_CACHE_DIR": str(tmp_path),
    }
    done = subprocess.run(
        [sys.executable, "-c", COMPILED],
        env=os.environ | settings,
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    code = {name: words for name, *words in (line.split() for line in done.stdout.splitlines())}
    assert {"vreduceps", "vscalefps"} <= set(code["filled"])
    assert {"vreducepd", "vscalefpd"} <= set(code["filled_plan"])
    for words in code.values():
        assert any("%zmm" in word for word in words)
