"""Optimal transport with elastic marginals: entropic, certified, fast.

The public names, loaded on first use: `import elastic_ot` costs next to nothing, the compiled kernels come with the
first solve.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_HOME = {
    "solve": "api",
    "assign": "unregularised",
    "exact": "unregularised",
    "divergence": "debiased",
    "Fixed": "penalties",
    "KL": "penalties",
    "TV": "penalties",
    "L2": "penalties",
    "Between": "penalties",
    "AtMost": "penalties",
    "Free": "penalties",
    "Elastic": "penalties",
    "Newton": "solvers.newton",
    "Solution": "result",
    "BatchSolution": "batch_result",
    "Assignment": "exact_result",
    "ExactSolution": "exact_result",
    "BatchAssignment": "exact_batches",
    "BatchExactSolution": "exact_batches",
    "Status": "result",
    "Divergence": "debiased",
    "BatchDivergence": "batch_divergence",
    "DivergenceGradients": "debiased",
    "Gradients": "gradients",
    "Tangents": "gradients",
    "History": "result",
    "ConvergenceWarning": "errors",
    "ConvergenceError": "errors",
    "InfeasibleError": "errors",
    "BackendUnavailable": "errors",
}

_SUBMODULES = ("applications", "jax", "torch")

__all__ = ["__version__", *_HOME]


def __getattr__(name: str) -> Any:
    if name in _SUBMODULES:
        return importlib.import_module(f"{__name__}.{name}")
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*__all__, *_SUBMODULES])


if TYPE_CHECKING:
    from .api import solve as solve
    from .batch_divergence import BatchDivergence as BatchDivergence
    from .batch_result import BatchSolution as BatchSolution
    from .debiased import Divergence as Divergence
    from .debiased import DivergenceGradients as DivergenceGradients
    from .debiased import divergence as divergence
    from .errors import BackendUnavailable as BackendUnavailable
    from .errors import ConvergenceError as ConvergenceError
    from .errors import ConvergenceWarning as ConvergenceWarning
    from .errors import InfeasibleError as InfeasibleError
    from .exact_batches import BatchAssignment as BatchAssignment
    from .exact_batches import BatchExactSolution as BatchExactSolution
    from .exact_result import Assignment as Assignment
    from .exact_result import ExactSolution as ExactSolution
    from .gradients import Gradients as Gradients
    from .gradients import Tangents as Tangents
    from .penalties import KL as KL
    from .penalties import L2 as L2
    from .penalties import TV as TV
    from .penalties import AtMost as AtMost
    from .penalties import Between as Between
    from .penalties import Elastic as Elastic
    from .penalties import Fixed as Fixed
    from .penalties import Free as Free
    from .result import History as History
    from .result import Solution as Solution
    from .result import Status as Status
    from .solvers.newton import Newton as Newton
    from .unregularised import assign as assign
    from .unregularised import exact as exact
