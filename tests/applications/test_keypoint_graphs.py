"""Graphs of keypoints: against the definition written out pair by pair, and against the links of all spanning trees."""

import itertools

import numpy as np
import pytest
from scipy.sparse.csgraph import connected_components, minimum_spanning_tree

from elastic_ot.applications import keypoint_graph, match
from helpers.application_arrays import arrays  # noqa: F401 - a fixture

QUANTILES = (0.0, 0.3, 0.5, 1.0)


def some_keypoints(n=20, seed=0, batch=()):
    rng = np.random.default_rng(seed)
    return rng.random((*batch, n, 2)), rng.normal(size=(*batch, n, 6))


def by_definition(points, descriptors, radius, quantile):
    """The connections before parts are joined."""
    n = len(points)
    graph = np.zeros((n, n), bool)
    unit = descriptors / np.linalg.norm(descriptors, axis=1, keepdims=True)
    for i in range(n):
        near = [j for j in range(n) if j != i and np.linalg.norm(points[i] - points[j]) <= radius]
        similarity = {j: unit[i] @ unit[j] for j in near}
        for j in near:
            # thresholds are one of the similarities, or between two of them: of no third within rounding
            if similarity[j] >= np.quantile(list(similarity.values()), quantile) - 1e-12:
                graph[i, j] = graph[j, i] = True
    return graph


def parts(graph):
    return connected_components(graph, directed=False)


def shortest_links(graph, points):
    """The smallest total length that joins the parts: of a spanning tree of the distances between parts."""
    count, part = parts(graph)
    apart = np.zeros((count, count))
    for i, j in itertools.combinations(range(len(points)), 2):
        a, b, length = part[i], part[j], np.linalg.norm(points[i] - points[j])
        if a != b and (apart[a, b] == 0 or length < apart[a, b]):
            apart[a, b] = apart[b, a] = length
    return minimum_spanning_tree(apart).sum()


@pytest.mark.parametrize("quantile", QUANTILES)
@pytest.mark.parametrize("radius", [0.05, 0.2, 0.5])
def test_connections_are_those_of_the_definition_and_the_shortest_links(arrays, radius, quantile):  # noqa: F811
    points, descriptors = some_keypoints()
    found = keypoint_graph(arrays.make(points), arrays.make(descriptors), radius, quantile=quantile)
    assert isinstance(found, arrays.kind)
    graph, wanted = arrays.read(found), by_definition(points, descriptors, radius, quantile)
    assert graph.dtype == bool
    assert graph[wanted].all()
    links = np.argwhere(np.triu(graph & ~wanted))
    assert len(links) == parts(wanted)[0] - 1
    lengths = np.linalg.norm(points[links[:, 0]] - points[links[:, 1]], axis=-1)
    assert lengths.sum() == pytest.approx(shortest_links(wanted, points), rel=1e-12)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("quantile", QUANTILES)
def test_a_graph_is_symmetric_connected_and_without_loops(seed, quantile):
    graph = keypoint_graph(*some_keypoints(30, seed), 0.1, quantile=quantile)
    np.testing.assert_array_equal(graph, graph.T)
    assert not graph.diagonal().any()
    assert parts(graph)[0] == 1


def test_quantile_0_connects_all_within_the_radius():
    points, descriptors = some_keypoints()
    distance = np.linalg.norm(points[:, None] - points, axis=-1)
    np.testing.assert_array_equal(keypoint_graph(points, descriptors, 1.5, quantile=0), ~np.eye(20, dtype=bool))
    graph = keypoint_graph(points, descriptors, 0.3, quantile=0)
    np.testing.assert_array_equal(graph[distance <= 0.3], (distance > 0)[distance <= 0.3])


def test_a_higher_quantile_keeps_a_part_of_the_connections():
    points, descriptors = some_keypoints(40)
    graphs = [keypoint_graph(points, descriptors, 2.0, quantile=q) for q in (0.0, 0.25, 0.5, 0.75, 1.0)]
    for less, more in itertools.pairwise(reversed(graphs[:-1])):
        assert not (less & ~more).any()
        assert less.sum() < more.sum()


def test_the_most_similar_neighbour_is_always_connected():
    points, descriptors = some_keypoints()
    unit = descriptors / np.linalg.norm(descriptors, axis=1, keepdims=True)
    most = (unit @ unit.T - 2 * np.eye(20)).argmax(axis=1)
    for quantile in QUANTILES:
        assert keypoint_graph(points, descriptors, 2.0, quantile=quantile)[np.arange(20), most].all()


def test_lengths_of_descriptors_do_not_matter():
    points, descriptors = some_keypoints()
    scaled = descriptors * np.geomspace(1e-200, 1e200, 20)[:, None]
    np.testing.assert_array_equal(keypoint_graph(points, scaled, 0.4), keypoint_graph(points, descriptors, 0.4))


def test_descriptors_of_zeros_are_similar_to_nobody_and_connected():
    points, descriptors = some_keypoints()
    graph = keypoint_graph(points, 0 * descriptors, 0.3)
    np.testing.assert_array_equal(graph, keypoint_graph(points, descriptors, 0.3, quantile=0))  # all are equal


def test_the_numbering_does_not_matter():
    points, descriptors = some_keypoints()
    order = np.random.default_rng(1).permutation(20)
    graph = keypoint_graph(points, descriptors, 0.25)
    np.testing.assert_array_equal(keypoint_graph(points[order], descriptors[order], 0.25), graph[order][:, order])


def test_equal_points_are_linked():
    graph = keypoint_graph(np.zeros((4, 2)), np.repeat(np.eye(2), 2, axis=0), 0.1, quantile=1.0)
    wanted = np.kron(np.eye(2, dtype=int), 1 - np.eye(2, dtype=int)).astype(bool)
    assert graph[wanted].all()
    assert np.triu(graph & ~wanted).sum() == 1
    assert parts(graph)[0] == 1


def test_images_of_a_batch_are_graphs_of_their_own_and_padding_is_not_read(arrays):  # noqa: F811
    points, descriptors = some_keypoints(12, batch=(2, 3))
    lengths = np.array([[12, 5, 0], [1, 2, 11]])
    padded, looks = points.copy(), descriptors.copy()
    for index in np.ndindex(2, 3):
        padded[index][lengths[index] :] = np.nan
        looks[index][lengths[index] :] = np.inf
    found = keypoint_graph(arrays.make(padded), arrays.make(looks), 0.3, lengths=arrays.make(lengths))
    graphs = arrays.read(found)
    for index in np.ndindex(2, 3):
        n = lengths[index]
        alone = keypoint_graph(points[index][:n], descriptors[index][:n], 0.3)
        np.testing.assert_array_equal(graphs[index][:n, :n], alone)
        assert graphs[index].sum() == alone.sum()


def test_single_precision_and_derivatives_are_no_obstacle():
    torch = pytest.importorskip("torch")
    points, descriptors = (torch.tensor(x) for x in some_keypoints())
    wanted = keypoint_graph(points, descriptors, 0.3)
    leaf = descriptors.float().requires_grad_()
    found = keypoint_graph(points.float(), leaf, 0.3)
    assert not found.requires_grad
    assert torch.equal(found, wanted)


def test_images_without_keypoints_or_with_one():
    assert keypoint_graph(np.zeros((0, 2)), np.zeros((0, 3)), 1.0).shape == (0, 0)
    assert keypoint_graph(np.zeros((3, 0, 2)), np.zeros((3, 0, 3)), 1.0).shape == (3, 0, 0)
    np.testing.assert_array_equal(keypoint_graph(np.zeros((1, 2)), np.ones((1, 3)), 1.0), [[False]])


def test_averages_over_the_graph_tell_copies_apart_for_a_match():
    """Four pairs of looks, each twice: only the neighbours say which is which."""
    looks = np.eye(6)[[0, 1, 0, 2, 3, 4, 3, 5]]
    points = np.array([[0, 0], [1, 0], [9, 0], [10, 0], [20, 0], [21, 0], [30, 0], [31, 0]], dtype=float)
    shuffled = np.array([2, 3, 0, 1, 6, 7, 4, 5])
    sides = []
    for order in (np.arange(8), shuffled):
        graph = keypoint_graph(points[order], looks[order], 1.5)
        around = graph / graph.sum(axis=1, keepdims=True)
        sides.append(np.concatenate([looks[order], around @ looks[order]], axis=1))
    scores = 8 * sides[0] @ sides[1].T
    np.testing.assert_array_equal(match(scores, dustbin=4.0).matches0, np.argsort(shuffled))


@pytest.mark.parametrize(
    ("points", "descriptors", "options", "error", "message"),
    [
        (np.zeros(3), np.zeros((3, 2)), {}, ValueError, r"points has shape \(3,\); it must be \(..., n, d\)"),
        (np.zeros((0, 3, 2)), np.zeros((0, 3, 2)), {}, ValueError, r"points has shape \(0, 3, 2\)"),
        (np.zeros((3, 2)), np.zeros((4, 2)), {}, ValueError, r"descriptors has shape \(4, 2\); it must be \(3, k\)"),
        (np.zeros((3, 2)), np.zeros((3, 0)), {}, ValueError, r"with k >= 1"),
        (np.zeros((3, 2)), np.zeros((3, 2), np.float32), {}, TypeError, "points has dtype float64"),
        (np.array([[0.0], [np.nan]]), np.zeros((2, 1)), {}, ValueError, r"points\[1, 0\] is nan"),
        (np.zeros((2, 1)), np.array([[0.0], [np.inf]]), {}, ValueError, r"descriptors\[1, 0\] is inf"),
        (np.zeros((2, 1)), np.zeros((2, 1)), {"radius": 0.0}, ValueError, "radius is 0.0; it must be finite and > 0"),
        (np.zeros((2, 1)), np.zeros((2, 1)), {"radius": "1"}, TypeError, "radius is '1'"),
        (np.zeros((2, 1)), np.zeros((2, 1)), {"quantile": 1.5}, ValueError, "quantile is 1.5; it must be >= 0"),
        (np.zeros((2, 1)), np.zeros((2, 1)), {"quantile": np.nan}, ValueError, "quantile is nan"),
        (np.zeros((2, 1)), np.zeros((2, 1)), {"lengths": 3}, ValueError, "lengths has lengths from 3 to 3; 0 to 2"),
        (np.zeros((2, 1)), np.zeros((2, 1)), {"lengths": 1.0}, TypeError, "lengths has dtype float64"),
    ],
)
def test_bad_input_is_named(points, descriptors, options, error, message):
    with pytest.raises(error, match=message):
        keypoint_graph(points, descriptors, **({"radius": 1.0} | options))
