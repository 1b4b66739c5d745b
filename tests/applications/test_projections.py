"""Projections onto permutahedra: optimality conditions by rearrangement, limits, derivatives by differences."""

import numpy as np
import pytest
from scipy.stats import rankdata

from elastic_ot.applications.projections import projected_rank, projected_sort
from helpers.application_arrays import DIFFERENTIABLE, arrays, differences, gradient, opened  # noqa: F401 - a fixture

KINDS = ("quadratic", "entropic")


def some_values(shape=(5, 40), seed=0):
    return np.random.default_rng(seed).normal(size=shape)


def check_projection(point, z, w, kind):
    """It is an average of orders of w, and no order of w lies further in the direction from it to z.

    By majorisation, and by the rearrangement inequality. For "entropic" of the exponentials, with the gradient of the
    divergence for the direction.
    """
    inside, vertices = (point, w) if kind == "quadratic" else (np.exp(point), np.exp(w))
    inside_first, vertices_first = (-np.sort(-x) for x in (inside, vertices))
    size = np.abs(vertices).sum()
    assert (inside_first.cumsum() <= vertices_first.cumsum() + 1e-12 * size).all()
    assert inside.sum() == pytest.approx(vertices.sum(), abs=1e-12 * size)
    furthest = np.sort(z - point) @ np.sort(vertices)
    assert (z - point) @ inside == pytest.approx(furthest, abs=1e-11 * size * (1 + np.abs(z).max()))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("epsilon", [1e-2, 0.1, 1.0, 30.0])
def test_ranks_are_the_nearest_average_of_orders(arrays, kind, epsilon):  # noqa: F811
    x = some_values()
    found = projected_rank(arrays.make(x), epsilon, regularization=kind)
    assert isinstance(found, arrays.kind)
    for values, ranks in zip(x, arrays.read(found), strict=True):
        check_projection(ranks, values / epsilon, np.arange(1.0, 41.0), kind)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("epsilon", [1e-2, 1.0, 10.0, 300.0])
def test_sorted_values_are_the_nearest_average_of_orders(arrays, kind, epsilon):  # noqa: F811
    x = some_values()
    for values, found in zip(x, arrays.read(projected_sort(arrays.make(x), epsilon, regularization=kind)), strict=True):
        check_projection(found, np.arange(1.0, 41.0) / epsilon, values, kind)
        assert (np.diff(found) >= -1e-12).all()


def test_ranks_are_exact_where_values_are_further_apart_than_epsilon():
    x = np.random.default_rng(0).permutation(50) + 0.0
    np.testing.assert_array_equal(projected_rank(x, 1.0), x + 1)
    np.testing.assert_array_equal(projected_rank(x, 1.0, descending=True), 50 - x)
    np.testing.assert_array_equal(projected_sort(x, 1.0), np.arange(50.0))
    np.testing.assert_array_equal(projected_sort(x, 1.0, descending=True), np.arange(50.0)[::-1])
    assert np.abs(projected_rank(x, 1.1) - (x + 1)).max() > 0.1
    assert np.abs(projected_sort(x, 1.1) - np.arange(50.0)).max() > 0.1


def test_large_epsilon_gives_one_value():
    x = some_values((30,))
    np.testing.assert_allclose(projected_rank(x, 1e6), 15.5, atol=1e-4)
    np.testing.assert_allclose(projected_sort(x, 1e6), x.mean(), atol=1e-4)
    np.testing.assert_allclose(projected_sort(x, 1e6, regularization="entropic"), np.log(np.exp(x).mean()), atol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_equal_values_have_equal_ranks(kind):
    x = np.array([2.0, 1.0, 2.0, 3.0, 1.0, 2.0])
    found = projected_rank(x, 1e-3, regularization=kind)
    for value in (1.0, 2.0):
        assert np.ptp(found[x == value]) < 1e-12
    if kind == "quadratic":
        np.testing.assert_allclose(found, rankdata(x), atol=1e-12)


@pytest.mark.parametrize("name", DIFFERENTIABLE)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("call", [projected_rank, projected_sort])
@pytest.mark.parametrize("epsilon", [0.3, 3.0])
def test_gradients_are_those_of_differences(name, kind, call, epsilon):
    x, factors = some_values((2, 7)), some_values((2, 7), seed=1)
    with opened(name) as library:
        made = library.make(factors)
    options = {"regularization": kind, "descending": True}
    found = gradient(name, lambda y: (call(y, epsilon, **options) * made).sum(), x)
    numeric = differences(lambda y: (call(y, epsilon, **options) * factors).sum(), x)
    np.testing.assert_allclose(found, numeric, atol=1e-7)
    assert np.abs(found).max() > 1e-2


def test_epsilon_may_be_an_array_with_a_gradient():
    with opened("torch") as library:
        import torch

        x = library.make(some_values((2, 9)))
        epsilon = library.make(np.array([0.5, 4.0])).requires_grad_()
        for call in (projected_rank, projected_sort):
            assert torch.autograd.gradcheck(lambda e, call=call: call(x, e), epsilon)
            for k in range(2):
                alone = call(x[k], float(epsilon[k].detach()))
                np.testing.assert_allclose(call(x, epsilon)[k].detach(), alone, atol=1e-14)


def test_single_precision_keeps_its_digits():
    x = some_values((3, 2000)).astype(np.float32)
    with opened("torch") as library:
        for epsilon in (1e-6, 1e-2, 1.0):
            found = projected_rank(library.make(x), epsilon).numpy()
            assert found.dtype == np.float32
            np.testing.assert_allclose(found, projected_rank(x.astype(np.float64), epsilon), rtol=2e-6, atol=1e-3)


def test_bad_input_is_named():
    with pytest.raises(ValueError, match=r"x\[1\] is nan"):
        projected_rank([0.0, np.nan])
    with pytest.raises(ValueError, match="epsilon is 0"):
        projected_sort([0.0, 1.0], 0)
    with pytest.raises(ValueError, match="regularization is 'l2'; choose from 'quadratic', 'entropic'"):
        projected_rank([0.0, 1.0], regularization="l2")
