"""Costs that users might bring: nothing but `shape`, `dtype` and `block`; and what every kind of cost is tried with."""

import itertools
from functools import cache

import numpy as np

import elastic_ot as eot

METHODS = ["auto", "log", "scaling", "stabilized", "epsilon_scaling", "newton"]
PENALTIES = {
    "Fixed": eot.Fixed(),
    "KL": eot.KL(1.0),
    "TV": eot.TV(0.3),
    "L2": eot.L2(3.0),
    "Between": eot.Between(0.5, 1.5),
    "AtMost": eot.AtMost(),
    "Free": eot.Free(),
    "Elastic": eot.Elastic(0.5),
}
PAIRS = list(itertools.product(PENALTIES, repeat=2))


def weights(cost, rows="Fixed", cols="Fixed"):
    """Weights of a cost's rows and columns, of different masses where capacities leave room."""
    rng = np.random.default_rng(7)
    a, b = (0.5 + rng.random(size) for size in cost.shape)
    return (1.5 if rows == "AtMost" else 1.0) * a / a.sum(), (1.5 if cols == "AtMost" else 1.0) * b / b.sum()


class Given(eot.Cost):
    """A matrix, a block at a time; counts the entries that were asked for."""

    def __init__(self, matrix):
        self.matrix, self.shape, self.dtype, self.read = matrix, matrix.shape, matrix.dtype, 0

    def block(self, rows, cols):
        found = self.matrix[rows, cols]
        self.read += found.size
        return found


class GreatCircle(eot.Cost):
    """Angles between points of the unit sphere."""

    def __init__(self, x, y):
        self.x, self.y, self.shape, self.dtype = x, y, (len(x), len(y)), np.float64

    def block(self, rows, cols):
        return np.arccos(np.clip(self.x[rows] @ self.y[cols].T, -1.0, 1.0))


class EditDistance(eot.Cost):
    """Letters to insert, delete or replace, by Levenshtein's recurrence."""

    def __init__(self, words, others):
        self.words, self.others = words, others
        self.shape, self.dtype = (len(words), len(others)), np.float32

    def block(self, rows, cols):
        return np.array([[edits(x, y) for y in self.others[cols]] for x in self.words[rows]], np.float32)


@cache
def edits(word, other):
    row = list(range(len(other) + 1))
    for i, x in enumerate(word, start=1):
        before, row[0] = row[0], i
        for j, y in enumerate(other, start=1):
            before, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, before + (x != y))
    return row[-1]


def sphere(size, seed):
    points = np.random.default_rng(seed).standard_normal((size, 3))
    return points / np.linalg.norm(points, axis=1, keepdims=True)


def words(size, seed):
    rng = np.random.default_rng(seed)
    return ["".join(rng.choice(list("abcde"), rng.integers(3, 8))) for _ in range(size)]


def three_costs():
    """A masked matrix, great circles and words, none of a size that strips divide."""
    rng = np.random.default_rng(5)
    matrix = rng.random((23, 31))
    matrix[rng.random(matrix.shape) < 0.05] = np.inf
    return {
        "matrix": Given(matrix),
        "sphere": GreatCircle(sphere(23, 0), sphere(31, 1)),
        "words": EditDistance(words(23, 2), words(31, 3)),
    }
