"""The call `couple`: pairs of points of two batches, from an exact plan or an entropic one."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ..arrays.ingest import ingest_number, ingest_points
from ..calls import public
from ..costs.base import STRIP
from ..costs.far_points import by_products
from ..costs.points import METRICS, PointCloud, refuse_numbers
from ..errors import ConvergenceError
from ..plans.entries import sample_entries, sample_entry_partners
from ..plans.sampling import sample_partners
from ..problems.penalties import Fixed
from ..problems.penalty import Penalty
from ..solutions.coupling import Coupling, sharpness
from ..solutions.solution import Solution
from ..typing import ArrayLike, Number
from .assign import assign
from .exact import exact
from .options import check_choice
from .solve import solve

Indices = NDArray[np.int64]
CloudOrMatrix = PointCloud | NDArray[Any]
METHODS_OF_COUPLING = ("exact", "entropic")
ENTROPY_ERROR = 0.01  # of the renormalised entropy that was asked for
EPSILON_STEPS = 40  # solves that look for its epsilon, at most
EPSILON_FACTOR = 8.0  # between the first of them, until it lies between two
PART_FROM_ENDS = 0.1  # of the distance between two, by which the next one lies off either
SAMPLED_COSTS = 256  # points a side whose costs say where to begin


@public
def couple(
    x0: ArrayLike,
    x1: ArrayLike,
    *,
    k: int | None = None,
    method: Literal["exact", "entropic"] = "exact",
    epsilon: Number | str | None = None,
    entropy: float | None = None,
    metric: str = "sqeuclidean",
    rows: Penalty = Fixed(),  # noqa: B008 - frozen
    cols: Penalty = Fixed(),  # noqa: B008
    replace: bool = False,
    seed: int | np.random.Generator | None = None,
    tol: float = 1e-3,
) -> Coupling:
    """Pairs of the points of two batches, drawn from an optimal plan between them: for flow matching.

    Parameters
    ----------
    x0, x1 : array_like, shapes (n, ...) and (m, ...)
        Two batches; what follows the first dimension, say channels and pixels, is flattened. All points weigh the same.
    k : int, optional
        How many pairs; default n.
    method : {"exact", "entropic"}
        A cheapest matching, or a cheapest plan where n and m differ; or a plan with entropy.
    epsilon : float or str, optional
        For "entropic", in units of the cost, or as a fraction of its range, ``"0.05x"``, as for `solve`.
    entropy : float, optional
        In place of `epsilon`: the renormalised entropy of the plan, in (0, 1): near 0 almost a matching, near 1 almost
        independent pairs. It is met to 0.01, by some solves; pass ``coupling.epsilon`` on to have one in later batches.
    metric : str
        As for `PointCloud`.
    rows, cols : Penalty
        As for `solve` and `exact`: with `KL` and the like points that lie far off have fewer pairs. They need
        ``replace=True``.
    replace : bool
        False: every point of x0 at most once, in order, or k of them drawn without replacement; each has a partner
        drawn from its row of the plan, so that a matching is returned as it is. True: k independent pairs of the plan.
    seed : int or numpy.random.Generator, optional
        Where randomness comes from.
    tol : float
        Tolerance of "entropic".

    Returns
    -------
    Coupling
        ``rows, cols`` by unpacking, and the plan with its proof.

    Raises
    ------
    ValueError, TypeError
        Bad input, named with its value.
    ConvergenceError
        The solver has not converged: no pairs are returned that are not of the plan that was asked for.

    See Also
    --------
    Solution.sample, ExactSolution.sample : pairs from any plan.
    elastic_ot.torch.OTPlanSampler : in place of the class of torchcfm.

    Notes
    -----
    The plan is not stored: partners are drawn from rows that are read some at a time. A matching of a `PointCloud` in
    up to 8 coordinates takes memory of the order of n. The renormalised entropy is (H(P) - max(H(r), H(c))) / min(H(r),
    H(c)), with the plan's marginals r and c.

    A solve begins anew in every batch. Potentials of the last batch, carried over by a soft minimum over its points,
    were measured as a start, and cost more than they save.

    References
    ----------
    Pooladian et al., *Multisample flow matching: straightening flows with minibatch couplings*, 2023; Tong et al.,
    *Improving and generalizing flow-based generative models with minibatch optimal transport*, 2024; Zhang et al., *On
    fitting flow models with large Sinkhorn couplings*, 2025.

    Examples
    --------
    >>> import numpy as np
    >>> import elastic_ot as eot
    >>> rng = np.random.default_rng(0)
    >>> x0, x1 = rng.normal(size=(256, 2)), rng.normal(size=(256, 2)) + 3.0
    >>> rows, cols = eot.couple(x0, x1)
    >>> velocities = x1[cols] - x0[rows]
    >>> soft = eot.couple(x0, x1, method="entropic", entropy=0.3, seed=0)
    >>> abs(soft.entropy - 0.3) <= 0.01, soft.rows.shape
    (True, (256,))
    """
    check_choice("method", method, METHODS_OF_COUPLING)
    if not isinstance(replace, bool | np.bool_):
        raise TypeError(f"replace is {replace!r}; it must be True or False")
    cost = by_products(_cloud(x0, x1, metric))
    draw = _Draw(cost.shape[0], _check_count(k), bool(replace), np.random.default_rng(seed))
    given = type(rows) is Fixed and type(cols) is Fixed
    if not (replace or given):
        raise ValueError(
            f"rows is {rows!r} and cols {cols!r}; a point may then have no partner, so pairs need replace=True"
        )
    if method == "exact":
        for name, value in (("epsilon", epsilon), ("entropy", entropy)):
            if value is not None:
                raise ValueError(f"{name} is {value!r} and method is 'exact', which has none; choose method='entropic'")
        if given and cost.shape[0] == cost.shape[1]:
            return _matched(cost, draw)
        return _exact(cost, rows, cols, draw)
    if (epsilon is None) == (entropy is None):
        raise ValueError(f"epsilon is {epsilon!r} and entropy {entropy!r}; method='entropic' needs one of them")
    options = {"rows": rows, "cols": cols, "tol": tol}
    found = _solved(cost, epsilon, options) if entropy is None else _of_entropy(cost, entropy, options)
    return Coupling(*draw.of_solution(found), found)


@dataclass(frozen=True)
class _Draw:
    """How pairs are drawn from a plan between n points and others."""

    n: int
    k: int | None
    replace: bool
    rng: np.random.Generator

    def __post_init__(self) -> None:
        k = self.k
        if k is None:
            return
        if k > self.n and not self.replace:
            raise ValueError(f"k is {k} and x0 has {self.n} points; more pairs than points need replace=True")

    @property
    def size(self) -> int:
        return self.n if self.k is None else self.k

    def rows(self) -> Indices:
        """Points of x0, each at most once unless drawn with replacement."""
        if self.k is None and not self.replace:
            return np.arange(self.n)
        drawn: Indices = self.rng.choice(self.n, self.size, replace=self.replace)
        return drawn

    def of_solution(self, found: Solution) -> tuple[Indices, Indices]:
        if self.replace:
            return found.sample(self.size, self.rng)
        rows = self.rows()
        return rows, sample_partners(found.found, rows, self.rng)


def _check_count(k: Any) -> int | None:
    if k is None:
        return None
    if isinstance(k, bool) or not isinstance(k, int | np.integer) or k < 1:
        raise ValueError(f"k is {k!r}; it must be an integer >= 1")
    return int(k)


def _matched(cost: CloudOrMatrix, draw: _Draw) -> Coupling:
    found = assign(cost)
    rows = draw.rows()
    return Coupling(rows, found.col_ind[rows].astype(np.int64), found)


def _exact(cost: CloudOrMatrix, rows: Penalty, cols: Penalty, draw: _Draw) -> Coupling:
    found = exact(cost, rows=rows, cols=cols)
    entries = found.row_ind, found.col_ind, found.mass
    if draw.replace:
        pairs = sample_entries(*entries, draw.size, draw.rng)
    else:
        drawn = draw.rows()
        pairs = drawn, sample_entry_partners(*entries, drawn, draw.rng)
    return Coupling(*pairs, found)


def _solved(cost: CloudOrMatrix, epsilon: Any, options: dict[str, Any], start: Solution | None = None) -> Solution:
    init = None if start is None else (start.f, start.g)
    found: Solution = solve(cost, epsilon=epsilon, init=init, on_failure="raise", **options)
    return found


def _of_entropy(cost: CloudOrMatrix, entropy: Any, options: dict[str, Any]) -> Solution:
    """The plan of this renormalised entropy, which grows with epsilon: by interpolation in its logarithm."""
    wanted = ingest_number("entropy", entropy)
    if not 0 < wanted < 1:
        raise ValueError(f"entropy is {wanted}; it must lie in (0, 1), where method='exact' is 0")
    n, m = cost.shape
    if min(n, m) < 2:
        raise ValueError(f"entropy is {wanted} between {n} and {m} points; pass an epsilon")
    if isinstance(cost, PointCloud) and n * m <= STRIP:
        cost = cost.block(slice(0, n), slice(0, m))  # once for all solves
    ends: list[tuple[float, float] | None] = [None, None]  # (log epsilon, entropy) with too little and with too much
    log, share, found = math.log(_scale(cost) * wanted), 0.0, None
    for _ in range(EPSILON_STEPS):
        found = _solved(cost, math.exp(log), options, found)
        share = sharpness(found)
        if abs(share - wanted) <= ENTROPY_ERROR:
            return found
        ends[int(share > wanted)] = log, share
        low, high = ends
        if low is not None and high is not None:
            part = (wanted - low[1]) / (high[1] - low[1])
            log = low[0] + min(max(part, PART_FROM_ENDS), 1.0 - PART_FROM_ENDS) * (high[0] - low[0])
        else:
            log += math.log(EPSILON_FACTOR) * (1.0 if high is None else -1.0)
    raise ConvergenceError(
        f"no epsilon has the entropy {wanted:g}, {math.exp(log):g} gives {share:g}; do points coincide? pass an epsilon"
    )


def _scale(cost: CloudOrMatrix) -> float:
    """The standard deviation of costs, of some of the points."""
    rows, cols = (slice(0, size, max(1, size // SAMPLED_COSTS)) for size in cost.shape)
    if isinstance(cost, PointCloud):
        some = PointCloud.of_checked(cost.x[rows], cost.y[cols], cost.metric)
        costs = some.block(slice(0, some.shape[0]), slice(0, some.shape[1]))
    else:
        costs = cost[rows, cols]
    spread = float(costs.std(dtype=np.float64))
    if not spread > 0:
        raise ValueError("all costs are equal, so every plan is as good as independent pairs; pass an epsilon")
    return spread


def _cloud(x0: Any, x1: Any, metric: str) -> PointCloud:
    check_choice("metric", metric, METRICS)
    batches = []
    for name, given in (("x0", x0), ("x1", x1)):
        array = ingest_points(name, given.detach() if getattr(given, "requires_grad", False) else given)
        array = array.reshape(array.shape[0], -1)
        refuse_numbers(name, array, metric)
        batches.append(array)
    sizes = [array.shape[1] for array in batches]
    if sizes[0] != sizes[1]:
        raise ValueError(f"points of x0 have {sizes[0]} coordinates and those of x1 {sizes[1]}; they must agree")
    return PointCloud(batches[0], batches[1], metric)
