"""Operators that know whether their problems have converged, and give that away to whoever asks for it."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from inspect import signature
from typing import Any, ParamSpec, TypeVar

from ..calls import public
from ..typing import Array

Given = ParamSpec("Given")
Returned = TypeVar("Returned")


def operator(pair: Callable[Given, tuple[Returned, Any]]) -> Callable[Given, Returned]:
    """The operator whose result and flag `pair` returns."""
    both = public(pair)

    @wraps(pair)
    def call(*arguments: Given.args, **named: Given.kwargs) -> Returned:
        return both(*arguments, **named)[0]

    shown = signature(pair)
    result = str(shown.return_annotation).removeprefix("tuple[").rpartition(",")[0]
    call.__dict__ |= {"__signature__": shown.replace(return_annotation=result), "pair": both}
    return call


def with_converged(operator: Callable[Given, Returned]) -> Callable[Given, tuple[Returned, Array]]:
    """The operator that also says which problems have converged, by the same solve.

    Parameters
    ----------
    operator : callable
        One of ``elastic_ot.torch`` or of ``elastic_ot.jax``: `plan`, `log_plan`, `potentials`, `transport_cost`,
        `plan_apply`, `value`, `divergence`, `barycenter` or `barycenter_value`.

    Returns
    -------
    callable
        With the same arguments; returns (result, converged). The flag is a tensor of bool, shape (...), without
        derivatives: True where a problem meets `tol` (all three of a divergence), False after ``tol=0`` and so with
        ``grad="unroll"``, where nothing is measured. It is there under ``torch.compile``, ``jax.jit`` and vmap, too,
        where a warning cannot be caught; leave that out by ``on_failure="ignore"``.

    Raises
    ------
    TypeError
        The function is no operator of this package.

    Examples
    --------
    >>> import torch
    >>> import elastic_ot.torch as eot_torch
    >>> costs = torch.tensor([[[0.0, 0.1], [0.5, 0.2]], [[0.0, 0.0], [0.0, 0.0]]])
    >>> solve = eot_torch.with_converged(eot_torch.plan)
    >>> plan, converged = solve(costs, epsilon=0.5, max_iter=1, on_failure="ignore")
    >>> plan.shape, converged
    (torch.Size([2, 2, 2]), tensor([False,  True]))
    """
    pair: Callable[Given, tuple[Returned, Array]] | None = getattr(operator, "pair", None)
    if pair is None:
        raise TypeError(f"{operator!r} is no operator of elastic_ot.torch or elastic_ot.jax, such as plan or value")
    return pair
