"""Iterations and solves between points by POT, OTT-JAX and KeOps, and OTT's grids: nothing of shape (n, m) is stored.

Each returns potentials over epsilon with respect to the counting reference, after so many full iterations, or when its
own test of a marginal is met (`pot_to`, `ott_to`).
"""

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np

from ..problems import Array

Potentials = tuple[Array, Array]
MAX_ITER = 100_000
SINGLE_FROM = 1e-4  # thresholds that single precision reaches
BLOCK = 512  # rows that OTT computes together; of 128, 512 and 2048 the fastest


def pot(x: Array, y: Array, epsilon: float, count: int) -> Potentials:
    """The lazy loop, blocks of 100 rows as it has them by default."""
    from ot.bregman import empirical_sinkhorn

    f, g = empirical_sinkhorn(x, y, epsilon, numIterMax=count, stopThr=0, isLazy=True, warn=False)
    return f, g


def pot_to(x: Array, y: Array, epsilon: float, threshold: float) -> Potentials:
    """The lazy loop until its own test is met."""
    from ot.bregman import empirical_sinkhorn

    f, g = empirical_sinkhorn(x, y, epsilon, numIterMax=MAX_ITER, stopThr=threshold, isLazy=True, warn=False)
    return f, g


def ott(x: Array, y: Array, epsilon: float, count: int) -> Potentials:
    """Compiled, its tests left out, in the dtype of the points."""
    import jax.numpy as jnp

    f, g = _compiled(count)(jnp.asarray(x), jnp.asarray(y), epsilon)
    return np.asarray(f, np.float64) / epsilon, np.asarray(g, np.float64) / epsilon


def ott_to(x: Array, y: Array, epsilon: float, threshold: float) -> Potentials:
    """Compiled, until its own test is met, which looks every ten iterations; in single precision where that will do."""
    import jax.numpy as jnp

    solve, number = _compiled(None), np.float32 if threshold >= SINGLE_FROM else np.float64
    f, g = solve(jnp.asarray(x.astype(number)), jnp.asarray(y.astype(number)), number(epsilon), number(threshold))
    return np.asarray(f, np.float64) / epsilon, np.asarray(g, np.float64) / epsilon


@cache
def _compiled(count: int | None) -> Any:
    """So many iterations without a test; or, for None, until the error of a marginal is at most a threshold."""
    import jax
    from jax.interpreters import batching
    from ott.geometry.pointcloud import PointCloud
    from ott.problems.linear.linear_problem import LinearProblem
    from ott.solvers.linear.sinkhorn import Sinkhorn

    jax.config.update("jax_enable_x64", True)
    try:
        _ = batching.is_vmappable
    except AttributeError:  # OTT 0.6.0 asks for a name that JAX 0.10 no longer has; nothing here is of that kind
        batching.is_vmappable = lambda leaf: False
    counts = {"inner_iterations": count, "min_iterations": count, "max_iterations": count}

    def solve(x: Any, y: Any, epsilon: Any, threshold: Any = -1.0) -> Any:
        linear = LinearProblem(PointCloud(x, y, epsilon=epsilon, batch_size=BLOCK))
        out = Sinkhorn(threshold=threshold, **(counts if count else {"max_iterations": MAX_ITER}))(linear)
        return out.f, out.g

    return jax.jit(solve)


def keops(x: Array, y: Array, epsilon: float, count: int) -> Potentials:
    """The two reductions that an iteration of GeomLoss's online backend consists of."""
    import torch
    from pykeops.torch import LazyTensor

    points = torch.from_numpy(x), torch.from_numpy(y)
    first, second = LazyTensor(points[0][:, None]), LazyTensor(points[1][None])
    minus = -((first - second) ** 2).sum(-1) / epsilon
    g = torch.zeros(len(y), dtype=points[1].dtype)
    for _ in range(count):
        f = -(minus + LazyTensor(g[None, :, None])).logsumexp(1).view(-1) - float(np.log(len(x)))
        g = -(minus + LazyTensor(f[:, None, None])).logsumexp(0).view(-1) - float(np.log(len(y)))
    return f.numpy().astype(np.float64), g.numpy().astype(np.float64)


def ott_grid(axis: Array, a: Array, b: Array, epsilon: float, lse_mode: bool) -> Callable[[float], Potentials]:
    """OTT's `Grid` with this axis twice, in float64 and compiled; called with a threshold, the error of a marginal."""
    import jax.numpy as jnp

    solve = _compiled_grid(lse_mode)
    given = jnp.asarray(axis), jnp.asarray(a.ravel()), jnp.asarray(b.ravel()), epsilon
    solve(*given, np.inf)[0].block_until_ready()

    def run(threshold: float) -> Potentials:
        f, g = solve(*given, threshold)
        return np.asarray(f) / epsilon, np.asarray(g) / epsilon

    return run


@cache
def _compiled_grid(lse_mode: bool) -> Any:
    import jax
    from ott.geometry.grid import Grid
    from ott.problems.linear.linear_problem import LinearProblem
    from ott.solvers.linear.sinkhorn import Sinkhorn

    jax.config.update("jax_enable_x64", True)

    def solve(axis: Any, a: Any, b: Any, epsilon: Any, threshold: Any) -> Any:
        linear = LinearProblem(Grid([axis, axis], epsilon=epsilon), a, b)
        out = Sinkhorn(lse_mode=lse_mode, threshold=threshold, max_iterations=100_000)(linear)
        return out.f, out.g

    return jax.jit(solve)
