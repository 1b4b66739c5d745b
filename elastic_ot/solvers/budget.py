"""Exactly so many iterations, for use inside networks: no stopping rule, no change of method, one look at the end."""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np

from ..problems.scaled import Task
from .driver import BLOCK_ENTRIES, Outcome
from .history import Entry, history_of
from .log_domain import LogDomain, initial_alphas, sweep
from .state import Start, State
from .status import Status


def run_budget(task: Task, start: Start, count: int, rows_first: bool) -> Outcome:
    """`count` iterations from the start's potentials, each an update of one side and then of the other.

    If the side updated first is also the one to end on (`start.end`), the other is updated once less: 2 count - 1 half
    steps, else 2 count.
    """
    began = time.perf_counter()
    with np.errstate(all="ignore"):  # extreme potentials; what comes of them is measured
        if rows_first:
            state = LogDomain().start(task, start)
            again = count if start.end == "cols" else count - 1
        else:
            scratch = task.plan.scratch(start.fast)
            start = start if start.f is not None else replace(start, f=np.zeros(task.problem.shape[0]))
            state = State(task, *initial_alphas(task, start), start.end, start.omega, start.fast, scratch)
            sweep(state, (0.0, 0.0), 1)
            again = count
        block = max(1, int(BLOCK_ENTRIES / task.problem.cost.work))  # Ctrl-C waits for one
        for done in range(0, again, block):
            sweep(state, state.omega, min(block, again - done))
        iterate, found = state.iterate(), state.measure()
        f, g = task.potentials(iterate.alpha, iterate.beta)
        row_marginal, col_marginal = (task.problem.mass * np.exp(x) for x in (iterate.log_row, iterate.log_col))
    seconds = task.problem.ranks.most(time.perf_counter() - began)
    entry = Entry(count, found.residual, found.dual, task.problem.epsilon, seconds, "log", 0)
    return Outcome(
        f=f,
        g=g,
        row_marginal=row_marginal,
        col_marginal=col_marginal,
        measure=found,
        status=Status.BUDGET,
        n_iter=count,
        method="log",
        history=history_of([entry], task.problem.reference_mass),
    )
