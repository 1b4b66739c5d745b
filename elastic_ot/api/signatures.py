"""The options of public calls as types, so that what a call returns can be told by the form of its input."""

from __future__ import annotations

from typing import Literal, TypedDict

from ..problems.penalty import Penalty
from ..problems.terms import Reference
from ..solutions.batch import BatchSolution
from ..solutions.exact import ExactSolution
from ..solutions.solution import Solution
from ..solvers.methods import Method
from ..solvers.newton import Newton
from ..typing import ArrayLike, Callback, Number

OnFailure = Literal["warn", "raise", "ignore"]
Init = Solution[object] | BatchSolution[object] | ExactSolution | tuple[ArrayLike, ArrayLike] | None


class SolveOptions(TypedDict, total=False):
    """Those of `solve` that say nothing about whether there are many problems."""

    rows: Penalty
    cols: Penalty
    reference: Reference
    mask: ArrayLike | None
    mass: float | None
    method: Method | Newton
    relaxation: float | Literal["auto"]
    tol: float
    max_iter: int
    time_limit: float | None
    init: Init
    end: Literal["rows", "cols"] | None
    callback: Callback | None
    progress: bool
    on_failure: OnFailure
    comm: object


class ExactOptions(TypedDict, total=False):
    """Those of `exact`."""

    rows: Penalty
    cols: Penalty
    mask: ArrayLike | None
    mass: ArrayLike | None
    time_limit: float | None


class DivergenceOptions(TypedDict, total=False):
    """Those of `divergence`."""

    rows: Penalty
    cols: Penalty
    method: Method | Newton
    tol: float
    max_iter: int
    time_limit: float | None
    on_failure: OnFailure
    comm: object


class MethodOptions(TypedDict, total=False):
    """Those of the operators of PyTorch and JAX but the penalties."""

    reference: Reference
    method: Method | Newton
    relaxation: float | Literal["auto"]
    tol: float
    max_iter: int
    time_limit: float | None
    progress: bool
    on_failure: OnFailure


class ApplicationOptions(MethodOptions, total=False):
    """Those that applications hand on to a solve."""

    rows: Penalty
    cols: Penalty


class OperatorOptions(ApplicationOptions, total=False):
    """Those of the operators of PyTorch and JAX."""

    end: Literal["rows", "cols"] | None


class CoupleOptions(TypedDict, total=False):
    """Those of `couple` but for the seed."""

    k: int | None
    method: Literal["exact", "entropic"]
    epsilon: Number | str | None
    entropy: float | None
    metric: str
    rows: Penalty
    cols: Penalty
    replace: bool
    tol: float
