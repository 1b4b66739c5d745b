"""The parameters of Newton's method, which its stages read; `Newton` says what they mean."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Parameters:
    """Fields of `Newton`."""

    level_tol: float = 5e-4
    swept_tol: float = 0.05
    sweeps: int = 2
    patience: int = 6
    steps: int = 20
    forcing: float = 0.2
    drop: float = 1e-2
    damping: float = 0.1
    top_k: int | None = None
