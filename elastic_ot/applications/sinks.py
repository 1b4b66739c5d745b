"""How much of the attention goes to a few keys: attention sinks, measured on weights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Generic

import numpy as np

from ..calls import public
from ..results import one_line
from ..typing import Array, ArrayT, ArrayT_co
from .arguments import finite
from .frameworks import namespace, real
from .marginals import in_library


@dataclass(frozen=True)
class SinkMetrics(Generic[ArrayT_co]):
    """Metrics of attention weights (..., n, m), computed on their columns.

    Attributes
    ----------
    importance : array, shape (..., m)
        What a key gets from the queries that may see it, on average.
    sink_rate : float
        Share of heads, of all layers, that have a sink at one position: an importance above the threshold there.
    max_over_mean : array, shape (...)
        The largest column sum over the mean one: 1 if balanced, m if one key has everything.
    entropy : array, shape (...)
        Of the column sums as a distribution, in nats: log m if balanced, 0 for one key.
    gini : array, shape (...)
        Of the column sums: 0 if balanced, 1 - 1 / m for one key.
    kl : array, shape (...)
        KL of the column sums to their targets, sum c log(c / b) - c + b.
    effective_rank : array, shape (...)
        Exp of the entropy of the singular values as a distribution: between 1 and min(n, m). (Roy, Vetterli, *The
        effective rank*, 2007.)
    """

    importance: ArrayT_co
    sink_rate: float
    max_over_mean: ArrayT_co
    entropy: ArrayT_co
    gini: ArrayT_co
    kl: ArrayT_co
    effective_rank: ArrayT_co

    __repr__ = one_line


@public
def sink_metrics(
    weights: ArrayT, *, b: Array | None = None, threshold: float = 0.3, position: int | None = 0, causal: bool = False
) -> SinkMetrics[ArrayT]:
    """All metrics of `SinkMetrics` at once.

    Parameters
    ----------
    weights : array, shape (..., n, m)
        >= 0; for a whole model (layers, heads, T, T).
    b : array, shape (..., m), optional
        Targets of the columns, default the sum of the weights over m.
    threshold : float
        Of the importance, above which a key is a sink.
    position : int, optional
        Of the key that `sink_rate` asks about, default the first; None for the mean over all positions.
    causal : bool
        Key k is seen by the queries from k on alone.

    Examples
    --------
    >>> import numpy as np
    >>> from elastic_ot.applications.sinks import sink_metrics
    >>> weights = np.zeros((4, 4))
    >>> weights[:, 0] = 1
    >>> found = sink_metrics(weights)
    >>> found.sink_rate, float(found.max_over_mean), float(found.gini)
    (1.0, 4.0, 0.75)
    """
    weights = _checked(weights, causal)
    xp = namespace(weights)
    c = xp.sum(weights, axis=-2)
    return SinkMetrics(
        importance=importance(weights, causal=causal),
        sink_rate=sink_rate(weights, threshold, position=position, causal=causal),
        max_over_mean=xp.max(c, axis=-1) / xp.mean(c, axis=-1),
        entropy=_entropy(c),
        gini=gini(c),
        kl=column_kl(c, xp.mean(c, axis=-1, keepdims=True) if b is None else b),
        effective_rank=effective_rank(weights),
    )


@public
def importance(weights: ArrayT, *, causal: bool = False) -> ArrayT:
    """What key k gets on average, shape (..., m): sum_i A_ik / n, over the n - k queries from k on if causal.

    Examples
    --------
    >>> import numpy as np
    >>> from elastic_ot.applications.sinks import importance
    >>> importance(np.array([[1.0, 0.0], [0.5, 0.5]]), causal=True)
    array([0.75, 0.5 ])
    """
    weights = _checked(weights, causal)
    xp = namespace(weights)
    n, m = weights.shape[-2:]
    seen_by = np.arange(n, 0, -1) if causal else np.full(m, n)
    return xp.sum(weights, axis=-2) / xp.asarray(seen_by, dtype=weights.dtype)


@public
def sink_rate(weights: ArrayT, threshold: float = 0.3, *, position: int | None = 0, causal: bool = False) -> float:
    """Share of heads, of all layers, in which the `importance` of the key at a position is above the threshold.

    Parameters
    ----------
    weights : array, shape (..., n, m)
        >= 0; for a whole model (layers, heads, T, T).
    threshold : float
        0.3 in the literature.
    position : int, optional
        From 0 to m - 1, default the first key, at which sinks are looked for. None counts all keys of all heads: the
        mean of the rates of all positions.
    causal : bool
        Key k is seen by the queries from k on alone.

    Returns
    -------
    float
        Between 0 and 1.

    Raises
    ------
    ValueError, TypeError
        Weights that are none; a position that there is not.

    References
    ----------
    Gu et al., *When attention sink emerges in language models*, 2024.

    Examples
    --------
    >>> from elastic_ot.applications.sinks import sink_rate
    >>> weights = [[1.0, 0.0, 0.0], [0.8, 0.2, 0.0], [0.4, 0.3, 0.3]]
    >>> sink_rate(weights), sink_rate(weights, position=1), sink_rate(weights, position=None)
    (1.0, 0.0, 0.3333333333333333)
    """
    found = importance(weights, causal=causal)
    if position is not None:
        if isinstance(position, bool) or not isinstance(position, int | np.integer):
            raise TypeError(f"position is {position!r}; it must be an integer, the place of a key, or None for all")
        if not 0 <= position < found.shape[-1]:
            raise ValueError(f"position is {position} and there are {found.shape[-1]} keys; 0 is the first")
        found = found[..., int(position)]
    xp = namespace(found)
    return float(xp.mean(xp.astype(found > threshold, found.dtype)))


@public
def gini(c: ArrayT) -> ArrayT:
    """Gini coefficient along the last axis: sum_ij abs(c_i - c_j) / (2 m^2 mean).

    Examples
    --------
    >>> from elastic_ot.applications.sinks import gini
    >>> float(gini([0.0, 0.0, 0.0, 4.0]))
    0.75
    """
    c = real("c", c)
    xp = namespace(c)
    m = c.shape[-1]
    ranks = xp.asarray(2.0 * np.arange(1, m + 1) - m - 1, dtype=c.dtype)
    return xp.sum(ranks * xp.sort(c, axis=-1), axis=-1) / (m * xp.sum(c, axis=-1))


@public
def column_kl(c: ArrayT, b: Array) -> ArrayT:
    """KL(c | b) = sum c log(c / b) - c + b along the last axis; inf where b is 0 and c is not.

    Examples
    --------
    >>> import numpy as np
    >>> from elastic_ot.applications.sinks import column_kl
    >>> float(column_kl(np.array([2.0, 0.0]), np.array([1.0, 1.0])).round(4))
    1.3863
    """
    c = real("c", c)
    xp = namespace(c)
    b = xp.broadcast_to(xp.astype(in_library(b, c), c.dtype), c.shape)
    one = xp.ones_like(c)
    logarithm = xp.log(xp.where(c > 0, c, one)) - xp.log(xp.where(b > 0, b, one))
    terms = xp.where(c > 0, c * logarithm, xp.zeros_like(c)) - c + b
    return xp.sum(xp.where((b == 0) & (c > 0), xp.inf * one, terms), axis=-1)


@public
def effective_rank(weights: ArrayT) -> ArrayT:
    """Exp of the entropy of the singular values as a distribution, shape (...).

    Examples
    --------
    >>> import numpy as np
    >>> from elastic_ot.applications.sinks import effective_rank
    >>> round(float(effective_rank(np.eye(5))), 6), round(float(effective_rank(np.ones((5, 5)))), 6)
    (5.0, 1.0)
    """
    weights = _checked(weights, False)
    xp = namespace(weights)
    return xp.exp(_entropy(xp.linalg.svdvals(weights)))


def _entropy(x: Any) -> Any:
    """Return the entropy of x over its sum, along the last axis, in nats."""
    xp = namespace(x)
    p = x / xp.sum(x, axis=-1, keepdims=True)
    return -xp.sum(xp.where(p > 0, p * xp.log(xp.where(p > 0, p, xp.ones_like(p))), xp.zeros_like(p)), axis=-1)


def _checked(weights: Any, causal: bool) -> Any:
    weights = real("weights", weights)
    shape = tuple(weights.shape)
    if len(shape) < 2 or 0 in shape:
        raise ValueError(f"weights has shape {shape}; it must be (..., n, m)")
    if causal and shape[-1] != shape[-2]:
        raise ValueError(f"weights has shape {shape}; causal weights are (..., n, n)")
    return finite("weights", weights)
