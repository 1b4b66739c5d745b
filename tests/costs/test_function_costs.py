"""A cost that is a function of some rows and some columns gives what its matrix gives."""

import numpy as np
import pytest
from scipy.spatial.distance import cdist
from scipy.special import softmax

import elastic_ot as eot
from helpers.user_costs import edits, words

RNG = np.random.default_rng(41)
X, Y = RNG.random((30, 2)), RNG.random((25, 2))


def minkowski(x, y):
    return cdist(x, y, "minkowski", p=3)


def spellings(x, y):
    return [[edits(v, w) for w in y] for v in x]


def test_a_function_of_points_is_solved_as_its_matrix():
    found, expected = (eot.solve(c, epsilon=0.1) for c in (eot.FunctionCost(minkowski, X, Y), minkowski(X, Y)))
    np.testing.assert_allclose(found.plan, expected.plan, atol=1e-7)  # within tol of the marginals, each


def test_lists_of_words_and_ranges_of_indices_have_slices():
    x, y = words(12, 0), words(10, 1)
    matrix = np.array(spellings(x, y), float)
    by_index = eot.FunctionCost(lambda i, j: matrix[np.ix_(i, j)], range(12), range(10))
    for cost in (eot.FunctionCost(spellings, x, y), by_index):
        assert eot.exact(cost).value == pytest.approx(eot.exact(matrix).value, rel=1e-12)
        assert cost.at(np.array([3, 3, 7]), np.array([9, 2, 0])).tolist() == matrix[[3, 3, 7], [9, 2, 0]].tolist()


def test_many_entries_are_computed_in_strips_and_in_the_dtype_asked_for():
    sizes = []

    def apart(x, y):
        sizes.append(len(x) * len(y))
        return np.abs(x[:, None] - y)

    x, y = RNG.random(45), RNG.random(30)
    found = eot.solve(eot.FunctionCost(apart, x, y, dtype=np.float32), epsilon=0.1, tol=1e-3)
    assert found.converged
    assert found.gap < 1e-3
    assert max(sizes) <= 150  # as many as `strips` of this folder have
    expected = eot.solve(np.abs(x[:, None] - y), epsilon=0.1, tol=1e-3)
    assert found.value == pytest.approx(expected.value, abs=1e-3)


def test_without_y_and_in_a_divergence_both_sides_are_the_same_kind():
    cost = eot.FunctionCost(minkowski, X, Y)
    found = eot.divergence(cost, epsilon=0.1)
    expected = eot.divergence(minkowski(X, Y), minkowski(X, X), minkowski(Y, Y), epsilon=0.1)
    assert found.value == pytest.approx(expected.value, abs=1e-6)
    assert eot.FunctionCost(minkowski, X).shape == (30, 30)


def test_new_rows_and_columns_are_mapped():
    new = RNG.random((7, 2))
    sol = eot.solve(eot.FunctionCost(minkowski, X, Y), epsilon=0.05)
    np.testing.assert_allclose(sol.map_new(new), softmax((sol.g - minkowski(new, Y)) / 0.05, axis=1) @ Y, atol=1e-12)
    back = softmax((sol.f - minkowski(new, X)) / 0.05, axis=1)
    np.testing.assert_allclose(sol.map_new(new, axis=0), back @ X, atol=1e-12)
    x, y = words(12, 0), words(10, 1)
    spelt = eot.solve(eot.FunctionCost(spellings, x, y), epsilon=0.5)
    shares = softmax((spelt.g - np.array(spellings(["abc"], y))) / 0.5, axis=1)
    np.testing.assert_allclose(spelt.map_new(["abc"], np.arange(10)), shares @ np.arange(10), atol=1e-12)
    with pytest.raises(TypeError, match="values has dtype <U"):
        spelt.map_new(["abc"])


def test_tensors_come_to_a_function_as_tensors():
    torch = pytest.importorskip("torch")
    cost = eot.FunctionCost(torch.cdist, torch.from_numpy(X), torch.from_numpy(Y))
    np.testing.assert_allclose(eot.solve(cost, epsilon=0.1).plan, eot.solve(cdist(X, Y), epsilon=0.1).plan, atol=1e-7)


def test_refusals_name_what_is_wrong():
    with pytest.raises(TypeError, match="function is 3"):
        eot.FunctionCost(3, X, Y)
    with pytest.raises(TypeError, match="x is 3; it must be an array or a sequence"):
        eot.FunctionCost(minkowski, 3)
    with pytest.raises(ValueError, match=r"FunctionCost.shape is \(30, 0\)"):
        eot.solve(eot.FunctionCost(minkowski, X, []), epsilon=0.1)
    with pytest.raises(ValueError, match=r"function returned shape \((\d+),\) for \1 rows and 25 columns"):
        eot.solve(eot.FunctionCost(lambda x, y: x[:, 0], X, Y), epsilon=0.1)
    with pytest.raises(ValueError, match="function returned dtype complex128"):
        eot.solve(eot.FunctionCost(lambda x, y: 1j * minkowski(x, y), X, Y), epsilon=0.1)
    with pytest.raises(ValueError, match="raised ZeroDivisionError"):
        eot.solve(eot.FunctionCost(lambda x, y: 1 / 0, X, Y), epsilon=0.1)
    with pytest.raises(TypeError, match=r"metric is <function minkowski.*FunctionCost"):
        eot.PointCloud(X, Y, minkowski)
