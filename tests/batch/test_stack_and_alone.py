"""A problem in a stack has the answer that it has alone: the same status, plan, dual value and gap."""

import itertools

import numpy as np
import pytest

import elastic_ot as eot
from elastic_ot.solvers.acceleration import best_shift, translation

EPSILON = 0.3
STRENGTHS = (1e-6, 1e-3, 1.0, 1e3)  # over epsilon: from hardly any condition to a firm one
TOL = 1e-8


def penalties(ratio):
    rho = ratio * EPSILON
    return {
        "Fixed": eot.Fixed(),
        "KL": eot.KL(rho),
        "TV": eot.TV(rho),
        "L2": eot.L2(rho),
        "Between": eot.Between(0.5, 1.5),
        "AtMost": eot.AtMost(),
        "Free": eot.Free(),
        "Elastic": eot.Elastic(ratio / (1 + ratio)),
    }


PAIRS = list(itertools.product(penalties(1.0), repeat=2))


def stack(rows, cols, seed, masked, lengths):
    """Three problems 7 x 9, with weights that a hard side can meet."""
    rng = np.random.default_rng(seed)
    cost = rng.random((3, 7, 9))
    a, b = 0.5 + rng.random((3, 7)), 0.5 + rng.random((3, 9))
    counts = (np.array([7, 5, 6]), np.array([9, 9, 4])) if lengths else (np.full(3, 7), np.full(3, 9))
    for weights, count in ((a, counts[0]), (b, counts[1])):
        for k in range(3):
            weights[k, count[k] :] = 0.0
            weights[k] /= weights[k].sum()
    if rows == "AtMost":
        a *= 1.5
    if cols == "AtMost":
        b *= 1.5
    mask = None
    if masked:
        mask = np.ones(cost.shape, bool)  # so few are forbidden that weights as even as these always have a plan
        mask[0, 1, 1] = mask[0, 2, 3] = mask[1, 0, 0] = False
    return cost, a, b, mask, counts


def check(rows, cols, ratio, method, reference, masked, lengths):
    seed = sum(map(ord, rows + 2 * cols + method + reference)) + int(1e6 * ratio)
    cost, a, b, mask, counts = stack(rows, cols, seed, masked, lengths)
    sides = {"rows": penalties(ratio)[rows], "cols": penalties(ratio)[cols]}
    how = {"epsilon": EPSILON, "reference": reference, "method": method, "tol": TOL, "on_failure": "ignore", **sides}
    given = {"row_lengths": counts[0], "col_lengths": counts[1]} if lengths else {}
    together = eot.solve(cost, a, b, mask=mask, **how, **given)
    for k in range(3):
        n, m = counts[0][k], counts[1][k]
        alone = eot.solve(cost[k, :n, :m], a[k, :n], b[k, :m], mask=None if mask is None else mask[k, :n, :m], **how)
        scale = abs(alone.dual_value) + EPSILON * alone.row_marginal.sum()
        assert together.status[k] is alone.status is eot.Status.CONVERGED
        # both dual values are within their gap of the optimum, and no tolerance is smaller than rounding
        bound = together.gap[k] + alone.gap + 1e-12 * scale
        assert abs(together.dual_value[k] - alone.dual_value) <= bound
        # epsilon KL(P | optimum) <= gap, and by Pinsker's inequality so much in L1
        mass = max(alone.row_marginal.sum(), together.plan[k].sum())
        apart = sum(np.sqrt(4.0 * mass * gap / EPSILON) + gap / EPSILON for gap in (together.gap[k], alone.gap))
        assert np.abs(together.plan[k, :n, :m] - alone.plan).sum() <= apart + 1e-7 * mass


@pytest.mark.parametrize("method", ["auto", "log"])
@pytest.mark.parametrize("ratio", STRENGTHS)
def test_every_pair_of_penalties(ratio, method):
    for i, (rows, cols) in enumerate(PAIRS):
        check(rows, cols, ratio, method, ("product", "counting")[i % 2], masked=i % 3 == 0, lengths=i % 4 == 0)


@pytest.mark.slow
@pytest.mark.parametrize("method", ["auto", "log", "scaling", "stabilized", "epsilon_scaling", "newton"])
@pytest.mark.parametrize("ratio", STRENGTHS)
def test_every_combination(ratio, method):
    for i, ((rows, cols), masked) in enumerate(itertools.product(PAIRS, (False, True))):
        for lengths in (False, True):
            check(rows, cols, ratio, method, ("product", "counting")[(i // 2 + lengths) % 2], masked, lengths)


@pytest.mark.parametrize("names", [("TV", "Between"), ("AtMost", "KL"), ("L2", "TV"), ("Fixed", "TV")])
def test_translations_of_many_are_those_of_each(names):
    rng = np.random.default_rng(3)
    rows, cols = (penalties(1.0)[name] for name in names)
    f, g = 0.2 * rng.standard_normal((5, 7)), 0.2 * rng.standard_normal((5, 9))
    if names[1] == "TV":
        g = np.clip(g, -EPSILON, EPSILON)
    a, b = rng.dirichlet(np.ones(7), 5), 1.1 * rng.dirichlet(np.ones(9), 5)
    negligible, width = np.full(5, 1e-9), np.full(5, EPSILON)
    found = best_shift((rows, f, a, None), (cols, g, b, np.ones((5, 9), bool)), negligible, width)
    for k in range(5):
        problem = eot.solve(
            np.zeros((7, 9)), a[k], b[k] / b[k].sum() if names[0] == "Fixed" == names[1] else b[k],
            epsilon=EPSILON, rows=rows, cols=cols, max_iter=1, on_failure="ignore",
        ).problem  # fmt: skip
        # both searches end where the imbalance is below 1e-9 of the mass
        assert found[k] == pytest.approx(translation(problem, f[k], g[k], 1e-9), rel=1e-9, abs=1e-12)
