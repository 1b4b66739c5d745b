"""Arrays of a device go in, are solved there and come out, on a stand-in for CuPy that NumPy cannot read.

That stand-in refuses every computation that mixes memory of the host and of the device, and counts what goes to the
host: solves, certificates and derivatives are right if they give the CPU's numbers and nothing n x m has crossed.
"""

import importlib
import subprocess
import sys
import types
from contextlib import contextmanager

import array_api_compat
import numpy as np
import pytest

import elastic_ot as eot
from elastic_ot.arrays import devices as memory
from elastic_ot.arrays.origin import Origin
from elastic_ot.backends import gpu
from elastic_ot.solvers import direct as direct_solves
from helpers import gpu_shim
from helpers.gpu_shim import strict_cupy
from helpers.oracle import METHODS, make, random_case

pytestmark = pytest.mark.skipif(gpu_shim.compiler() is None, reason="needs g++, which builds the kernels for the host")

PENALTIES = [("Fixed",), ("KL", 0.5), ("TV", 0.3), ("Between", 0.5, 1.2)]
CLOSE = 1e-8  # both sides are solved to 1e-9; sums of a device are taken in another order


@pytest.fixture(autouse=True)
def xp(monkeypatch):
    """CuPy's stand-in, as the package finds it."""
    module = strict_cupy.module()
    monkeypatch.setitem(sys.modules, "cupy", module)
    monkeypatch.setattr(array_api_compat, "cupy", strict_cupy.standard(), raising=False)
    gpu.connect.cache_clear()
    strict_cupy.crossed.clear()
    strict_cupy.sent.clear()
    yield module
    gpu.connect.cache_clear()


def there(values, order="C", index=0):
    """On the device, as they lie."""
    return strict_cupy.ndarray(np.array(values, order=order), index)


def back(values):
    assert isinstance(values, strict_cupy.ndarray)
    return values.held


def on_device(case, order="C", **options):
    mask = None if case.mask is None else there(case.mask)
    options = {"rows": make(case.rows), "cols": make(case.cols), "reference": case.reference} | options
    a, b = there(case.a.astype(case.dtype)), there(case.b.astype(case.dtype))
    return eot.solve(there(case.cost.astype(case.dtype), order), a, b, epsilon=case.epsilon, mask=mask, **options)


def nothing_large_crossed(shape):
    return max(strict_cupy.crossed, default=0) < min(shape[0] * shape[1], 8 * sum(shape))


@pytest.fixture
def case():
    return random_case(3, 30, 37, epsilon=0.05, cols=("KL", 0.5))


@pytest.mark.sampled(2)
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("cols", PENALTIES, ids=str)
def test_every_method_solves_there_what_the_cpu_solves(method, cols):
    case = random_case(3, 30, 37, epsilon=0.05, cols=cols)
    found = on_device(case, method=method, tol=1e-9, on_failure="raise")
    assert nothing_large_crossed(case.cost.shape)
    expected = case.solve(method=method, tol=1e-9, on_failure="raise")
    for name in ("f", "g", "row_marginal", "col_marginal", "plan"):
        np.testing.assert_allclose(back(getattr(found, name)), getattr(expected, name), rtol=0, atol=CLOSE)
    assert found.value == pytest.approx(expected.value, abs=CLOSE)


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("reference", ["product", "counting"])
def test_orders_dtypes_masks_and_removed_rows(order, dtype, masked, reference):
    case = random_case(5, 25, 20, epsilon=0.1, rows=("KL", 1.0), reference=reference).but(dtype=dtype)
    case.a[3], case.b[7] = 0.0, 0.0
    if masked:
        mask = np.random.default_rng(1).random(case.cost.shape) < 0.8
        mask[2] = False
        case = case.but(mask=mask)
    case = case.but(cost=np.array(case.cost, order=order))
    found, expected = on_device(case, order, tol=1e-7), case.solve(tol=1e-7)
    assert nothing_large_crossed(case.cost.shape)
    assert found.f.dtype == found.plan.dtype == dtype
    np.testing.assert_allclose(back(found.plan), expected.plan, rtol=0, atol=2e-6)
    np.testing.assert_allclose(found.host.f, expected.f, rtol=0, atol=2e-6)
    assert found.problem.reference_mass == pytest.approx(expected.problem.reference_mass, rel=1e-12)
    if not masked:
        np.testing.assert_allclose(found.bounds(), expected.bounds(), rtol=0, atol=2e-6)
        np.testing.assert_allclose(back(found.rounded_plan()), expected.rounded_plan(), rtol=0, atol=2e-6)


@pytest.mark.parametrize("masked", [False, True])
def test_rounded_plans_meet_both_sides_to_the_last_digits(masked):
    case = random_case(6, 25, 20, epsilon=0.1)
    if masked:
        case = case.but(mask=np.random.default_rng(1).random(case.cost.shape) < 0.8)
    found = on_device(case, tol=1e-4)
    plan, problem = back(found.rounded_plan()), found.problem
    assert (plan[~case.allowed] == 0.0).all()
    # A rounding for each addition when it was made, and here.
    np.testing.assert_allclose(plan.sum(axis=1), problem.a, rtol=80 * 2.0**-53)
    np.testing.assert_allclose(plan.sum(axis=0), problem.b, rtol=80 * 2.0**-53)


def test_everything_else_of_a_solution(case):
    found, expected = on_device(case, tol=1e-10), case.solve(tol=1e-10)
    x = np.random.default_rng(0).random((37, 2))
    np.testing.assert_allclose(back(found.apply(there(x))), expected.apply(x), rtol=0, atol=CLOSE)
    np.testing.assert_allclose(back(found.apply(there(case.a), axis=0)), expected.apply(case.a, axis=0), atol=CLOSE)
    assert found.transport_cost == pytest.approx(expected.transport_cost, abs=CLOSE)
    assert found.gap == pytest.approx(expected.gap, abs=CLOSE)
    again = eot.solve(there(case.cost), there(case.a), there(case.b), epsilon=0.05, cols=eot.KL(0.5), init=found)
    assert again.n_iter <= 3
    pair = found.f, found.g
    again = eot.solve(there(case.cost), there(case.a), there(case.b), epsilon=0.05, cols=eot.KL(0.5), init=pair)
    assert again.n_iter <= 3
    np.testing.assert_allclose(back(found.log_plan), expected.log_plan, rtol=0, atol=CLOSE / 0.05)
    assert nothing_large_crossed(case.cost.shape)
    rows, cols = found.sample(200, rng=0)
    assert (expected.plan[rows, cols] > 0).all()
    sparse = found.sparse_plan(0.9)
    np.testing.assert_allclose(sparse.toarray(), expected.sparse_plan(0.9).toarray(), rtol=0, atol=CLOSE)


def test_the_cost_is_read_where_it_lies(case):
    cost = there(case.cost)
    assert eot.solve(cost, epsilon=0.1).problem.cost.matrix.held is cost.held
    by_columns = there(case.cost, "F")
    assert np.shares_memory(eot.solve(by_columns, epsilon=0.1).problem.cost.matrix.held, by_columns.held)


def test_views_in_neither_order_are_copied(case):
    wide = np.zeros((60, 37))
    wide[::2] = case.cost
    found = eot.solve(there(wide)[::2, ::-1], epsilon=0.1, tol=1e-10)
    np.testing.assert_allclose(back(found.plan), eot.solve(case.cost[:, ::-1], epsilon=0.1, tol=1e-10).plan, atol=CLOSE)


@pytest.mark.parametrize(("dtype", "result"), [(np.int32, np.float64), (np.float16, np.float16)])
def test_integers_and_halves(dtype, result):
    cost = np.array([[0, 2, 1], [3, 0, 2]]).astype(dtype)
    found = eot.solve(there(cost), epsilon=0.5, tol=1e-6)
    assert found.plan.dtype == result
    expected = eot.solve(cost.astype(float), epsilon=0.5, tol=1e-6)
    np.testing.assert_allclose(found.host.f, expected.f, rtol=0, atol=2e-6)


CELLS = [pytest.param(3e-4, None, True, marks=pytest.mark.slow), (0.05, 12, False)]


@pytest.mark.parametrize(("epsilon", "top_k", "direct"), CELLS)
def test_cells_of_newton_s_systems_stay_there(top_k, epsilon, direct, monkeypatch):
    """Vectors cross, a dozen side by side, either way; and what is factorised on the host, where that is."""
    n, m = 240, 260
    case = random_case(3, n, m, epsilon=epsilon, cols=("KL", 0.5))
    monkeypatch.setattr(direct_solves, "DENSE", m if direct else 0)
    made, sparse_like = [], gpu.Gpu.sparse_like

    def spy(backend, support):
        made.append(int(support.rows.others.size))
        return sparse_like(backend, support)

    monkeypatch.setattr(gpu.Gpu, "sparse_like", spy)
    options = {"method": eot.Newton(top_k=top_k), "tol": 1e-9, "on_failure": "raise"}
    launched = strict_cupy.shim.launched
    launched.clear()
    found = on_device(case, **options)
    assert {"sparse_times", "write_columns<double>"} <= launched
    assert "sparse_gram" in launched or not direct or top_k
    vectors = 5 * (n + m)
    assert max(*made, 0, n * (top_k or 0)) > vectors
    large = [size for size in (*strict_cupy.crossed, *strict_cupy.sent) if size > vectors]
    assert set(large) <= ({m * m} if direct else set())
    assert not set(large) & set(strict_cupy.sent)
    expected = case.solve(**options)
    np.testing.assert_allclose(found.host.f, expected.f, rtol=0, atol=CLOSE)
    np.testing.assert_allclose(back(found.plan), expected.plan, rtol=0, atol=CLOSE)


def test_a_number_of_iterations(case):
    found, expected = on_device(case, tol=0, max_iter=4), case.solve(tol=0, max_iter=4)
    np.testing.assert_allclose(back(found.plan), expected.plan, rtol=1e-12, atol=1e-15)


def compare(found, expected, names=("cost", "a", "b", "epsilon", "rows", "cols")):
    """Matrices of derivatives stay on the device."""
    for name in names:
        x, y = getattr(found, name), getattr(expected, name)
        x = back(x) if name in ("cost", "plan") else x
        np.testing.assert_allclose(x, y, rtol=1e-6, atol=1e-7 * np.abs(y).max())


@pytest.mark.sampled(2)
@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("budget", [False, True])
def test_derivatives(case, order, masked, budget):
    rng = np.random.default_rng(7)
    bar, f_bar, step = rng.normal(size=case.cost.shape), rng.normal(size=30), rng.normal(size=case.cost.shape)
    if masked:
        case = case.but(mask=rng.random(case.cost.shape) < 0.9)
    case.a[4] = 0.0
    options = {"tol": 0, "max_iter": 5} if budget else {"tol": 1e-12}
    found, expected = on_device(case, order, **options), case.solve(**options)
    compare(found.vjp(there(bar), there(f_bar)), expected.vjp(bar, f_bar))
    direction = {"a": rng.normal(size=30), "epsilon": 0.3, "cols": 0.2}
    moved = found.jvp(cost=there(step), **direction)
    compare(moved, expected.jvp(cost=step, **direction), ("plan", "f", "g"))
    if not budget:
        compare(found.gradients(), expected.gradients())
        compare(found.hvp(cost=there(step), **direction), expected.hvp(cost=step, **direction))
    assert nothing_large_crossed(case.cost.shape)


def test_a_system_that_is_nearly_singular_is_decomposed_there():
    """Two parts that hardly any mass links."""
    cost = np.kron(1.0 - np.eye(2), np.ones((4, 4))) + 0.1 * np.random.default_rng(0).random((8, 8))
    bar = np.random.default_rng(1).normal(size=(8, 8))
    found, expected = (eot.solve(x, epsilon=0.02, tol=1e-12) for x in (there(cost), cost))
    one, other = found.vjp(plan=there(bar)).cost, expected.vjp(plan=bar).cost
    np.testing.assert_allclose(back(one), other, rtol=0, atol=1e-5 * np.abs(other).max())


@pytest.mark.parametrize("masked", [False, True])
def test_a_divergence(masked):
    x, y = np.linspace(0.0, 1.0, 12), np.linspace(0.2, 1.4, 15)
    costs = [(p[:, None] - q) ** 2 for p, q in ((x, y), (x, x), (y, y))]
    if masked:
        costs[0][0, 0] = np.inf
    found = eot.divergence(*map(there, costs), epsilon=0.1, tol=1e-9)
    expected = eot.divergence(*costs, epsilon=0.1, tol=1e-9)
    assert found.value == pytest.approx(expected.value, abs=CLOSE)
    assert isinstance(found.cross.f, strict_cupy.ndarray)
    one, other = found.gradients(), expected.gradients()
    compare(one, other, ("a", "b", "epsilon"))
    np.testing.assert_allclose(back(one.cost_xx), other.cost_xx, rtol=0, atol=CLOSE)


def test_a_divergence_needs_symmetric_costs():
    cost = np.abs(np.subtract.outer(np.arange(5.0), np.arange(5.0)))
    wrong = cost.copy()
    wrong[1, 3] = 9.0
    with pytest.raises(ValueError, match=r"cost_xx\[1, 3\] is 9.0 and cost_xx\[3, 1\] is 2.0"):
        eot.divergence(there(cost), there(wrong), there(cost), epsilon=1.0)


def batch_case(masked=False):
    rng = np.random.default_rng(11)
    given = {"a": rng.random((3, 1, 8)) + 0.1, "b": rng.random((4, 9)) + 0.1, "epsilon": [0.1, 0.2, 0.3, 0.1]}
    if masked:
        given["mask"] = rng.random((3, 1, 8, 9)) < 0.9
    return rng.random((4, 8, 9)), given


def on_device_batch(cost, given, **options):
    made = {name: there(x) if isinstance(x, np.ndarray) else x for name, x in given.items()}
    return eot.solve(there(cost), **made, **options)


def on_host_batch(cost, given, **options):
    return eot.solve(cost, **given, **options)


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("method", ["auto", "log", "newton"])
def test_batches_of_arrays_that_broadcast(masked, method):
    cost, given = batch_case(masked)
    options = {"rows": eot.KL(0.5), "cols": eot.TV(1.0), "tol": 1e-9, "method": method}
    found, expected = on_device_batch(cost, given, **options), eot.solve(cost, **given, **options)
    assert nothing_large_crossed((12, 72)) or masked
    np.testing.assert_array_equal(found.converged, expected.converged)
    x = np.random.default_rng(0).random((4, 9, 2))
    for one, other in (
        *((getattr(found, name), getattr(expected, name)) for name in ("f", "g", "row_marginal", "plan")),
        (found.log_plan, expected.log_plan),
        *((found.apply(there(x)), expected.apply(x)), (found.rounded_plan(), expected.rounded_plan())),
        (found[1, 2].plan, expected[1, 2].plan),
    ):
        assert one.shape == other.shape
        np.testing.assert_allclose(back(one), other, rtol=0, atol=CLOSE)
    for name in ("gap", "transport_cost", "value", "residual"):
        np.testing.assert_allclose(getattr(found, name), getattr(expected, name), rtol=0, atol=CLOSE)
    np.testing.assert_allclose(found.bounds(), expected.bounds(), rtol=0, atol=CLOSE)


def test_a_batch_is_read_where_it_lies_however_its_weights_broadcast():
    cost = there(np.random.default_rng(4).random((2, 4, 5)))
    found = eot.solve(cost, there(np.full((3, 1, 4), 0.25)), epsilon=0.5)
    assert found.plan.shape == (3, 2, 4, 5)
    assert np.shares_memory(found.problem.cost.held, cost.held)


def test_batches_of_several_lengths_in_single_precision():
    cost = np.random.default_rng(2).random((3, 7, 6)).astype(np.float32)
    cost[0, 5:], cost[2, :, 4:], cost[1, 0, 0] = np.nan, np.nan, np.inf
    lengths = {"row_lengths": [5, 7, 7], "col_lengths": [6, 6, 4]}
    found, expected = (eot.solve(x, epsilon=0.2, tol=1e-6, **lengths) for x in (there(cost), cost))
    assert found.plan.dtype == np.float32
    np.testing.assert_allclose(back(found.plan), expected.plan, rtol=0, atol=2e-6)
    np.testing.assert_allclose(back(found.log_plan), expected.log_plan, rtol=0, atol=1e-4)
    assert found.sample(5, rng=0)[0].shape == (3, 5)
    np.testing.assert_allclose(found.problem.reference_mass, expected.problem.reference_mass, rtol=1e-12)


def test_a_number_of_iterations_of_a_batch():
    cost, given = batch_case()
    options = {"rows": eot.KL(0.5), "tol": 0, "max_iter": 3}
    found, expected = on_device_batch(cost, given, **options), eot.solve(cost, **given, **options)
    np.testing.assert_allclose(back(found.plan), expected.plan, rtol=1e-9, atol=1e-12)


def test_derivatives_of_a_batch():
    cost, given = batch_case()
    options = {"rows": eot.KL(0.5), "tol": 1e-12}
    found, expected = on_device_batch(cost, given, **options), eot.solve(cost, **given, **options)
    step = np.random.default_rng(3).normal(size=cost.shape[-2:])
    moved, others = found.jvp(cost=there(step), epsilon=0.1), expected.jvp(cost=step, epsilon=0.1)
    compare(moved, others, ("plan", "f", "g"))
    compare(found.hvp(cost=there(step)), expected.hvp(cost=step))
    strict_cupy.crossed.clear()
    compare(found.gradients(), expected.gradients())
    bar = np.random.default_rng(4).normal(size=(3, *cost.shape))
    compare(found.vjp(plan=there(bar)), expected.vjp(plan=bar))
    found, expected = (x(cost, given, rows=eot.KL(0.5), tol=0, max_iter=3) for x in (on_device_batch, on_host_batch))
    compare(found.vjp(plan=there(bar)), expected.vjp(plan=bar))
    assert nothing_large_crossed((12, 72))


@pytest.mark.parametrize(
    ("cost", "options", "message"),
    [
        (np.ones((0, 2, 3)), {}, r"cost has shape \(0, 2, 3\)"),
        (np.where(np.arange(12).reshape(2, 2, 3) == 8, np.nan, 1.0), {}, r"cost\[1, 0, 2\] is nan"),
        (np.where(np.arange(12).reshape(2, 2, 3) == 8, -np.inf, 1.0), {}, r"cost\[1, 0, 2\] is -inf"),
        (np.where(np.arange(12).reshape(2, 2, 3) < 9, 1.0, np.inf), {}, r"problem \[1\]: row 1 has only forbidden"),
        (np.ones((2, 2, 3)), {"mask": np.ones((3, 2, 3), bool)}, r"cost has leading dimensions \(2,\) and mask \(3,\)"),
        (np.ones((2, 2, 3)), {"mask": np.ones((2, 3))}, "mask has dtype float64"),
        (np.ones((2, 2, 3)), {"a": np.array([[1.0, 1.0], [1.0, np.nan]])}, r"a\[1, 1\] is nan"),
    ],
)
def test_mistakes_in_a_batch_are_named_as_on_the_host(cost, options, message):
    for make_array in (np.array, there):
        with pytest.raises((TypeError, ValueError), match=message):
            eot.solve(make_array(cost), epsilon=0.5, **{name: make_array(x) for name, x in options.items()})


def test_everything_happens_on_the_device_of_the_cost():
    """The second one, while the first one is current."""
    rng = np.random.default_rng(8)
    cost, costs, bar = rng.random((12, 15)), rng.random((3, 5, 6)), rng.random((12, 15))
    one, other = eot.solve(there(cost, index=1), epsilon=0.1, tol=1e-10), eot.solve(cost, epsilon=0.1, tol=1e-10)
    assert one.f.device.id == one.plan.device.id == 1
    np.testing.assert_allclose(back(one.plan), other.plan, rtol=0, atol=CLOSE)
    np.testing.assert_allclose(back(one.apply(there(np.ones(15), index=1))), other.row_marginal, rtol=0, atol=CLOSE)
    assert one.gap == pytest.approx(other.gap, abs=CLOSE)
    assert one.bounds() == pytest.approx(other.bounds(), abs=CLOSE)
    assert one.transport_cost == pytest.approx(other.transport_cost, abs=CLOSE)
    assert one.rounded_plan().device.id == one.gradients().cost.device.id == 1
    compare(one.vjp(plan=there(bar, index=1)), other.vjp(plan=bar))
    assert one.jvp(cost=there(bar, index=1)).plan.device.id == one.hvp(epsilon=1.0).cost.device.id == 1
    one.sparse_plan()
    batch = eot.solve(there(costs, index=1), epsilon=0.1)
    assert batch.plan.device.id == batch[1].plan.device.id == batch.rounded_plan().device.id == 1
    assert batch.gap.max() < 1e-4
    assert batch.gradients().cost.device.id == batch.vjp(f=np.ones((3, 5))).cost.device.id == 1
    assert batch.transport_cost.min() > 0
    assert batch.apply(there(np.ones((6, 1)), index=1)).device.id == batch.jvp(epsilon=1.0).plan.device.id == 1
    square = there(np.abs(np.subtract.outer(np.arange(4.0), np.arange(4.0))), index=1)
    assert eot.divergence(square, square, square, epsilon=0.5).gradients().cost_xx.device.id == 1


def broken(index, value):
    cost = np.ones((4, 5))
    cost[index] = value
    return cost


BAD = [
    (broken((2, 3), np.nan), {}, ValueError, r"cost\[2, 3\] is nan; costs must be numbers"),
    (broken((1, 0), -np.inf), {}, ValueError, r"cost\[1, 0\] is -inf; costs must be > -inf"),
    (broken(slice(None), np.inf), {}, eot.InfeasibleError, "every cell of cost is forbidden"),
    (broken(2, np.inf), {}, eot.InfeasibleError, "row 2 has only forbidden cells"),
    (np.ones((0, 5)), {}, ValueError, r"cost has shape \(0, 5\)"),
    (np.ones((5, 0)), {}, ValueError, r"cost has shape \(5, 0\)"),
    (np.ones(5), {}, ValueError, r"cost has shape \(5,\)"),
    (np.ones((4, 5), complex), {}, TypeError, "cost has dtype complex128"),
    (np.ones((4, 5)), {"mask": np.ones((5, 4), bool)}, ValueError, r"mask has shape \(5, 4\)"),
    (np.ones((4, 5)), {"mask": np.ones((4, 5))}, TypeError, "mask has dtype float64"),
    (np.ones((4, 5)), {"mask": np.zeros((4, 5), bool)}, eot.InfeasibleError, "every cell"),
    (broken((1, 1), np.nan), {"mask": broken((1, 1), 0) > 0}, ValueError, r"cost\[1, 1\] is nan"),
    (np.ones((4, 5)), {"a": np.array([1.0, -1.0, 1.0, 1.0])}, ValueError, r"a\[1\] is -1.0"),
    (np.ones((4, 5)), {"b": np.ones(4)}, ValueError, "b has 4 entries, cost has 5 columns"),
]


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize(("cost", "options", "kind", "message"), BAD)
def test_mistakes_are_named_as_on_the_host(cost, options, kind, message, order):
    with pytest.raises(kind, match=message) as on_host:
        eot.solve(np.array(cost, order=order), epsilon=0.5, **options)
    with pytest.raises(kind, match=message) as on_device:
        eot.solve(there(cost, order), epsilon=0.5, **{name: there(x) for name, x in options.items()})
    assert str(on_host.value) == str(on_device.value)


def test_validation_looks_at_some_rows_at_a_time(monkeypatch):
    cost = np.random.default_rng(0).random((9, 11))
    cost[8, 10] = np.nan
    monkeypatch.setattr(memory, "DEVICE_CHUNK", 22)
    with pytest.raises(ValueError, match=r"cost\[8, 10\] is nan"):
        eot.solve(there(cost), epsilon=0.5)
    cost[8, 10] = np.inf
    found, expected = (eot.solve(x, epsilon=0.5, rows=eot.KL(1.0)) for x in (there(cost), cost))
    assert found.problem.reference_mass == pytest.approx(expected.problem.reference_mass)
    assert found.problem.cost.highest == expected.problem.cost.highest


def test_arrays_of_two_places_do_not_mix():
    cost = np.ones((4, 5))
    with pytest.raises(TypeError, match=r"cost is a cupy.ndarray on <CUDA Device 0> and a a numpy.ndarray"):
        eot.solve(there(cost), np.ones(4) / 4, epsilon=0.5)
    with pytest.raises(TypeError, match=r"cost is a numpy.ndarray and a a cupy.ndarray on <CUDA Device 0>"):
        eot.solve(cost, there(np.ones(4) / 4), epsilon=0.5)
    with pytest.raises(TypeError, match=r"on <CUDA Device 0> and b a cupy.ndarray on <CUDA Device 1>"):
        eot.solve(there(cost), None, there(np.ones(5) / 5, index=1), epsilon=0.5)
    found = eot.solve(there(cost), epsilon=0.5)
    with pytest.raises(TypeError, match="and x a numpy"):
        found.apply(np.ones(5))
    with pytest.raises(TypeError, match="plan is on the host and the cost on cuda:0"):
        found.vjp(plan=cost)
    with pytest.raises(TypeError, match="cost is on cuda:0 and the cost on the host"):
        eot.solve(cost, epsilon=0.5).jvp(cost=there(cost))


def test_lists_go_with_every_array():
    found = eot.solve(there([[0.0, 1.0], [1.0, 0.5]]), [0.5, 0.5], [0.25, 0.75], epsilon=0.5, mask=[[True] * 2] * 2)
    assert isinstance(found.g, strict_cupy.ndarray)


@pytest.mark.parametrize("call", [eot.assign, eot.exact])
def test_what_the_host_computes_refuses_arrays_of_a_device(call):
    with pytest.raises(TypeError, match=rf"cost is on <CUDA Device 0>; {call.__name__} computes on the host"):
        call(there(np.eye(3)))
    with pytest.raises(TypeError, match="mask is on"):
        call(np.eye(3), mask=there(np.ones((3, 3), bool)))


def test_a_plan_is_drawn_from_the_device(case):
    pytest.importorskip("matplotlib")
    assert on_device(case).plot().axes


def test_a_solve_on_the_cpu_never_imports_cupy():
    code = (
        "import sys, elastic_ot as eot, numpy as np; eot.solve(np.eye(3), epsilon=0.5).gradients(); "
        "eot.solve(np.ones((2, 3, 3)), epsilon=0.5); assert 'cupy' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=300)


class Tensor:
    """An array of another library, on a device."""

    __array_ufunc__ = None
    dtype, device = np.dtype(np.float64), "cuda:0"

    def __init__(self, held):
        self.held, self.shape, self.ndim = held, held.shape, held.ndim

    def __array_namespace__(self, **options):
        return types.SimpleNamespace(__name__="tensors", from_dlpack=lambda x: Tensor(x.held), float64=self.dtype)

    def __dlpack__(self, **options):
        return self.held

    def __dlpack_device__(self):
        return 2, 0


def test_arrays_of_other_libraries_share_their_memory_and_get_theirs_back(case):
    cost = Tensor(case.cost)
    found, expected = (eot.solve(x, epsilon=0.1, tol=1e-10) for x in (cost, case.cost))
    assert found.problem.cost.matrix.held is cost.held
    for name in ("f", "plan"):
        assert isinstance(getattr(found, name), Tensor)
        np.testing.assert_allclose(getattr(found, name).held, getattr(expected, name), rtol=0, atol=CLOSE)


def test_tensors_of_torch_are_computed_with_on_their_current_stream(xp, monkeypatch):
    torch = pytest.importorskip("torch")
    monkeypatch.setattr(torch.cuda, "current_stream", lambda index: types.SimpleNamespace(cuda_stream=7 + index))
    entered = []

    @contextmanager
    def stream(pointer, index):
        entered.append((pointer, index))
        yield

    xp.cuda.ExternalStream = stream
    with Origin(array_api_compat.array_namespace(torch.zeros(1)), index=1).here():
        assert entered == [(8, 1)]
    with Origin(xp, index=1).here():
        assert len(entered) == 1


@pytest.fixture
def shared(monkeypatch):
    """A context in which the operators of elastic_ot.torch see tensors as if they lay on a device."""
    torch = pytest.importorskip("torch")
    operators = importlib.import_module("elastic_ot.frameworks.torch_calls")

    def received(name, tensor):
        values = tensor.numpy(force=True)
        return strict_cupy.ndarray(values) if name in ("cost", "plan", "log_plan") else values

    def given_back(values, device):
        return torch.from_numpy(values.held if isinstance(values, strict_cupy.ndarray) else values)

    def use():
        monkeypatch.setattr(operators, "_received", received)
        monkeypatch.setattr(operators, "_given_back", given_back)
        monkeypatch.setattr(operators, "_lies_here", lambda tensor: False)

    return use


@pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated:DeprecationWarning")
@pytest.mark.parametrize("options", [{}, {"grad": "unroll", "max_iter": 4}], ids=["implicit", "unroll"])
def test_operators_of_torch_work_there_forwards_and_backwards(shared, options):
    torch, eot_torch = pytest.importorskip("torch"), importlib.import_module("elastic_ot.torch")
    cost, bar = torch.tensor(np.random.default_rng(5).random((2, 20, 25)))
    moves = torch.tensor(np.random.default_rng(6).random((20, 25)))

    def answers():
        given = cost.clone().requires_grad_(), torch.full((20,), 0.05, dtype=torch.float64, requires_grad=True)
        epsilon = torch.tensor(0.2, dtype=torch.float64, requires_grad=True)
        plan = eot_torch.plan(*given, epsilon=epsilon, cols=eot.KL(0.5), **options)
        f, g = eot_torch.potentials(*given, epsilon=epsilon, cols=eot.KL(0.5), **options)
        logs = eot_torch.log_plan(*given, epsilon=epsilon, cols=eot.KL(0.5), **options)
        loss = (plan * bar).sum() + (f**2).sum() + g[0] + (logs * bar).sum() / 400
        found = [plan, f, logs, *torch.autograd.grad(loss, (*given, epsilon))]
        if not options:
            value = eot_torch.value(*given, epsilon=epsilon, cols=eot.KL(0.5))
            (first,) = torch.autograd.grad(value, given[0], create_graph=True)
            found += [value, first, *torch.autograd.grad((first * bar).sum(), given)]
            forward = torch.func.jvp(lambda x: eot_torch.plan(x, epsilon=0.2), (cost,), (moves,))
            found += [*forward]
            found += [*torch.func.jvp(lambda x: eot_torch.log_plan(x, epsilon=0.2), (cost,), (moves,))]
            value = eot_torch.value(given[0], given[1], epsilon=0.2)
            (first,) = torch.autograd.grad(value, given[1], create_graph=True)
            found += [*torch.autograd.grad(first[0], given)]
        return [x.detach().numpy() for x in found]

    expected = answers()
    shared()
    strict_cupy.crossed.clear()
    for one, other in zip(answers(), expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-6, atol=1e-8)
    assert strict_cupy.crossed
    assert max(strict_cupy.crossed) < cost.numel()


def test_operators_of_torch_solve_batches_there(shared):
    torch, eot_torch = pytest.importorskip("torch"), importlib.import_module("elastic_ot.torch")
    costs = torch.tensor(np.random.default_rng(5).random((3, 6, 7)), dtype=torch.float32)
    expected = eot_torch.plan(costs, epsilon=0.2)
    shared()
    found = eot_torch.plan(costs, epsilon=0.2)
    assert found.dtype == torch.float32
    np.testing.assert_allclose(found.numpy(), expected.numpy(), rtol=0, atol=2e-6)
    one_cost = eot_torch.plan(costs[0], torch.full((3, 6), 1 / 6), epsilon=0.2)
    np.testing.assert_allclose(one_cost[2].numpy(), expected[0].numpy(), rtol=0, atol=2e-6)


class Missing:
    """Finds no CuPy."""

    def find_spec(self, name, *rest):
        if name == "cupy":
            raise ImportError("no CuPy")


def test_without_cupy_a_cost_on_a_device_says_what_to_install(monkeypatch):
    monkeypatch.delitem(sys.modules, "cupy")
    monkeypatch.setattr(sys, "meta_path", [Missing(), *sys.meta_path])
    with pytest.raises(eot.BackendUnavailable, match="pip install"):
        eot.solve(Tensor(np.eye(3)), epsilon=0.5)
