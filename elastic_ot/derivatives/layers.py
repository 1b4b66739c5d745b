"""A fixed number of iterations of small problems in one compiled call, forward and backward: layers of a network.

What is unusual, in options, shapes or numbers, goes the way of `solve`, which also has the words for what is wrong.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

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


@dataclass(frozen=True, eq=False)
class Layer:
    """A number of iterations of problems (..., n, m) that one compiled call serves; the batch shape is `batch`.

    It stands for the `BatchSolution` of the same budget: `plan`, `converged`, potentials and `vjp` are the same.
    """

    task: Any
    batch: tuple[int, ...]
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
        kernels, task = load_layers(), self.task
        size, (n, m) = task.epsilon.size, task.cost.shape[1:]
        bar = None if plan is None else np.ascontiguousarray(plan, task.cost.dtype).reshape(size, n, m)
        f_bar, g_bar = (np.ascontiguousarray(x, np.float64).reshape(size, -1) for x in (f, g))
        vectors = np.empty((size, n)), np.empty((size, m)), *np.empty((3, size))
        out = kernels.LayerBars(np.empty((size, n, m), task.cost.dtype), *vectors)
        if not kernels.layer_backward(task, bar, f_bar, g_bar, out):
            return None
        return Gradients(*(x.reshape((*self.batch, *x.shape[1:])) for x in out))


def solved_layer(options: dict[str, Any], cost: Any, a: Any, b: Any, epsilon: Any) -> Layer | None:
    """Run the iterations; None if they are not for this module."""
    layer = plain_layer(options, cost, a, b, epsilon)
    if layer is None:
        return None
    size, (n, m) = layer.task.epsilon.size, cost.shape[-2:]
    found = np.empty((size, n, m), cost.dtype), np.empty((size, n)), np.empty((size, m))
    if not load_layers().layer_forward(layer.task, *found):
        return None
    plan, f, g = (x.reshape((*layer.batch, *x.shape[1:])) for x in found)
    return Layer(layer.task, layer.batch, plan, f, g)


def plain_layer(options: dict[str, Any], cost: Any, a: Any, b: Any, epsilon: Any) -> Layer | None:
    """The iterations that these options ask for; None if they, or the shapes, are not for this module."""
    if not (_are_plain(options) and _fits(cost)):
        return None
    batch, widths = cost.shape[:-2], np.array(epsilon, np.float64).reshape(-1)
    sides = [options.get(side, Fixed()) for side in ("rows", "cols")]
    if not (all(isinstance(side, Fixed | Free | KL | Elastic) for side in sides) and 0 < widths.min() < np.inf):
        return None
    rows, cols = (at_each(side, widths, batch) for side in sides)
    end, last = options.get("end"), np.asarray(is_hard(cols)) & ~np.asarray(is_hard(rows))
    if end is None and last.any() != last.all():
        return None
    precision = max(precision_of(a, b), options.get("precision", ""), key=lambda name: EQUAL.get(name, 0.0))
    task = load_layers().Layers(
        cost=_stack(cost, 2, cost.dtype),
        a=_stack(np.asarray(a), 1, np.float64),
        b=_stack(np.asarray(b), 1, np.float64),
        epsilon=widths,
        row_tau=_powers(rows, widths),
        col_tau=_powers(cols, widths),
        product=options.get("reference", "product") == "product",
        iterations=options["max_iter"],
        end_cols=bool(last.all()) if end is None else end == "cols",
        same=EQUAL.get(precision, SAME_MASS),
    )
    return Layer(task, batch)


def _are_plain(options: dict[str, Any]) -> bool:
    if not (options.keys() <= PLAIN and options.get("tol") == 0):
        return False
    count, end, reference = options["max_iter"], options.get("end"), options.get("reference", "product")
    if not (type(count) is int and 1 <= count <= MOST_ITERATIONS and options.get("on_failure") in FAILURES):
        return False
    return bool(end in (None, "rows", "cols") and str(reference) in ("product", "counting"))


def _fits(cost: Any) -> bool:
    """True for matrices of the host that are not too large, and not so many tiny ones that they go side by side."""
    if not isinstance(cost, np.ndarray) or cost.dtype not in (np.float32, np.float64):
        return False
    size, problems = cost.shape[-2] * cost.shape[-1], math.prod(cost.shape[:-2])
    return bool(
        0 < size <= LARGEST_LAYER and cost.shape[-1] <= LONGEST_ROW and (size > TINY_LAYER or 0 < problems <= MANY_TINY)
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
    flat = once if math.prod(once.shape[: once.ndim - rank]) == 1 else values
    return np.ascontiguousarray(flat, dtype).reshape((-1, *values.shape[values.ndim - rank :]))
