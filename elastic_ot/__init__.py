"""Optimal transport with elastic marginals: entropic, certified, fast.

The public names are those of ``elastic_ot.__all__``, which are documented below, and of the modules `applications`,
`compat`, `distributed`, `jax`, `sklearn`, `torch` and `typing`. All others are internal and change without notice.

Names are loaded on first use: `import elastic_ot` costs next to nothing, the compiled kernels come with the first
solve.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

__version__ = "0.2.0"

_HOME = {
    "solve": "api.solve",
    "assign": "api.assign",
    "exact": "api.exact",
    "divergence": "api.divergence",
    "gromov": "api.gromov",
    "low_rank": "api.low_rank",
    "transport_1d": "api.transport_1d",
    "sliced": "api.sliced",
    "couple": "api.couple",
    "couples": "api.couples",
    "barycenter": "api.barycenter",
    "free_barycenter": "api.free_barycenter",
    "precompile": "api.precompile",
    "set_num_threads": "backends.cpu.threads",
    "get_num_threads": "backends.cpu.threads",
    "Fixed": "problems.penalties",
    "KL": "problems.penalties",
    "TV": "problems.penalties",
    "L2": "problems.penalties",
    "Between": "problems.penalties",
    "AtMost": "problems.penalties",
    "Free": "problems.penalties",
    "Elastic": "problems.penalties",
    "Cost": "costs.base",
    "FunctionCost": "costs.function",
    "PointCloud": "costs.points",
    "Grid": "costs.grid",
    "Newton": "solvers.newton",
    "Solution": "solutions.solution",
    "BatchSolution": "solutions.batch",
    "Assignment": "solutions.assignment",
    "ExactSolution": "solutions.exact",
    "BatchAssignment": "solutions.assignment_batch",
    "BatchExactSolution": "solutions.exact_batch",
    "LineSolution": "solutions.line",
    "PointGradients": "solutions.line",
    "SlicedSolution": "solutions.sliced",
    "Coupling": "solutions.coupling",
    "Status": "solvers.status",
    "Divergence": "solutions.divergence",
    "BatchDivergence": "solutions.batch_divergence",
    "DivergenceGradients": "solutions.divergence",
    "GromovSolution": "solutions.gromov",
    "GromovHistory": "solutions.gromov",
    "LowRankSolution": "solutions.low_rank",
    "LowRankHistory": "solutions.low_rank",
    "Barycenter": "solutions.barycenter",
    "BarycenterGradients": "derivatives.barycenter",
    "FreeBarycenter": "solutions.free_barycenter",
    "Gradients": "derivatives.records",
    "Tangents": "derivatives.records",
    "History": "solvers.history",
    "ConvergenceWarning": "errors",
    "ConvergenceError": "errors",
    "InfeasibleError": "errors",
    "BackendUnavailable": "errors",
    "RankError": "errors",
}

_SUBMODULES = ("applications", "compat", "distributed", "jax", "sklearn", "torch", "typing")

__all__ = ["__version__", *_HOME]


if not TYPE_CHECKING:  # to whom a wrong name is an error

    def __getattr__(name: str) -> object:
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
    from . import applications as applications
    from . import compat as compat
    from . import distributed as distributed
    from . import jax as jax
    from . import sklearn as sklearn
    from . import torch as torch
    from . import typing as typing
    from .api.assign import assign as assign
    from .api.barycenter import barycenter as barycenter
    from .api.couple import couple as couple
    from .api.couples import couples as couples
    from .api.divergence import divergence as divergence
    from .api.exact import exact as exact
    from .api.free_barycenter import free_barycenter as free_barycenter
    from .api.gromov import gromov as gromov
    from .api.low_rank import low_rank as low_rank
    from .api.precompile import precompile as precompile
    from .api.sliced import sliced as sliced
    from .api.solve import solve as solve
    from .api.transport_1d import transport_1d as transport_1d
    from .backends.cpu.threads import get_num_threads as get_num_threads
    from .backends.cpu.threads import set_num_threads as set_num_threads
    from .costs.base import Cost as Cost
    from .costs.function import FunctionCost as FunctionCost
    from .costs.grid import Grid as Grid
    from .costs.points import PointCloud as PointCloud
    from .derivatives.barycenter import BarycenterGradients as BarycenterGradients
    from .derivatives.records import Gradients as Gradients
    from .derivatives.records import Tangents as Tangents
    from .errors import BackendUnavailable as BackendUnavailable
    from .errors import ConvergenceError as ConvergenceError
    from .errors import ConvergenceWarning as ConvergenceWarning
    from .errors import InfeasibleError as InfeasibleError
    from .errors import RankError as RankError
    from .problems.penalties import KL as KL
    from .problems.penalties import L2 as L2
    from .problems.penalties import TV as TV
    from .problems.penalties import AtMost as AtMost
    from .problems.penalties import Between as Between
    from .problems.penalties import Elastic as Elastic
    from .problems.penalties import Fixed as Fixed
    from .problems.penalties import Free as Free
    from .solutions.assignment import Assignment as Assignment
    from .solutions.assignment_batch import BatchAssignment as BatchAssignment
    from .solutions.barycenter import Barycenter as Barycenter
    from .solutions.batch import BatchSolution as BatchSolution
    from .solutions.batch_divergence import BatchDivergence as BatchDivergence
    from .solutions.coupling import Coupling as Coupling
    from .solutions.divergence import Divergence as Divergence
    from .solutions.divergence import DivergenceGradients as DivergenceGradients
    from .solutions.exact import ExactSolution as ExactSolution
    from .solutions.exact_batch import BatchExactSolution as BatchExactSolution
    from .solutions.free_barycenter import FreeBarycenter as FreeBarycenter
    from .solutions.gromov import GromovHistory as GromovHistory
    from .solutions.gromov import GromovSolution as GromovSolution
    from .solutions.line import LineSolution as LineSolution
    from .solutions.line import PointGradients as PointGradients
    from .solutions.low_rank import LowRankHistory as LowRankHistory
    from .solutions.low_rank import LowRankSolution as LowRankSolution
    from .solutions.sliced import SlicedSolution as SlicedSolution
    from .solutions.solution import Solution as Solution
    from .solvers.history import History as History
    from .solvers.newton import Newton as Newton
    from .solvers.status import Status as Status
