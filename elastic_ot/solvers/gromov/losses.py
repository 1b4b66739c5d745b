"""How two distances are compared: losses that are sums of products, so that energies are matrix products."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


class Loss(NamedTuple):
    """L(x, y) = first(x) + second(y) - left(x) right(y), see Peyre, Cuturi, Solomon 2016, proposition 1."""

    name: str
    first: Callable[[Array], Array]
    second: Callable[[Array], Array]
    left: Callable[[Array], Array]
    right: Callable[[Array], Array]

    def __call__(self, x: Array, y: Array) -> Array:
        """Return L(x, y)."""
        return np.asarray(self.first(x) + self.second(y) - self.left(x) * self.right(y))


def _entropy(x: Array) -> Array:
    """Return x log x - x, 0 at 0."""
    return np.where(x > 0, x * np.log(np.where(x > 0, x, 1.0)) - x, 0.0)


SQUARE = Loss("square", np.square, np.square, lambda x: x, lambda y: 2.0 * y)
KULLBACK = Loss("kl", _entropy, lambda y: y, lambda x: x, np.log)
LOSSES = {loss.name: loss for loss in (SQUARE, KULLBACK)}
