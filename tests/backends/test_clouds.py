"""Kernels for clouds of points against the reference on the matrix of their costs, on every kind of target."""

import inspect
import os
import platform
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from elastic_ot.backends import load_cloud, protocol, reference_cloud
from elastic_ot.backends.cpu import cloud as cpu
from elastic_ot.backends.cpu import point_blocks, point_tree
from elastic_ot.backends.cpu.tiles import BLOCK_POINTS
from elastic_ot.backends.protocol import Vectors
from helpers.sweeps import RULES, assert_same, side

METRICS = list(point_blocks.TILE_KINDS)
PRIMITIVES = [x for x, value in vars(protocol.CloudBackend).items() if inspect.isfunction(value) and x[0] != "_"]
SHAPES = [(1, 7), (33, 1), (13, 29), (64, 97)]  # blocks that are full, and that are not
KERNELS = "test_sweeps or test_products or test_slopes"
TARGETS = {"AVX2": "haswell", "SSE2": "x86-64"}


def points(n, m, d, seed=0, shift=0.3):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, d)) / np.sqrt(d), shift + rng.normal(size=(m, d)) / np.sqrt(d)


def sides(n, m, rows="fixed", cols="fixed"):
    """Two sides, with removed entries, and potentials near balance."""
    rng = np.random.default_rng(1)
    gone = ([2, 12], [1, 3]) if min(n, m) > 12 else ([], [])
    row, col = side(rng, n, rows, gone[0]), side(rng, m, cols, gone[1])
    return row, col, row.log_weight + 0.3 * rng.normal(size=n), col.log_weight + 0.3 * rng.normal(size=m)


def run(backend, cloud, inv_epsilon, row, col, alpha, beta, omega=(1.0, 1.0), count=3, fast=False):
    n, m = alpha.size, beta.size
    vectors = Vectors(alpha.copy(), beta.copy(), np.zeros(n), np.zeros(m), alpha.copy(), np.zeros(m))
    backend.sweeps(cloud, inv_epsilon, row, col, (1.0, 0.0), vectors, fast, 1)
    backend.sweeps(cloud, inv_epsilon, row, col, omega, vectors, fast, count)
    return vectors


def both(x, y, metric, inv_epsilon, arguments, **options):
    """Vectors of the kernels and of the reference, which is always in double precision."""
    found = run(cpu, cpu.cloud(x, y, metric), inv_epsilon, *arguments, **options)
    options["fast"] = False
    return found, run(reference_cloud, reference_cloud.cloud(x, y, metric), inv_epsilon, *arguments, **options)


@pytest.mark.parametrize("name", PRIMITIVES)
def test_every_backend_has_the_protocol_s_signature(name):
    wanted = list(inspect.signature(getattr(protocol.CloudBackend, name)).parameters)[1:]
    for backend in (cpu, reference_cloud):
        assert list(inspect.signature(getattr(backend, name)).parameters) == wanted


def test_load_gives_the_modules():
    assert load_cloud() is cpu
    assert load_cloud("reference") is reference_cloud


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("d", [1, 3, 8, 20])
@pytest.mark.parametrize("metric", METRICS)
def test_sweeps_agree(metric, d, shape):
    found, expected = both(*points(*shape, d), metric, 5.0, sides(*shape))
    # exponents up to 200 round at 3e-14, in a few sweeps
    assert_same(found, expected, 1e-12, 1e-12)


@pytest.mark.parametrize("rows", RULES)
@pytest.mark.parametrize("cols", ["fixed", "kl", "between", "l2"])
def test_sweeps_agree_for_every_rule(rows, cols):
    found, expected = both(*points(45, 67, 2), "sqeuclidean", 5.0, sides(45, 67, rows, cols), omega=(1.2, 0.7))
    assert_same(found, expected, 1e-12, 1e-12)


@pytest.mark.parametrize("d", [1, 3, 8, 20])
@pytest.mark.parametrize("metric", METRICS)
def test_sweeps_in_single_precision_are_close(metric, d):
    x, y = points(100, 130, d)
    found, expected = both(x, y, metric, 5.0, sides(100, 130), fast=True)
    # float32 rounds exponents at 6e-8 of the largest cost over epsilon at worst, its exponentials at 1e-7
    largest = 5.0 * np.abs(reference_cloud.cloud(x, y, metric).costs()).max()
    assert_same(found, expected, 0, 4 * 6e-8 * (largest + 20.0))


@pytest.mark.parametrize("fast", [False, True])
@pytest.mark.parametrize("metric", ["sqeuclidean", "euclidean", "dot"])
def test_sweeps_hold_where_every_exponential_underflows(metric, fast):
    x, y = points(45, 67, 3, shift=5.0)
    found, expected = both(x, y, metric, 1e4, sides(45, 67), fast=fast)
    assert all(np.isfinite(z[~np.isneginf(z)]).all() for z in found)
    # exponents up to 1e6 round at 1e-10, or in single precision at 0.06
    assert_same(found, expected, 0, 0.5 if fast else 1e-8)


@pytest.mark.parametrize("fast", [False, True])
@pytest.mark.parametrize("far", [-1e3, 1e3])
def test_sweeps_hold_from_potentials_that_are_far_off(far, fast):
    row, col, alpha, beta = sides(45, 67)
    found, expected = both(*points(45, 67, 3), "sqeuclidean", 5.0, (row, col, alpha + far, beta), fast=fast)
    assert_same(found, expected, 0, 1e-4 if fast else 1e-10)


@pytest.mark.parametrize("inv_epsilon", [5.0, 1e7])  # inner products, and differences where these would cancel
@pytest.mark.parametrize("d", [1, 3, 20])
@pytest.mark.parametrize("metric", METRICS)
def test_passes_over_the_plan_agree(metric, d, inv_epsilon):
    n, m = 45, 67
    (x, y), (_, _, alpha, beta) = points(n, m, d), sides(n, m)
    rng, results = np.random.default_rng(3), []
    z, parts = rng.normal(size=(m, 3)), (rng.random(n), rng.random(m), rng.random(n), rng.random(m))
    costs = reference_cloud.cloud(x, y, metric).costs()
    alpha = alpha + inv_epsilon * (costs - costs.min(axis=0)).min(axis=1)  # entries of all sizes up to 1 or so
    beta = beta + inv_epsilon * costs.min(axis=0)
    for backend in (cpu, reference_cloud):
        cloud = backend.shifted(backend.cloud(x, y, metric), 0.25 / inv_epsilon)
        row_sum, col_sum, row_max, col_max = np.empty(n), np.empty(m), np.empty(n), np.empty(m)
        backend.marginals(cloud, inv_epsilon, alpha, beta, row_sum, col_sum)
        backend.row_max(cloud, inv_epsilon, beta, row_max)
        backend.row_max(backend.transposed(cloud), inv_epsilon, alpha, col_max)
        product, costs = np.empty((n, 3)), np.empty((n, m))
        backend.apply(cloud, inv_epsilon, alpha, beta, z, product)
        backend.entries(cloud, x, costs)
        divergence, transport = np.empty(n), np.empty(n)
        backend.rounded_sums(cloud, inv_epsilon, alpha, beta, parts, divergence, transport)
        results.append((row_sum, col_sum, row_max, col_max, product, costs, divergence, transport))
    error = 1e-13 + 1e-15 * inv_epsilon  # of exponents, which are differences of costs over epsilon
    for found, expected in zip(*results, strict=True):
        np.testing.assert_allclose(found, expected, rtol=20 * error, atol=20 * error)
    assert results[0][0][2] == results[0][1][1] == 0.0  # removed rows and columns


def products(backend, cloud, inv_epsilon, potentials, z, **options):
    out = np.empty((potentials[0].size, z.shape[1]))
    backend.apply(cloud, inv_epsilon, *potentials, z, out, **options)
    return out


@pytest.mark.parametrize("shape", [(1, 7), (45, 67), (33, 1100)])  # 1100 columns are summed in three pieces
@pytest.mark.parametrize("d", [1, 3, 20, 40])
@pytest.mark.parametrize("metric", METRICS)
def test_products_are_as_precise_as_their_entries(metric, d, shape):
    """Of as many columns as fill registers, fewer and more."""
    (x, y), potentials = points(*shape, d), sides(*shape)[2:]
    expected = reference_cloud.cloud(x, y, metric)
    # float32 rounds exponents as in sweeps, and products in every one of 64 sums or so at worst
    largest = 5.0 * np.abs(expected.costs()).max()
    errors = {False: 1e-15 * (largest + 20.0), True: 6e-8 * (4 * (largest + 20.0) + 64)}
    for count in (1, 2, 4, 7):
        z = np.random.default_rng(3).normal(size=(shape[1], count))
        exact, sizes = (products(reference_cloud, expected, 5.0, potentials, q) for q in (z, np.abs(z)))
        for fast, error in errors.items():
            found = products(cpu, cpu.cloud(x, y, metric), 5.0, potentials, z, fast=fast)
            assert (np.abs(found - exact) <= error * sizes).all()  # 0 in removed rows


def test_products_in_single_precision_know_no_size():
    (x, y), potentials, z = points(45, 67, 3), sides(45, 67)[2:], np.random.default_rng(3).normal(size=(67, 3))
    scales, cloud = 2.0 ** np.array([-400.0, 0.0, 400.0]), cpu.cloud(x, y, "sqeuclidean")
    near, far = (products(cpu, cloud, 5.0, potentials, q, fast=True) for q in (z, scales * z))
    np.testing.assert_array_equal(far, scales * near)
    assert not products(cpu, cloud, 5.0, potentials, np.zeros((67, 1)), fast=True).any()


@pytest.mark.parametrize("shape", [(1, 7), (45, 67), (33, 1100)])
@pytest.mark.parametrize("d", [1, 3, 20, 40])
@pytest.mark.parametrize("metric", ["euclidean", "cityblock"])
def test_slopes_are_as_precise_as_their_entries(metric, d, shape):
    """Of points far from the origin, some of which are equal, or have an equal coordinate."""
    (x, y), potentials = (z.astype(np.float32) + np.float32(50.0) for z in points(*shape, d)), sides(*shape)[2:]
    y[: len(x) // 2] = x[: len(x) // 2][: len(y)]
    y[-1, 0] = x[0, 0]
    results, whole = [], reference_cloud.cloud(x, y, metric)
    for backend, cloud, fast in ((cpu, cpu.cloud(x, y, metric), True), (cpu, cpu.cloud(x, y, metric), False)):
        results.append(np.empty((shape[0], d + 1)))
        backend.slopes(cloud, 5.0, *potentials, results[-1], fast)
    expected = np.empty((shape[0], d + 1))
    reference_cloud.slopes(whole, 5.0, *potentials, expected)
    # directions are no longer than 1: errors as those of products with numbers up to 1, and of a root and a quotient
    largest = 5.0 * np.abs(whole.costs()).max()
    for found, unit in zip(results, (6e-8, 1.2e-16), strict=True):
        assert (np.abs(found - expected) <= unit * (4 * (largest + 20.0) + 80) * expected[:, -1:]).all()


def test_slopes_of_near_points_are_those_of_their_coordinates_in_single_precision():
    """Whose distance is a few units in the last place: they are not rounded again."""
    x = np.random.default_rng(0).random((40, 3)).astype(np.float32)
    y, alone = np.nextafter(x, np.float32(2.0)), np.full(40, -np.inf)
    expected = (x.astype(np.float64) - y) / np.linalg.norm(x.astype(np.float64) - y, axis=1, keepdims=True)
    for i in range(0, 40, 13):
        beta, out = alone.copy(), np.empty((40, 4))
        beta[i] = 0.0  # one column is left
        cpu.slopes(cpu.cloud(x, y, "euclidean"), 1e-3, np.zeros(40), beta, out, True)
        np.testing.assert_allclose(out[i, :3], expected[i], rtol=0, atol=1e-6)


@pytest.mark.parametrize("metric", METRICS)
def test_entries_in_single_precision_are_rounded_once(metric):
    (x, y), out = points(45, 67, 3), np.empty((45, 67), np.float32)
    cpu.entries(cpu.cloud(x, y, metric), x, out)
    expected = reference_cloud.cloud(x, y, metric).costs()
    np.testing.assert_allclose(out, expected.astype(np.float32), rtol=2e-7, atol=1e-15)


@pytest.mark.parametrize("scale", [1e-12, 1e12, 1e30])
def test_points_of_any_size_are_solved_in_their_unit(scale):
    (x, y), arguments = points(45, 67, 3), sides(45, 67)
    for fast in (False, True):
        near = run(cpu, cpu.cloud(x, y, "sqeuclidean"), 5.0, *arguments, fast=fast)
        far = run(cpu, cpu.cloud(scale * x, scale * y, "sqeuclidean"), 5.0 / scale**2, *arguments, fast=fast)
        assert_same(far, near, 0, 1e-5 if fast else 1e-12)


def test_sides_of_inner_products_may_have_very_different_sizes():
    (x, y), arguments = points(45, 67, 3), sides(45, 67)
    for fast in (False, True):
        found = run(cpu, cpu.cloud(1e-30 * x, 1e30 * y, "dot"), 5.0, *arguments, fast=fast)
        assert_same(found, run(cpu, cpu.cloud(x, y, "dot"), 5.0, *arguments, fast=fast), 0, 1e-5 if fast else 1e-12)


@pytest.mark.parametrize("fast", [False, True])
def test_points_far_from_the_origin_keep_their_digits(fast):
    x, y = (np.round(z, 3) for z in points(45, 67, 3))
    found, expected = (
        run(cpu, cpu.cloud(x + far, y + far, "sqeuclidean"), 5.0, *sides(45, 67), fast=fast) for far in (1e6, 0.0)
    )
    assert_same(found, expected, 0, 1e-5 if fast else 1e-7)  # coordinates near 1e6 round at 1e-10


@pytest.mark.parametrize("d", [1, 2, 8])
@pytest.mark.parametrize("n", [1, 31, 32, 33, 500, 1025])
def test_the_order_of_points_is_a_permutation_with_neighbours_in_blocks(n, d):
    x = np.random.default_rng(0).random((n, d))
    order = point_tree.near_order(x)
    np.testing.assert_array_equal(np.sort(order), np.arange(n))
    if n >= 500:
        size, blocks = 0.0, range(0, n - n % BLOCK_POINTS, BLOCK_POINTS)
        for first in blocks:
            size += np.ptp(x[order[first : first + BLOCK_POINTS]], axis=0).max() / len(blocks)
        # boxes of 1/16 of the points or less, each side halved in turn
        assert size <= 1.2 * (1 / 16) ** (1 / max(d, 2)) or d == 8


def test_equal_points_and_one_point():
    for x, y in ((np.ones((40, 2)), np.ones((50, 2))), (np.zeros((1, 3)), np.zeros((1, 3)))):
        shape = x.shape[0], y.shape[0]
        for fast in (False, True):
            found, expected = both(x, y, "sqeuclidean", 5.0, sides(*shape), fast=fast)
            assert_same(found, expected, 0, 1e-6 if fast else 1e-12)


def test_threads_change_no_more_than_the_order_of_sums(monkeypatch):
    monkeypatch.setattr(cpu, "BRIEF_SERIAL_BELOW", 0)
    results = []
    for threads in (1, 2, 3):
        monkeypatch.setattr(cpu, "available", lambda threads=threads: threads)
        results.append(run(cpu, cpu.cloud(*points(101, 67, 3), "sqeuclidean"), 5.0, *sides(101, 67)))
    for found in results[1:]:
        assert_same(found, results[0], 1e-13, 1e-13)


@pytest.mark.parametrize("target", ["AVX2", pytest.param("SSE2", marks=pytest.mark.slow)])
def test_on_other_targets(target, tmp_path):
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", __file__, "-k", KERNELS]
    settings = {"NUMBA_CPU_NAME": TARGETS[target], "NUMBA_CPU_FEATURES": "", "NUMBA_CACHE_DIR": str(tmp_path)}
    done = subprocess.run(
        command, env=os.environ | settings, cwd=Path(__file__).parents[2], capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 0, done.stdout


COMPILED = """
import numpy as np
from numba import typeof
from elastic_ot.backends.cpu import cloud
from elastic_ot.backends.protocol import Side, Vectors

def only_compiled(name, machine_code):
    kernel = getattr(cloud, name)

    def compile(*arguments):
        kernel.compile(tuple(map(typeof, arguments)))
        machine_code[name] = "".join(kernel.inspect_asm().values())
        return True

    setattr(cloud, name, compile)

code, (x, z) = {}, np.random.default_rng(0).random((2, 40, 3))
for name in ("sweep_blocks", "row_max_blocks", "apply_blocks", "slope_blocks"):
    only_compiled(name, code)
one, side = np.ones(40), Side(*np.ones((3, 40)), 0, 1.0, 0.0)
with np.errstate(all="ignore"):
    points = cloud.cloud(x, z, "sqeuclidean")
    for fast in (False, True):
        cloud._Sweep(points, 1.0, side, fast).run(1.0, cloud.ANY_SUM, np.ones(64), np.ones(64), one)
        assert "zmm" in code["sweep_blocks"] and "vscalef" in code["sweep_blocks"]
        cloud.apply(points, 1.0, one, one, x, np.empty((40, 3)), fast)
        assert "zmm" in code["apply_blocks"] and "vscalef" in code["apply_blocks"]
        cloud.slopes(cloud.cloud(x, z, "euclidean"), 1.0, one, one, np.empty((40, 4)), fast)
        assert "zmm" in code["slope_blocks"] and "vscalef" in code["slope_blocks"]
    cloud.row_max(points, 1.0, one, one)
assert all("zmm" in text for text in code.values()), code.keys()
"""


@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="code for x86-64")
def test_code_for_avx_512_compiles_wherever_it_may_not_run(tmp_path):
    features = "+avx512f,+avx512dq,+avx512vl,+avx512bw,+avx512cd"
    settings = {"NUMBA_CPU_NAME": "skylake-avx512", "NUMBA_CPU_FEATURES": features, "NUMBA_CACHE_DIR": str(tmp_path)}
    command = [sys.executable, "-W", "ignore", "-c", COMPILED]
    done = subprocess.run(command, env=os.environ | settings, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
