"""When two total masses are the same but for rounding, and what is said where they are not.

Masses that two hard sides ask for must be equal, and sums of weights are not: of weights that were normalised in single
precision they differ by some units of that. How far is decided by the dtype of the weights, and by their values where
that says float64: numbers that float32 holds, and that are more than a few digits long, have been in float32.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..distributed.ranks import ALONE, Ranks
from .penalties import Fixed
from .penalty import Penalty, Vector

EQUAL = {"float32": 1e-5, "float16": 2e-3, "bfloat16": 1e-2}
"""Relative difference up to which masses are equal, by the dtype of the weights."""
SAME_MASS = 1e-9
"""The same in other dtypes."""


def precision_of(*weights: Any) -> str:
    """The least precise dtype, of one name in `EQUAL`, that these arrays have; "" for others."""
    names = [str(getattr(values, "dtype", "")).split(".")[-1] for values in weights]
    return max(names, key=lambda name: EQUAL.get(name, 0.0), default="")


def tolerance(given: Sequence[Any], weights: Sequence[Vector], precision: str = "", ranks: Ranks = ALONE) -> Any:
    """Up to which relative difference the masses of two sides are equal, shape (...).

    Parameters
    ----------
    given : pair of array_like
        Weights as they came, for their dtype.
    weights : pair of ndarray of float64, shapes (..., n) and (..., m)
        Their values.
    precision : str
        The dtype that they had before they were converted, if that is known.
    ranks : Ranks
        What has the other rows of one problem.
    """
    known = ranks.most(max(EQUAL.get(name, SAME_MASS) for name in (precision_of(*given), precision)))
    of_rows, of_cols = map(was_single, weights)
    single = np.logical_or(of_rows if ranks.alone else ranks.all(of_rows | (weights[0].size == 0)), of_cols)
    return np.where(single, max(known, EQUAL["float32"]), known)


def was_single(weights: Vector) -> Any:
    """True for float64 weights that were float32 before: all are numbers of it, and not all short or whole ones."""
    with np.errstate(over="ignore"):
        single, half = (weights.astype(dtype) == weights for dtype in (np.float32, np.float16))
    whole = np.floor(weights) == weights
    return single.all(axis=-1) & ~(half | whole).all(axis=-1)


def note(factor: float) -> str:
    """What a message says about masses that were made equal, "" for rounding of float64."""
    return f"; masses differed by rounding, b was multiplied by {factor:.9g}" if abs(factor - 1) > SAME_MASS else ""


def collision(rows: Penalty, cols: Penalty, ranges: tuple[str, str], sums: tuple[float, float], batch: bool) -> str:
    """That no plan has both masses, with the line that repairs it."""
    text = (
        f"rows={rows!r} allow a total mass of {ranges[0]}, cols={cols!r} of {ranges[1]}; no plan has both (a sums to "
        f"{sums[0]:.12g}, b to {sums[1]:.12g})"
    )
    relaxed = "to let b change: cols=KL(rho), without entropy cols=TV(rho)"
    if not (isinstance(rows, Fixed) and isinstance(cols, Fixed)):
        return f"{text}; {relaxed}"
    each = "sum(-1, keepdims=True)" if batch else "sum()"
    return f"{text}; {relaxed}; to give b the mass of a: b = b * (a.{each} / b.{each})"
