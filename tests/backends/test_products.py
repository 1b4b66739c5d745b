"""Products of matrices on the threads of the package."""

import numpy as np
import pytest

import elastic_ot as eot
from elastic_ot.backends.cpu import products


@pytest.mark.parametrize(
    ("n", "m", "stack", "k"), [(1, 1, 1, 1), (5, 7, 2, 3), (64, 300, 1, 64), (9, 5, 4, 50), (500, 3, 1, 2)]
)
@pytest.mark.parametrize("threads", [1, 2])
def test_they_are_those_of_numpy(monkeypatch, n, m, stack, k, threads):
    monkeypatch.setattr(products, "BRIEF_SERIAL_BELOW", 0)
    monkeypatch.setattr(products, "available", lambda: threads)
    rng = np.random.default_rng(0)
    a, b, out = rng.standard_normal((n, m)), rng.standard_normal((stack, m, k)), np.full((stack, n, k), np.nan)
    products.multiply(a, b, out)
    np.testing.assert_allclose(out, a @ b, atol=1e-15 * m * 10)


def test_the_number_of_threads_does_not_show():
    rng = np.random.default_rng(1)
    a, b = rng.random((70, 90)), rng.random((1, 90, 110))
    found = []
    for threads in (1, eot.get_num_threads()):
        found.append(np.empty((1, 70, 110)))
        eot.set_num_threads(threads)
        products.multiply(a, b, found[-1])
    np.testing.assert_array_equal(*found)
