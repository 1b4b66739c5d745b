"""Graphs on the keypoints of an image: who is near to whom, looks alike, and how the parts are linked."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse.csgraph import connected_components

from ..calls import public
from ..frameworks.host_functions import host_function
from ..typing import Array, ArrayT
from .arguments import alike, finite, positive_number, within_lengths
from .frameworks import detached, device_of, gather, integers, namespace, working

__all__ = ["keypoint_graph"]


@public
def keypoint_graph(
    points: ArrayT, descriptors: Array, radius: float, *, quantile: float = 0.5, lengths: Array | None = None
) -> ArrayT:
    """Connect keypoints that are near to each other and look alike, and link the parts of the graph.

    The neighbourhood of a keypoint are the others within `radius`. Its threshold is the `quantile` of its similarities
    to them, the cosines of descriptors. Two neighbours are connected where their similarity reaches the threshold of
    one of them. Parts that are then apart are joined by the shortest links that do so.

    Parameters
    ----------
    points : array, shape (..., n, d)
        Where the keypoints are; n may be 0.
    descriptors : array, shape (..., n, k)
        What they look like, any lengths of vectors. The cosines of a vector of zeros are 0.
    radius : float
        In the units of the points, > 0.
    quantile : float
        From 0, all neighbours, to 1, only the most similar one and who has it for the most similar; by default the
        median. Between two similarities it is interpolated, as by ``numpy.quantile``.
    lengths : array of int, shape (...), optional
        Keypoints of each image of a batch; those beyond are padding and stay without connections.

    Returns
    -------
    array of bool, shape (..., n, n)
        Symmetric, False on the diagonal; the graph of an image is connected. A constant without derivatives.

    Raises
    ------
    ValueError, TypeError
        Bad input, named with its value.

    See Also
    --------
    elastic_ot.applications.match : the matching layer that such graphs are made for.

    Notes
    -----
    After the adaptive graphs of Song et al., whose code takes one threshold for an image, a quantile of the
    similarities of its pairs, and drops the keypoints of small parts. With thresholds of their own all keypoints that
    have neighbours are connected to one of them at least, and none is dropped, so that indices stand. Links are those
    of a minimum spanning tree: one less than there are parts, of the smallest total length. They are found on the
    host. Time and memory grow as the square of n.

    References
    ----------
    Song et al., *GIMS: image matching system based on adaptive graph construction and graph neural network*, 2024.

    Examples
    --------
    Two and two look alike; the last is further away than the radius, and linked.

    >>> import numpy as np
    >>> from elastic_ot.applications import keypoint_graph
    >>> points = [[0.0, 0.0], [1.0, 0.0], [0.0, 1.0], [1.0, 1.0], [5.0, 1.0]]
    >>> looks = [[1.0, 0.0], [1.0, 0.1], [0.0, 1.0], [0.1, 1.0], [0.0, 1.0]]
    >>> graph = keypoint_graph(points, looks, 2.0, quantile=1.0)
    >>> np.argwhere(np.triu(graph)).tolist()
    [[0, 1], [0, 2], [2, 3], [3, 4]]
    """
    points, descriptors = working("points", points), working("descriptors", descriptors)
    _check_keypoints(points, descriptors, radius, quantile)
    xp, device = namespace(points), device_of(points)
    points, descriptors = detached(points), detached(descriptors)
    batch, n = tuple(points.shape[:-2]), points.shape[-2]
    there, _ = within_lengths("lengths", lengths, points, n)
    points, descriptors = (xp.where(there[..., None], x, xp.zeros_like(x)) for x in (points, descriptors))
    finite("points", points)
    finite("descriptors", descriptors)
    if n == 0:
        return xp.zeros((*batch, 0, 0), dtype=xp.bool, device=device)
    distance = _distances(points)
    pairs = there[..., :, None] & there[..., None, :] & ~xp.eye(n, dtype=xp.bool, device=device)
    near = pairs & (distance <= radius)
    kept = near & _reaches_threshold(_cosines(descriptors), near, quantile)
    kept = kept | xp.matrix_transpose(kept)
    flat = [xp.reshape(x, (-1, *x.shape[len(batch) :])) for x in (distance, kept, there)]
    return integers(_linked, flat, (), (*batch, n, n)) > 0


def _check_keypoints(points: Any, descriptors: Any, radius: Any, quantile: Any) -> None:
    alike(points=points, descriptors=descriptors)
    if points.ndim < 2 or 0 in points.shape[:-2] or points.shape[-1] == 0:
        raise ValueError(
            f"points has shape {tuple(points.shape)}; it must be (..., n, d), and of these only n may be 0"
        )
    if descriptors.ndim < 2 or descriptors.shape[:-1] != points.shape[:-1] or descriptors.shape[-1] == 0:
        raise ValueError(
            f"descriptors has shape {tuple(descriptors.shape)}; it must be "
            f"({', '.join(map(str, points.shape[:-1]))}, k) with k >= 1, one for each of the points"
        )
    positive_number("radius", radius)
    if not 0 <= quantile <= 1:
        raise ValueError(f"quantile is {quantile}; it must be >= 0 and <= 1")


def _distances(points: Any) -> Any:
    xp = namespace(points)
    difference = points[..., :, None, :] - points[..., None, :, :]
    return xp.sqrt(xp.sum(difference * difference, axis=-1))


def _cosines(descriptors: Any) -> Any:
    xp = namespace(descriptors)
    size = xp.max(xp.abs(descriptors), axis=-1, keepdims=True)  # divided out first: squares may overflow
    scaled = descriptors / xp.where(size > 0, size, xp.ones_like(size))
    length = xp.sqrt(xp.sum(scaled * scaled, axis=-1, keepdims=True))
    unit = scaled / xp.where(length > 0, length, xp.ones_like(length))
    return unit @ xp.matrix_transpose(unit)


def _reaches_threshold(similarity: Any, near: Any, quantile: float) -> Any:
    """Where the similarity to a neighbour is at least the quantile of those of its row."""
    xp = namespace(similarity)
    ordered = xp.sort(xp.where(near, similarity, 2 * xp.ones_like(similarity)), axis=-1)  # what is not near comes last
    count = xp.sum(xp.astype(near, similarity.dtype), axis=-1, keepdims=True)
    place = quantile * xp.where(count > 0, count - 1, xp.zeros_like(count))
    below, above = xp.floor(place), xp.ceil(place)
    kind = xp.argmax(ordered, axis=-1).dtype  # of the library's indices
    low, high = (gather(ordered, xp.astype(x, kind)) for x in (below, above))
    return similarity >= low + (place - below) * (high - low)


@host_function
def _linked(distance: NDArray[np.floating], kept: NDArray[np.bool_], there: NDArray[np.bool_]) -> NDArray[np.int64]:
    """The graphs, shape (B, n, n), with the shortest links that join the parts of each; 1 where two are connected."""
    graphs = np.array(kept, dtype=np.int64)
    for graph, lengths, real in zip(graphs, distance, there, strict=True):
        count = int(real.sum())
        _join(graph[:count, :count], lengths[:count, :count])
    return graphs


def _join(graph: NDArray[np.int64], distance: NDArray[np.floating]) -> None:
    """Add, part by part, the shortest link from the joined parts to another (Prim)."""
    if len(graph) == 0:
        return
    part = connected_components(graph, directed=False)[1]
    new = part == part[0]
    joined = np.zeros_like(new)
    reach = np.full(len(graph), np.inf)
    nearest = np.zeros(len(graph), np.int64)
    while True:
        joined |= new
        if joined.all():
            return
        members = np.flatnonzero(new)
        first = members[distance[new].argmin(axis=0)]
        gap = distance[first, np.arange(len(graph))]
        nearest, reach = np.where(gap < reach, first, nearest), np.minimum(gap, reach)
        end = int(np.where(joined, np.inf, reach).argmin())
        graph[end, nearest[end]] = graph[nearest[end], end] = 1
        new = part == part[end]
