"""Losses between clouds of PyTorch, ours and by GeomLoss' call, against GeomLoss' formulas on matrices."""

import numpy as np
import pytest

import elastic_ot as eot
from helpers.array_libraries import library

library("torch")
import torch  # noqa: E402

from elastic_ot.compat.geomloss import SamplesLoss  # noqa: E402
from elastic_ot.torch import SamplesLoss as OwnLoss  # noqa: E402

ACCURACY = 1e-7  # of values whose solves are good to 1e-10, and of derivatives through 500 steps

# torch's own, when forward mode is used for the first time
pytestmark = pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated:DeprecationWarning")


def clouds(*batch, dtype=torch.float64):
    generator = torch.Generator().manual_seed(3)
    x, y = (torch.rand(*batch, k, 2, generator=generator, dtype=dtype) for k in (8, 6))
    a, b = (torch.rand(*batch, k, generator=generator, dtype=dtype) + 0.2 for k in (8, 6))
    return a, x, b, y + 0.3


def cost_of(x, y, p):
    squares = ((x[:, None] - y) ** 2).sum(-1)
    return 0.5 * squares if p == 2 else torch.where(squares > 0, squares + (squares == 0), 0.0).sqrt()


def loops(cost, a, b, epsilon, rho, steps=1000):
    """Potentials by alternate updates with the reference a b^T."""
    damp = 1.0 if rho is None else rho / (rho + epsilon)
    f, g = torch.zeros_like(a), torch.zeros_like(b)
    for _ in range(steps):
        f = -damp * epsilon * torch.logsumexp((g - cost) / epsilon + b.log(), dim=1)
        g = -damp * epsilon * torch.logsumexp((f[:, None] - cost) / epsilon + a.log()[:, None], dim=0)
    return f, g


def by_hand(a, x, b, y, p, blur, reach, debias):
    """GeomLoss' value: sums of a f in a balanced problem, of (rho + epsilon / 2) a (1 - exp(-f / rho)) in others."""
    epsilon, rho = blur**p, None if reach is None else reach**p

    def side(weights, potential):
        if rho is None:
            return weights @ potential
        return (rho + 0.5 * epsilon) * (weights @ -torch.expm1(-potential / rho))

    def both(x, y, a, b):
        f, g = loops(cost_of(x, y, p), a, b, epsilon, rho)
        return side(a, f) + side(b, g)

    value = both(x, y, a, b)
    return value - 0.5 * both(x, x, a, a) - 0.5 * both(y, y, b, b) if debias else value


@pytest.mark.parametrize("debias", [True, False])
@pytest.mark.parametrize("reach", [None, 0.6])
@pytest.mark.parametrize("p", [1, 2])
def test_values_are_those_of_the_formulas(p, reach, debias):
    a, x, b, y = clouds()
    if reach is None:
        b = b * a.sum() / b.sum()
    blur = 0.4
    expected = by_hand(a, x, b, y, p, blur, reach, debias)
    found = SamplesLoss("sinkhorn", p, blur, reach, debias=debias, tol=1e-10)(a, x, b, y)
    assert found.shape == ()
    assert abs(float(found - expected)) <= ACCURACY * (1 + abs(float(expected)))


@pytest.mark.parametrize("reach", [None, 0.6])
def test_slopes_are_those_of_the_values(reach):
    a, x, b, y = clouds()
    b = b * a.sum() / b.sum()
    loss = SamplesLoss(blur=0.4, reach=reach, tol=1e-12)
    torch.autograd.gradcheck(lambda x, y: loss(a, x, b, y), (x.requires_grad_(), y.requires_grad_()), atol=1e-5)
    if reach is not None:
        torch.autograd.gradcheck(lambda a, b: loss(a, x, b, y), (a.requires_grad_(), b.requires_grad_()), atol=1e-5)


def test_batches_are_their_clouds():
    a, x, b, y = clouds(3)
    loss = SamplesLoss(blur=0.3, reach=0.5, tol=1e-10)
    found = loss(a, x, b, y)
    assert found.shape == (3,)
    single = torch.stack([loss(*parts) for parts in zip(a, x, b, y, strict=True)])
    assert torch.allclose(found, single, atol=1e-9)


def test_weights_are_uniform_by_default():
    _, x, _, y = clouds()
    even = [torch.full((k,), 1 / k, dtype=torch.float64) for k in (8, 6)]
    loss = SamplesLoss(blur=0.3, tol=1e-10)
    assert abs(loss(x, y) - loss(even[0], x, even[1], y)) < 1e-12


@pytest.mark.parametrize("reach", [None, 0.6])
def test_potentials_are_those_of_the_formulas(reach):
    a, x, b, y = clouds()
    b = b * a.sum() / b.sum()
    rho = None if reach is None else reach**2
    f, g = loops(cost_of(x, y, 2), a, b, 0.16, rho)
    ff, gg = (loops(cost_of(z, z, 2), w, w, 0.16, rho) for z, w in ((x, a), (y, b)))
    for debias, expected in ((False, (f, g)), (True, (f - sum(ff) / 2, g - sum(gg) / 2))):
        found = SamplesLoss(blur=0.4, reach=reach, debias=debias, potentials=True, tol=1e-12)(a, x, b, y)
        gaps = [p - q for p, q in zip(found, expected, strict=True)]
        if reach is None:  # a constant passes from one to the other
            assert abs(gaps[0].mean() + gaps[1].mean()) < 1e-9
            gaps = [gap - gap.mean() for gap in gaps]
        assert max(float(gap.abs().max()) for gap in gaps) < 1e-9


def test_a_cost_of_ones_own_is_taken():
    a, x, b, y = clouds(2)
    b = b * a.sum(-1, keepdim=True) / b.sum(-1, keepdim=True)
    own = SamplesLoss(blur=0.4, tol=1e-10, cost=lambda x, y: 0.5 * ((x[:, :, None] - y[:, None]) ** 2).sum(-1))
    built = SamplesLoss(blur=0.4, tol=1e-10)
    assert torch.allclose(own(a, x, b, y), built(a, x, b, y), atol=1e-9)
    assert abs(own(a[0], x[0], b[0], y[0]) - built(a[0], x[0], b[0], y[0])) < 1e-9


def test_our_loss_is_the_divergence():
    a, x, b, y = clouds()
    sides = {"rows": eot.KL(0.7), "cols": eot.TV(0.4)}
    found = OwnLoss(blur=0.3, tol=1e-10, **sides)(x, y, a, b)
    cloud = eot.PointCloud(x.numpy(), y.numpy())
    expected = eot.divergence(cloud, a=a.numpy(), b=b.numpy(), blur=0.3, tol=1e-10, **sides).value
    assert abs(float(found) - expected) < 1e-9
    plain = OwnLoss(epsilon=0.09, debiased=False, tol=1e-10, **sides)(x, y, a, b)
    assert abs(float(plain) - eot.solve(cloud, a.numpy(), b.numpy(), epsilon=0.09, tol=1e-10, **sides).value) < 1e-8


def test_it_is_a_module_and_single_precision_stays():
    a, x, b, y = clouds(dtype=torch.float32)
    model = torch.nn.Sequential(torch.nn.Linear(2, 2))
    loss = OwnLoss(blur=0.5)
    found = loss(model(x), y)
    found.backward()
    assert found.dtype == torch.float32
    assert all(torch.isfinite(parameter.grad).all() for parameter in model.parameters())
    assert "blur=0.5" in repr(loss)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"loss": "energy"}, "geomloss"),
        ({"loss": "gaussian"}, "geomloss"),
        ({"loss": "sink"}, "sinkhorn"),
        ({"p": 3}, "choose from 1, 2"),
        ({"cost": "SqDist(X,Y)"}, "function"),
    ],
)
def test_refusals_name_the_way_out(change, message):
    with pytest.raises(ValueError, match=message):
        SamplesLoss(**change)


def test_calls_that_do_not_fit_are_refused():
    a, x, b, y = clouds()
    loss = SamplesLoss()
    with pytest.raises(ValueError, match="labels"):
        loss(a, a, x, b, b, y)
    with pytest.raises(ValueError, match="takes"):
        loss(a, x, y)
    with pytest.raises(ValueError, match="shape"):
        loss(x, y[None])
    for given in ({}, {"epsilon": 0.1, "blur": 0.1}):
        with pytest.raises(ValueError, match="either epsilon or blur"):
            OwnLoss(**given)
    with pytest.raises(ValueError, match="metric"):
        OwnLoss(epsilon=0.1, metric="manhattan")


def test_a_solve_that_does_not_arrive_warns():
    _, x, _, y = clouds()
    with pytest.warns(eot.ConvergenceWarning):
        OwnLoss(epsilon=1e-3, max_iter=1, tol=1e-12)(x, y)
    assert np.isfinite(float(OwnLoss(epsilon=0.1)(x, y)))
