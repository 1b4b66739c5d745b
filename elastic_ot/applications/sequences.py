"""Sequences that go into attention: what fits together."""

from __future__ import annotations

from typing import Any

import numpy as np

from .frameworks import namespace, real


def check_attention_inputs(q: Any, k: Any, v: Any, first: str = "q") -> tuple[Any, Any, Any]:
    """Queries, called `first`, (..., n, d), keys (..., m, d) and values (..., m, dv) of one dtype; refuses others."""
    q, k, v = real(first, q), real("k", k), real("v", v)
    namespace(q, k, v)
    for name, x in ((first, q), ("k", k), ("v", v)):
        if x.ndim < 2 or 0 in x.shape[-2:]:
            raise ValueError(f"{name} has shape {tuple(x.shape)}; it must be (..., length, width)")
        if x.dtype != q.dtype:
            raise TypeError(f"{name} has dtype {x.dtype} and {first} {q.dtype}; convert them to one")
    if q.shape[-1] != k.shape[-1]:
        raise ValueError(f"{first} has shape {tuple(q.shape)} and k {tuple(k.shape)}; their widths must agree")
    if k.shape[-2] != v.shape[-2]:
        raise ValueError(f"k has shape {tuple(k.shape)} and v {tuple(v.shape)}; their lengths must agree")
    try:
        np.broadcast_shapes(*(tuple(x.shape[:-2]) for x in (q, k, v)))
    except ValueError:
        shapes = ", ".join(f"{name} {tuple(x.shape)}" for name, x in ((first, q), ("k", k), ("v", v)))
        raise ValueError(f"leading dimensions of {shapes} must broadcast") from None
    return q, k, v
