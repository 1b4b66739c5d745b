"""Costs in float16 and bfloat16 on a device are solved as they lie, on the stand-in of `test_gpu_arrays`.

The oracle is the same values in float32, of which nothing is rounded on the way to 16 bits: kernels compute the same
with both, to the bit, and array operations on chunks in float32 do. What differs is how many cells Newton's method may
keep, which depends on the cost's memory.
"""

import sys
import types

import array_api_compat
import numpy as np
import pytest

import elastic_ot as eot
from elastic_ot.arrays import devices as memory
from elastic_ot.arrays import half as halves
from elastic_ot.arrays import ingest as arrays
from elastic_ot.backends import gpu
from helpers import gpu_shim
from helpers.gpu_shim import strict_cupy
from helpers.oracle import METHODS

pytestmark = pytest.mark.skipif(gpu_shim.compiler() is None, reason="needs g++, which builds the kernels for the host")

EPSILON = 0.1
CLOSE = 1e-8  # both are solved to 1e-9
ROUNDED = {"float16": 2.0**-11, "bfloat16": 2.0**-8}  # of a result in the dtype of the cost, relative
LEAST = {"float16": 2.0**-25, "bfloat16": 0.0}  # the same where float16 has no normal numbers
PENALTIES = [eot.KL(0.5), eot.TV(0.3), eot.L2(0.4), eot.Between(0.5, 1.2), eot.AtMost(), eot.Free(), eot.Elastic(0.5)]


@pytest.fixture(autouse=True)
def xp(monkeypatch):
    """CuPy's stand-in, as the package finds it; validation looks at two rows at a time."""
    module = strict_cupy.module()
    monkeypatch.setitem(sys.modules, "cupy", module)
    monkeypatch.setattr(array_api_compat, "cupy", strict_cupy.standard(), raising=False)
    monkeypatch.setattr(memory, "DEVICE_CHUNK", 50)
    gpu.connect.cache_clear()
    yield module
    gpu.connect.cache_clear()


@pytest.fixture(params=["float16", "bfloat16"])
def kind(request):
    if request.param == "bfloat16":
        pytest.importorskip("ml_dtypes")  # whose dtype CuPy takes for it
    return request.param


def dtype_of(kind):
    return np.dtype(np.float16) if kind == "float16" else np.dtype(sys.modules["ml_dtypes"].bfloat16)


def there(values, dtype=None, order="C"):
    return strict_cupy.ndarray(np.array(values, dtype, order=order), 0)


def pair(values, kind, order="C"):
    """On the device in 16 bits, and the same values in float32."""
    half = np.asarray(values).astype(dtype_of(kind))
    return there(half, order=order), there(half.astype(np.float32), order=order)


def both(values, kind, order="C", **options):
    """The solutions of both, with weights in float64."""
    options = {"epsilon": EPSILON, "tol": 1e-9} | options
    half, single = pair(values, kind, order)
    return eot.solve(half, **options), eot.solve(single, **options)


def same(found, expected, kind):
    """Potentials are in float64 on the host, results rounded to the dtype of the cost."""
    assert found.plan.dtype == found.f.dtype == dtype_of(kind)
    np.testing.assert_allclose(found.host.f, expected.host.f, rtol=0, atol=CLOSE)
    np.testing.assert_allclose(found.host.g, expected.host.g, rtol=0, atol=CLOSE)
    plan = found.plan.held.astype(np.float64)
    # potentials that differ by CLOSE move a cell by a share CLOSE / epsilon of it, far below the rounding
    np.testing.assert_allclose(plan, expected.plan.held, rtol=1.001 * ROUNDED[kind], atol=LEAST[kind])
    np.testing.assert_allclose(found.value, expected.value, rtol=0, atol=CLOSE)


def cost_of(shape=(20, 23), seed=3):
    return np.random.default_rng(seed).random(shape)


def forbidding(cost):
    """With some cells forbidden."""
    return np.where(np.random.default_rng(1).random(cost.shape) < 0.1, np.inf, cost)


@pytest.mark.parametrize("method", METHODS)
def test_every_method_solves_the_values(method, kind):
    same(*both(cost_of(), kind, method=method, cols=eot.KL(0.5), on_failure="raise"), kind)


@pytest.mark.parametrize("rows", PENALTIES, ids=repr)
def test_every_penalty_has_their_solution(rows, kind):
    same(*both(cost_of(), kind, rows=rows, cols=eot.KL(1.0), on_failure="raise"), kind)


@pytest.mark.parametrize("method", ["auto", "log", "newton"])
def test_a_tolerance_for_single_precision_is_met_as_in_float32(method, kind):
    found, expected = both(cost_of(), kind, method=method, tol=1e-5)
    assert found.converged
    assert found.n_iter == expected.n_iter
    np.testing.assert_allclose(found.host.f, expected.host.f, rtol=0, atol=1e-7)  # 2e-7 of it were it not the same sums


@pytest.mark.sampled(2)
@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("reference", ["product", "counting"])
@pytest.mark.parametrize("way", ["entries", "mask", "both"])
def test_forbidden_cells_and_removed_rows(order, reference, way, kind):
    cost = cost_of()
    mask = np.isfinite(forbidding(cost.T)).T if way != "entries" else None
    cost = cost if way == "mask" else forbidding(cost)
    a, b = np.full(20, 0.05), np.full(23, 1 / 23)
    a[3], b[7] = 0.0, 0.0
    options = {"a": there(a), "b": there(b), "rows": eot.KL(1.0), "reference": reference}
    options |= {} if mask is None else {"mask": there(mask)}
    found, expected = both(cost, kind, order, **options)
    same(found, expected, kind)
    assert found.problem.reference_mass == pytest.approx(expected.problem.reference_mass, rel=1e-15)
    assert found.problem.cost.lowest == expected.problem.cost.lowest
    assert found.problem.cost.highest == expected.problem.cost.highest


def test_everything_else_of_a_solution(kind):
    found, expected = both(cost_of(), kind, cols=eot.KL(0.5))
    x = there(np.random.default_rng(0).random((23, 2)))
    one, other = found.apply(x).held.astype(float), expected.apply(x).held
    np.testing.assert_allclose(one, other, rtol=1.001 * ROUNDED[kind], atol=CLOSE)
    assert found.gap == pytest.approx(expected.gap, abs=CLOSE)
    assert found.transport_cost == pytest.approx(expected.transport_cost, abs=CLOSE)
    np.testing.assert_allclose(found.bounds(), expected.bounds(), rtol=0, atol=CLOSE)
    np.testing.assert_allclose(
        found.sparse_plan(0.9).toarray(), expected.sparse_plan(0.9).toarray(), rtol=0, atol=CLOSE
    )
    half, _ = pair(cost_of(), kind)
    assert eot.solve(half, epsilon=EPSILON, cols=eot.KL(0.5), init=found).n_iter <= 3
    assert eot.solve(half, epsilon=EPSILON, cols=eot.KL(0.5), init=(found.f, found.g)).n_iter <= 100


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("budget", [False, True])
def test_derivatives_are_those_at_the_values(masked, budget, kind):
    rng = np.random.default_rng(7)
    cost, bar, step = cost_of((9, 11)), there(rng.normal(size=(9, 11))), there(rng.normal(size=(9, 11)))
    a = rng.random(9)
    a[4] = 0.0
    options = {"tol": 0, "max_iter": 5} if budget else {"tol": 1e-12}
    given = forbidding(cost) if masked else cost
    found, expected = both(given, kind, a=there(a), cols=eot.KL(0.5), **options)
    moves = {"cost": step, "a": np.ones(9), "epsilon": 0.3, "cols": 0.2}
    calls = [lambda s: s.vjp(bar, there(np.ones(9))), lambda s: s.jvp(**moves | {"a": there(np.ones(9))})]
    calls += [] if budget else [lambda s: s.gradients(), lambda s: s.hvp(**moves | {"a": there(np.ones(9))})]
    for call in calls:
        one, other = call(found), call(expected)
        for name, x in ((name, x) for name, x in vars(one).items() if x is not None):
            x, y = (getattr(z, "held", z) for z in (x, getattr(other, name)))
            # the linear system amplifies the rounding of float64 by its condition
            np.testing.assert_allclose(x, y, rtol=0, atol=1e-7 * (1.0 + np.abs(y).max()))


LARGE = 80, 90  # beyond all vectors of a call together


def watched(monkeypatch, call):
    """What `call` returns, and the dtypes of the arrays of `LARGE` it made, each counted once."""
    monkeypatch.setattr(strict_cupy, "watched", [])
    found = call()
    kept = {x.__array_interface__["data"][0]: x.dtype for x in strict_cupy.watched if x.size >= LARGE[0] * LARGE[1]}
    monkeypatch.setattr(strict_cupy, "watched", None)
    return found, sorted(map(str, kept.values()))


# what a method stores, besides the cost in 16 bits; a result has one matrix more in float32, rounded to that of 16 bits
STORED = [("log", []), ("scaling", ["float32"]), ("stabilized", ["float32"]), ("auto", ["float32"])]
STORED += [("epsilon_scaling", ["float32"]), ("newton", ["float32"])]


@pytest.mark.sampled(2)
@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize(("method", "stored"), STORED)
def test_the_cost_is_nowhere_in_float32(method, stored, order, kind, monkeypatch):
    half, _ = pair(cost_of(LARGE), kind, order)
    options = {"epsilon": EPSILON, "method": method, "tol": 1e-5, "cols": eot.KL(0.5)}
    found, made = watched(monkeypatch, lambda: eot.solve(half, **options))
    assert np.shares_memory(found.problem.cost.matrix.held, half.held)
    large = [x for x in made if x.startswith("float") and x != "float16"]
    assert large == stored
    checks = [lambda: found.gap, lambda: found.transport_cost, lambda: found.problem.reference_mass]
    for check in checks:
        assert watched(monkeypatch, check)[1] in ([], ["uint16"], ["float16"])


def test_a_mask_costs_one_copy_in_16_bits(kind, monkeypatch):
    half, _ = pair(cost_of(LARGE), kind)
    mask = there(np.random.default_rng(0).random(LARGE) < 0.9)
    call = lambda: eot.solve(half, epsilon=EPSILON, mask=mask, method="log", rows=eot.KL(1.0))  # noqa: E731
    made = watched(monkeypatch, call)[1]
    bits = "uint16" if kind == "bfloat16" else "float16"
    assert made.count(bits) <= 2  # the bits of bfloat16 as they came are one, too
    assert set(made) <= {"bool", bits}


def test_no_sum_overflows(kind):
    """Numbers up to the largest of float16: sums of a few are beyond it."""
    cost = np.where(np.eye(6, dtype=bool), 0.0, 65000.0)
    cost[0, 1] = 1.0
    found, expected = both(cost, kind, epsilon=2e4, tol=1e-10)
    assert found.problem.cost.highest == expected.problem.cost.highest > 64000.0
    assert found.transport_cost == pytest.approx(expected.transport_cost, rel=1e-12)
    assert found.gap == pytest.approx(expected.gap, abs=1e-4)  # 2e-9 of the largest cost
    np.testing.assert_allclose(found.gradients().epsilon, expected.gradients().epsilon, rtol=1e-8)
    stack = np.stack([cost, -cost])
    batch, others = both(stack, kind, epsilon=2e4, tol=1e-10)
    assert batch.problem.largest == others.problem.largest
    np.testing.assert_allclose(batch.transport_cost, others.transport_cost, rtol=1e-9)


def broken(index, value):
    cost = np.ones((4, 5))
    cost[index] = value
    return cost


BAD = [
    (broken((2, 3), np.nan), {}, r"cost\[2, 3\] is nan; costs must be numbers"),
    (broken((1, 0), -np.inf), {}, r"cost\[1, 0\] is -inf; costs must be > -inf"),
    (broken(slice(None), np.inf), {}, "every cell of cost is forbidden"),
    (broken(2, np.inf), {}, "row 2 has only forbidden cells"),
    (np.ones((0, 5)), {}, r"cost has shape \(0, 5\)"),
    (np.ones(5), {}, r"cost has shape \(5,\)"),
    (broken((1, 1), np.nan), {"mask": broken((1, 1), 0) > 0}, r"cost\[1, 1\] is nan"),
    (np.stack([broken(0, 1), broken((2, 3), np.nan)]), {}, r"cost\[1, 2, 3\] is nan"),
    (np.stack([broken(0, 1), broken((2, 3), -np.inf)]), {}, r"cost\[1, 2, 3\] is -inf"),
    (np.stack([broken(0, 1), broken(2, np.inf)]), {}, r"problem \[1\]: row 2 has only forbidden cells"),
]


@pytest.mark.parametrize(("cost", "options", "message"), BAD)
def test_mistakes_are_named_as_in_float32(cost, options, message, kind):
    for values in pair(cost, kind):
        with pytest.raises(ValueError, match=message):
            eot.solve(values, epsilon=0.5, **{name: there(x) for name, x in options.items()})


BATCHES = [
    {"tol": 1e-9},
    {"tol": 1e-9, "method": "newton"},
    {"tol": 0, "max_iter": 4},
    {"tol": 0, "max_iter": 4, "epsilon": 0.01},
]


@pytest.mark.parametrize("options", BATCHES, ids=str)
@pytest.mark.parametrize("masked", [pytest.param(False, marks=pytest.mark.slow), True])
def test_batches(options, masked, kind):
    cost = cost_of((4, 6, 7))
    given = {"epsilon": 0.2, "rows": eot.KL(0.5), "cols": eot.TV(1.0)} | options
    if masked:
        given["mask"] = there(np.random.default_rng(2).random((4, 6, 7)) < 0.9)
    found, expected = both(cost, kind, **given)
    np.testing.assert_array_equal(found.status, expected.status)
    for name in ("f", "g"):
        np.testing.assert_allclose(getattr(found.host, name), getattr(expected.host, name), rtol=0, atol=CLOSE)
    assert found.plan.dtype == found[1].plan.dtype == dtype_of(kind)
    for one, other in ((found.plan, expected.plan), (found[1].plan, expected[1].plan)):
        one = one.held.astype(np.float64)
        np.testing.assert_allclose(one, other.held, rtol=1.001 * ROUNDED[kind], atol=LEAST[kind])
    for name in ("transport_cost", "gap", "value"):
        np.testing.assert_allclose(getattr(found, name), getattr(expected, name), rtol=0, atol=CLOSE)
    reference = expected.problem.reference_mass
    np.testing.assert_allclose(found.problem.reference_mass, reference, rtol=1e-15)


def test_a_batch_of_several_lengths_reads_nothing_beyond(kind):
    cost = cost_of((3, 7, 6))
    cost[0, 5:], cost[2, :, 4:], cost[1, 0, 0] = np.nan, np.nan, np.inf
    found, expected = both(cost, kind, row_lengths=[5, 7, 7], col_lengths=[6, 6, 4])
    np.testing.assert_allclose(found.host.f, expected.host.f, rtol=0, atol=CLOSE)
    np.testing.assert_allclose(found.transport_cost, expected.transport_cost, rtol=0, atol=CLOSE)
    for k in range(3):
        assert found[k].problem.cost.matrix.dtype.itemsize == 2
        assert found[k].gap == pytest.approx(found.gap[k], abs=CLOSE)
        np.testing.assert_allclose(found[k].host.f, expected[k].host.f, rtol=0, atol=CLOSE)


@pytest.mark.parametrize("budget", [False, True])
@pytest.mark.parametrize("lengths", [{}, {"row_lengths": [5, 6, 6]}])
def test_derivatives_of_a_batch(budget, lengths, kind):
    cost, bar = cost_of((3, 6, 7)), there(np.random.default_rng(4).normal(size=(3, 6, 7)))
    options = {"tol": 0, "max_iter": 4} if budget else {"tol": 1e-12}
    found, expected = both(cost, kind, epsilon=0.2, rows=eot.KL(0.5), **options, **lengths)
    pairs = [(found.vjp(plan=bar), expected.vjp(plan=bar))]
    pairs += [] if budget else [(found.gradients(), expected.gradients())]
    for one, other in pairs:
        assert one.cost.dtype == other.cost.dtype == np.float32
        for name, x in ((name, x) for name, x in vars(one).items() if x is not None):
            x, y = (getattr(z, "held", z) for z in (x, getattr(other, name)))
            np.testing.assert_allclose(x, y, rtol=0, atol=2e-6 * (1.0 + np.abs(y).max()))  # made in float32


def test_a_divergence(kind):
    x, y = np.linspace(0.0, 1.0, 8), np.linspace(0.2, 1.4, 9)
    costs = [pair(np.subtract.outer(p, q) ** 2, kind) for p, q in ((x, y), (x, x), (y, y))]
    found, expected = (eot.divergence(*given, epsilon=0.1, tol=1e-9) for given in zip(*costs, strict=True))
    assert found.value == pytest.approx(expected.value, abs=CLOSE)
    np.testing.assert_allclose(found.gradients().a, expected.gradients().a, rtol=0, atol=CLOSE)
    wrong = np.abs(np.subtract.outer(np.arange(5.0), np.arange(5.0)))
    right, _ = pair(wrong, kind)
    wrong[1, 3] = 9.0
    with pytest.raises(ValueError, match=r"cost_xx\[1, 3\] is 9.0 and cost_xx\[3, 1\] is 2.0"):
        eot.divergence(right, pair(wrong, kind)[0], right, epsilon=1.0)
    with pytest.raises(ValueError, match=r"cost_xx has shape \(8, 9\)"):
        eot.divergence(costs[0][0], costs[0][0], costs[2][0], epsilon=1.0)


def test_views_in_neither_order_are_copied_in_16_bits(kind):
    half, single = pair(cost_of((12, 9)), kind)
    found, expected = (eot.solve(x[::2, ::-1], epsilon=EPSILON, tol=1e-9) for x in (half, single))
    assert found.problem.cost.matrix.dtype.itemsize == 2
    np.testing.assert_allclose(found.host.f, expected.host.f, rtol=0, atol=CLOSE)


def test_integers_of_16_bits_are_integers():
    cost = np.arange(12, dtype=np.uint16).reshape(3, 4)
    found = eot.solve(there(cost), epsilon=2.0, tol=1e-9)
    assert found.problem.cost.matrix.dtype == np.float64
    np.testing.assert_allclose(found.host.f, eot.solve(cost, epsilon=2.0, tol=1e-9).f, rtol=0, atol=CLOSE)


# The arithmetic on bits, for every number of 16 bits


def test_bits_of_bfloat16_are_read_as_torch_reads_them():
    torch = pytest.importorskip("torch")
    bits = np.arange(1 << 16, dtype=np.uint16).reshape(256, 256)
    values = torch.from_numpy(bits.view(np.int16)).view(torch.bfloat16).float().numpy()
    np.testing.assert_array_equal(halves.widened(there(bits)).held, values)
    np.testing.assert_array_equal(halves.widened(there(bits).T).held, values.T)
    np.testing.assert_array_equal(halves.finite(there(bits)).held, np.isfinite(values))
    np.testing.assert_array_equal(halves.not_numbers(there(bits)).held, np.isnan(values))
    assert np.isnan(halves.extent(there(bits))).all()
    numbers = there(bits[:127])
    np.testing.assert_array_equal(halves.in_double(numbers).held, values[:127].astype(float))
    assert halves.extent(numbers) == (0.0, values[:127].max())
    assert np.isposinf(gpu_shim.of_brain(np.array([halves.forbidden(numbers)]))).all()


# How bfloat16 comes in


@pytest.fixture
def tensor():
    """Of PyTorch in bfloat16, which says that it lies on a device."""
    torch = pytest.importorskip("torch")

    class OnDevice(torch.Tensor):
        def __dlpack_device__(self):
            return 2, 0

        def __dlpack__(self, **options):
            return self.detach().as_subclass(torch.Tensor).numpy()

    OnDevice.__module__ = "torch"
    return torch.tensor(cost_of((5, 6)), dtype=torch.bfloat16).as_subclass(OnDevice)


def test_a_tensor_of_torch_is_shared(tensor):
    for given, order in ((tensor, "c_contiguous"), (tensor.T, "f_contiguous")):
        found = arrays.ingest_cost(given)
        assert found.dtype == halves.BRAIN
        assert getattr(found.flags, order)
        assert found.held.__array_interface__["data"][0] == tensor.data_ptr()
        np.testing.assert_array_equal(gpu_shim.of_brain(found.held), given.float().numpy())
    with pytest.raises(TypeError, match="cost requires grad"):
        arrays.ingest_cost(tensor.clone().requires_grad_())


def test_weights_of_torch_in_bfloat16_are_read_in_float32(tensor):
    np.testing.assert_array_equal(arrays.ingest_vector("a", tensor[0]), tensor[0].float().numpy())


@pytest.mark.parametrize("version", ["13.6.0", "14.2.0"])
def test_where_cupy_cannot_hold_bfloat16_it_is_converted(version, xp, monkeypatch):
    """Arrays of another library: an old CuPy is not asked, a new one without ml_dtypes refuses."""

    class Foreign:
        dtype = "bfloat16"

        def __array_namespace__(self, **options):
            return types.SimpleNamespace(
                __name__="foreign", float32=np.float32, astype=lambda x, dtype: there(np.eye(3), dtype)
            )

        def __dlpack__(self, **options):
            raise NotImplementedError

        def __dlpack_device__(self):
            return 2, 0

    asked = []

    def share(values):
        asked.append(values)
        if isinstance(values, Foreign):
            raise NotImplementedError("install ml_dtypes")
        return values

    monkeypatch.setattr(xp, "__version__", version)
    monkeypatch.setattr(xp, "from_dlpack", share)
    found = arrays.ingest_cost(Foreign())
    assert len(asked) == (version == "14.2.0")
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found.held, np.eye(3))
