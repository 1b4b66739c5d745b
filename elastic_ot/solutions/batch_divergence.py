"""What `divergence` returns for many pairs of measures."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, replace
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from ..arrays.devices import library_of
from ..cached import cached_property
from ..errors import warn_user
from ..problems.penalty import Vector
from ..results import Result
from ..solvers.status import Status
from .divergence import Divergence, DivergenceGradients


@dataclass(frozen=True, eq=False)
class BatchDivergence(Result):
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

    _as_array: ClassVar[str] = "value"

    pairs: NDArray[np.object_]

    def __repr__(self) -> str:
        count = " x ".join(map(str, self.pairs.shape))
        n, m = next(iter(self)).cross.problem.shape
        return f"BatchDivergence({count} pairs of {n} and {m} points, {int(self.converged.sum())} converged)"

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, index: int | tuple[int, ...]) -> Divergence:
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
        """Bounds on the errors of the values, shape (...).

        A value is at most its cross term's gap too low, and half its self terms' gaps too high; this is the larger one.
        """
        return self._all(lambda pair: pair.gap)

    def gradients(self) -> DivergenceGradients:
        """Derivatives of the values in costs, weights and epsilon, each with the batch shape in front.

        Returns
        -------
        DivergenceGradients
            In what each pair was given: where pairs share a cost or weights, the sum over them is still to be taken.

        Warns
        -----
        ConvergenceWarning
            Some pair is not converged; one warning for all.
        """
        if not self.converged.all():
            text = f"gradients hold at the optimum, and {unconverged(self)} did not reach it"
            warn_user(text)
        found = [_quiet(pair).gradients() for pair in self]
        stacked: dict[str, Any] = {}
        for field in fields(DivergenceGradients):
            parts = [getattr(gradients, field.name) for gradients in found]
            if parts[0] is None:
                stacked[field.name] = None
                continue
            whole = np.array(parts) if field.name == "epsilon" else library_of(parts[0]).stack(parts)
            stacked[field.name] = whole.reshape((*self.pairs.shape, *whole.shape[1:]))
        return DivergenceGradients(**stacked)


def _quiet(pair: Divergence) -> Divergence:
    """Return a divergence that does not warn: there was one warning for the batch."""
    terms = {name: replace(getattr(pair, name), status=Status.CONVERGED) for name in ("cross", "self_x", "self_y")}
    return replace(pair, **terms)


def unconverged(found: BatchDivergence) -> str:
    """How many pairs have not converged, and the first of them."""
    where = np.argwhere(~found.converged)
    first: Divergence = found.pairs[tuple(where[0])]
    terms = (first.cross, first.self_x, first.self_y)
    message = next(term.message for term in terms if not term.converged)
    return f"{len(where)} of {found.pairs.size} pairs, first [{', '.join(map(str, where[0]))}] ({message}),"
