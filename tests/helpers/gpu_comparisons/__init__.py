"""Comparisons of the GPU backend with the CPU's: run with kernels built for the host, and again on a device.

A module's `backend` makes what it compares, with the host build unless the tests on a device put theirs in its place.
"""


def comparisons_of(*modules):
    """The tests in modules by their names, for a module of tests to take over."""
    return {name: value for module in modules for name, value in vars(module).items() if name.startswith("test_")}
