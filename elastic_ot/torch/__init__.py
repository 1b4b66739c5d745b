"""The solver in PyTorch: differentiable operators."""

from __future__ import annotations

from .operators import detached, divergence, plan, potentials, transport_cost, value

__all__ = ["detached", "divergence", "plan", "potentials", "transport_cost", "value"]
