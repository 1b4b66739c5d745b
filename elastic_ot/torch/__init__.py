"""The solver in PyTorch: differentiable operators, and modules with parameters made of the applications.

Modules are loaded on first use.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from ..frameworks.torch_barycenters import barycenter, barycenter_value
from ..frameworks.torch_operators import (
    divergence,
    log_plan,
    plan,
    plan_apply,
    potentials,
    transport_cost,
    value,
    with_converged,
)
from ..frameworks.torch_sliced import sliced

_MODULE_OF = {
    "ElasticAttention": "attention",
    "SparseSinkhornAttention": "sparse_attention",
    "SinkhornRouter": "routing",
    "DustbinMatcher": "matching",
    "OTPlanSampler": "pairs",
    "SamplesLoss": "samples",
}

__all__ = [
    "DustbinMatcher",
    "ElasticAttention",
    "OTPlanSampler",
    "SamplesLoss",
    "SinkhornRouter",
    "SparseSinkhornAttention",
    "barycenter",
    "barycenter_value",
    "divergence",
    "log_plan",
    "plan",
    "plan_apply",
    "potentials",
    "sliced",
    "transport_cost",
    "value",
    "with_converged",
]


if not TYPE_CHECKING:  # to whom a wrong name is an error

    def __getattr__(name: str) -> object:
        if name not in _MODULE_OF:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value = getattr(importlib.import_module(f"{__name__}.{_MODULE_OF[name]}"), name)
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    return sorted(__all__)


if TYPE_CHECKING:
    from .attention import ElasticAttention as ElasticAttention
    from .matching import DustbinMatcher as DustbinMatcher
    from .pairs import OTPlanSampler as OTPlanSampler
    from .routing import SinkhornRouter as SinkhornRouter
    from .samples import SamplesLoss as SamplesLoss
    from .sparse_attention import SparseSinkhornAttention as SparseSinkhornAttention
