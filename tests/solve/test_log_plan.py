"""Logarithms of plans whose entries underflow: against the closed form, the potentials and differences."""

import numpy as np
import pytest

import elastic_ot as eot
from helpers.application_arrays import DIFFERENTIABLE, differences, gradient, opened

ARRAYS = {"float64": np.float64, "float32": np.float32, "float16": np.float16}


def operators(name):
    return getattr(eot, name)


def by_potentials(cost, a, b, epsilon, f, g):
    """In extended precision, product reference; what is removed has potential -inf."""
    cost, a, b, f, g = (np.asarray(x).astype(np.longdouble) for x in (cost, a, b, f, g))
    with np.errstate(divide="ignore"):
        return (f[:, None] + g - cost) / epsilon + np.log(a)[:, None] + np.log(b)


@pytest.mark.parametrize("dtype", ARRAYS.values(), ids=ARRAYS)
@pytest.mark.parametrize("order", ["C", "F"])
def test_entries_of_two_points_have_the_closed_form(dtype, order):
    """P_01 = exp(-c / epsilon) / 2 / (1 + exp(-c / epsilon)), and 1.0 + exp(-1000) is 1."""
    cost = np.array([[0.0, 50.0], [50.0, 0.0]], dtype=dtype, order=order)
    sol = eot.solve(cost, epsilon=0.05)
    assert sol.plan[0, 1] == 0.0
    np.testing.assert_allclose(sol.log_plan[0, 1], -1000 + np.log(0.5), rtol=1e-6)
    assert sol.log_plan.dtype == (np.float64 if dtype is np.float64 else np.float32)


@pytest.mark.parametrize("epsilon", [1.0, 1e-2, 1e-4])
def test_it_is_formed_of_the_potentials(epsilon):
    rng = np.random.default_rng(0)
    cost, a, b = rng.random((6, 5)), rng.random(6), rng.random(5)
    cost[1, 2], a[3], a = np.inf, 0.0, a / a.sum()
    a[3], b = 0.0, b / b.sum()
    a /= a.sum()
    sol = eot.solve(cost, a, b, epsilon=epsilon, on_failure="ignore")
    wanted = by_potentials(cost, a, b, epsilon, sol.f, sol.g)
    np.testing.assert_array_equal(np.isneginf(sol.log_plan), np.isinf(cost) | (a == 0)[:, None])
    # eight roundings of numbers no larger than the potentials and costs over epsilon
    np.testing.assert_allclose(sol.log_plan, wanted.astype(float), rtol=1e-12, atol=8 * 2.3e-16 * 3 / epsilon)
    np.testing.assert_allclose(np.exp(sol.log_plan), sol.plan, rtol=1e-9, atol=1e-300)


def test_a_batch_has_that_of_its_problems():
    rng = np.random.default_rng(1)
    costs = 10 * rng.random((3, 4, 5))
    costs[0, 1, 2] = np.inf
    costs[1, 3:], costs[1, :, 4:] = np.nan, np.nan
    sol = eot.solve(costs, epsilon=[0.01, 0.1, 1.0], row_lengths=[4, 3, 4], col_lengths=[5, 4, 5])
    for k in range(3):
        n, m = sol[k].problem.shape
        np.testing.assert_allclose(sol.log_plan[k, :n, :m], sol[k].log_plan, rtol=1e-12)
    assert np.isneginf(sol.log_plan[1, 3:]).all()
    assert np.isneginf(sol.log_plan[1, :, 4:]).all()
    assert np.isneginf(sol.log_plan).sum() == 1 + 5 + 3


@pytest.mark.parametrize("kind", ["float16", "bfloat16", "float32"])
def test_numbers_that_a_narrow_dtype_cannot_hold_are_no_forbidden_cells(kind):
    torch = pytest.importorskip("torch")
    cost = torch.tensor([[0.0, 500.0], [500.0, torch.inf]]).to(getattr(torch, kind))
    weights = torch.tensor([0.75, 0.25], dtype=torch.float64)
    found = eot.torch.log_plan(cost, weights, weights.flip(0), epsilon=1e-3, cols=eot.Free())
    assert found.dtype == torch.float32
    assert found.isneginf().tolist() == [[False, False], [False, True]]
    single = eot.solve(cost.float(), weights, weights.flip(0), epsilon=1e-3, cols=eot.Free())
    assert single.log_plan.isneginf().tolist() == [[False, False], [False, True]]
    assert eot.solve(cost, epsilon=1e-3, cols=eot.Free()).log_plan.dtype == torch.float32
    # -5e39 is beyond float32
    low = eot.solve(np.array([[0.0, 5e37], [5e37, 0.0]], np.float32), epsilon=0.01).log_plan
    assert low[0, 1] == np.finfo(np.float32).min


@pytest.mark.parametrize("name", DIFFERENTIABLE)
@pytest.mark.parametrize(
    "options",
    [
        {},
        pytest.param({"epsilon": 0.02}, marks=pytest.mark.slow),
        pytest.param({"reference": "counting"}, marks=pytest.mark.slow),
        pytest.param({"cols": eot.KL(0.5)}, marks=pytest.mark.slow),
        {"rows": eot.Elastic(0.6), "cols": eot.TV(0.3)},
        {"grad": "unroll", "max_iter": 3},
    ],
    ids=str,
)
def test_its_gradient_is_that_of_differences(name, options):
    """Of one entry that underflows and one that does not, in costs, weights and epsilon."""
    rng = np.random.default_rng(2)
    cost = rng.random((2, 3, 4))
    cost[..., 0, 1] += 30.0
    options = {"epsilon": 0.1, "tol": 1e-12, **options}
    epsilon = options.pop("epsilon")
    mask = np.ones((3, 4), bool)
    mask[2, 0] = False
    a = np.array([0.2, 0.5, 0.3])
    point = np.concatenate([cost.reshape(-1), a, [epsilon]])

    def total(x, log_plan):
        weights = x[-4:-1] / x[-4:-1].sum()
        found = log_plan(x[: cost.size].reshape(cost.shape), weights, x[-1])
        return (found[..., 0, 1] - 2 * found[..., 1, 2]).sum()

    budget = {"tol": 0} if "grad" in options else {}
    plain = {key: x for key, x in options.items() if key != "grad"} | budget
    numeric = differences(
        lambda x: total(x, lambda c, a, e: eot.solve(c, a, epsilon=e, mask=mask[None], **plain).log_plan), point, 1e-5
    )
    with opened(name) as found:
        allowed, log_plan = found.make(mask), operators(name).log_plan
    got = gradient(name, lambda x: total(x, lambda c, a, e: log_plan(c, a, epsilon=e, mask=allowed, **options)), point)
    assert got[8] == 0.0  # the forbidden cell
    np.testing.assert_allclose(got, numeric, rtol=2e-5, atol=2e-4 * np.abs(numeric).max())
    assert np.abs(got).max() > 1.0


@pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated:DeprecationWarning")
def test_both_modes_of_torch_agree():
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    cost = torch.rand(2, 3, 4, dtype=torch.float64, requires_grad=True)
    a = torch.tensor([0.2, 0.5, 0.3], dtype=torch.float64, requires_grad=True)
    epsilon = torch.tensor([0.1, 0.3], dtype=torch.float64, requires_grad=True)
    rho = torch.tensor(0.7, dtype=torch.float64, requires_grad=True)

    def logs(cost, a, epsilon, rho):
        return eot.torch.log_plan(cost, a, epsilon=epsilon, cols=eot.KL(1.0), col_rho=rho, tol=1e-13)

    assert torch.autograd.gradcheck(logs, (cost, a, epsilon, rho), check_forward_ad=True)


def test_both_modes_of_jax_agree_under_jit_and_vmap():
    jax = pytest.importorskip("jax")
    from jax.test_util import check_grads

    with jax.enable_x64(True):
        costs = jax.numpy.asarray(np.random.default_rng(0).random((2, 3, 4)))

        @jax.jit
        def logs(costs, epsilon):
            return jax.vmap(lambda cost: eot.jax.log_plan(cost, epsilon=epsilon, tol=1e-13))(costs)

        check_grads(logs, (costs, 0.2), order=1, rtol=1e-6, atol=1e-6)
        np.testing.assert_allclose(logs(costs, 0.2), eot.solve(np.asarray(costs), epsilon=0.2).log_plan, atol=1e-5)


@pytest.mark.parametrize("name", DIFFERENTIABLE)
def test_single_precision_keeps_the_digits_of_small_entries(name):
    """Potentials of size 1e4 are not rounded to single precision before they cancel."""
    cost = np.random.default_rng(3).random((5, 4)).astype(np.float32) + np.float32(1e4)
    exact = eot.solve(cost.astype(np.float64), epsilon=0.01, tol=1e-9).log_plan
    with opened(name) as found:
        got = np.asarray(operators(name).log_plan(found.make(cost), epsilon=0.01))
    assert got.dtype == np.float32
    # 1e4 / epsilon times the unit of double precision, then one rounding of single precision
    np.testing.assert_allclose(got, exact, rtol=1.2e-7, atol=1e-6)


@pytest.mark.parametrize("name", DIFFERENTIABLE)
@pytest.mark.parametrize("batch", [(), (2,)])
def test_costs_that_lie_high_have_the_logarithms_and_derivatives_of_others(name, batch):
    """A constant on all costs goes to the potentials of the rows; neither the plan nor a derivative sees it."""
    rng = np.random.default_rng(4)
    cost, factors = rng.random((*batch, 3, 4)), rng.normal(size=(*batch, 3, 4))
    offset = 2.0**20  # exact in every entry

    def loss(x, log_plan, factors):
        return (log_plan(x[:-1].reshape(cost.shape), epsilon=x[-1], tol=1e-11) * factors).sum()

    with opened(name) as found:
        made, calls = found.make(factors), operators(name)
        low, high = (calls.potentials(found.make(cost + x), epsilon=0.1) for x in (0.0, offset))
        np.testing.assert_allclose(np.asarray(high[0]) - offset, low[0], atol=1e-6)
        np.testing.assert_allclose(high[1], low[1], atol=1e-6)
    exact = np.round(cost * 2**20) / 2**20
    slopes = [
        gradient(name, lambda x: loss(x, calls.log_plan, made), np.append((exact + x).reshape(-1), 0.1))
        for x in (0.0, offset)
    ]
    np.testing.assert_allclose(*slopes, rtol=1e-6, atol=1e-6)
