"""Relaxed entropic problems: solved, and the objective of what is found."""

from __future__ import annotations

import warnings
from typing import Any, Literal

from ...problems.penalties import KL, L2, TV
from ...problems.penalty import Penalty
from ...typing import Array
from .arguments import sides
from .entropic import Asked, Entropic, Sides, divergence_of, entropic, log_of_solve
from .types import EntropicLog, answer


def relaxed(
    a: Any, b: Any, M: Any, reg: Any, reg_m: Any, reg_type: str, c: Any, how: Asked, kind: str = "kl"
) -> tuple[Entropic, Sides]:
    """Solve a problem with penalties, and return these as well."""
    if str(reg_type).lower() not in ("kl", "entropy"):
        raise ValueError(f"reg_type is {reg_type!r}; choose from 'kl', 'entropy'")
    entropy = reg_type.lower() == "entropy"
    if entropy and c is not None:
        warnings.warn("reg_type is 'entropy', which does not read c", UserWarning, stacklevel=3)
    many = getattr(b, "ndim", 1) == 2
    if many and not entropy:
        warnings.warn("b has many histograms, for which reg_type is 'entropy', as in POT", UserWarning, stacklevel=3)
    both = sides(reg_m, kind)
    reference = "counting" if entropy or many else "product"
    found = entropic(M, a, b, reg, how, both, reference, None if entropy or many else c)
    return found, both


def plan_of_relaxed(
    found: Entropic, both: Sides, reg_type: str, c: Any, log: bool
) -> Array | tuple[Array, EntropicLog]:
    """Return the plan, or the costs of many histograms, with the dictionary if that was asked for."""
    if found.b.ndim == 2:
        return answer(log, found.linear_cost, lambda: log_of_solve(found))
    plan = found.plan
    return answer(log, plan, lambda: notes_of_relaxed(found, plan, both, reg_type, c))


def notes_of_relaxed(found: Entropic, plan: Any, both: Sides, reg_type: str, c: Any) -> Any:
    """POT's dictionary, with the objective."""
    home, xp = found.home, found.home.xp
    cost = found.linear_cost
    if reg_type.lower() == "entropy":
        entropy = divergence_of(home, plan, xp.ones_like(plan))
    else:
        entropy = divergence_of(home, plan, found.a[:, None] * found.b[None, :] if c is None else c)
    total = cost + found.reg * entropy
    for side, weights, axis in zip(both, (found.a, found.b), (1, 0), strict=True):
        total = total + _penalty(found, side.at(1.0), xp.sum(plan, axis=axis), weights)
    return log_of_solve(found) | {"cost": cost, "total_cost": total}


def _penalty(found: Entropic, side: Penalty, attained: Any, weights: Any) -> Any:
    """Return the penalty of a side, by functions that can be differentiated."""
    xp = found.home.xp
    if isinstance(side, KL):
        return side.rho * divergence_of(found.home, attained, weights)
    if isinstance(side, L2):
        return 0.5 * side.rho * xp.sum((attained - weights) ** 2)
    if isinstance(side, TV):
        return side.rho * xp.sum(xp.abs(attained - weights))
    return 0.0


def chosen_cost(
    found: Entropic, both: Sides, reg_type: str, c: Any, which: str, log: bool
) -> Array | tuple[Array, EntropicLog]:
    """Return the cost that was asked for, with the dictionary if that was; <M, P> of many histograms."""
    name = name_of_cost(which)
    if found.b.ndim == 2:
        return plan_of_relaxed(found, both, reg_type, c, log)
    notes = notes_of_relaxed(found, found.plan, both, reg_type, c)
    return answer(log, notes[name], lambda: notes)


def name_of_cost(which: str) -> Literal["cost", "total_cost"]:
    """Return the entry of the dictionary that `returnCost` asks for."""
    if which not in ("linear", "total"):
        raise ValueError(f"returnCost is {which!r}; choose from 'linear', 'total'")
    return "cost" if which == "linear" else "total_cost"
