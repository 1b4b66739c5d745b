"""Solves and their derivatives as stateless functions of arrays: what `elastic_ot.torch` and `.jax` call.

A `HostCall` takes arrays with leading dimensions, a problem each, and options as text, and gives arrays back. Matrices
are NumPy arrays or, on a device, of CuPy; everything else is NumPy. Backward calls get the inputs and the float64
potentials again and solve nothing.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from inspect import signature
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .api import recall, recall_batch, solve, solve_with_plan
from .batch_problem import build_batch
from .gradients import Gradients
from .memory import library_of, lies_on_host
from .options import is_budget
from .penalties import KL, L2, TV, AtMost, Between, Elastic, Fixed, Free
from .problem import build
from .solvers.newton import Newton

TOL = 1e-9  # of implicit differentiation, which amplifies errors
OPTIONS = (
    *("rows", "cols", "reference", "method", "relaxation", "tol", "max_iter", "time_limit", "end", "progress"),
    "on_failure",
)
KINDS = {kind.__name__: kind for kind in (Fixed, KL, TV, L2, Between, AtMost, Free, Elastic, Newton)}
FIELDS = {kind: tuple(signature(kind).parameters) for kind in KINDS.values()}
SIDES = ("rows", "cols")
PAIR = "2"  # one number for the rows and one for the columns
CORE = {"cost": "nm", "plan": "nm", "a": "n", "f": "n", "b": "m", "g": "m", "epsilon": "", "rho": PAIR, "value": ""}

Shape = Sequence[int]
Arrays = Sequence[NDArray[Any] | None]


def check_options(grad: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """The options of a differentiable solve, completed; refuses those that it has not."""
    if grad not in ("implicit", "unroll", "detach"):
        raise ValueError(f"grad is {grad!r}; choose from 'implicit', 'unroll', 'detach'")
    for name in options:
        if name in ("init", "callback"):
            raise ValueError(f"{name} is not for differentiable solves; call elastic_ot.solve")
        if name not in OPTIONS:
            raise TypeError(f"there is no option {name!r}; options are mask, {', '.join(OPTIONS)}")
    if grad != "unroll":
        return {"tol": TOL, **options}
    if "max_iter" not in options:
        raise ValueError("grad='unroll' differentiates the iterations that are run; give their number as max_iter")
    return {**options, "tol": 0}


def check_divergence(options: Mapping[str, Any]) -> None:
    """Refuses what has no meaning for three problems at once."""
    for name in ("mask", "reference", "row_rho", "col_rho"):
        if name in options:
            raise TypeError(f"a divergence has no {name}")


def common_batch(cost: Shape, a: Shape, b: Shape, epsilon: Shape, row_rho: Shape, col_rho: Shape) -> tuple[int, ...]:
    """The leading dimensions of a call; refuses shapes that do not fit, by name."""
    batch = tuple(cost[:-2])
    numbers = ("epsilon", epsilon, ()), ("row_rho", row_rho, ()), ("col_rho", col_rho, ())
    for name, shape, core in (("a", a, cost[-2:-1]), ("b", b, cost[-1:]), *numbers):
        leading = tuple(shape[: len(shape) - len(core)])
        if tuple(shape[len(leading) :]) != tuple(core) or not _broadcast(leading, batch):
            raise ValueError(
                f"{name} has shape {tuple(shape)} and cost {tuple(cost)}; {name} must broadcast to "
                f"{(*cost[:-2], *core)}"
            )
        batch = _joined(leading, batch)
    return batch


def check_rho(options: dict[str, Any], row_rho: Any, col_rho: Any) -> dict[str, Any]:
    """The options, with the sides named whose strengths are given as arrays; refuses penalties that have none."""
    given = [side for side, rho in zip(SIDES, (row_rho, col_rho), strict=True) if rho is not None]
    for side in given:
        penalty = options.get(side, Fixed())
        if "rho" not in FIELDS.get(type(penalty), ()):
            raise TypeError(
                f"{side[:-1]}_rho is given and {side} is {penalty!r}, which has no rho; choose KL, TV or L2"
            )
    return {**options, "given": ",".join(given)} if given else options


def check_mask(is_bool: bool, kind: Any, mask: Shape, cost: Shape) -> None:
    """A mask forbids cells of the cost: it may have more leading dimensions, never more rows or columns."""
    if not is_bool:
        raise TypeError(f"mask has dtype {kind}; it must be bool (True = allowed)")
    if not _broadcast(mask, cost) or _joined(mask, cost)[-2:] != tuple(cost[-2:]):
        raise ValueError(f"mask has shape {tuple(mask)} and cost {tuple(cost)}; it must broadcast to that")


def _broadcast(first: Shape, second: Shape) -> bool:
    return all(x == y or x == 1 or y == 1 for x, y in zip(reversed(first), reversed(second), strict=False))


def _joined(first: Shape, second: Shape) -> tuple[int, ...]:
    """The shape that two shapes broadcast to; in plain terms, since torch.compile traces it with symbols."""
    longer, shorter = (first, second) if len(first) >= len(second) else (second, first)
    extra = len(longer) - len(shorter)
    pairs = zip(longer[extra:], shorter, strict=True)
    return (*longer[:extra], *(y if x == 1 else x for x, y in pairs))


def plain(options: Mapping[str, Any]) -> dict[str, Any]:
    """Options as names and texts, exactly; written so that torch.compile can trace it, whose numbers may be symbols."""
    found = {}
    for name, value in options.items():
        names = FIELDS.get(type(value))
        if names is not None:
            value = {"kind": type(value).__name__, **{field: _plain(getattr(value, field)) for field in names}}
        elif name in ("rows", "cols"):
            raise TypeError(f"{name} must be a penalty such as Fixed() or KL(1.0), got {value!r}")
        found[name] = _plain(value)
    return found


def _plain(value: Any) -> Any:
    if isinstance(value, float):
        return {"float": value.hex()}
    if isinstance(value, int) and not isinstance(value, bool):
        return {"int": float(value).hex()}
    return value


def encode(plain_options: Mapping[str, Any]) -> str:
    """Text for `decode`."""
    return json.dumps(plain_options, default=_scalar)


def _scalar(value: Any) -> Any:
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"{value!r} cannot be an option of a differentiable solve")


@lru_cache(maxsize=256)
def decode(text: str) -> dict[str, Any]:
    """The options of `encode`; not to be changed."""
    return {name: _restored(value) for name, value in json.loads(text).items()}


def _restored(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    if "float" in value:
        return float.fromhex(value["float"])
    if "int" in value:
        return int(float.fromhex(value["int"]))
    return KINDS[value["kind"]](**{name: _restored(x) for name, x in value.items() if name != "kind"})


@dataclass(frozen=True, eq=False)
class HostCall:
    """A function of one problem or, where arrays have leading dimensions, which broadcast, of a batch.

    Attributes
    ----------
    function : callable
        Called as ``function(options, *arrays)``; returns a tuple.
    inputs, results : tuple of str
        What the arrays are: keys of `CORE`, which has their own dimensions.
    """

    function: Callable[..., tuple[Any, ...]]
    inputs: tuple[str, ...]
    results: tuple[str, ...]

    def shapes(self, batch: tuple[int, ...], n: int, m: int) -> list[tuple[int, ...]]:
        """Shapes of the results."""
        size = {"n": n, "m": m, PAIR: len(SIDES)}
        return [(*batch, *(size[x] for x in CORE[name])) for name in self.results]

    def dtypes(self, cost: Any, a: Any, b: Any, other: Any) -> list[Any]:
        """Of the results: a matrix has that of the cost, derivatives in weights have theirs."""
        known = {"cost": cost, "plan": cost, "a": a, "b": b}
        return [known.get(name, other) for name in self.results]

    def __call__(self, arrays: Arrays, options: str) -> list[NDArray[Any]]:
        """The results, new arrays in C order; an input that a derivative does not depend on may be None."""
        given = decode(options)
        ranks = [len(CORE[name]) for name in self.inputs]
        leading = [x.shape[: x.ndim - rank] for x, rank in zip(arrays, ranks, strict=True) if x is not None]
        batch = np.broadcast_shapes(*leading)
        views = [
            None if x is None else library_of(x).broadcast_to(x, batch + x.shape[x.ndim - rank :])
            for x, rank in zip(arrays, ranks, strict=True)
        ]
        cost, a, b = arrays[:3]
        assert cost is not None
        assert a is not None
        assert b is not None
        dtypes = self.dtypes(cost.dtype, a.dtype, b.dtype, np.dtype(np.float64))
        shapes = self.shapes(batch, *cost.shape[-2:])
        results = []
        for name, shape, dtype, values in zip(self.results, shapes, dtypes, self.function(given, *views), strict=True):
            if not _serves(values, shape, dtype):
                values, found = (library_of(cost) if is_matrix(name) else np).empty(shape, dtype), values
                values[...] = found
            results.append(values)
        return results


def is_matrix(name: str) -> bool:
    """Of an input or a result: whether it is n x m, and stays on the device."""
    return CORE[name] == "nm"


def _serves(values: Any, shape: Shape, dtype: Any) -> bool:
    """True for an array that can be given away as it is."""
    if isinstance(values, float | np.generic) or values.shape != shape or values.dtype != dtype:
        return False
    return bool(values.flags.c_contiguous and (not lies_on_host(values) or values.flags.writeable))


def _shared(x: NDArray[Any], rank: int) -> NDArray[Any]:
    """Without the repetitions along leading dimensions, which have size 1 then."""
    kept = tuple(slice(0, 1) if x.strides[axis] == 0 else slice(None) for axis in range(x.ndim - rank))
    return x[kept]


def _penalties(options: dict[str, Any], rho: Any) -> dict[str, Any]:
    """The options of a solve, penalties having the strengths that are given apart."""
    given = options.get("given", "")
    found = {name: value for name, value in options.items() if name != "given"}
    for i, side in enumerate(SIDES):
        if side in given:
            found[side] = replace(options[side], rho=rho[..., i][()])
    return found


def _solved(options: dict[str, Any], problem: Any, solve: Callable[..., Any]) -> Any:
    cost, a, b, epsilon, rho = problem
    options = _penalties(options, rho)
    asarray = library_of(cost).asarray  # a call takes arrays of one place
    if cost.ndim == 2:
        return solve(cost, asarray(a), asarray(b), epsilon=float(epsilon), **options)
    return solve(_shared(cost, 2), asarray(_shared(a, 1)), asarray(_shared(b, 1)), epsilon=epsilon, **options)


def _potentials_of(found: Any) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """In NumPy and float64, wherever the cost lies."""
    return found.host.f.reshape(found.f.shape), found.host.g.reshape(found.g.shape)


def _recalled(options: dict[str, Any], cost: Any, a: Any, b: Any, epsilon: Any, rho: Any, f: Any, g: Any) -> Any:
    options = _penalties(options, rho)
    rows, cols = options.get("rows", Fixed()), options.get("cols", Fixed())
    reference = options.get("reference", "product")
    how = {name: options[name] for name in ("tol", "max_iter", "method", "end") if name in options}
    if options.get("on_failure") == "ignore" and how["tol"] > 0:
        how["tol"] = np.inf  # whoever wants no warning of the solve wants none of its gradients
    budgeted = is_budget(how.get("tol", 1e-6), how.get("method", "auto"))
    if cost.ndim == 2:
        problem = build(cost, a, b, float(epsilon), rows, cols, reference, None)
        return recall(problem.levelled(budgeted), f, g, **how)
    given = _shared(cost, 2), _shared(a, 1), _shared(b, 1), epsilon
    problems = build_batch(*given, rows, cols, reference, None, None, None)
    return recall_batch(problems.levelled(budgeted), f, g, **how)


def _plan(options: dict[str, Any], *problem: Any) -> tuple[Any, ...]:
    found = _solved(options, problem, solve_with_plan)
    return found.plan, *_potentials_of(found)


def _potentials(options: dict[str, Any], *problem: Any) -> tuple[Any, ...]:
    return _potentials_of(_solved(options, problem, solve))


def _value(options: dict[str, Any], *problem: Any) -> tuple[Any, ...]:
    found = _solved(options, problem, solve)
    return found.value, *_potentials_of(found)


def _pull_back(options: dict[str, Any], *arrays: Any) -> tuple[Any, ...]:
    *known, plan, f, g = arrays
    return _inputs(options, _recalled(options, *known).vjp(plan=plan, f=f, g=g))


def _push_forward(options: dict[str, Any], *arrays: Any) -> tuple[Any, ...]:
    *known, cost, a, b, epsilon, rho = arrays
    found = _recalled(options, *known).jvp(cost, a, b, *_strengths(options, epsilon, rho))
    return found.plan, found.f, found.g


def _value_gradients(options: dict[str, Any], *known: Any) -> tuple[Any, ...]:
    return _inputs(options, _recalled(options, *known).gradients())


def _value_hvp(options: dict[str, Any], *arrays: Any) -> tuple[Any, ...]:
    *known, cost, a, b, epsilon, rho = arrays
    return _inputs(options, _recalled(options, *known).hvp(cost, a, b, *_strengths(options, epsilon, rho)))


def _slopes(options: dict[str, Any]) -> list[float]:
    """How the strengths rho of both sides grow with epsilon: `Elastic` holds lam = rho / (rho + epsilon)."""
    lams = [getattr(options.get(side), "lam", 0.0) for side in SIDES]
    return [lam / (1.0 - lam) if lam < 1 else 0.0 for lam in lams]


def _is_given(options: dict[str, Any]) -> list[float]:
    """1 for a side whose strength is an input, 0 for the others."""
    return [float(side in options.get("given", "")) for side in SIDES]


def _inputs(options: dict[str, Any], found: Gradients) -> tuple[Any, ...]:
    rows, cols = _slopes(options)
    epsilon = found.epsilon + rows * found.rows + cols * found.cols
    rho = np.stack(np.broadcast_arrays(found.rows, found.cols), axis=-1) * _is_given(options)
    return found.cost, found.a, found.b, epsilon, rho


def _strengths(options: dict[str, Any], epsilon: Any, rho: Any) -> tuple[Any, Any, Any]:
    """The direction in epsilon and in the strengths: what epsilon takes along, and what they do themselves."""
    rows, cols = _slopes(options)
    rho = rho * _is_given(options)
    return epsilon[()], (rows * epsilon + rho[..., 0])[()], (cols * epsilon + rho[..., 1])[()]


PROBLEM = ("cost", "a", "b", "epsilon", "rho")
SOLVED = (*PROBLEM, "f", "g")
OUTCOME = ("plan", "f", "g")

plan = HostCall(_plan, PROBLEM, OUTCOME)
potentials = HostCall(_potentials, PROBLEM, ("f", "g"))
value = HostCall(_value, PROBLEM, ("value", "f", "g"))
pull_back = HostCall(_pull_back, (*SOLVED, *OUTCOME), PROBLEM)
push_forward = HostCall(_push_forward, (*SOLVED, *PROBLEM), OUTCOME)
value_gradients = HostCall(_value_gradients, SOLVED, PROBLEM)
value_hvp = HostCall(_value_hvp, (*SOLVED, *PROBLEM), PROBLEM)
