"""Lower bounds on the energy of every plan, by transports on a line (Memoli 2011)."""

from __future__ import annotations

import numpy as np

from ...problems.penalty import Vector
from ..line import in_order
from .losses import SQUARE
from .structures import Array, Clouds, Matrices, Structure


def first_bound(structure: Structure, a: Vector, b: Vector) -> float:
    """By the triangle inequality: root mean squares under a plan differ by no more than that of the differences."""
    if isinstance(structure, Matrices) and structure.loss is not SQUARE:
        return 0.0
    s, t = structure.eccentricities(a, b)
    rows, cols, mass = in_order(s, t, a, b)
    return float(mass @ (s[rows] - t[cols]) ** 2)


def third_costs(structure: Structure, a: Vector, b: Vector) -> Array:
    """Least costs of carrying the distances from i to those from j, for all pairs."""
    if isinstance(structure, Clouds):
        raise ValueError("the third bound needs the matrices of distances; pass those in place of clouds")
    assert isinstance(structure, Matrices)
    (first, second), loss = structure.spaces, structure.loss
    out = np.empty(structure.shape)
    for i, x in enumerate(first):
        for j, y in enumerate(second):
            rows, cols, mass = in_order(x, y, a, b)
            out[i, j] = mass @ loss(x[rows], y[cols])
    return out
