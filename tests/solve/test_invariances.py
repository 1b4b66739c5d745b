"""What must not change the plan, or must change it in a known way; drawn by hypothesis from seeded cases."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from helpers.oracle import METHODS, PENALTIES, random_case, scaled

# The plans of two formulations, both solved to a marginal error of 1e-12 of the mass, agree to about 1e-12 / (1 - rate)
# where rate is the contraction of an iteration: at epsilon = 0.05 of the range it stays below 0.999.
TOL = 1e-12
CLOSE = {"rtol": 0.0, "atol": 2e-9}
VALUE = {"rel": 1e-9, "abs": 1e-10}


def drawn(**fixed):
    """Cases of every penalty and reference, with some fields fixed."""
    fields = {
        "seed": st.integers(0, 10_000),
        "n": st.integers(1, 9),
        "m": st.integers(1, 9),
        "epsilon": st.sampled_from([0.05, 0.1, 1.0]),
        "rows": st.sampled_from(PENALTIES),
        "cols": st.sampled_from(PENALTIES),
        "reference": st.sampled_from(["product", "counting"]),
    }
    return st.builds(random_case, **(fields | {name: st.just(value) for name, value in fixed.items()}))


methods = st.sampled_from(METHODS)
seeds = st.integers(0, 1000)


def solved(case, method="auto"):
    return case.solve(tol=TOL, method=method, max_iter=200_000, on_failure="raise")


@given(case=drawn(rows=("Fixed",)), method=methods, shift=st.floats(-5.0, 5.0))
def test_a_constant_added_to_a_fixed_row_moves_only_its_potential(case, method, shift):
    per_row = shift * np.linspace(0.0, 1.0, case.a.size)
    before, after = solved(case, method), solved(case.but(cost=case.cost + per_row[:, None]), method)
    np.testing.assert_allclose(after.plan, before.plan, **CLOSE)
    moved = after.f - before.f - per_row
    if case.cols == ("Fixed",):
        moved -= moved.mean()  # f + t, g - t is the same plan
    np.testing.assert_allclose(moved, 0.0, atol=1e-7)


@given(case=drawn(), method=methods, factor=st.sampled_from([1e-6, 1e-3, 0.5, 3.0, 1e4, 1e9]))
def test_cost_epsilon_and_strengths_share_one_unit(case, method, factor):
    other = case.but(
        cost=case.cost * factor,
        epsilon=case.epsilon * factor,
        rows=scaled(case.rows, factor),
        cols=scaled(case.cols, factor),
    )
    before, after = solved(case, method), solved(other, method)
    np.testing.assert_allclose(after.plan, before.plan, **CLOSE)
    assert after.value / factor == pytest.approx(before.value, **VALUE)


@given(case=drawn(), method=methods, seed=seeds)
def test_permuted_points_permute_the_plan(case, method, seed):
    rng = np.random.default_rng(seed)
    i, j = rng.permutation(case.a.size), rng.permutation(case.b.size)
    other = case.but(cost=case.cost[np.ix_(i, j)], a=case.a[i], b=case.b[j])
    before, after = solved(case, method), solved(other, method)
    np.testing.assert_allclose(after.plan, before.plan[np.ix_(i, j)], **CLOSE)


@given(case=drawn(), method=methods)
def test_the_transposed_problem_has_the_transposed_plan(case, method):
    before, after = solved(case, method), solved(case.transposed, method)
    np.testing.assert_allclose(after.plan, before.plan.T, **CLOSE)
    assert after.value == pytest.approx(before.value, **VALUE)


@given(case=drawn(), method=methods, seed=seeds)
def test_zero_weights_pad_without_effect(case, method, seed):
    rng = np.random.default_rng(seed)
    n, m = case.cost.shape
    i = np.sort(rng.choice(n + 3, n, replace=False))
    j = np.sort(rng.choice(m + 2, m, replace=False))
    cost, a, b = rng.random((n + 3, m + 2)), np.zeros(n + 3), np.zeros(m + 2)
    cost[np.ix_(i, j)], a[i], b[j] = case.cost, case.a, case.b
    before, after = solved(case, method), solved(case.but(cost=cost, a=a, b=b), method)
    np.testing.assert_allclose(after.plan[np.ix_(i, j)], before.plan, **CLOSE)
    assert np.count_nonzero(after.plan) == np.count_nonzero(after.plan[np.ix_(i, j)])
    assert after.value == pytest.approx(before.value, **VALUE)
    assert np.isneginf(np.delete(after.f, i)).all()
    assert np.isneginf(np.delete(after.g, j)).all()


# A square is not additive over a split point; every other penalty is, and so is the product reference.
additive = st.sampled_from([spec for spec in PENALTIES if spec[0] != "L2"])


@given(
    case=additive.flatmap(lambda rows: drawn(rows=rows, reference="product")),
    method=methods,
    share=st.floats(0.05, 0.95),
)
def test_a_split_point_shares_its_mass(case, method, share):
    a = np.concatenate([[share * case.a[0], (1 - share) * case.a[0]], case.a[1:]])
    before, after = solved(case, method), solved(case.but(cost=np.vstack([case.cost[:1], case.cost]), a=a), method)
    np.testing.assert_allclose(after.plan[0], share * before.plan[0], **CLOSE)
    np.testing.assert_allclose(after.plan[1], (1 - share) * before.plan[0], **CLOSE)
    np.testing.assert_allclose(after.plan[2:], before.plan[1:], **CLOSE)
    assert after.value == pytest.approx(before.value, **VALUE)


ELASTIC = [("KL", 0.5), ("TV", 0.3), ("L2", 2.0), ("AtMost",), ("Free",), ("Elastic", 0.6)]
elastic = st.sampled_from(ELASTIC)


@given(case=elastic.flatmap(lambda cols: drawn(rows=("KL", 0.5), cols=cols)), method=methods, seed=seeds)
def test_infinite_cost_false_mask_and_huge_cost_forbid_alike(case, method, seed):
    n, m = case.cost.shape
    forbidden = np.random.default_rng(seed).random((n, m)) < 0.3
    # Every row and column keeps a cell, so that the huge costs are never the best that is left.
    forbidden[np.arange(n), np.arange(n) % m] = False
    forbidden[np.arange(m) % n, np.arange(m)] = False
    infinite = solved(case.but(cost=np.where(forbidden, np.inf, case.cost)), method)
    masked = solved(case.but(mask=~forbidden), method)
    huge = solved(case.but(cost=np.where(forbidden, 900.0, case.cost)), "log")  # exp(-900) is 0
    assert (infinite.plan[forbidden] == 0.0).all()
    np.testing.assert_allclose(infinite.plan, masked.plan, rtol=0, atol=1e-15)
    np.testing.assert_allclose(infinite.plan, huge.plan, **CLOSE)
    assert infinite.value == pytest.approx(masked.value, rel=1e-14)


@given(case=elastic.flatmap(lambda cols: drawn(cols=cols)), method=methods)
def test_an_infinite_column_is_a_deleted_column_that_pays_its_penalty(case, method):
    cost = np.column_stack([case.cost, np.full(case.a.size, np.inf)])
    before, after = solved(case, method), solved(case.but(cost=cost, b=np.append(case.b, 0.3)), method)
    np.testing.assert_allclose(after.plan[:, :-1], before.plan, **CLOSE)
    assert (after.plan[:, -1] == 0.0).all()
    assert np.isneginf(after.g[-1])
    # phi at the marginal 0 and the weight 0.3; Elastic(0.6) is KL(1.5 epsilon).
    price = {
        "KL": 0.5 * 0.3,
        "TV": 0.3 * 0.3,
        "L2": 2.0 / 2 * 0.3**2,
        "AtMost": 0.0,
        "Free": 0.0,
        "Elastic": 1.5 * case.epsilon * 0.3,
    }
    assert after.value == pytest.approx(before.value + price[case.cols[0]], **VALUE)


@given(case=drawn(rows=("Free",), cols=("Free",)), method=methods, shift=st.floats(-5.0, 5.0))
def test_a_shifted_cost_scales_a_free_plan(case, method, shift):
    before, after = solved(case, method), solved(case.but(cost=case.cost + case.epsilon * shift), method)
    # Exponents of at most 25, each rounded: relative errors below 25 * 2e-16.
    np.testing.assert_allclose(after.plan, before.plan * np.exp(-shift), rtol=1e-13)
