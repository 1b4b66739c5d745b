"""Random and soft permutations: Gumbel noise on scores, Sinkhorn's iteration, straight-through assignments.

Arrays of NumPy, CuPy, torch or JAX.
"""

from __future__ import annotations

from typing import Any, Unpack

import numpy as np
from numpy.typing import NDArray

from ..api.assign import assign
from ..api.signatures import ApplicationOptions
from ..calls import public
from ..frameworks.host_functions import host_function
from ..typing import Array, ArrayT
from .arguments import alike, finite, in_unit_interval, positive, square
from .doubly_stochastic import balance
from .frameworks import detached, device_of, integers, is_constant, namespace, real

__all__ = ["gumbel_noise", "gumbel_sinkhorn"]


@public
def gumbel_sinkhorn(
    scores: ArrayT,
    *,
    temperature: float | Array = 1.0,
    noise: Array | None = None,
    iterations: int | None = 20,
    hard: bool = False,
    **options: Unpack[ApplicationOptions],
) -> ArrayT:
    """A soft permutation: exp((scores + noise) / temperature), its rows and columns scaled to sum to one.

    Parameters
    ----------
    scores : array, shape (..., n, n)
        -inf forbids a pair.
    temperature : float or array, shape (...)
        > 0. The smaller, the nearer to the permutation with the largest total of scores + noise.
    noise : array, optional
        Broadcasts with the scores: shape (s, n, n) draws s samples of one matrix. Default none; see `gumbel_noise`.
    iterations : int or None
        How often rows and then columns are normalised; None solves to a tolerance.
    hard : bool
        Return the permutation itself, and the soft one's derivatives (straight-through), if any are asked for. It is
        found by `assign`, for all matrices in one call and from their numbers: not under `jax.jit`, `jax.vmap` or
        `torch.vmap`.
    **options
        As for `elastic_ot.applications.balance`.

    Returns
    -------
    array
        The shape of scores + noise. Columns sum to one exactly, rows as far as the iterations got.

    Raises
    ------
    ValueError, TypeError
        Bad input, named with its index and value.
    InfeasibleError
        A row or a column with nothing but -inf; with `hard`, no permutation of allowed pairs.

    References
    ----------
    Mena, Belanger, Linderman, Snoek, *Learning latent permutations with Gumbel-Sinkhorn networks*, 2018.

    Examples
    --------
    >>> import numpy as np
    >>> from elastic_ot.applications.permutations import gumbel_noise, gumbel_sinkhorn
    >>> scores = np.log([[0.7, 0.2, 0.1], [0.1, 0.7, 0.2], [0.2, 0.1, 0.7]])
    >>> noise = gumbel_noise(np.random.default_rng(0).random((1000, 3, 3)))
    >>> samples = gumbel_sinkhorn(scores, noise=noise, hard=True)
    >>> samples.shape, bool((samples.sum(axis=1) == 1).all())
    ((1000, 3, 3), True)
    """
    scores = square("scores", scores, allow_minus_inf=True)
    if noise is not None:
        scores = scores + _noise(scores, noise)
    positive("temperature", temperature)
    if hard and is_constant(scores):
        return _permutations(scores)
    soft = balance(scores, iterations, temperature=temperature, end="cols", **options)
    return _permutations(scores) + (soft - detached(soft)) if hard else soft


@public
def gumbel_noise(uniform: ArrayT) -> ArrayT:
    """Standard Gumbel noise -log(-log u) from uniform numbers u in [0, 1).

    Libraries draw differently: pass ``rng.random(shape)`` of NumPy or CuPy, ``torch.rand(shape)``, or
    ``jax.random.uniform(key, shape)``.

    Parameters
    ----------
    uniform : array
        Moved into the open interval by the smallest steps that its dtype has.

    Returns
    -------
    array
        The same shape, library and dtype.

    Raises
    ------
    ValueError, TypeError
        A number outside [0, 1].

    Examples
    --------
    >>> import numpy as np
    >>> from elastic_ot.applications.permutations import gumbel_noise
    >>> noise = gumbel_noise(np.random.default_rng(0).random(100_000))
    >>> bool(abs(noise.mean() - np.euler_gamma) < 0.01)
    True
    """
    u = in_unit_interval("uniform", real("uniform", uniform))
    xp = namespace(u)
    info = xp.finfo(u.dtype)
    return -xp.log(-xp.log(xp.clip(u, float(info.smallest_normal), 1 - float(info.eps) / 2)))


def _noise(scores: Any, noise: Any) -> Any:
    noise = real("noise", noise)
    alike(scores=scores, noise=noise)
    try:
        shape = np.broadcast_shapes(tuple(scores.shape), tuple(noise.shape))
    except ValueError:
        shape = ()
    if shape[-2:] != tuple(scores.shape[-2:]):
        raise ValueError(
            f"noise has shape {tuple(noise.shape)} and scores {tuple(scores.shape)}; they must broadcast to (..., n, n)"
        )
    return finite("noise", noise)


def _permutations(scores: Any) -> Any:
    """The permutation matrices of the largest total scores."""
    xp = namespace(scores)
    stack = xp.reshape(detached(scores), (-1, *scores.shape[-2:]))
    cols = integers(_permuted, (stack,), (), scores.shape[:-1])
    places = xp.arange(scores.shape[-1], dtype=cols.dtype, device=device_of(cols))
    return xp.astype(cols[..., None] == places, scores.dtype)


@host_function
def _permuted(scores: NDArray[np.floating]) -> NDArray[np.int64]:
    """The column of every row by `assign`, shape (B, n), for matrices (B, n, n)."""
    return assign(scores, maximize=True).col_ind
