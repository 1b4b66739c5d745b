"""Two graphs without a common coordinate: which node is which?"""

import numpy as np
from scipy.sparse.csgraph import shortest_path

import elastic_ot as eot

RNG = np.random.default_rng(17)


def match_graphs(adjacency, other, epsilon):
    """The node of the other graph for each node of the first, by distances within each graph."""
    first, second = shortest_path(adjacency), shortest_path(other)
    found = eot.gromov(first, second, epsilon=epsilon, starts=8)
    return found.plan.argmax(axis=1)


def test_a_relabelled_graph_is_recognised():
    graph = np.triu(RNG.random((20, 20)) < 0.15, 1) | np.eye(20, k=1, dtype=bool)
    lengths = (graph | graph.T) * np.ones((20, 20))
    order = RNG.permutation(20)
    found = match_graphs(lengths, lengths[np.ix_(order, order)], 0.02)
    assert (order[found] == np.arange(20)).all()
