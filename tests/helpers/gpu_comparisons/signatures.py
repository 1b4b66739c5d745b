"""The backend's primitives have the protocol's names and arguments."""

import inspect

import pytest

from elastic_ot.backends import protocol
from elastic_ot.backends.cpu import dense as cpu
from helpers.gpu_comparisons.builds import backend
from helpers.sweeps import PRIMITIVES


@pytest.mark.parametrize("name", PRIMITIVES)
def test_the_gpu_backend_has_the_protocol_s_signatures(name):
    wanted = list(inspect.signature(getattr(protocol.Backend, name)).parameters)[1:]
    assert list(inspect.signature(getattr(backend(), name)).parameters) == wanted


def test_the_gpu_backend_has_the_batch_protocol_s_signatures():
    for name in ("batch_sweeps", "batch_plan", "batch_marginals", "batch_rounded_sums", "batch_potential"):
        wanted = list(inspect.signature(getattr(protocol.BatchBackend, name)).parameters)[1:]
        assert list(inspect.signature(getattr(backend(), name)).parameters) == wanted


def test_cpu_and_gpu_names_are_those_of_the_protocol():
    names = set(PRIMITIVES)
    assert all(callable(getattr(each, name)) for name in names for each in (cpu, backend()))
