"""Supports and Newton's sparse matrices, against the reference and dense NumPy."""

import numpy as np
import pytest

from elastic_ot.backends import gpu, reference
from elastic_ot.backends.gpu.cells import Lines
from elastic_ot.backends.protocol import Sparse
from helpers import gpu_shim
from helpers.newton_systems import begun, gradients, positive_definite, random_sparse
from helpers.supports import all_cells, cells_of, run_support, support_by, thresholds, values_of
from helpers.sweeps import RULES, assert_same, problem

# one row, one column, neither a multiple of 32, rows that fill several warps, more rows than blocks
SHAPES = [(1, 7), (7, 1), (13, 29), (31, 36), (23, 301), (3, 700), (700, 3), (129, 97)]
DTYPES = [np.float16, np.float32, np.float64]


def backend(order=0):
    return gpu.Gpu(gpu_shim.Device(order))


def by_columns(lines, n, m):
    """Cells by rows, in the order of their columns: (pointers, rows, values), by NumPy's stable sort."""
    pointers, indices, values = lines
    stored = pointers[-1]
    order = np.argsort(indices[:stored], kind="stable")
    rows = np.repeat(np.arange(n), np.diff(pointers))[order]
    return np.searchsorted(indices[:stored][order], np.arange(m + 1)), rows, values[:stored][order]


def held(each, lines, stored):
    pointers, others, values = (each.device.get(array) for array in lines)
    assert pointers[-1] == stored
    return pointers, others[:stored], values[:stored]


def assert_ordered(each, cells):
    """A support or matrix of a device has the same cells by rows and by columns."""
    n, m, stored = cells.rows.size, cells.cols.size, int(each.device.get(cells.rows.pointers)[-1])
    expected = by_columns(held(each, cells.rows, stored), n, m)
    for found, wanted in zip(held(each, cells.cols, stored), expected, strict=True):
        np.testing.assert_array_equal(found, wanted)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("removed", [False, True])
def test_supports_agree(shape, dtype, removed):
    cost, _, _, alpha, beta = problem(shape, dtype=dtype, removed=removed)
    least, each = thresholds(cost, alpha, beta), backend()
    found = support_by(each, cost, alpha, beta, least)
    expected = support_by(reference, cost.astype(np.float32) if dtype == np.float16 else cost, alpha, beta, least)
    for x, y in zip(cells_of(each, found), expected[:3], strict=True):
        np.testing.assert_array_equal(x, y)
    assert found.rows.values.dtype == (np.float32 if dtype == np.float16 else dtype)
    assert_ordered(each, found)


@pytest.mark.parametrize("shape", [(13, 29), (129, 97)])
@pytest.mark.parametrize("multiprocessors", [1, 7])
def test_cells_of_any_order_are_put_in_that_of_their_columns(shape, multiprocessors):
    """Those of a row need not be sorted; rows and columns may be empty; parts of the rows are joined."""
    rng, each = np.random.default_rng(2), backend()
    each.device.multiprocessors = multiprocessors
    matrix, dense = random_sparse(shape)
    dense[[0, 5, 12]], dense[:, [2, -1]] = 0.0, 0.0
    cells = [rng.permutation(np.flatnonzero(row)) for row in dense]
    pointers = np.concatenate([[0], np.cumsum([row.size for row in cells])])
    indices = np.concatenate(cells).astype(np.int32)
    rows = np.repeat(np.arange(shape[0]), np.diff(pointers))
    assert_ordered(each, each.sparse_of(pointers, indices, dense[rows, indices], shape[1]))
    assert_ordered(each, each.sparse_of(*matrix, shape[1]))  # with room to spare
    assert_ordered(each, each.sparse_of(np.zeros(4, np.int64), np.zeros(0, np.int32), np.zeros(0), 5))


@pytest.mark.parametrize("rows", RULES)
@pytest.mark.parametrize("cols", ["fixed", "tv", "between", "l2"])
def test_support_sweeps_agree_for_every_penalty(rows, cols):
    assert_sweeps_agree((13, 29), np.float64, rows, cols)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", DTYPES)
def test_support_sweeps_agree_for_every_shape_and_precision(shape, dtype):
    assert_sweeps_agree(shape, dtype, "kl", "l2")


def assert_sweeps_agree(shape, dtype, rows, cols):
    cost, row, col, alpha, beta = problem(shape, rows, cols, dtype=dtype, removed=True)
    support = support_by(reference, cost.astype(np.float64), alpha, beta, thresholds(cost, alpha, beta, 0.2))
    there = support._replace(cost=support.cost.astype(np.float32 if dtype == np.float16 else dtype))
    sound, vectors, values = run_support(backend(), there, row, col, alpha, beta, (1.3, 0.6), 2)
    expected_sound, expected, expected_values = run_support(reference, support, row, col, alpha, beta, (1.3, 0.6), 2)
    assert sound is expected_sound is True
    # arguments up to 20 / rounding 2e-16, a few sweeps
    assert_same(vectors, expected, 1e-12, 1e-12)
    np.testing.assert_allclose(values, expected_values, rtol=1e-11)


@pytest.mark.parametrize("count", [1, 3, 7])
def test_an_iteration_that_changes_nothing_gives_the_plan_s_values(count):
    """However many: the solvers read the plan so."""
    cost, row, col, alpha, beta = problem((31, 36), "kl", "l2", removed=True)
    each, zeros = backend(), (np.zeros(31), np.zeros(36), np.zeros(31), np.zeros(36))
    support = each.support_of(*all_cells(cost)[:3], 36)
    assert (values_of(each, support, 31, 36) == 0.0).all()
    assert each.support_sweeps(support, 20.0, row, col, (0.0, 0.0), alpha, beta, *zeros, count)
    plan = np.exp(alpha[:, None] + beta - 20.0 * cost)
    np.testing.assert_allclose(values_of(each, support, 31, 36), plan[np.isfinite(cost)], rtol=1e-13)
    for log, sums in ((zeros[0], plan.sum(axis=1)), (zeros[1], plan.sum(axis=0))):
        np.testing.assert_allclose(np.exp(log), sums, rtol=1e-13)


@pytest.mark.parametrize("rows", RULES)
def test_rows_far_from_balance_are_summed_relative_to_their_largest_entry(rows):
    cost, row, col, alpha, beta = problem((31, 36), rows, "kl")
    alpha[[3, 4, 11, 30]] -= [900.0, 800.0, 700.0, 2000.0]
    alpha[5] += 900.0
    cells = all_cells(cost)
    found, expected = (run_support(each, cells, row, col, alpha, beta, count=2) for each in (backend(), reference))
    assert found[0] is expected[0]
    if found[0]:
        assert_same(found[1], expected[1], 1e-11, 1e-9)  # arguments of 2000 round at 5e-13


@pytest.mark.parametrize("count", [1, 2, 9])
@pytest.mark.parametrize("lost", ["row", "column"])
def test_a_support_without_a_row_or_column_in_use_is_refused(lost, count):
    cost, row, col, alpha, beta = problem((13, 29))
    vectors = [alpha, beta, np.zeros(13), col.log_weight, alpha.copy(), np.zeros(29)]
    for each in (backend(), reference):
        cells, now = all_cells(cost), [x.copy() for x in vectors]
        assert each.support_sweeps(each.support_of(*cells[:3], 29), 20.0, row, col, (1.0, 1.0), *now, count)
    cost[(4, slice(None)) if lost == "row" else (slice(None), 6)] = np.inf
    each, now = backend(), [x.copy() for x in vectors]
    support = each.support_of(*all_cells(cost)[:3], 29)
    assert not each.support_sweeps(support, 20.0, row, col, (1.0, 1.0), *now, count)
    assert_same(now, vectors, 0, 0)


def test_a_column_whose_sum_cannot_be_trusted_ends_the_block():
    """The first of five iterations: that later ones might be sound must not hide it."""
    cost, row, col, alpha, beta = problem((13, 29), "kl", "kl")
    cost[:, 7] += 60.0  # a sum of e^-1200
    zeros, each = (np.zeros(13), col.log_weight.copy(), np.zeros(13), np.zeros(29)), backend()
    support = each.support_of(*all_cells(cost)[:3], 29)
    assert not each.support_sweeps(support, 20.0, row, col, (1.0, 1.0), alpha, beta, *zeros, 5)


def test_a_support_may_lack_rows_and_columns_that_are_removed():
    cost, row, col, alpha, beta = problem((13, 29), removed=True)
    cells = all_cells(np.where(np.isneginf(alpha)[:, None] | np.isneginf(beta), np.inf, cost))
    found, expected = (run_support(each, cells, row, col, alpha, beta) for each in (backend(), reference))
    assert found[0] is expected[0] is True
    assert_same(found[1], expected[1], 1e-12, 1e-12)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", DTYPES[1:])
def test_selected_entries_agree(shape, dtype):
    """With rows and columns that keep nothing among them."""
    rng, each = np.random.default_rng(1), backend()
    cost, row, col, alpha, beta = problem(shape, dtype=dtype, removed=True)
    plan = np.exp(alpha[:, None] + beta - 20.0 * cost.astype(float))
    row_least, col_least = (
        rng.uniform(0.2, 2.0, k) * plan.max(axis=axis) for k, axis in zip(shape, (1, 0), strict=True)
    )
    col_least[-1] = plan.max() if shape[1] > 1 else col_least[-1]
    support = each.support_of(*all_cells(cost)[:3], shape[1])
    zeros = [np.zeros(k) for k in (*shape, *shape)]
    assert each.support_sweeps(support, 20.0, row, col, (0.0, 0.0), alpha, beta, *zeros, 1)
    out = each.sparse_like(support)
    for share in (1.0, 0.3):  # the second time into the same arrays
        least = share * row_least, share * col_least
        each.sparsify(support, *least, out)
        kept = plan > np.minimum(least[0][:, None], least[1])
        assert 0 < kept.sum()
        pointers, indices, values = held(each, out.rows, kept.sum())
        rows = np.repeat(np.arange(shape[0]), np.diff(pointers))
        np.testing.assert_array_equal(np.column_stack([rows, indices]), np.argwhere(kept))
        np.testing.assert_allclose(values, plan[kept], rtol=1e-13)
        assert_ordered(each, out)


@pytest.mark.parametrize("shape", SHAPES)
def test_squares_and_gram_matrices_agree(shape):
    matrix, dense = random_sparse(shape)
    dense = dense[:]
    weight, each = np.random.default_rng(1).random(shape[0]), backend()
    there, m = each.sparse_of(*matrix, shape[1]), shape[1]
    squares, gram, straight = np.empty(m), np.full((m, m), np.nan), each.device.empty((m, m), np.float64)
    each.sparse_squares(there, weight, squares)
    each.sparse_gram(there, weight, gram)
    each.sparse_gram(there, weight, straight)
    expected = dense.T @ (weight[:, None] * dense)
    # sums of at most 700 positive terms in another order
    np.testing.assert_allclose(gram, expected, rtol=1e-13, atol=1e-16)
    np.testing.assert_allclose(squares, np.diag(expected), rtol=1e-13, atol=1e-16)
    np.testing.assert_array_equal(each.device.get(straight), gram)


@pytest.mark.parametrize("shape", SHAPES)
def test_conjugate_gradients_agree(shape):
    """With entries outside of the system, from one count to the next."""
    system = positive_definite(shape)
    diagonal, _, rhs = system[4:]
    inside = np.arange(shape[1]) % 7 != 3
    found, expected = (begun(rhs, np.where(inside, 1.0 / diagonal, 0.0)) for _ in range(2))
    for count in (1, 4):
        outcomes = [
            gradients(each, "sparse", system)(krylov, 1e-9, np.inf, count)
            for each, krylov in ((backend(), found), (reference, expected))
        ]
        assert outcomes[0] == outcomes[1]
        for x, y in zip(found, expected, strict=True):
            np.testing.assert_allclose(x, y, rtol=1e-9, atol=1e-12)
        if outcomes[0][1]:
            break


def test_rows_and_columns_without_cells_are_zeros():
    """In products, squares and the Gram matrix."""
    dense = np.zeros((5, 7))
    dense[1, [0, 4]], dense[3, 4] = (2.0, 3.0), 5.0
    rows, cells = np.nonzero(dense)
    pointers = np.concatenate([[0], np.cumsum(np.bincount(rows, minlength=5))])
    each, weight, diagonal = backend(), np.full(5, 0.01), np.full(7, 2.0)
    matrix = each.sparse_of(pointers, cells.astype(np.int32), dense[rows, cells], 7)
    exact = np.diag(diagonal) - dense.T @ (weight[:, None] * dense)
    krylov = begun(np.arange(1.0, 8.0), 1.0 / diagonal)
    each.sparse_gradients(matrix, weight, diagonal, krylov, 1e-13, np.inf, 20)
    np.testing.assert_allclose(krylov.x, np.linalg.solve(exact, np.arange(1.0, 8.0)), rtol=1e-12)
    gram = np.full((7, 7), np.nan)
    each.sparse_gram(matrix, weight, gram)
    np.testing.assert_allclose(gram, np.diag(diagonal) - exact, atol=1e-15)


def everything(each):
    """All that is done with cells, by rows of several warps."""
    cost, row, col, alpha, beta = problem((67, 901), "kl", "l2", dtype=np.float32, removed=True)
    support = support_by(each, cost, alpha, beta, thresholds(cost, alpha, beta, 0.3))
    vectors = [alpha.copy(), beta.copy(), np.zeros(67), col.log_weight.copy(), alpha.copy(), np.zeros(901)]
    sound = each.support_sweeps(support, 20.0, row, col, (1.2, 0.9), *vectors, 4)
    matrix = each.sparse_like(support)
    mean = 0.5 / 67 / 901
    each.sparsify(support, np.full(67, mean), np.full(901, mean), matrix)
    squares, gram, weight = np.empty(901), np.empty((901, 901)), 1.0 / (np.arange(67) + 5.0)
    each.sparse_squares(matrix, weight, squares)
    each.sparse_gram(matrix, weight, gram)
    krylov = begun(np.cos(np.arange(901.0)), np.ones(901))
    each.sparse_gradients(matrix, weight, 1.0 + squares, krylov, 0.0, np.inf, 5)
    stored = int(each.device.get(matrix.pointers)[-1])
    assert 0 < stored < matrix.rows.values.size
    lines = held(each, matrix.rows, stored), held(each, matrix.cols, stored)
    return [np.array(sound), *vectors, squares, gram, *krylov, *lines[0], *lines[1]]


def test_lines_of_a_matrix_say_how_many_cells_they_have():
    lines = Lines(np.zeros(5, np.int64), np.zeros(22, np.int32), np.zeros(22))
    assert (lines.size, lines.mean) == (4, 5)


@pytest.mark.parametrize("dtype", DTYPES)
def test_memory_of_a_cell_is_that_of_the_arrays(dtype):
    each = backend()
    cost, _, _, alpha, beta = problem((13, 29), dtype=dtype)
    support = support_by(each, cost, alpha, beta, thresholds(cost, alpha, beta))
    matrix = each.sparse_like(support)
    arrays = [array for lines in (support.rows, support.cols, matrix.rows, matrix.cols) for array in lines[1:]]
    assert sum(array.nbytes for array in arrays) == each.cell_bytes(cost) * support.rows.others.size


def test_arrays_of_the_device_are_read_where_they_lie():
    each = backend()
    matrix = Sparse(*(each.device.put(array) for array in random_sparse((13, 29))[0]))
    there = each.sparse_of(*matrix, 29)
    assert all(x is y for x, y in zip(there.rows, matrix, strict=True))
