"""``mpiexec elastic-ot solve``: every process reads and writes its own rows, and the table is printed once."""

import json
import subprocess
import sys

import numpy as np
import pytest

import elastic_ot as eot
from helpers.engines import environment, mpi_command

RNG = np.random.default_rng(0)
COST, SHARES = RNG.random((50, 40)), RNG.random(50) + 0.5
SHARES /= SHARES.sum()


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.save("cost.npy", COST)
    np.savetxt("a.csv", SHARES)
    np.save("x.npy", COST[:, :2])
    np.save("y.npy", COST[:30, 2:4])
    return tmp_path


def run(size, *words):
    command = [*mpi_command(size), sys.executable, "-m", "elastic_ot", *words]
    return subprocess.run(
        command, env=environment(), timeout=120, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL
    )


def solve(size, *words):
    return run(size, "solve", *words)


def test_parts_are_the_rows_of_one_solve(folder):
    done = solve(3, "cost.npy", "--a", "a.csv", "--epsilon", "0.05x", "--method", "log", "--output", "plan.npz")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("status") == 1
    assert "50 x 40" in done.stdout
    epsilon = 0.05 * np.ptp(COST)
    one = eot.solve(COST, SHARES, epsilon=epsilon, method="log")
    parts = [np.load(f"plan-{rank}-of-3.npz") for rank in range(3)]
    assert np.concatenate([np.arange(*part["rows"]) for part in parts]).tolist() == list(range(50))
    np.testing.assert_allclose(np.concatenate([part["f"] for part in parts]), one.f, rtol=0, atol=1e-12)
    np.testing.assert_allclose(np.concatenate([part["plan"] for part in parts]), one.plan, rtol=1e-9, atol=1e-15)
    for part in parts:
        assert part["g"].tobytes() == parts[0]["g"].tobytes()
        assert part["epsilon"] == pytest.approx(epsilon, rel=1e-15)


def test_points_are_read_by_their_rows(folder):
    done = solve(2, "--points", "x.npy", "y.npy", "--epsilon", "0.05", "--cols", "kl:1")
    assert done.returncode == 0, done.stderr
    assert "50 x 30" in done.stdout


def test_parts_of_text_and_one_object(folder):
    np.savez("all.npz", cost=COST, a=SHARES, mask=COST < 0.9)
    done = solve(2, "all.npz", "--epsilon", "0.1", "--method", "log", "--json", "--output", "plan.csv")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["shape"] == [50, 40]
    one = eot.solve(COST, SHARES, epsilon=0.1, mask=COST < 0.9, method="log")
    plan = np.concatenate([np.loadtxt(f"plan-{rank}-of-2.csv", delimiter=",") for rank in range(2)])
    np.testing.assert_allclose(plan, one.plan, rtol=1e-9, atol=1e-15)


def test_bad_input_ends_all_and_is_said_once(folder):
    done = solve(2, "cost.npy", "--epsilon", "-1")
    assert done.returncode == 2
    assert done.stderr.count("elastic-ot: rank 0: epsilon is -1.0") == 1


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--grid", "x.npy", "y.npy"), "--grid"),
        (("cost.npy", "--plot", "p.png"), "--plot"),
        (("-",), "-"),
        (("cost.npy", "--output", "-"), "--output -"),
    ],
)
def test_what_needs_all_rows_is_refused(folder, words, said):
    done = solve(2, *words, "--epsilon", "0.1")
    assert done.returncode == 2
    assert f"elastic-ot: {said}: " in done.stderr


def test_other_commands_are_refused_once(folder):
    done = run(2, "exact", "cost.npy")
    assert done.returncode == 2
    assert done.stderr.count("elastic-ot: exact: runs on one process") == 1
