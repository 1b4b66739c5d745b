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
    costs = [cdist(query, words) for words in documents]
    b = [count / count.sum() for count in counts]
    return np.array([found.value for found in eot.exact(costs, b=b)])


def entropic_word_movers_distances(query, documents, counts, epsilon):
    """All in one call."""
    costs = [cdist(query, words) for words in documents]
    b = [count / count.sum() for count in counts]
    return eot.solve(costs, b=b, epsilon=epsilon).transport_cost


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
