"""A small problem in one compiled call: the first look, iterations of scaling, and the marginals that certify them.

What surrounds a small solve costs more than its arithmetic, so here it is one call without Python in between. It knows
matrices without masked entries, positive weights and update rules that are powers (`Fixed`, `KL`, `Free`), and gives up
where anything else is met, or where plain scaling is not the right method: the caller then takes the long way.

The plan is u_i K_ij v_j with K = exp(-(C - lowest) / epsilon). An iteration is one pass over K: row i of K v gives u_i,
and u_i times the same row feeds K^T u.

Users wait for the compiler. So everything is one function, exponentials are filled in one place, and logarithms, of
which there are few, are calls of the C library. Where both marginals are fixed, `taus` is None, and Numba leaves out
what the other penalties ask for.

Numba's cache watches this file only: after a change of `vectors` in a checkout, delete the cache (`__pycache__`).
"""

from __future__ import annotations

import numpy as np

from ..protocol import LOG2E
from .flags import rows_kernel, whole
from .vectors import fill

NOTED = 64  # times the residual is noted: after 1, 2, 3 iterations, then after half as many more
BELIEVED, TRIED = 4, 0.125  # looks, and share of the patience, before the rate of convergence is believed
AIMED = 0.99  # of the tolerance: potentials that are returned miss it by rounding else


@whole
def _range(cost):
    """Least and largest entry; nan if an entry is not finite."""
    low, high, sound = np.inf, -np.inf, 0.0
    for i in range(cost.shape[0]):
        for j in range(cost.shape[1]):
            c = np.float64(cost[i, j])
            low = min(low, c)
            high = max(high, c)
            sound += c * 0.0
    return low + sound, high


@whole
def _sum(weights):
    """The sum of positive weights, nan of others."""
    total, least = 0.0, np.inf
    for i in range(weights.size):
        total += weights[i]
        least = min(least, weights[i])
    return total if least > 0.0 else np.nan


@whole
def _exponentials(cost, inv2, alpha2, beta2, plan, row, col):
    """Fill the plan with these exponents in base 2, and its marginals; returns its total."""
    n, m = cost.shape
    total = 0.0
    for j in range(m):
        col[j] = 0.0
    for i in range(n):
        p = plan[i]
        row[i] = fill(cost[i], inv2, beta2, alpha2[i], p)
        total += row[i]
        for j in range(m):
            col[j] += p[j]
    return total


@whole
def _scaling(weight, taus, side, shift, s):
    """The scaling of an entry whose sum under the other side is s; `shift` is lowest / epsilon for rows."""
    if taus is None:
        return weight / s
    tau = taus[side]
    return weight / s if tau == 1.0 else weight * np.exp(-tau * (np.log(s) - shift) - shift)


@whole
def _row_pass(kernel, a, taus, shift, v, u, t):
    """Update u, and t = K^T u along with it."""
    n, m = kernel.shape
    for j in range(m):
        t[j] = 0.0
    for i in range(n):
        s = 0.0
        for j in range(m):
            s += kernel[i, j] * v[j]
        x = _scaling(a[i], taus, 0, shift, s)
        u[i] = x
        for j in range(m):
            t[j] += x * kernel[i, j]


@whole
def _translate(taus, b, u, v, t):
    """Move (f, g) to (f + s, g - s), which leaves the plan, where the dual is largest; returns the rows' residual.

    Rows that are exact carry sum a exp(-f / rho), which is to be sum b exp(-g / rho).
    """
    stretch_a, stretch_b = (1.0 - taus[0]) / taus[0], (1.0 - taus[1]) / taus[1]  # epsilon / rho
    carried, asked = 0.0, 0.0
    for j in range(v.size):
        carried += v[j] * t[j]
        asked += b[j] if stretch_b == 0.0 else b[j] * np.exp(-stretch_b * np.log(v[j] / b[j]))
    step = np.log(carried / asked) / (stretch_a + stretch_b)
    factor = np.exp(step)
    for i in range(u.size):
        u[i] *= factor
    for j in range(v.size):
        v[j] /= factor
        t[j] *= factor
    return carried * abs(np.expm1((taus[0] - 1.0) * step))


@whole
def _column_residual(b, taus, v, t, new):
    """Compute the next v, and what it would change marginals by in L1."""
    error, total = 0.0, 0.0
    for j in range(v.size):
        new[j] = _scaling(b[j], taus, 1, 0.0, t[j])
    for j in range(v.size):
        error += abs(new[j] - v[j]) * t[j]
        total += v[j] * t[j]
    return error, total


@whole
def _needed(now, low, before, high, target):
    """Iterations to the target at the rate between two looks."""
    if not (0.0 < low < high and target < low):
        return np.inf
    return (now - before) * np.log(low / target) / np.log(high / low)


@whole
def _potentials(epsilon, low, taus, weights, scalings, potentials):
    """Write potentials in cost units; returns the dual value of the sides."""
    value = 0.0
    for side in range(2):
        weight, x, f = weights[side], scalings[side], potentials[side]
        shift = low if side == 0 else 0.0
        for i in range(f.size):
            f[i] = epsilon * np.log(x[i] / weight[i]) + shift
            if taus is None:
                value += weight[i] * f[i]
            else:
                tau = taus[side]
                rho = epsilon * tau / (1.0 - tau)
                f[i] = f[i] if tau > 0.0 else 0.0
                value += weight[i] * f[i] if tau == 1.0 else weight[i] * rho * (1.0 - np.exp(-f[i] / rho))
    return value


@whole
def _measured(epsilon, taus, weights, marginals, exponents2, potentials):
    """Residual, its part on hard sides, gap of the others, dual value, and size of the exponents: as `SideMeasure`."""
    error, hard, gap, dual, size = 0.0, 0.0, 0.0, 0.0, 0.0
    for side in range(2):
        weight, marginal, exponent2, f = weights[side], marginals[side], exponents2[side], potentials[side]
        for i in range(f.size):
            w, r = weight[i], marginal[i]
            size += r * abs(exponent2[i]) / LOG2E
            if taus is None:
                hard += abs(r - w)
                dual += w * f[i]
            else:
                tau = taus[side]
                rho = epsilon * tau / (1.0 - tau)
                if tau == 1.0:
                    hard += abs(r - w)
                    dual += w * f[i]
                else:
                    change = tau * np.log(w / r) - (1.0 - tau) * (f[i] / epsilon)
                    error += r * abs(np.expm1(change))
                if 0.0 < tau < 1.0:
                    asked = w * np.exp(-f[i] / rho)
                    x = (r - asked) / asked
                    gap += rho * asked * ((1.0 + x) * np.log1p(x) - x)
                    dual += rho * (w - asked)
    return error + hard, hard, gap, dual, size


@rows_kernel
def solve_small(
    cost, epsilon, taus, tol, same, span, cols_last, max_iter, patience, plan, of_rows, of_cols, look, facts
):
    """Solve with the weights of_rows[0] and of_cols[0]; facts[0] is 1 if it has.

    Parameters
    ----------
    taus : pair of float, or None
        Strengths of the updates: 1 for `Fixed`, 0 for `Free`, rho / (rho + epsilon) for `KL`. None if both are 1.
    same : float
        Relative difference of two fixed masses that is rounding: b is multiplied by their ratio.
    span : float
        Range of the cost over epsilon up to which K holds it.
    cols_last : bool
        The last update is one of the columns.
    patience : float
        Iterations left for which this is the right method.
    plan : ndarray, shape (n, m)
        Written.
    of_rows, of_cols : ndarrays, shapes (4, n) and (6, m)
        Weights, potentials and marginals; the others are scratch.
    look : ndarray, shape (NOTED, 3)
        Iterations, residual and dual value, facts[2] times.
    facts : ndarray, shape (12,)
        Solved (1 or 0), iterations, looks, the range of the cost, the factor of b, then as in `Measure` residual,
        marginal error, gap of relaxed sides, dual value and mass, and the size of the exponents.
    """
    a, f, row, u = of_rows[0], of_rows[1], of_rows[2], of_rows[3]
    b, g, col, v, t, new = of_cols[0], of_cols[1], of_cols[2], of_cols[3], of_cols[4], of_cols[5]
    facts[0] = 0.0
    low, high = _range(cost)
    sum_a, sum_b = _sum(a), _sum(b)
    fixed, mass = taus is None, sum_a
    if taus is not None:
        mass = sum_a if taus[0] == 1.0 else sum_b if taus[1] == 1.0 else 0.0
    if not (high - low <= span * epsilon and 0.0 < sum_a * sum_b < np.inf):
        return
    if not fixed and abs(low) > span * epsilon:
        return  # scalings might overflow
    factor = 1.0
    if fixed and sum_a != sum_b:
        if abs(sum_a - sum_b) > same * min(sum_a, sum_b):
            return
        factor = sum_a / sum_b
        for j in range(b.size):
            b[j] *= factor
    shift, inv2 = low / epsilon, LOG2E / epsilon
    for i in range(u.size):
        u[i] = low * inv2
    for j in range(v.size):
        v[j] = 0.0
    total, done, count, high_before, due, before = 0.0, 0, 0, np.inf, 1, 0
    for certified in range(2):  # the exponentials of K and of the plan are one loop, compiled once
        total = _exponentials(cost, inv2, u, v, plan, row, col)
        if certified == 1:
            break
        for j in range(v.size):
            v[j] = b[j]
        for k in range(1, max_iter + 1):
            _row_pass(plan, a, taus, shift, v, u, t)
            moved = 0.0
            if taus is not None:
                if taus[0] > 0.0 and taus[1] > 0.0:
                    moved = _translate(taus, b, u, v, t)
            residual, total = _column_residual(b, taus, v, t, new)
            residual += moved
            target = AIMED * tol * (mass if mass > 0.0 else total)
            if not residual < np.inf:
                return
            if k == due or residual <= target:
                due = max(k + 1, k + k // 2)
                look[count, 0], look[count, 1] = k, residual
                look[count, 2] = _potentials(epsilon, low, taus, (a, b), (u, v), (f, g)) - epsilon * total
                count += 1
                if residual <= target:
                    done = k
                    break
                seen = count >= BELIEVED and k >= TRIED * patience
                slow = seen and _needed(k, residual, before, high_before, target) > patience
                if slow or count == NOTED:
                    return
                before, high_before = k, residual
            for j in range(v.size):
                v[j] = new[j]
        if done == 0:
            return
        mean = 0.0
        for j in range(g.size):
            if cols_last:
                g[j] += epsilon * np.log(new[j] / v[j])
            mean += b[j] * g[j]
        mean = mean / sum_b if fixed else 0.0
        for i in range(f.size):
            f[i] += mean
            u[i] = (f[i] / epsilon + np.log(a[i])) * LOG2E
        for j in range(g.size):
            g[j] -= mean
            v[j] = (g[j] / epsilon + np.log(b[j])) * LOG2E
    log_mass = np.log(sum_a) * LOG2E  # which kernels elsewhere take out of the exponents of rows
    for i in range(u.size):
        u[i] -= log_mass
    error, hard, gap, dual, size = _measured(epsilon, taus, (a, b), (row, col), (u, v), (f, g))
    facts[0], facts[1], facts[2], facts[3], facts[4], facts[5] = 1.0, done, count, low, high, factor
    facts[6], facts[7], facts[8], facts[9] = error, hard, gap, dual - epsilon * total
    facts[10], facts[11] = mass if mass > 0.0 else total, size
