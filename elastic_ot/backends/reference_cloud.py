"""The primitives for clouds of points on the matrix of their costs: the oracle for kernels that never store one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from . import reference
from .protocol import Array, Metric, Side, Vectors


@dataclass(frozen=True, eq=False)
class Cloud:
    """Points, and the constant that is taken from their costs."""

    x: Array
    y: Array
    metric: Metric
    offset: float = 0.0

    def costs(self, x: Array | None = None) -> Array:
        """All costs, or those of other points than x, in double precision."""
        x, y = (np.asarray(z, np.float64) for z in (self.x if x is None else x, self.y))
        if self.metric == "cosine":
            x, y = (z / np.linalg.norm(z, axis=1, keepdims=True) for z in (x, y))
        if self.metric in ("cosine", "dot"):
            costs = (self.metric == "cosine") - np.einsum("id,jd->ij", x, y)
        else:
            differences = x[:, None] - y[None]
            costs = (np.abs(differences) if self.metric == "cityblock" else differences**2).sum(axis=2)
        return (np.sqrt(costs) if self.metric == "euclidean" else costs) - self.offset


def cloud(x: Array, y: Array, metric: Metric, ordered: bool = False) -> Cloud:
    return Cloud(x, y, metric)


def ordered(cloud: Cloud) -> tuple[Cloud, Array, Array, Array, Array]:
    """Any order will do where nothing is left out."""
    return cloud, np.arange(len(cloud.x)), np.arange(len(cloud.y)), cloud.x, cloud.y


def prune(
    cloud: Cloud, inv_epsilon: float, alpha: Array, beta: Array, offsets: tuple[Array, Array], most: float
) -> tuple[Cloud, float]:
    return cloud, 0.0


def single_rounding(cloud: Cloud, inv_epsilon: float) -> float:
    """Everything is in double precision."""
    return 0.0


def pairs_read(cloud: Cloud) -> int:
    return 0


def trim(cloud: Cloud, masses: Array, most: float) -> Cloud:
    return cloud


def share(cloud: Cloud) -> float:
    return 1.0


def gram(
    cloud: Cloud, inv_epsilon: float, alpha: Array, beta: Array, weight: Array, fast: bool = False
) -> Callable[[Array, Array], None]:
    plan = np.exp(alpha[:, None] + beta - cloud.costs() * inv_epsilon)

    def product(x: Array, out: Array) -> None:
        out[:] = plan.T @ (weight * (plan @ x))

    return product


def support_sizes(
    cloud: Cloud, inv_epsilon: float, alpha: Array, beta: Array, least: tuple[Array, Array], which: Array, sizes: Array
) -> None:
    reference.support_sizes(cloud.costs(), inv_epsilon, alpha, beta, *least, which, sizes)


def support_cells(
    cloud: Cloud, inv_epsilon: float, alpha: Array, beta: Array, least: tuple[Array, Array], pointers: Array
) -> tuple[Array, Array]:
    found = reference.support_cells(cloud.costs(), inv_epsilon, alpha, beta, *least, pointers)
    return found.indices, found.cost


def transposed(cloud: Cloud) -> Cloud:
    return replace(cloud, x=cloud.y, y=cloud.x)


def shifted(cloud: Cloud, offset: float) -> Cloud:
    return replace(cloud, offset=cloud.offset + offset)


def sweeps(
    cloud: Cloud,
    inv_epsilon: float,
    rows: Side,
    cols: Side,
    omega: tuple[float, float],
    vectors: Vectors,
    fast: bool,
    count: int,
    masses: Array | None = None,
) -> None:
    reference.log_sweeps(cloud.costs(), inv_epsilon, rows, cols, omega, *vectors, None, count)


def marginals(cloud: Cloud, inv_epsilon: float, alpha: Array, beta: Array, row_sum: Array, col_sum: Array) -> None:
    reference.marginals(cloud.costs(), inv_epsilon, alpha, beta, row_sum, col_sum)


def row_max(cloud: Cloud, inv_epsilon: float, beta: Array, out: Array) -> None:
    reference.row_max(cloud.costs(), inv_epsilon, beta, out)


def apply(
    cloud: Cloud, inv_epsilon: float, alpha: Array, beta: Array, x: Array, out: Array, fast: bool = False
) -> None:
    reference.apply(cloud.costs(), inv_epsilon, alpha, beta, x, False, out)


def slopes(cloud: Cloud, inv_epsilon: float, alpha: Array, beta: Array, out: Array, fast: bool = False) -> None:
    costs, differences = cloud.costs(), cloud.x[:, None].astype(np.float64) - cloud.y
    plan = np.exp(alpha[:, None] + beta - costs * inv_epsilon)
    if cloud.metric == "cityblock":
        directions = np.sign(differences)
    else:
        lengths = np.linalg.norm(differences, axis=2, keepdims=True)
        directions = np.divide(differences, lengths, out=np.zeros_like(differences), where=lengths > 0)
    out[:, :-1], out[:, -1] = np.einsum("ij,ijk->ik", plan, directions), plan.sum(axis=1)


def rounded_sums(
    cloud: Cloud,
    inv_epsilon: float,
    alpha: Array,
    beta: Array,
    parts: tuple[Array, Array, Array, Array],
    divergence: Array,
    transport: Array,
) -> None:
    reference.rounded_sums(cloud.costs(), inv_epsilon, alpha, beta, *parts, divergence, transport)


def sites(x: Array) -> Array:
    return np.asarray(x, np.float64)


def least_cells(
    metric: Metric, sides: tuple[Array, Array], offset: float, v: Array, which: Array, indices: Array, least: Array
) -> None:
    reference.least_cells(Cloud(*sides, metric, offset).costs(), v, which, indices, least)


def entries(cloud: Cloud, x: Array, out: Array) -> None:
    out[:, :] = cloud.costs(x)
