"""Where the arrays of a call live, and how results go back there: library, dtype, device."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import array_api_compat
import numpy as np

from ...arrays.libraries import is_foreign, is_tracer, library_name, namespace_of
from ...frameworks.dispatch import is_torch
from .arguments import Unsupported


@dataclass(frozen=True)
class Home:
    """The library, dtype and device of the results."""

    xp: Any
    dtype: Any
    device: Any

    def give(self, values: Any) -> Any:
        """Return numbers of the host as an array of the library; one number as what the library makes of it."""
        values = np.asarray(values)
        if self.xp is np:
            return values.astype(self.dtype)[()]
        return self.xp.asarray(values, dtype=self.dtype, device=self.device)

    @property
    def name(self) -> str:
        """``"numpy"``, ``"torch"``, ``"jax"`` or ``"cupy"``."""
        return str(self.xp.__name__.removeprefix("array_api_compat.").split(".")[0])


def read(*values: Any) -> list[Any]:
    """Return arrays as they are, and lists as arrays of NumPy."""
    return [x if x is None or is_foreign(x) else np.asarray(x) for x in values]


def home_of_results(*values: Any) -> Home:
    """Return the home of the first array that is there; whole numbers give results in float64."""
    first = next(x for x in values if x is not None)
    if not is_foreign(first) or library_name(first) == "numpy":
        kind = np.asarray(first).dtype
        return Home(np, kind if kind in (np.float32, np.float64) else np.dtype(np.float64), "cpu")
    xp = namespace_of(first)
    real = str(first.dtype).split(".")[-1] in ("float16", "bfloat16", "float32", "float64")
    usual = xp.asarray(0.0).dtype if library_name(first) == "jax" else xp.float64  # JAX may have no float64
    return Home(xp, first.dtype if real else usual, array_api_compat.device(first))


def is_tracked(*values: Any) -> bool:
    """True where derivatives are wanted: a tensor that requires them, or a tracer of JAX."""
    return any((is_torch(x) and x.requires_grad) or is_tracer(x) for x in values if x is not None)


def on_host(values: Any) -> Any:
    """Return the numbers as an array of NumPy, without their derivatives."""
    if is_torch(values):
        return values.numpy(force=True)
    if hasattr(values, "get") and library_name(values) == "cupy":
        return values.get()
    if is_tracer(values):
        import jax

        try:
            return np.asarray(jax.lax.stop_gradient(values))
        except Exception as error:
            raise Unsupported("this call needs the numbers; call it outside of jax.jit and jax.vmap") from error
    return np.asarray(values)


def detached(values: Any) -> Any:
    """Return the array as a constant, in its own library."""
    if is_torch(values):
        return values.detach()
    if is_tracer(values):
        import jax

        return jax.lax.stop_gradient(values)
    return values


def with_gradients(home: Home, value: Any, inputs: Sequence[Any], slopes: Sequence[Any]) -> Any:
    """Return a number whose derivatives in the inputs are these slopes."""
    found = home.give(value)
    for x, slope in zip(inputs, slopes, strict=True):
        if is_tracked(x):  # no step where costs are infinite
            step = home.xp.where(home.xp.isfinite(x), x - detached(x), home.xp.zeros_like(x))
            found = found + (step * home.give(slope)).sum()
    return found


def refuse_gradients(call: str, instead: str, *values: Any) -> None:
    """Refuse inputs whose derivatives would be lost in silence."""
    if is_tracked(*values):
        raise Unsupported(f"{call} has no derivatives here: detach the inputs, or {instead}")


def weights_or_uniform(home: Home, weights: Any, size: int) -> Any:
    """Return the weights, uniform ones for None and an empty list."""
    if weights is None or len(weights) == 0:
        return home.give(np.full(size, 1.0 / size))
    return weights
