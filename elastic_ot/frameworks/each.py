"""Calls of the host that treat the problems of a batch one after the other."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

Options = dict[str, Any]


def each(arrays: Any, one: Callable[..., Any], stack: Callable[[list[Any]], Any] | None, rank: int) -> Any:
    """``one(*arrays)``, or a list of what it returns for every problem, or what `stack` makes of it.

    Dimensions of the first array before its last `rank` are those of the batch.
    """
    batch = np.shape(arrays[0])[:-rank]
    if not batch:
        return one(*arrays)
    found = []
    for index in np.ndindex(*batch):
        try:
            found.append(one(*(None if x is None else x[index] for x in arrays)))
        except (ValueError, TypeError) as error:
            raise type(error)(f"problem [{', '.join(map(str, index))}]: {error}") from None
    return found if stack is None else stack(found)


def batched(one: Callable[..., tuple[Any, ...]], rank: int) -> Callable[..., tuple[Any, ...]]:
    """``one(options, solution, *arrays)`` for one problem, for a batch, or for many whose solutions are a list."""

    def function(options: Options, solution: Any, *arrays: Any) -> tuple[Any, ...]:
        if not isinstance(solution, list):
            return one(options, solution, *arrays)
        batch, solutions = np.shape(arrays[0])[:-rank], iter(solution)

        def stacked(found: list[Any]) -> tuple[Any, ...]:
            return tuple(np.stack(part).reshape(*batch, *np.shape(part[0])) for part in zip(*found, strict=True))

        return each(arrays, lambda *parts: one(options, next(solutions), *parts), stacked, rank)  # type: ignore[no-any-return]

    return function
