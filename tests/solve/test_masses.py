"""Weights whose masses are equal but for rounding: accepted by every call or by none, and said so."""

import numpy as np
import pytest

import elastic_ot as eot
from elastic_ot.cli.main import main
from helpers.application_arrays import opened

pytestmark = pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated:DeprecationWarning")
EQUAL = {"float64": 1e-9, "float32": 1e-5, "float16": 2e-3, "bfloat16": 1e-2}
N, M = 6, 4


def weights(size, seed, off=0.0):
    """Of sum 1 + off."""
    a = np.random.default_rng(seed).random(size) + 0.5
    return a / a.sum() * (1 + off)


def rounded(dtype, off):
    """a in that dtype and b in float64, their masses apart by the relative difference `off` exactly."""
    torch = pytest.importorskip("torch")
    a = torch.tensor(weights(N, 0)).to(getattr(torch, dtype))
    total = float(a.double().sum())
    return a, weights(M, 1) * total * (1 + off)


def calls(library):
    """Every way to a solve, for arrays of a library."""
    found = {
        "solve": lambda c, a, b: eot.solve(c, a, b, epsilon=0.5),
        "batch": lambda c, a, b: eot.solve(c[None], a[None], b[None], epsilon=0.5),
        "exact": lambda c, a, b: eot.exact(c, a, b),
        "divergence": lambda c, a, b: eot.divergence(
            c, c[:, :1] * 0 + 0 * c[:, 0], c[:1].T * 0 + 0 * c[0], a, b, epsilon=0.5
        ),
    }
    if library in ("torch", "jax"):
        operators = getattr(eot, library)
        found |= {
            "plan": lambda c, a, b: operators.plan(c, a, b, epsilon=0.5),
            "value of a batch": lambda c, a, b: operators.value(c[None], a[None], b[None], epsilon=0.5),
            "divergence of operators": lambda c, a, b: operators.divergence(
                c, c[:, :1] * 0 + 0 * c[:, 0], c[:1].T * 0 + 0 * c[0], a, b, epsilon=0.5
            ),
        }
    return found


@pytest.mark.parametrize("dtype", ["float64", pytest.param("float32", marks=pytest.mark.slow), "float16", "bfloat16"])
@pytest.mark.parametrize("library", ["numpy", "torch", "jax"])
def test_every_call_accepts_the_same_masses(dtype, library):
    if library == "numpy" and dtype == "bfloat16":
        return
    cost = np.random.default_rng(2).random((N, M))
    with opened(library) as found:
        for off, accepted in ((0.5 * EQUAL[dtype], True), (-0.5 * EQUAL[dtype], True), (2 * EQUAL[dtype], False)):
            a, b = rounded(dtype, off)
            if library == "numpy":
                given = cost, np.asarray(a), b
            elif library == "torch":
                given = found.make(cost), a, found.make(b)
            else:
                given = found.make(cost), found.make(a.double().numpy()).astype(dtype), found.make(b)
            for call in calls(library).values():
                if accepted:
                    call(*given)
                else:
                    with pytest.raises(Exception, match=r"no plan has both.*b = b \* \(a\.sum"):  # JAX wraps it
                        call(*given)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("library", ["torch", "jax"])
def test_operators_take_weights_in_half_precision(dtype, library):
    """Both sides rounded, their masses apart; the plan is that of `solve`, and derivatives come back in half."""
    cost = np.random.default_rng(2).random((N, M))
    with opened(library) as found:
        operators = getattr(eot, library)
        if library == "torch":
            import torch

            kind = getattr(torch, dtype)
            a, b = (found.make(weights(n, k)).to(kind) for k, n in enumerate((N, M)))
            made = found.make(cost)
            plain = eot.solve(made, a, b, epsilon=0.5, tol=1e-9).plan
            a.requires_grad_()
            plan = operators.plan(made, a, b, epsilon=0.5)
            plan[0, 0].backward()
            assert a.grad.dtype == kind
            value = torch.func.hessian(lambda c: operators.value(c, a.detach(), b, epsilon=0.5))(made)
            assert value.isfinite().all()
            plan = plan.detach()
            compiled = torch.compile(
                lambda c: operators.plan(c, a.detach(), b, epsilon=0.5), fullgraph=True, backend="eager"
            )
            torch.testing.assert_close(compiled(made), plan)
        else:
            import jax

            a, b = (found.make(weights(n, k)).astype(dtype) for k, n in enumerate((N, M)))
            made = found.make(cost)
            plain = eot.solve(made, a, b, epsilon=0.5, tol=1e-9).plan
            plan = jax.jit(lambda c, a: operators.plan(c, a, b, epsilon=0.5))(made, a)
            assert jax.grad(lambda a: operators.plan(made, a, b, epsilon=0.5)[0, 0])(a).dtype == a.dtype
        np.testing.assert_allclose(np.asarray(plan), np.asarray(plain), atol=1e-7)


@pytest.mark.parametrize("batch", [False, True])
def test_weights_normalised_in_single_precision_and_converted_are_accepted(batch):
    """Softmax weights of float32, upcast: their masses are 1 to some units of float32."""
    rng = np.random.default_rng(0)
    for n in (3, 10, 1000):
        logits = rng.normal(size=(8, n)).astype(np.float32)
        a = np.exp(logits - logits.max(axis=1, keepdims=True))
        a = (a / a.sum(axis=1, keepdims=True)).astype(np.float64)
        cost, b = rng.random((n, 5)), np.full(5, 0.2)
        assert (abs(a.sum(axis=1) - 1) > 1e-9).any()
        found = [eot.solve(cost, a, b, epsilon=0.5)] if batch else [eot.solve(cost, x, b, epsilon=0.5) for x in a]
        for k, x in enumerate(a):
            sol = found[0][k] if batch else found[k]
            message = found[0].message[k] if batch else sol.message
            assert sol.converged
            np.testing.assert_allclose(sol.plan.sum(), x.sum(), rtol=1e-6)
            assert ("masses differed by rounding" in message) == (abs(x.sum() - 1) > 1e-9)
            assert ("masses differed by rounding" in sol.message) == (abs(x.sum() - 1) > 1e-9)
    assert eot.exact(cost, a[0], b).status is eot.Status.OPTIMAL


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ([0.5, 0.5], [0.5, 0.500001]),  # short numbers are no sign of single precision
        ([3.0, 2.0], [2.0, 3.00001]),
        ([5000.0, 3.0], [5003.0, 0.01]),  # nor are whole ones
        (weights(2, 0), weights(2, 1, 1e-8)),
        (weights(2, 0).astype(np.float32).astype(float), weights(2, 1, 2e-5)),
    ],
)
def test_other_differences_are_refused_with_the_line_that_repairs_them(a, b):
    a, b = np.array(a), np.array(b)
    for call in (lambda a, b: eot.solve(np.eye(2), a, b, epsilon=0.5), lambda a, b: eot.exact(np.eye(2), a, b)):
        with pytest.raises(eot.InfeasibleError) as caught:
            call(a, b)
        assert str(caught.value).endswith("; to give b the mass of a: b = b * (a.sum() / b.sum())")
        line = str(caught.value).partition("mass of a: ")[2]
        repaired = {"a": a, "b": b}
        exec(line, repaired)
        assert call(repaired["a"], repaired["b"]) is not None


def test_the_line_of_a_batch_repairs_all_its_problems():
    a, b = np.stack([weights(3, k) for k in range(4)]), np.stack([weights(5, k, 0.01 * k) for k in range(4)])
    with pytest.raises(eot.InfeasibleError, match=r"problem \[1\]") as caught:
        eot.solve(np.zeros((4, 3, 5)), a, b, epsilon=0.5)
    repaired = {"a": a, "b": b}
    exec(str(caught.value).partition("mass of a: ")[2], repaired)
    assert eot.solve(np.zeros((4, 3, 5)), a, repaired["b"], epsilon=0.5).converged.all()


def test_relaxed_sides_need_no_repair_and_are_told_of_none():
    with pytest.raises(eot.InfeasibleError) as caught:
        eot.solve(np.eye(2), [1.0, 1.0], [0.5, 0.5], epsilon=0.5, cols=eot.AtMost())
    assert "b = b" not in str(caught.value)


@pytest.mark.parametrize(("dtype", "off", "code"), [("float16", 1e-3, 0), ("float32", 5e-6, 0), ("float64", 5e-6, 2)])
def test_the_command_line_reads_weights_as_they_are(tmp_path, capsys, dtype, off, code):
    a, b = weights(3, 0).astype(dtype), weights(4, 1)
    b = b * (float(a.astype(float).sum()) * (1 + off))
    for name, values in (("c", np.random.default_rng(0).random((3, 4))), ("a", a), ("b", b)):
        np.save(tmp_path / f"{name}.npy", values)
    files = {name: str(tmp_path / f"{name}.npy") for name in "cab"}
    assert main(["solve", files["c"], "--a", files["a"], "--b", files["b"], "--epsilon", "0.5"]) == code
    assert ("b = b * (a.sum() / b.sum())" in capsys.readouterr().err) == (code == 2)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("library", ["torch", "jax"])
def test_a_divergence_of_rounded_weights_is_that_of_equal_masses(dtype, library):
    x = np.linspace(0, 1, 5)
    cost = (x[:, None] - x) ** 2
    with opened(library) as found:
        made, w = found.make(cost), found.make(weights(5, 3))
        if library == "torch":
            import torch

            half = w.to(getattr(torch, dtype))
        else:
            half = w.astype(dtype)
        got = getattr(eot, library).divergence(made, made, made, half, w, epsilon=0.1)
        assert abs(float(got)) < 1e-4  # equal but for rounding of the weights
