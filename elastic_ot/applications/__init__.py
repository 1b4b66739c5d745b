"""The systems the solver is for: attention, sorting, routing, matching, distillation.

Each is a thin function on arrays of NumPy, CuPy, torch or JAX, whose normalisation is a call of the solver. Shapes are
(..., n, d) for sequences and (..., heads, n, n) for scores. The public names are loaded on first use.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

_NAMES_OF = {
    "attention": ("attention_weights", "elastic_attention", "damped_weights", "sinkformer_weights"),
    "causal": ("causal_weights",),
    "sparse": ("sparse_attention",),
    "blocks": ("sort_blocks", "block_scores", "block_summaries"),
    "low_rank": ("low_rank_attention",),
    "sliced_plans": ("sliced_attention", "expected_sliced_plan"),
    "sinks": ("sink_metrics", "SinkMetrics", "importance", "sink_rate", "gini", "column_kl", "effective_rank"),
    "doubly_stochastic": ("balance", "qr_plan", "mixture", "birkhoff_distance", "plan_entropy"),
    "unitary": ("unistochastic", "givens_unitary", "simulated_circuit"),
    "permutations": ("gumbel_sinkhorn", "gumbel_noise"),
    "projections": ("projected_sort", "projected_rank"),
    "schedules": ("EpsilonSchedule",),
    "sorting": ("soft_sort", "soft_rank", "soft_quantile"),
    "routing": ("route", "Routing", "load_balance", "LoadBalance"),
    "matching": ("match", "Matches"),
    "keypoints": ("keypoint_graph",),
    "distillation": ("sinkd_loss", "kl_loss", "reverse_kl_loss", "js_loss"),
}
_HOME_OF = {name: module for module, names in _NAMES_OF.items() for name in names}

__all__ = list(_HOME_OF)


if not TYPE_CHECKING:  # to whom a wrong name is an error

    def __getattr__(name: str) -> object:
        if name not in _HOME_OF:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value = getattr(importlib.import_module(f"{__name__}.{_HOME_OF[name]}"), name)
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    return sorted(__all__)


if TYPE_CHECKING:
    from .attention import attention_weights as attention_weights
    from .attention import damped_weights as damped_weights
    from .attention import elastic_attention as elastic_attention
    from .attention import sinkformer_weights as sinkformer_weights
    from .blocks import block_scores as block_scores
    from .blocks import block_summaries as block_summaries
    from .blocks import sort_blocks as sort_blocks
    from .causal import causal_weights as causal_weights
    from .distillation import js_loss as js_loss
    from .distillation import kl_loss as kl_loss
    from .distillation import reverse_kl_loss as reverse_kl_loss
    from .distillation import sinkd_loss as sinkd_loss
    from .doubly_stochastic import balance as balance
    from .doubly_stochastic import birkhoff_distance as birkhoff_distance
    from .doubly_stochastic import mixture as mixture
    from .doubly_stochastic import plan_entropy as plan_entropy
    from .doubly_stochastic import qr_plan as qr_plan
    from .keypoints import keypoint_graph as keypoint_graph
    from .low_rank import low_rank_attention as low_rank_attention
    from .matching import Matches as Matches
    from .matching import match as match
    from .permutations import gumbel_noise as gumbel_noise
    from .permutations import gumbel_sinkhorn as gumbel_sinkhorn
    from .projections import projected_rank as projected_rank
    from .projections import projected_sort as projected_sort
    from .routing import LoadBalance as LoadBalance
    from .routing import Routing as Routing
    from .routing import load_balance as load_balance
    from .routing import route as route
    from .schedules import EpsilonSchedule as EpsilonSchedule
    from .sinks import SinkMetrics as SinkMetrics
    from .sinks import column_kl as column_kl
    from .sinks import effective_rank as effective_rank
    from .sinks import gini as gini
    from .sinks import importance as importance
    from .sinks import sink_metrics as sink_metrics
    from .sinks import sink_rate as sink_rate
    from .sliced_plans import expected_sliced_plan as expected_sliced_plan
    from .sliced_plans import sliced_attention as sliced_attention
    from .sorting import soft_quantile as soft_quantile
    from .sorting import soft_rank as soft_rank
    from .sorting import soft_sort as soft_sort
    from .sparse import sparse_attention as sparse_attention
    from .unitary import givens_unitary as givens_unitary
    from .unitary import simulated_circuit as simulated_circuit
    from .unitary import unistochastic as unistochastic
