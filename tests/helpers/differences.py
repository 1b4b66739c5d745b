"""Central differences of whole solves, on small problems with every penalty."""

import numpy as np

import elastic_ot as eot

SPECS = [
    eot.Fixed(),
    eot.KL(0.4),
    eot.KL(3.0),
    eot.L2(5.0),
    eot.TV(0.35),
    eot.TV(0.05),
    eot.Between(0.6, 1.3),
    eot.AtMost(),
    eot.Free(),
]
EPSILON, STEP = 0.15, 1e-5
# Differences of solutions to 1e-13 over 2e-5 are good to 1e-8 and a truncation error of about 1e-7.
ACCURACY = 3e-6


class UnsettledError(Exception):
    """A solve ended at a residual that shows in differences, or a potential is about to leave a kink."""


class Setting:
    """One problem, a function of its solution with random weights, and random directions for its inputs."""

    def __init__(self, rows, cols, reference, masked, seed=0):
        rng = np.random.default_rng(seed)
        n, m = 5, 7
        self.rows, self.cols, self.reference = rows, cols, reference
        self.cost, self.a, self.b = rng.random((n, m)), rng.random(n) + 0.3, rng.random(m) + 0.3
        self.a[3] = 0.0
        self.mask = np.ones((n, m), bool)
        if masked:
            self.mask[0, 1] = self.mask[2, 3] = False
        if rows.hard and cols.hard:
            slack = 1.2 if isinstance(cols, eot.AtMost) else 0.8 if isinstance(rows, eot.AtMost) else 1.0
            self.b *= slack * self.a.sum() / self.b.sum()
        self.plan_bar, self.f_bar, self.g_bar = rng.normal(size=(n, m)), rng.normal(size=n), rng.normal(size=m)
        self.cost_step = rng.normal(size=(n, m))
        self.a_step, self.b_step = rng.normal(size=n) * self.a, rng.normal(size=m) * self.b
        if isinstance(rows, eot.Fixed) and isinstance(cols, eot.Fixed):
            self.b_step -= self.b * (self.b_step.sum() - self.a_step.sum()) / self.b.sum()

    def solve(self, t=0.0, cost=False, weights=False, epsilon=False, rows=None, cols=None):
        solution = eot.solve(
            self.cost + t * self.cost_step if cost else self.cost,
            self.a + t * self.a_step if weights else self.a,
            self.b + t * self.b_step if weights else self.b,
            epsilon=EPSILON + t * epsilon,
            rows=self.rows if rows is None else rows,
            cols=self.cols if cols is None else cols,
            reference=self.reference,
            mask=self.mask,
            tol=1e-13,
            max_iter=200_000,
            on_failure="ignore",
        )
        if solution.residual > 2e-12:
            raise UnsettledError
        return solution

    def functions(self, solution):
        f = np.where(np.isfinite(solution.f), solution.f, 0.0)
        through = (self.plan_bar * solution.plan).sum() + self.f_bar @ f + self.g_bar @ solution.g
        return np.array([solution.dual_value, through])

    def differences(self, solve_at):
        up, down = (self.functions(solve_at(t)) for t in (STEP, -STEP))
        return (up - down) / (2 * STEP)


def away_from_kinks(penalty, potentials):
    """On a kink or well beside it, so that no step crosses one."""
    low, high = penalty.kinks()
    distances = [np.abs(potentials - kink) for kink in (low, high) if np.isfinite(kink)]
    return all(((d < 1e-9) | (d > 1e-3) | np.isinf(d)).all() for d in distances)


def agree(found, expected):
    assert np.abs(found - expected).max() <= ACCURACY * (1.0 + np.abs(expected).max()), (found, expected)
