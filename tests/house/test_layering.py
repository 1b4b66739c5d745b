"""Who may import whom (docs, developer page): every rule is checked on the imports as they stand in the source."""

import ast
from pathlib import Path

import pytest

import elastic_ot
from elastic_ot.backends.gpu import kernels

ROOT = Path(elastic_ot.__file__).parent
MODULES = {path.relative_to(ROOT).with_suffix("").as_posix(): path for path in sorted(ROOT.rglob("*.py"))}
PACKAGES = {name.removesuffix("/__init__") for name in MODULES if name.endswith("/__init__")}
FOREIGN_ARRAYS = {"torch", "jax", "cupy"}
LEAVES = {"plotting", "cli", "demo", "jax", "torch", "__main__"}
TORCH_MODULES = {"torch/attention", "torch/sparse_attention", "torch/routing", "torch/matching"}


def imports(name: str) -> set[str]:
    """Package modules as "backends/protocol", everything else by its top-level name; type-checking blocks count too."""
    found = set()
    parts = name.split("/")
    for node in ast.walk(ast.parse(MODULES[name].read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            found.add((node.module or "").split(".")[0])
        elif isinstance(node, ast.ImportFrom):
            base = parts[: len(parts) - node.level]
            target = "/".join(base + (node.module or "").split(".")).strip("/")
            for alias in node.names:
                full = f"{target}/{alias.name}".strip("/")
                found.add(full if full in MODULES else target)
    return found


def inside(name: str) -> set[str]:
    """Packages by their name: inside of them, "torch" is never PyTorch's."""
    foreign = {"torch"} if name.startswith("torch/") else set()
    return {module for module in imports(name) if module in MODULES or module in PACKAGES} - foreign


def is_leaf(name: str) -> bool:
    return name.split("/")[0] in LEAVES


PROBLEM = ["penalties", "memory", "halves", "costs", "problem", "errors", "arrays", "batch_penalty", "batch_problem"]


@pytest.mark.parametrize("name", PROBLEM)
def test_the_problem_knows_no_solver_backend_or_framework(name):
    loader = {"backends"} if name == "arrays" else set()  # by which arrays reach a device
    known = inside(name) - loader
    assert not {m for m in known if m.startswith(("solvers", "backends", "api", "certificate", "result"))}
    assert not imports(name) & (FOREIGN_ARRAYS | {"numba", "scipy"})


def test_one_problem_knows_nothing_of_batches():
    known = {name: {m for m in inside(name) if m.startswith("batch")} for name in ("penalties", "costs", "problem")}
    assert not any(known.values())


def test_the_result_knows_no_solver_and_no_backend():
    assert not {m for m in inside("result") if m.startswith(("solvers", "backends", "api"))}
    # a problem of a batch is measured by the wiring, and the batch by its solver, when that is asked for
    assert {m for m in inside("batch_result") if m.startswith(("solvers", "backends"))} == {"solvers/batched"}


@pytest.mark.parametrize("name", [m for m in MODULES if m.startswith("backends/") and m != "backends/__init__"])
def test_backends_import_only_the_protocol(name):
    parts = {
        "backends/cpu/paths": ["graph", "simplex"],
        "backends/cpu/batch": ["dense"],
        "backends/cpu/batch_derivatives": ["batch", "dense"],
        "backends/array_api/updates": ["matrices"],
        "backends/array_api/systems": ["matrices"],
        "backends/array_api/derivatives": ["matrices", "systems", "updates"],
        "backends/gpu/__init__": ["batch", "device", "kernels", "launches", "sparse", "support", "sweeps"],
        "backends/gpu/device": ["kernels", "tiles", "transfers"],
        "backends/gpu/launches": ["device", "transfers"],
        "backends/gpu/sides": ["launches", "transfers"],
        "backends/gpu/passes": ["device", "launches", "transfers"],
        "backends/gpu/sweeps": ["device", "launches", "passes", "transfers"],
        "backends/gpu/cells": ["device", "launches", "sides", "transfers"],
        "backends/gpu/support": ["cells", "device", "launches", "transfers"],
        "backends/gpu/sparse": ["cells", "transfers"],
        "backends/gpu/batch": ["device", "launches", "passes", "sides", "tiles", "transfers"],
    }
    halves = {f"backends/{module}" for module in ("array_api/derivatives", "gpu/cells", "gpu/device", "gpu/support")}
    known = {f"{name.rpartition('/')[0]}/{part}" for part in parts.get(name, [])}
    known |= {"halves"} if name in halves else {"errors"} if name == "backends/gpu/__init__" else set()
    assert inside(name) <= {"backends/protocol"} | known


@pytest.mark.parametrize("name", [m for m in MODULES if m.startswith("solvers/")])
def test_solvers_know_no_device_and_no_wiring(name):
    assert not imports(name) & (FOREIGN_ARRAYS | {"numba", "llvmlite"})
    allowed = ("solvers", "backends/protocol", "penalties", "problem", "costs", "memory", "halves", "result")
    batches = ("batch_penalty", "batch_problem") if name == "solvers/batched" else ()
    assert all(m.startswith((*allowed, *batches)) for m in inside(name))


def test_the_modules_of_newton_s_method_do_not_import_their_package():
    package = "solvers/newton"
    assert package in PACKAGES
    assert not {m for m in MODULES if m.startswith(f"{package}/") and package in inside(m)}


def test_numba_is_imported_by_the_cpu_backend_only():
    assert {name for name in MODULES if imports(name) & {"numba", "llvmlite"}} == {
        "backends/cpu/batch",
        "backends/cpu/batch_derivatives",
        "backends/cpu/dense",
        "backends/cpu/graph",
        "backends/cpu/paths",
        "backends/cpu/simplex",
    }


def test_cupy_is_imported_by_the_gpu_backend_only():
    assert {name for name in MODULES if "cupy" in imports(name)} == {"backends/gpu/__init__"}


def test_every_file_of_kernels_is_joined_once():
    folder = ROOT / "backends/gpu/kernels"
    assert sorted(kernels.NAMES) == sorted(path.stem for path in folder.iterdir() if path.suffix == ".cuh")


def test_derivatives_on_the_array_api_know_no_library_but_numpy():
    names = {name for name in MODULES if name.startswith("backends/array_api/")}
    assert {module for name in names for module in imports(name) - {"halves"} if "/" not in module} == {
        *("__future__", "array_api_compat", "collections", "itertools", "math", "numpy", "typing")
    }
    assert {name for name in names if "numpy" in imports(name)} == {"backends/array_api/derivatives"}  # host vectors


def test_leaves_are_imported_by_no_one():
    doors = ("result", "doors")
    importers = {m: {x for x in inside(m) if is_leaf(x)} for m in MODULES if not is_leaf(m) and m not in doors}
    assert not {m: found for m, found in importers.items() if found}
    # by which applications reach the operators for arrays of a library
    assert {m for m in inside("doors") if is_leaf(m)} == {"jax"}  # and the package of torch
    # Solution.plot is the door to plotting, opened when called
    assert {m for m in inside("result") if is_leaf(m)} == {"plotting"}


def test_applications_are_imported_by_modules_of_torch_only():
    importers = {m for m in MODULES if any(x.startswith("applications") for x in inside(m))}
    assert {m for m in importers if not m.startswith("applications/")} == TORCH_MODULES


def test_operators_of_torch_know_no_module_of_torch():
    assert not {m for m in inside("torch/operators") if m.startswith(("torch/", "applications"))}


@pytest.mark.parametrize("name", [m for m in MODULES if m.startswith("applications/")])
def test_applications_use_the_public_calls_and_no_library_by_name(name):
    public = ("applications/", "api", "unregularised", "penalties", "errors", "doors")
    assert all(m.startswith((*public, "arrays")) for m in inside(name))
    assert not imports(name) & (FOREIGN_ARRAYS | {"numba", "llvmlite"})


def test_problem_alone_refuses_problems():
    """Backends and solvers get validated input; they raise nothing about it."""
    for name in MODULES:
        # progress refuses a missing tqdm, the GPU backend a missing device and a full one: neither is about the problem
        others = "solvers/progress", "backends/gpu/__init__", "backends/gpu/device"
        if name.startswith(("backends/", "solvers/")) and name not in others:
            raised = [n for n in ast.walk(ast.parse(MODULES[name].read_text())) if isinstance(n, ast.Raise)]
            assert not raised, f"{name} raises"
