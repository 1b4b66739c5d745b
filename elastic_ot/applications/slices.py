"""Points in one direction: sorted exactly or softly, and matched in order.

Arrays of any library. Padding comes after everything else in the order, and has no mass.
"""

from __future__ import annotations

from typing import Any

from .frameworks import detached, device_of, namespace, softmax


class Side:
    """The projections of one set of points, shape (..., k, n), without its padding."""

    def __init__(self, points: Any, directions: Any, mask: Any) -> None:
        xp = namespace(points)
        self.z = xp.matrix_transpose(points if directions is None else xp.matmul(points, directions))
        self.mask = None if mask is None else mask[..., None, :]

    @property
    def behind(self) -> Any:
        """The projections with padding after everything else."""
        xp = namespace(self.z)
        return self.z if self.mask is None else xp.where(self.mask, self.z, xp.full_like(self.z, xp.inf))

    @property
    def places(self) -> Any:
        """Every point's place in the order, shape (..., k, n)."""
        xp = namespace(self.z)
        return xp.argsort(xp.argsort(detached(self.behind), axis=-1), axis=-1)

    def count(self, dtype: Any) -> Any:
        """How many points there are, shape (..., 1) or a number."""
        if self.mask is None:
            return self.z.shape[-1]
        xp = namespace(self.z)
        found = xp.sum(xp.astype(self.mask, dtype), axis=-1)
        return xp.where(found > 0, found, xp.ones_like(found))  # without any point all masses are 0


class SoftSort:
    """Matrices that sort: soft, or exact with soft derivatives."""

    def __init__(self, tau: float | None, straight_through: float | None, squared: bool) -> None:
        self.exact, self.squared = tau is None, squared
        self.tau = straight_through if tau is None else tau

    def __call__(self, side: Side) -> Any:
        """Shape (..., k, n, n): row i makes the i-th smallest; rows beyond the last point are 0."""
        xp = namespace(side.z)
        n = side.z.shape[-1]
        ranked = xp.sort(side.behind, axis=-1)
        if side.mask is not None:
            ranked = xp.where(xp.isfinite(ranked), ranked, xp.zeros_like(ranked))
        apart = xp.abs(ranked[..., :, None] - side.z[..., None, :])
        scores = -(apart * apart if self.squared else apart) / self.tau
        if side.mask is not None:
            scores = xp.where(side.mask[..., None, :], scores, xp.full_like(scores, -xp.inf))
        found = softmax(scores)
        index = xp.arange(n, device=device_of(side.z))
        if self.exact:
            hard = side.places[..., None, :] == index[:, None]
            found = xp.astype(hard, side.z.dtype) + (found - detached(found))
        if side.mask is None:
            return found
        inside = index < side.count(index.dtype)
        inside = inside[..., None, :, None] & side.mask[..., None, :]
        return xp.where(inside, found, xp.zeros_like(found))


def matched(x: Side, y: Side, shares: Any) -> Any:
    """A plan for every direction, shape (..., k, n, m), by exact sorting."""
    xp, rows, cols = namespace(x.z), x.places, y.places
    if shares is not None:
        cells = rows[..., :, None] * y.z.shape[-1] + cols[..., None, :]
        return xp.reshape(xp.take(xp.reshape(shares, (-1,)), xp.reshape(cells, (-1,)), axis=0), cells.shape)
    found = _overlaps(rows, cols, x, y)
    for side, axis in ((x, -1), (y, -2)):
        if side.mask is not None:
            mask = side.mask[..., :, None] if axis == -1 else side.mask[..., None, :]
            found = xp.where(mask, found, xp.zeros_like(found))
    return found


def lifted(x: Side, y: Side, shares: Any, sort: SoftSort) -> Any:
    """A plan for every direction, shape (..., k, n, m), by matrices that sort."""
    xp = namespace(x.z)
    first, second = sort(x), sort(y)
    n, m = x.z.shape[-1], y.z.shape[-1]
    if shares is None and not (n == m and x.mask is None and y.mask is None):
        rows, cols = (xp.arange(size, device=device_of(x.z)) for size in (n, m))
        shares = _overlaps(rows[None, :], cols[None, :], x, y)
    if shares is not None:
        second = xp.matmul(shares, second)
    return xp.matmul(xp.matrix_transpose(first), second)


def _overlaps(rows: Any, cols: Any, x: Side, y: Side) -> Any:
    """What points at these places of the order share, in units of the mass of x: exact, in whole numbers.

    The points of x are intervals of length m on a line of length n m, those of y of length n.
    """
    xp = namespace(x.z)
    n, m = (side.count(rows.dtype) for side in (x, y))
    n, m = (size if isinstance(size, int) else size[..., None, None] for size in (n, m))
    first, second = rows[..., :, None] * m, cols[..., None, :] * n
    shared = xp.minimum(first + m, second + n) - xp.maximum(first, second)
    shared = xp.where(shared > 0, shared, xp.zeros_like(shared))
    return xp.astype(shared, x.z.dtype) / (m if isinstance(m, int) else xp.astype(m, x.z.dtype))
