"""How the package is laid out: what import-linter does not see."""

import ast
from collections import defaultdict
from pathlib import Path

import elastic_ot
from elastic_ot.backends.gpu import kernels

ROOT = Path(elastic_ot.__file__).parent
SOURCES = {path.relative_to(ROOT).as_posix(): path.read_text() for path in sorted(ROOT.rglob("*.py"))}


def outside(*folders):
    return {name: text for name, text in SOURCES.items() if name.split("/")[0] not in folders}


def test_few_modules_lie_at_the_top():
    assert len([name for name in SOURCES if "/" not in name]) <= 12


def test_files_are_short():
    assert not {name: n for name, text in outside("backends").items() if (n := len(text.splitlines())) > 420}


def test_a_matrix_of_costs_is_read_in_costs_only():
    assert not [name for name, text in outside("backends", "costs").items() if "cost.matrix" in text]


def test_properties_are_cached_without_a_lock():
    assert not [name for name, text in SOURCES.items() if "functools import cached_property" in text]


def constants(text):
    """Names in capitals that a module defines."""
    for node in ast.parse(text).body:
        targets = (
            node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
        )
        names = [x.id for target in targets for x in ast.walk(target) if isinstance(x, ast.Name)]
        yield from (name for name in names if name.isupper() and not name.startswith("__"))


def test_a_constant_is_defined_once():
    where = defaultdict(list)
    for name, text in SOURCES.items():
        for constant in constants(text):
            where[constant].append(name)
    assert not {constant: names for constant, names in where.items() if len(names) > 1}


def test_every_file_of_kernels_is_joined_once():
    folder = ROOT / "backends/gpu/kernels"
    assert sorted(kernels.NAMES) == sorted(path.stem for path in folder.iterdir() if path.suffix == ".cuh")


def test_test_files_have_names_of_their_own():
    # pytest imports a test file by its bare name, and two of one name cannot be collected together.
    where = defaultdict(list)
    for path in sorted(Path(__file__).parents[1].rglob("test_*.py")):
        where[path.name].append(path.parent.name)
    assert not {name: folders for name, folders in where.items() if len(folders) > 1}
