"""Everything the package raises or warns with, beyond plain ValueError and TypeError."""

from __future__ import annotations


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
