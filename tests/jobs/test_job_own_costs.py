"""Costs of one's own: computed by blocks and never stored, or with forbidden cells."""

import numpy as np
import ot
import pytest

import elastic_ot as eot

RNG = np.random.default_rng(19)


def great_circle(x, y):
    """Distances in km between places on the globe, latitudes and longitudes in radians."""
    (lat, lon), (lat2, lon2) = x.T[:, :, None], y.T[:, None]
    cosine = np.sin(lat) * np.sin(lat2) + np.cos(lat) * np.cos(lat2) * np.cos(lon - lon2)
    return 6371.0 * np.arccos(np.clip(cosine, -1.0, 1.0))


def ship(places, ports, epsilon):
    return eot.solve(eot.FunctionCost(great_circle, places, ports), epsilon=epsilon).apply(ports)


def without_forbidden(cost, allowed, epsilon):
    return eot.solve(cost, mask=allowed, epsilon=epsilon).plan


def test_what_a_place_is_sent_is_that_of_a_stored_haversine_cost():
    x, y = (np.radians(RNG.uniform([-60, -180], [60, 180], size=(k, 2))) for k in (40, 30))
    half = np.sin((x[:, None] - y) / 2) ** 2
    cosines = np.cos(x[:, None, 0]) * np.cos(y[:, 0])
    cost = 2 * 6371.0 * np.arcsin(np.sqrt(half[..., 0] + cosines * half[..., 1]))
    plan = ot.sinkhorn([], [], cost, 500.0, method="sinkhorn_log", stopThr=1e-13, numItermax=10_000)
    assert ship(x, y, 500.0) == pytest.approx(plan @ y, abs=1e-5)


def test_forbidden_pairs_carry_nothing_and_the_others_what_pot_says():
    cost, allowed = RNG.random((20, 25)), RNG.random((20, 25)) < 0.7
    plan = without_forbidden(cost, allowed, 0.1)
    theirs = ot.sinkhorn([], [], np.where(allowed, cost, 1e3), 0.1, stopThr=1e-13, numItermax=10_000)
    assert (plan[~allowed] == 0).all()
    assert np.abs(plan - theirs).sum() < 1e-5
