"""The class of torchcfm's name: its calls, what they return, and what they never do."""

import numpy as np
import ot
import pytest
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import cdist

import elastic_ot as eot
from helpers.array_libraries import library

library("torch")
import torch  # noqa: E402

from elastic_ot.torch import OTPlanSampler  # noqa: E402


def batches(n=24, m=24, shape=(2, 3)):
    generator = torch.Generator().manual_seed(0)
    return torch.randn(n, *shape, generator=generator), torch.randn(m, *shape, generator=generator) + 1.0


def costs(x0, x1):
    return cdist(x0.flatten(1).double(), x1.flatten(1).double(), "sqeuclidean")


def test_an_exact_plan_without_replacement_is_the_matching():
    x0, x1 = batches()
    first, second = OTPlanSampler("exact").sample_plan(x0, x1, replace=False)
    assert torch.equal(first, x0)
    _, cols = linear_sum_assignment(costs(x0, x1))
    assert torch.equal(second, x1[torch.from_numpy(cols)])


@pytest.mark.parametrize("method", ["exact", "sinkhorn", "unbalanced"])
def test_labels_go_with_their_points(method):
    x0, x1 = batches()
    y0, y1 = torch.arange(24), torch.arange(100, 124)
    first, second, label0, label1 = OTPlanSampler(method, reg=1.0).sample_plan_with_labels(x0, x1, y0, y1)
    assert first.shape == second.shape == x0.shape
    assert torch.equal(first, x0[label0])
    assert torch.equal(second, x1[label1 - 100])
    _, _, label0, label1 = OTPlanSampler(method, reg=1.0).sample_plan_with_labels(x0, x1, y1=y1)
    assert label0 is None
    assert label1 is not None


@pytest.mark.parametrize("normalize", [False, True])
def test_maps_are_those_of_pot(normalize):
    x0, x1 = (x.double() for x in batches(12, 15))
    cost = costs(x0, x1)
    unit = cost.max() if normalize else 1.0
    a, b = np.full(12, 1 / 12), np.full(15, 1 / 15)
    reg, reg_m = (0.1, 0.5) if normalize else (1.0, 2.0)
    given = {"reg": reg, "reg_m": reg_m, "normalize_cost": normalize, "tol": 1e-10}
    plan = OTPlanSampler("sinkhorn", **given).get_map(x0, x1)
    np.testing.assert_allclose(plan, ot.sinkhorn(a, b, cost / unit, reg, stopThr=1e-12), rtol=0, atol=1e-9)
    plan = OTPlanSampler("unbalanced", **given).get_map(x0, x1)
    c = np.outer(a, b)
    expected = ot.unbalanced.sinkhorn_knopp_unbalanced(
        a, b, cost / unit, reg, reg_m, c=c, reg_type="kl", stopThr=1e-13, numItermax=20000
    )
    np.testing.assert_allclose(plan, expected, rtol=0, atol=1e-8)
    exact = OTPlanSampler("exact", normalize_cost=normalize).get_map(x0, x1)
    assert (exact * cost).sum() == pytest.approx(ot.emd2(a, b, cost), rel=1e-12)


def test_the_seed_of_torch_decides():
    x0, x1 = batches()
    drawn = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        drawn.append(OTPlanSampler("sinkhorn", reg=2.0).sample_plan(x0, x1)[1])
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])
    own = [OTPlanSampler("sinkhorn", reg=2.0, seed=5).sample_plan(x0, x1)[1] for _ in range(2)]
    assert torch.equal(*own)


def test_the_epsilon_of_an_entropy_is_kept():
    x0, x1 = batches()
    sampler = OTPlanSampler("sinkhorn", entropy=0.4)
    first = sampler.couple(x0, x1)
    assert abs(first.entropy - 0.4) <= 0.01
    assert sampler.couple(x0, x1 + 0.1).epsilon == sampler.reg == first.epsilon


def test_derivatives_pass_to_the_points_that_were_drawn():
    x0, x1 = batches()
    x0.requires_grad_()
    first, second = OTPlanSampler("exact").sample_plan(x0, x1, replace=False)
    (first - second).square().sum().backward()
    assert x0.grad.shape == x0.shape


def test_trajectories_follow_partners():
    points = torch.stack([torch.arange(5.0), torch.arange(5.0).flip(0) + 10, torch.arange(5.0) - 3], dim=1)[..., None]
    found = OTPlanSampler("exact").sample_trajectory(points)
    assert found.shape == (5, 3, 1)
    for t, shift in enumerate((0.0, 10.0, -3.0)):  # on the line partners are in order
        assert torch.equal(found[:, t, 0], torch.arange(5.0) + shift)


def test_a_plan_that_has_not_converged_is_an_error_and_not_a_uniform_plan(monkeypatch):
    real = eot.solve
    monkeypatch.setattr("elastic_ot.api.couple.solve", lambda *a, **k: real(*a, **k, max_iter=1, method="log"))
    with pytest.raises(eot.ConvergenceError):
        OTPlanSampler("sinkhorn", reg=1e-3).sample_plan(*batches())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"method": "partial"}, "with all of the mass is 'sinkhorn'"),
        ({"method": "emd"}, "method is 'emd'"),
        ({"method": "exact", "entropy": 0.1}, "belongs to method='sinkhorn'"),
        ({"method": "sinkhorn", "entropy": 0.1, "normalize_cost": True}, "no units"),
    ],
)
def test_bad_options_are_refused_by_name(options, message):
    with pytest.raises(ValueError, match=message):
        OTPlanSampler(**options)
