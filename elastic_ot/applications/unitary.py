"""Unistochastic matrices: the squared entries abs(U)^2 of a unitary U, doubly stochastic whatever its parameters are.

Two parametrisations: Givens rotations in a brick wall, for any n, and a simulated circuit of qubits, for powers of two.
Unitary matrices are kept as pairs of real and imaginary parts.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..calls import public
from ..typing import Array, ArrayT
from .arguments import alike, count, vectors
from .frameworks import home, namespace

__all__ = ["givens_unitary", "simulated_circuit", "unistochastic"]

Pair = tuple[Any, Any]
"""Real and imaginary parts."""


@public
def unistochastic(theta: ArrayT, n: int, phases: Array | None = None) -> ArrayT:
    """The squared entries of a product of Givens rotations.

    Parameters
    ----------
    theta : array, shape (..., n (n - 1) / 2)
        Angles, in the order of `givens_unitary`. All 0 gives the identity.
    n : int
    phases : array, shape (..., n (n - 1) / 2), optional
        Without them the matrix is orthostochastic: the squares of a real rotation.

    Returns
    -------
    array, shape (..., n, n)
        Doubly stochastic to rounding.

    Raises
    ------
    ValueError, TypeError
        Not so many angles or phases; nan or inf.

    Examples
    --------
    >>> import numpy as np
    >>> from elastic_ot.applications.unitary import unistochastic
    >>> unistochastic(np.array([np.pi / 6]), 2).round(2)
    array([[0.75, 0.25],
           [0.25, 0.75]])
    """
    real, imaginary = givens_unitary(theta, n, phases)
    return real * real + imaginary * imaginary


@public
def givens_unitary(theta: ArrayT, n: int, phases: Array | None = None) -> Pair:
    """A product of n (n - 1) / 2 rotations of neighbouring rows, in n layers.

    Layers 0, 2, ... rotate rows (0, 1), (2, 3), ...; layers 1, 3, ... rows (1, 2), (3, 4), .... Layer 0 comes
    first, and within a layer the topmost pair. A rotation takes rows (x, y), after x was multiplied by exp(i phase), to
    (cos(theta) x - sin(theta) y, sin(theta) x + cos(theta) y).

    Parameters
    ----------
    theta : array, shape (..., n (n - 1) / 2)
        Angles in radians.
    n : int
    phases : array, shape (..., n (n - 1) / 2), optional
        Default 0.

    Returns
    -------
    pair of arrays, shape (..., n, n)
        Real and imaginary part; the latter is 0 without phases.

    Raises
    ------
    ValueError, TypeError
        Not so many angles or phases; nan or inf.

    Notes
    -----
    With phases this is, up to phases of rows, the interferometer of Clements et al., *Optimal design for universal
    multiport interferometers*, 2016, which reaches every unitary matrix. Rows' phases do not change abs(U)^2.

    Examples
    --------
    >>> import numpy as np
    >>> from elastic_ot.applications.unitary import givens_unitary
    >>> real, imaginary = givens_unitary(np.ones(6), 4, phases=np.ones(6))
    >>> u = real + 1j * imaginary
    >>> bool(abs(u @ u.conj().T - np.eye(4)).max() < 1e-15)
    True
    """
    n = count("n", n)
    theta = _parameters("theta", theta, n * (n - 1) // 2, f"n (n - 1) / 2 with n = {n}")
    xp = namespace(theta)
    if phases is not None:
        phases = _parameters("phases", phases, theta.shape[-1], f"n (n - 1) / 2 with n = {n}")
        alike(theta=theta, phases=phases)
        theta, phases = xp.broadcast_arrays(theta, phases)
    u = _identity(theta, n)
    done = 0
    for layer in range(n):
        pairs = (n - layer % 2) // 2
        part = slice(done, done + pairs)
        u = _brick_layer(u, theta[..., part], None if phases is None else phases[..., part], layer % 2)
        done += pairs
    return u


def _brick_layer(u: Pair, theta: Any, phases: Any, first: int) -> Pair:
    """Rotations of the rows (first, first + 1), (first + 2, first + 3), ..., the rest as it is."""
    end = first + 2 * theta.shape[-1]
    upper = _turned((u[0][..., first:end:2, :], u[1][..., first:end:2, :]), phases)
    lower = u[0][..., first + 1 : end : 2, :], u[1][..., first + 1 : end : 2, :]
    mixed = [_mixed(x, y, theta[..., None]) for x, y in zip(upper, lower, strict=True)]
    xp = namespace(theta)
    real, imaginary = (
        xp.concat([x[..., :first, :], _interleaved(*pair), x[..., end:, :]], axis=-2)
        for x, pair in zip(u, mixed, strict=True)
    )
    return real, imaginary


@public
def simulated_circuit(parameters: ArrayT, qubits: int, layers: int) -> ArrayT:
    """The squared entries of the unitary of a simulated quantum circuit on all basis states.

    Every layer rotates each qubit by RY and then RZ, and entangles by a ring of CNOTs: qubit k controls k + 1, the last
    one the first (none with one qubit).

    Parameters
    ----------
    parameters : array, shape (..., 2 layers qubits)
        Angles in radians: for each layer, for each qubit, that of RY and that of RZ. Those of RZ in the last layer do
        not show in the result. All 0 gives a permutation.
    qubits, layers : int
        The circuit is simulated by its state vectors: time and memory grow as 4**qubits.

    Returns
    -------
    array, shape (..., 2**qubits, 2**qubits)
        Doubly stochastic to rounding. Entry (i, j) is the probability to measure i after the circuit has started in j;
        qubit 0 is the leading binary digit. Other sizes do not come as circuits: use `unistochastic`, which takes any
        n.

    Raises
    ------
    ValueError, TypeError
        Not so many parameters; nan or inf.

    Notes
    -----
    A circuit for experiments on a classical machine. It is none of those published for quantum attention, whose
    layouts differ.

    Examples
    --------
    >>> import numpy as np
    >>> from elastic_ot.applications.unitary import simulated_circuit
    >>> simulated_circuit(np.array([np.pi / 3, 0.0]), qubits=1, layers=1).round(2)
    array([[0.75, 0.25],
           [0.25, 0.75]])
    """
    qubits, layers = count("qubits", qubits), count("layers", layers)
    wanted = f"2 layers qubits with layers = {layers} and qubits = {qubits}"
    parameters = _parameters("parameters", parameters, 2 * layers * qubits, wanted)
    xp = namespace(parameters)
    angles = xp.reshape(parameters, (*parameters.shape[:-1], layers, qubits, 2)) / 2
    u = _identity(parameters, 2**qubits)
    ring = xp.asarray(_ring(qubits), device=home(parameters)["device"])
    for layer in range(layers):
        for qubit in range(qubits):
            u = _on_qubit(u, qubit, angles[..., layer, qubit, 0], angles[..., layer, qubit, 1])
        u = xp.take(u[0], ring, axis=-2), xp.take(u[1], ring, axis=-2)
    return u[0] * u[0] + u[1] * u[1]


def _on_qubit(u: Pair, qubit: int, half_ry: Any, half_rz: Any) -> Pair:
    """RY and then RZ on one qubit: rows that differ in its digit are mixed, and turned by opposite phases."""
    xp = namespace(half_ry)
    shape = u[0].shape
    split = (*shape[:-2], 2**qubit, 2, -1, shape[-1])  # digits before it, its own, digits after it
    parts = [xp.reshape(x, split) for x in u]
    angle = half_ry[..., None, None, None]
    mixed = [_mixed(x[..., 0, :, :], x[..., 1, :, :], angle) for x in parts]
    (x, y), (x_imaginary, y_imaginary) = mixed
    turn = half_rz[..., None, None]
    zero, one = _turned((x, x_imaginary), -turn), _turned((y, y_imaginary), turn)
    real, imaginary = (xp.reshape(xp.stack(pair, axis=-3), shape) for pair in zip(zero, one, strict=True))
    return real, imaginary


def _mixed(x: Any, y: Any, angle: Any) -> Pair:
    """The rotation of (x, y) by an angle."""
    xp = namespace(angle)
    c, s = xp.cos(angle), xp.sin(angle)
    return c * x - s * y, s * x + c * y


def _turned(z: Pair, phases: Any) -> Pair:
    """A complex array times exp(i phase)."""
    if phases is None:
        return z
    xp = namespace(phases)
    c, s = xp.cos(phases)[..., None], xp.sin(phases)[..., None]
    return c * z[0] - s * z[1], s * z[0] + c * z[1]


def _interleaved(even: Any, odd: Any) -> Any:
    """The rows of both in turn."""
    xp = namespace(even)
    return xp.reshape(xp.stack([even, odd], axis=-2), (*even.shape[:-2], 2 * even.shape[-2], even.shape[-1]))


def _identity(like: Any, n: int) -> Pair:
    xp = namespace(like)
    eye = xp.broadcast_to(xp.eye(n, **home(like)), (*like.shape[:-1], n, n))
    return eye, xp.zeros_like(eye)


def _ring(qubits: int) -> Any:
    """Where each row comes from under the ring of CNOTs."""
    source = np.arange(2**qubits)
    for control in range(qubits if qubits > 1 else 0):
        bit, target = (1 << (qubits - 1 - k % qubits) for k in (control, control + 1))
        # a CNOT is its own inverse, and what is done last is undone first
        source = source[np.where(np.arange(2**qubits) & bit, np.arange(2**qubits) ^ target, np.arange(2**qubits))]
    return source


def _parameters(name: str, values: Any, size: int, formula: str) -> Any:
    """Finite real numbers, shape (..., size); size may be 0."""
    if size:
        values = vectors(name, values)
    if values.ndim < 1 or values.shape[-1] != size:
        raise ValueError(f"{name} has shape {tuple(values.shape)}; it must be (..., {size}), that is {formula}")
    return values
