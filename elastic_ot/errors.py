"""Everything the package raises or warns with, beyond plain ValueError and TypeError."""

from __future__ import annotations

import sys
import warnings

_PACKAGE = __name__.partition(".")[0]


class ConvergenceWarning(UserWarning):
    """The solver stopped before the tolerance was met; the message says why and what to try."""


class ConvergenceError(RuntimeError):
    """Raised when ``on_failure="raise"`` and the solver stopped before the tolerance was met; the message says why."""


class InfeasibleError(ValueError):
    """No plan satisfies the hard marginals; the message names the row, the column or the two masses."""


class BackendUnavailable(ImportError):
    """The device or library asked for is not there; the message says how to install it."""


class RankError(RuntimeError):
    """Another process of a solve over processes has failed; the message names its rank and what it has raised."""


def warn_user(message: str) -> None:
    """Warn that something has not converged, at the line outside of this package that has called it."""
    frame, level = sys._getframe(1), 2
    while frame.f_back is not None and frame.f_globals.get("__name__", "").partition(".")[0] == _PACKAGE:
        frame, level = frame.f_back, level + 1
    warnings.warn(message, ConvergenceWarning, stacklevel=level)


def report_failure(message: str, on_failure: str) -> None:
    """Raise, warn or keep quiet about what has not converged, as the option of this name of a public call says."""
    if on_failure == "raise":
        raise ConvergenceError(message)
    if on_failure == "warn":
        warn_user(message)
