"""The stages of a solve: some only decide, the others do one iteration; each says which stage comes next.

    Decides     what about                                              next
    LOOK        where the solve stands:
                  the cells left out may matter, or on target none
                  are stored                                            RENEW
                  above the target, the plan stored:
                    what matters at the next level is right, or `steps`
                    were made                                           DESCEND
                    not yet `sweeps` iterations                         SWEEP
                    else                                                STEP
                  above the target, the plan too large to be stored:
                    masses are roughly right                            DESCEND
                    `sweeps` iterations did not bring that              VISIT
                    nor did `patience` iterations                       DESCEND
                    else                                                SWEEP
                  on target:
                    not yet `sweeps` iterations                         SWEEP
                    a float32 kernel, and near what it resolves         REFINE
                    a float32 kernel, and potentials hardly move        NARROW
                    else                                                STEP
    VISIT       cells for this level alone: few enough?                 SWEEP; else, as LOOK does, DESCEND or SWEEP
    REFINE      double precision from here on                           SWEEP
    NARROW      cells instead of the kernel: few enough?                SWEEP; else STEP
    STEP        Newton's system: does its solution ascend?              TRY; else SWEEP

    Iterates    by                                                      next
    SWEEP       a sweep of both sides                                   LOOK
    RENEW       a sweep over the full cost that chooses cells anew      SWEEP; LOOK where they are too many
    DESCEND     the rows' answer to a guess at the next level           LOOK; SWEEP where cells were chosen on target
    TRY         the rows' answer to a share of the step:
                  the dual rises, which is kept                         LOOK; as RENEW where it led out of its cells
                  back to where the step began, for a quarter of it     TRY
                  the same, but the share is too small                  LOOK, and sweeps come before the next step
    CLOSE       a sweep that is to end on the columns                   the stage that was put off

A SWEEP comes first where marginals are computed more finely from here on than those at hand, with which nothing may be
compared. After an iteration on target its progress is noted; where there is none any more the solve is refined, or put
back to its best iterate and exhausted (`NewtonState.note_progress`). The driver sets the stage where it asks for more
precision (`NewtonState.refine`) or for an end on the columns (`NewtonState.close`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from ..annealing import EARLY_TOL, descend
from ..light import weighty
from ..local import column_response
from ..passes import LogPasses
from .parameters import Parameters
from .state import NewtonState, Stage, kernel_is_small, kernel_passes
from .step import adapt_damping, newton_step, rises, take

FINE = 1e-5  # residual below which a float32 kernel is too coarse, if the tolerance asks for less
LEVEL_TOL, LEVEL_MARGIN = 1e-3, 3.0  # tolerance and nats for the cells of one level above the target
NEAR, LAST_MARGIN = 3.0, 1.0  # nats by which potentials may still move on target, at first and once it is nearly met
UNEVEN = 0.5  # nats by which a column may be off where a level ends
SHORTEST = 1e-3  # of a Newton step that is still tried before a sweep is


def iterate(method: Parameters, state: NewtonState) -> None:
    """One iteration, after the decisions that lead to it."""
    while state.stage in DECISIONS:
        state.stage = DECISIONS[state.stage](method, state)
    state.stage = ITERATIONS[state.stage](method, state)


# --- decisions --------------------------------------------------------------------------------------------------------


def _look(method: Parameters, state: NewtonState) -> Stage:
    outdated = not state.trusted() or (state.on_target and not state.passes.stored)
    if outdated and (state.on_target or state.steps < method.steps):  # else the level ends in any case
        state.steps += not state.on_target
        return Stage.RENEW
    if state.on_target:
        return _look_on_target(method, state)
    return _look_at_cells(method, state) if state.passes.stored else _look_at_sweeps(method, state)


def _look_at_cells(method: Parameters, state: NewtonState) -> Stage:
    """Above the target, where the plan is stored."""
    found = state.measure()
    arrived = found.residual <= method.level_tol * found.mass and not _uneven(state)
    if arrived or state.steps >= method.steps:
        return Stage.DESCEND
    if state.sweeps < method.sweeps:
        state.sweeps += 1
        return Stage.SWEEP
    return Stage.STEP


def _uneven(state: NewtonState) -> bool:
    """True if the next update moves a column far that matters to the tolerance: light ones hardly change a residual."""
    task = state.task
    response = column_response(task, state.beta, state.log_col)
    return float(np.abs(response[weighty(task.cols, state.tol, response.size)]).max(initial=0.0)) > UNEVEN


def _look_at_sweeps(method: Parameters, state: NewtonState) -> Stage:
    """Above the target, where the plan is too large to be stored."""
    found = state.measure()
    if found.residual <= method.swept_tol * found.mass:
        return Stage.DESCEND
    return Stage.VISIT if state.sweeps == method.sweeps else _sweep_or_descend(method, state)


def _sweep_or_descend(method: Parameters, state: NewtonState) -> Stage:
    if state.sweeps >= method.patience:
        return Stage.DESCEND
    state.sweeps += 1
    return Stage.SWEEP


def _look_on_target(method: Parameters, state: NewtonState) -> Stage:
    if state.sweeps < method.sweeps:
        state.sweeps += 1
        return Stage.SWEEP
    found = state.measure()
    if not state.passes.exact and state.aim < 1e-6 and found.residual < FINE * found.mass:
        return Stage.REFINE
    if not state.passes.exact and found.residual <= method.level_tol * found.mass:
        return Stage.NARROW
    return Stage.STEP


def _visit(method: Parameters, state: NewtonState) -> Stage:
    state.truncate(LEVEL_TOL, margin=LEVEL_MARGIN)
    if not state.passes.truncated:
        return _sweep_or_descend(method, state)
    state.visiting = True
    return Stage.SWEEP


def _refine(method: Parameters, state: NewtonState) -> Stage:
    state.refine()
    return Stage.SWEEP


def _narrow(method: Parameters, state: NewtonState) -> Stage:
    state.truncate(margin=LAST_MARGIN)
    return Stage.SWEEP if state.passes.truncated else Stage.STEP


def _step(method: Parameters, state: NewtonState) -> Stage:
    state.trial = newton_step(method, state)
    if state.trial is not None:
        return Stage.TRY
    state.steps += 1
    return Stage.SWEEP


# --- iterations -------------------------------------------------------------------------------------------------------


def _sweep(method: Parameters, state: NewtonState) -> Stage:
    state.sweep((1.0, 1.0))
    return Stage.LOOK


def _renew(method: Parameters, state: NewtonState) -> Stage:
    state.passes, state.visiting = LogPasses(), False
    state.sweep((1.0, 0.0))
    state.truncate(0.0 if state.on_target else EARLY_TOL, margin=NEAR)
    if state.passes.truncated:
        return Stage.SWEEP
    if state.on_target or kernel_is_small(state.task):
        state.passes = kernel_passes(state.task, exact=False)
    return Stage.LOOK


def _descend(method: Parameters, state: NewtonState) -> Stage:
    """To the next level, further away the easier this one was."""
    factor = 4.0 if state.steps <= 1 else 3.0 if state.steps <= 2 else 2.0
    if state.visiting:
        state.visiting, state.passes = False, LogPasses()
        state.sweep((1.0, 1.0))
    if not state.passes.truncated:
        state.truncate(EARLY_TOL)
    arrived = descend(state, factor)
    state.steps, state.damping, state.stretch = 0, method.damping, 1.0
    state.passes.change_epsilon()
    state.sweep((1.0, 0.0))
    state.sweeps = 1
    return _arrive(state) if arrived and not state.passes.truncated else Stage.LOOK


def _arrive(state: NewtonState) -> Stage:
    """Cells for the target, where the potentials hardly move any more; a kernel where they are too many."""
    state.truncate(margin=NEAR)
    if state.passes.truncated:
        return Stage.SWEEP
    if not state.passes.stored:
        state.passes = kernel_passes(state.task, exact=False)
    return Stage.LOOK


def _try(method: Parameters, state: NewtonState) -> Stage:
    """A support tells nothing of a step that leads where other entries matter; the full cost does."""
    step = state.trial
    assert step is not None
    take(state, step)
    outside = not state.trusted()
    following = _renew(method, state) if outside else Stage.LOOK
    found = state.measure()
    if rises(state, step, found):
        state.trial = None
        state.steps += 1
        adapt_damping(method, state, step, found)
        return following
    shorter = replace(step, t=0.25 * step.t)
    state.restore(step.saved)
    state.known = step.found
    if outside:  # the step began on a support that may have promised too much: measured again
        _renew(method, state)
        shorter = replace(shorter, saved=state.save(), found=state.measure())
    state.damping *= 4.0
    if shorter.t >= SHORTEST:
        state.trial = shorter
        return Stage.TRY
    state.trial, state.sweeps = None, 0
    state.steps += 1
    return Stage.LOOK


def _close(method: Parameters, state: NewtonState) -> Stage:
    state.sweep((1.0, 1.0))
    return state.put_off


DECISIONS: dict[Stage, Callable[[Parameters, NewtonState], Stage]] = {
    Stage.LOOK: _look,
    Stage.VISIT: _visit,
    Stage.REFINE: _refine,
    Stage.NARROW: _narrow,
    Stage.STEP: _step,
}
ITERATIONS: dict[Stage, Callable[[Parameters, NewtonState], Stage]] = {
    Stage.SWEEP: _sweep,
    Stage.RENEW: _renew,
    Stage.DESCEND: _descend,
    Stage.TRY: _try,
    Stage.CLOSE: _close,
}
