"""Costs of users are never kept as a matrix here, and come in strips of a few rows."""

import pytest

from elastic_ot.costs import base, blocks, scan, tiled_plan


@pytest.fixture(autouse=True)
def strips(monkeypatch):
    monkeypatch.setattr(scan, "KEPT_ENTRIES", 0)
    for module in (base, blocks, tiled_plan):
        monkeypatch.setattr(module, "STRIP", 150)
