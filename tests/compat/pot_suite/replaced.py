"""POT with the functions that the front end has put in their places, and notes of what tests call."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import wraps
from importlib import import_module
from types import ModuleType
from typing import Any

import ot

import elastic_ot.compat.pot as front
from elastic_ot.compat.pot.arguments import Unsupported

PRIVATE = (("gromov", "gromov._unbalanced"),)  # modules of POT whose tests import from them, by ours of their functions
SUBMODULES = ("lp", "bregman", "unbalanced", "partial", "gromov", "solvers", "utils")


def replacements() -> Iterator[tuple[ModuleType, str, Callable[..., Any]]]:
    """Give every function of the front end with the module of POT that has one of its name."""
    pairs = [(ot, front), *((getattr(ot, name), getattr(front, name)) for name in SUBMODULES)]
    pairs += [(import_module(f"ot.{theirs}"), getattr(front, ours)) for ours, theirs in PRIVATE]
    for theirs, ours in pairs:
        for name in ours.__all__:
            call = getattr(ours, name)
            if hasattr(theirs, name) and not isinstance(call, ModuleType | type):
                yield theirs, name, call


@dataclass
class Notes:
    """What a test has called, and what was refused to it."""

    called: set[str] = field(default_factory=set)
    refused: list[str] = field(default_factory=list)

    def clear(self) -> None:
        """Forget both, for the next test."""
        self.called.clear()
        self.refused.clear()

    def taken(self, call: Callable[..., Any], name: str) -> Callable[..., Any]:
        """Return the function, with its calls noted."""

        @wraps(call)
        def noted(*args: object, **given: object) -> Any:
            self.called.add(name)
            try:
                return call(*args, **given)
            except Unsupported as error:
                self.refused.append(re.sub(r" at 0x[0-9a-f]+", "", str(error)))
                raise

        return noted


@contextmanager
def replaced(notes: Notes) -> Iterator[None]:
    """Put our functions in the places of POT's, and note their calls.

    POT's own modules keep theirs: they have bound them to names of their own when they were imported. POT's tests read
    the backend of a result, which is private; ours gets one for them.
    """
    places = [(module, name, notes.taken(call, name)) for module, name, call in replacements()]
    originals = [(module, name, getattr(module, name)) for module, name, _ in places]
    for module, name, call in places:
        setattr(module, name, call)
    front.OTResult._backend = property(_backend)
    try:
        yield
    finally:
        del front.OTResult._backend
        for module, name, original in originals:
            setattr(module, name, original)


def _backend(result: Any) -> Any:
    return next(backend for backend in ot.backend.get_backend_list() if backend.__name__ == result.home.name)
