"""The package of applications: every public function is there, documented, and loaded on first use."""

import importlib
import inspect
import subprocess
import sys
from pathlib import Path

import pytest

from elastic_ot import applications

HELPERS = {"arguments", "attention_solve", "capacities", "frameworks", "marginals", "routing_input", "routing_plan"}
HELPERS |= {"sequences", "slices"}
SHARED = {
    "blocks": {"check_block", "check_causal_columns", "cut", "real_keys", "sort_matrix"},
    "causal": {"balanced_past", "normalised_past", "prefix_logsumexp"},
}
"""What other modules of the package use, and nobody else should."""

FOLDER = Path(applications.__file__).parent
MODULES = sorted(path.stem for path in FOLDER.glob("[!_]*.py") if path.stem not in HELPERS)
API_PAGE = FOLDER.parents[1] / "docs/api.rst"


def public(name):
    """The functions and classes that a module defines."""
    module = importlib.import_module(f"elastic_ot.applications.{name}")
    defined = {
        key
        for key, value in vars(module).items()
        if not key.startswith("_")
        and (inspect.isfunction(value) or inspect.isclass(value))
        and value.__module__ == module.__name__
    }
    return defined - SHARED.get(name, set())


@pytest.mark.parametrize("name", MODULES)
def test_public_functions_are_exported(name):
    assert public(name) <= set(applications.__all__)
    module = importlib.import_module(f"elastic_ot.applications.{name}")
    assert all(getattr(applications, key) is getattr(module, key) for key in public(name))


def test_nothing_else_is_exported():
    assert set(applications.__all__) == set().union(*map(public, MODULES))
    assert dir(applications) == sorted(applications.__all__)


def test_no_export_is_hidden_by_a_module_of_its_name():
    assert not {path.stem for path in FOLDER.glob("*.py")} & set(applications.__all__)


@pytest.mark.skipif(not API_PAGE.exists(), reason="an installed package has no docs beside it")
def test_every_export_is_on_the_page_of_the_api():
    page = API_PAGE.read_text().partition(".. currentmodule:: elastic_ot.applications")[2]
    listed = [line.strip() for line in page.splitlines() if line.startswith("   ") and ":" not in line and line.strip()]
    assert sorted(listed) == sorted(applications.__all__)


def test_importing_the_package_loads_none_of_its_modules():
    code = (
        "import sys, elastic_ot.applications\n"
        "print([m for m in sys.modules if m in ('numba', 'torch', 'jax') or m.startswith('elastic_ot.applications.')])"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120)
    assert run.stdout.strip() == "[]"


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="hyper_attention"):
        applications.hyper_attention  # noqa: B018
