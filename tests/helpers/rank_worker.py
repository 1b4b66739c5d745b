"""What a process of an engine does in the tests: solve its rows of a problem, and write what it found.

``python rank_worker.py mpi FOLDER CASE...`` under mpiexec; `run` for processes that have a communicator.
"""

import signal
import sys
from pathlib import Path

import numpy as np

import elastic_ot as eot

N, M = 60, 45
CASES = {
    "log": {"epsilon": 0.05, "method": "log"},
    "stabilized": {"epsilon": 0.01, "method": "stabilized"},
    "newton": {"epsilon": 0.002, "method": "newton", "tol": 1e-9},
    "soft": {"epsilon": 0.05, "rows": eot.KL(0.3), "cols": eot.L2(0.2), "method": "log"},
    "budget": {"epsilon": 0.05, "tol": 0, "max_iter": 7},
    "wide": {"epsilon": 0.05, "tol": 0, "max_iter": 5},  # so many columns that each rank adds up some of them
}
NAMES = "f", "g", "value", "dual_value", "gap", "n_iter", "residual", "plan"


def whole(m=M):
    """Cost and weights of a cloud in the square."""
    rng = np.random.default_rng(0)
    x, y = rng.random((N, 2)), rng.random((m, 2))
    a, b = rng.random(N) + 0.1, rng.random(m) + 0.1
    return ((x[:, None] - y) ** 2).sum(-1), a, b * (a.sum() / b.sum())


def rows_of(rank, size):
    """Uneven parts; of three ranks or more one has none."""
    weights = np.arange(1, size + 1.0)
    weights[1 : size - 1] *= 0.0 if size > 2 else 1.0
    ends = np.round(np.cumsum(weights) / weights.sum() * N).astype(int)
    return slice(0 if rank == 0 else int(ends[rank - 1]), int(ends[rank]))


def run(comm, rank, size, folder, cases):
    """Solve the cases, or fail as they say; one file a rank and case."""
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs begin without one
    for case in cases:
        found = failing(comm, rank, size, case) if case not in CASES else solved(comm, rank, size, case)
        np.savez(Path(folder) / f"{case}-{rank}.npz", **found)


def solved(comm, rank, size, case):
    own, (cost, a, b) = rows_of(rank, size), whole(9000 if case == "wide" else M)
    solution = eot.solve(cost[own], a[own], b, comm=comm, **CASES[case])
    return {name: np.asarray(getattr(solution, name)) for name in NAMES}


def failing(comm, rank, size, case):
    """Bad input, an error in a callback, or Ctrl-C, on the last rank only: what each has raised."""
    own, (cost, a, b), last = rows_of(rank, size), whole(), rank == size - 1

    def fail(iteration, residual):
        if case == "interrupt":
            signal.raise_signal(signal.SIGINT)  # as Ctrl-C does
            return
        raise ZeroDivisionError("oh")

    if case == "bad" and last:
        a = -a
    try:
        callback = fail if case != "bad" and last else None
        eot.solve(cost[own], a[own], b, epsilon=0.05, callback=callback, comm=comm)
    except (Exception, KeyboardInterrupt) as error:
        return {"error": np.array(f"{type(error).__name__}: {error}")}
    return {"error": np.array("none")}


def join_gloo(rank, size, folder, cases):
    """A process of PyTorch."""
    import torch.distributed as distributed

    distributed.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=size)
    run(distributed.group.WORLD, rank, size, folder, cases)
    distributed.barrier()  # nobody leaves while another still waits for a message
    distributed.destroy_process_group()


if __name__ == "__main__":
    kind, folder, *cases = sys.argv[1:]
    if kind == "mpi":
        from mpi4py import MPI

        world = MPI.COMM_WORLD
        run(world, world.Get_rank(), world.Get_size(), folder, cases)
    else:
        join_gloo(int(cases.pop(0)), int(cases.pop(0)), folder, cases)
