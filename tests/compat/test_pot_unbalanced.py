"""Relaxed entropic transport by POT's calls, compared with POT."""

import numpy as np
import ot
import pytest

import elastic_ot as eot
import elastic_ot.compat.pot as front
from helpers.pot_problems import EXACTLY, accuracy, problem, quiet_pot

STRENGTHS = [0.7, (0.4, 2.0), (float("inf"), 0.5)]
MASSES = (1.0, 1.5)


def kl(p, q):
    return (p * np.log(p / q) - p + q).sum()


def theirs_of(p, reg, reg_m, **options):
    with quiet_pot():
        return ot.unbalanced.sinkhorn_knopp_unbalanced(p.a, p.b, p.cost, reg, reg_m, log=True, **EXACTLY, **options)


@pytest.mark.parametrize("reg_type", ["kl", "entropy"])
@pytest.mark.parametrize("reg_m", STRENGTHS, ids=str)
def test_plans_scalings_and_costs_are_those_of_pot(arrays, reg_type, reg_m):
    p = problem(masses=MASSES)
    theirs, log = theirs_of(p, 0.2, reg_m, reg_type=reg_type)
    given = [arrays.make(x) for x in (p.a, p.b, p.cost)]
    options = {"reg_type": reg_type, "stopThr": 1e-11, "numItermax": 10_000}
    plan, notes = front.unbalanced.sinkhorn_unbalanced(*given, 0.2, reg_m, log=True, **options)
    tolerance = accuracy(arrays, 1e-9)
    np.testing.assert_allclose(arrays.read(plan), theirs, atol=tolerance)
    for name in ("logu", "logv"):
        np.testing.assert_allclose(arrays.read(notes[name]), log[name], atol=10 * accuracy(arrays, 1e-8))
    assert abs(float(notes["cost"]) - log["cost"]) < tolerance
    assert abs(float(front.sinkhorn_unbalanced2(*given, 0.2, reg_m, **options)) - log["cost"]) < tolerance


@pytest.mark.parametrize("reg_type", ["kl", "entropy"])
@pytest.mark.parametrize("reg_m", STRENGTHS, ids=str)
def test_total_costs_are_the_objective(reg_type, reg_m):
    """POT leaves the masses out of every KL; with them its number is ours."""
    p = problem(masses=MASSES)
    theirs, log = theirs_of(p, 0.2, reg_m, reg_type=reg_type)
    pair = reg_m if isinstance(reg_m, tuple) else (reg_m, reg_m)
    reference = np.ones_like(theirs) if reg_type == "entropy" else np.outer(p.a, p.b)
    objective = (theirs * p.cost).sum() + 0.2 * kl(theirs, reference)
    left_out = 0.2 * (reference.sum() - theirs.sum())
    for rho, weights, axis in zip(pair, (p.a, p.b), (1, 0), strict=True):
        if np.isfinite(rho):
            objective += rho * kl(theirs.sum(axis=axis), weights)
            left_out += rho * (weights.sum() - theirs.sum())
    options = {"reg_type": reg_type, "stopThr": 1e-11, "numItermax": 10_000, "returnCost": "total"}
    found = front.unbalanced.sinkhorn_unbalanced2(p.a, p.b, p.cost, 0.2, reg_m, **options)
    assert abs(found - objective) < 1e-8
    assert abs(found - left_out - log["total_cost"]) < 1e-8
    solution = eot.solve(
        *(p.cost, p.a, p.b),
        epsilon=0.2,
        rows=eot.KL(pair[0]),
        cols=eot.KL(pair[1]),
        reference="product" if reg_type == "kl" else "counting",
        tol=1e-10,
    )
    assert abs(found - solution.value) < 1e-8


def test_a_plan_to_be_near_to_is_read(arrays):
    p = problem(masses=MASSES)
    c = np.random.default_rng(2).random(p.cost.shape)
    c[0, 1] = 0.0
    theirs, log = theirs_of(p, 0.2, 0.7, c=np.where(c > 0, c, 1e-300))
    given = [arrays.make(x) for x in (p.a, p.b, p.cost)]
    plan, notes = front.sinkhorn_unbalanced(*given, 0.2, 0.7, c=arrays.make(c), stopThr=1e-11, log=True)
    assert arrays.read(plan)[0, 1] == 0
    np.testing.assert_allclose(arrays.read(plan), theirs, atol=accuracy(arrays, 1e-9))
    np.testing.assert_allclose(arrays.read(notes["logu"]), log["logu"], atol=10 * accuracy(arrays, 1e-8))


def test_many_histograms_have_the_entropy_of_pot(arrays):
    p = problem(masses=MASSES)
    many = 1.5 * np.random.default_rng(1).dirichlet(np.ones(7), 3).T
    with quiet_pot():
        theirs = ot.unbalanced.sinkhorn_knopp_unbalanced(p.a, many, p.cost, 0.2, 0.7, **EXACTLY)
    given = [arrays.make(x) for x in (p.a, many, p.cost)]
    with pytest.warns(UserWarning, match="many histograms"):
        found = front.sinkhorn_unbalanced(*given, 0.2, 0.7, stopThr=1e-11)
    np.testing.assert_allclose(arrays.read(found), theirs, atol=accuracy(arrays, 1e-8))
    found = front.sinkhorn_unbalanced2(*given, 0.2, 0.7, stopThr=1e-11, reg_type="entropy")
    np.testing.assert_allclose(arrays.read(found), theirs, atol=accuracy(arrays, 1e-8))


def test_a_warm_start_in_scalings_is_read():
    p = problem(masses=MASSES)
    _, log = theirs_of(p, 0.05, 5.0)
    options = {"log": True, "method": "log", "numItermax": 5000}
    _, cold = front.sinkhorn_unbalanced(p.a, p.b, p.cost, 0.05, 5.0, **options)
    _, warm = front.sinkhorn_unbalanced(p.a, p.b, p.cost, 0.05, 5.0, warmstart=(log["logu"], log["logv"]), **options)
    assert warm["n_iter"] < cold["n_iter"]


@pytest.mark.parametrize("kind", ["kl", "l2"])
@pytest.mark.parametrize("reg_div", ["kl", "entropy"])
def test_other_penalties_are_those_of_pot(kind, reg_div):
    p = problem(masses=MASSES)
    with quiet_pot():
        theirs, log = ot.unbalanced.lbfgsb_unbalanced(
            p.a, p.b, p.cost, 0.2, 0.7, reg_div=reg_div, regm_div=kind, numItermax=50_000, log=True
        )
    options = {"reg_div": reg_div, "regm_div": kind, "numItermax": 10_000, "stopThr": 1e-11}
    plan, notes = front.unbalanced.lbfgsb_unbalanced(p.a, p.b, p.cost, 0.2, 0.7, log=True, **options)
    counted = p.cost.size * 0.2 if reg_div == "entropy" else 0.0  # POT leaves the constant out
    assert notes["total_cost"] <= log["total_cost"] + counted + 1e-9  # POT's minimiser is less accurate
    assert notes["total_cost"] >= log["total_cost"] + counted - 1e-4
    np.testing.assert_allclose(plan, theirs, atol=2e-3)
    total = front.unbalanced.lbfgsb_unbalanced2(p.a, p.b, p.cost, 0.2, 0.7, returnCost="total", **options)
    assert abs(total - notes["total_cost"]) < 1e-12


def test_total_variation_lies_below_the_minimiser_of_pot():
    p = problem(masses=MASSES)
    with quiet_pot():
        _, log = ot.unbalanced.lbfgsb_unbalanced(p.a, p.b, p.cost, 0.05, 0.3, regm_div="tv", log=True)
    found = front.unbalanced.lbfgsb_unbalanced2(p.a, p.b, p.cost, 0.05, 0.3, regm_div="tv", returnCost="total")
    assert found <= log["total_cost"] + 1e-9


def test_majorisation_has_the_plan_of_pot():
    p = problem(masses=MASSES)
    theirs, log = ot.unbalanced.mm_unbalanced(p.a, p.b, p.cost, 0.7, reg=0.2, numItermax=200_000, log=True)
    ours, notes = front.unbalanced.mm_unbalanced(p.a, p.b, p.cost, 0.7, reg=0.2, numItermax=10_000, log=True)
    np.testing.assert_allclose(ours, theirs, atol=1e-9)
    assert abs(notes["total_cost"] - log["total_cost"]) < 1e-9


def test_refusals_name_the_way_out():
    p = problem()
    given = p.a, p.b, p.cost
    with pytest.raises(ValueError, match="choose from 'kl', 'l2'"):
        front.unbalanced.mm_unbalanced(*given, 0.7, div="tv")
    with pytest.raises(NotImplementedError, match="'l2'"):
        front.unbalanced.mm_unbalanced(*given, 0.7, reg=1, div="l2")
    with pytest.raises(NotImplementedError, match="for others use POT"):
        front.unbalanced.lbfgsb_unbalanced(*given, 1.0, 0.7, reg_div="l2")
    with pytest.raises(ValueError, match="returnCost"):
        front.sinkhorn_unbalanced2(*given, 1.0, 0.7, returnCost="all")
    with pytest.raises(ValueError, match="reg_m has 3"):
        front.sinkhorn_unbalanced(*given, 1.0, (1, 2, 3))
    with pytest.raises(ValueError, match="reg_type"):
        front.sinkhorn_unbalanced(*given, 1.0, 0.7, reg_type="square")
    with pytest.warns(UserWarning, match="does not read c"):
        front.sinkhorn_unbalanced(*given, 1.0, 0.7, reg_type="entropy", c=p.cost)
