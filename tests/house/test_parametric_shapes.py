"""Clouds of points on shapes: they lie on the surfaces that their names say."""

import numpy as np
import pytest

from benchmarks import shapes

ROUNDING = 1e-12
"""Of a few operations on numbers of at most 3."""


EQUATIONS = {
    "sphere": lambda x, y, z: x**2 + y**2 + z**2 - 1,
    "torus": lambda x, y, z: (np.hypot(x, y) - 1) ** 2 + z**2 - 0.16,
    "cylinder": lambda x, y, z: np.hypot(x, y) - 1,
    "cone": lambda x, y, z: np.hypot(x, y) + z - 1,
    "bowl": lambda x, y, z: x**2 + y**2 - z,
    "saddle": lambda x, y, z: x**2 - y**2 - z,
    "cube": lambda x, y, z: np.max(np.abs([x, y, z]), axis=0) - 1,
    # the strip's edge turns by half a turn: at the angle t it points along (cos t/2, sin t/2) in the plane of (r, z)
    "moebius_strip": lambda x, y, z: (
        (np.hypot(x, y) - 1) * np.sin(np.arctan2(y, x) / 2) - z * np.cos(np.arctan2(y, x) / 2)
    ),
    "helix": lambda x, y, z: np.hypot(x - np.cos(3 * np.pi * (z + 1)), y - np.sin(3 * np.pi * (z + 1))),
    # x^2 + y^2 = 5 - 4 cos 3t and z = -sin 3t
    "trefoil_knot": lambda x, y, z: ((5 - x**2 - y**2) / 4) ** 2 + z**2 - 1,
}


@pytest.mark.parametrize("name", shapes.SHAPES)
def test_points_lie_on_the_shape(name):
    x, y, z = shapes.SHAPES[name](*np.random.default_rng(0).random((2, 200))).T
    assert abs(EQUATIONS[name](x, y, z)).max() < ROUNDING
    assert min(np.ptp(x), np.ptp(y), np.ptp(z)) > 0.5


def test_all_faces_of_the_cube_are_drawn():
    points = shapes.SHAPES["cube"](*np.random.default_rng(0).random((2, 200)))
    assert {(int(axis), int(np.sign(point[axis]))) for point in points for axis in [abs(point).argmax()]} == {
        (axis, sign) for axis in range(3) for sign in (-1, 1)
    }


def test_clouds_are_centred_scaled_and_as_many_of_each_shape():
    found = shapes.draw(3, 64, seed=0, noise=0.0)
    assert found.points.shape == (30, 64, 3)
    assert np.bincount(found.shapes).tolist() == [3] * 10
    # single precision
    assert abs(found.points.mean(axis=1)).max() < 1e-6
    np.testing.assert_allclose((found.points**2).mean(axis=(1, 2)), 1, rtol=1e-5)


def test_a_seed_draws_its_clouds():
    one, again, other = (shapes.draw(1, 8, seed) for seed in (0, 0, 1))
    np.testing.assert_array_equal(one.points, again.points)
    assert not np.array_equal(one.points, other.points)
