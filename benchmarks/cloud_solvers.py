"""Whole solves between points, ours and the peers', and the error of their potentials from all pairs of points."""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

import elastic_ot as eot
from elastic_ot.backends import load_cloud

from .cloud_families import CloudCase
from .peers import clouds as peers
from .peers.clouds import Potentials
from .peers.geomloss import potentials as geomloss
from .problems import Array

CORNER = 1500  # points a side of the solve that loads compiled code
RECOMPUTED = 200_000  # points a side, up to which all pairs are looked at once more

Solve = Callable[[Array, Array, float, float], Potentials]
PEERS: dict[str, Solve] = {
    "GeomLoss multiscale": partial(geomloss, backend="multiscale", scaling=0.5),
    "GeomLoss multiscale, scaling .9": partial(geomloss, backend="multiscale", scaling=0.9),
    "GeomLoss online": partial(geomloss, backend="online", scaling=0.5),
    "GeomLoss online, scaling .9": partial(geomloss, backend="online", scaling=0.9),
    "OTT": peers.ott_to,
    "POT lazy": peers.pot_to,
}
OURS = "elastic_ot"


@dataclass(frozen=True)
class Asked:
    """A case, the error that is asked for, and how many seconds there are."""

    case: CloudCase
    tol: float
    limit: float


def potentials_of(solution: eot.Solution, epsilon: float) -> Potentials:
    """Potentials over epsilon with respect to the counting reference, as the peers return them."""
    f, g = solution.f, solution.g
    return f / epsilon - np.log(f.size), g / epsilon - np.log(g.size)


def error_of(x: Array, y: Array, epsilon: float, found: Potentials) -> float:
    """L1 error of both marginals, from all pairs in double precision."""
    kernels, rows, cols = load_cloud(), np.empty(len(x)), np.empty(len(y))
    f, g = (np.ascontiguousarray(z, np.float64) for z in found)
    kernels.marginals(kernels.cloud(x, y, "sqeuclidean"), 1.0 / epsilon, f, g, rows, cols)
    return float(np.abs(rows - 1.0 / rows.size).sum() + np.abs(cols - 1.0 / cols.size).sum())


@dataclass(frozen=True)
class Solved:
    """Potentials, the seconds and processor seconds they took, and what the solver says of them."""

    asked: Asked
    found: Potentials
    wall: float
    busy: float
    said: dict[str, Any]

    def figures(self) -> dict[str, Any]:
        """With the error, where all pairs can be looked at."""
        case = self.asked.case
        many = case.n > RECOMPUTED
        error = None if many else error_of(*case.build(), case.epsilon, self.found)
        return {"wall": self.wall, "busy": self.busy, **self.said, "error": error}


def solve(solver: str, asked: Asked) -> Solved:
    x, y = asked.case.build()
    epsilon, said = asked.case.epsilon, {}
    began = time.perf_counter(), time.process_time()
    if solver == OURS:
        solution = eot.solve(
            eot.PointCloud(x, y), epsilon=epsilon, tol=asked.tol, time_limit=asked.limit, on_failure="ignore"
        )
    else:
        found = PEERS[solver](x, y, epsilon, asked.tol)
    seconds = time.perf_counter() - began[0], time.process_time() - began[1]
    if solver == OURS:
        found = potentials_of(solution, epsilon)
        said = {
            "status": solution.status.name,
            "residual": solution.residual,
            "iterations": solution.n_iter,
            "method": solution.method,
        }
    return Solved(asked, found, *seconds, said)


def warm_up(solver: str, asked: Asked) -> None:
    """A small solve of the same kind, which loads or compiles what the solver needs."""
    case = replace(asked.case, n=min(CORNER, asked.case.n), blur=0.1)
    solve(solver, replace(asked, case=case, tol=1e-2))
