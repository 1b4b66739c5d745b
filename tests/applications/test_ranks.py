"""Experts are ranked by logarithms: entries that underflow have the ranks of their logits, not those of equal zeros."""

from fractions import Fraction

import numpy as np
import pytest

import elastic_ot as eot
from elastic_ot.applications import js_loss, kl_loss, reverse_kl_loss
from elastic_ot.applications.routing import route
from helpers.application_arrays import arrays, opened  # noqa: F401 - a fixture

METHODS = ("sinkhorn", pytest.param("ssr", marks=pytest.mark.slow), pytest.param("s-base", marks=pytest.mark.slow))


def spread(scale, tokens=64, experts=6, seed=0):
    return scale * np.random.default_rng(seed).normal(size=(tokens, experts))


def best(values, k):
    """By brute force on exact numbers, the first of equals first."""
    exact = [[Fraction(float(x)) for x in row] for row in values]
    return [sorted(range(len(row)), key=lambda j: (-row[j], j))[:k] for row in exact]


@pytest.mark.parametrize(
    "scale", [pytest.param(1e3, marks=pytest.mark.slow), 1e5, pytest.param(1e30, marks=pytest.mark.slow)]
)
@pytest.mark.parametrize(
    "options", [{}, {"epsilon": 1e-4}, {"capacity": 64}, {"training": False, "method": "sinkhorn"}]
)
def test_a_softmax_step_takes_the_largest_logits_whatever_their_size(arrays, scale, options):  # noqa: F811
    logits = spread(scale).astype(np.float32)
    logits[3] = logits[3, 0]  # all equal: the first ones
    logits[4, 1:] = -scale
    for k in (2, 5):
        idx = np.asarray(arrays.read(route(arrays.make(logits), k, **options).idx))
        assert idx.tolist() == best(logits, k)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
@pytest.mark.parametrize("name", ["torch", pytest.param("jax", marks=pytest.mark.slow)])
def test_ranks_of_every_dtype_are_those_of_its_numbers(dtype, name):
    with opened(name) as found:
        made = found.make(spread(1e4 if dtype == "float16" else 1e5))
        xp = pytest.importorskip("torch" if name == "torch" else "jax.numpy")
        logits = made.to(getattr(xp, dtype)) if name == "torch" else made.astype(getattr(xp, dtype))
        numbers = np.asarray(logits.double() if name == "torch" else logits.astype("float64"))
        assert np.asarray(route(logits, 3).idx).tolist() == best(numbers, 3)
        options = {"method": "sinkhorn", "lam": 0.0, "on_failure": "ignore"}  # no balance: the plan is the softmax
        assert np.asarray(route(logits, 3, **options).idx).tolist() == best(numbers, 3)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("k", [2, 5])
@pytest.mark.parametrize("capacity", [None, 64])
def test_a_plan_step_ranks_by_the_logarithm_of_the_plan(arrays, method, k, capacity):  # noqa: F811
    logits = spread(1.0).astype(np.float32)
    options = {"method": method, "epsilon": 2e-3, "lam": None, "draw": 0.0, "tol": 1e-7}
    found = route(arrays.make(logits), k, capacity=capacity, **options)
    cols, b = (eot.Fixed(), 64 * k / 6) if capacity is None else (eot.AtMost(), capacity)
    how = {"epsilon": 2e-3, "cols": cols, "reference": "counting", "tol": 1e-9}
    solved = eot.solve(-logits.astype(float), np.full(64, float(k)), np.full(6, float(b)), **how)
    logs = (solved.g.astype(np.longdouble) + logits) / 2e-3  # what all experts of a token share has no say
    got = np.asarray(arrays.read(found.idx))
    ordered = np.take_along_axis(logs, got, axis=1)
    rest = np.sort(logs, axis=1)[:, ::-1][:, :k]
    # both solves know potentials to their tolerance, at an epsilon of 2e-3: 1e-3 in logarithms is ample
    np.testing.assert_allclose(ordered.astype(float), rest.astype(float), atol=1e-3 * np.abs(rest).max())
    plan = np.asarray(arrays.read(found.plan))
    assert (np.sort(plan, axis=1)[:, -k] == 0).mean() > 0.05  # and many of the chosen have underflowed
    assert all(len(set(row)) == k for row in got.tolist())


def test_a_spread_that_single_precision_can_hold_is_solved_to_tolerance():
    torch = pytest.importorskip("torch")
    logits = torch.tensor(spread(1e3, seed=3), dtype=torch.float32) + 1e4
    found = route(logits, 2, method="sinkhorn", lam=0.5)
    assert bool(found.converged)
    torch.testing.assert_close(found.plan.sum(-1), torch.full((64,), 2.0), rtol=1e-5, atol=0)


def test_a_capacity_accepts_pairs_by_logarithms():
    """Each has its favourite, and all other shares are 0 in floating point."""
    logits = np.array([[0.0, -2000.0, -1000.0], [0.0, -1000.0, -2000.0]])
    assert route(logits, 2, capacity=2).idx.tolist() == [[0, 2], [0, 1]]
    # all want expert 3 next, which has two places: token 0 likes it least, and gets what comes after it
    logits = np.array([[0.0, -5e3, -4e3, -1e3], [-5e3, 0.0, -4e3, -900.0], [-5e3, -4e3, 0.0, -800.0]])
    assert route(logits, 2, capacity=2).idx.tolist() == [[0, 2], [1, 3], [2, 3]]


@pytest.mark.parametrize("name", ["torch", "jax"])
def test_losses_of_logits_at_an_offset_keep_their_digits(name):
    """Softmax does not see an offset; in single precision 1e4 + log sum exp would lose four digits of the losses."""
    rng = np.random.default_rng(0)
    student, teacher = (np.round(rng.normal(size=(5, 4)), 2) for _ in range(2))
    # multiples of 1 / 1024 are exact beside 4096 in single precision
    student, teacher = (np.round(1024 * x) / 1024 for x in (student, teacher))
    with opened(name) as found:
        for loss in (kl_loss, reverse_kl_loss, js_loss):
            exact = float(loss(student, teacher))
            single = [found.make((x + 4096).astype(np.float32)) for x in (student, teacher)]
            assert float(loss(*single)) == pytest.approx(exact, rel=1e-5)
