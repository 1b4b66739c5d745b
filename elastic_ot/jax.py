"""The solver in JAX: differentiable operators under jit, vmap, grad, jvp and hessian."""

from __future__ import annotations

from .frameworks.jax_barycenters import barycenter, barycenter_value
from .frameworks.jax_operators import (
    divergence,
    log_plan,
    plan,
    plan_apply,
    potentials,
    transport_cost,
    value,
    with_converged,
)

__all__ = [
    "barycenter",
    "barycenter_value",
    "divergence",
    "log_plan",
    "plan",
    "plan_apply",
    "potentials",
    "transport_cost",
    "value",
    "with_converged",
]


def __dir__() -> list[str]:
    return sorted(__all__)
