"""What proves an unregularised plan optimal, computed again from its potentials."""

import itertools
from dataclasses import dataclass

import numpy as np
import pytest

import elastic_ot as eot
from helpers.assignments import TIGHT
from helpers.oracle import Case, make, random_case, spec_id

LINEAR = [("Fixed",), ("TV", 0.3), ("Between", 0.6, 1.4), ("AtMost",), ("Free",)]
PAIRS = list(itertools.product(LINEAR, LINEAR))


def solved(case, cost=None):
    """The case's unregularised optimum; its epsilon and its reference mean nothing."""
    cost = case.cost.astype(case.dtype) if cost is None else cost
    return eot.exact(cost, case.a, case.b, rows=make(case.rows), cols=make(case.cols), mask=case.mask)


@dataclass(frozen=True)
class Rounding:
    """What potentials and marginals may be off by."""

    case: Case
    sol: eot.ExactSolution

    @property
    def cost(self):
        potentials = np.concatenate([self.sol.f, self.sol.g])
        numbers = np.abs(np.concatenate([potentials[np.isfinite(potentials)], self.case.cost[self.case.allowed]]))
        return TIGHT * numbers.max(initial=0.0)

    @property
    def mass(self):
        """Masses are multiples of 2**-58 of a number below 8 times the mass, and sums of n + m of them round."""
        return 2.0**-53 * sum(self.case.cost.shape) * (self.case.a.sum() + self.case.b.sum())

    @property
    def value(self):
        """Every unit of mass may be dearer by the one, and all potentials wrong about the mass by the other."""
        size = self.cost / TIGHT + sum(spec[1] for spec, _, _ in self.case.sides if spec[0] == "TV")
        return 3.0 * self.cost * (self.case.a.sum() + self.case.b.sum()) + 3.0 * self.mass * size


def assert_proved(case, sol):
    """Feasible potentials, tight where the plan is positive, and marginals that the penalties want at them."""
    rounding, cells, plan = Rounding(case, sol), case.allowed, sol.plan
    used = cells.any(axis=1), cells.any(axis=0)
    assert (np.isneginf(sol.f) == ~used[0]).all()
    assert (np.isneginf(sol.g) == ~used[1]).all()
    f, g = np.where(used[0], sol.f, 0.0), np.where(used[1], sol.g, 0.0)
    reduced = (case.cost - f[:, None] - g)[cells]
    assert reduced.min(initial=0.0) >= -rounding.cost
    assert np.abs(reduced[plan[cells] > 0.0]).max(initial=0.0) <= rounding.cost
    assert (plan >= 0.0).all()
    assert (plan[~cells] == 0.0).all()
    assert (sol.mass > 0.0).all()
    sides = zip((f, g), (case.a, case.b), (sol.row_marginal, sol.col_marginal), (1, 0), used, strict=True)
    for side, (potential, weight, marginal, axis, on) in zip((case.rows, case.cols), sides, strict=True):
        np.testing.assert_allclose(marginal, plan.sum(axis=axis), rtol=0, atol=rounding.mass)
        # The demand falls in the potential, which is on a kink to rounding only.
        least, _ = make(side).demand(potential[on] + rounding.cost, weight[on])
        _, most = make(side).demand(potential[on] - rounding.cost, weight[on])
        assert (marginal[on] >= least - rounding.mass).all()
        assert (marginal[on] <= most + rounding.mass).all()
    assert sol.transport_cost == pytest.approx(case.transport_cost(plan), abs=rounding.value)
    assert sol.value == pytest.approx(case.unregularised(plan, slack=rounding.mass), abs=rounding.value)
    assert abs(sol.value - sol.dual_value) <= rounding.value
    assert 0.0 <= sol.gap <= rounding.value
    assert sol.status is eot.Status.OPTIMAL


def pairs(test):
    return pytest.mark.parametrize(
        ("rows", "cols"), [pytest.param(r, c, id=f"{spec_id(r)}/{spec_id(c)}") for r, c in PAIRS]
    )(test)


def linear_case(seed, rows, cols, n=6, m=7, low=-0.2, **fields):
    """Negative costs make capacities bind where nothing asks for mass; two sides without a price allow none."""
    case = random_case(seed, n, m, rows=rows, cols=cols, **fields)
    unbounded = {rows[0], cols[0]} <= {"Free"}
    return case.but(cost=case.cost + (0.1 if unbounded else low))
