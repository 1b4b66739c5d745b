"""Small problems in one compiled call, where that finds the answer: the loop is in the backend, nothing runs between.

Plain scaling, as "auto" begins with, for matrices without masked entries and penalties whose updates are powers. What
is found is measured there as well, by the formulas of `measure`; what is not found is solved from the start by the
driver, which also has the words for what is wrong with an input.
"""

from __future__ import annotations

import math
import time
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..arrays.ingest import ingest_cost, is_real, put_weights
from ..backends import load_small
from ..backends.protocol import LOGARITHMIC
from ..costs.dense import DenseCost
from ..problems.masses import SAME_MASS
from ..problems.mixed import strength_shape
from ..problems.penalty import Penalty
from ..problems.problem import Problem
from ..problems.terms import lies_high
from .driver import Outcome
from .history import History
from .measure import ULP, Measure
from .methods import SAFE_EXPONENT
from .status import Status

SMALL_ENTRIES = 1 << 18  # entries: beyond, threads pay
LARGE_PATIENCE = 60.0  # iterations left for which to go on at any size: what stops here begins anew
NEWTON_SECONDS = 1.5e-3  # that Newton's method takes at least, most of it in Python
ITERATION_SECONDS, ENTRY_SECONDS = 5e-8, 3e-10  # of an iteration here, and of each entry in it
POWER_SECONDS = 3e-8  # of each row and column whose side is relaxed


class Facts(NamedTuple):
    """What the compiled call says of a problem and its solution."""

    found: float
    iterations: float
    looks: float
    lowest: float
    highest: float
    factor: float
    residual: float
    marginal_error: float
    relaxed_gap: float
    dual: float
    mass: float
    exponents: float


class Small(NamedTuple):
    """A small problem with its solution."""

    problem: Problem
    outcome: Outcome
    plan: NDArray[np.float64]


def solve_small(
    cost: Any, a: Any, b: Any, epsilon: Any, penalties: tuple[Any, Any], tol: float, max_iter: int
) -> Small | None:
    """Return the solution, or None where the long way has to be taken: for anything unusual, and for hard problems."""
    if not (type(cost) is np.ndarray and cost.ndim == 2 and 0 < cost.size <= SMALL_ENTRIES and is_real(cost)):
        return None
    if not isinstance(epsilon, float | int) or not 0 < epsilon < math.inf:
        return None
    began = time.perf_counter()
    rows, cols = (_at(penalty, epsilon) for penalty in penalties)
    n, m = cost.shape
    of_rows, of_cols = np.empty((4, n)), np.empty((6, m))
    if rows is None or cols is None or not (put_weights(a, of_rows[0]) and put_weights(b, of_cols[0])):
        return None
    kernels = load_small()
    if not kernels.solve_small.overloads and np.ptp(cost) > SAFE_EXPONENT * epsilon:
        return None  # before it is compiled, or loaded, for nothing
    plan, looks, facts = np.empty((n, m)), np.empty((kernels.NOTED, 3)), np.empty(len(Facts._fields))
    taus = rows.rule(epsilon, 1.0)[1], cols.rule(epsilon, 1.0)[1]
    powers = n * (taus[0] < 1) + m * (taus[1] < 1)
    seconds = ITERATION_SECONDS + ENTRY_SECONDS * cost.size + POWER_SECONDS * powers
    patience = max(LARGE_PATIENCE, NEWTON_SECONDS / seconds)
    matrix = ingest_cost(cost)
    plainly = matrix.flags.c_contiguous and matrix.flags.writeable  # or it would be compiled once more
    read = matrix if plainly else matrix.copy(order="C")
    both = None if taus == (1.0, 1.0) else taus
    given = float(epsilon), both, tol, SAME_MASS, SAFE_EXPONENT, cols.hard and not rows.hard, max_iter, patience
    kernels.solve_small(read, *given, plan, of_rows, of_cols, looks, facts)
    found = Facts(*facts.tolist())
    if not found.found:
        return None
    problem = Problem(
        cost=DenseCost(matrix, found.lowest, found.highest),
        a=of_rows[0],
        b=of_cols[0],
        epsilon=float(epsilon),
        rows=rows,
        cols=cols,
        reference="product",
        factor=found.factor,
    )
    if problem.levels(budget=False) and lies_high(found.lowest, found.highest, epsilon):
        return None
    if found.mass > problem.cost.largest_number:
        return None  # the plan overflows
    measure = Measure(
        residual=found.residual,
        marginal_error=found.marginal_error,
        relaxed_gap=found.relaxed_gap,
        dual=found.dual,
        mass=found.mass,
        relaxed=not (rows.hard and cols.hard),
        epsilon=problem.epsilon,
        rounding=ULP * found.exponents,
    )
    if not measure.meets(tol):
        return None
    count = int(found.iterations)
    history = _history(looks[: int(found.looks)], problem, time.perf_counter() - began)
    vectors = of_rows[1], of_cols[1], of_rows[2], of_cols[2]
    return Small(problem, Outcome(*vectors, measure, Status.CONVERGED, count, "scaling", history), plan)


def _at(penalty: Any, epsilon: float) -> Penalty | None:
    """Return the penalty at this epsilon if its update is a power."""
    if not isinstance(penalty, Penalty) or strength_shape(penalty):
        return None
    found = penalty.at(epsilon)
    return found if found.rule(epsilon, 1.0)[0] == LOGARITHMIC else None


def _history(looks: NDArray[np.float64], problem: Problem, seconds: float) -> History:
    """The history; time that passed at a look is a share of all that passed."""
    count, iterations = len(looks), looks[:, 0]
    return History(
        iteration=iterations.astype(np.int64),
        residual=looks[:, 1],
        dual=looks[:, 2] + problem.epsilon * problem.reference_mass,
        epsilon=np.full(count, problem.epsilon),
        seconds=iterations * (seconds / iterations[-1]),
        method=np.full(count, "scaling"),
        products=np.zeros(count, np.int64),
    )
