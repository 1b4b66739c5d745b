"""Many problems one after another: what each has of an argument, and refusals with its number."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np


def each(which: Iterable[int], call: Callable[[int], Any]) -> Iterator[Any]:
    """The results of the calls; what they refuse is said with the number of the problem."""
    for k in which:
        try:
            yield call(k)
        except (ValueError, TypeError, RuntimeError) as error:
            raise type(error)(f"problem {k}: {error}") from None


def of_each(name: str, values: Any, rank: int, count: int) -> Callable[[int], Any]:
    """What problem k has of an argument that is one for all, or has the problems as its first axis."""
    shape: tuple[int, ...] = () if values is None else tuple(np.shape(values))
    if len(shape) <= rank:
        return lambda k: values
    if len(shape) != rank + 1 or shape[0] != count:
        raise ValueError(f"{name} has shape {shape}; for {count} problems its first length must be {count}")
    return lambda k: values[k]
