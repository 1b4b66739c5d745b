"""Divergences of many pairs of measures: their leading dimensions, and one result for each."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .arrays import as_array, as_numpy
from .batch_penalty import penalty_of, strength_name, strength_shape
from .errors import ConvergenceError, ConvergenceWarning
from .memory import library_of
from .penalties import Penalty, Vector
from .result import Status

if TYPE_CHECKING:
    from .debiased import Divergence, DivergenceGradients

CORE = {"cost_xy": 2, "cost_xx": 2, "cost_yy": 2, "a": 1, "b": 1, "epsilon": 0}  # dimensions of one problem


@dataclass(frozen=True, eq=False)
class BatchDivergence:
    """Debiased divergences of many pairs of measures; returned by `divergence`.

    ``found[index]`` is the `Divergence` of one pair, with its three solutions. Numbers of `Divergence` are arrays of
    the batch shape here.

    Examples
    --------
    >>> import numpy as np
    >>> import elastic_ot as eot
    >>> x = np.random.default_rng(0).random((3, 5))
    >>> costs = (x[:, :, None] - x[:, None]) ** 2
    >>> found = eot.divergence(costs, costs, costs, epsilon=0.1)
    >>> found.value, found.converged.all()
    (array([0., 0., 0.]), np.True_)
    """

    pairs: NDArray[np.object_]

    def __repr__(self) -> str:
        count = " x ".join(map(str, self.pairs.shape))
        n, m = next(iter(self)).cross.problem.shape
        return f"BatchDivergence({count} pairs of {n} and {m} points, {int(self.converged.sum())} converged)"

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, index: Any) -> Divergence:
        """The divergence of one pair.

        Parameters
        ----------
        index : int or tuple of int
            One number for every dimension of the batch.
        """
        index = index if isinstance(index, tuple) else (index,)
        if len(index) != self.pairs.ndim:
            raise IndexError(f"the batch has shape {self.pairs.shape}; one index for each dimension is needed")
        found: Divergence = self.pairs[index]
        return found

    def __iter__(self) -> Iterator[Divergence]:
        return iter(self.pairs.reshape(-1).tolist())

    def _all(self, read: Callable[[Divergence], Any]) -> NDArray[Any]:
        return np.array([read(pair) for pair in self]).reshape(self.pairs.shape)

    @cached_property
    def value(self) -> Vector:
        """The divergences."""
        return self._all(lambda pair: pair.value)

    @cached_property
    def converged(self) -> NDArray[np.bool_]:
        """Which pairs have converged, all three solutions."""
        return self._all(lambda pair: pair.converged)

    @cached_property
    def gap(self) -> Vector:
        """Bounds on the errors of the values, as `Divergence.gap`."""
        return self._all(lambda pair: pair.gap)

    def gradients(self) -> DivergenceGradients:
        """Derivatives of the values, as `Divergence.gradients`, each with the batch shape in front.

        Returns
        -------
        DivergenceGradients
            In what each pair was given: where pairs share a cost or weights, the sum over them is still to be taken.

        Warns
        -----
        ConvergenceWarning
            Some pair is not converged; one warning for all.
        """
        from .debiased import DivergenceGradients

        if not self.converged.all():
            text = f"gradients hold at the optimum, and {_open(self)} did not reach it"
            warnings.warn(text, ConvergenceWarning, stacklevel=2)
        found = [_quiet(pair).gradients() for pair in self]
        stacked: dict[str, Any] = {}
        for field in fields(DivergenceGradients):
            parts = [getattr(gradients, field.name) for gradients in found]
            whole = np.array(parts) if field.name == "epsilon" else library_of(parts[0]).stack(parts)
            stacked[field.name] = whole.reshape((*self.pairs.shape, *whole.shape[1:]))
        return DivergenceGradients(**stacked)


def batch_shape(rows: Any, cols: Any, **arrays: Any) -> tuple[int, ...]:
    """The leading dimensions of all arguments, which broadcast; () for one pair."""
    shapes = {name: _leading(name, values) for name, values in arrays.items() if values is not None}
    for name, penalty in (("rows", rows), ("cols", cols)):
        if isinstance(penalty, Penalty) and strength_shape(penalty):
            shapes[f"the {strength_name(penalty)} of {name}"] = strength_shape(penalty)
    found: tuple[int, ...] = ()
    for name, shape in shapes.items():
        if 0 in shape:
            raise ValueError(f"{name} has leading dimensions {shape}; none of them may be 0")
        try:
            found = np.broadcast_shapes(found, shape)
        except ValueError:
            raise ValueError(
                f"{name} has leading dimensions {shape} and what stands before it {found}; they must broadcast"
            ) from None
    return found


def divergences(
    solve: Callable[..., Divergence],
    batch: tuple[int, ...],
    arrays: dict[str, Any],
    rows: Penalty,
    cols: Penalty,
    options: dict[str, Any],
    time_limit: float | None,
    on_failure: str,
) -> BatchDivergence:
    """One after the other by `solve`, with the bits of a loop; one warning or error for all of them."""
    began = time.perf_counter()
    pairs = np.empty(batch, dtype=object)
    for k, index in enumerate(np.ndindex(batch)):
        given = {name: _part(name, values, index) for name, values in arrays.items()}
        left = None if time_limit is None else max(time_limit - (time.perf_counter() - began), 1e-3)
        sides = {"rows": penalty_of(rows, batch, k), "cols": penalty_of(cols, batch, k)}
        try:
            pairs[index] = solve(**given, **sides, **options, time_limit=left, on_failure="ignore")
        except (ValueError, TypeError) as error:
            raise type(error)(f"problem [{', '.join(map(str, index))}]: {error}") from None
    found = BatchDivergence(pairs)
    if not found.converged.all() and on_failure != "ignore":
        text = f"{_open(found)} did not converge"
        if on_failure == "raise":
            raise ConvergenceError(text)
        warnings.warn(text, ConvergenceWarning, stacklevel=3)
    return found


def _leading(name: str, values: Any) -> tuple[int, ...]:
    shape = tuple(values.shape) if hasattr(values, "shape") else as_array(name, values).shape
    return shape[: max(len(shape) - CORE[name], 0)]


def _part(name: str, values: Any, index: tuple[int, ...]) -> Any:
    """What belongs to one pair, in its own library."""
    if values is None:
        return None
    if name == "epsilon":
        values = as_numpy(name, values)
    elif not hasattr(values, "shape"):
        values = as_array(name, values)
    leading = _leading(name, values)
    own = tuple(0 if size == 1 else i for i, size in zip(index[len(index) - len(leading) :], leading, strict=True))
    part = values[(*own, ...)] if own else values
    return part[()] if name == "epsilon" else part


def _quiet(pair: Divergence) -> Divergence:
    """Without a warning of its own: there was one for the batch."""
    terms = {name: replace(getattr(pair, name), status=Status.CONVERGED) for name in ("cross", "self_x", "self_y")}
    return replace(pair, **terms)


def _open(found: BatchDivergence) -> str:
    """How many pairs have not converged, and the first of them."""
    where = np.argwhere(~found.converged)
    first: Divergence = found.pairs[tuple(where[0])]
    terms = (first.cross, first.self_x, first.self_y)
    message = next(term.message for term in terms if not term.converged)
    return f"{len(where)} of {found.pairs.size} pairs, first [{', '.join(map(str, where[0]))}] ({message}),"
