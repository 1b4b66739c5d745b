"""Files beside the package: that they agree with pyproject.toml and with each other."""

import re
import sys
import tomllib
import types
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path

import numpy as np
import ot
import pytest
from scipy.spatial.distance import cdist

import elastic_ot

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def read(name):
    return (ROOT / name).read_text()


def floors(requirements):
    """Name and lowest version of each requirement that has one."""
    found = (re.fullmatch(r"([A-Za-z0-9_.-]+)(?:\[[^]]*\])?>=([0-9.]+)(?:,<.*)?", x) for x in requirements)
    return {match[1].lower(): match[2] for match in found if match}


def test_the_version_is_the_same_everywhere():
    version = PROJECT["version"]
    assert elastic_ot.__version__ == version
    assert f"version: {version}\n" in read("CITATION.cff")
    assert re.search(rf"^## .*{re.escape(version)}", read("CHANGELOG.md"), re.MULTILINE)
    assert f'version = "{version}"' in read("conda/meta.yaml")


def test_the_lowest_versions_are_those_that_the_project_allows():
    extras = PROJECT["optional-dependencies"]
    within = (x for name in ("test", "plot", "progress", "sklearn") for x in extras[name])
    wanted = floors([*PROJECT["dependencies"], *within])
    pins = dict(line.lower().split("==") for line in read(".ci/lowest.txt").splitlines() if "==" in line)
    assert pins == wanted


def test_the_recipe_has_the_dependencies_of_the_project():
    run = re.search(r"  run:\n((?:    - .*\n)+)", read("conda/meta.yaml"))[1]
    found = dict(re.findall(r"- (\S+) >=(\S+)", run))
    assert found == {"python": PROJECT["requires-python"].removeprefix(">="), **floors(PROJECT["dependencies"])}


def test_every_python_that_is_tested_is_named():
    named = {x.rsplit(" ", 1)[1] for x in PROJECT["classifiers"] if re.search(r"Python :: 3\.\d", x)}
    tested = re.search(r"python: \[(.*)\]", read(".github/workflows/tests.yml"))[1]
    assert named == {x.strip(' "') for x in tested.split(",")}


def test_workflows_and_forms_are_yaml():
    yaml = pytest.importorskip("yaml")
    paths = [*(ROOT / ".github").rglob("*.yml"), ROOT / ".readthedocs.yaml", ROOT / "CITATION.cff"]
    assert len(paths) >= 8
    for path in paths:
        assert isinstance(yaml.safe_load(path.read_text()), dict), path


@pytest.mark.parametrize(
    "name", ["README.md", "CONTRIBUTING.md", "CODE_OF_CONDUCT.md", "benchmarks/benchopt/README.md"]
)
def test_links_between_files_lead_somewhere(name):
    for target in re.findall(r"\]\(([^)#]+)", read(name)):
        if not target.startswith("http"):
            assert (ROOT / name).parent.joinpath(target).exists(), target


@pytest.fixture
def benchopt_solver(monkeypatch):
    """The solver file, whose base class stands for that of benchopt."""
    if find_spec("benchopt") is None:
        monkeypatch.setitem(sys.modules, "benchopt", types.SimpleNamespace(BaseSolver=object))
    spec = spec_from_file_location("benchopt_solver", ROOT / "benchmarks/benchopt/elastic_ot.py")
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.Solver()


@pytest.mark.parametrize("reg", [0, 0.1])
def test_the_solver_for_benchopt_does_what_its_benchmark_measures(benchopt_solver, reg):
    rng = np.random.default_rng(0)
    x, y, a, b = rng.normal(size=(30, 2)), rng.normal(size=(31, 2)) + 2.0, np.full(30, 1 / 30), np.full(31, 1 / 31)
    benchopt_solver.reg = reg
    benchopt_solver.set_objective(x=x, a=a, y=y, b=b)
    benchopt_solver.warm_up()
    benchopt_solver.run(1e-8)
    plan, cost = benchopt_solver.get_result()["P"], cdist(x, y)
    np.testing.assert_allclose(plan.sum(axis=1), a, atol=1e-8)
    np.testing.assert_allclose(plan.sum(axis=0), b, atol=1e-8)
    best = ot.emd2(a, b, cost)
    assert best - 1e-7 <= (plan * cost).sum() <= best + 1e-7 + reg * (np.log(30) + np.log(31))
