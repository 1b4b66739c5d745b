"""Differentiable barycenters on torch tensors: their masses, and the optimal value."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from ..costs.grid import Grid
from ..costs.points import PointCloud
from ..errors import BackendUnavailable
from .barycenter_inputs import check_fit, expanded, flat_measures, places_of, plain_options, strength_of_all
from .barycenters import BARYCENTER_CALLS, Calls
from .flags import operator
from .options import encode

try:
    import torch
    from torch import Tensor
except ImportError as error:
    raise BackendUnavailable('elastic_ot.torch needs PyTorch: pip install "elastic-ot[torch]"') from error
from .torch_calls import (
    HALF_DTYPES,
    check_tensor,
    define,
    differentiable,
    encoded,
    in_working_dtype,
    last,
    moves,
    number,
    pulled,
    save_inputs,
    solving,
    strength_of,
    value_rules,
)


class _Operators(NamedTuple):
    masses: Callable[..., Any]
    value: Callable[..., Any]


def _operators(kind: str, calls: Calls) -> _Operators:
    """The operators for costs of one kind."""
    count = len(calls.problem)
    pull_back = last(f"barycenter_{kind}_pull_back", calls.pull_back)
    push_forward = last(f"barycenter_{kind}_push_forward", calls.push_forward)
    hvp = last(f"barycenter_{kind}_value_hvp", calls.value_hvp)

    def masses_backward(ctx: Any, bar: Tensor, _: Any, f_bar: Tensor, g_bar: Tensor) -> tuple[Any, ...]:
        return *pulled(ctx, calls.pull_back, pull_back, bar), None

    def masses_jvp(ctx: Any, *tangents: Any) -> Any:
        moved = push_forward(*ctx.saved_tensors, *moves(ctx, tangents[:count]), ctx.options)
        f, g = ctx.saved_tensors[count:]
        return moved, None, torch.zeros_like(f), torch.zeros_like(g)

    def gradients_backward(ctx: Any, *directions: Tensor) -> tuple[Any, ...]:
        """The Hessian is symmetric. Potentials, too, depend on the inputs: nothing is left for them."""
        return *hvp(*ctx.saved_tensors, *directions, ctx.options), None, None, None

    def gradients_jvp(ctx: Any, *tangents: Any) -> Any:
        return hvp(*ctx.saved_tensors, *moves(ctx, tangents[:count]), ctx.options)

    gradients = differentiable(
        define(f"barycenter_{kind}_value_gradients", calls.value_gradients),
        save_inputs,
        gradients_backward,
        gradients_jvp,
    )
    rules = value_rules(calls.value_gradients, gradients, calls.problem)
    return _Operators(
        solving(f"barycenter_{kind}", calls.masses, masses_backward, masses_jvp),
        solving(f"barycenter_{kind}_value", calls.value, *rules),
    )


_OPERATORS = {kind: _operators(kind, calls) for kind, calls in BARYCENTER_CALLS.items()}


class _Prepared(NamedTuple):
    operators: _Operators
    problem: tuple[Tensor, ...]
    options: str
    dtype: torch.dtype


def _prepared(
    costs: Any, measures: Any, weights: Any, epsilon: Any, row_rho: Any, options: dict[str, Any]
) -> _Prepared:
    """A call, checked, with the same leading dimensions everywhere."""
    first = measures if isinstance(costs, Grid) else costs.given[0] if isinstance(costs, PointCloud) else costs

    def tensor(name: str, values: Any) -> Tensor:
        if name in ("axes", "columns"):
            return torch.as_tensor(values, device=first.device)
        check_tensor(name, values, first if isinstance(first, Tensor) else None)
        return in_working_dtype(values)

    if isinstance(costs, Grid):
        check_tensor("measures", measures)
    places = places_of(costs, tensor)
    if measures is None:
        measures = _uniform(places)
    measures = flat_measures(costs, tensor("measures", measures), places.n)
    if weights is None:
        weights = torch.ones(measures.shape[-2], dtype=torch.float64, device=measures.device)
    weights = tensor("weights", weights)
    weights = weights / weights.sum(dim=-1, keepdim=True)
    strength = strength_of_all(epsilon, costs, places, strength_of)
    numbers = {"epsilon": number(strength, measures), "row_rho": number(0.0 if row_rho is None else row_rho, measures)}
    batch, count = check_fit(places, measures.shape, weights.shape, {name: x.shape for name, x in numbers.items()})
    rho = numbers["row_rho"].expand(batch)
    problem = (
        *expanded(places, batch, lambda x, shape: x.expand(shape)),
        measures.expand(*batch, count, places.n),
        weights.expand(*batch, count),
        numbers["epsilon"].expand(batch),
        torch.stack((rho, torch.zeros_like(rho)), dim=-1),
    )
    told = {**places.told, "epsilon_is_held": not isinstance(epsilon, Tensor)}
    given = plain_options(options, row_rho, told)
    text = encoded(given) if torch.compiler.is_compiling() else encode(given)
    dtype = first.dtype if first.is_floating_point() else torch.float64
    if dtype in HALF_DTYPES and torch.is_autocast_enabled(first.device.type):
        dtype = torch.float32
    return _Prepared(_OPERATORS[places.kind], problem, text, dtype)


def _uniform(places: Any) -> Tensor:
    """Equal weights of the points of every measure, of which there are as many as costs."""
    first = places.arrays[0]
    if first.dim() < 3 or first.shape[-3] == 1:
        raise ValueError("measures is None, and costs is one for all; pass the measures, shape (..., K, n)")
    return torch.full((first.shape[-3], places.n), 1.0 / places.n, dtype=torch.float64, device=first.device)


@operator
def barycenter(
    costs: Tensor | PointCloud | Grid,
    measures: Tensor | None = None,
    weights: Tensor | None = None,
    *,
    epsilon: float | str | Tensor,
    row_rho: float | Tensor | None = None,
    **options: object,
) -> tuple[Tensor, Tensor]:
    """The masses of the barycenter of measures on a given support, differentiable in all that they depend on.

    Parameters
    ----------
    costs : Tensor, shape (n, m) or (..., K, n, m), PointCloud or Grid
        One for all measures, or one for each. A cloud of tensors x (n, d) or (..., K, n, d), and y (..., m, d), the
        support, in which the masses are then differentiable; a `Grid` has no derivatives of its own.
    measures : Tensor, shape (..., K, n), optional
        Weights; with a `Grid` also (..., K, n_1, n_2, ...). By default, with one cost for each, 1/n. Where measures
        have fewer points, fill up with weights 0.
    weights : Tensor, shape (..., K), optional
        Of the measures, divided by their sum; by default all are equal.
    epsilon : float, str, or Tensor of shape (...)
        Strength of the entropy. A text such as ``"0.05x"`` is a fraction of the range of all matrices of a
        problem, or of a `Grid`, and no derivative goes through it; of points give a number.
    row_rho : float or Tensor, shape (...), optional
        Strength of the penalty on the measures, which must be `KL`, `TV` or `L2`, in the place of its own.
    **options
        ``rows``, ``method``, ``tol`` (1e-9 unless given), ``max_iter``, ``time_limit`` and ``on_failure`` of
        `elastic_ot.barycenter`.

    Returns
    -------
    Tensor
        Shape (..., m), of the dtype of the costs, or of the measures with a `Grid`. It can be differentiated once. It
        is computed on the host.

    Raises
    ------
    ValueError, TypeError
        As `elastic_ot.barycenter`; shapes that do not broadcast; ``debiased``, which has no derivatives.

    Warns
    -----
    ConvergenceWarning
        A barycenter has not converged.

    Examples
    --------
    >>> import torch
    >>> import elastic_ot as eot
    >>> x = torch.linspace(0, 1, 30, dtype=torch.float64)
    >>> measures = torch.softmax(-((x - torch.tensor([[0.2], [0.6]])) ** 2) / 0.01, dim=1)
    >>> share = torch.tensor([0.5, 0.5], dtype=torch.float64, requires_grad=True)
    >>> masses = eot.torch.barycenter((x[:, None] - x) ** 2, measures, share, epsilon=1e-2)
    >>> (masses @ x).backward()
    >>> round((masses @ x).item(), 2), share.grad.round(decimals=2)
    (0.4, tensor([-0.2000,  0.2000], dtype=torch.float64))
    """
    given = _prepared(costs, measures, weights, epsilon, row_rho, options)
    found, converged, *_ = given.operators.masses(*given.problem, given.options)
    return found.to(given.dtype), converged


@operator
def barycenter_value(
    costs: Tensor | PointCloud | Grid,
    measures: Tensor | None = None,
    weights: Tensor | None = None,
    *,
    epsilon: float | str | Tensor,
    row_rho: float | Tensor | None = None,
    **options: object,
) -> tuple[Tensor, Tensor]:
    """The optimal value of `barycenter`, shape (...): the mean cost of reaching it. Arguments as there.

    Its gradients need no linear system (envelope theorem). They can be differentiated again, by linear systems; where
    the rows hold every mass, along directions that change all masses alike.

    Examples
    --------
    >>> import torch
    >>> import elastic_ot as eot
    >>> cost = torch.eye(2, dtype=torch.float64, requires_grad=True)
    >>> measures = torch.tensor([[0.9, 0.1], [0.3, 0.7]], dtype=torch.float64)
    >>> (plans,) = torch.autograd.grad(eot.torch.barycenter_value(cost, measures, epsilon=0.1), cost)
    >>> plans.sum()
    tensor(1., dtype=torch.float64)
    """
    given = _prepared(costs, measures, weights, epsilon, row_rho, options)
    found, converged, *_ = given.operators.value(*given.problem, given.options)
    return found.to(given.dtype), converged
