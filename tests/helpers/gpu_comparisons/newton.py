"""Conjugate gradients on Newton's systems, against the reference and dense NumPy."""

import numpy as np
import pytest

from elastic_ot.backends import reference
from elastic_ot.backends.protocol import LEFT, REACHED
from helpers.gpu_comparisons.builds import SHAPES
from helpers.newton_systems import KINDS, begun, gradients, positive_definite


@pytest.mark.sampled(2)
@KINDS
@pytest.mark.parametrize("shape", SHAPES)
def test_conjugate_gradients_solve_the_system(shim, shape, kind):
    system = positive_definite(shape)
    diagonal, matrix, rhs = system[4:]
    krylov = begun(rhs, 1.0 / diagonal)
    done, code = gradients(shim, kind, system)(krylov, 1e-12, np.inf, 300)
    assert code == REACHED
    assert 0 < done <= 300
    # The diagonal exceeds the row sums of P^T W P by 0.01 at least: the inverse is at most 100 in the largest norm.
    np.testing.assert_allclose(krylov.x, np.linalg.solve(matrix, rhs), rtol=1e-10, atol=1e-9)
    np.testing.assert_allclose(krylov.residual, rhs - matrix @ krylov.x, atol=1e-12)


@KINDS
def test_iterations_of_conjugate_gradients_agree(shim, kind):
    system = positive_definite((23, 301))
    diagonal, _, rhs = system[4:]
    outside = np.arange(301) % 7 == 0
    found, expected = (begun(rhs, np.where(outside, 0.0, 1.0 / diagonal)) for _ in range(2))
    assert gradients(shim, kind, system)(found, 0.0, np.inf, 4) == (4, 0)
    gradients(reference, kind, system)(expected, 0.0, np.inf, 4)
    for x, y in zip(found, expected, strict=True):
        np.testing.assert_allclose(x, y, rtol=1e-10, atol=1e-13)


@KINDS
def test_conjugate_gradients_stop_at_the_edge_of_the_box_and_without_curvature(shim, kind):
    kernel, factor, sparse, weight, diagonal, matrix, rhs = positive_definite((13, 29))
    radius = 0.5 * np.abs(np.linalg.solve(matrix, rhs)).max()
    found, expected = begun(rhs, 1.0 / diagonal), begun(rhs, 1.0 / diagonal)
    system = kernel, factor, sparse, weight, diagonal
    outcomes = [
        gradients(each, kind, system)(krylov, 1e-12, radius, 50)
        for each, krylov in ((shim, found), (reference, expected))
    ]
    assert outcomes[0] == outcomes[1]
    assert outcomes[0][1] == LEFT
    np.testing.assert_allclose(found.x, expected.x, rtol=1e-9)
    krylov = begun(np.abs(rhs), 1.0 / diagonal)
    assert gradients(shim, kind, (kernel, factor, sparse, weight, 1e-3 * diagonal))(krylov, 1e-12, np.inf, 9) == (
        1,
        LEFT,
    )
    assert (krylov.x == 0.0).all()
