"""Tests on a device let CuPy's warnings pass: they are about the machine's CUDA, which is not the matter here."""


def pytest_configure(config):
    config.addinivalue_line("filterwarnings", "ignore:::cupy.*")
