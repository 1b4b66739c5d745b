"""The arguments of differentiable solves: options checked and turned into text, shapes that have to fit."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import lru_cache
from inspect import signature
from numbers import Real
from typing import Any, Literal

import numpy as np

from ..calls import suggestion
from ..problems.masses import precision_of
from ..problems.pairs import strength
from ..problems.penalties import PENALTIES, Fixed
from ..solvers.newton import Newton

Grad = Literal["implicit", "unroll", "detach"]
TOL = 1e-9  # of implicit differentiation, which amplifies errors
SOLVE_OPTIONS = (
    *("rows", "cols", "reference", "method", "relaxation", "tol", "max_iter", "time_limit", "end", "progress"),
    "on_failure",
)
KINDS = {kind.__name__: kind for kind in (*PENALTIES, Newton)}
FIELDS = {kind: tuple(signature(kind).parameters) for kind in KINDS.values()}
SIDES = ("rows", "cols")
OWN_COSTS = "a PointCloud makes the costs within each side itself; leave out cost_xx and cost_yy"
HALF = ("float16", "bfloat16")
Shape = Sequence[int]
Pair = tuple[Any, Any]


def check_options(grad: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """The options of a differentiable solve, completed; refuses those that it has not."""
    if grad not in ("implicit", "unroll", "detach"):
        raise ValueError(f"grad is {grad!r}; choose from 'implicit', 'unroll', 'detach'")
    for name in options:
        if name in ("init", "callback"):
            raise ValueError(f"{name} is not for differentiable solves; call elastic_ot.solve")
        if name not in SOLVE_OPTIONS:
            known = ("epsilon", "mask", *SOLVE_OPTIONS)
            advice = suggestion(name, known) or f"; options are {', '.join(known[1:])}"
            raise TypeError(f"there is no option {name!r}{advice}")
    if grad != "unroll":
        return {"tol": TOL, **options}
    if "max_iter" not in options:
        raise ValueError("grad='unroll' differentiates the iterations that are run; give their number as max_iter")
    return {**options, "tol": 0}


def refuse_text(epsilon: Any) -> None:
    """Refuse a fraction of the range of costs between points, which no operator looks at."""
    if isinstance(epsilon, str):
        raise TypeError(
            f"epsilon is {epsilon!r}, a fraction of the range of costs, which operators take of a matrix only; for a "
            f"PointCloud give a number, or elastic_ot.solve(cloud, epsilon={epsilon!r}).epsilon of detached points"
        )


def check_axis(axis: Any) -> None:
    """Refuse what is neither 1 nor 0."""
    if axis not in (0, 1):
        raise ValueError(f"axis is {axis!r}; it must be 1 (P v) or 0 (P^T v)")


def turned(options: Mapping[str, Any]) -> dict[str, Any]:
    """The options of the problem with rows and columns exchanged."""
    found = {name: value for name, value in options.items() if name not in SIDES}
    found |= {other: options[side] for side, other in zip(SIDES, SIDES[::-1], strict=True) if side in options}
    if options.get("end") in SIDES:
        found["end"] = SIDES[1 - SIDES.index(options["end"])]
    return found


def epsilon_of_divergence(cost: Any, epsilon: Any, blur: Any, options: Mapping[str, Any]) -> Any:
    """Return epsilon, or that of the blur; refuses what has no meaning for three problems at once."""
    for name in ("mask", "reference", "row_rho", "col_rho"):
        if name in options:
            raise TypeError(f"a divergence has no {name}")
    if not isinstance(blur, Real | None):
        raise TypeError(f"blur is of type {type(blur).__name__}; it must be a number, of an array pass its epsilon")
    return strength(cost, epsilon, blur)


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
        batch = joined(leading, batch)
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
    if not _broadcast(mask, cost) or joined(mask, cost)[-2:] != tuple(cost[-2:]):
        raise ValueError(f"mask has shape {tuple(mask)} and cost {tuple(cost)}; it must broadcast to that")


def _broadcast(first: Shape, second: Shape) -> bool:
    return all(x == y or x == 1 or y == 1 for x, y in zip(reversed(first), reversed(second), strict=False))


def joined(first: Shape, second: Shape) -> tuple[int, ...]:
    """Return the shape that two shapes broadcast to; in plain terms, since torch.compile traces it with symbols."""
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


def option_text(grad: str, options: Mapping[str, Any], rho: Pair, a: Any, b: Any, metric: str = "") -> str:
    """The options of a call, checked, as text; of a call that was made before by a lookup."""
    items = tuple([(name, type(value), value) for name, value in options.items()])
    try:
        return _known_text(grad, items, (rho[0] is not None, rho[1] is not None), precision_of(a, b), metric)
    except TypeError:  # an option has no hash or is refused, which is said next
        pass
    return encode(plain_options(grad, options, rho, a, b, metric))


@lru_cache(maxsize=256)
def _known_text(
    grad: str, items: tuple[tuple[str, type, Any], ...], given: tuple[bool, bool], precision: str, metric: str
) -> str:
    rho = [True if x else None for x in given]
    options = check_rho(check_options(grad, {name: value for name, _, value in items}), *rho)
    return encode(plain(_completed(options, precision, metric)))


def plain_options(grad: str, options: Mapping[str, Any], rho: Pair, a: Any, b: Any, metric: str = "") -> dict[str, Any]:
    """The options of a call, checked, as names and texts."""
    return plain(_completed(check_rho(check_options(grad, options), *rho), precision_of(a, b), metric))


def _completed(options: dict[str, Any], precision: str, metric: str) -> dict[str, Any]:
    """The options, with the dtype of weights in half precision, which are in float32 when they arrive, and a metric."""
    options = {**options, "precision": precision} if precision in HALF else options
    return {**options, "metric": metric} if metric else options


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
