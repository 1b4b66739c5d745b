"""What tests on a device do without, because machines with one may have no network: see docs/gpu.rst."""

import sys
import types

try:
    import array_api_strict  # noqa: F401
except ImportError:  # modules whose tests are run again here import it, for tests that are not
    sys.modules["array_api_strict"] = types.ModuleType("array_api_strict")


def pytest_configure(config):
    config.addinivalue_line(
        "filterwarnings", "ignore:::cupy.*"
    )  # about the machine's CUDA, which is not the matter here
