"""Arrays that lie side by side in one piece of memory, so that all of them cross between host and device at once."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from ..protocol import Array

DOUBLE = 8  # bytes; memory is counted in doubles
LINE = 16  # doubles that an array begins at a multiple of: 128 bytes, a line of the caches


class Room(NamedTuple):
    """An array to be written on the device, which nothing need be sent for."""

    shape: tuple[int, ...]
    dtype: Any = np.dtype(np.float64)


def rooms(*sizes: int) -> list[Room]:
    return [Room((size,)) for size in sizes]


def places(parts: Sequence[Array | Room]) -> tuple[list[int], int]:
    """Where each array begins, and how much they take together."""
    begins, end = [], 0
    for part in parts:
        begins.append(end)
        end += -(-doubles(part) // LINE) * LINE
    return begins, end


def doubles(part: Array | Room) -> int:
    return -(-math.prod(part.shape) * int(part.dtype.itemsize) // DOUBLE)


def filled(parts: Sequence[Array | Room], begins: Sequence[int]) -> Array:
    """Arrays of the host where they will lie, up to the last of them; room before that one is sent as zeros."""
    ends = [begin + doubles(part) for begin, part in zip(begins, parts, strict=True) if not isinstance(part, Room)]
    memory = np.zeros(max(ends, default=0))
    for begin, part in zip(begins, parts, strict=True):
        if not isinstance(part, Room):
            view(memory, begin, part)[...] = part
    return memory


def view(memory: Array, begin: int, like: Array | Room) -> Array:
    """The array of the shape and dtype of `like` that begins there; `memory` is of host or device."""
    shape, found = tuple(like.shape), memory[begin : begin + doubles(like)]
    if like.dtype != memory.dtype:
        found = found.view(like.dtype)[: math.prod(shape)]
    return found if len(shape) == 1 else found.reshape(shape)
