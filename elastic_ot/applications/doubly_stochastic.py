"""Doubly stochastic matrices: balanced from scores, or squares of orthogonal ones; mixtures of them, and two measures.

Arrays of NumPy, CuPy, torch or JAX, shapes (..., n, n) unless said otherwise; derivatives flow where the library has
them. Squares of unitary matrices are in `elastic_ot.applications.unitary`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, Unpack

from ..api.signatures import ApplicationOptions
from ..calls import public
from ..errors import InfeasibleError
from ..typing import Array, ArrayT
from .arguments import alike, at_least_0, count, first, matrices, positive, square, vectors
from .frameworks import half_steps, home, namespace, plan, real, softmax

__all__ = ["balance", "birkhoff_distance", "mixture", "plan_entropy", "qr_plan"]


@public
def balance(
    scores: ArrayT,
    iterations: int | None = 20,
    *,
    temperature: float | Array = 1.0,
    end: Literal["rows", "cols"] = "rows",
    **options: Unpack[ApplicationOptions],
) -> ArrayT:
    """Scale exp(scores / temperature) until rows and columns sum to one.

    Parameters
    ----------
    scores : array, shape (..., n, n)
        Logarithms: of a matrix M with entries >= 0 pass log M. -inf is an entry that stays 0.
    iterations : int or None
        How often both sides are normalised, the `end` side last; 20 is what manifold-constrained hyper-connections
        use. None solves to a tolerance.
    temperature : float or array, shape (...)
        > 0.
    end : {"rows", "cols"}
        The side that sums to one to rounding, however few the iterations.
    **options
        Those of `elastic_ot.solve`, say ``tol`` where iterations is None; for torch and JAX also ``grad``, by default
        ``"unroll"`` (the derivative of the iterations that were run), and ``"implicit"`` where iterations is None.

    Returns
    -------
    array, shape (..., n, n)
        Library and dtype of the scores.

    Raises
    ------
    ValueError, TypeError
        Bad input, named with its index and value.
    InfeasibleError
        A row or a column with nothing but -inf.

    Notes
    -----
    Many small matrices are one call and one kernel. No constant is added to denominators, as implementations on
    exponentials do against division by 0: potentials are logarithms, so that a row of exp(-1000) is as good as any.

    References
    ----------
    Sinkhorn, Knopp, *Concerning nonnegative matrices and doubly stochastic matrices*, 1967; Xie et al., *mHC:
    Manifold-constrained hyper-connections*, 2025.

    Examples
    --------
    >>> import numpy as np
    >>> from elastic_ot.applications.doubly_stochastic import balance
    >>> mixing = balance(np.random.default_rng(0).normal(size=(10_000, 4, 4)))
    >>> bool(abs(mixing.sum(axis=-1) - 1).max() < 1e-12)
    True
    """
    scores = square("scores", scores, allow_minus_inf=True)
    _check_support(scores)
    positive("temperature", temperature)
    if end not in ("rows", "cols"):
        raise ValueError(f"end is {end!r}; choose from 'rows', 'cols'")
    if iterations is None:
        given: dict[str, Any] = {"tol": 1e-9, "end": "cols"} | options
    else:
        _no_limits(options)
        given = {"grad": "unroll"} | options | half_steps(2 * count("iterations", iterations))
    xp = namespace(scores)
    cost = xp.matrix_transpose(scores) if end == "rows" else scores
    ones = xp.ones(cost.shape[-1:], **home(cost))
    found = plan(-cost, ones, ones, epsilon=temperature, **given)
    return xp.matrix_transpose(found) if end == "rows" else found


def _check_support(scores: Any) -> None:
    xp = namespace(scores)
    for axis, side in ((-1, "row"), (-2, "column")):
        index = first(xp.all(scores == -xp.inf, axis=axis))
        if index is not None:
            matrix = f" of matrix [{', '.join(map(str, index[:-1]))}]" if index[:-1] else ""
            raise InfeasibleError(f"scores has only -inf in {side} {index[-1]}{matrix}; it cannot sum to one")


def _no_limits(options: Mapping[str, Any]) -> None:
    for name in ("tol", "max_iter"):
        if name in options:
            raise ValueError(
                f"{name} is {options[name]!r} and so many iterations are run; pass iterations=None with it"
            )


@public
def qr_plan(matrix: ArrayT) -> ArrayT:
    """The squared entries of Q in matrix = Q R.

    Parameters
    ----------
    matrix : array, shape (..., n, n)
        Where it is singular Q, and with it the result, is a choice of the linear algebra library: doubly stochastic
        all the same, but not a continuous function, and its derivative is not defined. Scores q k^T are singular where
        queries have fewer features than there are tokens; the identity added, nearly all are regular.

    Returns
    -------
    array, shape (..., n, n)
        Doubly stochastic to rounding. The signs of Q's columns, which libraries choose differently, do not show. The
        first column depends on the direction of the matrix's first column alone.

    Raises
    ------
    ValueError, TypeError
        Not square, nan or inf.

    Examples
    --------
    >>> import numpy as np
    >>> from elastic_ot.applications.doubly_stochastic import qr_plan
    >>> qr_plan(np.array([[3.0, 0.0], [4.0, 1.0]])).round(2)
    array([[0.36, 0.64],
           [0.64, 0.36]])
    """
    matrix = square("matrix", matrix)
    xp = namespace(matrix)
    half = xp.finfo(matrix.dtype).bits < 32  # for which libraries have no factorisation
    q = xp.linalg.qr(xp.astype(matrix, xp.float32) if half else matrix)[0]
    return xp.astype(q * q, matrix.dtype)


@public
def mixture(plans: ArrayT, logits: Array) -> ArrayT:
    """The average of plans with weights softmax(logits).

    Parameters
    ----------
    plans : array, shape (..., k, n, m)
        Convex combinations of doubly stochastic matrices are doubly stochastic.
    logits : array, shape (..., k)
        -inf leaves a plan out.

    Returns
    -------
    array, shape (..., n, m)

    Raises
    ------
    ValueError, TypeError
        Shapes that do not fit, nan.

    Examples
    --------
    >>> import numpy as np
    >>> from elastic_ot.applications.doubly_stochastic import mixture
    >>> mixture(np.stack([np.eye(2), 1 - np.eye(2)]), np.log([3.0, 1.0]))
    array([[0.75, 0.25],
           [0.25, 0.75]])
    """
    plans, logits = matrices("plans", plans, "(..., k, n, m)"), real("logits", logits)
    alike(plans=plans, logits=logits)
    if plans.ndim < 3:
        raise ValueError(f"plans has shape {tuple(plans.shape)}; it must be (..., k, n, m)")
    if logits.ndim < 1 or logits.shape[-1] != plans.shape[-3]:
        raise ValueError(
            f"logits has shape {tuple(logits.shape)}; it must be (..., {plans.shape[-3]}), one for each plan"
        )
    xp = namespace(plans)
    vectors("logits", xp.where(logits == -xp.inf, xp.zeros_like(logits), logits))
    return xp.sum(softmax(logits)[..., None, None] * plans, axis=-3)


@public
def birkhoff_distance(p: ArrayT) -> ArrayT:
    """The distance of p to the matrices whose rows and columns sum to one, in the Frobenius norm.

    Parameters
    ----------
    p : array, shape (..., n, n)

    Returns
    -------
    array, shape (...)
        sqrt(abs(r)^2 / n + abs(c)^2 / n - s^2 / n^2), with r and c by how much rows and columns miss one and s the sum
        of either. Its derivative at 0 is taken to be 0.

    Raises
    ------
    ValueError, TypeError
        Not square, nan or inf.

    Notes
    -----
    Those matrices are the affine hull of the Birkhoff polytope of doubly stochastic ones. The distance to the polytope
    itself is never smaller, and the same wherever the nearest point of the hull, p - r 1^T/n - 1 c^T/n + s 1 1^T/n^2,
    has no entry below 0. So a p with negative entries is as far from the hull as this says, and possibly further from
    the polytope.

    Examples
    --------
    >>> import numpy as np
    >>> from elastic_ot.applications.doubly_stochastic import birkhoff_distance
    >>> float(birkhoff_distance(2 * np.eye(3)))
    1.0
    """
    p = square("p", p)
    xp = namespace(p)
    n = p.shape[-1]
    r, c = xp.sum(p, axis=-1) - 1, xp.sum(p, axis=-2) - 1
    # |r|^2 / n - s^2 / n^2 is the variance of r: as a difference it would lose half of the digits
    mean = xp.mean(r, axis=-1, keepdims=True)
    squared = xp.sum((r - mean) ** 2, axis=-1) / n + xp.sum(c * c, axis=-1) / n
    zero = squared == 0
    return xp.where(zero, xp.zeros_like(squared), xp.sqrt(xp.where(zero, xp.ones_like(squared), squared)))


@public
def plan_entropy(p: ArrayT) -> ArrayT:
    """The entropy -sum P log P over the whole matrix, in nats.

    Parameters
    ----------
    p : array, shape (..., n, m)
        Entries >= 0; zeros contribute nothing.

    Returns
    -------
    array, shape (...)
        For doubly stochastic matrices between 0, a permutation, and n log n, all entries equal.

    Raises
    ------
    ValueError, TypeError
        A negative entry, nan or inf.

    Examples
    --------
    >>> import numpy as np
    >>> from elastic_ot.applications.doubly_stochastic import plan_entropy
    >>> plan_entropy(np.stack([np.eye(4), np.full((4, 4), 0.25)])).round(3)
    array([0.   , 5.545])
    """
    p = at_least_0("p", matrices("p", p, "(..., n, m)"))
    xp = namespace(p)
    zero = p <= 0
    return 0.0 - xp.sum(p * xp.log(xp.where(zero, xp.ones_like(p), p)), axis=(-2, -1))  # 0 and not -0
