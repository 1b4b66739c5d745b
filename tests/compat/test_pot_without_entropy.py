"""Relaxed transport without entropy by POT's calls: POT's minimisers come near from above, potentials from below."""

from functools import cache

import numpy as np
import ot
import pytest

import elastic_ot as eot
import elastic_ot.compat.pot as front
from helpers.pot_problems import accuracy, problem, quiet_pot

STRENGTHS = [0.3, (0.2, 2.0)]
MASSES = (1.0, 1.4)


def objective(p, plan, reg_m, kind):
    """Written out, with half a square as in POT."""
    total = (plan * p.cost).sum()
    for rho, r, w in zip(np.broadcast_to(reg_m, 2), (plan.sum(axis=1), plan.sum(axis=0)), (p.a, p.b), strict=True):
        if kind == "kl":
            total += rho * (r * np.log(np.where(r > 0, r, 1.0) / w) - r + w).sum()
        else:
            total += rho * (0.5 * (r - w) ** 2 if kind == "l2" else abs(r - w)).sum()
    return total


@cache
def descent_of_pot(kind, reg_m):
    p = problem(masses=MASSES)
    return ot.unbalanced.mm_unbalanced(p.a, p.b, p.cost, reg_m, div=kind, numItermax=3000, log=True)


@pytest.mark.parametrize("reg_m", STRENGTHS, ids=str)
@pytest.mark.parametrize("kind", ["kl", "l2"])
def test_plans_and_costs_are_those_of_pot(arrays, kind, reg_m):
    p = problem(masses=MASSES)
    given = [arrays.make(x) for x in (p.a, p.b, p.cost)]
    plan, log = front.unbalanced.mm_unbalanced(*given, reg_m, div=kind, log=True)
    theirs, their_log = descent_of_pot(kind, reg_m)
    tolerance = accuracy(arrays, 1e-8)
    assert type(plan) is type(given[2])
    plan = arrays.read(plan)
    assert abs(float(log["total_cost"]) - objective(p, plan, reg_m, kind)) < tolerance
    assert abs(float(log["cost"]) - (plan * p.cost).sum()) < tolerance
    assert float(log["total_cost"]) < float(their_log["total_cost"]) + tolerance
    assert abs(float(log["total_cost"]) - float(their_log["total_cost"])) < 1e-3  # they descend slowly
    np.testing.assert_allclose(plan.sum(axis=1), theirs.sum(axis=1), atol=2e-2)
    for which, name in (("linear", "cost"), ("total", "total_cost")):
        found = front.unbalanced.mm_unbalanced2(*given, reg_m, div=kind, returnCost=which)
        assert abs(float(found) - float(log[name])) < tolerance


@pytest.mark.parametrize(("kind", "early"), [("kl", 1e-5), ("l2", 1e-5), ("tv", 1e-2)])
def test_the_minimiser_of_pot_finds_the_same_total(kind, early):
    p = problem(masses=MASSES)
    with quiet_pot():
        theirs = ot.unbalanced.lbfgsb_unbalanced2(p.a, p.b, p.cost, 0, 0.3, regm_div=kind, returnCost="total")
    ours, log = front.unbalanced.lbfgsb_unbalanced2(
        p.a, p.b, p.cost, 0, 0.3, regm_div=kind, returnCost="total", log=True
    )
    assert abs(ours - objective(p, log["solution"].plan, 0.3, kind)) < 1e-10
    assert -1e-8 < theirs - ours < early  # it stops early, most of all where the objective has kinks


@pytest.mark.parametrize("kind", ["KL", "L2"])
def test_potentials_prove_the_value(kind):
    p = problem(masses=MASSES)
    p.a[2] = 0.0
    p.cost[3, :4] = np.inf
    found = front.solve(p.cost, p.a, p.b, unbalanced=0.3, unbalanced_type=kind)
    f, g = found.potentials
    assert (f[:, None] + g <= p.cost + 1e-12).all()
    penalty = getattr(eot, kind)(0.3)
    on = p.a > 0
    bound = penalty.dual(f[on], p.a[on]).sum() + penalty.dual(g, p.b).sum()
    assert bound <= found.value < bound + 1e-8
    assert (found.plan[3, :4] == 0).all()
    assert (found.plan[2] == 0).all()
    assert found.status == "Converged"


def test_hard_sides_are_met():
    p = problem(masses=MASSES)
    plan = front.unbalanced.mm_unbalanced(p.a, p.b, p.cost, (np.inf, 0.3))
    np.testing.assert_allclose(plan.sum(axis=1), p.a, atol=1e-8)
    same = problem()
    both = front.unbalanced.mm_unbalanced(same.a, same.b, same.cost, np.inf)
    np.testing.assert_allclose(both, ot.emd(same.a, same.b, same.cost), atol=1e-12)


@pytest.mark.parametrize("kind", ["KL", "L2"])
def test_slopes_of_the_value_are_its_differences(kind):
    torch = pytest.importorskip("torch")
    p, step = problem(masses=MASSES), 1e-4

    def value(cost, a, b):
        return front.solve(cost, a, b, unbalanced=0.3, unbalanced_type=kind).value

    inputs = [torch.tensor(x, requires_grad=True) for x in (p.cost, p.a, p.b)]
    value(*inputs).backward()
    rng = np.random.default_rng(1)
    for k, tensor in enumerate(inputs):
        way = rng.standard_normal(tensor.shape)
        up, down = ([x + s * step * way if i == k else x for i, x in enumerate((p.cost, p.a, p.b))] for s in (1, -1))
        slope = (value(*up) - value(*down)) / (2 * step)
        assert abs(slope - (way * tensor.grad.numpy()).sum()) < 1e-4 * (1 + abs(slope))  # the gap over the step
    with pytest.raises(NotImplementedError, match="reg > 0"):
        front.unbalanced.mm_unbalanced(inputs[1], inputs[2], inputs[0], 0.3)


def test_steps_are_printed_when_asked(capsys):
    p = problem()
    front.unbalanced.mm_unbalanced(p.a, p.b, p.cost, 0.3, verbose=True)
    assert capsys.readouterr().out.startswith("    0|")
