"""Batches of cases, and what their solutions are compared with: conditions of optimality and solves of one problem."""

import numpy as np

import elastic_ot as eot
from helpers.oracle import ULP64, make, random_case


def costs(seed, *shape, dtype=np.float64):
    return np.random.default_rng(seed).random(shape).astype(dtype)


def weights(seed, *shape):
    found = np.random.default_rng(seed).uniform(0.2, 1.0, shape)
    return found / found.sum(axis=-1, keepdims=True)


def stacked(cases, dtype=np.float64):
    """The arguments of `solve` for cases of one shape and one pair of penalties."""
    return {
        "cost": np.array([case.cost for case in cases]).astype(dtype),
        "a": np.array([case.a for case in cases]).astype(dtype),
        "b": np.array([case.b for case in cases]).astype(dtype),
        "epsilon": np.array([case.epsilon for case in cases]),
        "rows": make(cases[0].rows),
        "cols": make(cases[0].cols),
        "reference": cases[0].reference,
    }


def random_cases(seed, count, n, m, **fields):
    return [random_case(1000 * seed + k, n, m, **fields) for k in range(count)]


def check(cases, tol, dtype=np.float64, **options):
    """Solve together; the promises of `converged` and every certificate hold, recomputed for each problem alone."""
    solution = eot.solve(**stacked(cases, dtype), tol=tol, on_failure="raise", **options)
    ulp = 2 * float(np.finfo(dtype).eps)
    for k, case in enumerate(cases):
        exact = case.but(dtype=dtype).rounded_to_dtype
        f, g = solution.f[k], solution.g[k]
        plan, mass, rounding = exact.plan(f, g), exact.unit_of_mass(f, g), exact.rounding(f, g)
        slack = (rounding + 1e-14) * exact.size_of_terms(f, g)
        assert exact.residual(f, g) <= (tol + rounding) * mass
        assert exact.relaxed_gap(f, g) <= tol * exact.unit_of_gap(f, g) + slack
        # plans in float32 end at 2^-125
        np.testing.assert_allclose(solution.plan[k], plan, rtol=0, atol=(ulp + rounding) * plan.sum() + 1e-37)
        np.testing.assert_allclose(solution.row_marginal[k], plan.sum(axis=1), rtol=0, atol=rounding * mass)
        np.testing.assert_allclose(solution.col_marginal[k], plan.sum(axis=0), rtol=0, atol=rounding * mass)
        np.testing.assert_allclose(solution.residual[k], exact.residual(f, g), rtol=1e-6, atol=2 * rounding * mass)
        # the exponents of the cells that cost most are the largest
        np.testing.assert_allclose(solution.transport_cost[k], exact.transport_cost(plan), rtol=20 * rounding + 1e-14)
        np.testing.assert_allclose(solution.dual_value[k], exact.dual(f, g), rtol=0, atol=slack)
        primal = exact.primal(
            np.asarray(solution[k].rounded_plan()), slack=(20 * ULP64 + rounding) * mass
        )  # float64, whatever the cost
        assert solution.gap[k] >= 0.0
        np.testing.assert_allclose(solution.gap[k], primal - exact.dual(f, g), rtol=0, atol=2 * slack)
        np.testing.assert_allclose(solution.value[k], primal, rtol=0, atol=slack)
    return solution


def alone(k, batch=None, *, cost, a=None, b=None, epsilon, **options):
    """Problem k (an index) of these arguments as one solve; `batch` is the batch shape."""
    batch = np.shape(cost)[:-2] if batch is None else batch

    def at(values, rest):
        values = np.asarray(values)
        return np.broadcast_to(values, (*batch, *values.shape[values.ndim - rest :]))[k]

    for name in ("rows", "cols"):
        penalty = options.get(name, eot.Fixed())
        for field in ("rho", "lam"):
            if hasattr(penalty, field):
                options[name] = type(penalty)(float(at(getattr(penalty, field), 0)))
    if options.get("mask") is not None:
        options["mask"] = at(options["mask"], 2)
    return eot.solve(
        at(cost, 2),
        None if a is None else at(a, 1),
        None if b is None else at(b, 1),
        epsilon=float(at(epsilon, 0)),
        **options,
    )


def agree(solution, arguments, atol=1e-9, tol=1e-12, **options):
    """The batch's plans are those of solves of every problem alone."""
    for k in np.ndindex(solution.problem.batch):
        single = alone(k, solution.problem.batch, **arguments, tol=tol, **options)
        np.testing.assert_allclose(
            solution.plan[k], single.plan, rtol=0, atol=atol * max(single.plan.sum(), 1e-300), err_msg=str(k)
        )
        np.testing.assert_allclose(solution.value[k], single.value, rtol=atol, atol=atol * single.plan.sum())
