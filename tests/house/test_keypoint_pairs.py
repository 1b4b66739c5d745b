"""Pairs of images whose keypoints are matched: what is called right is where the homography puts it."""

import importlib

import numpy as np
import pytest

pytest.importorskip("sklearn")
pairs = importlib.import_module("benchmarks.keypoint_pairs")


def matching(right):
    """True if no keypoint has two partners."""
    return right.sum(axis=0).max() <= 1 and right.sum(axis=1).max() <= 1


@pytest.mark.parametrize("seed", range(5))
def test_partners_of_a_scene_are_found_a_pixel_from_where_the_homography_puts_them(seed, monkeypatch):
    warp = pairs.homography(np.random.default_rng(seed))
    monkeypatch.setattr(pairs, "homography", lambda rng: warp)
    first, second, right = pairs.scene(np.random.default_rng(seed))
    assert right.shape == (64, 64)
    assert matching(right)
    assert 24 <= right.sum() <= 48
    one, other = np.nonzero(right)
    off = pairs.moved(first.points[one], warp) - second.points[other]
    assert np.abs(off).max() < 6 * pairs.SHIFT  # no normal number of some hundred is as large
    assert (np.abs(second.points) <= pairs.FRAME).all()


def test_partners_look_more_alike_than_others():
    first, second, right = pairs.scene(np.random.default_rng(0))
    similarity = first.looks @ second.looks.T
    assert similarity[right].mean() > similarity[~right].mean() + 0.3
    np.testing.assert_allclose(np.linalg.norm(first.looks, axis=1), 1.0, rtol=1e-12)


def test_an_image_moves_as_its_points_do():
    warp = np.array([[1.0, 0.05, 0.1], [-0.05, 1.0, 0.05], [0.02, 0.0, 1.0]])
    rows, cols = np.mgrid[:213, :320]
    spot = np.exp(-((rows - 100) ** 2 + (cols - 140) ** 2) / 18)
    moved = pairs.warped(spot, warp)
    row, col = np.unravel_index(moved.argmax(), moved.shape)
    wanted = pairs.moved((np.array([[140, 100]]) - [159.5, 106.0]) / 160, warp)[0] * 160 + [159.5, 106.0]
    assert np.abs([col, row] - wanted).max() <= 1  # a pixel
    np.testing.assert_allclose(pairs.warped(spot, np.eye(3)), spot, atol=1e-12)


@pytest.mark.parametrize("name", pairs.PHOTOGRAPHS)
def test_corners_of_a_photograph_are_found_again(name, monkeypatch):
    monkeypatch.setattr(pairs, "homography", lambda rng: np.eye(3))
    first, second, right = pairs.photographs(name, np.random.default_rng(0))
    assert first.points.shape == second.points.shape == (64, 2)
    assert (np.abs(first.points) < pairs.FRAME).all()
    assert matching(right)
    assert right.sum() > 32  # of 64, through noise alone
    one, other = np.nonzero(right)
    assert np.linalg.norm(first.points[one] - second.points[other], axis=1).max() < pairs.TOLERANCE
    similarity = first.looks @ second.looks.T
    assert similarity[right].mean() > similarity[~right].mean() + 0.3


def test_corners_are_those_of_a_square():
    image = np.zeros((213, 320))
    image[60:150, 100:250] = 1.0
    found = pairs.corners(image + 1e-6 * np.random.default_rng(0).normal(size=image.shape))[:4]
    wanted = np.array([[60, 100], [60, 249], [149, 100], [149, 249]])
    assert np.abs(found[np.lexsort(found.T[::-1])] - wanted).max() <= 3  # pixels; filters are as wide
