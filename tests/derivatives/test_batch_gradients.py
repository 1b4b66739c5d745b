"""Derivatives of batches: those of every problem alone, which differences have confirmed, and a few differences."""

import itertools
import tracemalloc
import warnings

import numpy as np
import pytest

import elastic_ot as eot
from elastic_ot.derivatives import batch as batch_gradients

SPECS = [
    eot.Fixed(),
    eot.KL(0.4),
    eot.L2(5.0),
    eot.TV(0.05),
    eot.TV(0.6),
    eot.Between(0.6, 1.3),
    eot.AtMost(),
    eot.Elastic(0.7),
    eot.Free(),
]
PAIRS = list(itertools.product(SPECS, SPECS))
NAMES = "cost", "a", "b", "epsilon", "rows", "cols"
# Of the largest entry. In double precision rounding alone; in float32 that of K and of its sums, 1e-6 after some steps.
ACCURACY = {np.float64: 1e-9, np.float32: 1e-4}
TINY, SOME = (4, 5), (9, 13)  # side by side, and four rows at a time


def batch(shape=SOME, size=3, dtype=np.float64, seed=0, **options):
    """Arguments of a solve with a forbidden cell, an empty row and an epsilon for every problem."""
    rng = np.random.default_rng(seed)
    n, m = shape
    case = {"cost": rng.random((size, n, m)).astype(dtype), "a": rng.random((size, n)) + 0.2}
    case["b"], case["epsilon"] = rng.random((size, m)) + 0.2, rng.uniform(0.15, 0.4, size)
    case["mask"] = np.ones((size, n, m), bool)
    case["mask"][:, 1, 2] = case["mask"][0, 3, 0] = False
    case["a"][0, 2] = 0.0
    rows, cols = options.get("rows", eot.Fixed()), options.get("cols", eot.Fixed())
    slack = 1.2 if isinstance(cols, eot.AtMost) else 0.8 if isinstance(rows, eot.AtMost) else 1.0
    case["b"] *= slack * case["a"].sum(axis=1, keepdims=True) / case["b"].sum(axis=1, keepdims=True)
    bars = rng.normal(size=(size, n, m)).astype(dtype), rng.normal(size=(size, n)), rng.normal(size=(size, m))
    return {**case, **options}, bars


def solve(case, **changes):
    options = {**case, **changes}
    return eot.solve(options.pop("cost"), options.pop("a"), options.pop("b"), **options)


def assert_same(found, expected, accuracy, where):
    for name in NAMES:
        one, other = np.asarray(getattr(found, name))[where], np.asarray(getattr(expected, name))
        inside = tuple(map(slice, other.shape))
        scale = max(np.abs(other).max(), 0.01)  # sums of terms of order one, which may cancel
        np.testing.assert_allclose(one[inside], other, rtol=0, atol=accuracy * scale, err_msg=name)
        assert np.count_nonzero(one) == np.count_nonzero(one[inside]), name  # nothing beyond the lengths


def assert_as_alone(solution, bars, accuracy=1e-9):
    """Every problem's derivatives are those of `Solution.vjp`."""
    found = solution.vjp(*bars)
    for where in np.ndindex(*solution.problem.batch):
        single = solution[where]
        n, m = single.problem.shape
        corner = bars[0][where][:n, :m], bars[1][where][:n], bars[2][where][:m]
        assert_same(found, single.vjp(*corner), accuracy, where)


@pytest.fixture
def alone(monkeypatch):
    """The problems that were looked at alone."""
    seen = []
    original = batch_gradients._pulled
    monkeypatch.setattr(
        batch_gradients, "_pulled", lambda solved, k, *bars: (seen.append(k), original(solved, k, *bars))[1]
    )
    return seen


# Iterations


@pytest.mark.sampled(2)
@pytest.mark.parametrize("shape", [TINY, SOME], ids=str)
@pytest.mark.parametrize(("rows", "cols"), PAIRS, ids=repr)
def test_iterations_are_differentiated_as_alone(rows, cols, shape, alone):
    for end, reference in (("rows", "product"), ("cols", "counting")):
        options = {"rows": rows, "cols": cols, "end": end, "reference": reference}
        case, bars = batch(shape, tol=0, max_iter=4, **options)
        assert_as_alone(solve(case), bars)
    assert not alone


@pytest.mark.parametrize("shape", [TINY, SOME], ids=str)
@pytest.mark.parametrize(("rows", "cols"), list(zip(SPECS, SPECS[3:] + SPECS[:3], strict=True)), ids=repr)
def test_iterations_in_single_precision(rows, cols, shape, alone):
    case, bars = batch(shape, dtype=np.float32, tol=0, max_iter=5, rows=rows, cols=cols, end="cols")
    solution = solve(case)
    assert_as_alone(solution, bars, ACCURACY[np.float32])
    assert not alone
    assert solution.vjp(*bars).cost.dtype == np.float32


@pytest.mark.parametrize("shape", [TINY, SOME], ids=str)
@pytest.mark.parametrize("count", [1, 2, 9])
def test_numbers_of_iterations(count, shape, alone):
    for end in ("rows", "cols"):
        case, bars = batch(shape, tol=0, max_iter=count, rows=eot.KL(0.5), cols=eot.KL(2.0), end=end)
        assert_as_alone(solve(case), bars)
    assert not alone


@pytest.mark.parametrize("shape", [TINY, SOME], ids=str)
def test_from_given_potentials(shape):
    rng = np.random.default_rng(5)
    case, bars = batch(shape, tol=0, max_iter=2, rows=eot.KL(0.5), end="cols")
    init = tuple(0.1 * rng.normal(size=(3, size)) for size in shape)
    assert_as_alone(solve(case, init=init), bars)


@pytest.mark.parametrize("shape", [TINY, (40, 30)], ids=str)
def test_many_problems_on_several_threads(shape, alone):
    size = 700 if shape == TINY else 50
    case, bars = batch(shape, size, tol=0, max_iter=5, cols=eot.KL(1.0))
    assert_as_alone(solve(case), bars)
    assert not alone


def steep(case, epsilon):
    """Of problem 1 every half step of the columns takes back half of the potential to begin with, 1 / epsilon."""
    case["epsilon"], case["cols"] = np.array([0.2, epsilon, 0.3]), eot.KL([1.0, epsilon, 2.0])
    case["init"] = np.zeros(case["a"].shape[1]), np.ones(case["b"].shape[1])
    return case


@pytest.mark.parametrize("shape", [TINY, SOME], ids=str)
def test_what_leaves_single_precision_is_done_in_double(shape, alone):
    case, bars = batch(shape, dtype=np.float32, tol=0, max_iter=4)
    solution = solve(steep(case, 0.01))
    found = solution.vjp(*bars)
    assert_same(found, solution[1].vjp(*(bar[1] for bar in bars)), 2e-6, (1,))  # of the potentials of the float32 solve
    assert_as_alone(solution, bars, ACCURACY[np.float32])
    assert not alone


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", [TINY, SOME], ids=str)
def test_what_leaves_double_precision_is_done_alone(shape, dtype, alone):
    case, bars = batch(shape, dtype=dtype, tol=0, max_iter=3)
    solution = solve(steep(case, 0.002))
    found = solution.vjp(*bars)
    assert alone == [1]
    assert all(np.isfinite(getattr(found, name)).all() for name in NAMES)
    assert_as_alone(solution, bars, ACCURACY[dtype])


@pytest.mark.parametrize("shape", [TINY, SOME], ids=str)
def test_tiny_weights(shape, alone):
    case, bars = batch(shape, dtype=np.float32, tol=0, max_iter=4, cols=eot.KL(1.0))
    case["a"][0, 1], case["b"][1, 2] = 1e-35, 1e-30
    assert_as_alone(solve(case), bars, ACCURACY[np.float32])
    assert not alone


def test_no_memory_of_iterations_times_the_plan():
    rng = np.random.default_rng(4)
    size, n, count = 20, 120, 50
    layer = eot.solve(rng.random((size, n, n)), epsilon=0.1, tol=0, max_iter=count)
    bar = rng.normal(size=(size, n, n))
    layer.vjp(bar)
    tracemalloc.start()
    layer.vjp(bar)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 3 * bar.nbytes  # the result, and of every thread a kernel and its potentials


# The optimum


@pytest.mark.sampled(2)
@pytest.mark.parametrize("shape", [TINY, SOME], ids=str)
@pytest.mark.parametrize(("rows", "cols"), PAIRS, ids=repr)
def test_optima_are_differentiated_as_alone(rows, cols, shape, alone):
    reference = "product" if shape == TINY else "counting"
    case, bars = batch(shape, tol=1e-11, rows=rows, cols=cols, reference=reference, on_failure="ignore")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", eot.ConvergenceWarning)
        assert_as_alone(solve(case), bars)
    assert not alone


def test_optima_in_single_precision(alone):
    case, bars = batch(dtype=np.float32, tol=1e-9, cols=eot.KL(1.0))
    solution = solve(case)
    assert_as_alone(solution, bars, 1e-6)  # of the result, which is float32; all else is in double precision
    assert solution.vjp(*bars).cost.dtype == np.float32
    assert not alone


def test_systems_that_iterations_do_not_solve_are_solved_alone(alone):
    """Two halves without a connection: the system is singular in a direction that nothing removes."""
    case, bars = batch((8, 8), tol=1e-11)
    case["a"], case["b"] = np.full((3, 8), 1 / 8), np.full((3, 8), 1 / 8)
    case["mask"][1] = np.kron(np.eye(2), np.ones((4, 4))) > 0
    assert_as_alone(solve(case), bars)
    assert alone == [1]


# Values


@pytest.mark.parametrize(("rows", "cols"), PAIRS, ids=repr)
def test_gradients_of_values_are_those_alone(rows, cols):
    for shape, reference in ((TINY, "counting"), (SOME, "product")):
        case, _ = batch(shape, tol=1e-10, rows=rows, cols=cols, reference=reference, on_failure="ignore")
        solution = solve(case)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", eot.ConvergenceWarning)
            found = solution.gradients()
            for k in range(3):
                assert_same(found, solution[k].gradients(), 1e-9, (k,))


def test_the_gradient_of_the_value_in_the_cost_is_the_plan():
    for dtype in (np.float32, np.float64):
        solution = solve(batch(dtype=dtype, cols=eot.KL(0.4))[0])
        assert np.array_equal(solution.gradients().cost, solution.plan)


# Shapes


@pytest.mark.parametrize("tol", [0, 1e-11])
@pytest.mark.parametrize("shape", [(6, 7), (12, 10)], ids=str)
def test_lengths(shape, tol):
    rng = np.random.default_rng(1)
    n, m = shape
    cost, lengths = rng.random((4, n, m)), (rng.integers(3, n + 1, 4), rng.integers(3, m + 1, 4))
    cost[np.arange(n) >= lengths[0][:, None]] = np.nan  # nothing is read there
    options = {"epsilon": 0.2, "cols": eot.KL(1.0), "row_lengths": lengths[0], "col_lengths": lengths[1]}
    solution = eot.solve(cost, tol=tol, **({"max_iter": 4} if tol == 0 else {}), **options)
    bars = rng.normal(size=(4, n, m)), rng.normal(size=(4, n)), rng.normal(size=(4, m))
    assert_as_alone(solution, bars)
    if tol:
        found = solution.gradients()
        for k in range(4):
            assert_same(found, solution[k].gradients(), 1e-9, (k,))


@pytest.mark.parametrize("tol", [0, 1e-11])
@pytest.mark.parametrize("shape", [(3, 5), (10, 12)], ids=str)
def test_shared_costs_and_batch_dimensions(shape, tol):
    rng = np.random.default_rng(2)
    n, m = shape
    a = rng.random((3, n)) + 0.2
    options = {"epsilon": np.array([[0.2], [0.4]]), "rows": eot.KL(2.0), "cols": eot.L2(3.0), "tol": tol}
    solution = eot.solve(rng.random((2, 1, n, m)), a, **options, **({"max_iter": 4} if tol == 0 else {}))
    bars = rng.normal(size=(2, 3, n, m)), rng.normal(size=(2, 3, n)), rng.normal(size=(2, 3, m))
    assert_as_alone(solution, bars)
    found = solution.vjp(*bars)
    assert found.cost.shape == (2, 3, n, m)
    assert found.epsilon.shape == found.rows.shape == (2, 3)


@pytest.mark.parametrize("tol", [0, 1e-11])
@pytest.mark.parametrize("shape", [TINY, SOME], ids=str)
@pytest.mark.parametrize("kind", [eot.KL, eot.TV, eot.L2, eot.Elastic], ids=lambda kind: kind.__name__)
def test_strengths_of_every_problem(kind, shape, tol):
    """Ends included, where the penalty becomes another one."""
    strengths = (
        np.array([0.3, 0.05, 0.8]) if kind is eot.TV else np.array([0.3, 0.0, 1.0 if kind is eot.Elastic else np.inf])
    )
    case, bars = batch(shape, rows=kind(strengths), cols=kind(0.4), tol=tol, **({"max_iter": 4} if tol == 0 else {}))
    solution = solve(case)
    assert_as_alone(solution, bars)
    if tol:
        found = solution.gradients()
        for k in range(3):
            assert_same(found, solution[k].gradients(), 1e-9, (k,))


@pytest.mark.parametrize("tol", [0, 1e-11])
@pytest.mark.parametrize("shape", [TINY, SOME], ids=str)
def test_derivatives_in_forbidden_cells_do_not_count(shape, tol):
    case, bars = batch(shape, tol=tol, cols=eot.KL(1.0), **({"max_iter": 3} if tol == 0 else {}))
    expected = solve(case).vjp(*bars)
    bars[0][~case["mask"]] = np.nan
    bars[1][0, 2] = np.inf
    found = solve(case).vjp(*bars)
    assert (found.cost[~case["mask"]] == 0).all()
    assert (found.cost[0, 2] == 0).all()
    assert found.a[0, 2] == 0
    for name in NAMES:
        assert np.array_equal(getattr(found, name), getattr(expected, name)), name


@pytest.mark.parametrize("tol", [0, 1e-11])
def test_parts_of_a_derivative_may_be_left_out(tol):
    case, bars = batch(tol=tol, cols=eot.KL(1.0), **({"max_iter": 3} if tol == 0 else {}))
    solution = solve(case)
    parts = solution.vjp(plan=bars[0]), solution.vjp(f=bars[1]), solution.vjp(g=bars[2])
    whole = solution.vjp(*bars)
    for name in NAMES:
        total = sum(getattr(part, name) for part in parts)
        np.testing.assert_allclose(total, getattr(whole, name), rtol=0, atol=1e-12, err_msg=name)


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.float16])
@pytest.mark.parametrize("tol", [0, 1e-9])
def test_dtypes_and_orders_of_derivatives(dtype, tol):
    case, bars = batch(tol=tol, dtype=np.float32, cols=eot.KL(1.0), **({"max_iter": 3} if tol == 0 else {}))
    solution = solve(case)
    bar = bars[0].astype(dtype)
    expected = solution.vjp(bar.astype(np.float64)).cost
    found = solution.vjp(np.asarray(bar, order="F"))
    assert found.cost.dtype == np.float32
    np.testing.assert_allclose(found.cost, expected, rtol=0, atol=1e-6)
    assert batch_gradients.pull_back(solution.found, bar, None, None, dtype=np.float64).cost.dtype == np.float64


# Differences


@pytest.mark.parametrize(("tol", "accuracy"), [(0, 1e-7), (1e-13, 3e-6)])
@pytest.mark.parametrize("shape", [TINY, SOME], ids=str)
def test_central_differences(shape, tol, accuracy):
    step = 1e-6 if tol == 0 else 1e-5
    options = {"max_iter": 4} if tol == 0 else {}
    case, bars = batch(shape, rows=eot.KL(0.7), cols=eot.L2(5.0), tol=tol, **options)
    rng = np.random.default_rng(3)
    moves = {"cost": np.where(case["mask"], rng.normal(size=bars[0].shape), 0.0), "a": rng.normal(size=bars[1].shape)}
    moves |= {"b": rng.normal(size=bars[2].shape), "epsilon": np.ones(3)}
    moves["a"] *= case["a"] > 0
    found = solve(case).vjp(*bars)

    def value(**changes):
        solution = solve(case, **changes)
        f = np.where(np.isfinite(solution.f), solution.f, 0.0)
        return (
            (bars[0] * solution.plan).sum(axis=(1, 2)) + (bars[1] * f).sum(axis=1) + (bars[2] * solution.g).sum(axis=1)
        )

    for name, move in moves.items():
        expected = (value(**{name: case[name] + step * move}) - value(**{name: case[name] - step * move})) / (2 * step)
        product = getattr(found, name) * move
        np.testing.assert_allclose(product.reshape(3, -1).sum(axis=1), expected, rtol=accuracy, atol=accuracy)
    for name, kind, rho in (("rows", eot.KL, 0.7), ("cols", eot.L2, 5.0)):
        expected = (value(**{name: kind(rho + step)}) - value(**{name: kind(rho - step)})) / (2 * step)
        np.testing.assert_allclose(getattr(found, name), expected, rtol=accuracy, atol=accuracy)


# Forward mode


@pytest.mark.parametrize("tol", [0, 1e-12])
def test_forward_mode_is_the_transpose_of_reverse_mode(tol):
    rng = np.random.default_rng(6)
    case, bars = batch(rows=eot.KL(0.5), cols=eot.KL(2.0), tol=tol, **({"max_iter": 4} if tol == 0 else {}))
    solution = solve(case)
    direction = {"cost": np.where(case["mask"], rng.normal(size=(9, 13)), 0.0), "a": rng.normal(size=9)}
    direction |= {"b": rng.normal(size=(3, 13)), "epsilon": 0.3, "rows": rng.normal(size=3), "cols": -0.2}
    moved, found = solution.jvp(**direction), solution.vjp(*bars)
    forward = (bars[0] * moved.plan).sum((1, 2)) + (bars[1] * moved.f).sum(1) + (bars[2] * moved.g).sum(1)
    reverse = sum(
        (getattr(found, name) * step).reshape(3, -1).sum(axis=1) for name, step in direction.items() if name != "a"
    )
    reverse = reverse + (found.a * np.where(case["a"] > 0, direction["a"], 0.0)).sum(axis=1)
    np.testing.assert_allclose(forward, reverse, rtol=1e-9)


def test_hessians_are_those_alone():
    rng = np.random.default_rng(7)
    lengths = np.array([9, 5, 7])
    case, _ = batch(rows=eot.KL(0.5), cols=eot.L2(2.0), tol=1e-12, row_lengths=lengths)
    solution, step = solve(case), rng.normal(size=(3, 9, 13))
    found, moved = solution.hvp(cost=step, epsilon=1.0, cols=[0.1, 0.2, 0.3]), solution.jvp(cost=step)
    assert moved.plan.shape == (3, 9, 13)
    for k, single in enumerate(solution):
        n = lengths[k]
        assert_same(found, single.hvp(cost=step[k, :n], epsilon=1.0, cols=0.1 * (k + 1)), 1e-12, (k,))
        assert np.array_equal(moved.f[k, :n], single.jvp(cost=step[k, :n]).f)
    with pytest.raises(ValueError, match="hvp needs an optimum"):
        eot.solve(case["cost"], epsilon=0.5, tol=0, max_iter=3).hvp(epsilon=1.0)


# Words


def test_one_warning_names_the_worst_problem():
    costs = np.random.default_rng(0).random((2, 3, 6, 6))
    epsilon = np.array([[0.5, 0.01, 0.5], [0.5, 0.5, 0.004]])
    solution = eot.solve(
        costs, np.arange(1, 7) / 21, epsilon=epsilon, tol=1e-10, max_iter=30, on_failure="ignore", method="log"
    )
    assert not solution.converged.all()
    worst = np.unravel_index(np.argmax(np.where(solution.converged, 0, solution.residual)), (2, 3))
    name = ", ".join(map(str, worst))
    asked = solution.gradients, lambda: solution.vjp(f=np.ones((2, 3, 6))), lambda: solution.jvp(epsilon=1.0)
    for ask in (*asked, lambda: solution.hvp(epsilon=1.0)):
        with pytest.warns(eot.ConvergenceWarning, match=rf"of 6 problems .* \[{name}\].* residual") as record:
            ask()
        assert len(record) == 1
        assert record[0].filename == __file__


def test_derivatives_of_another_shape_are_refused():
    solution = eot.solve(np.random.default_rng(0).random((2, 3, 4)), epsilon=0.5)
    with pytest.raises(ValueError, match=r"plan has shape \(3, 4\)"):
        solution.vjp(plan=np.ones((3, 4)))
    with pytest.raises(ValueError, match=r"g has shape \(2, 3\)"):
        solution.vjp(g=np.ones((2, 3)))
    with pytest.raises(ValueError, match=r"cost has shape \(4, 3\).*\(2, 3, 4\)"):
        solution.jvp(cost=np.ones((4, 3)))
    with pytest.raises(ValueError, match=r"epsilon has shape \(3,\).*\(2,\)"):
        solution.jvp(epsilon=np.ones(3))
    with pytest.raises(TypeError, match="a has dtype"):
        solution.jvp(a=["x", "y", "z"])
    with pytest.raises(ValueError, match="no strength"):
        solution.hvp(rows=1.0)
