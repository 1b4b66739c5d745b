"""Arrays of different sizes as one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray


def filled(parts: Sequence[NDArray[Any]], beyond: float = 0.0, dtype: Any = None) -> NDArray[Any]:
    """Return arrays of one rank along a new first axis, each in the leading corner, with a number beyond it."""
    shape = np.max([x.shape for x in parts], axis=0).astype(int)
    out = np.full((len(parts), *shape.tolist()), beyond, np.result_type(*parts) if dtype is None else dtype)
    for k, values in enumerate(parts):
        corner: tuple[Any, ...] = (k, *map(slice, values.shape))
        out[corner] = values
    return out
