"""Clouds of points on ten parametric shapes, stretched, turned about the vertical, centred, scaled and blurred.

Each shape takes two numbers in [0, 1), its parameters, to a point; they are drawn uniformly, so that the density on a
surface is that of the parametrisation, and no two clouds of a shape have a point in common.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
TURN = 2 * np.pi


def sphere(u: Floats, v: Floats) -> Floats:
    height = 2 * v - 1
    return _around(u, np.sqrt(1 - height**2), height)


def torus(u: Floats, v: Floats) -> Floats:
    return _around(u, 1 + 0.4 * np.cos(TURN * v), 0.4 * np.sin(TURN * v))


def cylinder(u: Floats, v: Floats) -> Floats:
    return _around(u, np.ones_like(v), 2 * v - 1)


def cone(u: Floats, v: Floats) -> Floats:
    return _around(u, np.sqrt(v), 1 - np.sqrt(v))


def bowl(u: Floats, v: Floats) -> Floats:
    return _around(u, np.sqrt(v), v)


def saddle(u: Floats, v: Floats) -> Floats:
    x, y = 2 * u - 1, 2 * v - 1
    return np.stack([x, y, x**2 - y**2], -1)


def cube(u: Floats, v: Floats) -> Floats:
    """The face is the first digit of u in base 6."""
    face, along = np.divmod(6 * u, 1)
    axis = face.astype(int) % 3
    on_face = np.stack([2 * (face >= 3) - 1.0, 2 * along - 1, 2 * v - 1], -1)
    return np.take_along_axis(on_face, (np.arange(3) - axis[..., None]) % 3, -1)


def moebius_strip(u: Floats, v: Floats) -> Floats:
    across = v - 0.5
    return _around(u, 1 + across * np.cos(TURN * u / 2), across * np.sin(TURN * u / 2))


def helix(u: Floats, v: Floats) -> Floats:
    return _around(3 * u, np.ones_like(v), 2 * u - 1)


def trefoil_knot(u: Floats, v: Floats) -> Floats:
    t = TURN * u
    return np.stack([np.sin(t) + 2 * np.sin(2 * t), np.cos(t) - 2 * np.cos(2 * t), -np.sin(3 * t)], -1)


SHAPES: dict[str, Callable[[Floats, Floats], Floats]] = {
    shape.__name__: shape
    for shape in (sphere, torus, cylinder, cone, bowl, saddle, cube, moebius_strip, helix, trefoil_knot)
}


@dataclass(frozen=True)
class Clouds:
    """Points (clouds, points, 3) in single precision, and the number of each cloud's shape."""

    points: NDArray[np.float32]
    shapes: NDArray[np.int64]


def draw(clouds: int, points: int, seed: int, noise: float = 0.05) -> Clouds:
    """So many clouds of each shape, in random order; equal seeds give equal clouds."""
    rng = np.random.default_rng(seed)
    kinds = rng.permutation(np.repeat(np.arange(len(SHAPES)), clouds))
    shapes = list(SHAPES.values())
    drawn = np.stack([shapes[kind](*rng.random((2, points))) for kind in kinds])
    drawn *= rng.uniform(0.7, 1.3, (len(kinds), 1, 3))
    turned = drawn @ _turns(rng.random(len(kinds)))
    turned -= turned.mean(axis=1, keepdims=True)
    turned /= np.sqrt((turned**2).mean(axis=(1, 2), keepdims=True))
    return Clouds((turned + noise * rng.normal(size=turned.shape)).astype(np.float32), kinds)


def _turns(u: Floats) -> Floats:
    """Matrices (clouds, 3, 3) that turn about the vertical."""
    cosine, sine, nought = np.cos(TURN * u), np.sin(TURN * u), np.zeros_like(u)
    rows = [cosine, -sine, nought], [sine, cosine, nought], [nought, nought, nought + 1]
    return np.stack([np.stack(row, -1) for row in rows], -2)


def _around(u: Floats, radius: Floats, height: Floats) -> Floats:
    return np.stack([radius * np.cos(TURN * u), radius * np.sin(TURN * u), height], -1)
