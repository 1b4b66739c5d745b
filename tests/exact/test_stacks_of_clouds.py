"""Clouds with a leading dimension are stacks of matrices for `assign` and `exact`."""

import numpy as np
import pytest

import elastic_ot as eot


def test_assign_and_exact_take_one_leading_dimension():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(2, 3, 6, 2))
    cloud = eot.PointCloud(x, y, "euclidean")
    assigned, exact, largest = eot.assign(cloud), eot.exact(cloud), eot.assign(cloud, maximize=True)
    for k in range(3):
        alone = eot.PointCloud(x[k], y[k], "euclidean")
        assert assigned[k].cost == pytest.approx(eot.assign(alone).cost, abs=1e-12)
        assert exact[k].value == pytest.approx(eot.exact(alone).value, abs=1e-12)
        assert largest[k].cost == pytest.approx(eot.assign(alone, maximize=True).cost, abs=1e-12)
    for call in (eot.assign, eot.exact):
        with pytest.raises(ValueError, match=r"leading dimensions \(3, 3\), and this call takes one; reshape x and y"):
            call(eot.PointCloud(x[:, None], y))
        with pytest.raises(ValueError, match="mask is for a cost matrix"):
            call(cloud, mask=np.ones((6, 6), bool))
