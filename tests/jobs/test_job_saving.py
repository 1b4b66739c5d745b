"""A solution on disk: whole, or as the two potentials that it is made of."""

import pickle
from pathlib import Path

import numpy as np
import pytest

import elastic_ot as eot

RNG = np.random.default_rng(37)


def keep_solution(solution, path):
    """The whole of it, with its problem; to be read by the same version of the package, from files that one trusts."""
    Path(path).write_bytes(pickle.dumps(solution))
    return pickle.loads(Path(path).read_bytes())


def save_potentials(solution, path):
    np.savez(path, f=solution.f, g=solution.g, epsilon=solution.epsilon)


def solve_again(cost, path):
    """From the saved potentials, certified anew: one look at the cost, if they are still right."""
    with np.load(path) as saved:
        return eot.solve(cost, epsilon=float(saved["epsilon"]), init=(saved["f"], saved["g"]))


COSTS = {
    "matrix": RNG.random((30, 20)),
    "cloud": eot.PointCloud(RNG.random((30, 2)), RNG.random((20, 2))),
    "grid": eot.Grid((6, 5), (5, 4)),
}


@pytest.mark.parametrize("cost", COSTS.values(), ids=COSTS)
def test_a_solution_comes_back_whole(cost, tmp_path):
    solution = eot.solve(cost, epsilon=0.05, rows=eot.KL(1.0))
    back = keep_solution(solution, tmp_path / "solution.pickle")
    assert np.array_equal(back.plan, solution.plan)
    assert (back.gap, back.status, back.bounds()) == (solution.gap, solution.status, solution.bounds())


def test_saved_potentials_solve_the_problem_again_at_once(tmp_path):
    cost = RNG.random((30, 20))
    first = eot.solve(cost, epsilon=0.02)
    save_potentials(first, tmp_path / "potentials.npz")
    again = solve_again(cost, tmp_path / "potentials.npz")
    assert again.converged
    assert again.n_iter <= 1 < first.n_iter
    assert np.abs(again.plan - first.plan).sum() < 1e-5
