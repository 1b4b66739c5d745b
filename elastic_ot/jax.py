"""The solver in JAX: differentiable operators under jit, vmap, grad, jvp and hessian."""

from __future__ import annotations

from .frameworks.jax_barycenters import barycenter, barycenter_value
from .frameworks.jax_operators import (
    detached,
    divergence,
    log_plan,
    logs_and_potentials,
    plan,
    plan_apply,
    potentials,
    traced,
    transport_cost,
    value,
    with_converged,
)

__all__ = [
    "barycenter",
    "barycenter_value",
    "detached",
    "divergence",
    "log_plan",
    "logs_and_potentials",
    "plan",
    "plan_apply",
    "potentials",
    "traced",
    "transport_cost",
    "value",
    "with_converged",
]
