"""Plans of a given mass: the price of mass is found at which the two sides send just so much."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from ..arrays.ingest import ingest_number
from ..errors import InfeasibleError
from ..problems.build import range_text, total_range
from ..problems.penalties import AtMost, Between, Fixed
from ..problems.penalty import Penalty, Vector
from ..problems.problem import Problem
from .driver import Limits, Outcome
from .feasibility import most_mass
from .status import Status

AT_END = 1e-9  # of a side's largest mass: so near to it the side is fixed there
NEAR_PRICE = 30.0  # epsilon by which a price may move for potentials to be worth starting from
TRIALS = 200  # prices tried
SATURATED = 8  # doublings of the step that change nothing, after which the mass has reached its end
LEAST_CUT = 0.05  # of a bracket that the next price cuts off
MASS_SHARE = 0.5  # of the tolerance that the mass may miss by


def open_sides(rows: Any, cols: Any) -> tuple[Any, Any]:
    """`Fixed`, the default, is at most the weights where the mass is given."""
    return tuple(AtMost() if isinstance(side, Fixed) else side for side in (rows, cols))  # type: ignore[return-value]


def with_amount(problem: Problem, mass: Any) -> Problem:
    """The problem of that mass; a side that has to send all it may is fixed."""
    amount = ingest_number("mass", mass)
    if not 0 < amount < math.inf:
        raise ValueError(f"mass is {amount}; it must be positive and finite")
    sides = (problem.rows, problem.a, problem.row_used), (problem.cols, problem.b, problem.col_used)
    ranges = [total_range(penalty, float(weights[used].sum())) for penalty, weights, used in sides]
    low, high = max(ranges[0][0], ranges[1][0]), min(ranges[0][1], ranges[1][1])
    if not low * (1 - AT_END) <= amount <= high * (1 + AT_END):
        raise InfeasibleError(
            f"mass is {amount:.12g}; rows={problem.rows!r} and cols={problem.cols!r} allow {range_text(low, high)}"
        )
    rows, cols = (_at_end(side[0], *ends, amount) for side, ends in zip(sides, ranges, strict=True))
    return replace(problem, rows=rows, cols=cols, amount=amount)


def _at_end(penalty: Penalty, low: float, high: float, amount: float) -> Penalty:
    lo, hi = penalty.box()
    if math.isinf(high) or abs(amount - high) > AT_END * high:
        return penalty if low == 0 or abs(amount - low) > AT_END * low else Between(lo, lo)
    return Fixed() if hi == 1 else Between(hi, hi)


@dataclass(eq=False)
class PriceSearch:
    """A root of log(mass / amount), which rises with the price, by secants in a bracket.

    Attributes
    ----------
    solve : callable
        (problem, f, g, limits) -> the outcome at the problem's price, from potentials or from none.
    """

    problem: Problem
    limits: Limits
    solve: Callable[[Problem, Vector | None, Vector | None, Limits], Outcome]

    def run(self, f: Vector | None, g: Vector | None, price: float) -> tuple[Problem, Outcome]:
        """The problem at the price that was found, and its solution."""
        began, used, amount = time.perf_counter(), 0, self.problem.amount
        assert amount is not None
        low: tuple[float, float] | None = None
        high: tuple[float, float] | None = None
        step, idle, last = self.problem.epsilon, 0, math.nan
        for _ in range(TRIALS):
            problem = replace(self.problem, price=price)
            found = self.solve(problem, f, g, self._left(used, time.perf_counter() - began))
            used += found.n_iter
            found = replace(found, n_iter=used)
            carried = float(found.row_marginal.sum())
            excess = math.log(carried / amount) if 0 < carried < math.inf else math.copysign(1e3, carried - amount)
            if abs(carried - amount) <= MASS_SHARE * self.limits.tol * amount:
                return problem, found
            if found.status is not Status.CONVERGED:
                if high is None and amount > (most := most_mass(problem)) * (1 + AT_END):
                    raise InfeasibleError(_beyond(amount, "most", most))
                return problem, found
            if self._fixed:
                return problem, replace(found, status=Status.STALLED)
            if excess < 0:
                low = price, excess
            else:
                high = price, excess
            if low is None or high is None:
                idle = idle + 1 if abs(excess - last) <= self.limits.tol * abs(excess) else 0
                if idle == SATURATED:
                    raise InfeasibleError(_beyond(amount, "most" if excess < 0 else "least", carried))
                step = min(max(2.0 * step, abs(excess) * self.problem.epsilon), 1e300)
                following = price + math.copysign(step, -excess)
            else:
                following = _between(low, high)
            near = abs(following - price) <= NEAR_PRICE * self.problem.epsilon
            f, g = (found.f, found.g) if near else (None, None)
            if following == price:
                break
            price, last = following, excess
        return problem, replace(found, status=Status.STALLED)

    @property
    def _fixed(self) -> bool:
        """True if a side sends the amount whatever the price."""
        return any(side.box()[0] == side.box()[1] for side in (self.problem.rows, self.problem.cols))

    def _left(self, used: int, seconds: float) -> Limits:
        limits = self.limits
        rest = None if limits.time_limit is None else max(limits.time_limit - seconds, 1e-3)
        return replace(limits, max_iter=max(limits.max_iter - used, 1), time_limit=rest)


def _beyond(amount: float, end: str, carried: float) -> str:
    return f"mass is {amount:.12g}; the allowed cells carry at {end} {carried:.6g}"


def _between(low: tuple[float, float], high: tuple[float, float]) -> float:
    """The zero of the line through both ends, kept off them, so that the bracket shrinks from both sides."""
    (left, below), (right, above) = low, high
    share = min(max(-below / (above - below), LEAST_CUT), 1.0 - LEAST_CUT)
    return left + share * (right - left)
