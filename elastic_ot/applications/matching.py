r"""Matching of two sets of keypoints by a transport plan with dustbins.

Scores S (m, n) get a row and a column for what has no partner, all of score alpha. Keypoints carry 1 each, the
dustbin of one side what the other side has: marginals [1, ..., 1, n] and [1, ..., 1, m]. The plan is

    P = exp((f_i + g_j + S_ij) / epsilon).

**Elastic dustbins.** As keypoints stay fixed, both dustbins exceed or fall short of their nominal masses by the same
amount: they carry n - delta and m - delta. `tau` < 1 lets delta differ from 0 at the price

    epsilon ((W + delta) log((W + delta) / W) - delta),   W = (1 - tau) / tau * m n / (m + n),

which has, to second order, the price of ``KL(rho)`` dustbins, rho (KL(n - delta | n) + KL(m - delta | m)) with
rho = epsilon tau / (1 - tau). It is the problem above with dustbins of n + W and m + W and a reservoir of W at cost 0
in the corner, so that one solve with fixed sides finds it, and it can be differentiated as any. Its optimality
condition is f + g = epsilon log(1 + delta / W) at the dustbins. As tau tends to 0 that becomes f + g = 0: a pair is
then weighed against two fixed prices alpha, whatever the number of the other pairs; at tau = 1 against
alpha + epsilon log(P_corner), which depends on it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Generic, Literal

from ..calls import public
from ..frameworks.options import Grad
from ..results import one_line
from ..typing import Array, ArrayT, ArrayT_co
from .arguments import below_inf, finite, per_problem, positive, within_lengths
from .frameworks import detached, device_of, gather, logs_and_potentials, namespace, working


@dataclass(frozen=True, eq=False)
class Matches(Generic[ArrayT_co]):
    """Pairs of keypoints; returned by `match`.

    Attributes
    ----------
    matches0, matches1 : array of int, shapes (..., m) and (..., n)
        The partner of every keypoint of one set in the other, -1 for none.
    scores0, scores1 : array, shapes (..., m) and (..., n)
        The mass of the pair where two keypoints are each other's largest, whether or not above the threshold; else 0.
    log_plan : array, shape (..., m + 1, n + 1)
        log P with the dustbins last: keypoints have marginals 1. -inf for padding and for pairs that are forbidden.
    error : array, shape (...)
        L1 distance of the marginals from what they are to be, over m + n.
    """

    matches0: ArrayT_co
    scores0: ArrayT_co
    matches1: ArrayT_co
    scores1: ArrayT_co
    log_plan: ArrayT_co
    error: ArrayT_co

    __repr__ = one_line


@public
def match(
    scores: ArrayT,
    *,
    dustbin: float | Array,
    epsilon: float = 1.0,
    iterations: int | None = 100,
    threshold: float = 0.2,
    tau: float = 1.0,
    row_lengths: Array | None = None,
    col_lengths: Array | None = None,
    grad: Grad = "implicit",
    tol: float = 1e-6,
    on_failure: Literal["warn", "raise", "ignore"] = "warn",
) -> Matches[ArrayT]:
    """Match keypoints that are each other's most likely partner.

    Parameters
    ----------
    scores : array, shape (..., m, n)
        How well keypoints of two sets go together; -inf forbids a pair. m or n may be 0, an image without keypoints:
        everything is then left to the dustbins.
    dustbin : float or array, shape (...)
        alpha, the score of having no partner. An array may carry derivatives.
    epsilon : float
        Strength of the entropy, in the units of the scores, > 0.
    iterations : int, optional
        Exactly so many, rows first, ending on the columns: the derivative is then that of the iterations. None goes on
        until the marginals are met to `tol`.
    threshold : float
        Pairs that carry no more mass than this are no matches, 0 <= threshold < 1.
    tau : float
        Elasticity of the dustbins, 0 < tau <= 1; 1 holds them at n and m.
    row_lengths, col_lengths : array of int, shape (...), optional
        Keypoints of each problem of a batch; scores beyond are padding and are not read.
    grad : {"implicit", "unroll", "detach"}
        How the plan is differentiated, as in ``elastic_ot.torch``; "detach" holds the potentials.
    tol : float
        Used where `iterations` is None: L1 distance of the marginals, as a share of m + n.
    on_failure : {"warn", "raise", "ignore"}
        As in `elastic_ot.solve`.

    Returns
    -------
    Matches
        In the library of the scores, in float32 at least.

    Raises
    ------
    ValueError, TypeError
        Bad input, named with its value.

    See Also
    --------
    elastic_ot.torch.DustbinMatcher : a module whose dustbin is a parameter.
    elastic_ot.applications.keypoint_graph : graphs for networks that make the scores.

    References
    ----------
    Sarlin et al., *SuperGlue: learning feature matching with graph neural networks*, 2020.

    Examples
    --------
    >>> from elastic_ot.applications.matching import match
    >>> found = match([[5.0, 0.0, 0.0], [0.0, 0.0, 4.0], [0.0, 0.0, 0.0]], dustbin=2.0)
    >>> found.matches0, found.matches1
    (array([ 0,  2, -1]), array([ 0, -1,  1]))
    """
    scores = working("scores", scores)
    _check(scores, epsilon, threshold, tau)
    xp = namespace(scores)
    m, n = scores.shape[-2:]
    alpha = _alpha(dustbin, scores)
    valid0, count0 = within_lengths("row_lengths", row_lengths, scores, m)
    valid1, count1 = within_lengths("col_lengths", col_lengths, scores, n)
    scores = xp.where(valid0[..., :, None] & valid1[..., None, :], scores, xp.zeros_like(scores))
    below_inf("scores", scores)
    finite("dustbin", alpha)
    a = xp.concat([xp.astype(valid0, scores.dtype), count1[..., None]], axis=-1)
    b = xp.concat([xp.astype(valid1, scores.dtype), count0[..., None]], axis=-1)
    total = count0 + count1
    reservoir = (1 - tau) / tau * count0 * count1 / xp.where(total > 0, total, xp.ones_like(total))
    some = xp.any(valid0[..., :, None] & valid1[..., None, :] & (scores > -xp.inf), axis=(-2, -1))
    how = _budget(iterations, tol, tau, on_failure)
    log_plan, error = _solve(scores, alpha, a, b, reservoir, some, epsilon, grad, how)
    return Matches(*_mutual(log_plan[..., :-1, :-1], threshold), log_plan, error)


def _check(scores: Any, epsilon: Any, threshold: Any, tau: Any) -> None:
    if scores.ndim < 2 or 0 in scores.shape[:-2]:
        raise ValueError(
            f"scores has shape {tuple(scores.shape)}; it must be (..., m, n), and of these only m, n may be 0"
        )
    positive("epsilon", epsilon)
    if not 0 <= threshold < 1:
        raise ValueError(f"threshold is {threshold}; it must be >= 0 and < 1")
    if not 0 < tau <= 1:
        raise ValueError(f"tau is {tau}; it must be > 0 and <= 1")


def _alpha(dustbin: Any, scores: Any) -> Any:
    """The score of the dustbins, shape (...)."""
    xp = namespace(scores)
    if isinstance(dustbin, int | float):
        dustbin = xp.asarray(dustbin, dtype=scores.dtype, device=device_of(scores))
    namespace(scores, dustbin)  # refuses two libraries
    return per_problem("dustbin", xp.astype(dustbin, scores.dtype), scores)


def _budget(iterations: Any, tol: float, tau: float, on_failure: str) -> dict[str, Any]:
    """Options of the solve; ends on the columns."""
    if iterations is None:
        # the reservoir has at most (1 - tau) / (4 tau) of the other mass, and the solver measures by all of it
        return {"tol": tol / (1 + (1 - tau) / (4 * tau)), "end": "cols", "on_failure": on_failure}
    if isinstance(iterations, bool) or not isinstance(iterations, int) or iterations < 1:
        raise ValueError(f"iterations is {iterations!r}; it must be an integer >= 1, or None")
    return {"tol": 0, "max_iter": iterations, "end": "cols"}


def _solve(
    scores: Any,
    alpha: Any,
    a: Any,
    b: Any,
    reservoir: Any,
    some: Any,
    epsilon: float,
    grad: Grad,
    options: dict[str, Any],
) -> tuple[Any, Any]:
    """Log of the plan with dustbins, and how far its marginals are off; `some`: whether a pair is allowed."""
    xp = namespace(scores)
    m, n = scores.shape[-2:]
    batch = scores.shape[:-2]
    col = xp.broadcast_to(alpha[..., None, None], (*batch, m, 1))
    row = xp.broadcast_to(alpha[..., None, None], (*batch, 1, n))
    top = xp.concat([scores, col], axis=-1)
    total = xp.sum(a, axis=-1)
    nobody = total == 0  # such a problem gets a mass in the corner, or there would be nothing to solve
    exists = (reservoir > 0) & some
    log_reservoir = xp.log(xp.where(exists, reservoir, xp.ones_like(reservoir)))
    corner = xp.where(exists, epsilon * xp.logaddexp(alpha / epsilon, log_reservoir), alpha)
    # the corner has the mass of the pairs; where none is allowed no finite potential would keep it empty
    corner = xp.where(some | nobody, corner, -xp.inf)
    full = xp.concat([top, xp.concat([row, corner[..., None, None]], axis=-1)], axis=-2)
    more = xp.where(exists, reservoir, xp.zeros_like(reservoir)) + xp.astype(nobody, a.dtype)
    a = xp.concat([a[..., :-1], a[..., -1:] + more[..., None]], axis=-1)
    b = xp.concat([b[..., :-1], b[..., -1:] + more[..., None]], axis=-1)
    logs, _, _ = logs_and_potentials(-full, a, b, epsilon=epsilon, reference="counting", grad=grad, **options)
    if grad == "detach":  # the potentials are constants, the scores are not
        logs = logs + xp.where(full > -xp.inf, full - detached(full), xp.zeros_like(full)) / epsilon
    plan = xp.exp(logs)
    off = xp.sum(xp.abs(xp.sum(plan, axis=-1) - a), axis=-1) + xp.sum(xp.abs(xp.sum(plan, axis=-2) - b), axis=-1)
    # the dustbins' own share of the corner
    own = xp.where(exists, alpha - corner, xp.zeros_like(corner)) / epsilon
    own = xp.where(nobody, -xp.inf, own)[..., None, None]
    last = xp.concat([logs[..., -1:, :-1], logs[..., -1:, -1:] + own], axis=-1)
    return xp.concat([logs[..., :-1, :], last], axis=-2), off / xp.where(nobody, xp.ones_like(total), total)


def _mutual(log_plan: Any, threshold: float) -> tuple[Any, Any, Any, Any]:
    """matches0, scores0, matches1, scores1."""
    xp = namespace(log_plan)
    device = device_of(log_plan)
    if 0 in log_plan.shape[-2:]:
        sizes = (*log_plan.shape[:-2], log_plan.shape[-2]), (*log_plan.shape[:-2], log_plan.shape[-1])
        nobody = xp.argmax(xp.zeros((1,), dtype=log_plan.dtype, device=device)) - 1  # -1 as the library's index
        matches = [xp.broadcast_to(nobody, size) for size in sizes]
        none = [xp.zeros(size, dtype=log_plan.dtype, device=device) for size in sizes]
        return matches[0], none[0], matches[1], none[1]
    best0, best1 = xp.argmax(log_plan, axis=-1), xp.argmax(log_plan, axis=-2)
    mutual0 = gather(best1, best0) == xp.arange(best0.shape[-1], dtype=best0.dtype, device=device)
    mutual1 = gather(best0, best1) == xp.arange(best1.shape[-1], dtype=best1.dtype, device=device)
    mass0 = xp.exp(xp.max(log_plan, axis=-1))
    scores0 = xp.where(mutual0, mass0, xp.zeros_like(mass0))
    scores1 = gather(scores0, best1)
    scores1 = xp.where(mutual1, scores1, xp.zeros_like(scores1))
    matches0 = xp.where(scores0 > threshold, best0, -xp.ones_like(best0))
    matches1 = xp.where(scores1 > threshold, best1, -xp.ones_like(best1))
    return matches0, scores0, matches1, scores1
