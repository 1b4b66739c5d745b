"""Shared test settings: seeded examples without deadlines, no window, no global random numbers."""

import os
import tempfile

import numpy as np
import pytest

try:
    from hypothesis import HealthCheck, settings
except ImportError:  # on a machine that has little but a GPU (docs/gpu.rst)
    pass
else:
    settings.register_profile(
        "seeded",
        deadline=None,
        max_examples=25,
        derandomize=True,
        database=None,
        suppress_health_check=[HealthCheck.too_slow],
    )
    settings.load_profile("seeded")

# Matplotlib keeps no settings and opens no window during the tests.
os.environ.setdefault("MPLBACKEND", "Agg")
os.environ.setdefault("MPLCONFIGDIR", tempfile.mkdtemp(prefix="matplotlib-"))


@pytest.fixture(autouse=True)
def _global_generator_is_untouched():
    """Nothing in the package may draw from, or reseed, NumPy's global generator."""
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    yield
    assert (np.random.get_state()[1] == before).all()  # noqa: NPY002
