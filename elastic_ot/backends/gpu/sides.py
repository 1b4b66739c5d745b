"""Penalties on a GPU: the rule of each side, for one problem or many."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..protocol import Array, Side
from .launches import THREADS, Launches, sized
from .transfers import Room


class Sides(Launches):
    """The primitives that read no matrix."""

    def potential(self, side: Side, log_ratio: Array, out: Array) -> None:
        code, strengths = np.array([side.code], np.int64), np.array([[side.strength], [side.strength2]], np.float64)
        one = Side(side.weight[None], side.log_weight[None], side.offset[None], code, *strengths)
        self.batch_potential(one, log_ratio[None], out[None])

    def _batch_side(self, side: Side) -> tuple[Any, ...]:
        code = np.asarray(side.code, dtype=np.int64)
        return tuple(self._vectors(*side[:3], code, side.strength, side.strength2))

    def batch_potential(self, sides: Side, log_ratio: Array, out: Array) -> None:
        code = np.asarray(sides.code, dtype=np.int64)
        rule = sides.weight, sides.log_weight, code, sides.strength, sides.strength2
        *vectors, ratios, found = self._vectors(*rule, log_ratio, Room(out.shape))
        args = *vectors, *sized(out.shape), ratios, found
        self.device.launch("potentials", (self._row_blocks(-(-out.size // THREADS))[0], 1), THREADS, args)
        out[...] = self.device.get(found)
