"""Types of what calls take and return, for annotations: arrays of any library, numbers, and options."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt
from numpy.typing import NDArray

if TYPE_CHECKING:
    from typing_extensions import TypeVar
else:
    from typing import TypeVar as _TypeVar

    def TypeVar(name, *constraints, default=None, **options):
        """The type variable, without its default."""
        return _TypeVar(name, *constraints, **options)


__all__ = ["Array", "ArrayLike", "Callback", "ForeignArray", "Number", "Numbers", "SupportsDLPack"]


class SupportsDLPack(Protocol):
    """An array that offers its memory by DLPack: of PyTorch, JAX, CuPy and others."""

    def __dlpack__(self) -> object: ...


class Items(Protocol):
    """What has a length, and slices that are of its kind: an array of any library, a list, a range."""

    def __len__(self) -> int: ...
    def __getitem__(self, which: slice, /) -> object: ...


class _TorchTensor(SupportsDLPack, Protocol):
    def detach(self) -> object: ...


class _JaxArray(SupportsDLPack, Protocol):
    def block_until_ready(self) -> object: ...


class Array(Protocol):
    """An array of NumPy, PyTorch, JAX or CuPy: what the applications compute with, in the library they came in."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Lengths of all dimensions."""

    @property
    def ndim(self) -> int:
        """How many dimensions it has."""

    @property
    def dtype(self) -> Any:
        """The type of its entries."""

    def __getitem__(self, key: Any, /) -> Any: ...
    def __neg__(self) -> Any: ...
    def __eq__(self, other: object, /) -> Any: ...
    def __and__(self, other: Any, /) -> Any: ...
    def __add__(self, other: Any, /) -> Any: ...
    def __radd__(self, other: Any, /) -> Any: ...
    def __sub__(self, other: Any, /) -> Any: ...
    def __rsub__(self, other: Any, /) -> Any: ...
    def __mul__(self, other: Any, /) -> Any: ...
    def __rmul__(self, other: Any, /) -> Any: ...
    def __truediv__(self, other: Any, /) -> Any: ...
    def __rtruediv__(self, other: Any, /) -> Any: ...
    def __pow__(self, other: Any, /) -> Any: ...
    def __matmul__(self, other: Any, /) -> Any: ...
    def __gt__(self, other: Any, /) -> Any: ...
    def __lt__(self, other: Any, /) -> Any: ...
    def __ge__(self, other: Any, /) -> Any: ...
    def __le__(self, other: Any, /) -> Any: ...


ForeignArray: TypeAlias = _TorchTensor | _JaxArray
"""A tensor of PyTorch or an array of JAX, whose library results come back in."""
ArrayLike: TypeAlias = npt.ArrayLike | SupportsDLPack
"""Whatever calls read as an array: numbers, nested sequences, and arrays of any library."""
Number: TypeAlias = float | np.floating | np.integer
"""A real number of Python or NumPy."""
Numbers: TypeAlias = Sequence[float] | NDArray[np.floating] | NDArray[np.integer] | ForeignArray
"""An array of real numbers that is no single number: one for every problem of a batch."""
ManyMatrices: TypeAlias = Sequence[NDArray[np.generic]] | Sequence[Sequence[Sequence[float]]]
"""A list of matrices, which is a batch."""
Callback: TypeAlias = Callable[[int, float], object] | Callable[[int, NDArray[np.float64]], object]
"""Called as ``callback(iteration, residual)``; of a batch the residual is an array."""
Seed: TypeAlias = int | np.random.Generator | None
"""Where randomness comes from: a seed, a generator, or None for a new one."""

ArrayT_co = TypeVar("ArrayT_co", covariant=True, default=NDArray[np.float64])
ForeignT = TypeVar("ForeignT", bound=ForeignArray)
ArrayT = TypeVar("ArrayT", bound=Array)
