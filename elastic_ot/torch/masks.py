"""Masks as `torch.nn.MultiheadAttention` takes them, as scores take them: where attention may go, and what is added."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class Masks(NamedTuple):
    """Masks of scores (N, heads, L, S).

    Attributes
    ----------
    allowed : Tensor of bool or None
        True where attention may go; broadcasts to the scores.
    added : Tensor or None
        Finite numbers for the scores; broadcasts to them.
    keys : Tensor of bool or None, shape (N, S)
        False for padding.
    """

    allowed: Tensor | None
    added: Tensor | None
    keys: Tensor | None


def masks(attn_mask: Tensor | None, key_padding_mask: Tensor | None, shape: tuple[int, int, int, int]) -> Masks:
    """Return both masks in one, or refuse wrong shapes and dtypes; `key_padding_mask` has its batch dimension."""
    n, heads, length, size = shape
    allowed, added = _split("attn_mask", attn_mask)
    if attn_mask is not None:
        if attn_mask.shape not in ((length, size), (n * heads, length, size)):
            raise ValueError(
                f"attn_mask has shape {tuple(attn_mask.shape)}; it must be (L, S) = {(length, size)} or "
                f"(N * num_heads, L, S) = {(n * heads, length, size)}"
            )
        lead = (1, 1) if attn_mask.dim() == 2 else (n, heads)
        allowed, added = (None if x is None else x.reshape(*lead, length, size) for x in (allowed, added))
    keys, key_added = _split("key_padding_mask", key_padding_mask)
    if key_padding_mask is not None and key_padding_mask.shape != (n, size):
        raise ValueError(f"key_padding_mask has shape {tuple(key_padding_mask.shape)}; it must be (N, S) = {(n, size)}")
    if keys is not None:
        allowed = keys[:, None, None, :] if allowed is None else allowed & keys[:, None, None, :]
    if key_added is not None:
        added = key_added[:, None, None, :] if added is None else added + key_added[:, None, None, :]
    return Masks(allowed, added, keys)


def _split(name: str, mask: Tensor | None) -> tuple[Tensor | None, Tensor | None]:
    """What a mask allows and what it adds. torch's bool masks are True where attention may not go."""
    if mask is None:
        return None, None
    if mask.dtype == torch.bool:
        return ~mask, None
    if not mask.is_floating_point():
        raise TypeError(f"{name} has dtype {mask.dtype}; it must be bool (True = ignore) or floating point (added)")
    allowed = mask != -torch.inf
    return allowed, torch.where(allowed, mask, torch.zeros_like(mask))
