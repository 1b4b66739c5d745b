"""What a router is asked, checked: one message a mistake."""

from __future__ import annotations

from typing import Any, Literal

from .frameworks import namespace, traced

RoutingMethod = Literal["softmax", "sinkhorn", "ssr", "base", "s-base"]
RoutingCombine = Literal["plan", "softmax", "sigmoid"]

COMBINES: dict[str, RoutingCombine] = {
    "softmax": "plan",
    "sinkhorn": "plan",
    "ssr": "plan",
    "base": "sigmoid",
    "s-base": "softmax",
}
"""Every method with its default weights."""


def check_choice(logits: Any, k: Any, method: Any, lam: Any, combine: Any) -> None:
    """Refuses options that do not go together."""
    if logits.ndim < 2 or 0 in logits.shape:
        raise ValueError(f"logits has shape {tuple(logits.shape)}; it must be (..., T, E), and none of these may be 0")
    if method not in COMBINES:
        raise ValueError(f"method is {method!r}; choose from {', '.join(map(repr, COMBINES))}")
    if combine not in (None, "plan", "softmax", "sigmoid"):
        raise ValueError(f"combine is {combine!r}; choose from 'plan', 'softmax', 'sigmoid'")
    if isinstance(k, bool) or not isinstance(k, int) or not 1 <= k <= logits.shape[-1]:
        raise ValueError(f"k is {k!r} and there are {logits.shape[-1]} experts; 1 <= k <= experts is needed")
    if lam is not None and method not in ("sinkhorn", "ssr"):
        raise ValueError(f"lam is {lam} and method is {method!r}, which has none; choose 'sinkhorn' or 'ssr'")
    if method == "base" and k > 1:
        raise ValueError(f"k is {k} and method is 'base', which gives every token one expert; choose 'sinkhorn'")
    if method == "base" and combine == "plan":
        raise ValueError("combine is 'plan' and method is 'base', which has none; choose 'sigmoid' or 'softmax'")


def check_capacity(capacity: Any, logits: Any, k: int, valid: Any) -> None:
    """Refuses a capacity that cannot hold all tokens."""
    if isinstance(capacity, bool) or not isinstance(capacity, int) or capacity < 1:
        raise ValueError(f"capacity is {capacity!r}; it must be an integer >= 1")
    xp = namespace(logits)
    tokens, experts = logits.shape[-2:]
    if valid is not None and not traced(valid):
        tokens = int(xp.max(xp.sum(xp.astype(valid, xp.int64), axis=-1)))
    if experts * capacity < tokens * k:
        raise ValueError(
            f"{experts} experts with capacity {capacity} have {experts * capacity} places, and {tokens} tokens with "
            f"k = {k} need {tokens * k}; capacity must be at least {-(-tokens * k // experts)}"
        )


def tokens_of(mask: Any, logits: Any) -> Any:
    """The mask with the shape (..., T) of the logits."""
    if mask is None:
        return None
    xp = namespace(logits)
    mask = xp.asarray(mask)
    if not xp.isdtype(mask.dtype, "bool"):
        raise TypeError(f"mask has dtype {mask.dtype}; it must be bool (True = a token)")
    try:
        valid = xp.broadcast_to(mask, logits.shape[:-1])
    except (ValueError, RuntimeError):
        raise ValueError(
            f"mask has shape {tuple(mask.shape)}; it must broadcast to that of the tokens, {tuple(logits.shape[:-1])}"
        ) from None
    if not traced(valid) and not bool(xp.all(xp.any(valid, axis=-1))):
        raise ValueError("mask leaves no token; every routed problem needs one")
    return valid


def is_drawn(draw: Any, probability: float) -> bool:
    """Whether this step solves."""
    if not 0 <= probability <= 1:
        raise ValueError(f"probability is {probability}; it must lie between 0 and 1")
    if draw is None:
        raise ValueError("method 'ssr' decides by chance in training; pass draw, a number from [0, 1) or a generator")
    number = float(draw.random() if hasattr(draw, "random") else draw)
    if not 0 <= number < 1:
        raise ValueError(f"draw is {number}; it must lie in [0, 1)")
    return number < probability
