"""Estimators of scikit-learn: maps of points, clusters of measures. ``pip install "elastic-ot[sklearn]"``."""

from __future__ import annotations

try:
    import sklearn as _sklearn  # noqa: F401 - asked for by name, so that its absence is said plainly
except ImportError as error:
    from ..errors import BackendUnavailable

    raise BackendUnavailable('elastic_ot.sklearn needs scikit-learn: pip install "elastic-ot[sklearn]"') from error

from .assignment import AssignmentTransport
from .clusters import WassersteinKMeans
from .entropic import SinkhornTransport, UnbalancedTransport

__all__ = ["AssignmentTransport", "SinkhornTransport", "UnbalancedTransport", "WassersteinKMeans"]
