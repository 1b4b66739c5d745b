"""Documents as clouds of word vectors: the word mover's distance from one to many others of any lengths."""

import numpy as np
import ot
import pytest
from scipy.spatial.distance import cdist

import elastic_ot as eot

RNG = np.random.default_rng(5)
TIGHT = {"method": "sinkhorn_log", "stopThr": 1e-13, "numItermax": 100_000}
QUERY = RNG.normal(size=(9, 20))
LENGTHS = [4, 15, 7, 30, 1]
DOCUMENTS = [RNG.normal(size=(k, 20)) for k in LENGTHS]
COUNTS = [RNG.integers(1, 5, size=k) for k in LENGTHS]


def word_movers_distances(query, documents, counts):
    """Exact; `counts` says how often each word of a document occurs."""
    distances = []
    for words, count in zip(documents, counts, strict=True):
        cloud = eot.PointCloud(query, words, metric="euclidean")
        distances.append(eot.exact(cloud, b=count / count.sum()).value)
    return np.array(distances)


def entropic_word_movers_distances(query, documents, counts, epsilon):
    """All in one call: documents are padded, and `col_lengths` says how many words count."""
    lengths = [len(words) for words in documents]
    padded = np.zeros((len(documents), max(lengths), query.shape[1]))
    b = np.zeros(padded.shape[:2])
    for k, (words, count) in enumerate(zip(documents, counts, strict=True)):
        padded[k, : len(words)], b[k, : len(words)] = words, count / count.sum()
    cloud = eot.PointCloud(query, padded, metric="euclidean")
    return eot.solve(cloud, b=b, epsilon=epsilon, col_lengths=lengths).transport_cost


def test_exact_distances_are_those_of_pot():
    theirs = [
        ot.emd2([], count / count.sum(), cdist(QUERY, words)) for words, count in zip(DOCUMENTS, COUNTS, strict=True)
    ]
    assert word_movers_distances(QUERY, DOCUMENTS, COUNTS) == pytest.approx(theirs, rel=1e-10)


def test_entropic_distances_are_those_of_pot():
    found = entropic_word_movers_distances(QUERY, DOCUMENTS, COUNTS, 0.3)
    for value, words, count in zip(found, DOCUMENTS, COUNTS, strict=True):
        cost = cdist(QUERY, words)
        theirs = ot.sinkhorn2([], count / count.sum(), cost, 0.3, **TIGHT)
        assert value == pytest.approx(theirs, rel=1e-4)
