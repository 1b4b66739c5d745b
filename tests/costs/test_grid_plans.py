"""Every method of the operator of a grid is that of the matrix written out, where products underflow and elsewhere."""

import numpy as np
import pytest

from elastic_ot.backends import load, reference
from elastic_ot.backends.protocol import LOGARITHMIC, Side, Vectors
from elastic_ot.costs.grid import along_axes
from helpers.grids import images, some_grids, whole

NAMES = list(some_grids())
SPANS = [3.0, 500.0, 1500.0, 1e5]  # nats of the cost: all products hold, all by a hair, some, none


class Made:
    """An operator, its matrix, and potentials with marginals near 1 / n; one row and one column are removed."""

    def __init__(self, name, span, turned=False):
        grid = some_grids()[name]
        matrix = whole(grid)
        cost = along_axes(grid)
        if turned:
            cost, matrix = cost.transpose(), np.ascontiguousarray(matrix.T)
        self.inv_epsilon = span / (matrix.max() - matrix.min())
        self.matrix, self.shape = matrix, matrix.shape
        rng = np.random.default_rng(0)
        # as uneven as potentials come: they differ by as much as costs do
        self.beta = matrix[rng.integers(matrix.shape[0])] * self.inv_epsilon + rng.standard_normal(matrix.shape[1])
        self.beta[1] = -np.inf
        nats = self.beta - matrix * self.inv_epsilon
        self.alpha = -nats.max(axis=1) + rng.standard_normal(matrix.shape[0])
        self.alpha[2] = -np.inf
        self.sides = tuple(self.side(size, x) for size, x in zip(matrix.shape, (self.alpha, self.beta), strict=True))
        self.plan = cost.plan(self.inv_epsilon, *self.sides)
        self.rng = rng
        # exponents are sums of numbers of this size, good to their last digits
        self.rounding = 1e-13 * (1.0 + span)

    def side(self, size, potential):
        weight = np.where(np.isfinite(potential), 1.0 / size, 0.0)
        with np.errstate(divide="ignore"):
            log_weight = np.log(weight)
        return Side(weight, log_weight, log_weight, LOGARITHMIC, 0.9, 0.1)

    def close(self, found, expected):
        np.testing.assert_allclose(found, expected, rtol=self.rounding, atol=1e-300)

    def dense(self, name, *arguments):
        getattr(reference, name)(self.matrix, self.inv_epsilon, *arguments)


@pytest.fixture(params=SPANS, ids=lambda span: f"{span:g} nats")
def span(request):
    return request.param


@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize("name", NAMES)
def test_sweeps(name, span, turned):
    made = Made(name, span, turned)
    n, m = made.shape

    def vectors():
        log_col, zeros = np.empty(m), np.zeros(n)
        with np.errstate(divide="ignore"):
            nats = made.alpha[:, None] + made.beta - made.matrix * made.inv_epsilon
            top = np.maximum(nats.max(axis=0), -1e300)
            log_col[:] = np.log(np.exp(nats - top).sum(axis=0)) + top
        log_col[1] = -np.inf
        return Vectors(made.alpha.copy(), made.beta.copy(), zeros, log_col, made.alpha.copy(), log_col.copy())

    found, expected = vectors(), vectors()
    with np.errstate(invalid="ignore"):
        made.plan.sweep((1.2, 0.8), found, made.plan.scratch(False), 2)
        reference.log_sweeps(made.matrix, made.inv_epsilon, *made.sides, (1.2, 0.8), *expected, None, 2)
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-13, atol=made.rounding)


@pytest.mark.parametrize("name", NAMES)
def test_sums_and_maxima(name, span):
    made = Made(name, span)
    for method, given in (
        ("marginals", (made.alpha, made.beta)),
        ("row_max", (made.beta,)),
        ("col_max", (made.alpha,)),
    ):
        sizes = {"marginals": made.shape, "row_max": made.shape[:1], "col_max": made.shape[1:]}[method]
        found, expected = ([np.empty(size) for size in sizes] for _ in range(2))
        getattr(made.plan, method)(*given, *found)
        made.dense(method, *given, *expected)
        for one, other in zip(found, expected, strict=True):
            made.close(one, other)


@pytest.mark.parametrize("transpose", [False, True])
@pytest.mark.parametrize("name", NAMES)
def test_products(name, span, transpose):
    made = Made(name, span)
    size, other = made.shape if transpose else made.shape[::-1]
    x, found, expected = made.rng.standard_normal((size, 3)), np.empty((other, 3)), np.empty((other, 3))
    made.dense("apply", made.alpha, made.beta, x, transpose, expected)
    absolute = np.empty((other, 3))
    made.dense("apply", made.alpha, made.beta, np.abs(x), transpose, absolute)
    made.plan.apply(made.alpha, made.beta, x, transpose, found)
    assert (np.abs(found - expected) <= made.rounding * absolute + 1e-300).all()
    again = np.empty((other, 3))
    made.plan.products(made.alpha, made.beta)(x, transpose, again)
    np.testing.assert_array_equal(again, found)


@pytest.mark.parametrize("name", NAMES)
def test_blocks_of_the_plan(name, span):
    made = Made(name, span)
    found, expected = np.empty(made.shape), np.empty(made.shape)
    made.plan.fill(made.alpha, made.beta, found)
    load().plan(np.ascontiguousarray(made.matrix), made.inv_epsilon, made.alpha, made.beta, expected)
    made.close(found, expected)


@pytest.mark.parametrize("rest", [0.0, 1e-3])
@pytest.mark.parametrize("name", NAMES)
def test_rounded_plans(name, span, rest):
    """Costs are exact; the entropy is, where nothing is added, and else a bound."""
    made = Made(name, span)
    n, m = made.shape
    with np.errstate(over="ignore"):
        row_factor, col_factor = 1.0 - 0.3 * made.rng.random(n), 1.0 - 0.3 * made.rng.random(m)
    row_rest, col_rest = rest * made.rng.random(n), made.rng.random(m) / m
    row_rest[2] = col_rest[1] = 0.0
    parts = row_factor, col_factor, row_rest, col_rest
    (kl, cost), (expected_kl, expected_cost) = ([np.empty(n), np.empty(n)] for _ in range(2))
    made.plan.rounded_sums(made.alpha, made.beta, parts, kl, cost)
    made.dense("rounded_sums", made.alpha, made.beta, *parts, expected_kl, expected_cost)
    np.testing.assert_allclose(cost, expected_cost, rtol=1e-9, atol=made.rounding * np.abs(expected_cost).sum())
    slack = made.rounding * expected_kl.sum()
    if rest == 0.0:
        np.testing.assert_allclose(kl, expected_kl, atol=slack)
    else:
        assert (kl >= expected_kl - slack).all()
        if span == SPANS[0]:  # all that is added lies where there is mass already, so that it is of second order
            assert kl.sum() <= expected_kl.sum() + 0.01 * rest


def test_facts_are_those_of_the_matrix():
    for grid in some_grids().values():
        matrix = whole(grid)
        for cost, expected in ((along_axes(grid), matrix), (along_axes(grid).transpose(), matrix.T)):
            assert cost.lowest == pytest.approx(matrix.min(), abs=1e-15)
            assert cost.highest == pytest.approx(matrix.max(), abs=1e-15)
            np.testing.assert_allclose(cost.as_matrix(), expected, rtol=1e-14)
            np.testing.assert_allclose(cost.shifted(0.7).as_matrix(), expected - 0.7, atol=1e-14)
            assert not cost.masked
    a, _ = images(some_grids()["plane"])
    assert a.sum() == pytest.approx(1.0)
