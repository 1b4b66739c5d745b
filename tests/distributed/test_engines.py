"""Rows over the processes of MPI and of PyTorch: the answer of one process, and errors that reach all."""

import subprocess
import sys

import numpy as np
import pytest

import elastic_ot as eot
from helpers.array_libraries import _import
from helpers.engines import WORKER, environment, mpi_command
from helpers.rank_worker import CASES, rows_of, whole

PATIENCE = 120


def mpi(size, folder, *cases):
    command = [*mpi_command(size), sys.executable, str(WORKER), "mpi", str(folder), *cases]
    subprocess.run(command, env=environment(), timeout=PATIENCE, check=True)


def gloo(size, folder, *cases):
    _import("torch")
    start = [sys.executable, str(WORKER), "gloo", str(folder)]
    ranks = [subprocess.Popen([*start, str(rank), str(size), *cases], env=environment()) for rank in range(size)]
    try:
        assert [rank.wait(PATIENCE) for rank in ranks] == [0] * size
    finally:
        for rank in ranks:
            rank.kill()


ENGINES = [("mpi", 1), ("mpi", 2), ("mpi", 3), ("mpi", 4), ("gloo", 1), ("gloo", 3)]


def read(folder, case, size):
    return [dict(np.load(folder / f"{case}-{rank}.npz")) for rank in range(size)]


@pytest.mark.parametrize(("engine", "size"), ENGINES)
def test_the_answer_is_that_of_one_process(engine, size, tmp_path):
    {"mpi": mpi, "gloo": gloo}[engine](size, tmp_path, *CASES)
    for case, options in CASES.items():
        cost, a, b = whole(9000 if case == "wide" else 45)
        one, found = eot.solve(cost, a, b, **options), read(tmp_path, case, size)
        for other in found[1:]:
            for name in ("g", "value", "dual_value", "gap", "n_iter", "residual"):
                assert other[name].tobytes() == found[0][name].tobytes(), (case, name)
        assert found[0]["n_iter"] == one.n_iter
        np.testing.assert_allclose(found[0]["g"], one.g, rtol=0, atol=1e-12)
        np.testing.assert_allclose(np.concatenate([x["f"] for x in found]), one.f, rtol=0, atol=1e-12)
        np.testing.assert_allclose(np.concatenate([x["plan"] for x in found]), one.plan, rtol=1e-9, atol=1e-13)
        assert found[0]["gap"] == pytest.approx(one.gap, rel=1e-4, abs=1e-12)


@pytest.mark.parametrize(("engine", "size"), [("mpi", 3), ("gloo", 2)])
def test_an_error_of_one_rank_reaches_all(engine, size, tmp_path):
    names = "bad", "callback", "interrupt"
    {"mpi": mpi, "gloo": gloo}[engine](size, tmp_path, *names)
    found = zip(*(read(tmp_path, name, size) for name in names), strict=True)
    for rank, (bad, callback, interrupt) in enumerate(found):
        last = f"rank {size - 1}"
        assert str(bad["error"]).startswith(f"ValueError: {last}: a[0] is -")
        own = "ZeroDivisionError: oh"
        assert str(callback["error"]) == (own if rank == size - 1 else f"RankError: {last}: {own}")
        stopped = "KeyboardInterrupt: " if rank == size - 1 else f"RankError: {last}: KeyboardInterrupt"
        assert str(interrupt["error"]) == stopped


def test_rows_are_dealt_out_once():
    for size in (1, 2, 3, 4):
        rows = [rows_of(rank, size) for rank in range(size)]
        assert np.concatenate([np.arange(60)[own] for own in rows]).tolist() == list(range(60))
