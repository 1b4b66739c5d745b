"""Types of POT's calls: what they take, the options they share, and the dictionaries that ``log=True`` adds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, TypeAlias, TypedDict, TypeVar

from ...typing import Array, ArrayLike, ForeignArray, Number, Numbers

if TYPE_CHECKING:
    from ...solutions.barycenter import Barycenter
    from ...solutions.exact import ExactSolution
    from ...solutions.gromov import GromovSolution
    from ...solutions.solution import Solution

Notes = TypeVar("Notes")

Matrix: TypeAlias = ArrayLike | Array
Weights: TypeAlias = ArrayLike | Array | None
"""None and an empty list stand for uniform ones."""
Strength: TypeAlias = Number | ForeignArray | Array
"""A number, or a tensor of one in which derivatives are wanted."""
Strengths: TypeAlias = Number | Numbers | Sequence[Number]
"""One for both sides, or one for each."""
Scalings: TypeAlias = tuple[Matrix, Matrix]
"""Their logarithms."""


class EntropicLog(TypedDict, total=False):
    """What is known of an entropic solve: costs of a relaxed one, "partial_w_dist" of one of a given mass."""

    u: Array
    v: Array
    log_u: Array
    log_v: Array
    logu: Array
    logv: Array
    alpha: Array
    beta: Array
    warmstart: tuple[Array, Array]
    lazy_plan: object
    err: list[float]
    niter: int
    n_iter: int
    cost: Array
    total_cost: Array
    partial_w_dist: Array
    sinkhorn_loss_ab: Array
    sinkhorn_loss_a: Array
    sinkhorn_loss_b: Array
    log_sinkhorn_ab: EntropicLog
    log_sinkhorn_a: EntropicLog
    log_sinkhorn_b: EntropicLog
    solution: Solution


class ExactLog(TypedDict, total=False):
    """What is known of an exact solve."""

    cost: Array
    partial_w_dist: Array
    u: Array
    v: Array
    G: Array
    T: Array
    price: float | None
    warning: str | None
    result_code: int
    solution: ExactSolution


class GromovLog(TypedDict, total=False):
    """What is known of a descent."""

    gw_dist: Array
    fgw_dist: Array
    lin_loss: Array
    quad_loss: Array
    loss: list[float]
    err: list[float]
    u: Array
    v: Array
    T: Array
    warning: str | None
    result_code: int
    solution: GromovSolution


class BarycenterLog(TypedDict, total=False):
    """What is known of a barycenter."""

    err: list[float]
    niter: int
    solution: Barycenter


class Loops(TypedDict, total=False):
    """What steers POT's own loops, and is ignored."""

    tau: float
    print_period: int
    epsilon0: float
    numInnerItermax: int
    translation_invariant: bool
    n_threads: int
    numThreads: int | str


class Shown(TypedDict, total=False):
    """When to stop, and whether to print."""

    stopThr: float
    verbose: bool


class Passes(Shown, total=False):
    """How many passes to take at most."""

    numItermax: int


class Entropy(Passes, total=False):
    """Options of balanced entropic calls."""

    warn: bool
    warmstart: Scalings | None


class LoopedEntropy(Entropy, Loops, total=False):
    """The same with those that are ignored."""


class Points(Shown, Loops, total=False):
    """Options of calls between points."""

    a: Weights
    b: Weights
    metric: str
    numIterMax: int
    batchSize: int
    warn: bool
    warmstart: Scalings | None


class Means(Passes, total=False):
    """Options of barycenters."""

    warn: bool


class LoopedMeans(Means, Loops, total=False):
    """The same with those that are ignored."""


class Relaxed(Passes, Loops, total=False):
    """Options of relaxed entropic calls."""

    reg_type: str
    c: Matrix | None
    warmstart: Scalings | None


class Descent(Passes, total=False):
    """Options of the relaxed calls that are named after a descent."""

    G0: Matrix | None


class Exact(TypedDict, total=False):
    """Options of exact calls."""

    numItermax: int
    center_dual: bool
    numThreads: int | str
    check_marginals: bool
    potentials_init: Scalings | None


class _Pairs(TypedDict, total=False):
    loss_fun: str
    symmetric: bool | None
    G0: Matrix | None
    verbose: bool
    numItermax: int
    numItermaxEmd: int
    stopThr: float
    method: str
    warn: bool


class Spaces(_Pairs, total=False):
    """Options of Gromov-Wasserstein without entropy."""

    armijo: bool
    max_iter: float
    tol_rel: float
    tol_abs: float
    alpha_min: float | None
    alpha_max: float | None


class EntropicSpaces(_Pairs, total=False):
    """Options of entropic Gromov-Wasserstein."""

    max_iter: int
    tol: float
    solver: str
    warmstart: bool


class PlansLog(TypedDict, total=False):
    """What is known of two plans: the duals of one solve or of two, the energy, the objective by POT's names."""

    error: list[float]
    duals: tuple[Array, Array]
    duals_sample: tuple[Array, Array]
    duals_feature: tuple[Array, Array]
    linear_cost: Array
    fugw_cost: Array
    ucoot_cost: Array


class _Relaxed(TypedDict, total=False):
    reg_marginals: Strengths
    divergence: str
    unbalanced_solver: str
    max_iter: int
    tol: float
    max_iter_ot: int
    tol_ot: float
    verbose: bool


class RelaxedSpaces(_Relaxed, total=False):
    """Options of Gromov-Wasserstein with penalties of products."""

    epsilon: float
    alpha: float
    M: Matrix | None
    init_duals: Scalings | None
    init_pi: Matrix | None


class Across(_Relaxed, total=False):
    """Options of couplings of rows and of columns."""

    wx_samp: Weights
    wx_feat: Weights
    wy_samp: Weights
    wy_feat: Weights
    epsilon: Strengths
    alpha: Strengths
    M_samp: Matrix | None
    M_feat: Matrix | None
    rescale_plan: bool
    init_pi: tuple[Matrix | None, Matrix | None] | None
    init_duals: tuple[Scalings | None, Scalings | None] | None


def answer(log: bool, result: Array, notes: Callable[[], Notes]) -> Array | tuple[Array, Notes]:
    """Return the result, with the dictionary if that was asked for."""
    return (result, notes()) if log else result
