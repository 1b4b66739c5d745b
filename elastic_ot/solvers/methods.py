"""Which methods solve a problem, in which order."""

from __future__ import annotations

import numpy as np

from ..backends.protocol import LOGARITHMIC
from ..costs.point_cost import PointCost, is_pruned
from ..problems.problem import Problem
from .annealing import EpsilonScaling
from .driver import Phase
from .log_domain import LogDomain
from .mixing import seems_well_mixed
from .multiscale import Multiscale
from .names import Method as Method
from .newton import Newton
from .scaling import Scaling, Stabilized

METHODS: dict[str, tuple[Phase, ...]] = {
    "scaling": (Phase("scaling", Scaling()),),
    "stabilized": (Phase("stabilized", Stabilized()),),
    "log": (Phase("log", LogDomain()),),
    "epsilon_scaling": (Phase("epsilon_scaling", EpsilonScaling()), Phase("epsilon_scaling", Stabilized())),
    "newton": (Phase("newton", Newton()),),
    "multiscale": (Phase("multiscale", Multiscale()), Phase("newton", Newton())),
}
RESOLVED = 1e10  # potentials over epsilon up to which rounding changes the plan by less than a millionth
SAFE_EXPONENT = 200.0  # range(C) / epsilon up to which the classic kernel and its scalings stay far inside float64
SCALING_PATIENCE = 45.0  # iterations left for which sweeps are the better choice still; Newton takes as long
RELAXED_PATIENCE = 60.0  # the same for relaxed sweeps over a cost that is not stored
CELLS_PATIENCE = 500.0  # the same where few cells are swept in place of such a cost
LOOSE_TOL = 0.01  # from which on sweeps are the better choice at any epsilon, where each step computes the cost anew
LAST = 10_000.0  # of sweeps that take over where Newton's method came no further, or they never arrive
READABLE = 4e9  # pairs of points up to which all are read by Newton's method, where coarse to fine came no further
MIXED = 25.0  # iterations left up to which a stabilised kernel stays on trial; the last converge more slowly
WEAK = 150.0  # the same for weak penalties, and the number of sweeps up to which a penalty is called weak


def choose(method: Method | Newton, problem: Problem, omega: float, tol: float) -> tuple[Phase, ...]:
    """The phases of a method; what "auto" makes of the problem."""
    if is_pruned(problem.cost):
        method = "multiscale"
    if isinstance(method, Newton):
        phases: tuple[Phase, ...] = (Phase("newton", method),)
    else:
        phases = _auto(problem, omega, tol) if method == "auto" else METHODS[method]
    if is_pruned(problem.cost) and problem.cost.entries > READABLE:
        return phases[:1]
    if problem.cost.stored:
        return phases
    if phases[-1].name == "newton":  # by conjugate gradients alone it comes no further than sweeps on some kinks
        phases = *phases, Phase("log", LogDomain(), LAST)
    return tuple(map(_without_kernel, phases))


def multiscale_pays(cost: PointCost, omega: float, tol: float) -> bool:
    """True for points of few coordinates; a relaxation that was asked for is one of sweeps."""
    return cost.searched and omega == 1 and tol > 0


def _without_kernel(phase: Phase) -> Phase:
    """For costs that are not stored there is no kernel either: the same iterations in the log domain."""
    return phase._replace(solver=LogDomain()) if isinstance(phase.solver, Scaling | Stabilized) else phase


def _auto(problem: Problem, omega: float, tol: float) -> tuple[Phase, ...]:
    """Scaling where its kernel cannot underflow and as long as it is fast; else Newton, which is right at any epsilon.

    Weak penalties need few sweeps at any epsilon, so they begin with a stabilised kernel. So do loose tolerances, where
    the cost is not stored and a step of Newton's method computes it more often than a sweep does. A relaxation that was
    asked for is one of sweeps, so there are only sweeps then.
    """
    last = (*METHODS["newton"], Phase("stabilized", Stabilized(), LAST)) if omega == 1 else METHODS["epsilon_scaling"]
    span = (problem.cost.highest - problem.cost.lowest) / problem.epsilon
    if span > SAFE_EXPONENT and omega == 1 and tol > 0 and _sweeps_at_most(problem, tol) <= WEAK:
        return Phase("stabilized", Stabilized(), WEAK), *last
    if span > SAFE_EXPONENT and omega == 1 and tol >= LOOSE_TOL and not problem.cost.stored:
        return *_annealed_sweeps(), *last
    if span > SAFE_EXPONENT and omega == 1 and tol > 0 and problem.cost.stored and seems_well_mixed(problem):
        return Phase("stabilized", Stabilized(brief=True), MIXED, trial=True), *last
    if span > SAFE_EXPONENT:
        return last
    return Phase("scaling", Scaling(), SCALING_PATIENCE if omega == 1 else np.inf), *last


def _annealed_sweeps() -> tuple[Phase, ...]:
    """Annealing, on few cells to the end; else over-relaxed sweeps, as long as few of them are left."""
    return (
        Phase("epsilon_scaling", EpsilonScaling(), CELLS_PATIENCE, relaxing=True),
        Phase("log", LogDomain(), RELAXED_PATIENCE, relaxing=True),
    )


def _sweeps_at_most(problem: Problem, tol: float) -> float:
    """Sweeps to the tolerance where both penalties are logarithmic: an error shrinks by tau_a tau_b in each."""
    rules = [penalty.rule(problem.epsilon, problem.mass) for penalty in (problem.rows, problem.cols)]
    if any(code != LOGARITHMIC for code, _, _ in rules):
        return np.inf
    rate = rules[0][1] * rules[1][1]
    if rate == 0:
        return 1.0
    return float(np.log(tol) / np.log(rate)) if rate < 1 else np.inf
