"""POT's arguments in our terms: methods, thresholds, strengths; what is refused."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from inspect import signature
from typing import Any

import numpy as np

from ...calls import suggestion
from ...errors import InfeasibleError
from ...problems.penalties import KL, L2, TV
from ...problems.penalty import Penalty
from ...solvers.methods import METHODS

SINKHORNS = (
    *("sinkhorn", "sinkhorn_log", "sinkhorn_stabilized", "sinkhorn_epsilon_scaling", "greenkhorn", "screenkhorn"),
    *("sinkhorn_reg_scaling", "sinkhorn_translation_invariant"),
)
HARMLESS = ("tau", "print_period", "epsilon0", "numInnerItermax", "translation_invariant", "n_threads", "numThreads")
LEAST_THRESHOLD = 1e-12  # below it rounding decides
MASS_MARGIN = 1e-6  # by how much masses may differ for `emd`, as in POT


class Unsupported(NotImplementedError, ValueError):
    """What the original can do and this front end does not; the message says what to do instead."""


class MassMismatch(InfeasibleError, AssertionError):
    """Two masses that differ, or shapes: for `emd` an AssertionError, as in POT."""


def method_of(method: str | None) -> str:
    """Return our method for one of POT's names; ours go through.

    POT's names are ways around numbers too large or too small, or around slow convergence, which "auto" chooses itself.
    """
    name = "sinkhorn" if method is None else str(method).lower()
    if name in SINKHORNS:
        return "auto"
    if name == "auto" or name in METHODS:
        return name
    raise ValueError(f"method is {method!r}; choose from {', '.join(map(repr, SINKHORNS))}, or one of elastic_ot.solve")


def known(call: Callable[..., object], options: Mapping[str, object], *names: str) -> None:
    """Refuse what is neither POT's nor ours; what only steers POT's loops is ignored."""
    for name in options:
        if name not in HARMLESS and name not in names:
            meant = suggestion(name, [*signature(call).parameters, *names])
            raise TypeError(f"{call.__name__}() has no argument {name!r}{meant}")


def threshold(stop: float) -> float:
    """Return the tolerance for POT's `stopThr`: the L1 error of the marginals, where POT takes the L2 norm."""
    return max(float(stop), LEAST_THRESHOLD)


def strengths(reg_m: Any, name: str = "reg_m") -> tuple[float, float]:
    """Return the strengths of both sides; one stands for both."""
    values = np.atleast_1d(np.asarray(reg_m, dtype=np.float64)).ravel()
    if values.size not in (1, 2):
        raise ValueError(f"{name} has {values.size} entries; it must be one strength, or one for each side")
    return float(values[0]), float(values[-1])


def sides(reg_m: Any, kind: str = "kl") -> tuple[Penalty, Penalty]:
    """Return the penalties of both sides; an infinite strength is a `Fixed` side."""
    kinds: dict[str, Callable[[float], Penalty]] = {"kl": KL, "l2": L2, "tv": TV}
    if str(kind).lower() not in kinds:
        raise Unsupported(f"unbalanced_type is {kind!r}; choose from 'KL', 'L2', 'TV'")
    first, second = (kinds[str(kind).lower()](rho) for rho in strengths(reg_m))
    return first, second


def printer(verbose: bool) -> Callable[[int, Any], object] | None:
    """Return a callback that prints iterations and errors as POT does, or None."""
    if not verbose:
        return None

    def show(iteration: int, residual: Any) -> None:
        if iteration <= 1:
            print(f"{'It.':5s}|{'Err':12s}\n" + "-" * 19)
        print(f"{iteration:5d}|{float(np.max(residual)):8e}|")

    return show


def check_mass(m: Any, first: float, second: float) -> float:
    """Return the mass of a partial plan; refuses one that the lighter side has not."""
    most = min(first, second)
    amount = most if m is None else float(m)
    if amount < 0 or math.isnan(amount):
        raise ValueError(f"m is {amount}; it must be >= 0")
    if amount > most * (1.0 + 1e-9):
        raise InfeasibleError(f"m is {amount:.12g}, and the lighter side has {most:.12g}; lower it")
    return amount
