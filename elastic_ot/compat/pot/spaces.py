"""Two spaces as POT's calls of Gromov-Wasserstein give them: read, descended on, differentiated."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from ...solvers.gromov.losses import LOSSES
from ...solvers.gromov.structures import Array, Matrices
from .arguments import known
from .conditional_gradient import Descended, conditional_gradient
from .homes import Home, home_of_results, on_host, read, weights_or_uniform, with_gradients

LOSS_NAMES: dict[str, Literal["square", "kl"]] = {"square_loss": "square", "kl_loss": "kl"}
LEAST_ENTRY = 1e-18  # what POT 0.9.7 adds inside of logarithms, which decides where costs are 0
INNER = ("numItermax", "numItermaxEmd", "stopThr", "method", "warn")  # of POT's linear problems


@dataclass(frozen=True)
class Spaces:
    """Two spaces as they were given, and their numbers in NumPy; M is None where it has no share."""

    M: Any
    C1: Any
    C2: Any
    p: Any
    q: Any
    alpha: Any
    home: Home
    loss: str
    numbers: tuple[Any, Array, Array, Array, Array]
    share: float

    @property
    def tracked(self) -> list[Any]:
        """What derivatives may be wanted in."""
        return [x for x in (self.M, self.C1, self.C2, self.p, self.q, self.alpha) if x is not None]

    def structure(self) -> Matrices:
        """Return the spaces as the energies read them."""
        M, C1, C2, *_ = self.numbers
        return Matrices(C1, C2, LOSSES[LOSS_NAMES[self.loss]], self.share, M)


def spaces_of(M: Any, C1: Any, C2: Any, p: Any, q: Any, loss_fun: str, alpha: Any) -> Spaces:
    """Read the inputs of a call."""
    if loss_fun not in LOSS_NAMES:
        raise ValueError(f"loss_fun is {loss_fun!r}; choose from {', '.join(map(repr, LOSS_NAMES))}")
    M, C1, C2, p, q = read(M, C1, C2, p, q)
    home = home_of_results(C1, M)
    p, q = weights_or_uniform(home, p, C1.shape[0]), weights_or_uniform(home, q, C2.shape[0])
    share = float(on_host(alpha))
    if not 0 <= share <= 1:
        raise ValueError(f"alpha is {share}; it must lie in [0, 1]")
    numbers: list[Any] = [None if x is None else np.asarray(on_host(x), np.float64) for x in (M, C1, C2, p, q)]
    if loss_fun == "kl_loss":
        numbers[2] = numbers[2] + LEAST_ENTRY
    numbers[4] = numbers[4] * (numbers[3].sum() / numbers[4].sum())
    if share == 1:
        numbers[0] = None
    return Spaces(M, C1, C2, p, q, alpha, home, loss_fun, tuple(numbers), share)


def start_of(spaces: Spaces, G0: Any) -> Array:
    """Return the plan to begin with; refuses one of other marginals."""
    p, q = spaces.numbers[3:]
    if G0 is None:
        return np.asarray(p[:, None] * q)
    start = np.asarray(on_host(G0), np.float64)
    for name, sums, weights in (("rows", start.sum(axis=1), p), ("columns", start.sum(axis=0), q)):
        if sums.shape != weights.shape or not np.allclose(sums, weights, rtol=1e-7, atol=1e-8):
            raise AssertionError(f"G0 has {name} whose sums are not the weights; it must be a plan between p and q")
    return start


def descended(
    call: Callable[..., object],
    spaces: Spaces,
    G0: Any,
    max_iter: float,
    relative: float,
    absolute: float,
    options: Mapping[str, Any],
) -> Descended:
    """Descend without entropy."""
    known(call, options, "alpha_min", "alpha_max", "verbose", *INNER)
    lowest, highest = options.get("alpha_min"), options.get("alpha_max")
    return conditional_gradient(
        spaces.structure(),
        *spaces.numbers[3:],
        start_of(spaces, G0),
        int(max_iter),
        relative,
        absolute,
        bool(options.get("verbose")),
        (0.0 if lowest is None else lowest, 1.0 if highest is None else highest),
    )


def differentiable(spaces: Spaces, found: Descended) -> Any:
    """Return the value, with its derivatives at this plan: those of the matrices, potentials, the plan for M."""
    _, C1, C2, p, q = spaces.numbers
    plan, share = found.plan, spaces.share
    if spaces.loss == "square_loss":
        first = 2.0 * C1 * np.outer(p, p) - 2.0 * plan @ C2 @ plan.T
        second = 2.0 * C2 * np.outer(q, q) - 2.0 * plan.T @ C1 @ plan
    else:
        first = np.log(C1 + LEAST_ENTRY) * np.outer(p, p) - plan @ np.log(C2) @ plan.T
        second = np.outer(q, q) - plan.T @ C1 @ plan / C2
    inputs = [spaces.C1, spaces.C2, spaces.p, spaces.q]
    slopes = [share * first, share * second, *(_centred(x) for x in (found.u, found.v))]
    if spaces.M is not None:
        linear = float((np.asarray(on_host(spaces.M), np.float64) * plan).sum())
        inputs += [spaces.M, spaces.alpha]
        slopes += [(1.0 - share) * plan, np.asarray(found.energy - linear)]
    return with_gradients(spaces.home, found.losses[-1], inputs, slopes)


def _centred(potentials: Any) -> Any:
    """Potentials less their mean; 0 where there is no weight."""
    on = np.isfinite(potentials)
    return np.where(on, potentials - potentials[on].mean(), 0.0)


def notes_of(home: Home, found: Descended, name: str) -> Any:
    """Return POT's dictionary."""
    u, v = (np.where(np.isfinite(x), x, 0.0) for x in (found.u, found.v))
    notes = {"loss": found.losses, "u": home.give(u), "v": home.give(v), "warning": None, "result_code": 1}
    return notes | {name: home.give(found.losses[-1])}
