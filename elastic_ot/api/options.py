"""The options of a solve, checked: one message a mistake."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import numpy as np

from ..arrays.ingest import ingest_number
from ..problems.problem import Problem
from ..solvers.methods import METHODS, RESOLVED, Method
from ..solvers.newton import Newton

SINGLE_TOL = 1e-6  # smallest tolerance for which sweeps may use float32 exponentials and kernels


def check_choice(name: str, value: Any, choices: tuple[str, ...]) -> None:
    """Refuse a value that is not among the choices."""
    if not isinstance(value, str) or value not in choices:
        raise ValueError(f"{name} is {value!r}; choose from {', '.join(map(repr, choices))}")


def check_method(method: Any) -> None:
    """Refuse what is no method, or a `Newton` with wrong parameters."""
    if not isinstance(method, Newton):
        check_choice("method", method, ("auto", *METHODS))
        return
    for field in fields(method):
        value = getattr(method, field.name)
        if field.name == "top_k" and value is None:
            continue
        whole = field.name in ("sweeps", "patience", "steps", "top_k")
        if isinstance(value, bool) or not isinstance(value, int | np.integer if whole else int | float | np.number):
            raise TypeError(f"Newton({field.name}={value!r}): it must be {'an integer' if whole else 'a number'}")
        if not (value >= 1 if whole else 0 < value < np.inf):
            raise ValueError(f"Newton({field.name}={value}): it must be {'>= 1' if whole else '> 0 and finite'}")


def check_relaxation(relaxation: Any, method: Method | Newton) -> float:
    """The omega to begin with."""
    if isinstance(relaxation, str) and relaxation == "auto":
        return 1.0
    if isinstance(relaxation, str):
        raise ValueError(f"relaxation is {relaxation!r}; it must be a number in (0, 2) or 'auto'")
    omega = ingest_number("relaxation", relaxation)
    if not 0 < omega < 2:
        raise ValueError(f"relaxation is {relaxation}; it must lie in (0, 2)")
    if (method in ("newton", "multiscale") or isinstance(method, Newton)) and omega != 1:
        name = method if isinstance(method, str) else "newton"
        raise ValueError(f"relaxation is {relaxation} and method is {name!r}, whose steps have none; leave it at 1.0")
    return omega


def check_limits(tol: Any, max_iter: Any, time_limit: Any, callback: Any) -> tuple[float, int, float | None, Any]:
    """(tol, max_iter, time_limit, callback), refused by name."""
    tol = ingest_number("tol", tol)
    if not (0 <= tol < np.inf):
        raise ValueError(f"tol is {tol}; it must be finite and >= 0")
    if isinstance(max_iter, bool) or not isinstance(max_iter, int | np.integer) or max_iter < 1:
        raise ValueError(f"max_iter is {max_iter!r}; it must be an integer >= 1")
    time_limit = check_time_limit(time_limit)
    if callback is not None and not callable(callback):
        raise TypeError(f"callback must be callable as callback(iteration, residual), got {callback!r}")
    return tol, int(max_iter), time_limit, callback


def check_time_limit(time_limit: Any) -> float | None:
    """Seconds; None without a limit."""
    if time_limit is None:
        return None
    seconds = ingest_number("time_limit", time_limit)
    if not seconds > 0:
        raise ValueError(f"time_limit is {seconds}; it must be > 0 seconds")
    return None if seconds == np.inf else seconds


def is_budget(tol: float, method: Any) -> bool:
    """tol=0 runs so many iterations, where the method has such."""
    return tol == 0 and not isinstance(method, Newton) and method not in ("newton", "epsilon_scaling", "multiscale")


def check_budget(relaxation: Any, time_limit: Any, callback: Any, progress: bool) -> None:
    """With tol=0 nothing is looked at before the end."""
    if relaxation != 1:
        raise ValueError(f"tol=0 runs max_iter plain iterations, and relaxation is {relaxation!r}; leave it at 1")
    for name, value in (("time_limit", time_limit), ("callback", callback), ("progress", progress or None)):
        if value is not None:
            raise ValueError(f"tol=0 runs max_iter iterations without a look between them; it takes no {name}")


def tells(size: Any, epsilon: Any, largest: float) -> Any:
    """True where potentials of this size to start from say something: float64 resolves them beside epsilon.

    Larger ones, beyond what costs so large can ask for, would hide the cost, in the certificate as well.
    """
    return size <= np.maximum(RESOLVED * np.asarray(epsilon), 1e3 * largest)


def last_side(problem: Problem, wanted: str | None) -> str:
    """The side updated last, and therefore exact: the only hard one, else the rows."""
    if wanted is not None:
        return wanted
    return "cols" if problem.cols.hard and not problem.rows.hard else "rows"
