"""Pictures of curves, two places marked by dots, after Pathfinder of the Long Range Arena: does a curve join the dots?

The question is that of Linsley et al., *Learning long-range spatial dependencies with horizontal gated recurrent
units* (2018). A scene has two curves of one length and shorter ones that distract; no two of them touch. Either the two
ends of a curve are marked, or one end of each: in both, every dot lies at the end of a curve, and two long curves, two
dots and two ends without a dot are seen. Pictures come in pairs, one of each class, whose dots are as far apart.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

Pixels = list[tuple[int, int]]

BACKGROUND, CURVE, DOT = 0, 3, 6
SHADES = 2
GREYS = DOT + SHADES
"""Grey values are below this: every kind of pixel has two shades, drawn anew for each pixel."""

BEND = 0.35  # radians, the standard deviation of what a curve turns by from pixel to pixel
SHORT = 3  # a curve that distracts has 1 / SHORT of the pixels of a long one


@dataclass(frozen=True)
class Pictures:
    """Grey values (count, size, size), and whether a curve joins the dots (count,)."""

    pixels: np.ndarray
    joined: np.ndarray


def draw(count: int, size: int, length: int, distractors: int, seed: int) -> Pictures:
    """So many pictures, an even number, of curves of `length` pixels; equal seeds give equal pictures.

    Pictures 2 k and 2 k + 1 are a pair: dots are joined in the first, and in the second they are as far apart, but for
    what is lost by rounding the distance to whole pixels.
    """
    if count < 2 or count % 2:
        raise ValueError(f"count is {count}; pictures come in pairs, so it must be even, 2 or more")
    rng = np.random.default_rng(seed)
    waiting: dict[tuple[int, bool], list[tuple[list[Pixels], Pixels]]] = {}
    pixels: list[np.ndarray] = []
    for turn, scene in enumerate(_scenes(rng, size, length, distractors)):
        joined = turn % 2 == 0
        first, second = scene[:2] if rng.random() < 0.5 else scene[1::-1]
        dots = [first[0], first[-1]] if joined else [first[-int(rng.integers(2))], second[-int(rng.integers(2))]]
        distance = round(math.dist(*dots))
        others = waiting.setdefault((distance, not joined), [])
        if not others:
            waiting.setdefault((distance, joined), []).append((scene, dots))
            continue
        pair = [(scene, dots), others.pop()]
        pixels += [_painted(rng, size, *one) for one in (pair if joined else pair[::-1])]
        if len(pixels) == count:
            break
    return Pictures(np.array(pixels).reshape(count, size, size), np.arange(count) % 2 == 0)


def _scenes(rng: np.random.Generator, size: int, length: int, distractors: int) -> Iterator[list[Pixels]]:
    """Curves that do not touch, the two long ones first."""
    while True:
        taken = np.zeros((size + 2, size + 2), dtype=bool)  # with a margin, so that neighbours need no care
        scene: list[Pixels] = []
        for pixels in [length] * 2 + [length // SHORT] * distractors:
            curve = _curve(rng, size, pixels, taken)
            if curve is None:
                break
            scene.append(curve)
            for row, column in curve:
                taken[row : row + 3, column : column + 3] = True
        if len(scene) == 2 + distractors:
            yield scene


def _curve(rng: np.random.Generator, size: int, length: int, taken: np.ndarray) -> Pixels | None:
    """Of neighbouring pixels, none twice and none that is taken; None if ten attempts fail."""
    for _ in range(10):
        row, column = rng.uniform(0, size, 2)
        angle = rng.uniform(0, 2 * np.pi)
        turns = rng.normal(0, BEND, 2 * length)
        curve = [(int(row), int(column))]
        for turn in turns:
            angle += turn
            row, column = row + np.sin(angle), column + np.cos(angle)
            pixel = int(np.floor(row)), int(np.floor(column))
            if pixel == curve[-1]:
                continue
            if pixel in curve or not (0 <= pixel[0] < size and 0 <= pixel[1] < size):
                break
            curve.append(pixel)
            if len(curve) == length:
                break
        if len(curve) == length and not any(taken[row + 1, column + 1] for row, column in curve):
            return curve
    return None


def _painted(rng: np.random.Generator, size: int, scene: list[Pixels], dots: Pixels) -> np.ndarray:
    picture = np.full((size, size), BACKGROUND)
    for curve in scene:
        picture[tuple(np.transpose(curve))] = CURVE
    picture[tuple(np.transpose(dots))] = DOT
    return picture + rng.integers(SHADES, size=picture.shape)
