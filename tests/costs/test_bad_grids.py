"""What is wrong with a grid, or with what is given beside it, is said by name, index and value."""

import numpy as np
import pytest

import elastic_ot as eot

INF = [0.0, np.inf]


@pytest.mark.parametrize(
    ("make", "kind", "text"),
    [
        (lambda: eot.Grid([]), ValueError, r"axes_x is empty; it must have one vector or number of points an axis"),
        (lambda: eot.Grid(5), TypeError, r"axes_x is 5; it must be a sequence"),
        (lambda: eot.Grid(np.ones((2, 3))), ValueError, r"axes_x has shape \(2, 3\); it must be a sequence"),
        (lambda: eot.Grid([[]]), ValueError, r"axes_x\[0\] is empty"),
        (lambda: eot.Grid([3, 0]), ValueError, r"axes_x\[1\] is 0; a number of points must be >= 1"),
        (lambda: eot.Grid([3, 2.5]), TypeError, r"axes_x\[1\] is 2.5; it must be a vector or a number of points"),
        (lambda: eot.Grid([3], [[0.0, np.nan]]), ValueError, r"axes_y\[0\]\[1\] is nan; it must be finite"),
        (lambda: eot.Grid([3, INF]), ValueError, r"axes_x\[1\]\[1\] is inf; it must be finite"),
        (lambda: eot.Grid([[1j, 2.0]]), TypeError, r"axes_x\[0\] has dtype complex128; it must hold real numbers"),
        (lambda: eot.Grid([["a", "b"]]), TypeError, r"axes_x\[0\] has dtype <U1"),
        (lambda: eot.Grid([np.ones((2, 2))]), ValueError, r"axes_x\[0\] has shape \(2, 2\); it must be a vector"),
        (lambda: eot.Grid([3, 4], [3]), ValueError, "axes_x has 2 axes and axes_y has 1; they must be as many"),
        (lambda: eot.Grid([3], metric="cosine"), ValueError, "metric is 'cosine'; choose from 'sqeuclidean', 'cityb"),
        (lambda: eot.Grid([3], metric=None), ValueError, "metric is None"),
        (lambda: eot.Grid([[0.0, 1e200]]), ValueError, r"coordinates up to 1e\+200 apart overflow a sqeuclidean cost"),
        (lambda: eot.Grid.from_matrices([]), ValueError, "matrices is empty; it must have one matrix an axis"),
        (lambda: eot.Grid.from_matrices([[1.0]]), ValueError, r"matrices\[0\] has shape \(1,\)"),
        (lambda: eot.Grid.from_matrices([np.ones((2, 0))]), ValueError, r"matrices\[0\] has shape \(2, 0\)"),
        (lambda: eot.Grid.from_matrices([[[1.0]], [INF]]), ValueError, r"matrices\[1\]\[0, 1\] is inf; it must be fin"),
        (lambda: eot.Grid.from_matrices([[[1j]]]), TypeError, r"matrices\[0\] has dtype complex128"),
    ],
)
def test_a_wrong_axis_is_named(make, kind, text):
    with pytest.raises(kind, match=text):
        make()


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"mask": np.ones((12, 12), bool)}, "mask is for a cost matrix; a Grid has none: give points without mass the"),
        ({"a": np.ones((4, 3))}, r"a has shape \(4, 3\); on this Grid it must be \(3, 4\) or \(12,\)"),
        ({"b": np.ones((2, 12))}, r"b has shape \(2, 12\); on this Grid it must be \(3, 4\) or \(12,\)"),
        ({"b": np.ones(11)}, "b has 11 entries, cost has 12 columns"),
        ({"a": -np.ones((3, 4))}, r"a\[0\] is -1.0"),
    ],
)
def test_what_does_not_fit_a_grid_is_named(options, text):
    with pytest.raises(ValueError, match=text):
        eot.solve(eot.Grid((3, 4)), epsilon=0.1, **options)


def test_the_matrices_of_a_grid_cannot_be_written():
    given = np.ones((2, 2))
    grid = eot.Grid.from_matrices([given])
    given[0, 0] = 5.0
    assert grid.matrices[0][0, 0] == 1.0
    with pytest.raises(ValueError, match="read-only"):
        grid.matrices[0][0, 0] = 2.0
