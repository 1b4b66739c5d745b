"""The derivative of a fixed number of iterations against central differences of those iterations."""

import itertools

import numpy as np
import pytest

import elastic_ot as eot

SPECS = [eot.Fixed(), eot.KL(0.4), eot.L2(5.0), eot.TV(0.05), eot.TV(0.6), eot.Between(0.6, 1.3), eot.Free()]
# Of pairs of hard sides only one: with the others weights would have to move together.
PAIRS = [(r, c) for r, c in itertools.product(SPECS, SPECS) if not (r.hard and c.hard) or r == c == eot.Fixed()]
STEP = 1e-6
ACCURACY = 1e-7  # truncation of order STEP^2, rounding of 1e-15 / STEP


def solve(case, **changes):
    options = {**case, **changes}
    return eot.solve(options.pop("cost"), options.pop("a"), options.pop("b"), tol=0, **options)


def problem(seed=0, **options):
    rng = np.random.default_rng(seed)
    n, m = 5, 6
    mask = np.ones((n, m), bool)
    mask[1, 2] = mask[4, 0] = False
    case = {"cost": rng.random((n, m)), "a": rng.random(n) + 0.2, "b": rng.random(m) + 0.2, "mask": mask}
    case["a"][2] = 0.0
    case["b"] *= case["a"].sum() / case["b"].sum()
    bars = rng.normal(size=(n, m)), rng.normal(size=n), rng.normal(size=m)
    steps = {"cost": rng.normal(size=(n, m)), "a": rng.normal(size=n) * case["a"], "b": rng.normal(size=m)}
    return {**case, "epsilon": 0.2, **options}, bars, steps


def function(solution, bars):
    f = np.where(np.isfinite(solution.f), solution.f, 0.0)
    return (bars[0] * solution.plan).sum() + bars[1] @ f + bars[2] @ solution.g


def assert_exact(case, bars, steps):
    """In cost, weights, epsilon and strengths."""
    found = solve(case).vjp(plan=bars[0], f=bars[1], g=bars[2])

    def difference(**moves):
        up = {name: case[name] + STEP * move for name, move in moves.items()}
        down = {name: case[name] - STEP * move for name, move in moves.items()}
        return (function(solve(case, **up), bars) - function(solve(case, **down), bars)) / (2 * STEP)

    cost_step = np.where(case["mask"], steps["cost"], 0.0)
    pairs = [((found.cost * cost_step).sum(), difference(cost=cost_step)), (found.epsilon, difference(epsilon=1.0))]
    if not (isinstance(case["rows"], eot.Fixed) and isinstance(case["cols"], eot.Fixed)):  # else masses must agree
        pairs += [(found.a @ steps["a"], difference(a=steps["a"])), (found.b @ steps["b"], difference(b=steps["b"]))]
    for name in ("rows", "cols"):
        penalty = case[name]
        if hasattr(penalty, "rho"):
            ends = [{name: type(penalty)(penalty.rho + sign * STEP)} for sign in (1, -1)]
            slope = (function(solve(case, **ends[0]), bars) - function(solve(case, **ends[1]), bars)) / (2 * STEP)
            pairs.append((getattr(found, name), slope))
    for analytic, numeric in pairs:
        assert analytic == pytest.approx(numeric, rel=ACCURACY, abs=ACCURACY)
    assert_transposed(solve(case), bars, {**steps, "cost": cost_step, "a": steps["a"]}, found)


def assert_transposed(solution, bars, steps, found, epsilon=0.3):
    """Forward mode is the transpose of reverse mode, which differences have confirmed, to rounding."""
    strengths = [
        0.7 if hasattr(solution.problem.rows, "rho") else 0.0,
        -0.4 if hasattr(solution.problem.cols, "rho") else 0.0,
    ]
    moved = solution.jvp(**steps, epsilon=epsilon, rows=strengths[0], cols=strengths[1])
    forward = (bars[0] * moved.plan).sum() + bars[1] @ moved.f + bars[2] @ moved.g
    reverse = (found.cost * steps["cost"]).sum() + found.a @ steps["a"] + found.b @ steps["b"]
    reverse += epsilon * found.epsilon + strengths[0] * found.rows + strengths[1] * found.cols
    assert forward == pytest.approx(reverse, rel=1e-10, abs=1e-10)


@pytest.mark.parametrize("reference", ["product", "counting"])
@pytest.mark.parametrize("end", ["rows", "cols"])
@pytest.mark.parametrize(("rows", "cols"), PAIRS, ids=repr)
def test_iterations_are_differentiated_exactly(rows, cols, end, reference):
    assert_exact(*problem(rows=rows, cols=cols, end=end, reference=reference, max_iter=4))


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("count", [1, 7])
def test_orders_and_numbers_of_iterations(count, order):
    case, bars, steps = problem(1, rows=eot.KL(0.5), cols=eot.KL(2.0), end="cols", max_iter=count)
    case["cost"] = np.array(case["cost"], order=order)
    assert_exact(case, bars, steps)


def test_from_given_potentials():
    rng = np.random.default_rng(5)
    case, bars, steps = problem(2, rows=eot.KL(0.5), cols=eot.Fixed(), end="cols", max_iter=2)
    assert_exact({**case, "init": (0.1 * rng.normal(size=5), 0.1 * rng.normal(size=6))}, bars, steps)


def test_many_iterations_have_the_implicit_derivative():
    rng = np.random.default_rng(3)
    cost, bar = rng.random((6, 8)), rng.normal(size=(6, 8))
    unrolled = eot.solve(cost, epsilon=0.3, tol=0, max_iter=400).vjp(plan=bar)
    implicit = eot.solve(cost, epsilon=0.3, tol=1e-13).vjp(plan=bar)
    np.testing.assert_allclose(unrolled.cost, implicit.cost, rtol=0, atol=1e-10)


def test_no_memory_of_iterations_times_the_plan():
    import tracemalloc

    n, count = 400, 50
    rng = np.random.default_rng(4)
    layer = eot.solve(rng.random((n, n)), epsilon=0.1, tol=0, max_iter=count)
    bar = rng.normal(size=(n, n))
    layer.vjp(plan=bar)
    tracemalloc.start()
    layer.vjp(plan=bar)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 20 * n * n * 8  # a dozen matrices, and not one for each iteration


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("pair", [(eot.Fixed(), eot.KL(0.5)), (eot.L2(2.0), eot.TV(0.3))], ids=repr)
def test_kernels_are_computed_anew_where_they_leave_the_range(monkeypatch, pair, order):
    from elastic_ot.derivatives import unrolled

    case, bars, steps = problem(7, rows=pair[0], cols=pair[1], end="cols", max_iter=4)
    case["cost"] = np.array(case["cost"], order=order)
    expected, moved = solve(case).vjp(*bars), solve(case).jvp(**steps, epsilon=1.0)
    fills = []
    fill = unrolled._Kernel.fill
    monkeypatch.setattr(unrolled._Kernel, "fill", lambda self, base: (fills.append(1), fill(self, base))[1])
    monkeypatch.setattr(unrolled, "LIMIT", 1.01)
    found, again = solve(case).vjp(*bars), solve(case).jvp(**steps, epsilon=1.0)
    assert len(fills) > 10
    for name in ("cost", "a", "b", "epsilon", "rows", "cols"):
        np.testing.assert_allclose(getattr(found, name), getattr(expected, name), rtol=0, atol=1e-12)
    for name in ("plan", "f", "g"):
        np.testing.assert_allclose(getattr(again, name), getattr(moved, name), rtol=0, atol=1e-12)


@pytest.mark.parametrize("cols", [eot.Fixed(), eot.KL(3e-4)], ids=repr)
def test_small_epsilon_is_exact(cols):
    """Where the first half steps differ from the last plan by factors that no exponential holds."""
    rng = np.random.default_rng(8)
    epsilon = 2e-4
    cost = rng.integers(0, 3, (6, 8)) + epsilon * rng.random((6, 8))  # ties: every sum has several terms that count
    step, bars = rng.normal(size=(6, 8)), (rng.normal(size=(6, 8)), rng.normal(size=6), rng.normal(size=8))
    options = {"epsilon": epsilon, "cols": cols, "tol": 0, "max_iter": 4, "end": "cols"}
    solution = eot.solve(cost, **options)
    assert np.abs(solution.g).max() / epsilon > 2000
    ends = [function(eot.solve(cost + sign * 1e-4 * epsilon * step, **options), bars) for sign in (1, -1)]
    expected = (ends[0] - ends[1]) / (2e-4 * epsilon)
    found = solution.vjp(*bars)
    # arguments of 1e4 round at 2e-12, over a step of 1e-4
    assert (found.cost * step).sum() == pytest.approx(expected, rel=1e-6)
    # relative to epsilon its derivative is as large as the arguments, and cancels
    assert_transposed(solution, bars, {"cost": step, "a": np.zeros(6), "b": np.zeros(8)}, found, 1e-3 * epsilon)


def test_a_free_side_starts_at_0_whatever_init_says():
    """Its potential is 0 in the iterations, so it must be in their derivative."""
    rng = np.random.default_rng(3)
    cost, bar, step = rng.random((4, 5)), rng.normal(size=(4, 5)), rng.normal(size=(4, 5))
    init = rng.normal(size=4), rng.normal(size=5)

    def run(t):
        return eot.solve(cost + t * step, epsilon=0.3, cols=eot.Free(), tol=0, max_iter=2, end="rows", init=init)

    difference = ((run(1e-5).plan - run(-1e-5).plan) * bar).sum() / 2e-5
    np.testing.assert_allclose((run(0.0).vjp(plan=bar).cost * step).sum(), difference, rtol=1e-7)
