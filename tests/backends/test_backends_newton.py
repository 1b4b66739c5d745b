"""Supports and Newton's products: the CPU kernels against the array-API reference, and against dense NumPy."""

import array_api_strict
import numpy as np
import pytest

from elastic_ot.backends import reference
from elastic_ot.backends.cpu import dense as cpu
from elastic_ot.backends.protocol import CONTINUES, LEFT, REACHED, Krylov, Side, Sparse, Support
from helpers.newton_systems import KINDS, begun, gradients, positive_definite, random_sparse
from helpers.supports import INV_EPSILON, all_cells, run_support, support_by, thresholds
from helpers.sweeps import SHAPES, assert_same, problem

BACKENDS = [cpu, reference]
EACH = pytest.mark.parametrize("backend", BACKENDS, ids=["cpu", "reference"])


@pytest.fixture(params=["serial", "threads"])
def threading(request, monkeypatch):
    """Every size on one thread, or on three."""
    if request.param == "threads":
        monkeypatch.setattr(cpu, "BRIEF_SERIAL_BELOW", 1)
        monkeypatch.setattr(cpu, "SPARSE_SERIAL_BELOW", 1)
        monkeypatch.setattr(cpu, "available", lambda: 3)
    return request.param


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("removed", [False, True])
def test_supports_agree(shape, dtype, removed, threading):
    cost, _, _, alpha, beta = problem(shape, dtype=dtype, removed=removed)
    least = thresholds(cost, alpha, beta)
    found, expected = (support_by(backend, cost, alpha, beta, least) for backend in BACKENDS)
    for name in ("pointers", "indices", "cost"):
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name), err_msg=name)
    exponent = alpha[:, None] + beta - cost.astype(float) * INV_EPSILON
    kept = exponent > np.minimum(least[0][:, None], least[1])
    assert 0 < kept.sum() < kept.size or min(shape) == 1
    rows = np.repeat(np.arange(shape[0]), np.diff(found.pointers))
    np.testing.assert_array_equal(np.column_stack([rows, found.indices]), np.argwhere(kept))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_sizes_are_of_the_rows_asked_for(dtype, threading):
    cost, _, _, alpha, beta = problem((401, 503), dtype=dtype, removed=True)
    least, which = thresholds(cost, alpha, beta), np.array([400, 2, 17, 17, 0])
    full, found, expected = np.empty(401, np.int64), np.empty(5, np.int64), np.empty(5, np.int64)
    cpu.support_sizes(cost, INV_EPSILON, alpha, beta, *least, np.arange(401), full)
    cpu.support_sizes(cost, INV_EPSILON, alpha, beta, *least, which, found)
    reference.support_sizes(cost, INV_EPSILON, alpha, beta, *least, which, expected)
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(found, full[which])
    assert full[2] == 0  # a removed row has no cell


@pytest.mark.sampled(2)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("rows", "cols"), [("fixed", "fixed"), ("kl", "l2"), ("tv", "between"), ("fixed", "free")])
def test_support_sweeps_agree(shape, dtype, rows, cols, threading):
    cost, row, col, alpha, beta = problem(shape, rows, cols, dtype=dtype, removed=True)
    support = support_by(reference, cost, alpha, beta, thresholds(cost, alpha, beta, 0.2))
    sound, found, values = run_support(cpu, support, row, col, alpha, beta)
    expected_sound, expected, expected_values = run_support(reference, support, row, col, alpha, beta)
    assert sound is expected_sound is True
    # arguments up to 20 / rounding 2e-16, a few sweeps
    assert_same(found, expected, 1e-12, 1e-12)
    np.testing.assert_allclose(values, expected_values, rtol=1e-11)


@pytest.mark.parametrize("omega", [(1.0, 1.0), (1.3, 0.6), (0.0, 0.0)])
def test_sweeps_on_the_support_of_every_cell_are_log_sweeps(omega, threading):
    cost, row, col, alpha, beta = problem((401, 503), "kl", "tv", removed=True)
    sound, found, values = run_support(cpu, all_cells(cost), row, col, alpha, beta, omega)
    vectors = [alpha.copy(), beta.copy(), np.zeros(401), np.zeros(503), alpha.copy(), np.zeros(503)]
    scratch = cpu.scratch(cost.shape, False)
    cpu.log_sweeps(cost, INV_EPSILON, row, col, (1.0, 0.0), *vectors, scratch, 1)
    cpu.log_sweeps(cost, INV_EPSILON, row, col, omega, *vectors, scratch, 3)
    assert sound
    assert_same(found, vectors, 1e-12, 1e-12)
    plan = np.exp(found[0][:, None] + found[1] - cost * INV_EPSILON)
    # values of removed columns are those that a column without weight has: nothing
    np.testing.assert_allclose(values, plan[np.isfinite(cost)], rtol=1e-11, atol=1e-300)


def test_support_sweeps_hold_where_every_exponential_underflows(threading):
    cost, row, col, alpha, beta = problem((13, 29))
    support = all_cells(cost)
    support.cost[:] *= 1e4  # arguments of 2e5, which round at 1e-11
    sound, found, _ = run_support(cpu, support, row, col, alpha, beta)
    expected_sound, expected, _ = run_support(reference, support, row, col, alpha, beta)
    if sound and expected_sound:
        assert_same(found, expected, 1e-10, 1e-8)
    else:  # sums of columns may vanish: then it is said, and the caller gives the support up
        assert not sound


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("lost", ["row", "column"])
def test_a_support_without_a_row_or_column_in_use_is_refused(backend, lost, threading):
    cost, row, col, alpha, beta = problem((13, 29))
    assert run_support(backend, all_cells(cost), row, col, alpha, beta)[0]
    cost[(4, slice(None)) if lost == "row" else (slice(None), 6)] = np.inf
    assert not run_support(backend, all_cells(cost), row, col, alpha, beta)[0]


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_support_may_lack_rows_and_columns_that_are_removed(backend, threading):
    cost, row, col, alpha, beta = problem((13, 29), removed=True)
    support = all_cells(np.where(np.isneginf(alpha)[:, None] | np.isneginf(beta), np.inf, cost))
    sound, vectors, _ = run_support(backend, support, row, col, alpha, beta)
    assert sound
    for vector, gone in zip(vectors, [alpha, beta, alpha, beta, alpha, beta], strict=True):
        np.testing.assert_array_equal(np.isneginf(vector), np.isneginf(gone))


@EACH
def test_a_support_of_given_cells_is_0_before_the_first_sweep(backend):
    cost = problem((13, 29))[0]
    cells = all_cells(cost)
    support = backend.support_of(*cells[:3], 29)
    for name in ("pointers", "indices", "cost"):
        assert getattr(support, name) is getattr(cells, name)
    assert (support.values == 0.0).all()
    assert support.values.shape == cells.cost.shape
    matrix = backend.sparse_of(*cells[:2], cells.values, 29)
    assert all(x is y for x, y in zip(matrix, (*cells[:2], cells.values), strict=True))


@EACH
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_memory_of_a_cell_is_that_of_the_arrays(backend, dtype):
    cost, _, _, alpha, beta = problem((13, 29), dtype=dtype)
    support = support_by(backend, cost, alpha, beta, thresholds(cost, alpha, beta))
    arrays = *support[1:], *backend.sparse_like(support)[1:]
    assert sum(array.nbytes for array in arrays) == backend.cell_bytes(cost) * support.indices.size


@pytest.mark.parametrize("shape", SHAPES)
def test_sparse_matrices_agree(shape):
    support, dense = random_sparse(shape)
    support = Support(support.pointers, support.indices, support.values, support.values)
    rng = np.random.default_rng(1)
    row_least, col_least, weight = rng.random(shape[0]), rng.random(shape[1]), rng.random(shape[0])
    for backend in BACKENDS:
        out = backend.sparse_like(support)
        backend.sparsify(support, row_least, col_least, out)
        stored = int(out.pointers[-1])
        rows = np.repeat(np.arange(shape[0]), np.diff(out.pointers))
        kept = dense > np.minimum(row_least[:, None], col_least)
        np.testing.assert_array_equal(np.column_stack([rows, out.indices[:stored]]), np.argwhere(kept))
        np.testing.assert_array_equal(out.values[:stored], dense[kept])

        squares, gram = np.empty(shape[1]), np.full((shape[1], shape[1]), np.nan)
        backend.sparse_squares(out, weight, squares)
        backend.sparse_gram(out, weight, gram)
        part = np.where(kept, dense, 0.0)
        # sums of at most 401 positive terms in another order
        np.testing.assert_allclose(gram, part.T @ (weight[:, None] * part), rtol=1e-13, atol=1e-16)
        np.testing.assert_allclose(squares, np.diag(gram), rtol=1e-13, atol=1e-16)


@KINDS
@EACH
@pytest.mark.parametrize("shape", SHAPES)
def test_conjugate_gradients_solve_the_system(shape, backend, kind, threading):
    system = positive_definite(shape)
    diagonal, matrix, rhs = system[4:]
    krylov = begun(rhs, 1.0 / diagonal)
    done, code = gradients(backend, kind, system)(krylov, 1e-12, np.inf, 1000)
    assert code == REACHED
    assert 0 < done <= 1000
    # The diagonal exceeds the row sums of P^T W P by 0.01 at least: the inverse is at most 100 in the largest norm.
    np.testing.assert_allclose(krylov.x, np.linalg.solve(matrix, rhs), rtol=1e-10, atol=1e-9)
    assert np.abs(rhs - matrix @ krylov.x).sum() <= 1e-11
    np.testing.assert_allclose(krylov.residual, rhs - matrix @ krylov.x, atol=1e-12)


@KINDS
@EACH
def test_conjugate_gradients_go_on_where_they_were(backend, kind, threading):
    system = positive_definite((13, 29))
    diagonal, _, rhs = system[4:]
    step = gradients(backend, kind, system)
    at_once, in_parts = begun(rhs, 1.0 / diagonal), begun(rhs, 1.0 / diagonal)
    assert step(at_once, 0.0, np.inf, 6) == (6, CONTINUES)
    assert [step(in_parts, 0.0, np.inf, count) for count in (1, 2, 3)] == [(k, CONTINUES) for k in (1, 2, 3)]
    for found, expected in zip(in_parts, at_once, strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-15)


@KINDS
def test_iterations_of_conjugate_gradients_agree(kind, threading):
    system = positive_definite((401, 503))
    diagonal, _, rhs = system[4:]
    found, expected = begun(rhs, 1.0 / diagonal), begun(rhs, 1.0 / diagonal)
    gradients(cpu, kind, system)(found, 0.0, np.inf, 4)
    gradients(reference, kind, system)(expected, 0.0, np.inf, 4)
    for x, y in zip(found, expected, strict=True):
        np.testing.assert_allclose(x, y, rtol=1e-10, atol=1e-13)


@KINDS
@EACH
def test_conjugate_gradients_stop_at_the_edge_of_the_box(backend, kind, threading):
    system = positive_definite((13, 29))
    diagonal, matrix, rhs = system[4:]
    radius = 0.5 * np.abs(np.linalg.solve(matrix, rhs)).max()
    krylov = begun(rhs, 1.0 / diagonal)
    _, code = gradients(backend, kind, system)(krylov, 1e-12, radius, 1000)
    assert code == LEFT
    assert np.abs(krylov.x).max() == pytest.approx(radius, rel=1e-14)
    # A share of an iterate of conjugate gradients: a direction of ascent.
    assert krylov.x @ rhs > 0.0


@KINDS
@EACH
def test_conjugate_gradients_stop_where_there_is_no_positive_curvature(backend, kind, threading):
    kernel, factor, sparse, weight, diagonal, _, rhs = positive_definite((13, 29))
    system = kernel, factor, sparse, weight, 1e-3 * diagonal
    krylov = begun(np.abs(rhs), 1.0 / diagonal)
    assert gradients(backend, kind, system)(krylov, 1e-12, np.inf, 1000) == (1, LEFT)
    assert (krylov.x == 0.0).all()


@KINDS
@EACH
def test_an_entry_with_preconditioner_0_is_outside_the_system(backend, kind, threading):
    system = positive_definite((13, 29))
    diagonal, matrix, rhs = system[4:]
    inside = np.ones(29, dtype=bool)
    inside[[0, 4, 28]] = False
    krylov = begun(rhs, np.where(inside, 1.0 / diagonal, 0.0))
    _, code = gradients(backend, kind, system)(krylov, 1e-12, np.inf, 1000)
    assert code == REACHED
    assert (krylov.x[~inside] == 0.0).all()
    assert (krylov.residual[~inside] == 0.0).all()
    expected = np.linalg.solve(matrix[np.ix_(inside, inside)], rhs[inside])
    np.testing.assert_allclose(krylov.x[inside], expected, rtol=1e-10, atol=1e-9)


def strict(arrays):
    return [array_api_strict.asarray(array) for array in arrays]


def strict_support(cost, alpha, beta, least):
    """The support built by strict arrays, and its sizes."""
    xp = array_api_strict
    task = xp.asarray(cost), INV_EPSILON, *strict((alpha, beta, *least))
    sizes = xp.zeros(cost.shape[0], dtype=xp.int64)
    reference.support_sizes(*task, xp.arange(cost.shape[0]), sizes)
    pointers = xp.asarray(np.concatenate([[0], np.cumsum(np.asarray(sizes))]))
    return reference.support_cells(*task, pointers)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_reference_builds_supports_on_the_array_api_standard(dtype):
    cost, _, _, alpha, beta = problem((13, 29), dtype=dtype, removed=True)
    least = thresholds(cost, alpha, beta)
    expected = support_by(reference, cost, alpha, beta, least)
    for found, array in zip(strict_support(cost, alpha, beta, least), expected, strict=True):
        np.testing.assert_array_equal(np.asarray(found), array)


def test_the_reference_sweeps_supports_on_the_array_api_standard():
    cost, row, col, alpha, beta = problem((13, 29), "kl", "l2", removed=True)
    least = thresholds(cost, alpha, beta, 0.2)
    sound, expected, values = run_support(
        reference, support_by(reference, cost, alpha, beta, least), row, col, alpha, beta, count=2
    )
    assert sound
    support = strict_support(cost, alpha, beta, least)
    sides = [Side(*strict(s[:3]), *s[3:]) for s in (row, col)]
    vectors = strict([alpha.copy(), beta.copy(), np.zeros(13), np.zeros(29), alpha.copy(), np.zeros(29)])
    for omega, count in (((1.0, 0.0), 1), ((1.0, 1.0), 2)):
        assert reference.support_sweeps(support, INV_EPSILON, *sides, omega, *vectors, count)
    assert_same([np.asarray(v) for v in vectors], expected, 1e-14, 1e-14)
    np.testing.assert_allclose(np.asarray(support.values), values, rtol=1e-13)


def test_the_reference_of_sparse_matrices_runs_on_the_array_api_standard():
    xp = array_api_strict
    matrix, dense = random_sparse((13, 29))
    weight, shares = np.linspace(0.1, 1.0, 13), (np.full(13, 0.3), np.full(29, 0.4))
    pointers, indices, values = strict(matrix)
    support = Support(pointers, indices, values, values)
    out = reference.sparse_like(support)
    reference.sparsify(support, *strict(shares), out)
    part = np.where(dense > 0.3, dense, 0.0)
    assert int(out.pointers[-1]) == np.count_nonzero(part)
    squares, gram = xp.zeros(29, dtype=xp.float64), xp.zeros((29, 29), dtype=xp.float64)
    reference.sparse_squares(out, xp.asarray(weight), squares)
    reference.sparse_gram(out, xp.asarray(weight), gram)
    np.testing.assert_allclose(np.asarray(gram), part.T @ (weight[:, None] * part), rtol=1e-13, atol=1e-16)
    np.testing.assert_allclose(np.asarray(squares), np.diag(np.asarray(gram)), rtol=1e-13, atol=1e-16)


@KINDS
def test_the_reference_of_conjugate_gradients_runs_on_the_array_api_standard(kind):
    kernel, factor, sparse, weight, diagonal, matrix, rhs = positive_definite((13, 29))
    krylov = Krylov(*strict(begun(rhs, 1.0 / diagonal)))
    system = *strict((kernel, factor)), Sparse(*strict(sparse)), *strict((weight, diagonal))
    assert gradients(reference, kind, system)(krylov, 1e-12, np.inf, 1000)[1] == REACHED
    np.testing.assert_allclose(np.asarray(krylov.x), np.linalg.solve(matrix, rhs), rtol=1e-10, atol=1e-9)
