"""Penalties on a GPU: the rule of each side, for one problem or many."""

from __future__ import annotations

from typing import Any

import numpy as np

from .gpu_launches import THREADS, Launches, sized
from .protocol import Array, Side


class Sides(Launches):
    """The primitives that read no matrix."""

    def potential(self, side: Side, log_ratio: Array, out: Array) -> None:
        code, strengths = np.array([side.code], np.int64), np.array([[side.strength], [side.strength2]], np.float64)
        one = Side(side.weight[None], side.log_weight[None], side.offset[None], code, *strengths)
        self.batch_potential(one, log_ratio[None], out[None])

    def _batch_side(self, side: Side) -> tuple[Any, ...]:
        code = self.device.put(np.ascontiguousarray(side.code, dtype=np.int64))
        return *(self._vector(x) for x in side[:3]), code, self._vector(side.strength), self._vector(side.strength2)

    def batch_potential(self, sides: Side, log_ratio: Array, out: Array) -> None:
        weight, log_weight, _, *rule = self._batch_side(sides)
        found = self.device.empty(out.shape, np.float64)
        args = weight, log_weight, *rule, *sized(out.shape), self._vector(log_ratio), found
        self.device.launch("potentials", (self._row_blocks(-(-out.size // THREADS))[0], 1), THREADS, args)
        out[...] = self.device.get(found)
