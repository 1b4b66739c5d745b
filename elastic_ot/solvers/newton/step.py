"""A Newton step: the linear system it solves, how far it goes, and what its trial tells of the next one."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ...distributed.ranks import ALONE
from ...problems.penalty import Vector
from .. import krylov
from ..light import weighty
from ..local import Local, column_response, local, slope_along, smooth_change
from ..measure import Measure
from ..passes import KernelPasses, OperatorPasses, SupportPasses, attained
from .parameters import Parameters
from .state import RADIUS, NewtonState, Step
from .top_k import top_k_system

LINEAR = 1.5  # of what the quadratic model promises, which is half of the slope: so much more comes of no curvature
NOTHING = 1e-290  # mass of a row, in units of the whole, that links no columns: its inverse must not overflow
CLEARLY = 0.9  # of the residual, to which a step must bring it if rounding hides what becomes of the dual
SLACK = 3e-14  # of the terms of the dual, relative: rounding


class Linear(NamedTuple):
    """Newton's reduced system at a swept state: S = diag(diagonal) - P^T diag(row_weight) P on the columns `inside`.

    `response` is how far one exact update moves the columns: S x = diagonal * response is what a step solves.
    """

    rows: Local
    cols: Local
    row_weight: Vector
    diagonal: Vector
    inside: NDArray[np.bool_]
    response: Vector
    col_sums: Vector

    @property
    def right_side(self) -> Vector:
        rhs = np.where(self.inside, self.diagonal * self.response, 0.0)
        if self.rows.rigid and self.cols.rigid:  # (1, -1) changes nothing: S is singular along it
            rhs -= np.where(self.inside, self.diagonal, 0.0) * (rhs.sum() / self.diagonal[self.inside].sum())
        return rhs


def linearised(state: NewtonState) -> Linear:
    """Return Newton's system at a swept state."""
    task = state.task
    r, c = attained(state)
    rows = local(task, "rows", state.alpha, np.zeros_like(r))
    response = column_response(task, state.beta, state.log_col)
    cols = local(task, "cols", state.beta, response)
    stiffness = r + rows.curvature
    row_weight = np.divide(1.0, stiffness, out=np.zeros_like(r), where=rows.free & (stiffness > NOTHING))
    return Linear(
        rows, cols, row_weight, c + cols.curvature, cols.free & weighty(task.cols, state.aim, c.size), response, c
    )


def newton_step(method: Parameters, state: NewtonState) -> Step | None:
    """The step to try; None where the direction does not ascend."""
    task, found = state.task, state.measure()
    _, cols, row_weight, diagonal, inside, response, c = linear = linearised(state)
    rhs = linear.right_side
    size = float(np.abs(rhs).sum())
    if not 0 < size < np.inf:
        return None
    residual = min(1.0, found.relative_residual)
    assert isinstance(
        state.passes, KernelPasses | OperatorPasses | SupportPasses
    )  # the stored ones, to the type checker
    damped = (1.0 + state.damping * residual) * diagonal
    if method.top_k is not None:
        system = top_k_system(state, row_weight, damped, inside, method.top_k)
    else:
        system = state.passes.system(state, row_weight, damped, inside, method.drop * residual)
    goal = _forcing(method, state, residual) * size
    x, products = krylov.solve(system, rhs, goal, state.radius, state.expired)
    state.products += products
    # those outside move as in a sweep: in the system their hundreds of nats would shorten the step
    x = state.stretch * np.where(inside, x, response)
    slope = slope_along(task, state.beta, c, smooth_change(task, state.beta, cols, x))
    return Step(state.save(), found, x, cols, slope) if 0 < slope < np.inf else None


def _forcing(method: Parameters, state: NewtonState, residual: float) -> float:
    """How accurately to solve: as the progress of the last step suggests, and no more than the tolerance needs.

    As in Eisenstat and Walker (1996), choice 2. A step that the nonlinearity limits, and not the linear system,
    wants no accurate solution.
    """
    progress = min(1.0, residual / state.residual_before) if state.residual_before > 0 else 1.0
    state.residual_before = residual
    wanted = min(method.forcing, 0.5 * progress**1.5)
    return float(max(wanted, 0.3 * state.aim / residual)) if residual > 0 else wanted


def take(state: NewtonState, step: Step) -> None:
    """The rows' exact answer to a share t of the step, from where it began."""
    state.restore(step.saved)
    state.beta += smooth_change(state.task, state.beta, step.cols, step.t * step.x)
    state.sweep((1.0, 0.0))


def rises(state: NewtonState, step: Step, found: Measure) -> bool:
    """True if the dual has risen by what a step must bring to be kept, or all that is missing is rounding.

    Where rounding is that of single precision, the residual has to tell.
    """
    sides = (state.alpha, state.task.problem.ranks), (state.beta, ALONE)
    nats = 1.0 + max(0.0, *(ranks.max(np.abs(x[np.isfinite(x)])) for x, ranks in sides))
    slack = SLACK * max(abs(step.found.dual), found.epsilon * found.mass * nats)
    promised = step.found.dual + 1e-4 * step.t * step.slope - slack
    if state.noise and found.residual < CLEARLY * step.found.residual:
        promised = min(promised, step.found.dual - state.noise * found.epsilon * found.mass)
    return found.dual >= promised


def adapt_damping(method: Parameters, state: NewtonState, step: Step, found: Measure) -> None:
    """More damping where the dual rose by much less than the model promised, less where it kept its promise.

    At the end of a step as long as allowed the dual may rise as it did at the beginning, where parts of the problem
    are linked by nothing yet: the next one goes further.
    """
    if step.t < 1.0:
        state.radius, state.stretch = max(RADIUS, 0.25 * state.radius), 1.0
        return
    gain = (found.dual - step.found.dual) / (0.5 * step.slope)
    far = float(np.abs(step.x).max()) >= 0.99 * state.radius
    if far and gain > 0.7:
        state.radius *= 4.0
        return
    stuck = found.residual > 0.9 * step.found.residual
    state.stretch = 4.0 * state.stretch if stuck and gain > LINEAR else 1.0
    if stuck and gain > 0.7:
        state.damping *= 0.25
        return
    factor = 2.0 if gain < 0.4 or (far and stuck) else 0.5 if gain > 0.7 else 1.0
    state.damping = max(method.damping, factor * state.damping)
