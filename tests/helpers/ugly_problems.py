"""Random small problems with ugly ranges, and judges that recompute in extended precision what a result claims.

A problem is made of one seed, so that a fault can be looked at alone: ``python tests/helpers/ugly_problems.py SEED``.
"""

import sys
import time
import traceback
import warnings
from dataclasses import dataclass

import numpy as np

import elastic_ot as eot

LONG = np.longdouble
METHODS = ["auto", "scaling", "stabilized", "log", "epsilon_scaling", "newton"]
CALLS = ["solve"] * 5 + ["batch"] * 2 + ["exact", "assign", "divergence"]
REFUSALS = (ValueError, TypeError)
STEPS = 200_000  # of `_steps` whose processor time a call may take, its second time: 1.1 s on a quiet EPYC Zen 4
ULP = 2.0**-52


class Fault(AssertionError):
    """What a call did that it may not."""


@dataclass
class Ugly:
    """Arguments of one call."""

    call: str
    cost: np.ndarray
    a: np.ndarray | None
    b: np.ndarray | None
    options: dict

    def run(self):
        call = {"exact": eot.exact, "assign": eot.assign}.get(self.call, eot.solve)
        if self.call == "assign":
            return call(self.cost, **self.options)
        if self.call == "divergence":
            return eot.divergence(self.cost, *self.options["costs"], self.a, self.b, **self.options["how"])
        return call(self.cost, self.a, self.b, **self.options)


def ugly(seed):
    """The problem of a seed."""
    rng = np.random.default_rng(seed)
    call = CALLS[rng.integers(len(CALLS))]
    n, m = (int(k) for k in rng.integers(1, [31, 31] if rng.random() < 0.5 else [7, 7]))
    n = 1 if rng.random() < 0.05 else n
    if call == "divergence":
        return _divergence(rng, n, m)
    shape = (3, n, m) if call == "batch" else (n, m)
    with np.errstate(over="ignore"):
        cost = _costs(rng, shape)
    if call == "assign":
        if rng.random() < 0.3:
            cost = np.where(rng.random(shape) < 0.3, np.inf, cost.astype(float))
        return Ugly(call, cost, None, None, {"maximize": bool(rng.random() < 0.3)} if np.isfinite(cost).all() else {})
    a, b = _weights(rng, n), _weights(rng, m)
    finite = cost.astype(float)[np.isfinite(cost.astype(float))]
    span = float(np.ptp(finite)) or float(np.abs(finite).max(initial=0.0)) or 1.0
    mask = rng.random(shape) < rng.uniform(0.3, 1.0) if rng.random() < 0.25 else None
    if call == "exact":
        kinds = ["Fixed", "TV", "Between", "AtMost", "Free"]
        rows, cols = (_penalty(rng, kinds, span) for _ in range(2))
        return Ugly(call, cost, a, b, {"rows": rows, "cols": cols, "mask": mask})
    with np.errstate(all="ignore"):
        epsilon = float(span * 10.0 ** rng.uniform(-9, 3))
    kinds = ["Fixed", "Fixed", "KL", "TV", "L2", "Between", "AtMost", "Free", "Elastic"]
    options = {
        "epsilon": epsilon,
        "rows": _penalty(rng, kinds, epsilon),
        "cols": _penalty(rng, kinds, epsilon),
        "mask": mask,
        "reference": "counting" if rng.random() < 0.2 else "product",
        "method": METHODS[rng.integers(len(METHODS))] if rng.random() < 0.6 else "auto",
        "tol": float(rng.choice([1e-6, 1e-6, 1e-3, 1e-9, 1e-12, 0.0])),
        "on_failure": "ignore",
    }
    if options["tol"] == 0.0:
        options["max_iter"] = int(rng.integers(1, 50))
    elif options["method"] not in ("auto", "newton"):
        options["max_iter"] = 2000  # of sweeps that may not arrive
    return Ugly(call, cost, a, b, options)


def _costs(rng, shape):
    kind, scale = rng.integers(9), 10.0 ** (rng.uniform(-300, 300) if rng.random() < 0.4 else rng.uniform(-3, 3))
    if kind == 0:
        cost = rng.integers(0, 4, shape) * scale  # ties
    elif kind == 1:
        cost = np.full(shape, rng.choice([0.0, 1.0, -1.0])) * scale
    elif kind == 2:
        cost = 10.0 ** rng.uniform(-12, 0, shape) * scale
    elif kind == 3:
        cost = (rng.random(shape) + 10.0 ** rng.uniform(0, 12)) * scale
    elif kind == 4:
        cost = (rng.random((*shape[:-1], 1)) - rng.random((*shape[:-2], 1, shape[-1]))) ** 2 * scale
    elif kind == 5:
        cost = (rng.random(shape) + 10.0 ** rng.uniform(0, 3) * (rng.random(shape) < 0.5)) * scale
    elif kind == 6:
        return rng.integers(-5, 100, shape)
    elif kind == 7:
        cost = 5.0 * rng.standard_normal(shape)
        return cost.astype(rng.choice([np.float16, np.float32]))
    else:
        cost = rng.random(shape) * scale
    cost = np.clip(cost, -1e300, 1e300)
    return np.asfortranarray(cost) if rng.random() < 0.2 and len(shape) == 2 else cost


def _weights(rng, size):
    kind = rng.integers(8)
    if kind <= 1:
        return None
    w = rng.random(size) + 0.01
    if kind == 2:
        w = 10.0 ** rng.uniform(-300, 0, size)
    elif kind == 3:
        w = 10.0 ** rng.uniform(-20, 0, size)
    elif kind == 4:
        w = w * (rng.random(size) < 0.6)
        w[rng.integers(size)] = 1.0
    elif kind == 5:
        w = rng.integers(1, 4, size).astype(float)
    w = w / w.sum()
    if kind == 6:
        return w.astype(rng.choice([np.float16, np.float32]))
    return w


def _penalty(rng, kinds, epsilon):
    kind = kinds[rng.integers(len(kinds))]
    with np.errstate(all="ignore"):
        rho = float(epsilon * 10.0 ** rng.uniform(-12, 12))
    if kind in ("KL", "TV", "L2"):
        return getattr(eot, kind)(rho if np.isfinite(rho) else 1.0)
    if kind == "Elastic":
        return eot.Elastic(float(rng.choice([0.0, 1.0, rng.random(), 1e-12, 1 - 1e-12])))
    if kind == "Between":
        return eot.Between(float(rng.uniform(0, 1)), float(rng.uniform(1, 3)))
    return getattr(eot, kind)()


def _divergence(rng, n, m):
    scale = 10.0 ** rng.uniform(-100, 100) if rng.random() < 0.3 else 1.0
    x, y = rng.random((n, 2)), rng.random((m, 2))
    if rng.random() < 0.2:
        y = x[rng.integers(0, n, m)]
    costs = [((p[:, None] - q) ** 2).sum(-1) * scale for p, q in ((x, y), (x, x), (y, y))]
    epsilon = float((np.ptp(costs[0]) or scale) * 10.0 ** rng.uniform(-6, 2))
    how = {"epsilon": epsilon, "on_failure": "ignore"}
    for side in ("rows", "cols"):
        how[side] = _penalty(rng, ["Fixed", "Fixed", "KL", "TV", "AtMost"], epsilon)
    return Ugly("divergence", costs[0], _weights(rng, n), _weights(rng, m), {"costs": costs[1:], "how": how})


def check(seed):
    """Run the problem of a seed; what went wrong as a text, None if nothing did, and whether it was refused."""
    problem = ugly(seed)
    try:
        found = _timed(problem)
        if found is None:
            return None, True
        _judge(problem, found)
    except Fault as fault:
        return f"seed {seed}: {problem.call}: {fault}", False
    except Exception:
        last = traceback.format_exc().strip().splitlines()
        return f"seed {seed}: {problem.call}: {' | '.join(last[-4:])}", False
    return None, False


def _timed(problem):
    """The result, None if it was refused; the second of two calls counts, the first may have had to compile.

    The limit is what this machine, as busy as it is, takes for other work of small arrays.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.simplefilter("ignore", eot.ConvergenceWarning)
        seconds = 0.0
        for _ in range(2):
            began = time.process_time()
            try:
                found = problem.run()
            except eot.ConvergenceError as error:
                raise Fault(f"refused: {error}") from None
            except REFUSALS as error:
                frame = traceback.extract_tb(error.__traceback__)[-1]
                if "elastic_ot" not in frame.filename:
                    raise
                found = None
            seconds = time.process_time() - began
            if seconds < 0.3 or seconds < _steps(STEPS * (3 if problem.call == "batch" else 1)):
                return found
    raise Fault(f"took {seconds:.1f} s: {found!r}")


def _steps(count):
    """Processor time of this many steps on a matrix of 20 x 20 in NumPy, from a tenth of them."""
    x, began = np.linspace(0.0, 1.0, 400).reshape(20, 20), time.process_time()
    for _ in range(count // 10):
        np.log(np.exp(x - x.max(axis=1, keepdims=True)).sum(axis=1))
    return 10 * (time.process_time() - began)


def _judge(problem, found):
    if problem.call == "assign":
        return _judge_assignment(problem, found)
    if problem.call == "exact":
        return _judge_exact(found)
    if problem.call == "divergence":
        for one in (found.cross, found.self_x, found.self_y):
            judge(one, 1e-6)
        if found.converged and not np.isfinite(found.value):
            raise Fault(f"converged with value {found.value}")
        return None
    tol = problem.options["tol"]
    for one in found if problem.call == "batch" else [found]:
        judge(one, tol)
    return None


def judge(solution, tol):
    """A converged solution meets its tolerance by marginals in extended precision, or twice that with rounding."""
    f, g = solution.host.f, solution.host.g
    if solution.status is not eot.Status.BUDGET and not all((x < np.inf).all() for x in (f, g)):
        raise Fault(f"nan or inf in potentials: {solution!r}")
    if not solution.converged:
        return
    plan = np.asarray(solution.plan)
    numbers = [solution.dual_value, solution.residual, solution.marginal_error, solution.transport_cost]
    if not (np.isfinite(plan).all() and np.isfinite(numbers).all() and (plan >= 0).all()):
        raise Fault(f"nan or inf in a converged result: {numbers} {solution!r}")
    sides = solution.problem.rows, solution.problem.cols
    # a mask may leave no plan but nearly one, and the gap is then not known
    unknown = solution.problem.cost.masked and any(side.hard for side in sides)
    if not (solution.gap >= 0 and (np.isfinite(solution.gap) or unknown)):
        raise Fault(f"gap {solution.gap}: {solution!r}")
    missed, mass = residual(solution.problem, f, g)
    if not missed <= (2.5 * tol + 100 * ULP) * mass:
        raise Fault(f"converged to {tol:g}, but {float(missed / mass):.2e}: {solution!r}")
    single = plan.dtype == np.float32
    sums = plan.astype(LONG)
    rounding = (1e-6 if single else 1e-13) + 2.5 * tol
    pairs = (
        (solution.problem.rows, solution.problem.a, sums.sum(1)),
        (solution.problem.cols, solution.problem.b, sums.sum(0)),
    )
    for penalty, weights, marginal in pairs:
        if penalty.hard:
            lo, hi = penalty.box()
            off = np.maximum(lo * weights - marginal, 0).sum()
            if np.isfinite(hi):
                off += np.maximum(marginal - hi * weights, 0).sum()
            if not off <= rounding * mass:
                raise Fault(f"the plan's sums miss by {float(off / mass):.1e}: {solution!r}")


def residual(problem, f, g):
    """L1 change of both marginals in one more exact update, in extended precision, and the mass to compare it with."""
    cost = problem.cost.matrix.astype(LONG)
    a, b = problem.a.astype(LONG), problem.b.astype(LONG)
    allowed = np.isfinite(cost) & (problem.a > 0)[:, None] & (problem.b > 0)
    with np.errstate(all="ignore"):
        logs = np.log(a)[:, None] + np.log(b) if problem.reference == "product" else LONG(0)
        log_plan = (f.astype(LONG)[:, None] + g.astype(LONG) - cost) / LONG(problem.epsilon) + logs
        log_plan = np.where(allowed, log_plan, -np.inf)
        total, mass = LONG(0), None
        for penalty, weights, potential, axis in ((problem.rows, a, f, 1), (problem.cols, b, g, 0)):
            used = allowed.any(axis=axis)
            terms = log_plan[used] if axis == 1 else log_plan[:, used]
            top = terms.max(axis=axis, keepdims=True)
            log_marginal = np.log(np.exp(terms - top).sum(axis=axis)) + np.squeeze(top, axis)
            scaled = potential[used].astype(LONG) / LONG(problem.epsilon)
            change = _change(penalty, weights[used], log_marginal, scaled, LONG(problem.epsilon))
            total += np.abs(np.exp(log_marginal + change) - np.exp(log_marginal)).sum()
            lo, hi = penalty.box()
            if lo == hi and mass is None:
                mass = weights.sum()
        return total, np.exp(log_plan).sum() if mass is None else mass


def _change(penalty, a, log_marginal, scaled, epsilon):
    """Change of the potential over epsilon in one exact update, given the marginal and the potential over epsilon."""
    name, ratio = type(penalty).__name__, np.log(a) - log_marginal
    if name == "Free":
        return -scaled
    if name == "KL":
        tau = LONG(penalty.rho) / (LONG(penalty.rho) + epsilon)
        return tau * ratio - epsilon / (LONG(penalty.rho) + epsilon) * scaled
    if name == "TV":
        rho = LONG(penalty.rho) / epsilon
        return np.clip(ratio, -rho - scaled, rho - scaled)
    if name == "L2":  # a - epsilon F / rho = r exp(x) with F = scaled + x, by bisection
        rho = LONG(penalty.rho) / epsilon
        end = rho * a - scaled
        low, high = np.minimum(end, ratio) - 2 * np.abs(scaled) - 100, end
        for _ in range(300):
            x = (low + high) / 2
            above = np.log(np.maximum(a - (scaled + x) / rho, 0)) < log_marginal + x
            low, high = np.where(above, low, x), np.where(above, x, high)
        return (low + high) / 2
    lo, hi = penalty.box()
    least = ratio + np.log(LONG(lo)) if lo > 0 else np.full_like(ratio, -np.inf)
    most = ratio + np.log(LONG(hi)) if np.isfinite(hi) else np.full_like(ratio, np.inf)
    return np.minimum(np.maximum(-scaled, least), most)


def _judge_exact(found):
    problem = found.problem
    numbers = np.concatenate([found.mass, [found.value, found.dual_value, found.gap]])
    if not np.isfinite(numbers).all() or (found.mass < 0).any():
        raise Fault(f"nan or inf: {found!r}")
    mass = max(problem.a.sum(), problem.b.sum())
    for penalty, weights, index in ((problem.rows, problem.a, found.row_ind), (problem.cols, problem.b, found.col_ind)):
        marginal = np.bincount(index, found.mass, weights.size)
        lo, hi = penalty.box()
        off = np.maximum(lo * weights - marginal, 0).sum()
        off += np.maximum(marginal - hi * weights, 0).sum() if np.isfinite(hi) else 0.0
        if penalty.hard and not off <= 1e-9 * mass:  # sides whose masses differ by rounding are made equal
            raise Fault(f"marginals miss by {off / mass:.1e}: {found!r}")
    matrix = problem.cost.matrix[np.isfinite(problem.cost.matrix)].astype(float)
    size = max(np.abs(matrix).max(initial=0.0) * mass, abs(found.value))
    firm = sum(getattr(penalty, "rho", 0.0) for penalty in (problem.rows, problem.cols))
    rounding = 4 * ULP * sum(problem.shape) * firm * mass  # of the marginals, times what a unit of them costs
    if not found.gap <= 1e-9 * size + rounding:
        raise Fault(f"gap {found.gap:.1e} of {size:.1e}: {found!r}")


def _judge_assignment(problem, found):
    cost, k = problem.cost.astype(float), min(problem.cost.shape)
    if len(found[0]) != k or len(set(found[0])) != k or len(set(found[1])) != k:
        raise Fault(f"no assignment: {found!r}")
    matched = cost[found[0], found[1]]
    if not (np.isfinite(matched).all() and np.isfinite(found.gap)):
        raise Fault(f"forbidden or not finite: {found!r}")
    if not found.gap <= 1e-9 * np.abs(matched).max() * k:
        raise Fault(f"gap {found.gap:.1e}: {found!r}")


def run(seeds):
    """Faults of these seeds, and how many were refused."""
    faults, refused = [], 0
    for seed in seeds:
        fault, no = check(seed)
        refused += no
        if fault:
            faults.append(fault)
    return faults, refused


if __name__ == "__main__":
    first, last = int(sys.argv[1]), int(sys.argv[2] if len(sys.argv) > 2 else sys.argv[1]) + 1
    for number in range(first, last):
        text, _ = check(number)
        if text:
            print(text, flush=True)
    if last - first == 1:
        print(ugly(first))
