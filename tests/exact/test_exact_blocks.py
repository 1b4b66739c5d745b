"""Masks that keep parts apart, whose masses agree but for the rounding of sums: there is a plan; else there is none."""

import numpy as np
import pytest
from scipy.linalg import block_diag

import elastic_ot as eot

ROUNDING = {np.float64: 2.0**-53, np.float32: 2.0**-24}


def blocks(rng, dtype):
    """Normalised parts of a problem, their shares over decades, and all of it with the rest forbidden."""
    shares = rng.random(rng.integers(2, 6)) * 10.0 ** -rng.integers(0, 7, 1)
    parts = []
    for share in np.append(shares, 1.0) / (1.0 + shares.sum()):
        cost, weights = rng.random(rng.integers(1, 9, 2)).astype(dtype), (rng.random(9), rng.random(9))
        a, b = ((share * x[:k] / x[:k].sum()).astype(dtype) for x, k in zip(weights, cost.shape, strict=True))
        parts.append((cost, a, b))
    costs, a, b = zip(*parts, strict=True)
    allowed = block_diag(*(np.ones(cost.shape) for cost in costs)) > 0
    whole = np.where(allowed, block_diag(*costs), np.inf).astype(dtype)
    return parts, (whole, np.concatenate(a), np.concatenate(b))


@pytest.mark.parametrize("dtype", ROUNDING)
@pytest.mark.parametrize("seed", range(12))
def test_parts_that_are_each_balanced_are_solved_together(seed, dtype):
    parts, whole = blocks(np.random.default_rng(seed), dtype)
    found = eot.exact(*whole)
    assert found.status is eot.Status.OPTIMAL
    alone = sum(eot.exact(*part).value for part in parts)
    lines = sum(whole[0].shape) + 4
    missed = 2.0 * lines * ROUNDING[dtype] * whole[1].sum(dtype=float)  # what both sides may leave, and costs are <= 1
    assert abs(found.value - alone) <= missed
    for marginal, weights in ((found.row_marginal, whole[1]), (found.col_marginal, whole[2])):
        assert np.abs(marginal - weights).sum() <= missed


@pytest.mark.parametrize("rows", [eot.Fixed(), eot.Between(1.0, 1.0)])
@pytest.mark.parametrize("seed", range(6))
def test_rows_that_fill_their_columns_to_the_last_bit(seed, rows):
    """Row i may use columns 0 to i, all of which rows 0 to i fill: only the diagonal is left."""
    rng = np.random.default_rng(seed)
    n = int(rng.integers(2, 40))
    cost, a = rng.random((n, n)), rng.random(n)
    b = a * (1.0 + rng.integers(-1, 2, n) * 2.0**-52)
    found = eot.exact(cost, a / a.sum(), b / b.sum(), rows=rows, mask=np.tri(n, dtype=bool))
    assert found.value == pytest.approx(a @ cost.diagonal() / a.sum(), rel=1e-12)


@pytest.mark.parametrize("dtype", ROUNDING)
@pytest.mark.parametrize("seed", range(4))
def test_more_than_rounding_is_refused(seed, dtype):
    parts, (cost, a, b) = blocks(np.random.default_rng(seed), dtype)
    m = parts[0][0].shape[1]
    lines = sum(cost.shape) + 4
    b = b.astype(float)
    b[:m] *= 1.0 + 8.0 * lines * ROUNDING[dtype] / b[:m].sum()  # too many for rows that may use no others
    b *= a.sum(dtype=float) / b.sum()
    with pytest.raises(eot.InfeasibleError, match="have allowed cells in"):
        eot.exact(cost, a, b)
