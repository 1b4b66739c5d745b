"""Operators of PyTorch on points: values and derivatives of the matrix between them, without it."""

import pytest

import elastic_ot as eot
from elastic_ot.costs import scan
from helpers.array_libraries import library

library("torch")
import torch  # noqa: E402

# torch's own, when forward mode is used for the first time
pytestmark = pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated:DeprecationWarning")

METRICS = ("sqeuclidean", "euclidean", "cityblock", "cosine", "dot")
TIGHT = {"tol": 1e-13}


@pytest.fixture(params=["computed once", "strip by strip"])
def storage(request, monkeypatch):
    if request.param == "strip by strip":
        monkeypatch.setattr(scan, "KEPT_ENTRIES", 0)


def drawn(seed=0, n=5, m=6, d=2):
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    a, b = (torch.softmax(0.3 * normal(k), 0).requires_grad_() for k in (n, m))
    return normal(n, d).requires_grad_(), (normal(m, d) + 0.4).requires_grad_(), a, b


def matrix(metric, x, y):
    apart = x[:, None] - y
    return {
        "sqeuclidean": lambda: apart.square().sum(-1),
        "euclidean": lambda: apart.square().sum(-1).sqrt(),
        "cityblock": lambda: apart.abs().sum(-1),
        "cosine": lambda: 1 - torch.nn.functional.normalize(x, dim=1) @ torch.nn.functional.normalize(y, dim=1).T,
        "dot": lambda: -x @ y.T,
    }[metric]()


def assert_close(found, expected, atol=1e-9):
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=atol)


SIDES = [{}, {"cols": eot.KL(0.7)}, {"rows": eot.Elastic(0.6), "cols": eot.L2(2.0)}]


@pytest.mark.parametrize("options", SIDES, ids=str)
@pytest.mark.parametrize("metric", METRICS)
def test_value_and_its_gradients_are_those_of_the_matrix(metric, options, storage):
    x, y, a, b = drawn()
    epsilon = torch.tensor(0.5, dtype=torch.float64, requires_grad=True)
    inputs = (x, y, a, b, epsilon)
    found = eot.torch.value(eot.PointCloud(x, y, metric), a, b, epsilon=epsilon, **options, **TIGHT)
    expected = eot.torch.value(matrix(metric, x, y), a, b, epsilon=epsilon, **options, **TIGHT)
    assert_close([found], [expected])
    assert_close(torch.autograd.grad(found, inputs), torch.autograd.grad(expected, inputs))


@pytest.mark.parametrize("metric", METRICS)
def test_value_is_differentiated_twice(metric, storage):
    x, y, a, b = drawn(1)

    def value(x, y, a):
        a = a / a.sum()
        return eot.torch.value(eot.PointCloud(x, y, metric), a, b.detach(), epsilon=0.6, cols=eot.KL(1.0), **TIGHT)

    assert torch.autograd.gradcheck(value, (x, y, a), check_forward_ad=True, atol=1e-5)
    assert torch.autograd.gradgradcheck(value, (x, y, a), atol=1e-4)


@pytest.mark.parametrize("metric", ["sqeuclidean", "euclidean", "cosine"])
@pytest.mark.parametrize("grad", ["implicit", "unroll"])
def test_potentials_and_products_have_derivatives(metric, grad, storage):
    x, y, a, b = drawn(2)
    options = {"max_iter": 5} if grad == "unroll" else TIGHT
    v = torch.randn(6, 3, dtype=torch.float64, requires_grad=True)
    u = torch.randn(5, 2, dtype=torch.float64, requires_grad=True)

    def outcome(cost_of, x, y, a, b, u, v):
        how = {"epsilon": 0.7, "cols": eot.KL(1.0), "grad": grad, **options}
        f, g = eot.torch.potentials(cost_of(x, y), a, b, **how)
        carried = eot.torch.plan_apply(cost_of(x, y), v, a, b, **how)
        back = eot.torch.plan_apply(cost_of(x, y), u, a, b, axis=0, **how)
        return f, g, carried, back

    inputs, end = (x, y, a, b, u, v), {}
    found = outcome(lambda x, y: eot.PointCloud(x, y, metric), *inputs)
    expected = outcome(lambda x, y: matrix(metric, x, y), *inputs)
    if grad == "unroll":  # P^T u of a cloud begins with the other side
        found, expected = found[:3], expected[:3]
        inputs = (x, y, a, b, v)
    assert_close(found, expected, 1e-8)
    bars = [torch.randn_like(z) for z in found]
    one, other = (torch.autograd.grad(z, inputs, bars, **end) for z in (found, expected))
    assert_close(one, other, 1e-7)


def test_products_have_forward_derivatives(storage):
    x, y, a, b = drawn(3)
    v = torch.randn(6, 2, dtype=torch.float64, requires_grad=True)

    def carried(x, y, v):
        return eot.torch.plan_apply(eot.PointCloud(x, y), v, a.detach(), b.detach(), epsilon=0.5, **TIGHT)

    assert torch.autograd.gradcheck(carried, (x, y, v), check_forward_ad=True, atol=1e-5)


def test_the_divergence_makes_its_costs_itself():
    x, y, a, b = drawn(4)
    cloud = eot.torch.divergence(eot.PointCloud(x, y), a=a, b=b, epsilon=0.4, **TIGHT)
    costs = [matrix("sqeuclidean", *pair) for pair in ((x, y), (x, x), (y, y))]
    dense = eot.torch.divergence(*costs, a=a, b=b, epsilon=0.4, **TIGHT)
    assert_close([cloud], [dense])
    assert_close(torch.autograd.grad(cloud, (x, y)), torch.autograd.grad(dense, (x, y)))
    with pytest.raises(ValueError, match="leave out cost_xx"):
        eot.torch.divergence(eot.PointCloud(x, y), costs[1], costs[2], epsilon=0.4)


def test_a_cloud_of_one_set_of_points_has_the_sum_of_both_sides():
    x, *_ = drawn(5)
    (found,) = torch.autograd.grad(eot.torch.value(eot.PointCloud(x), epsilon=0.4, **TIGHT), x)
    (expected,) = torch.autograd.grad(eot.torch.value(matrix("sqeuclidean", x, x), epsilon=0.4, **TIGHT), x)
    assert_close([found], [expected])


def test_many_clouds_under_vmap_and_with_many_weights():
    x, y, a, b = drawn(6)
    xs = torch.stack([x, 1.1 * x, x + 0.3]).detach()

    def value(x):
        return eot.torch.value(eot.PointCloud(x, y.detach()), epsilon=0.5, **TIGHT)

    found = torch.func.vmap(value)(xs)
    assert_close(found, [value(z) for z in xs])
    assert_close(torch.func.vmap(torch.func.grad(value))(xs), [torch.func.grad(value)(z) for z in xs])
    weights = torch.stack([a, a.flip(0)]).detach()
    many = eot.torch.value(eot.PointCloud(x, y), weights, b, epsilon=0.5, **TIGHT)
    assert_close(many, [eot.torch.value(eot.PointCloud(x, y), w, b, epsilon=0.5, **TIGHT) for w in weights])


def test_dtypes_are_those_of_the_points():
    x, y, *_ = (z.detach().float() for z in drawn(7))
    x.requires_grad_()
    found = eot.torch.value(eot.PointCloud(x, y), epsilon=0.5, tol=1e-6)
    found.backward()
    assert found.dtype == x.grad.dtype == torch.float32


def test_clouds_are_refused_where_they_have_no_meaning():
    x, y, a, b = drawn(8)
    cloud = eot.PointCloud(x, y)
    for operator in (eot.torch.plan, eot.torch.log_plan, eot.torch.transport_cost):
        with pytest.raises(TypeError, match="plan_apply and divergence take a PointCloud of tensors"):
            operator(cloud, epsilon=0.5)
    with pytest.raises(ValueError, match="mask is for a cost matrix"):
        eot.torch.value(cloud, epsilon=0.5, mask=torch.ones(5, 6, dtype=torch.bool))
    with pytest.raises(TypeError, match=r"x is part of a computation .* elastic_ot.torch.value, or pass x.detach"):
        eot.solve(cloud, epsilon=0.5)
    with pytest.raises(TypeError, match=r"x must be a torch.Tensor"):
        eot.torch.value(eot.PointCloud(x.detach().numpy(), y), epsilon=0.5)
    with pytest.raises(ValueError, match=r"right has shape \(5, 2\)"):
        eot.torch.plan_apply(cloud, torch.ones(5, 2), epsilon=0.5)
    with pytest.raises(ValueError, match="axis is 2"):
        eot.torch.plan_apply(cloud, torch.ones(6, 2), epsilon=0.5, axis=2)
