"""A mask that leaves no plan is refused with the rows or columns that compete; SciPy's linear programme judges."""

import re

import numpy as np
import pytest
from scipy.optimize import linprog

import elastic_ot as eot
from elastic_ot.problems.build import build
from elastic_ot.solvers.feasibility import blocked, crowded

NAMED = re.compile(r"(rows|columns) \[([\d, ]+)\] have allowed cells in (?:rows|columns) \[([\d, ]*)\] only")
HALL = np.array([[0.0, np.inf, np.inf], [0.0, np.inf, np.inf], [0.0, 1.0, 2.0]])
PENALTIES = [eot.Fixed(), eot.AtMost(), eot.Between(0.5, 1.5), eot.Between(0.9, 1.1)]
METHODS = ["auto", "log", "scaling", "stabilized", "epsilon_scaling", "newton"]


def is_feasible(problem):
    """By a linear programme, with room for rounding of the weights."""
    i, j = np.nonzero(np.isfinite(problem.cost.matrix))
    n, m = problem.shape
    sums = np.zeros((n + m, i.size))
    sums[i, np.arange(i.size)] = sums[n + j, np.arange(i.size)] = 1.0
    (lo_a, hi_a), (lo_b, hi_b) = problem.rows.box(), problem.cols.box()
    least = np.concatenate([lo_a * problem.a * problem.row_used, lo_b * problem.b * problem.col_used])
    most = np.concatenate([hi_a * problem.a, hi_b * problem.b])
    found = linprog(np.zeros(i.size), A_ub=np.vstack([sums, -sums]), b_ub=np.concatenate([most + 1e-10, 1e-10 - least]))
    return found.status == 0


def random_problems(count):
    rng = np.random.default_rng(0)
    while count:
        n, m = rng.integers(1, 8, 2)
        cost = np.where(rng.random((n, m)) < rng.uniform(0.2, 0.8), rng.random((n, m)), np.inf)
        a, b = rng.integers(1, 5, n) * 1.0, rng.integers(1, 5, m) * 1.0
        rows, cols = (PENALTIES[k] for k in rng.integers(0, 4, 2))
        try:
            problem = build(cost, a / a.sum(), b / b.sum(), 0.1, rows, cols, "product", None)
        except eot.InfeasibleError:
            continue
        count -= 1
        yield problem


def check_named(message, cost, a, b):
    """The rows named must carry more than the columns named can take, and reach no others."""
    name, members, partners = NAMED.search(message).groups()
    cost, a, b = (cost, a, b) if name == "rows" else (cost.T, b, a)
    members, partners = (np.array([int(k) for k in text.split(",") if text]) for text in (members, partners))
    reached = np.flatnonzero(np.isfinite(cost[members]).any(axis=0))
    assert set(reached) <= set(partners)
    assert a[members].sum() > b[reached].sum()


def test_a_largest_flow_decides_as_a_linear_programme_does():
    found = [(blocked(problem) is None, is_feasible(problem)) for problem in random_problems(150)]
    assert all(one == other for one, other in found)
    assert 5 < sum(not feasible for _, feasible in found) < 100


@pytest.mark.parametrize("transpose", [False, True])
@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("method", METHODS)
def test_every_method_names_who_competes(method, order, transpose):
    cost = np.array(HALL.T if transpose else HALL, order=order)
    uniform = np.full(3, 1 / 3)
    with pytest.raises(eot.InfeasibleError) as caught:
        eot.solve(cost, epsilon=0.1, method=method, on_failure="ignore")
    check_named(str(caught.value), cost, uniform, uniform)
    with pytest.raises(eot.InfeasibleError) as caught:
        eot.solve(np.zeros((3, 3)), epsilon=0.1, mask=np.isfinite(cost), method=method)
    check_named(str(caught.value), cost, uniform, uniform)


@pytest.mark.parametrize("method", ["auto", "log"])
@pytest.mark.parametrize("seed", range(4))
def test_one_row_too_many_among_many_is_found(seed, method):
    rng = np.random.default_rng(seed)
    n, crowd = 60, 12
    mask = rng.random((n, n)) < 0.5
    members, partners = rng.permutation(n)[:crowd], rng.permutation(n)[: crowd - 1]
    mask[members] = False
    mask[np.ix_(members, partners)] = True
    cost, uniform = np.where(mask, rng.random((n, n)), np.inf), np.full(n, 1 / n)
    with pytest.raises(eot.InfeasibleError) as caught:
        eot.solve(cost, epsilon=0.05, method=method)
    if "..." not in str(caught.value):
        check_named(str(caught.value), cost, uniform, uniform)


def test_potentials_accuse_nobody_wrongly():
    rng = np.random.default_rng(1)
    for problem in random_problems(100):
        found = crowded(problem, *(50 * rng.standard_normal(size) for size in problem.shape))
        assert found is None or not is_feasible(problem)


@pytest.mark.parametrize("method", ["auto", "log", "newton"])
def test_a_batch_names_the_problem(method):
    costs = np.stack([np.zeros((3, 3)), HALL, HALL.T])
    with pytest.raises(eot.InfeasibleError, match=r"problem \[1\]: rows \[0, 1\] have allowed cells"):
        eot.solve(costs, epsilon=0.1, method=method)


def test_what_is_feasible_but_slow_is_not_refused():
    """A triangle: only the diagonal can carry mass, and sweeps come near it as slowly as one over their number."""
    cost = np.where(np.tri(6, dtype=bool), 0.0, np.inf)
    found = eot.solve(cost, epsilon=1.0, method="log", max_iter=500, on_failure="ignore")
    assert not found.converged
    np.testing.assert_allclose(found.plan, np.eye(6) / 6, atol=0.01)


def test_a_relaxed_side_makes_room():
    assert eot.solve(HALL, epsilon=0.1, cols=eot.KL(1.0)).converged


def test_a_divergence_names_them_too():
    free = np.zeros((3, 3))
    with pytest.raises(eot.InfeasibleError, match=r"rows \[0, 1\] have allowed cells"):
        eot.divergence(HALL, free, free, epsilon=0.1)
