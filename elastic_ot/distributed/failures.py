"""An error of one process, raised by all."""

from __future__ import annotations

from typing import NoReturn

import numpy as np

from ..errors import ConvergenceError, InfeasibleError, RankError
from .communicator import Communicator

RAISED_ALIKE: dict[str, type[Exception]] = {
    kind.__name__: kind for kind in (ValueError, TypeError, InfeasibleError, ConvergenceError)
}
"""Errors that say what is wrong with what was given: all processes raise the same."""


def raise_together(comm: Communicator, failed: BaseException | None) -> NoReturn:
    """Raise what the first process that has failed says, on all of them; what is no message raises as it is there."""
    own = b"" if failed is None else f"{type(failed).__name__}:{failed}".encode()
    length = np.zeros(comm.size)
    length[comm.rank] = 0 if failed is None else max(1, len(own))
    comm.allreduce_sum(length)
    first = int(np.flatnonzero(length)[0])
    text = np.zeros(int(length[first]))
    if comm.rank == first:
        text[: len(own)] = np.frombuffer(own, np.uint8)
    comm.allreduce_sum(text)
    name, _, said = text.astype(np.uint8).tobytes().decode(errors="replace").partition(":")
    if name in RAISED_ALIKE:
        raise RAISED_ALIKE[name](f"rank {first}: {said}") from failed
    if failed is not None:
        failed.add_note(f"on rank {comm.rank} of {comm.size}")
        raise failed
    raise RankError(f"rank {first}: {name}{': ' if said else ''}{said}")
