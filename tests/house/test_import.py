"""Importing the package is cheap: heavy libraries load on first use."""

import json
import subprocess
import sys

import pytest

import elastic_ot as eot

HEAVY = [
    "numba",
    "llvmlite",
    "matplotlib",
    "scipy.sparse",
    "scipy.optimize",
    "sklearn",
    "ot",
    "tqdm",
    "torch",
    "jax",
    "cupy",
]


def modules_after(statement):
    code = f"import sys, json\n{statement}\nprint(json.dumps(sorted(sys.modules)))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120)
    return set(json.loads(run.stdout.splitlines()[-1]))


def test_importing_loads_nothing_heavy():
    loaded = modules_after("import elastic_ot")
    assert "elastic_ot" in loaded
    assert loaded.isdisjoint(HEAVY)


def test_building_a_problem_statement_loads_no_compiler():
    loaded = modules_after("import elastic_ot as eot; eot.KL(0.5); eot.Status.CONVERGED; eot.InfeasibleError")
    assert "numba" not in loaded


def test_a_refusal_loads_no_compiler():
    loaded = modules_after(
        "import elastic_ot as eot, contextlib\n"
        "with contextlib.suppress(ValueError): eot.solve([[0.0, float('nan')]], epsilon=1.0)"
    )
    assert "numba" not in loaded


def test_solving_loads_no_plotting_and_no_other_framework():
    loaded = modules_after("import elastic_ot as eot; eot.solve([[0.0, 1.0]], epsilon=1.0).plan")
    assert loaded.isdisjoint({"matplotlib", "tqdm", "sklearn", "torch", "jax", "cupy", "ot"})


@pytest.mark.parametrize("name", ["torch", "jax"])
def test_a_missing_framework_is_named_with_the_way_to_install_it(name):
    code = (
        f"import sys; sys.modules[{name!r}] = None\n"
        f"import elastic_ot as eot\n"
        f"try: eot.{name}\n"
        f"except eot.BackendUnavailable as error: print(error)"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120)
    assert f'pip install "elastic-ot[{name}]"' in run.stdout


def test_every_public_name_is_there_and_is_listed():
    names = {
        *("solve", "divergence", "Divergence", "Fixed", "KL", "TV", "L2", "Between", "AtMost", "Free", "Elastic"),
        *("Solution", "Status", "History", "ConvergenceWarning", "ConvergenceError", "InfeasibleError"),
        *("BackendUnavailable", "Gradients", "Tangents", "__version__"),
    }
    assert names - {"__version__"} <= set(eot.__all__)
    assert names <= set(dir(eot))
    for name in eot.__all__:
        assert getattr(eot, name) is not None
    assert {"applications", "jax", "torch"} <= set(dir(eot))
    assert callable(eot.applications.attention_weights)


def test_what_is_listed_is_public_whatever_has_been_used():
    names = modules_after(
        "import elastic_ot as eot\n"
        "eot.solve([[0.0, 1.0]], epsilon=1.0).plan, eot.applications.soft_sort, eot.distributed.SelfComm\n"
        "modules = [eot, eot.applications, eot.distributed]\n"
        "sys.modules = {f'{m.__name__}.{n}': None for m in modules for n in dir(m)}"
    )
    package = {name.removeprefix("elastic_ot.") for name in names if name.count(".") == 1}
    assert package == set(eot.__all__) | {"applications", "compat", "distributed", "jax", "sklearn", "torch", "typing"}
    for module in (eot.applications, eot.distributed):
        assert {name for name in names if name.startswith(f"{module.__name__}.")} == {
            f"{module.__name__}.{name}" for name in module.__all__
        }


def test_help_says_which_modules_are_public():
    assert "of the modules `applications`" in eot.__doc__
    assert "All others are internal" in eot.__doc__


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="sinkhorn"):
        eot.sinkhorn  # noqa: B018
