"""A call of the host by PyTorch or JAX: a function of arrays with leading dimensions, and options as text."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..arrays.devices import library_of, lies_on_host
from .options import SIDES, Shape, decode

BOTH_SIDES = "2"  # one number for the rows and one for the columns
SHOWN = {"row_potential": "f", "col_potential": "g"}  # with what is taken off costs that lie high, for users' eyes
CORE = {
    "cost": "nm",
    "plan": "nm",
    "log_plan": "nm",
    "a": "n",
    "b": "m",
    "f": "n",
    "g": "m",
    "rho": BOTH_SIDES,
    "epsilon": "",
    "row_potential": "n",
    "col_potential": "m",
    "value": "",
    "converged": "",
    "x": "nd",
    "y": "md",
    "right": "mk",
    "carried": "nk",
    "costs": "snm",
    "xs": "snd",
    "support": "md",
    "axes": "q",
    "columns": "m",
    "measures": "kn",
    "weights": "k",
    "fs": "kn",
    "gs": "km",
    "barycenter": "m",
}
"""Own dimensions of inputs and results.

n rows, m columns, d coordinates of points, k columns of what is carried. Of a barycenter k measures, s costs, k or one
for all, and q numbers that make a grid.
"""
TYPED = ("cost", "a", "b", "x", "y", "right", "costs", "xs", "support", "axes", "columns", "measures", "weights")
"""Inputs whose derivatives have their dtype."""
POTENTIALS = ("f", "g", "fs", "gs")
Arrays = Sequence[NDArray[Any] | None]


@dataclass(frozen=True, eq=False)
class HostCall:
    """A function of one problem or, where arrays have leading dimensions, which broadcast, of a batch.

    Attributes
    ----------
    begin : callable
        Called as ``begin(options, *arrays)``; returns the solution: solved, or made of known potentials.
    function : callable
        Called as ``function(options, solution, *arrays)``; returns a tuple.
    inputs, results : tuple of str
        What the arrays are: keys of `CORE`, which has their own dimensions.
    """

    begin: Callable[..., Any]
    function: Callable[..., tuple[Any, ...]]
    inputs: tuple[str, ...]
    results: tuple[str, ...]

    @property
    def solves(self) -> bool:
        """True if it does not take potentials that another call has found."""
        return self.known is None

    @property
    def known(self) -> int | None:
        """Where the potentials that another call has found begin."""
        return next((i for i, name in enumerate(self.inputs) if name in POTENTIALS), None)

    def shapes(self, given: Sequence[Shape | None], batch: Shape | None = None) -> list[tuple[int, ...]]:
        """Shapes of the results for inputs of these shapes, with leading dimensions as those of the first."""
        sizes: dict[str, int] = {BOTH_SIDES: len(SIDES)}
        for name, shape in zip(self.inputs, given, strict=False):
            if shape is not None:
                rank = len(CORE[name])
                batch = shape[: len(shape) - rank] if batch is None else batch
                for letter, size in zip(CORE[name], shape[len(shape) - rank :], strict=True):
                    sizes.setdefault(letter, size)  # the first says it: JAX passes potentials on as pairs of integers
        return [(*(batch or ()), *(sizes[x] for x in CORE[name])) for name in self.results]

    def dtypes(self, given: Sequence[Any], flag: Any, other: Any) -> list[Any]:
        """Dtypes of the results: derivatives have those of their inputs, matrices the cost's."""
        known = {name: dtype for name, dtype in zip(self.inputs, given, strict=False) if name in TYPED}
        known["converged"] = flag
        return [given[0] if is_matrix(name) else known.get(name, other) for name in self.results]

    def __call__(self, arrays: Arrays, options: str) -> list[NDArray[Any]]:
        """The results, new arrays in C order; an input that a derivative does not depend on may be None."""
        return self.kept(arrays, options)[1]

    def kept(self, arrays: Arrays, options: str, solution: Any = None) -> tuple[Any, list[NDArray[Any]]]:
        """The solution, which the derivatives of this call take in place of `begin`, and the results."""
        given, views = decode(options), arrays
        layout = _layout(self, tuple([None if x is None else (x.shape, x.dtype) for x in arrays]))
        if not layout.uniform:
            views = [
                None if x is None else library_of(x).broadcast_to(x, layout.batch + x.shape[x.ndim - len(CORE[name]) :])
                for name, x in zip(self.inputs, arrays, strict=True)
            ]
        solution = self.begin(given, *views) if solution is None else solution
        found = self.function(given, solution, *views)
        results = []
        for name, shape, dtype, values in zip(self.results, layout.shapes, layout.dtypes, found, strict=True):
            if not _serves(values, shape, dtype):
                values, one = (library_of(arrays[0]) if is_matrix(name) else np).empty(shape, dtype), values
                values[...] = one
            results.append(values)
        return solution, results


class Layout(NamedTuple):
    """What follows from the shapes and dtypes of inputs: the batch, whether all have it, and what results are."""

    batch: tuple[int, ...]
    uniform: bool
    shapes: list[tuple[int, ...]]
    dtypes: list[Any]


@lru_cache(maxsize=256)
def _layout(call: HostCall, given: tuple[tuple[tuple[int, ...], Any] | None, ...]) -> Layout:
    """Return it; a network makes the same call again and again."""
    shapes, dtypes = ([None if x is None else x[k] for x in given] for k in (0, 1))
    pairs = zip(call.inputs, shapes, strict=True)
    leading = {shape[: len(shape) - len(CORE[name])] for name, shape in pairs if shape is not None}
    batch = np.broadcast_shapes(*leading)
    kinds = call.dtypes(dtypes, np.dtype(np.bool_), np.dtype(np.float64))
    return Layout(batch, len(leading) == 1, call.shapes(shapes, batch), kinds)


def is_matrix(name: str) -> bool:
    """Return True if the input or result of that name is n x m and stays on the device."""
    return CORE[name] == "nm"


def _serves(values: Any, shape: Shape, dtype: Any) -> bool:
    """True for an array that can be given away as it is."""
    if isinstance(values, float | bool | np.generic) or values.shape != shape or values.dtype != dtype:
        return False
    return bool(values.flags.c_contiguous and (not lies_on_host(values) or values.flags.writeable))
