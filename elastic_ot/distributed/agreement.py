"""What all processes must have given alike: compared by digests, in one message before the first sweep."""

from __future__ import annotations

import hashlib
from dataclasses import fields, is_dataclass
from numbers import Real
from typing import Any

import numpy as np

from .ranks import Together

DIGEST_BYTES = 6  # bytes of a digest, whose numbers float64 holds
PROBED = np.linspace(0.1, 3.0, 1 << 15)  # rounded as on every other process, whatever sums and functions are made of
HOW_THEY_ROUND = "how they round: their processors, threads or versions of NumPy"


def refuse_differences(ranks: Together, **values: Any) -> None:
    """Raise a ValueError on all processes if they do not have the same values; it names these and a rank."""
    names = [*values, HOW_THEY_ROUND]
    found = np.array([_digest(value) for value in (*values.values(), _probe())])
    both = np.concatenate([found, -found])
    ranks.raise_to_most(both)
    differ = both[: found.size] != -both[found.size :]
    if not differ.any():
        return
    table = np.zeros((ranks.comm.size, found.size))
    table[ranks.rank] = found
    ranks.add(table.reshape(-1))
    odd = int(np.flatnonzero((table != table[0]).any(axis=1))[0])
    given = [name for name, wrong in zip(names, differ.tolist(), strict=True) if wrong]
    what = " and ".join([", ".join(given[:-1]), given[-1]] if len(given) > 1 else given)
    raise ValueError(
        f"rank {odd} differs from rank 0 in {what}; all processes must pass the same, but for the rows of cost, a, "
        f"mask and init"
    )


def _digest(value: Any) -> float:
    """A whole number below 2^48 that belongs to a value."""
    return float(int.from_bytes(hashlib.sha256(_written(value)).digest()[:DIGEST_BYTES], "big"))


def _written(value: Any) -> bytes:
    """Bytes that are the same for equal values, of whatever types their numbers are."""
    if isinstance(value, np.ndarray):
        return f"{value.dtype}{value.shape}".encode() + np.ascontiguousarray(value).tobytes()
    if is_dataclass(value):
        parts = [field.name.encode() + _written(getattr(value, field.name)) for field in fields(value)]
        return type(value).__name__.encode() + b"".join(parts)
    if isinstance(value, tuple):
        return b"(" + b",".join(map(_written, value)) + b")"
    if isinstance(value, Real):
        return repr(float(value)).encode()
    return repr(value).encode()


def _probe() -> Any:
    exponentials, logarithms = np.exp(-PROBED), np.log(PROBED)
    return np.array([exponentials.sum(), logarithms.sum(), exponentials @ logarithms, *exponentials[::997]])
