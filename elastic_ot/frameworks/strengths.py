"""Strengths of penalties that are inputs of a call, and what they do with epsilon."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from ..derivatives.records import Gradients
from .options import SIDES


def penalties(options: Mapping[str, Any], rho: Any) -> dict[str, Any]:
    """The options of a solve, penalties having the strengths that are given apart."""
    given = options.get("given", "")
    found = {name: value for name, value in options.items() if name != "given"}
    for i, side in enumerate(SIDES):
        if side in given:
            found[side] = replace(options[side], rho=rho[..., i][()])
    return found


def _slopes(options: Mapping[str, Any]) -> list[float]:
    """How the strengths rho of both sides grow with epsilon: `Elastic` holds lam = rho / (rho + epsilon)."""
    lams = [getattr(options.get(side), "lam", 0.0) for side in SIDES]
    return [lam / (1.0 - lam) if lam < 1 else 0.0 for lam in lams]


def _is_given(options: Mapping[str, Any]) -> list[float]:
    """1 for a side whose strength is an input, 0 for the others."""
    return [float(side in options.get("given", "")) for side in SIDES]


def inputs_of(options: Mapping[str, Any], found: Gradients) -> tuple[Any, ...]:
    """Derivatives in the inputs of a call, in their order."""
    rows, cols = _slopes(options)
    epsilon = found.epsilon + rows * found.rows + cols * found.cols
    rho = np.stack(np.broadcast_arrays(found.rows, found.cols), axis=-1) * _is_given(options)
    places = (found.cost,) if found.x is None else (found.x, found.y)
    return *places, found.a, found.b, epsilon, rho


def strengths(options: Mapping[str, Any], epsilon: Any, rho: Any) -> tuple[Any, Any, Any]:
    """The direction in epsilon and in the strengths: what epsilon takes along, and what they do themselves."""
    rows, cols = _slopes(options)
    rho = rho * _is_given(options)
    return epsilon[()], (rows * epsilon + rho[..., 0])[()], (cols * epsilon + rho[..., 1])[()]
