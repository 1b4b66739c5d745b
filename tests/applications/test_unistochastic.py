"""Squared entries of unitary matrices: against products of explicit matrices in complex NumPy."""

from functools import reduce

import numpy as np
import pytest

from elastic_ot.applications.unitary import givens_unitary, simulated_circuit, unistochastic
from helpers.array_libraries import LIBRARIES, library

RNG = np.random.default_rng(11)


def rotations(theta, n, phases):
    """The product of the full matrices, one rotation after the other."""
    u = np.eye(n, dtype=complex)
    pairs = [(i, i + 1) for layer in range(n) for i in range(layer % 2, n - 1, 2)]
    assert len(pairs) == len(theta)
    for (i, j), angle, phase in zip(pairs, theta, phases, strict=True):
        rotation = np.eye(n, dtype=complex)
        c, s, turn = np.cos(angle), np.sin(angle), np.exp(1j * phase)
        rotation[[i, i, j, j], [i, j, i, j]] = turn * c, -s, turn * s, c
        u = rotation @ u
    return u


def circuit(parameters, qubits, layers):
    """The product of Kronecker products."""

    def on(k, gate):
        return reduce(np.kron, [gate if i == k else np.eye(2) for i in range(qubits)])

    def cnot(control, target):
        on_0, on_1, flip = np.diag([1, 0]), np.diag([0, 1]), np.array([[0, 1], [1, 0]])
        factors = [[on_0 if i == control else np.eye(2) for i in range(qubits)]]
        factors += [[on_1 if i == control else flip if i == target else np.eye(2) for i in range(qubits)]]
        return sum(reduce(np.kron, f) for f in factors)

    u = np.eye(2**qubits, dtype=complex)
    for layer in np.reshape(parameters, (layers, qubits, 2)):
        for k, (y, z) in enumerate(layer):
            ry = np.array([[np.cos(y / 2), -np.sin(y / 2)], [np.sin(y / 2), np.cos(y / 2)]])
            u = on(k, np.diag(np.exp([-0.5j * z, 0.5j * z])) @ ry) @ u
        for k in range(qubits if qubits > 1 else 0):
            u = cnot(k, (k + 1) % qubits) @ u
    return u


def assert_doubly_stochastic(plan):
    tolerance = 1e-12 if plan.dtype == np.float64 else 1e-5
    assert (plan >= 0).all()
    for axis in (-1, -2):
        np.testing.assert_allclose(plan.sum(axis=axis), 1, rtol=0, atol=tolerance)


@pytest.mark.parametrize(("name", "n"), [("numpy", n) for n in (1, 2, 3, 4, 8)] + [(name, 5) for name in LIBRARIES])
def test_rotations_are_those_of_explicit_matrices(name, n):
    lib = library(name)
    theta, phases = RNG.normal(size=(2, 3, n * (n - 1) // 2))
    wanted = np.stack([rotations(t, n, p) for t, p in zip(theta, phases, strict=True)])
    real, imaginary = givens_unitary(lib.make(theta), n, lib.make(phases))
    found = lib.read(unistochastic(lib.make(theta), n, lib.make(phases)))
    tolerance = 1e-14 if found.dtype == np.float64 else 1e-6
    np.testing.assert_allclose(lib.read(real) + 1j * lib.read(imaginary), wanted, rtol=0, atol=tolerance)
    np.testing.assert_allclose(found, abs(wanted) ** 2, rtol=0, atol=tolerance)
    assert_doubly_stochastic(found)
    real = lib.read(unistochastic(lib.make(theta), n))
    orthogonal = np.stack([rotations(t, n, 0 * t) for t in theta])
    np.testing.assert_allclose(real, abs(orthogonal) ** 2, rtol=0, atol=tolerance)


def test_large_angles_and_many_rotations_stay_doubly_stochastic():
    assert_doubly_stochastic(unistochastic(100 * RNG.normal(size=(4, 64 * 63 // 2)), 64))


def test_no_rotation_is_the_identity():
    np.testing.assert_array_equal(unistochastic(np.zeros(10), 5), np.eye(5))


def test_phases_reach_what_real_rotations_do_not():
    # the uniform matrix of size 3 is |F|^2 for the Fourier matrix, and there is no real Hadamard matrix of size 3
    theta, phases = np.array([np.pi / 4, np.arccos(1 / np.sqrt(3)), np.pi / 4]), np.array([0.0, 0.0, np.pi / 2])
    np.testing.assert_allclose(unistochastic(theta, 3, phases), np.full((3, 3), 1 / 3), rtol=0, atol=1e-15)


@pytest.mark.parametrize(
    ("name", "qubits", "layers"),
    [("numpy", *size) for size in ((1, 1), (1, 2), (2, 1), (4, 3))] + [(name, 3, 2) for name in LIBRARIES],
)
def test_the_circuit_is_that_of_kronecker_products(name, qubits, layers):
    lib = library(name)
    parameters = RNG.normal(size=(2, 3, 2 * layers * qubits))
    found = lib.read(simulated_circuit(lib.make(parameters), qubits, layers))
    wanted = np.stack([abs(circuit(p, qubits, layers)) ** 2 for p in parameters.reshape(6, -1)])
    tolerance = 1e-14 if found.dtype == np.float64 else 1e-6
    np.testing.assert_allclose(found, wanted.reshape(found.shape), rtol=0, atol=tolerance)
    assert_doubly_stochastic(found)


def test_the_last_turns_do_not_show():
    parameters = RNG.normal(size=(2, 3, 2))  # layers, qubits, (RY, RZ)
    other = parameters.copy()
    other[-1, :, 1] = 0
    found = [simulated_circuit(x.reshape(-1), 3, 2) for x in (parameters, other)]
    np.testing.assert_allclose(found[0], found[1], rtol=0, atol=1e-15)
    other[0, 0, 1] = 0  # an earlier one does
    assert abs(simulated_circuit(other.reshape(-1), 3, 2) - found[0]).max() > 1e-3


def test_they_are_differentiated_by_torch():
    torch = pytest.importorskip("torch")
    theta, phases = torch.tensor(RNG.normal(size=(2, 2, 6))).unbind()
    theta, phases = theta.requires_grad_(), phases.requires_grad_()
    assert torch.autograd.gradcheck(lambda t, p: unistochastic(t, 4, p), (theta, phases))
    assert torch.autograd.gradcheck(lambda t: unistochastic(t, 4), theta)
    parameters = torch.tensor(RNG.normal(size=(2, 8))).requires_grad_()
    assert torch.autograd.gradcheck(lambda p: simulated_circuit(p, 2, 2), parameters)


def test_jax_compiles_and_differentiates_them_as_torch_does():
    torch, jax = pytest.importorskip("torch"), pytest.importorskip("jax")
    for function in (lambda x: unistochastic(x, 4), lambda x: simulated_circuit(x, 3, 1)):
        start = RNG.normal(size=6).astype(np.float32)
        x = torch.tensor(start).requires_grad_()
        (function(x) ** 2).sum().backward()
        found = jax.jit(jax.grad(lambda x, function=function: (function(x) ** 2).sum()))(jax.numpy.asarray(start))
        np.testing.assert_allclose(found, x.grad, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda: unistochastic(np.ones(5), 4),
            ValueError,
            r"theta has shape \(5,\); it must be \(\.\.\., 6\), that is n",
        ),
        (lambda: unistochastic(np.ones(6), 4, np.ones(3)), ValueError, r"phases has shape \(3,\)"),
        (lambda: unistochastic(np.ones(6), 4, np.ones(6, np.float32)), TypeError, "theta has dtype float64 and phases"),
        (lambda: unistochastic(np.array([np.nan]), 2), ValueError, r"theta\[0\] is nan; values must be finite"),
        (lambda: unistochastic(np.ones(1), 0), ValueError, "n is 0; it must be an integer >= 1"),
        (lambda: simulated_circuit(np.ones(5), 2, 1), ValueError, r"it must be \(\.\.\., 4\), that is 2 layers qubits"),
        (lambda: simulated_circuit(np.ones(4), 1.5, 1), ValueError, "qubits is 1.5; it must be an integer"),
        (lambda: simulated_circuit(np.ones(4), 2, 0), ValueError, "layers is 0"),
        (lambda: simulated_circuit(np.array([0, np.inf]), 1, 1), ValueError, r"parameters\[1\] is inf"),
    ],
)
def test_bad_input_is_refused_by_name_and_value(call, error, message):
    with pytest.raises(error, match=message):
        call()
