"""Temperatures of modules: a number, or a schedule and a buffer that counts the steps of training."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..applications.arguments import positive
from ..applications.schedules import EpsilonSchedule
from ..frameworks.torch_arrays import is_constant


def add_step(module: nn.Module, epsilon: float | EpsilonSchedule, device: torch.device | str | int | None) -> None:
    """The buffer `step` of a module: how many calls there were in training, shape (); None without a schedule."""
    scheduled = isinstance(epsilon, EpsilonSchedule)
    if not scheduled:
        if callable(epsilon):
            raise TypeError(f"epsilon is {epsilon!r}; it must be a number > 0 or an EpsilonSchedule")
        positive("epsilon", epsilon)
    module.register_buffer("step", torch.zeros((), dtype=torch.int64, device=device) if scheduled else None)


def epsilon_of(module: nn.Module, epsilon: float | EpsilonSchedule) -> float | Tensor:
    """The temperature of this call; in training the call is counted.

    A number where numbers are known, which is faster than a tensor. Activation checkpointing calls a module once more
    within the backward pass: that call has the temperature of the one before, and is not counted.
    """
    if not isinstance(epsilon, EpsilonSchedule):
        return epsilon
    step = module.step
    assert isinstance(step, Tensor)
    if torch.compiler.is_compiling():
        again = False
    else:
        again = module.training and torch._C._current_graph_task_id() != -1
    at = (step - 1).clamp(min=0) if again else step
    value = epsilon(int(at)) if is_constant(at) else epsilon(at)
    if module.training and not again:
        step.add_(1)
    return value
