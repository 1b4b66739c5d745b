"""What methods are called, for whoever needs no more than that."""

from __future__ import annotations

from typing import Literal, get_args

Method = Literal["auto", "scaling", "stabilized", "log", "epsilon_scaling", "newton", "multiscale"]
BarycenterMethod = Literal["auto", "log", "epsilon_scaling"]

BARYCENTER_METHODS: tuple[str, ...] = get_args(BarycenterMethod)
