"""Where a solve begins: potentials of an earlier one, or given ones, in the units of the problem."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..arrays.ingest import ingest_vector
from ..problems.penalty import Vector
from ..problems.problem import Problem
from ..solutions.exact import ExactSolution
from ..solutions.solution import Solution
from .options import tells


def initial(init: Any, problem: Problem) -> tuple[Vector | None, Vector | None]:
    """Return the potentials to start from, or None for both where they say nothing."""
    if init is None:
        return None, None
    with problem.ranks.noting():
        f, g = _given(init, problem)
    problem.ranks.check()
    largest = max(problem.ranks.max(np.abs(f)), float(np.abs(g).max()))
    return (f, g) if tells(largest, problem.epsilon, problem.cost.largest) else (None, None)


def _given(init: Any, problem: Problem) -> tuple[Vector, Vector]:
    """Those that were given, in the units of the problem; refused where they do not fit."""
    if isinstance(init, Solution | ExactSolution):
        f, g = (init.host.f, init.host.g) if isinstance(init, Solution) else (init.f, init.g)
    elif isinstance(init, tuple) and len(init) == 2:
        f, g = ingest_vector("init[0]", init[0]), ingest_vector("init[1]", init[1])
    else:
        raise TypeError(f"init must be a Solution or a pair (f, g), got {type(init).__name__}")
    for name, values, size in (("f", f, problem.shape[0]), ("g", g, problem.shape[1])):
        if values.size != size:
            raise ValueError(f"init has a {name} of {values.size} entries; this problem needs {size}")
        bad = np.flatnonzero(np.isnan(values) | np.isposinf(values))
        if bad.size:
            raise ValueError(f"init has {name}[{bad[0]}] = {values[bad[0]]}; potentials must be numbers or -inf")
    taken = init.problem.offsets if isinstance(init, Solution) else (0.0, 0.0)
    f, g = f + (taken[0] - problem.offsets[0]), g + (taken[1] - problem.offsets[1])
    # an entry that was removed there and is used here starts at 0
    return np.where(np.isfinite(f), f, 0.0), np.where(np.isfinite(g), g, 0.0)
