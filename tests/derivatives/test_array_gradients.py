"""Derivatives of batches on the array API: against Numba, differences, dense systems; on a strict device."""

import inspect
import itertools
import tracemalloc
import types

import array_api_strict as strict
import numpy as np
import pytest

import elastic_ot as eot
from elastic_ot.backends import gpu, load_batch_gradients, protocol, reference
from elastic_ot.backends.array_api import derivatives, updates
from elastic_ot.backends.cpu import batch_derivatives
from elastic_ot.backends.protocol import Batch, BatchBars, BatchSystem, Side
from helpers.penalty_formulas import exact_update, resolve

SPECS = [
    ("Fixed",),
    ("KL", 0.4),
    ("L2", 5.0),
    ("TV", 0.05),
    ("TV", 0.6),
    ("Between", 0.6, 1.3),
    ("AtMost",),
    ("Elastic", 0.7),
    ("Free",),
]
PAIRS = list(itertools.product(SPECS, SPECS))
SOME_PAIRS = list(zip(SPECS, SPECS[4:] + SPECS[:4], strict=True))
TINY, SOME = (4, 5), (9, 13)  # the Numba module has code of its own for the first
EXACT = 1e-10  # of the largest entry: rounding
SINGLE = 1e-4  # that of a float32 kernel and of sums over it, for which 1e-6 is typical
FLAGS = {"api_version": "2023.12", "boolean_indexing": False, "data_dependent_shapes": False}
numpy = load_batch_gradients("reference")


def penalty(spec):
    return getattr(eot, spec[0])(*spec[1:])


def solution(shape=SOME, size=3, dtype=np.float64, seed=0, ragged=False, shared=False, **options):
    """Some iterations on problems with forbidden cells, an empty row, and nan where nothing may be read."""
    rng = np.random.default_rng(seed)
    n, m = shape
    cost = rng.random((1 if shared else size, n, m)).astype(dtype)
    cost[:, 1, 2] = cost[-1, 3, 0] = np.inf
    a, b, epsilon = rng.random((size, n)) + 0.2, rng.random((size, m)) + 0.2, rng.uniform(0.15, 0.4, size)
    a[0, 2] = 0.0
    if ragged:
        lengths = rng.integers(4, n + 1, size), rng.integers(4, m + 1, size)
        options |= {"row_lengths": lengths[0], "col_lengths": lengths[1]}
        for weights, length in zip((a, b), lengths, strict=True):
            weights[np.arange(weights.shape[1]) >= length[:, None]] = 0.0
        if not shared:
            cost[np.arange(n) >= lengths[0][:, None]] = np.nan
    rows, cols = options.get("rows", eot.Fixed()), options.get("cols", eot.Fixed())
    slack = 1.2 if isinstance(cols, eot.AtMost) else 0.8 if isinstance(rows, eot.AtMost) else 1.0
    b *= slack * a.sum(axis=1, keepdims=True) / b.sum(axis=1, keepdims=True)
    return eot.solve(cost, a, b, epsilon=epsilon, tol=0, **{"max_iter": 4, **options})


def bars_for(found, seed=1):
    """dL/dP with nan where it does not count, dL/df and dL/dg times epsilon."""
    rng, task = np.random.default_rng(seed), found.found.task
    plan = rng.normal(size=(found.problem.size, *found.problem.shape[-2:]))
    plan[~np.isfinite(task.cost[task.batch.cost_of])] = np.nan
    sides = (
        np.where(side.log_weight > -np.inf, rng.normal(size=side.weight.shape), 0.0) for side in (task.rows, task.cols)
    )
    return plan.astype(task.cost.dtype), *sides


def unwritten(kind, size, n, m, dtype):
    """A result full of sevens."""
    vectors = {"a": n, "b": m} if kind is BatchBars else {"rows": n, "cols": m, "x": n, "y": m}
    shapes = {"cost": (size, n, m), **{name: (size, length) for name, length in vectors.items()}}
    dtypes = {"cost": dtype, "sound": np.bool_}
    return kind(*(np.full(shapes.get(name, size), 7, dtypes.get(name, np.float64)) for name in kind._fields))


def pull_iterations(backend, found, bars, precision="double", which=None, there=lambda x: x):
    """The result of a call, all of whose matrices are moved `there` before."""
    task, problem, zeros = found.found.task, found.problem, np.zeros_like(found.problem.b)
    start = task.alphas(np.zeros_like(problem.a), zeros if found.budget.g is None else found.budget.g)[1]
    out = unwritten(BatchBars, problem.size, *problem.shape[-2:], task.cost.dtype)
    out = out._replace(cost=there(out.cost))
    backend.batch_pull_back_iterations(
        there(task.cost),
        task.batch,
        task.rows,
        task.cols,
        found.found.potentials,
        start,
        found.budget.count,
        "cols" if found.found.cols_last[0] else "rows",
        problem.reference == "product",
        None if bars[0] is None else there(bars[0]),
        *bars[1:],
        precision,
        np.arange(problem.size) if which is None else which,
        out,
    )
    return out


def assert_same(found, expected, accuracy):
    for name, one, other in zip(found._fields, found, expected, strict=True):
        if name == "sound":
            assert np.array_equal(one, other)
            continue
        scale = max(np.abs(other).max(), 0.01)  # sums of terms of order one, which may cancel
        np.testing.assert_allclose(one, other, rtol=0, atol=accuracy * scale, err_msg=name)


@pytest.mark.parametrize("name", ["batch_pull_back_iterations", "batch_pull_back", "batch_plan_dots"])
def test_signatures_are_those_of_the_protocol(name):
    wanted = list(inspect.signature(getattr(protocol.BatchDerivatives, name)).parameters)[1:]
    assert list(inspect.signature(getattr(numpy, name)).parameters) == wanted


# Iterations


@pytest.mark.sampled(2)
@pytest.mark.parametrize("ragged", [False, True], ids=["whole", "ragged"])
@pytest.mark.parametrize(("rows", "cols"), PAIRS, ids=str)
def test_iterations_agree_with_the_numba_module(rows, cols, ragged):
    for shape, end, kind in itertools.product((TINY, SOME), ("rows", "cols"), ("product", "counting")):
        options = {"rows": penalty(rows), "cols": penalty(cols), "end": end, "reference": kind}
        found = solution(shape, ragged=ragged, **options)
        bars = bars_for(found)
        expected = pull_iterations(batch_derivatives, found, bars)
        assert expected.sound.all()
        assert_same(pull_iterations(numpy, found, bars), expected, EXACT)


@pytest.mark.parametrize("shape", [TINY, SOME], ids=str)
@pytest.mark.parametrize(("rows", "cols"), SOME_PAIRS, ids=str)
def test_iterations_in_single_precision_agree(rows, cols, shape):
    for end, ragged in itertools.product(("rows", "cols"), (False, True)):
        options = {"rows": penalty(rows), "cols": penalty(cols), "end": end, "ragged": ragged}
        found = solution(shape, dtype=np.float32, **options)
        bars = bars_for(found)
        exact = pull_iterations(numpy, found, bars)
        assert_same(exact, pull_iterations(batch_derivatives, found, bars), 1e-6)  # the result is in float32
        assert_same(pull_iterations(numpy, found, bars, "mixed"), exact, SINGLE)


@pytest.mark.parametrize("kind", [eot.KL, eot.TV, eot.L2, eot.Elastic], ids=lambda kind: kind.__name__)
def test_problems_may_have_rules_of_their_own(kind):
    """At the ends of its strength a penalty becomes another one."""
    strengths = [0.3, 0.05, 0.8] if kind is eot.TV else [0.3, 0.0, 1.0 if kind is eot.Elastic else np.inf]
    found = solution(rows=kind(np.array(strengths)), cols=kind(np.array(strengths[::-1])), shared=True)
    bars = bars_for(found)
    assert_same(pull_iterations(numpy, found, bars), pull_iterations(batch_derivatives, found, bars), EXACT)


@pytest.mark.parametrize("count", [1, 2, 30])
@pytest.mark.parametrize("end", ["rows", "cols"])
def test_numbers_of_iterations_agree(count, end):
    found = solution(max_iter=count, end=end, rows=eot.KL(0.5), cols=eot.L2(2.0), ragged=True)
    for bars in (bars_for(found), (None, *bars_for(found)[1:])):
        assert_same(pull_iterations(numpy, found, bars), pull_iterations(batch_derivatives, found, bars), EXACT)


def test_iterations_from_given_potentials_agree():
    init = np.zeros((3, SOME[0])), 0.1 * np.random.default_rng(5).normal(size=(3, SOME[1]))
    found = solution(max_iter=2, rows=eot.KL(0.5), init=init)
    bars = bars_for(found)
    assert found.budget.g.any()
    assert_same(pull_iterations(numpy, found, bars), pull_iterations(batch_derivatives, found, bars), EXACT)


def test_only_the_asked_problems_are_written_and_all_of_theirs():
    found = solution(size=7, ragged=True, cols=eot.KL(0.5))
    bars, which = bars_for(found), np.array([5, 1, 2])
    whole, some = pull_iterations(numpy, found, bars), pull_iterations(numpy, found, bars, which=which)
    rest = np.setdiff1d(np.arange(7), which)
    for one, other in zip(some, whole, strict=True):
        np.testing.assert_allclose(one[which], other[which], rtol=1e-13, atol=1e-15)
        assert (one[rest] == np.full(1, 7, one.dtype)).all()
    for k in which:
        n, m = found.problem.row_count[k], found.problem.col_count[k]
        assert not some.cost[k, n:].any()
        assert not some.cost[k, :, m:].any()
        assert not some.a[k, n:].any()
        assert not some.b[k, m:].any()


def far_away():
    """A start so far from the end of problem 1 that its scalings leave double precision, those of problem 2 single."""
    found = solution(rows=eot.KL(1.0), cols=eot.KL(1.0), shared=True)
    found.found.potentials[1][1:] += np.array([[300.0], [50.0]])
    return found


@pytest.mark.parametrize(("precision", "sound"), [("double", [True, False, True]), ("mixed", [True, False, False])])
def test_what_leaves_the_range_is_not_sound_and_0(precision, sound):
    found = far_away()
    bars = bars_for(found)
    out = pull_iterations(numpy, found, bars, precision)
    assert out.sound.tolist() == sound
    assert pull_iterations(batch_derivatives, found, bars, precision).sound.tolist() == sound
    for values in out[:-1]:
        assert not values[~out.sound].any()
    assert_same(
        BatchBars(*(x[:1] for x in out)),
        BatchBars(*(x[:1] for x in pull_iterations(batch_derivatives, found, bars))),
        EXACT if precision == "double" else SINGLE,
    )


def test_weights_below_the_resolution_of_single_precision_are_not_sound():
    found = solution(cols=eot.KL(1.0), shared=True)
    found.found.task.rows.weight[1, 4], found.found.task.rows.log_weight[1, 4] = 1e-29, np.log(1e-29)
    out = pull_iterations(numpy, found, bars_for(found), "mixed")
    assert out.sound.tolist() == [True, False, True]
    assert pull_iterations(numpy, found, bars_for(found)).sound.all()


def forward(cost, a, b, epsilon, rows, cols, kind, count, end):
    """Plan, f / epsilon and g / epsilon after so many iterations from 0, without removed entries, in plain NumPy."""
    offsets = (np.log(a)[:, None], np.log(b)) if kind == "product" else (0.0, 0.0)
    exponent = offsets[0] + offsets[1] - cost / epsilon
    f, g = np.zeros((a.size, 1)), np.zeros(b.size)
    for t in range(count):
        f = exact_update(rows, a, np.log(np.exp(exponent + g).sum(axis=1)), epsilon)[:, None] / epsilon
        if t + 1 < count or end == "cols":
            g = exact_update(cols, b, np.log(np.exp(exponent + f).sum(axis=0)), epsilon) / epsilon
    return np.exp(exponent + f + g), f[:, 0], g


@pytest.mark.parametrize(("end", "kind"), [("rows", "counting"), ("cols", "product")])
@pytest.mark.parametrize(("rows", "cols"), SOME_PAIRS, ids=str)
def test_iterations_against_central_differences(rows, cols, end, kind):
    found = solution(rows=penalty(rows), cols=penalty(cols), end=end, reference=kind)
    bars, problem, k, step = bars_for(found), found.problem, 0, 1e-6
    out, rng = pull_iterations(numpy, found, bars), np.random.default_rng(3)
    i, j = np.flatnonzero(problem.row_used[k]), np.flatnonzero(problem.col_used[k])
    cost, epsilon = problem.cost[k][np.ix_(i, j)], problem.epsilon[k]
    inputs = {"cost": cost, "a": problem.a[k, i], "b": problem.b[k, j], "epsilon": epsilon}
    inputs |= {"rows": resolve(rows, epsilon), "cols": resolve(cols, epsilon)}
    weights = np.nan_to_num(bars[0][k][np.ix_(i, j)]), bars[1][k, i], bars[2][k, j]

    def value(**changes):
        parts = forward(**{**inputs, **changes}, kind=kind, count=4, end=end)
        return sum((weight * part).sum() for weight, part in zip(weights, parts, strict=True))

    def difference(name, move):
        return (value(**{name: move(step)}) - value(**{name: move(-step)})) / (2 * step)

    moves = {"cost": rng.normal(size=cost.shape), "a": rng.normal(size=i.size), "b": rng.normal(size=j.size)}
    places = {"cost": np.ix_(i, j), "a": i, "b": j}
    for name, move in {**moves, "epsilon": 1.0}.items():
        expected = difference(name, lambda h, name=name, move=move: inputs[name] + h * move)
        bar = getattr(out, name)[k]
        inner = bar[places[name]] if name in places else bar
        # truncation of a few steps with entries of order one, and rounding over the step
        assert (inner * move).sum() == pytest.approx(expected, rel=1e-6, abs=1e-7), name
    for name in ("rows", "cols"):
        if inputs[name][0] in ("KL", "TV", "L2"):
            label, rho = inputs[name]
            expected = difference(name, lambda h, label=label, rho=rho: (label, rho + h))
            assert getattr(out, name)[k] == pytest.approx(expected, rel=1e-6, abs=1e-7), name
    assert not out.cost[k][~problem.row_used[k]].any()
    assert not out.cost[k][problem.cost[k] == np.inf].any()


@pytest.mark.parametrize("slope", [1e-9, 1e-3, 1.0, 1e4, 1e30])
def test_the_update_of_l2_is_the_root(slope):
    ratio = np.concatenate((np.linspace(-700.0, 700.0, 2801), np.linspace(-1e-3, 1e-3, 101)))
    side = Side(np.ones(ratio.size), np.zeros(ratio.size), np.zeros(ratio.size), protocol.QUADRATIC, slope, 0.0)
    expected = np.empty_like(ratio)
    reference.potential(side, ratio, expected)  # by bisection
    found = updates._root(np.full_like(ratio, slope), ratio)
    np.testing.assert_allclose(found, expected, rtol=1e-13, atol=1e-15)


# The optimum


def linear_systems(seed=0, size=4, n=9, m=7, dtype=np.float64, shared=False):
    """Linear systems of all kinds: held by the diagonals; rigid; with entries outside; ragged, which is rigid, too."""
    rng = np.random.default_rng(seed)
    cost = rng.random((1 if shared else size, n, m)).astype(dtype)
    cost[:, 1, 2] = np.inf
    cost_of = np.zeros(size, np.int64) if shared else np.arange(size)[::-1].copy()
    counts = np.array([n, n, n, n - 3]), np.array([m, m, m, m - 2])
    batch = Batch(cost_of, rng.uniform(2.0, 5.0, size), *counts, rng.uniform(0.5, 2.0, size))
    alpha, beta = rng.normal(size=(size, n)) - 3.0, rng.normal(size=(size, m))
    alpha[0, 2] = beta[1, 3] = -np.inf
    plan = plans(cost, batch, alpha + np.log(batch.mass)[:, None], beta)
    rows, cols = plan.sum(axis=2), plan.sum(axis=1)
    rows[0] += rng.uniform(0.1, 1.0, n) * (rows[0] > 0)
    rows[2, :3] = cols[2, :2] = 0.0
    rigid = np.array([False, True, False, True])
    sides = [np.where(rows > 0, rng.normal(size=(size, n)), 0.0), np.where(cols > 0, rng.normal(size=(size, m)), 0.0)]
    sides[1] += np.where(cols > 0, (sides[0].sum(axis=1) - sides[1].sum(axis=1))[:, None], 0.0) / (cols > 0).sum(
        axis=1, keepdims=True
    )
    bar = rng.normal(size=(size, n, m)).astype(dtype)
    bar[plan == 0] = np.nan
    return (cost, batch, alpha, beta, (rows, cols), rigid, bar, *sides), plan


def plans(cost, batch, alpha, beta):
    """P in float64, 0 beyond the lengths."""
    n, m = cost.shape[1:]
    scaled = cost[batch.cost_of].astype(np.float64) * batch.inv_epsilon[:, None, None]
    inside = (np.arange(n) < batch.row_count[:, None])[:, :, None] & (np.arange(m) < batch.col_count[:, None])[:, None]
    return np.where(inside, np.exp(alpha[:, :, None] + beta[:, None, :] - scaled), 0.0)


def pull_optimum(backend, arguments, dtype=None, there=lambda x: x):
    cost, *rest, bar, row_side, col_side = arguments
    size, (n, m) = rest[0].cost_of.size, cost.shape[1:]
    out = unwritten(BatchSystem, size, n, m, dtype or cost.dtype)
    for part in out[1:6]:
        part[...] = 0.0  # the Numba module leaves what is beyond the lengths
    out = out._replace(cost=there(out.cost))
    bar = None if bar is None else there(bar)
    backend.batch_pull_back(there(cost), *rest, bar, row_side, col_side, out)
    return out


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_optima_agree_with_dense_systems(dtype, shared):
    arguments, plan = linear_systems(dtype=dtype, shared=shared)
    _, batch, _, _, (rows, cols), rigid, bar, row_side, col_side = arguments
    out = pull_optimum(numpy, arguments, np.float64)
    assert out.sound.all()
    weighed = plan * np.nan_to_num(bar)
    for k in range(4):
        i, j = np.flatnonzero(rows[k]), np.flatnonzero(cols[k])
        inner = plan[k][np.ix_(i, j)]
        matrix = np.block([[np.diag(rows[k, i]), inner], [inner.T, np.diag(cols[k, j])]])
        right = np.concatenate(((row_side[k] + weighed[k].sum(axis=1))[i], (col_side[k] + weighed[k].sum(axis=0))[j]))
        solved = np.linalg.lstsq(matrix, right, rcond=1e-12)[0]
        x, y = np.zeros(plan.shape[1]), np.zeros(plan.shape[2])
        x[i], y[j] = solved[: i.size], solved[i.size :]
        change = batch.inv_epsilon[k] * (plan[k] * (x[:, None] + y) - weighed[k])
        dot = (change * np.log(np.where(plan[k] > 0, plan[k], 1.0))).sum()
        atol = 1e-11 * np.abs(solved).max()  # rounding, times the condition of S
        np.testing.assert_allclose(out.cost[k], change, rtol=0, atol=atol)
        np.testing.assert_allclose(out.rows[k], change.sum(axis=1), rtol=0, atol=10 * atol)
        np.testing.assert_allclose(out.cols[k], change.sum(axis=0), rtol=0, atol=10 * atol)
        np.testing.assert_allclose(out.dot[k], dot, rtol=0, atol=100 * atol)
        shift = (out.x[k] - x)[i][0] if rigid[k] else 0.0
        np.testing.assert_allclose(out.x[k], x + shift * (rows[k] > 0), rtol=0, atol=atol)
        np.testing.assert_allclose(out.y[k], y - shift * (cols[k] > 0), rtol=0, atol=atol)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("has_bar", [True, False])
def test_optima_agree_with_the_numba_module(dtype, has_bar):
    arguments, _ = linear_systems(seed=1, dtype=dtype)
    arguments[-1][1] += arguments[4][1][1]  # what a rigid system cannot take up
    if not has_bar:
        arguments = (*arguments[:6], None, *arguments[7:])
    found, expected = (pull_optimum(backend, arguments) for backend in (numpy, batch_derivatives))
    assert_same(found, expected, EXACT if dtype == np.float64 else 1e-7)  # float32 results


def test_systems_that_iterations_do_not_solve_are_not_sound_and_0():
    """Two halves without a connection: singular in a direction that nothing removes, and asked for in it."""
    arguments, _ = linear_systems(n=8, m=8)
    cost, batch, alpha, beta, _, _, bar, *sides = arguments
    cost[batch.cost_of[1]] = np.where(np.kron(np.eye(2), np.ones((4, 4))) > 0, 0.5, np.inf)
    alpha[1], beta[1], bar[1] = -3.0, 0.0, 1.0
    plan = plans(cost, batch, alpha + np.log(batch.mass)[:, None], beta)
    arguments = cost, batch, alpha, beta, (plan.sum(axis=2), plan.sum(axis=1)), np.full(4, True), bar, *sides
    found = pull_optimum(numpy, arguments)
    assert not found.sound[1]
    assert not pull_optimum(batch_derivatives, arguments).sound[1]
    for values in found[:-1]:
        assert not values[1].any()


# Plans


@pytest.mark.parametrize("out_dtype", [np.float32, np.float64])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_plans_and_what_they_give_with_their_logarithms(dtype, out_dtype):
    (cost, batch, alpha, beta, *_), _ = linear_systems(dtype=dtype)
    largest = np.nextafter(np.float32(np.inf), np.float32(0))
    cost[:, 0, 0], cost[:, 1, 1] = 80.0, largest  # below float32, and below everything
    expected = plans(cost, batch, alpha, beta)
    out, dots = np.full((4, *cost.shape[1:]), 7, out_dtype), np.full(4, 7.0)
    numpy.batch_plan_dots(cost, batch, alpha, beta, out, dots)
    # a float32 exponential of an argument of some tens, rounded to float32; nothing below 2^-125
    rtol, atol = (1e-5, 2.0**-124) if out_dtype == np.float32 else (1e-13, 0.0)
    np.testing.assert_allclose(out, expected, rtol=rtol, atol=atol)
    entropy = (expected * np.log(np.where(expected > 0, expected, 1.0))).sum(axis=(1, 2))
    np.testing.assert_allclose(dots, entropy, rtol=rtol)


# Devices and chunks


class StrictMemory:
    """A device of array-api-strict, whose arrays mix with nothing else and follow the standard to the letter."""

    device = strict.Device("device1")

    def put(self, values):
        assert isinstance(values, np.ndarray)
        return strict.asarray(values, device=self.device)

    def get(self, values):
        assert self.holds(values)
        return np.asarray(values.to_device(strict.Device("CPU_DEVICE")))

    def holds(self, values):
        return isinstance(values, strict._array_object.Array) and values.device == self.device


@pytest.mark.parametrize("matrices", ["there", "here"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_device_of_the_standard_gives_the_same(dtype, matrices):
    memory = StrictMemory()
    device, there = derivatives.ArrayDerivatives(memory), memory.put if matrices == "there" else lambda x: x
    here = memory.get if matrices == "there" else lambda x: x
    rows = Side, eot.L2(np.array([0.4, 0.0, np.inf, 3.0]))
    found = solution(size=4, dtype=dtype, ragged=True, rows=rows[1], cols=eot.TV(0.3))
    bars, which = bars_for(found), np.array([0, 1, 3])
    (arguments, _), plan_dots = linear_systems(dtype=dtype), []
    with strict.ArrayAPIStrictFlags(**FLAGS):
        for backend, move in ((numpy, lambda x: x), (device, there)):
            pulled = [
                pull_iterations(backend, found, bars, precision, which, move) for precision in ("double", "mixed")
            ]
            pulled.append(pull_optimum(backend, arguments, there=move))
            plan, dots = move(np.full((4, *arguments[0].shape[1:]), 7, dtype)), np.full(4, 7.0)
            backend.batch_plan_dots(move(arguments[0]), *arguments[1:4], plan, dots)
            plan_dots.append((pulled, plan, dots))
    for one, other in zip(plan_dots[1][0], plan_dots[0][0], strict=True):
        for values, expected in zip(one, other, strict=True):
            assert np.array_equal(here(values) if values is one.cost else values, expected)
    assert np.array_equal(here(plan_dots[1][1]), plan_dots[0][1])
    assert np.array_equal(plan_dots[1][2], plan_dots[0][2])


def test_chunks_do_not_show(monkeypatch):
    found = solution(size=7, cols=eot.KL(0.5), ragged=True)
    (arguments, _), bars = linear_systems(), bars_for(found)
    which = np.array([6, 0, 1, 2, 4])
    expected = pull_iterations(numpy, found, bars, which=which), pull_optimum(numpy, arguments)
    sizes = []
    original = derivatives.ArrayDerivatives._costs
    monkeypatch.setattr(
        derivatives.ArrayDerivatives,
        "_costs",
        lambda self, cost, batch, some: (sizes.append(some.size), original(self, cost, batch, some))[1],
    )
    monkeypatch.setattr(derivatives, "MATRICES", 10**6)
    again = pull_iterations(numpy, found, bars, which=which), pull_optimum(numpy, arguments)
    assert sizes == [1] * 9
    for one, other in zip(again, expected, strict=True):
        assert_same(one, other, 1e-14)  # a product of matrices may sum in another order


def test_memory_is_bounded_and_holds_no_plan_for_every_iteration(monkeypatch):
    found = solution((60, 50), size=40, max_iter=60)
    bars, entries = bars_for(found), 40 * 60 * 50
    monkeypatch.setattr(derivatives, "ENTRIES", 4 * entries)
    pull_iterations(numpy, found, bars)
    tracemalloc.start()
    pull_iterations(numpy, found, bars)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 8 * (entries + 4 * entries)  # the result and what was allowed, where iterations have 60 plans


# Names


def test_names():
    assert load_batch_gradients() is load_batch_gradients("cpu") is batch_derivatives
    assert isinstance(load_batch_gradients("reference").memory, derivatives.HostMemory)


def test_on_a_gpu_it_uses_the_memory_of_the_gpu_backend(monkeypatch):
    device = object()
    asked = []
    monkeypatch.setattr(gpu, "connect", lambda index: asked.append(index) or types.SimpleNamespace(device=device))
    assert load_batch_gradients("gpu", 1).memory is device
    assert asked == [1]
