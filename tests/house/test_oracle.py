"""The oracle checked against brute force, so that the other tests may lean on it."""

import numpy as np
import pytest

from helpers.oracle import PENALTIES, random_case, spec_id
from helpers.penalty_formulas import best_marginal, concave_dual, exact_update, phi, resolve

MARGINALS = np.linspace(0.0, 40.0, 400_001)


@pytest.mark.parametrize("spec", PENALTIES, ids=spec_id)
@pytest.mark.parametrize("potential", [-0.2, 0.0, 0.15, 0.29, 1.1])
def test_concave_dual_is_the_minimum_of_potential_times_marginal_plus_penalty(spec, potential):
    spec = resolve(spec, 0.1)
    weight = np.array([0.8])
    if spec[0] == "Free" and potential < 0.0:
        assert concave_dual(spec, weight, np.array([potential]))[0] == -np.inf
        return
    values = potential * MARGINALS + phi(spec, weight, MARGINALS, slack=1e-9)
    # The grid of step 1e-4 misses a minimum of curvature at most 2 by less than 1e-8.
    assert concave_dual(spec, weight, np.array([potential]))[0] == pytest.approx(values.min(), abs=1e-7)
    attained = MARGINALS[[values.argmin()]]
    assert best_marginal(spec, weight, np.array([potential]), attained)[0] == pytest.approx(attained[0], abs=2e-4)


@pytest.mark.parametrize("rows", PENALTIES, ids=spec_id)
@pytest.mark.parametrize("cols", PENALTIES, ids=spec_id)
@pytest.mark.parametrize("reference", ["product", "counting"])
def test_no_dual_value_exceeds_a_primal_value(rows, cols, reference):
    case = random_case(5, 4, 6, rows=rows, cols=cols, reference=reference)
    rng = np.random.default_rng(6)
    f, g = (np.clip(rng.normal(scale=0.2, size=k), -0.29, None) for k in (4, 6))
    f, g = (np.zeros_like(x) if s[0] == "Free" else x for x, s in ((f, rows), (g, cols)))
    plan = rng.random((4, 6))
    for _ in range(200):
        for weight, axis in ((case.a, 1), (case.b / case.b.sum() * case.a.sum(), 0)):
            plan *= np.expand_dims(weight / plan.sum(axis=axis), axis)
    # Such a plan meets every constraint except a heavier Fixed side; unconstrained sides accept it as well.
    primal = case.primal(plan, slack=1e-12)
    assert case.dual(f, g) <= primal + 1e-12


@pytest.mark.parametrize("spec", [s for s in PENALTIES if s[0] in {"Fixed", "KL", "L2", "Elastic"}], ids=spec_id)
def test_the_gradient_of_the_dual_is_the_best_marginal_minus_the_attained_one(spec):
    case = random_case(7, 4, 6, rows=spec, cols=("KL", 0.4))
    rng = np.random.default_rng(8)
    f, g = 0.1 * rng.normal(size=4), 0.1 * rng.normal(size=6)
    for i in range(4):
        step = np.zeros(4)
        step[i] = 1e-6
        slope = (case.dual(f + step, g) - case.dual(f - step, g)) / 2e-6
        marginal = case.plan(f, g).sum(axis=1)
        best = best_marginal(resolve(spec, case.epsilon), case.a, f, marginal)
        # Central differences of step 1e-6 keep about 1e-9 of a value of order 1.
        assert slope == pytest.approx(best[i] - marginal[i], abs=1e-8)


def test_at_matching_marginals_the_primal_equals_the_dual():
    case = random_case(9, 4, 6, rows=("KL", 0.5), cols=("L2", 1.5))
    f, g = np.zeros(4), np.zeros(6)
    for _ in range(2000):  # plain alternation, its L2 root by bisection
        s = case.plan(np.zeros(4), g).sum(axis=1)
        f = 0.5 / 0.6 * 0.1 * np.log(case.a / s)
        s = case.plan(f, np.zeros(6)).sum(axis=0)
        low, high = np.full(6, -10.0), np.full(6, 10.0)
        for _ in range(80):
            g = (low + high) / 2
            too_small = s * np.exp(g / 0.1) < case.b - g / 1.5
            low, high = np.where(too_small, g, low), np.where(too_small, high, g)
    assert case.distance_to_best(f, g) < 1e-12
    assert case.residual(f, g) < 1e-12
    assert case.primal(case.plan(f, g)) == pytest.approx(case.dual(f, g), abs=1e-13)


@pytest.mark.parametrize("spec", PENALTIES, ids=spec_id)
@pytest.mark.parametrize("attained", [0.01, 0.5, 0.8, 3.0, 300.0])
def test_the_exact_update_maximises_the_dual_along_one_potential(spec, attained):
    epsilon, weight = 0.1, np.array([0.8])
    spec = resolve(spec, epsilon)
    update = exact_update(spec, weight, np.log([attained]), epsilon)

    def dual(f):
        return concave_dual(spec, weight, f) - epsilon * attained * np.exp(f / epsilon)

    for step in (1e-4, 1e-2):
        assert dual(update) >= dual(update + step) - 1e-14
        assert dual(update) >= dual(update - step) - 1e-14
