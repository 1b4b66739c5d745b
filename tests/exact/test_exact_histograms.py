"""`exact` on histograms over the same bins with distances as costs: nearly every plan has rivals that cost the same."""

import numpy as np
import ot
import pytest

import elastic_ot as eot
from helpers.oracle import Case
from helpers.transport_proof import assert_proved, solved


def bins(n, image):
    """The middle of every bin: of a line, or of a square image."""
    if not image:
        return np.linspace(0.0, 1.0, n)[:, None]
    side = np.linspace(0.0, 1.0, round(n**0.5))
    return np.stack(np.meshgrid(side, side), -1).reshape(-1, 2)


DISTANCES = {
    "city block": lambda x, y: np.abs(x - y).sum(-1),
    "squared": lambda x, y: ((x - y) ** 2).sum(-1),
    "euclidean": lambda x, y: np.sqrt(((x - y) ** 2).sum(-1)),
    "square root": lambda x, y: np.sqrt(np.abs(x - y).sum(-1)),
    "steps": lambda x, y: np.rint(20.0 * np.abs(x - y).sum(-1)).astype(int),
    "thirds": lambda x, y: np.abs(x - y).sum(-1) / 3.0,
}


@pytest.mark.parametrize("image", [False, True], ids=["line", "image"])
@pytest.mark.parametrize("distance", DISTANCES)
def test_random_histograms_cost_what_pot_says(distance, image):
    for n in (16, 64, 144):
        for seed in range(3):
            rng = np.random.default_rng([seed, n])
            x = bins(n, image)
            cost = DISTANCES[distance](x[:, None], x[None])
            a, b = rng.random((2, n))
            if seed == 2:  # bins without mass
                a, b = a * (a > 0.4), b * (b > 0.4)
            case = Case(cost * 1.0, a / a.sum(), b / b.sum(), 1.0)
            sol = solved(case, cost)
            assert_proved(case, sol)
            # POT's network simplex is exact to rounding of the sums.
            best = ot.emd2(case.a, case.b, case.cost, numItermax=10**6)
            assert sol.value == pytest.approx(best, rel=1e-12, abs=1e-15)


def test_the_same_histogram_costs_nothing():
    rng = np.random.default_rng(3)
    for image in (False, True):
        x = bins(100, image)
        a = rng.random(100)
        assert eot.exact(np.abs(x[:, None] - x[None]).sum(-1), a, a).value == 0.0


def test_neighbours_only():
    """Bins may pass mass to their neighbours alone; the line is then a network with one way."""
    rng = np.random.default_rng(4)
    x = np.linspace(0.0, 1.0, 60)
    cost = np.abs(x[:, None] - x)
    a = rng.random(60)
    a /= a.sum()
    b = 0.5 * a + 0.25 * (np.roll(a, 1) + np.roll(a, -1))
    mask = cost < 0.05
    mask[0, -1] = mask[-1, 0] = True
    case = Case(cost, a, b / b.sum(), 1.0, mask=mask)
    sol = solved(case)
    assert_proved(case, sol)
    best = ot.emd2(case.a, case.b, np.where(mask, cost, 100.0))
    assert sol.value == pytest.approx(best, rel=1e-12)
