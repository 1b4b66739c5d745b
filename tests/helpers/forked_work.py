"""What processes of tests/house/test_processes.py compute: importable, so that a spawned child finds it."""

import numpy as np

import elastic_ot as eot

KINDS = ["small", "large", "batch", "many tiny", "assign", "gradients"]


def work(kind):
    """One number; large problems and batches run on several threads where there are some."""
    rng = np.random.default_rng(4)
    if kind == "small":
        return eot.solve(rng.random((5, 6)), epsilon=0.1).value
    if kind == "large":  # the first by the scaling kernel, the second by the passes too
        values = [eot.solve(rng.random((n, n)), epsilon=0.05, max_iter=20, on_failure="ignore") for n in (500, 1300)]
        return sum(float(x.row_marginal.sum()) + x.value for x in values)
    if kind == "batch":
        return float(eot.solve(rng.random((20, 60, 60)), epsilon=0.1).value.sum())
    if kind == "many tiny":
        return float(eot.solve(rng.random((2000, 4, 4)), epsilon=0.1).plan.sum())
    if kind == "assign":
        return eot.assign(rng.random((300, 300))).cost
    solution = eot.solve(rng.random((20, 60, 60)), epsilon=0.1)
    return float(np.abs(solution.vjp(rng.random((20, 60, 60))).cost).sum())


def all_work():
    """Every kind, in order."""
    return [work(kind) for kind in KINDS]
