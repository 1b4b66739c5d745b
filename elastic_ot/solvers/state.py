"""The vectors an iteration works on, shared by every method; nothing here is of size n x m."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import numpy as np

from ..backends.protocol import Vectors
from ..problems.penalty import Vector
from ..problems.scaled import Task
from .measure import Iterate, Measure, measure


@dataclass(eq=False)
class State:
    """Vectors of `Backend.log_sweeps`, in kernel units, and how the next sweeps should run.

    After a sweep (alpha, beta) has exact rows, and (previous_alpha, beta) exact columns: `iterate` reports whichever
    pair ends on the side that must be exact.
    """

    task: Task
    alpha: Vector
    beta: Vector
    end: str
    omega: tuple[float, float]
    fast: bool
    scratch: Any
    log_row: Vector = field(init=False)
    log_col: Vector = field(init=False)
    previous_alpha: Vector = field(init=False)
    log_col_updated: Vector = field(init=False)
    vectors: Vectors = field(init=False, repr=False)
    """All of them together: they are written to and never replaced."""
    cols_updated: bool = False
    """The last iteration updated the columns, so that log_col_updated is theirs."""
    broken: bool = False
    """The method cannot go on; the vectors are those of the last sound iteration."""
    finished: bool = False
    """The method has brought the potentials where the next one takes over; their marginals are not known yet."""
    exhausted: bool = False
    """The method cannot come nearer, and has put its best iterate back."""
    products: int = 0
    """Products with Newton's matrix so far."""

    def __post_init__(self) -> None:
        self.log_row, self.log_col = np.zeros_like(self.alpha), np.zeros_like(self.beta)
        self.previous_alpha, self.log_col_updated = self.alpha.copy(), np.zeros_like(self.beta)
        self.vectors = Vectors(
            self.alpha, self.beta, self.log_row, self.log_col, self.previous_alpha, self.log_col_updated
        )

    def iterate(self) -> Iterate:
        if self.end == "cols" and self.cols_updated:
            return Iterate(self.previous_alpha, self.beta, self.log_row, self.log_col_updated)
        return self.rows_exact()

    def rows_exact(self) -> Iterate:
        with np.errstate(invalid="ignore"):  # removed rows: -inf - -inf
            moved = np.where(np.isneginf(self.alpha), -np.inf, self.log_row + (self.alpha - self.previous_alpha))
        return Iterate(self.alpha, self.beta, moved, self.log_col)

    def potentials(self) -> tuple[Vector, Vector]:
        """(f, g) in cost units, of the points that were asked for."""
        iterate = self.iterate()
        return self.task.potentials(iterate.alpha, iterate.beta)

    @property
    def remark(self) -> str:
        """What there is to say of the method, for the message of a solution."""
        return ""

    def leave(self) -> None:
        """Called before another method goes on."""

    def measure(self) -> Measure:
        return measure(self.task, self.iterate())

    @property
    def steered(self) -> bool:
        """True if the method finds the translation of the potentials itself, and relies on rows that are exact."""
        return False

    def trusted(self) -> bool:
        """False if what the state tells of itself may be far too good."""
        return True

    def close(self) -> bool:
        """True if one more iteration has to bring the state to the side that must be exact."""
        return False

    def refine(self) -> bool:
        """Make the next iterations more faithful to the full cost in double precision; False if they are already.

        Asked for when the returned potentials miss a tolerance that the iterate seemed to meet.
        """
        return False

    def overlooked(self, certified: Measure) -> bool:
        """True if a certificate has found mass that iterations did not read, and from now on they do."""
        return False

    def shift(self, t: float) -> None:
        """(f + t, g - t), t in units of epsilon: the plan and its marginals do not change."""
        self.alpha += t
        self.previous_alpha += t
        self.beta -= t

    def save(self) -> tuple[Vector, ...]:
        return tuple(vector.copy() for vector in self.vectors)

    def restore(self, saved: tuple[Vector, ...]) -> None:
        for vector, old in zip(self.vectors, saved, strict=True):
            vector[:] = old


@dataclass(frozen=True, eq=False)
class Start:
    """How a solve begins: potentials in cost units or None, the side to end on, relaxation, and precision.

    `tol` is what the answer will be held to, `deadline` a time of `time.perf_counter` at which to stop. Of two fixed
    sides the columns' potentials are 0 on average, or the rows' with `transposed`.
    """

    f: Vector | None
    g: Vector | None
    end: str
    omega: tuple[float, float]
    fast: bool
    tol: float = 1e-6
    deadline: float = math.inf
    transposed: bool = False

    def transpose(self) -> Start:
        """Return the start for the transposed problem; a damped update stays that of the columns that are solved."""
        end = "cols" if self.end == "rows" else "rows"
        return replace(self, f=self.g, g=self.f, end=end, transposed=not self.transposed)


class Solver(Protocol):
    """One method: a record of hyper-parameters. Everything that changes lives in the `State`."""

    def start(self, task: Task, start: Start) -> State:
        """The state after one iteration."""

    def step(self, state: State, count: int) -> int:
        """At most `count` iterations; returns how many were done, or sets `State.broken` or `State.finished`."""
