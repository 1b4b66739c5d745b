"""The two elementary functions behind every sweep."""

import numpy as np
import pytest
from numba import njit

from elastic_ot.backends.cpu import dense


@njit
def powers(x, out):
    for i in range(x.size):
        out[i] = dense.exp2(x[i])


@njit
def single_powers(x, out):
    for i in range(x.size):
        out[i] = dense._power_single(x[i])


@njit
def logs(x, out):
    for i in range(x.size):
        out[i] = dense.log(x[i])


def test_exp2_is_accurate_to_two_ulp():
    x = np.random.default_rng(0).uniform(-1020, 1023, 200_001)
    out = np.empty_like(x)
    powers(x, out)
    assert np.max(np.abs(out / np.exp2(x) - 1)) < 4.5e-16


def test_exp2_ends():
    x = np.array([-np.inf, -1e300, -1021.5, 0.0, 1.0, 1e300, np.inf])
    out = np.empty_like(x)
    powers(x, out)
    assert out[:5].tolist() == [0.0, 0.0, 0.0, 1.0, 2.0]
    assert (out[5:] > 1e308).all()


def test_single_exp2_is_accurate_to_two_ulp():
    x = np.random.default_rng(0).uniform(-125, 127, 200_001).astype(np.float32)
    out = np.empty_like(x)
    single_powers(x, out)
    assert np.max(np.abs(out / np.exp2(x.astype(np.float64)) - 1)) < 2.4e-7


@pytest.mark.parametrize(("low", "high"), [(-300, 300), (-1e-3, 1e-3)])
def test_log_is_accurate(low, high):
    x = 10.0 ** np.random.default_rng(0).uniform(low, high, 100_001)
    out = np.empty_like(x)
    logs(x, out)
    # near 1 the logarithm is small and what counts is the absolute error
    assert np.max(np.abs(out - np.log(x)) / np.maximum(np.abs(np.log(x)), 1)) < 5e-16
