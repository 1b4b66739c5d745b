"""Exact problems that take long, to be interrupted."""

import numpy as np

import elastic_ot as eot


def slow_assignment(n, m=None):
    """Costs for which shortest paths are long (Machol and Wien), turned so that nothing is cheap at once."""
    return np.outer(np.arange(1.0, n + 1), np.arange(1.0, (m or n) + 1))


def line(n):
    """Two histograms on a line, where nearly all cells are tight and the core grows round after round."""
    rng = np.random.default_rng(n)
    x = np.linspace(0.0, 1.0, n)
    return np.abs(x[:, None] - x), rng.dirichlet(np.ones(n)), rng.dirichlet(np.ones(n))


CALLS = {
    "exact, simplex": lambda **options: eot.exact(*line(1500), **options),
    "exact, paths": lambda **options: eot.exact(*line(1500), rows=eot.TV(0.4), cols=eot.AtMost(), **options),
    "assign, own": lambda **options: eot.assign(slow_assignment(2000), **options),
    "assign, SciPy": lambda **options: eot.assign(slow_assignment(120, 200_000), **options),
}
