"""JAX functions: the values of `solve`, derivatives in every mode against differences, jit, vmap and float32."""

import warnings

import numpy as np
import pytest

import elastic_ot as eot
from helpers.array_libraries import library

library("jax")
import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402
from jax.test_util import check_grads  # noqa: E402

import elastic_ot.jax as eot_jax  # noqa: E402
from elastic_ot.api.solve import solve_for  # noqa: E402

ELASTIC = {"rows": eot.KL(0.5), "cols": eot.L2(5.0)}
PENALTIES = [eot.Fixed(), eot.KL(0.5), eot.TV(0.05), eot.L2(5.0), eot.Between(0.6, 1.3), eot.Free(), eot.Elastic(0.5)]
SOLVES = {
    "plan": eot_jax.plan,
    "log_plan": eot_jax.log_plan,
    "potentials": eot_jax.potentials,
    "transport_cost": eot_jax.transport_cost,
    "value": eot_jax.value,
}


@pytest.fixture(autouse=True)
def _float64():
    with jax.enable_x64(True):
        yield


def arrays(*shape, seed=0):
    rng = np.random.default_rng(seed)
    a, b = rng.random(shape[-2]) + 0.2, rng.random(shape[-1]) + 0.2
    return jnp.asarray(rng.random(shape)), jnp.asarray(a / a.sum()), jnp.asarray(b / b.sum())


def assert_close(x, y, atol=1e-12):
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=0, atol=atol), x, y)


@pytest.mark.parametrize(("rows", "cols"), list(zip(PENALTIES, PENALTIES[1:] + PENALTIES[:1], strict=True)), ids=repr)
def test_results_are_those_of_solve(rows, cols):
    cost, a, b = arrays(2, 4, 5)
    options = {"rows": rows, "cols": cols, "epsilon": 0.2, "tol": 1e-9}
    found = {name: jax.jit(lambda *x, solve=solve: solve(*x, **options))(cost, a, b) for name, solve in SOLVES.items()}
    for i in range(2):
        one = eot.solve(np.asarray(cost[i]), np.asarray(a), np.asarray(b), **options)
        # a batch does not stop at the same iteration as a single solve: both meet the tolerance
        np.testing.assert_allclose(found["plan"][i], one.plan, rtol=0, atol=1e-8)
        np.testing.assert_allclose(found["potentials"][0][i], one.f, rtol=0, atol=1e-7)
        np.testing.assert_allclose(found["potentials"][1][i], one.g, rtol=0, atol=1e-7)
        np.testing.assert_allclose(found["transport_cost"][i], one.transport_cost, rtol=1e-7)
        np.testing.assert_allclose(found["value"][i], one.value, rtol=1e-7)


def test_leading_dimensions_broadcast():
    cost, a, _ = arrays(3, 1, 4, 5)
    b = jnp.stack([arrays(4, 5, seed=seed)[2] for seed in (1, 2)])
    epsilon = jnp.array([[0.1], [0.2], [0.3]])

    def plan(cost, epsilon):
        return eot_jax.plan(cost, a, b, epsilon=epsilon)

    found = plan(cost, epsilon)
    assert found.shape == (3, 2, 4, 5)
    one = eot.solve(np.asarray(cost[1, 0]), np.asarray(a), np.asarray(b[1]), epsilon=0.2, tol=1e-9)
    np.testing.assert_allclose(found[1, 1], one.plan, rtol=0, atol=1e-8)
    slopes = jax.grad(lambda *x: (plan(*x) ** 2).sum(), (0, 1))(cost, epsilon)
    assert slopes[0].shape == cost.shape
    assert slopes[1].shape == epsilon.shape


def test_a_mask_broadcasts_and_forbidden_cells_have_no_gradient():
    cost, _, _ = arrays(2, 4, 5)
    mask = np.ones((4, 5), bool)
    mask[0, 1] = mask[3, 2] = False
    total = jax.jit(lambda cost: eot_jax.transport_cost(cost, epsilon=0.3, mask=mask))
    one = eot.solve(np.asarray(cost[1]), epsilon=0.3, mask=mask, tol=1e-9)
    assert float(total(cost)[1]) == pytest.approx(one.transport_cost, rel=1e-12)
    slope = np.asarray(jax.grad(lambda cost: total(cost).sum())(cost))
    assert (slope[:, ~mask] == 0).all()
    assert (slope[:, mask] != 0).all()


def test_zero_weights_have_a_zero_plan_and_no_gradient():
    cost, _, b = arrays(3, 4)
    a = jnp.array([0.5, 0.0, 0.5])

    def plan(cost, a):
        return eot_jax.plan(cost, a, b, epsilon=0.3, cols=eot.KL(1.0))

    assert (plan(cost, a)[1] == 0).all()
    by_cost, by_a = jax.grad(lambda *x: (plan(*x) ** 2).sum(), (0, 1))(cost, a)
    assert (by_cost[1] == 0).all()
    assert by_a[1] == 0


@pytest.mark.parametrize("name", ["plan", "potentials", "transport_cost"])
@pytest.mark.parametrize("options", [{"tol": 1e-13}, {"grad": "unroll", "max_iter": 5}], ids=["implicit", "unroll"])
def test_first_derivatives_forward_and_backward(name, options):
    def solve(cost, a, b, epsilon):
        return SOLVES[name](cost, a, b, epsilon=epsilon, **ELASTIC, **options)

    inputs = (*arrays(3, 4), 0.3)
    check_grads(solve, inputs, order=1, eps=1e-5)
    which = (0, 1, 2, 3)
    assert_close(jax.jit(jax.jacfwd(solve, which))(*inputs), jax.jit(jax.jacrev(solve, which))(*inputs))


# With two hard sides the weights must keep their masses.
@pytest.mark.parametrize(
    ("rows", "cols"),
    [(PENALTIES[0], PENALTIES[4]), (PENALTIES[2], PENALTIES[3]), (PENALTIES[1], PENALTIES[6])],
    ids=repr,
)
def test_the_value_is_differentiated_twice(rows, cols):
    cost, a, b = arrays(2, 3, seed=2)

    def value(cost, a, b, epsilon):
        weights = jax.nn.softmax(a), jax.nn.softmax(b)
        return eot_jax.value(cost, *weights, epsilon=epsilon, rows=rows, cols=cols, tol=1e-13, on_failure="ignore")

    inputs = cost, jnp.log(a), jnp.log(b), 0.4
    check_grads(value, inputs, order=1, eps=1e-5)
    slopes = jax.grad(value, (0, 1, 2, 3))
    check_grads(slopes, inputs, order=1, eps=1e-5)


def test_hessians_in_every_order_agree():
    inputs, which = (*arrays(2, 3, seed=2), 0.4), (0, 2, 3)

    def value(cost, a, b, epsilon):
        return eot_jax.value(cost, a, b, epsilon=epsilon, tol=1e-13, **ELASTIC)

    hessian = jax.jit(jax.hessian(value, which))(*inputs)
    assert_close(hessian, jax.jacrev(jax.grad(value, which), which)(*inputs))
    assert_close(hessian, jax.jacfwd(jax.jacfwd(value, which), which)(*inputs))


@pytest.mark.parametrize("rows", [eot.Fixed(), eot.KL(0.5)], ids=repr)
def test_the_divergence_is_0_between_equal_measures_and_differentiable(rows):
    rng = np.random.default_rng(5)
    x, y = jnp.asarray(rng.random((4, 2))), jnp.asarray(rng.random((5, 2)))
    _, a, b = arrays(4, 5)
    if not rows.hard:
        b = 1.3 * b

    def divergence(x, y, a, b):
        between, first, second = (0.5 * ((u[:, None] - v) ** 2).sum(-1) for u, v in ((x, y), (x, x), (y, y)))
        return eot_jax.divergence(between, first, second, a, b, epsilon=0.3, rows=rows, cols=rows, tol=1e-12)

    assert abs(divergence(x, x, a, a)) < 1e-12
    assert divergence(x, y, a, b) > 0.01
    check_grads(lambda x, y: divergence(x, y, a, b), (x, y), order=1, modes=["rev"], eps=1e-5)


def test_derivatives_solve_once(monkeypatch):
    cost, a, b = arrays(3, 4, seed=6)
    solves = []
    monkeypatch.setattr(
        "elastic_ot.frameworks.stateless.solve_for", lambda *x, **options: solves.append(1) or solve_for(*x, **options)
    )
    for solve in SOLVES.values():
        solves.clear()
        jax.grad(lambda cost, solve=solve: jax.tree.leaves(solve(cost, a, b, epsilon=0.35))[0].sum())(cost)
        assert len(solves) == 1


@pytest.mark.parametrize(
    "transform", [jax.hessian, lambda f: jax.jacfwd(jax.jacfwd(f)), lambda f: jax.grad(jax.grad(f))]
)
def test_plans_are_not_differentiated_twice(transform):
    def corner(x):
        return eot_jax.plan(jnp.array([[x, 1.0], [1.0, 0.0]]), epsilon=0.3)[0, 0]

    with pytest.raises(TypeError, match="can be differentiated once"):
        transform(corner)(0.5)


def test_the_value_is_not_differentiated_three_times():
    with pytest.raises(TypeError, match="value and divergence twice"):
        jax.jacfwd(jax.hessian(lambda cost: eot_jax.value(cost, epsilon=0.3)))(arrays(2, 2)[0])


def test_vmap_is_a_batch():
    cost, a, _ = arrays(3, 4, 5)
    b = jnp.stack([arrays(4, 5, seed=seed)[2] for seed in (1, 2, 3)])
    epsilon = jnp.array([0.1, 0.2, 0.3])

    def loss(cost, b, epsilon):
        return (eot_jax.plan(cost, a, b, epsilon=epsilon, **ELASTIC) ** 2).sum()

    slopes = jax.grad(loss, (0, 1, 2))
    batch = slopes(cost, b, epsilon)
    assert_close(jax.vmap(slopes, in_axes=(0, 1, 0))(cost, b.T, epsilon), batch)
    assert_close(jax.jit(jax.vmap(slopes))(cost, b, epsilon), batch)
    assert_close(jax.vmap(jax.jit(slopes))(cost, b, epsilon), batch)
    of_epsilon = jax.vmap(lambda epsilon: eot_jax.value(cost[0], a, b[0], epsilon=epsilon))(epsilon)
    assert_close(of_epsilon, jnp.stack([eot_jax.value(cost[0], a, b[0], epsilon=e) for e in (0.1, 0.2, 0.3)]))


def test_a_batch_under_vmap_is_one_call(monkeypatch):
    from elastic_ot.frameworks import stateless as host_calls

    calls = []
    inner = host_calls.HostCall.__call__
    monkeypatch.setattr(host_calls.HostCall, "__call__", lambda *x: calls.append(1) or inner(*x))
    jax.vmap(lambda cost: eot_jax.value(cost, epsilon=0.3))(arrays(5, 3, 4)[0])
    assert len(calls) == 1


def test_inside_control_flow():
    cost, _, _ = arrays(3, 3)

    def last(cost):
        def step(state, _):
            return state + eot_jax.plan(state, epsilon=0.5, tol=1e-12), eot_jax.value(state, epsilon=0.5)

        return jax.lax.cond(cost.sum() > 0, lambda x: jax.lax.scan(step, x, None, length=3)[0], lambda x: x, cost)

    check_grads(jax.jit(last), (cost,), order=1, eps=1e-5)
    check_grads(jax.checkpoint(last), (cost,), order=1, modes=["rev"], eps=1e-5)


def test_single_precision_without_float64():
    cost, a, b = arrays(3, 4)
    wanted = jax.grad(lambda *x: (eot_jax.plan(*x, epsilon=0.05) ** 2).sum(), (0, 1, 2))(cost, a, b)
    with jax.enable_x64(False):
        single = [jnp.asarray(np.asarray(x), jnp.float32) for x in (cost, a, b)]
        for solve in SOLVES.values():
            assert all(x.dtype == jnp.float32 for x in jax.tree.leaves(solve(*single, epsilon=0.05)))
        found = jax.jit(jax.grad(lambda *x: (eot_jax.plan(*x, epsilon=0.05) ** 2).sum(), (0, 1, 2)))(*single)
        hessian = jax.hessian(lambda cost: eot_jax.value(cost, epsilon=0.05))(single[0])
        assert hessian.dtype == jnp.float32
    assert_close(found, wanted, atol=1e-6)  # costs and weights rounded to 6e-8, times 1 / epsilon


@pytest.mark.parametrize("half", ["float16", "bfloat16"])
def test_half_precision_is_computed_in_single_and_comes_back(half):
    cost = arrays(3, 4)[0].astype(half)
    found = eot_jax.plan(cost, epsilon=0.5)
    assert found.dtype == half
    np.testing.assert_array_equal(found, eot_jax.plan(cost.astype("float32"), epsilon=0.5).astype(half))


def test_detached_solves_have_no_gradient():
    slope = jax.grad(lambda cost: eot_jax.plan(cost, epsilon=0.5, grad="detach")[0, 0])(arrays(3, 4)[0])
    assert (slope == 0).all()


def test_what_does_not_converge_warns_when_it_runs():
    cost, _, _ = arrays(2, 3, 4)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        quiet = jax.jit(jax.grad(lambda x: eot_jax.plan(x, epsilon=1e-3, max_iter=2, on_failure="ignore").sum()))
        quiet(cost).block_until_ready()
    loud = jax.jit(lambda cost: eot_jax.plan(cost, epsilon=1e-3, max_iter=2))
    for _ in range(2):
        with pytest.warns(eot.ConvergenceWarning, match="max_iter"):
            loud(cost).block_until_ready()


def test_large_arrays_do_not_block():
    """Callbacks that wait for JAX hang here, where it has few threads."""
    rng = np.random.default_rng(0)
    cost = jnp.asarray(rng.random((700, 700)), jnp.float32)

    @jax.jit
    def step(cost):
        parts = [eot_jax.potentials(x, epsilon=0.5, tol=1e-4)[0].sum() for x in (cost, cost.T, cost @ cost / 700)]
        return cost + 1e-9 * sum(parts)

    for _ in range(10):
        cost = step(cost)
    assert jnp.isfinite(cost.block_until_ready()).all()


def test_what_an_accelerator_would_run(monkeypatch):
    cost, a, b = arrays(3, 4, seed=9)

    def slopes(max_iter):  # of a batch; another number of iterations at most is another compiled function
        options = {"epsilon": 0.37, "max_iter": max_iter, **ELASTIC}
        return jax.vmap(jax.grad(lambda x: eot_jax.plan(x, a, b, **options)[0, 0]))(jnp.stack([cost, cost]))

    monkeypatch.setattr(jax.lax, "platform_dependent", lambda *x, cpu, default: default(*x))
    found = slopes(999)
    monkeypatch.undo()
    assert_close(found, slopes(998))


def test_strengths_are_static_arguments():
    cost, _, _ = arrays(3, 4)
    value = jax.jit(lambda cost, rows: eot_jax.value(cost, epsilon=0.3, rows=rows), static_argnums=1)
    found = [value(cost, eot.KL(rho)) for rho in (0.1, 1.0)]
    assert found[0] < found[1]
    with pytest.raises(TypeError):
        jax.jit(lambda rho: eot_jax.value(cost, epsilon=0.3, rows=eot.KL(rho)))(1.0)


@pytest.mark.parametrize("options", [{"tol": 1e-13}, {"grad": "unroll", "max_iter": 5}], ids=["implicit", "unroll"])
def test_strengths_given_apart_are_traced_and_differentiated(options):
    cost, a, b = arrays(3, 4)

    def solve(row_rho, col_rho):
        given = {"row_rho": row_rho, "col_rho": col_rho, **ELASTIC}
        return eot_jax.plan(cost, a, b, epsilon=0.3, **given, **options)

    expected = eot_jax.plan(cost, a, b, epsilon=0.3, **ELASTIC, **options)
    assert_close(jax.jit(solve)(0.5, 5.0), expected)
    check_grads(solve, (jnp.asarray(0.2), jnp.asarray(3.0)), order=1, atol=1e-6, rtol=1e-6)
    many = jax.vmap(jax.grad(lambda rho: solve(rho, 5.0)[0, 0]))(jnp.array([0.2, 0.5]))
    assert_close(many[1], jax.grad(lambda rho: solve(rho, 5.0)[0, 0])(0.5), 1e-9)


def test_the_value_is_differentiated_twice_in_strengths():
    cost, a, b = arrays(2, 3)

    def value(rho):
        return eot_jax.value(cost, a, b, epsilon=0.4, row_rho=rho, rows=eot.KL(1.0), tol=1e-13, on_failure="ignore")

    check_grads(value, (jnp.asarray(0.5),), order=2, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        (([[0.0, 1.0]],), {}, "cost must be a jax.Array, got list"),
        ((np.eye(2), [0.5, 0.5]), {}, "a must be a jax.Array, got list"),
        ((np.eye(2), np.ones(3)), {}, r"a has shape \(3,\) and cost \(2, 2\)"),
        ((np.ones((2, 3, 3)), None, np.ones((4, 3))), {}, r"b has shape \(4, 3\) and cost \(2, 3, 3\)"),
        ((np.ones((3, 2, 2)),), {"epsilon": np.ones(2)}, r"epsilon has shape \(2,\) and cost \(3, 2, 2\)"),
        ((np.ones(2),), {}, r"cost has shape \(2,\)"),
        ((np.ones((2, 2), complex),), {}, "complex128"),
        ((np.eye(2),), {"mask": np.ones((2, 2))}, "mask has dtype float64"),
        ((np.eye(2),), {"mask": np.ones((3, 2), bool)}, r"mask has shape \(3, 2\) and cost \(2, 2\)"),
        ((np.eye(2),), {"grad": "forward"}, "grad is 'forward'"),
        ((np.eye(2),), {"grad": "unroll"}, "max_iter"),
        ((np.eye(2),), {"callback": print}, "callback"),
        ((np.eye(2),), {"tolerance": 0.1}, "there is no option 'tolerance'"),
        ((np.eye(2),), {"rows": 0.1}, "rows must be a penalty"),
    ],
)
def test_mistakes_are_named(arguments, options, message):
    with pytest.raises((TypeError, ValueError), match=message):
        eot_jax.plan(*arguments, **{"epsilon": 0.5, **options})


@pytest.mark.parametrize(
    ("cost", "options", "message"),
    [
        (np.eye(2), {"epsilon": -1.0}, "epsilon is -1.0"),
        (np.eye(2), {"method": "simplex"}, "method is 'simplex'"),
        (np.full((2, 2), np.nan), {}, r"cost\[0, 0\] is nan"),
    ],
)
def test_what_the_solver_refuses_comes_with_its_message(cost, options, message):
    with pytest.raises((ValueError, jax.errors.JaxRuntimeError), match=message):  # JAX lets through either
        eot_jax.plan(cost, **{"epsilon": 0.5, **options}).block_until_ready()


def test_a_relative_epsilon_is_a_constant_fraction_of_the_range_of_each_problem():
    costs = jnp.asarray(np.random.default_rng(0).random((3, 4, 5)))
    numbers = 0.1 * np.ptp(np.asarray(costs), axis=(1, 2))
    expected = eot_jax.value(costs, epsilon=numbers)
    wanted = jax.grad(lambda c: eot_jax.value(c, epsilon=numbers).sum())(costs)
    for call in (eot_jax.value, jax.jit(eot_jax.value, static_argnames="epsilon")):
        assert np.allclose(call(costs, epsilon="0.1x"), expected, atol=1e-6)
        assert np.allclose(jax.grad(lambda c, call=call: call(c, epsilon="0.1x").sum())(costs), wanted, atol=1e-6)
    with pytest.raises(TypeError, match="for a PointCloud give a number"):
        eot_jax.value(eot.PointCloud(costs[0]), epsilon="0.1x")


def test_wrong_arguments_are_told_what_was_meant():
    cost = jnp.ones((3, 4))
    with pytest.raises(TypeError, match=r"plan\(\) has no argument 'reg'; did you mean epsilon=\?"):
        eot_jax.plan(cost, reg=0.1)
    with pytest.raises(TypeError, match=r"no option 'numItermax'; did you mean max_iter=\?"):
        eot_jax.plan(cost, epsilon=0.1, numItermax=5)


def test_what_is_listed_is_public():
    assert dir(eot_jax) == sorted(eot_jax.__all__)
    assert not {"detached", "traced", "integers", "logs_and_potentials"} & set(dir(eot_jax))
