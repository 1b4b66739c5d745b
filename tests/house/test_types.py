"""What type checkers see: no Any in the public surface, and users' lines that pass or fail as they should."""

import importlib
import inspect
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import elastic_ot as eot
from helpers.array_libraries import MODULES, REQUIRED

ANY = re.compile(r"\bAny\b")
TOLD = ("__init__", "__getitem__", "__iter__")  # of the methods with underscores

FRONTS = ("bregman", "gromov", "lp", "partial", "solvers", "unbalanced", "utils")  # of POT's submodules
FRONT_ENDS = ["elastic_ot.compat.pot", *(f"elastic_ot.compat.pot.{name}" for name in FRONTS), "elastic_ot.sklearn"]
FRONT_ENDS += ["elastic_ot.compat.geomloss"] if "torch" in MODULES else []

GOOD = """
import numpy as np
from numpy.typing import NDArray
from typing import assert_type

import elastic_ot as eot
from elastic_ot.typing import ArrayLike

rng = np.random.default_rng(0)
C = rng.random((5, 4))
a, b = np.full(5, 0.2), np.full(4, 0.25)
Floats = NDArray[np.float64]

sol = eot.solve(C, epsilon=0.05)
assert_type(sol, eot.Solution)
assert_type(sol.plan, Floats)
assert_type(sol.f, Floats)
assert_type(sol.value, float)
assert_type(sol.status, eot.Status)
assert_type(sol.history.residual, Floats)
assert_type(sol.gradients().a, Floats)
assert_type(eot.solve(C, a, b, epsilon=0.05), eot.Solution)
assert_type(eot.solve(C, a, b, epsilon="0.05x", rows=eot.KL(1.0), cols=eot.Elastic(0.5), mask=C < 0.9), eot.Solution)
assert_type(eot.solve([[0.0, 1.0], [1.0, 0.0]], epsilon=1, method="log", tol=1e-8), eot.Solution)
assert_type(eot.solve(C, epsilon=np.float32(0.1), method=eot.Newton()), eot.Solution)
assert_type(eot.solve(eot.PointCloud(C[:, :2], C[:, 2:], "euclidean"), epsilon=0.05), eot.Solution)
assert_type(eot.solve(eot.Grid((4, 4)), epsilon=0.05), eot.Solution)
eot.solve(C, epsilon=0.1, init=sol)
eot.solve(C, epsilon=0.1, init=(sol.f, sol.g), end="cols", mass=0.5, on_failure="ignore")
eot.solve(C, epsilon=0.1, init=eot.exact(C), callback=lambda k, r: k > 5)
eot.solve(C, epsilon=0.1, cols=eot.KL(np.array([0.1, 1.0])))
eot.solve(C, epsilon=0.1, cols=eot.KL([0.1, 1.0]), rows=eot.Between(0.5, 2.0))

batch = eot.solve(C, epsilon=[0.1, 0.2])
assert_type(batch, eot.BatchSolution)
assert_type(batch[0], eot.Solution)
assert_type(batch.converged, NDArray[np.bool_])
assert_type([one.sparse_plan().nnz for one in batch], list[int])
assert_type(eot.solve(C, epsilon=np.array([0.1, 0.2])), eot.BatchSolution)
assert_type(eot.solve([C, C[:3]], [a, a[:3]], epsilon=0.1), eot.BatchSolution)
assert_type(eot.solve([[[0.0, 1.0]], [[1.0, 0.0]]], epsilon=0.1), eot.BatchSolution)
assert_type(eot.solve(rng.random((2, 5, 4)), epsilon=0.1, row_lengths=[5, 3]), eot.BatchSolution)
assert_type(eot.solve(rng.random((2, 5, 4)), epsilon=0.1, col_lengths=[4, 3], tol=0, max_iter=5), eot.BatchSolution)

assert_type(eot.exact(C, a, b), eot.ExactSolution)
assert_type(eot.exact([C, C[:3]]), eot.BatchExactSolution)
assert_type(eot.assign(C), eot.Assignment)
assert_type(eot.assign([C, C[:3]], maximize=True), eot.BatchAssignment)
rows, cols = eot.assign(C)
assert_type(eot.divergence(eot.PointCloud(C), epsilon=0.1), eot.Divergence)
assert_type(eot.divergence(eot.PointCloud(C), blur=0.1), eot.Divergence)
assert_type(eot.divergence(eot.PointCloud(C), epsilon=[0.1, 0.2]), eot.BatchDivergence)
assert_type(eot.barycenter(C, [a, a], epsilon=0.1).value, float)
eot.free_barycenter([C, C], support=3, epsilon=0.1)
eot.gromov(C[:4], eot.PointCloud(C), epsilon=0.1, init="product").plan
eot.transport_1d([0.0, 1.0], [1.0, 2.0]).plan
eot.sliced(C, C + 1.0, seed=0).value
i, j = eot.couple(C, C + 1.0, method="entropic", entropy=0.3)
weights = eot.applications.attention_weights(C, lam=0.5)
assert_type(weights, Floats)
assert_type(eot.applications.route(C, 2), eot.applications.Routing[Floats])


import elastic_ot.compat.pot as ot
from elastic_ot.sklearn import SinkhornTransport

assert_type(ot.sinkhorn(a, b, C, 0.1), Floats)
plan, log = ot.sinkhorn(a, b, C, reg=0.1, method="sinkhorn_log", numItermax=100, tau=1e3, log=True)
assert_type(plan, Floats)
assert_type(log["solution"].gap, float)
assert_type(ot.emd2([], [], C, log=True)[1]["solution"].gap, float)
assert_type(ot.unbalanced.sinkhorn_unbalanced2(a, b, C, 0.1, (1.0, 2.0), returnCost="total"), Floats)
assert_type(ot.bregman.empirical_sinkhorn(C, C, 0.1, isLazy=True), tuple[Floats, Floats])
assert_type(ot.gromov_wasserstein2(C[:4], C[:4], log=True)[0], Floats)
assert_type(ot.solve(C, reg=0.1, unbalanced=1.0).value, Floats)
assert_type(ot.solve_sample(C, C, lazy=True).plan, Floats | None)
assert_type(ot.barycenter(C, C @ C.T, 0.1), Floats)
assert_type(SinkhornTransport(0.1).fit(C, Xt=C + 1.0).transform(C), Floats)


class Own(eot.Cost):
    def __init__(self, x: Floats) -> None:
        self.x, self.shape, self.dtype = x, (len(x), len(x)), np.float64

    def block(self, rows: slice, cols: slice) -> Floats:
        return np.abs(np.subtract.outer(self.x[rows], self.x[cols]))


assert_type(eot.solve(Own(a), epsilon=0.1), eot.Solution)
edits = eot.FunctionCost(lambda x, y: [[len(v) - len(w) for w in y] for v in x], ["tea"], ["coffee", "milk"])
assert_type(eot.solve(edits, epsilon=0.1).map_new(["water"], [0.0, 1.0]), Floats)


def mine(cost: ArrayLike, solution: eot.Solution) -> Floats:
    return eot.solve(cost, epsilon=0.1, init=solution).plan


class Tensor:
    def detach(self) -> "Tensor":
        return self

    def __dlpack__(self) -> object:
        return 0


assert_type(eot.solve(Tensor(), epsilon=0.1), eot.Solution[Tensor])
assert_type(eot.solve(Tensor(), epsilon=0.1).plan, Tensor)
assert_type(eot.solve(Tensor(), epsilon=[0.1, 0.2])[0].f, Tensor)
eot.solve(Tensor(), epsilon=0.1, init=eot.solve(Tensor(), epsilon=0.1))
"""

BAD = {
    "solution.plann": 'has no attribute "plann"',
    "solution.sparse_plan().whatever": 'has no attribute "whatever"',
    "batch.sparse_plan()": 'has no attribute "sparse_plan"',
    "solution[0]": "is not indexable",
    "eot.solve(C)": "No overload variant",
    "eot.solve(C, reg=0.1)": "reg",
    'eot.solve(C, epsilon=0.1, methd="log")': "methd",
    'eot.solve(C, epsilon=0.1, method="lgo")': "No overload variant",
    "eot.solve(C, epsilon=0.1, rows=1.0)": "No overload variant",
    'eot.solve(C, epsilon=0.1, on_failure="rise")': "No overload variant",
    "eot.solve(C, epsilon=0.1, init=0.5)": "No overload variant",
    "eot.exact(C).residual": 'has no attribute "residual"',
    "eot.assign(C).plan": 'has no attribute "plan"',
    "eot.assign(C, cost_limt=1.0)": "cost_limt",
    'eot.divergence(C, blur="0.1x")': "incompatible type",
    "np.linalg.norm(solution)": "norm",
    "eot.KL(eot.Fixed())": "incompatible type",
    "eot.barycenter(C).weights": "epsilon",
    "eot.solv(C, epsilon=0.1)": "has no attribute",
    "ot.sinkhorn(a, b, C, 0.1, epsilon=0.1)": "No overload variant",
    "ot.sinkhorn(a, b, C, 0.1).plann": 'has no attribute "plann"',
    "SinkhornTransport(0.1).fit(C, Yt=C)": "Yt",
}
WITHOUT_FRAMEWORKS = "[mypy]\n[mypy-torch.*,jax.*]\nfollow_imports = skip\nignore_missing_imports = True\n"
START = """import numpy as np
import elastic_ot as eot
C = np.random.default_rng(0).random((5, 4))
solution = eot.solve(C, epsilon=0.05)
batch = eot.solve(C, epsilon=[0.1, 0.2])
"""

TORCH = """
import torch
from typing import assert_type
import elastic_ot as eot

t = torch.rand(5, 4)
assert_type(eot.solve(t, epsilon=0.1), eot.Solution[torch.Tensor])
assert_type(eot.solve(t, epsilon=0.1, init=eot.solve(t, epsilon=1.0)).plan.detach(), torch.Tensor)
assert_type(eot.solve(t, epsilon=torch.tensor([0.1, 0.2])).f, torch.Tensor)
assert_type(eot.torch.plan(t, epsilon=0.1, cols=eot.KL(1.0)), torch.Tensor)
assert_type(eot.torch.value(eot.PointCloud(t, t), epsilon=0.1), torch.Tensor)
assert_type(eot.applications.attention_weights(t, lam=0.5), torch.Tensor)
"""


def annotations(call):
    return getattr(inspect.unwrap(call), "__annotations__", {}).items()


def surface():
    """Every annotation that users meet: of public functions, and of methods and attributes of public classes."""
    modules = [eot, eot.applications, eot.distributed, *(getattr(eot, x) for x in ("torch", "jax") if x in MODULES)]
    for module in [*modules, *map(importlib.import_module, FRONT_ENDS)]:
        for name in module.__all__:
            value = getattr(module, name)
            if inspect.isfunction(value):
                yield from ((f"{module.__name__}.{name}", *pair) for pair in annotations(value))
            for base in value.__mro__ if inspect.isclass(value) else ():
                if not base.__module__.startswith("elastic_ot"):
                    continue
                yield from ((base.__name__, *pair) for pair in annotations(base) if not pair[0].startswith("_"))
                for method, found in vars(base).items():
                    if not method.startswith("_") or method in TOLD:
                        call = next((x for k in ("fget", "func", "__func__") if (x := getattr(found, k, None))), found)
                        if inspect.isfunction(call):
                            yield from ((f"{base.__name__}.{method}", *pair) for pair in annotations(call))


def test_nothing_public_is_any():
    found = list(surface())
    assert len(found) > 800
    assert not [entry for entry in found if ANY.search(str(entry[2]))]


def mypy(folder, text, settings="[mypy]\n"):
    """What mypy --strict says of a user's file, as (line, message)."""
    if importlib.util.find_spec("mypy") is None:
        assert "mypy" not in REQUIRED
        pytest.skip("mypy is not installed")
    (folder / "user.py").write_text(text)
    (folder / "mypy.ini").write_text(settings)
    options = ["--strict", "--follow-imports=silent", "--no-error-summary", "--hide-error-context", "--cache-dir=cache"]
    where = os.environ | {"MYPYPATH": str(Path(eot.__file__).parents[1])}
    command = [sys.executable, "-m", "mypy", *options, "user.py"]
    done = subprocess.run(command, cwd=folder, env=where, capture_output=True, text=True, timeout=600)
    assert not done.stderr
    errors = (re.match(r"user\.py:(\d+): error: (.*)", line) for line in done.stdout.splitlines())
    return [(int(error[1]), error[2]) for error in errors if error]


def test_documented_calls_pass_and_mistakes_fail(tmp_path):
    """Both in one file, since most of the time goes into reading NumPy."""
    lines = list(BAD)
    first = (GOOD + START).count("\n")
    errors = mypy(tmp_path, GOOD + START + "\n".join(lines) + "\n", WITHOUT_FRAMEWORKS)
    assert not [error for error in errors if error[0] <= first]
    for place, line in enumerate(lines, first + 1):
        said = [message for number, message in errors if number == place]
        assert said, line
        assert any(BAD[line] in message for message in said), (line, said)


@pytest.mark.slow
def test_tensors_come_back_as_tensors(tmp_path):
    if "torch" not in MODULES:
        pytest.skip("torch is not installed")
    assert mypy(tmp_path, TORCH) == []
