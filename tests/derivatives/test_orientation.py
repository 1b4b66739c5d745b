"""A cost stored by columns has the derivatives of the same cost stored by rows."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import elastic_ot as eot

rng = np.random.default_rng(7)
N, M = 6, 9
COST = rng.random((N, M))
COST[rng.random((N, M)) < 0.1] = np.inf
A, B = rng.random(N), rng.random(M)
A[2] = B[5] = 0.0  # rows and columns that no plan uses
A, B = A / A.sum(), B / B.sum()
BARS = {"plan": rng.standard_normal((N, M)), "f": rng.standard_normal(N), "g": rng.standard_normal(M)}
STEP = {"cost": rng.standard_normal((N, M)), "a": rng.standard_normal(N), "b": rng.standard_normal(M), "epsilon": 0.3}
INIT = 0.1 * rng.standard_normal(N), 0.1 * rng.standard_normal(M)
BUDGET = {"tol": 0, "max_iter": 4}
# Rounding of sums in another order, or what `tol` leaves open, times 1 / epsilon and a condition number, which are at
# most 1e3 and some hundreds; one side taken for the other changes the first digit.
BOUND = 1e-8

CASES: dict[str, dict[str, Any]] = {
    "optimum": {"tol": 1e-12},
    "cols last": BUDGET | {"end": "cols"},
    "rows last": BUDGET | {"end": "rows"},
    "from potentials": BUDGET | {"init": INIT},
    "counting": BUDGET | {"reference": "counting"},
    "underflow": BUDGET | {"epsilon": 1e-3},
}


def both_ways(**options: Any) -> tuple[eot.Solution, eot.Solution]:
    how = {"rows": eot.KL(2.0), "cols": eot.TV(0.7), "epsilon": 0.1, "method": "log"} | options
    by_rows, by_cols = (eot.solve(cost, A, B, **how) for cost in (COST, np.asfortranarray(COST)))
    assert by_cols.found.problem.cost.fortran
    return by_rows, by_cols


def assert_same(one: Any, other: Any) -> None:
    for name, expected in vars(one).items():
        if expected is None:  # of points
            continue
        scale = max(1.0, float(np.abs(expected).max()))
        np.testing.assert_allclose(getattr(other, name), expected, rtol=0, atol=BOUND * scale, err_msg=name)


@pytest.mark.parametrize("case", CASES)
def test_vjp(case: str) -> None:
    one, other = both_ways(**CASES[case])
    assert_same(one.vjp(**BARS), other.vjp(**BARS))


@pytest.mark.parametrize("case", CASES)
def test_jvp(case: str) -> None:
    one, other = both_ways(**CASES[case])
    step = STEP | {"rows": 0.2, "cols": -0.4}
    assert_same(one.jvp(**step), other.jvp(**step))


def test_gradients_and_hvp() -> None:
    one, other = both_ways(tol=1e-12)
    assert_same(one.gradients(), other.gradients())
    assert_same(one.hvp(**STEP), other.hvp(**STEP))
