"""Differentiable solves on torch tensors, as operators that torch.compile, torch.func and autocast know.

Costs, weights and epsilon may have leading dimensions, a problem each, which broadcast: cost (..., n, m), a (..., n),
b (..., m), epsilon (...), strengths rho (...). Everything is differentiable in all of them. `grad` says what:
``"implicit"``, the solution (one linear system, see `Solution.vjp`); ``"unroll"``, the `max_iter` iterations that were
run; ``"detach"``, nothing. Options are those of `elastic_ot.solve` but `init` and `callback`; ``tol`` is 1e-9 unless
given, and a mask broadcasts to the cost.

Results have the dtype of the cost. Half precision is computed in float32, and under autocast comes back in float32.
"""

from __future__ import annotations

from typing import Any, Unpack

from ..api.signatures import MethodOptions, OperatorOptions
from ..costs.points import PointCloud
from ..errors import BackendUnavailable
from ..problems.penalties import Fixed
from ..problems.penalty import Penalty
from .flags import operator, with_converged
from .options import OWN_COSTS, Grad, check_axis, epsilon_of_divergence, turned

try:
    import torch
    from torch import Tensor
except ImportError as error:
    raise BackendUnavailable('elastic_ot.torch needs PyTorch: pip install "elastic-ot[torch]"') from error
from .torch_calls import (
    HALF_DTYPES,
    check_matrix,
    check_tensor,
    in_working_dtype,
    prepared,
    solve_log_plan,
    solve_plan,
    solve_potentials,
    solve_value,
    strength_of,
    uniform,
)
from .torch_clouds import prepared_points, solve_carried, solve_cloud_potentials, solve_cloud_value
from .torch_layers import plan_of_layer

__all__ = ["divergence", "log_plan", "plan", "plan_apply", "potentials", "transport_cost", "value", "with_converged"]


@operator
def plan(
    cost: Tensor,
    a: Tensor | None = None,
    b: Tensor | None = None,
    *,
    epsilon: float | str | Tensor,
    grad: Grad = "implicit",
    mask: Tensor | None = None,
    row_rho: float | Tensor | None = None,
    col_rho: float | Tensor | None = None,
    **options: Unpack[OperatorOptions],
) -> tuple[Tensor, Tensor]:
    """The entropic plan.

    Parameters
    ----------
    cost : Tensor, shape (..., n, m)
        On the CPU or on a CUDA device, and the other tensors with it.
    a, b : Tensor, shapes (..., n) and (..., m), optional
        Weights, default 1/n and 1/m.
    epsilon : float, str, or Tensor, shape (...)
        Strength of the entropy; a text such as ``"0.05x"`` is a fraction of the range of each problem's matrix.
    grad : {"implicit", "unroll", "detach"}
        What the backward pass differentiates; ``"unroll"`` needs `max_iter`.
    mask : Tensor of bool, optional
        False forbids a cell; broadcasts to the cost.
    row_rho, col_rho : float or Tensor, shape (...), optional
        Strength of the penalty of that side, which must be `KL`, `TV` or `L2`, in the place of its own.
    **options
        Those of `elastic_ot.solve` but `init` and `callback`; ``tol`` is 1e-9 unless given.

    Returns
    -------
    Tensor
        Shape (..., n, m), dtype of the cost. It can be differentiated once.

    Raises
    ------
    ValueError, TypeError
        As `elastic_ot.solve`; shapes that do not broadcast; tensors on another device.

    Warns
    -----
    ConvergenceWarning
        A problem has not converged.

    Examples
    --------
    >>> import torch
    >>> import elastic_ot.torch as eot_torch
    >>> cost = torch.rand(3, 4, dtype=torch.float64, requires_grad=True)
    >>> eot_torch.plan(cost, epsilon=0.1)[0, 0].backward()
    >>> cost.grad.shape
    torch.Size([3, 4])
    """
    if (layer := plan_of_layer(cost, a, b, epsilon, (row_rho, col_rho), grad, mask, options)) is not None:
        return layer
    given = prepared(cost, a, b, epsilon, (row_rho, col_rho), grad, mask, options)
    found, converged, *_ = solve_plan(*given.problem, given.options)
    return found.to(given.dtype), converged


@operator
def log_plan(
    cost: Tensor,
    a: Tensor | None = None,
    b: Tensor | None = None,
    *,
    epsilon: float | str | Tensor,
    grad: Grad = "implicit",
    mask: Tensor | None = None,
    row_rho: float | Tensor | None = None,
    col_rho: float | Tensor | None = None,
    **options: Unpack[OperatorOptions],
) -> tuple[Tensor, Tensor]:
    """The logarithm of the plan, shape (..., n, m), for losses such as -log P_ij; arguments as those of `plan`.

    It is formed of the potentials in float64, so that entries have values and derivatives where those of the plan
    underflow to 0. -inf for forbidden cells and removed rows and columns, whose derivatives are 0, and nowhere else.
    The dtype is that of the cost, float32 where that is half precision, whose range ends at 65504. Where two parts of a
    problem are joined by less mass than rounding, their potentials' distance is held, as in all derivatives.

    Examples
    --------
    >>> import torch
    >>> import elastic_ot as eot
    >>> cost = torch.tensor([[0.0, 50.0], [50.0, 0.0]], requires_grad=True)
    >>> loss = -eot.torch.log_plan(cost, epsilon=0.1, cols=eot.KL(1.0))[0, 1]
    >>> loss.backward()
    >>> loss, cost.grad[0]
    (tensor(500.6931, grad_fn=<NegBackward0>), tensor([-10.,  10.]))
    """
    given = prepared(cost, a, b, epsilon, (row_rho, col_rho), grad, mask, options)
    found, converged, *_ = solve_log_plan(*given.problem, given.options)
    return found.to(torch.float32 if given.dtype in HALF_DTYPES else given.dtype), converged


@operator
def potentials(
    cost: Tensor | PointCloud,
    a: Tensor | None = None,
    b: Tensor | None = None,
    *,
    epsilon: float | str | Tensor,
    grad: Grad = "implicit",
    mask: Tensor | None = None,
    row_rho: float | Tensor | None = None,
    col_rho: float | Tensor | None = None,
    **options: Unpack[OperatorOptions],
) -> tuple[tuple[Tensor, Tensor], Tensor]:
    """The potentials f and g, shapes (..., n) and (..., m); arguments and derivatives as those of `plan`.

    They are -inf where a row or a column is removed. The cost may be a `PointCloud` of tensors, in which they are then
    differentiable.

    Examples
    --------
    >>> import torch
    >>> import elastic_ot.torch as eot_torch
    >>> f, g = eot_torch.potentials(torch.rand(8, 3, 4), epsilon=0.1)
    >>> f.shape, g.shape
    (torch.Size([8, 3]), torch.Size([8, 4]))
    """
    if isinstance(cost, PointCloud):
        points = prepared_points(cost, a, b, epsilon, (row_rho, col_rho), grad, mask, options)
        f, g, converged, *_ = solve_cloud_potentials(*points.problem, points.options)
        return (f.to(points.dtype), g.to(points.dtype)), converged
    given = prepared(cost, a, b, epsilon, (row_rho, col_rho), grad, mask, options)
    f, g, converged, *_ = solve_potentials(*given.problem, given.options)
    return (f.to(given.dtype), g.to(given.dtype)), converged


@operator
def transport_cost(
    cost: Tensor,
    a: Tensor | None = None,
    b: Tensor | None = None,
    *,
    epsilon: float | str | Tensor,
    grad: Grad = "implicit",
    mask: Tensor | None = None,
    row_rho: float | Tensor | None = None,
    col_rho: float | Tensor | None = None,
    **options: Unpack[OperatorOptions],
) -> tuple[Tensor, Tensor]:
    """<C, P>, shape (...); forbidden cells count as 0. Arguments and derivatives as those of `plan`.

    Examples
    --------
    >>> import torch
    >>> import elastic_ot.torch as eot_torch
    >>> eot_torch.transport_cost(torch.eye(2), epsilon=0.01)
    tensor(0.)
    """
    given = prepared(cost, a, b, epsilon, (row_rho, col_rho), grad, mask, options)
    moved, converged, *_ = solve_plan(*given.problem, given.options)
    return (torch.where(moved > 0, given.problem[0], 0.0) * moved).sum(dim=(-2, -1)).to(given.dtype), converged


@operator
def plan_apply(
    cost: Tensor | PointCloud,
    right: Tensor,
    a: Tensor | None = None,
    b: Tensor | None = None,
    *,
    epsilon: float | str | Tensor,
    axis: int = 1,
    grad: Grad = "implicit",
    mask: Tensor | None = None,
    row_rho: float | Tensor | None = None,
    col_rho: float | Tensor | None = None,
    **options: Unpack[OperatorOptions],
) -> tuple[Tensor, Tensor]:
    """The product of the plan with vectors, P v, without the plan where the cost is a `PointCloud`.

    Parameters
    ----------
    cost : Tensor, shape (..., n, m), or PointCloud
        A cloud of tensors x (..., n, d) and y (..., m, d), in which the result is then differentiable.
    right : Tensor, shape (..., m, k), or (..., n, k) with ``axis=0``
        What is carried: the columns' points, colours or labels.
    a, b, epsilon, grad, mask, row_rho, col_rho, **options
        As for `plan`; a cloud has no mask.
    axis : {1, 0}
        0 for the transpose, P^T v.

    Returns
    -------
    Tensor
        Shape (..., n, k), or (..., m, k) with ``axis=0``; dtype of the cost or of the points. It can be differentiated
        once.

    Examples
    --------
    >>> import torch
    >>> import elastic_ot as eot
    >>> x, y = torch.rand(50, 3, requires_grad=True), torch.rand(60, 3)
    >>> moved = 50 * eot.torch.plan_apply(eot.PointCloud(x, y), y, epsilon=0.1)
    >>> moved.square().sum().backward()
    >>> moved.shape, x.grad.shape
    (torch.Size([50, 3]), torch.Size([50, 3]))
    """
    check_axis(axis)
    if not isinstance(cost, PointCloud):
        found, converged = with_converged(plan)(
            cost, a, b, epsilon=epsilon, grad=grad, mask=mask, row_rho=row_rho, col_rho=col_rho, **options
        )
        check_tensor("right", right, found)
        return (found if axis else found.mT) @ right.to(found.dtype), converged
    if axis == 0:
        cost, a, b, row_rho, col_rho = PointCloud(*cost.given[::-1], cost.metric), b, a, col_rho, row_rho
        options = turned(options)  # type: ignore[assignment]
    given = prepared_points(cost, a, b, epsilon, (row_rho, col_rho), grad, mask, options)
    check_tensor("right", right, given.problem[0])
    m, batch = given.problem[1].shape[-2], given.problem[4].shape
    if right.dim() < 2 or right.shape[-2] != m:
        raise ValueError(f"right has shape {tuple(right.shape)}; it must be (..., {m}, k)")
    right = in_working_dtype(right).expand(*batch, *right.shape[-2:])
    carried, converged, *_ = solve_carried(*given.problem, right, given.options)
    return carried.to(given.dtype), converged


@operator
def value(
    cost: Tensor | PointCloud,
    a: Tensor | None = None,
    b: Tensor | None = None,
    *,
    epsilon: float | str | Tensor,
    mask: Tensor | None = None,
    row_rho: float | Tensor | None = None,
    col_rho: float | Tensor | None = None,
    **options: Unpack[OperatorOptions],
) -> tuple[Tensor, Tensor]:
    """The optimal value, shape (...): entropy and penalties included. Arguments as those of `plan`, or a `PointCloud`.

    Its gradients need no linear system (envelope theorem): the one in the cost is the plan. They can be differentiated
    again, by one linear system. With two ``Fixed`` sides the Hessian in the weights has a meaning along directions that
    change both masses alike; elsewhere it is what makes it symmetric.

    For a `PointCloud` of tensors x (..., n, d) and y (..., m, d) it is differentiable in these, twice. No matrix of
    more than 2**20 costs is stored.

    Examples
    --------
    >>> import torch
    >>> import elastic_ot.torch as eot_torch
    >>> cost = torch.rand(3, 4, dtype=torch.float64, requires_grad=True)
    >>> (moved,) = torch.autograd.grad(eot_torch.value(cost, epsilon=0.1), cost)
    >>> torch.allclose(moved, eot_torch.plan(cost, epsilon=0.1))
    True
    """
    if isinstance(cost, PointCloud):
        points = prepared_points(cost, a, b, epsilon, (row_rho, col_rho), "implicit", mask, options)
        found, converged, *_ = solve_cloud_value(*points.problem, points.options)
        return found.to(points.dtype), converged
    given = prepared(cost, a, b, epsilon, (row_rho, col_rho), "implicit", mask, options)
    found, converged, *_ = solve_value(*given.problem, given.options)
    return found.to(given.dtype), converged


@operator
def divergence(
    cost_xy: Tensor | PointCloud,
    cost_xx: Tensor | None = None,
    cost_yy: Tensor | None = None,
    a: Tensor | None = None,
    b: Tensor | None = None,
    *,
    epsilon: float | str | Tensor | None = None,
    blur: float | None = None,
    rows: Penalty = Fixed(),  # noqa: B008 - frozen
    cols: Penalty = Fixed(),  # noqa: B008
    **options: Unpack[MethodOptions],
) -> tuple[Tensor, Tensor]:
    """The debiased Sinkhorn divergence, shape (...): 0 between equal measures.

    value(xy; a, b) - value(xx; a, a) / 2 - value(yy; b, b) / 2 + epsilon (sum a - sum b)^2 / 2. Its derivatives are
    those of `value`.

    Parameters
    ----------
    cost_xy, cost_xx, cost_yy : Tensor, shapes (..., n, m), (..., n, n) and (..., m, m)
        Costs between the two measures and within each. Or one `PointCloud` of tensors (..., n, d) and (..., m, d),
        which makes all three, and in whose points the divergence is then differentiable.
    a, b : Tensor, shapes (..., n) and (..., m), optional
        Weights, default 1/n and 1/m.
    epsilon : float, str, or Tensor, shape (...)
        As for `plan`; or, for a `PointCloud`, `blur` in its place, a length (`elastic_ot.divergence`).
    rows, cols : Penalty
        Of the first measure and of the second, on both sides of the problem within it.
    **options
        As for `plan`, without `mask` and `reference`.

    Returns
    -------
    Tensor
        Dtype of cost_xy.

    References
    ----------
    Séjourné, Feydy, Vialard, Trouvé, Peyré, *Sinkhorn divergences for unbalanced optimal transport*, 2019.

    Examples
    --------
    >>> import torch
    >>> import elastic_ot.torch as eot_torch
    >>> x = torch.linspace(0, 1, 5, dtype=torch.float64)
    >>> cost = (x[:, None] - x) ** 2
    >>> bool(eot_torch.divergence(cost, cost, cost, epsilon=0.1).abs() < 1e-12)
    True
    """
    epsilon = epsilon_of_divergence(cost_xy, epsilon, blur, options)
    if isinstance(cost_xy, PointCloud):
        if cost_xx is not None or cost_yy is not None:
            raise ValueError(OWN_COSTS)
        device, within = cost_xy.given[0], [PointCloud(z, metric=cost_xy.metric) for z in cost_xy.given]
    else:
        for name, cost in (("cost_xy", cost_xy), ("cost_xx", cost_xx), ("cost_yy", cost_yy)):
            check_matrix(name, cost)
        device, within = cost_xy, [cost_xx, cost_yy]  # type: ignore[list-item]
    a, b = (uniform(n, device) if w is None else w for w, n in zip((a, b), cost_xy.shape[-2:], strict=True))
    solve = with_converged(value)
    between, done = solve(cost_xy, a, b, epsilon=epsilon, rows=rows, cols=cols, **options)
    epsilon, a, b = strength_of(epsilon, device), in_working_dtype(a), in_working_dtype(b)
    if isinstance(rows, Fixed) and isinstance(cols, Fixed):  # equal but for rounding, or that would have been refused
        b = b * (a.sum(dim=-1, keepdim=True) / b.sum(dim=-1, keepdim=True)).detach()
    first, first_done = solve(within[0], a, a, epsilon=epsilon, rows=rows, cols=rows, **options)
    second, second_done = solve(within[1], b, b, epsilon=epsilon, rows=cols, cols=cols, **options)
    found = between - 0.5 * first - 0.5 * second + 0.5 * epsilon * (a.sum(dim=-1) - b.sum(dim=-1)) ** 2
    return found.to(between.dtype), done & first_done & second_done


def logs_and_potentials(
    cost: Tensor, a: Tensor | None, b: Tensor | None, *, epsilon: Any, grad: Grad, mask: Tensor | None, **options: Any
) -> tuple[Tensor, Tensor, Tensor]:
    """`log_plan` and `potentials` of one solve, for `elastic_ot.applications`."""
    given = prepared(cost, a, b, epsilon, (None, None), grad, mask, options)
    found, _, f, g = solve_log_plan(*given.problem, given.options)
    return found.to(given.dtype), f.to(given.dtype), g.to(given.dtype)
