"""The dual of a Case maximised by SciPy's L-BFGS-B: a second way to every answer, slow and independent."""

import numpy as np
from scipy.optimize import minimize


def _variables(spec, size):
    """Bounds of the variables x that stand for a potential, and the matrix that turns them into it.

    A Between potential is x1 - x2 with both parts >= 0, which makes its dual term linear; a TV potential lives in
    [-rho, rho], where its dual term is linear as well.
    """
    eye = np.eye(size)
    kind, *strength = spec
    if kind == "Between":
        return [(0.0, None)] * (2 * size), np.hstack([eye, -eye])
    if kind == "TV":
        return [(-strength[0], strength[0])] * size, eye
    if kind == "Free":
        return [(0.0, 0.0)] * size, eye
    return [(None, None)] * size, eye


def _term(spec, weight, x):
    """Sum and gradient in x of -phi*(-potential)."""
    kind, *strength = spec
    if kind in {"Fixed", "TV"}:
        return weight @ x, weight
    if kind == "Free":
        return 0.0, np.zeros_like(x)
    if kind == "KL":
        (rho,) = strength
        decay = np.exp(-x / rho)
        return rho * (weight @ (1.0 - decay)), weight * decay
    if kind == "L2":
        (rho,) = strength
        marginal = np.maximum(weight - x / rho, 0.0)
        return 0.5 * rho * (weight @ weight - marginal @ marginal), marginal
    assert kind == "Between"
    slope = np.concatenate([strength[0] * weight, -strength[1] * weight])
    return slope @ x, slope


def maximise_dual(case):
    """Potentials f, g that maximise the dual of a case without removed points, to about 1e-9."""
    (row_spec, a, _), (col_spec, b, _) = case.sides
    row_bounds, to_f = _variables(row_spec, a.size)
    col_bounds, to_g = _variables(col_spec, b.size)
    split = len(row_bounds)

    def loss(x):
        y, z = x[:split], x[split:]
        plan = case.plan(to_f @ y, to_g @ z)
        row_value, row_slope = _term(row_spec, a, y)
        col_value, col_slope = _term(col_spec, b, z)
        value = row_value + col_value - case.epsilon * (plan.sum() - case.kernel.sum())
        slope = np.concatenate([row_slope - to_f.T @ plan.sum(axis=1), col_slope - to_g.T @ plan.sum(axis=0)])
        return -value, -slope

    x = np.zeros(split + len(col_bounds))
    options = {"maxiter": 20_000, "maxfun": 40_000, "ftol": 0.0, "gtol": 1e-12, "maxcor": 30}
    for _ in range(3):  # a restart clears a stale curvature estimate
        x = minimize(loss, x, jac=True, method="L-BFGS-B", bounds=row_bounds + col_bounds, options=options).x
    return to_f @ x[:split], to_g @ x[split:]
