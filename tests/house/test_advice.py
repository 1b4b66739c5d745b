"""What messages and docstrings advise exists: every function that is named can be called."""

import ast
import importlib
import re
from pathlib import Path

import numpy as np
import pytest

import elastic_ot as eot

ROOT = Path(eot.__file__).parent
NAMED = re.compile(r"\b(?:elastic_ot|eot)(?:\.[A-Za-z_]\w*)+")
LIBRARIES = re.compile(r"(?<![\w.])(?:torch\.func|jax)(?:\.[a-z_]\w*)+")


def texts():
    """Every string of the package but f-strings' own pieces of code, with its file."""
    for path in sorted(ROOT.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield path.relative_to(ROOT).as_posix(), node.value


def resolved(name):
    """The object of that dotted name; its leading parts may be modules."""
    parts = name.replace("eot.", "elastic_ot.", 1).split(".") if name.startswith("eot.") else name.split(".")
    found = importlib.import_module(parts[0])
    for i, part in enumerate(parts[1:], start=2):
        if not hasattr(found, part):
            importlib.import_module(".".join(parts[:i]))
        found = getattr(found, part)
    return found


def names(pattern):
    return sorted({name for _, text in texts() for name in pattern.findall(text)})


def test_functions_of_the_package_that_texts_name_exist():
    pytest.importorskip("torch")
    pytest.importorskip("jax")
    found = names(NAMED)
    assert {"elastic_ot.solve", "elastic_ot.torch.plan", "elastic_ot.jax.value"} <= set(found)
    for name in found:
        resolved(name)


def test_functions_of_other_libraries_that_texts_name_exist():
    pytest.importorskip("torch")
    pytest.importorskip("jax")
    found = names(LIBRARIES)
    assert "torch.func.hessian" in found
    for name in found:
        resolved(name)


CALLS = {
    "exact": lambda cost: eot.exact(cost),
    "exact of weights": lambda a: eot.exact(np.zeros((2, 2)), a[0]),
    "assign": lambda cost: eot.assign(cost),
    "solve": lambda cost: eot.solve(cost, epsilon=1.0),
    "divergence": lambda cost: eot.divergence(cost, cost, cost, epsilon=1.0),
}


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("library", ["torch", "jax"])
def test_only_calls_with_operators_are_sent_to_them(call, library):
    """exact and assign have no counterpart in elastic_ot.torch and elastic_ot.jax."""
    if library == "torch":
        torch = pytest.importorskip("torch")
        given = torch.ones(2, 2, requires_grad=True)
        with pytest.raises(TypeError, match=r"requires grad.*detach\(\)") as caught:
            CALLS[call](given)
    else:
        jax = pytest.importorskip("jax")
        with pytest.raises(TypeError, match="is a JAX tracer") as caught:
            jax.jit(CALLS[call])(jax.numpy.ones((2, 2)))
    advised = NAMED.findall(str(caught.value))
    assert bool(advised) == (call in ("solve", "divergence"))
    assert call not in ("solve", "divergence") or f"elastic_ot.{library}.divergence" in advised
