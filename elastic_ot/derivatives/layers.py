"""A fixed number of iterations of small problems in one compiled call, forward and backward: layers of a network.

What is unusual, in options, shapes or numbers, goes the way of `solve`, which also has the words for what is wrong.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..backends import load_layers
from ..problems.masses import EQUAL, SAME_MASS, precision_of
from ..problems.mixed import at_each, is_hard
from ..problems.penalties import KL, Elastic, Fixed, Free
from ..problems.penalty import Penalty, Vector
from .records import Gradients

LARGEST_LAYER = 1 << 18  # entries of a problem; its kernel belongs to one thread
LONGEST_ROW = 2048  # entries of a row that a float32 sum takes
TINY_LAYER, MANY_TINY = 64, 64  # entries up to which problems are tiny; so many of them are faster side by side
MOST_ITERATIONS = 64  # whose vectors are all kept
FAILURES = ("warn", "raise", "ignore", None)
PLAIN = {"rows", "cols", "reference", "tol", "max_iter", "end", "on_failure", "given", "precision", "with_plan"}


class Settings(NamedTuple):
    """What options say about half steps: fields of `Layers` in the backend, which has their meaning."""

    numbers: NDArray[np.float64]
    product: bool
    iterations: int
    end_cols: bool
    same: float


class Layer(NamedTuple):
    """A number of iterations of problems (..., n, m) that one compiled call serves; the batch shape is `batch`.

    It stands for the `BatchSolution` of the same budget: `plan`, `converged`, potentials and `vjp` are the same. With
    its `history`, of which the plan is a part, derivatives need not run the iterations again.
    """

    task: Any
    batch: tuple[int, ...]
    history: Any = None
    plan: NDArray[np.floating] | None = None
    f: Vector | None = None
    g: Vector | None = None

    @property
    def host(self) -> Layer:
        """Where the potentials are in NumPy and float64: here."""
        return self

    @property
    def converged(self) -> NDArray[np.bool_]:
        """False: nothing is measured."""
        return np.zeros(self.batch, np.bool_)

    def vjp(self, plan: Any, f: Any, g: Any) -> Gradients | None:
        """Derivatives of a function of plans and potentials, see `Solution.vjp`; None if they need the long way."""
        task, (n, m) = self.task, self.task.cost.shape[1:]
        size, dtype = task.problems, task.cost.dtype
        bar = np.zeros((size, n, m), dtype) if plan is None else flat(plan, 2, dtype)
        f_bar, g_bar = (np.ascontiguousarray(x, np.float64).reshape(size, -1) for x in (f, g))
        found = np.empty((size, n, m), dtype), np.empty((size, n)), np.empty((size, m)), np.empty((size, 3))
        if not load_layers().layer_backward(task, bar, f_bar, g_bar, found, self.history):
            return None
        cost, a, b, *numbers = (*found[:3], *found[3].T)
        return Gradients(*(x.reshape((*self.batch, *x.shape[1:])) for x in (cost, a, b, *numbers)))

    def slope(self, plan: NDArray[Any]) -> NDArray[np.floating] | None:
        """Derivatives in the cost of a function of plans: of `vjp` that one, in less time."""
        kernels, task = load_layers(), self.task
        found = np.empty((task.problems, *task.cost.shape[1:]), task.cost.dtype)
        if not kernels.cost_backward(task, flat(plan, 2, found.dtype), found, self.history):
            return None
        return found.reshape(plan.shape)


def solved_layer(options: dict[str, Any], cost: Any, a: Any, b: Any, epsilon: Any) -> Layer | None:
    """Run the iterations; None if they are not for this module."""
    layer = plain_layer(options, cost, a, b, epsilon)
    if layer is None:
        return None
    size, (n, m) = layer.task.problems, cost.shape[-2:]
    found = np.empty((size, n, m), cost.dtype), np.empty((size, n)), np.empty((size, m))
    history = load_layers().layer_forward(layer.task, *found)
    if history is None:
        return None
    plan, f, g = (x.reshape((*layer.batch, *x.shape[1:])) for x in found)
    return layer._replace(history=history, plan=plan, f=f, g=g)


def plain_layer(options: dict[str, Any], cost: Any, a: Any, b: Any, epsilon: Any) -> Layer | None:
    """The iterations that these options ask for; None if they, or the shapes, are not for this module."""
    if not (isinstance(cost, np.ndarray) and cost.dtype in (np.float32, np.float64) and fits(cost.shape)):
        return None
    batch, widths = cost.shape[:-2], np.array(epsilon, np.float64).reshape(-1)
    found = settings(options, widths, batch, precision_of(a, b))
    if found is None:
        return None
    weights = (_stack(np.asarray(x), 1, np.float64) for x in (a, b))
    return Layer(load_layers().Layers(_stack(cost, 2, cost.dtype), *weights, widths.size, *found), batch)


def settings(options: dict[str, Any], epsilon: Vector, batch: tuple[int, ...], precision: str) -> Settings | None:
    """What these options say at so many epsilons, of problems of that batch shape; None if they are not plain.

    The weights had the dtype `precision`, see `precision_of`.
    """
    sides = [options.get(side, Fixed()) for side in ("rows", "cols")]
    if not (_are_plain(options) and all(isinstance(side, Fixed | Free | KL | Elastic) for side in sides)):
        return None
    if not 0 < epsilon.min() < np.inf:
        return None
    rows, cols = (at_each(side, epsilon, batch) for side in sides)
    end, last = options.get("end"), np.asarray(is_hard(cols)) & ~np.asarray(is_hard(rows))
    if end is None and last.any() != last.all():
        return None
    numbers = np.stack((epsilon, _powers(rows, epsilon), _powers(cols, epsilon)), axis=1)
    numbers.flags.writeable = False
    precision = max(precision, options.get("precision", ""), key=lambda name: EQUAL.get(name, 0.0))
    return Settings(
        numbers,
        product=options.get("reference", "product") == "product",
        iterations=options["max_iter"],
        end_cols=bool(last.all()) if end is None else end == "cols",
        same=EQUAL.get(precision, SAME_MASS),
    )


def _are_plain(options: dict[str, Any]) -> bool:
    if not (options.keys() <= PLAIN and options.get("tol") == 0):
        return False
    count, end, reference = options["max_iter"], options.get("end"), options.get("reference", "product")
    if not (type(count) is int and 1 <= count <= MOST_ITERATIONS and options.get("on_failure") in FAILURES):
        return False
    return bool(end in (None, "rows", "cols") and str(reference) in ("product", "counting"))


def fits(shape: Sequence[int]) -> bool:
    """True for matrices that are not too large, and not so many tiny ones that they go side by side."""
    size, problems = shape[-2] * shape[-1], math.prod(shape[:-2])
    return bool(
        0 < size <= LARGEST_LAYER and shape[-1] <= LONGEST_ROW and (size > TINY_LAYER or 0 < problems <= MANY_TINY)
    )


def _powers(penalty: Penalty, epsilon: Vector) -> Vector:
    """The exponent tau of every problem's update."""
    tau = np.empty(epsilon.shape)
    tau[:] = np.reshape(penalty.rule(epsilon[:, None], 1.0)[1], -1)  # type: ignore[arg-type]
    return tau


def shared(x: NDArray[Any], rank: int) -> NDArray[Any]:
    """Return values without the repetitions along leading dimensions, which then have size 1."""
    kept = tuple(slice(0, 1) if x.strides[axis] == 0 else slice(None) for axis in range(x.ndim - rank))
    return x[kept]


def _stack(values: NDArray[Any], rank: int, dtype: Any) -> NDArray[Any]:
    """Return (B, ...) in C order, or (1, ...) if all problems share it."""
    once = shared(values, rank)
    return flat(once if math.prod(once.shape[: once.ndim - rank]) == 1 else values, rank, dtype)


def flat(values: NDArray[Any], rank: int, dtype: Any) -> NDArray[Any]:
    """Return (B, ...) in C order."""
    return np.ascontiguousarray(values, dtype).reshape((-1, *values.shape[values.ndim - rank :]))
