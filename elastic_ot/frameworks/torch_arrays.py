"""Functions of tensors that the array API has not, for `elastic_ot.applications`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.autograd import forward_ad

from .host_functions import HOST_FUNCTIONS
from .torch_calls import HALF_DTYPES


def detached(tensor: Tensor) -> Tensor:
    """Return the tensor as a constant, without its derivatives."""
    return tensor.detach()


def traced(tensor: Tensor) -> bool:
    """True inside of torch.compile, where numbers are not known yet."""
    return torch.compiler.is_compiling()


def is_constant(tensor: Tensor) -> bool:
    """True if its numbers are known and nothing asks for derivatives in it."""
    if torch.compiler.is_compiling() or (torch.is_grad_enabled() and tensor.requires_grad):
        return False
    return not (_is_transformed() or torch._C._len_torch_dispatch_stack())


def on_host(tensor: Tensor) -> NDArray[Any] | None:
    """The numbers of a constant, in the same memory; None on a device."""
    return tensor.numpy(force=True) if tensor.device.type == "cpu" else None


def _is_transformed() -> bool:
    """True within torch.func and forward mode."""
    return bool(torch._C._are_functorch_transforms_active() or forward_ad._current_level >= 0)


def cityblock(x: Tensor, y: Tensor) -> Tensor:
    """Return the L1 distances of points (..., n, d) and (..., m, d), shape (..., n, m)."""
    if torch.compiler.is_compiling() or not _is_transformed():
        return torch.cdist(x, y, p=1.0)
    return (x[..., :, None, :] - y[..., None, :, :]).abs().sum(dim=-1)  # cdist has no forward mode


def softmax(tensor: Tensor) -> Tensor:
    """exp(x) / sum exp(x) along the last axis, of finite numbers."""
    return torch.softmax(tensor, dim=-1)


def log_softmax(tensor: Tensor) -> Tensor:
    """The logarithm of `softmax`."""
    return torch.log_softmax(tensor, dim=-1)


def sigmoid(tensor: Tensor) -> Tensor:
    """1 / (1 + exp(-x))."""
    return torch.sigmoid(tensor)


def argmax(tensor: Tensor) -> Tensor:
    """Where the first of the largest numbers along the last axis is."""
    if tensor.device.type == "cpu" and is_constant(tensor):
        return torch.from_numpy(np.asarray(tensor.numpy().argmax(axis=-1)))  # several times as fast
    return tensor.argmax(dim=-1)


def gather(values: Tensor, index: Tensor) -> Tensor:
    """Entries of the last axis: values (..., m) at index (..., k)."""
    return values.gather(-1, index)


def without(values: Tensor, index: Tensor) -> Tensor:
    """Values (..., m) with -inf at index (..., k)."""
    return values.scatter(-1, index, -torch.inf)


def sums_at(values: Tensor, index: Tensor) -> Tensor:
    """Sums of values (..., n) with the same index (..., n), below n, at each of them."""
    return torch.zeros_like(values).scatter_add(-1, index, values).gather(-1, index)


def counts(index: Tensor, size: int) -> Tensor:
    """How often each of 0 to size - 1 occurs along the last axis, shape (..., size)."""
    found = torch.zeros(*index.shape[:-1], size, dtype=index.dtype, device=index.device)
    return found.scatter_add(-1, index, torch.ones_like(index))


def integers(arrays: Sequence[Tensor], function: str, numbers: Sequence[int], shape: Sequence[int]) -> Tensor:
    """What the host function of that name makes of arrays and numbers: in a graph, an operator."""
    if all(map(is_constant, arrays)):
        return _on_host(arrays, function, numbers, shape)
    return _integers(arrays, function, numbers, shape)


def _on_host(arrays: Sequence[Tensor], function: str, numbers: Sequence[int], shape: Sequence[int]) -> Tensor:
    host = [(x.float() if x.dtype in HALF_DTYPES else x).numpy(force=True) for x in arrays]
    found = np.asarray(HOST_FUNCTIONS[function](*host, *numbers), dtype=np.int64)
    return torch.from_numpy(found.reshape(tuple(shape))).to(arrays[0].device)


_integers = torch.library.custom_op(
    "elastic_ot::integers",
    _on_host,
    mutates_args=(),
    schema="(Tensor[] arrays, str function, SymInt[] numbers, SymInt[] shape) -> Tensor",
)


@_integers.register_fake
def _(arrays: Sequence[Tensor], function: str, numbers: Sequence[int], shape: Sequence[int]) -> Tensor:
    return arrays[0].new_empty(tuple(shape), dtype=torch.int64)
