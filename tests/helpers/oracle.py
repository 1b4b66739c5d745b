"""The formulas of the problem, derived again in float64 NumPy: no arithmetic of the package is used here.

A penalty is written as a tuple such as ("KL", 0.5); `Case` holds one problem and every quantity that can be
computed from it and from a pair of potentials.
"""

from dataclasses import dataclass, field, replace

import numpy as np
from scipy.special import logsumexp, rel_entr

import elastic_ot as eot
from helpers.penalty_formulas import best_marginal, concave_dual, exact_update, phi, resolve

ULP64 = float(np.finfo(np.float64).eps)


def make(spec):
    """The package's penalty of a tuple."""
    return getattr(eot, spec[0])(*spec[1:])


@dataclass(frozen=True)
class Case:
    """One problem; arrays in float64 whatever the dtype that the package is given."""

    cost: np.ndarray
    a: np.ndarray
    b: np.ndarray
    epsilon: float
    rows: tuple = ("Fixed",)
    cols: tuple = ("Fixed",)
    reference: str = "product"
    mask: np.ndarray | None = None
    dtype: type = field(default=np.float64)

    def solve(self, **options):
        """The package's solution."""
        return eot.solve(
            self.cost.astype(self.dtype),
            self.a.astype(self.dtype),
            self.b.astype(self.dtype),
            epsilon=self.epsilon,
            rows=make(self.rows),
            cols=make(self.cols),
            reference=self.reference,
            mask=self.mask,
            **options,
        )

    def but(self, **changes):
        """The same case with some fields changed."""
        return replace(self, **changes)

    @property
    def transposed(self):
        mask = None if self.mask is None else self.mask.T
        return replace(self, cost=self.cost.T, a=self.b, b=self.a, rows=self.cols, cols=self.rows, mask=mask)

    @property
    def rounded_to_dtype(self):
        """The case as the package sees it: rounded, and with fixed masses that agree to rounding made equal."""
        cost, a, b = (x.astype(self.dtype).astype(float) for x in (self.cost, self.a, self.b))
        (row_spec, _, _), (col_spec, _, _) = self.sides
        if row_spec == col_spec == ("Fixed",):
            b *= a.sum() / b.sum()
        return replace(self, cost=cost, a=a, b=b)

    @property
    def sides(self):
        """(penalty, weights, axis to sum over for this side's marginal) of the rows and of the columns."""
        return ((resolve(self.rows, self.epsilon), self.a, 1), (resolve(self.cols, self.epsilon), self.b, 0))

    @property
    def mass(self):
        return max(self.a.sum(), self.b.sum())

    @property
    def range(self):
        finite = self.cost[self.allowed]
        return float(finite.max() - finite.min()) if finite.size else 0.0

    @property
    def allowed(self):
        """Cells that may carry mass."""
        allowed = np.isfinite(self.cost) & (self.a > 0)[:, None] & (self.b > 0)[None, :]
        return allowed if self.mask is None else allowed & self.mask

    @property
    def kernel(self):
        """The reference R: zero on forbidden cells and on removed rows and columns."""
        weights = np.outer(self.a, self.b) if self.reference == "product" else np.ones(self.cost.shape)
        return np.where(self.allowed, weights, 0.0)

    def log_plan(self, f, g):
        """log R + (f + g - C)/epsilon."""
        cells = self.allowed
        exponent = np.full(self.cost.shape, -np.inf)
        total = f[:, None] + g[None, :]
        exponent[cells] = np.log(self.kernel[cells]) + (total[cells] - self.cost[cells]) / self.epsilon
        return exponent

    def plan(self, f, g):
        """R exp((f + g - C)/epsilon)."""
        return np.exp(self.log_plan(f, g))

    def transport_cost(self, plan):
        return float((self.cost[self.allowed] * plan[self.allowed]).sum())

    def unregularised(self, plan, slack=0.0):
        """<C, P> + phi_a(P 1) + phi_b(P^T 1); inf where mass lies on a forbidden cell."""
        if np.any(plan[~self.allowed] > 0.0) or np.any(plan < 0.0):
            return np.inf
        return self.transport_cost(plan) + sum(
            float(phi(spec, weight, plan.sum(axis=axis), slack).sum()) for spec, weight, axis in self.sides
        )

    def divergence(self, plan):
        """KL(P | R)."""
        return float((rel_entr(plan, self.kernel) - plan + self.kernel).sum())

    def primal(self, plan, slack=0.0):
        return self.unregularised(plan, slack) + self.epsilon * self.divergence(plan)

    def dual(self, f, g):
        total = -self.epsilon * (self.plan(f, g).sum() - self.kernel.sum())
        for (spec, weight, axis), potential in zip(self.sides, (f, g), strict=True):
            alive = self.allowed.any(axis=axis)
            total += concave_dual(spec, weight[alive], potential[alive]).sum()
            # An empty row attains the marginal 0 whatever its potential.
            total += phi(spec, weight[~alive], np.zeros(np.count_nonzero(~alive))).sum()
        return float(total)

    def relaxed_gap(self, f, g):
        """The share of primal - dual that belongs to the relaxed sides: phi(r) + phi*(-f) + <f, r> >= 0 each."""
        plan, total = self.plan(f, g), 0.0
        for (spec, weight, axis), potential in zip(self.sides, (f, g), strict=True):
            if spec[0] in HARD:
                continue
            alive = self.allowed.any(axis=axis)
            weight, potential, marginal = weight[alive], potential[alive], plan.sum(axis=axis)[alive]
            total += (phi(spec, weight, marginal) - concave_dual(spec, weight, potential) + potential * marginal).sum()
        return float(total)

    def unit_of_gap(self, f, g):
        """What the relaxed gap is compared with: the dual without its constant, or epsilon times the mass."""
        dual = self.dual(f, g) - self.epsilon * self.kernel.sum()
        return max(abs(dual), self.epsilon * self.unit_of_mass(f, g))

    def residual(self, f, g):
        """L1 change of the marginals under one more exact update of each side; 0 at the optimum only."""
        log_plan, total = self.log_plan(f, g), 0.0
        for (spec, weight, axis), potential in zip(self.sides, (f, g), strict=True):
            alive = self.allowed.any(axis=axis)
            # In logarithms, because the marginal at potential 0 may overflow and a small one vanish.
            log_marginal = logsumexp(log_plan, axis=axis)[alive]
            attained = log_marginal - potential[alive] / self.epsilon
            updated = attained + exact_update(spec, weight[alive], attained, self.epsilon) / self.epsilon
            total += np.abs(np.exp(updated) - np.exp(log_marginal)).sum()
        return float(total)

    def size_of_terms(self, f, g):
        """Sum of the magnitudes that enter the primal, the dual and the gap: each carries its rounding."""
        plan = self.plan(f, g)
        potentials = sum(np.abs(p[np.isfinite(p)]) @ w[np.isfinite(p)] for p, w in ((f, self.a), (g, self.b)))
        penalties = sum(spec[1] * weight.sum() for spec, weight, _ in self.sides if spec[0] in {"KL", "TV"})
        return potentials + penalties + self.epsilon * (plan.sum() + self.kernel.sum()) + abs(self.dual(f, g))

    def unit_of_mass(self, f, g):
        """What the residual is compared with: the mass of a fixed side, else that of the plan."""
        (row_spec, a, _), (col_spec, b, _) = self.sides
        if row_spec == ("Fixed",):
            return float(a.sum())
        return float(b.sum()) if col_spec == ("Fixed",) else float(self.plan(f, g).sum())

    def distance_to_best(self, f, g):
        """L1 distance of the attained marginals from the ones that are optimal for the potentials."""
        plan, total = self.plan(f, g), 0.0
        for (spec, weight, axis), potential in zip(self.sides, (f, g), strict=True):
            alive = self.allowed.any(axis=axis)
            marginal = plan.sum(axis=axis)[alive]
            total += np.abs(marginal - best_marginal(spec, weight[alive], potential[alive], marginal)).sum()
        return float(total)

    def rounding(self, f, g):
        """How far rounding alone may move the attained mass, in units of the mass.

        A term of the exponent (f, g or C, divided by epsilon) carries a relative error of one unit in the last
        place of float64, so each plan entry is uncertain by the size of the largest term that meets it, times that
        unit; the factor 4 covers the three terms and the exponential. A float32 cost is exact in float64, and
        potentials are float64 whatever the cost, so the dtype does not matter. Summing k such entries in some order
        adds about sqrt(k) units.
        """
        plan = self.plan(f, g)
        used = plan > 0.0
        terms = np.maximum(np.abs(np.where(used, self.cost, 0.0)), np.abs(np.where(used, f[:, None], 0.0)))
        terms = np.maximum(terms, np.abs(np.where(used, g[None, :], 0.0))) / self.epsilon
        in_exponent = (plan * terms).sum() / max(plan.sum(), 1e-300)
        return float(ULP64 * (4.0 + 4.0 * in_exponent + np.sqrt(max(plan.shape))))


def random_case(seed, n=12, m=17, epsilon=0.1, rows=("Fixed",), cols=("Fixed",), **fields):
    """A seeded case with costs in [0, 1) and weights that make the pair of penalties feasible."""
    rng = np.random.default_rng(seed)
    cost, a, b = rng.random((n, m)), rng.uniform(0.2, 1.0, n), rng.uniform(0.2, 1.0, m)
    heavy = {"rows": 1.0, "cols": 1.3}
    if rows == cols == ("Fixed",):
        heavy["cols"] = 1.0
    elif rows == ("AtMost",):
        heavy = {"rows": 1.3, "cols": 1.0}
    a, b = heavy["rows"] * a / a.sum(), heavy["cols"] * b / b.sum()
    return Case(cost, a, b, epsilon, rows, cols, **fields)


def cloud_case(seed, n, m=None, share=1e-2, **fields):
    """Squared distances of points in the unit square, in units of their range: epsilon is `share` of it."""
    m = n if m is None else m
    rng = np.random.default_rng([seed, 1])
    x, y = rng.random((n, 2)), rng.random((m, 2))
    cost = ((x[:, None] - y) ** 2).sum(axis=-1)
    return random_case(seed, n, m, epsilon=share, **fields).but(cost=cost / (cost.max() - cost.min()))


PENALTIES = [
    ("Fixed",),
    ("KL", 0.7),
    ("TV", 0.3),
    ("L2", 2.0),
    ("Between", 0.6, 1.4),
    ("AtMost",),
    ("Free",),
    ("Elastic", 0.6),
]
METHODS = ["scaling", "stabilized", "log", "epsilon_scaling", "newton", "auto"]
FIRST_ORDER = [method for method in METHODS if method != "newton"]  # those with a relaxation
HARD = {"Fixed", "Between", "AtMost"}


def allowed(method, relaxation):
    """The relaxation, or 1 for a method without any."""
    return relaxation if method in FIRST_ORDER else 1.0


def spec_id(spec):
    return "-".join(map(str, spec)) if isinstance(spec, tuple) else str(spec)


def scaled(spec, factor):
    """The penalty with its strength, which is in cost units, multiplied by factor."""
    return (spec[0], spec[1] * factor) if spec[0] in {"KL", "TV", "L2"} else spec


def linked_clusters(k, n=200, m=150, far=22.0, **fields):
    """Clusters in which every cell carries mass, too many for a support, that share far less than float32 resolves."""
    rng = np.random.default_rng(330)
    p, q = np.arange(n) % k, np.arange(m) % k
    a, b = rng.uniform(0.5, 1.5, n), rng.uniform(0.5, 1.5, m)
    for part in range(k):
        b[q == part] *= a[p == part].sum() / b[q == part].sum()
    cost = rng.random((n, m)) + far * (p[:, None] != q)
    return random_case(330, n, m, epsilon=1.0, **fields).but(cost=cost, a=a / a.sum(), b=b / b.sum()), p, q
