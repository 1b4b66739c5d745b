"""Operators of PyTorch on points: values and derivatives of the matrix between them, without it."""

import pytest

import elastic_ot as eot
from elastic_ot.costs import scan
from elastic_ot.frameworks import clouds
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
        monkeypatch.setattr(clouds, "KEPT_ENTRIES", 0)


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


def normal(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def many_drawn():
    """Two clouds, and three others that broadcast with them, with one weighting for every pair."""
    x, y, a, b = drawn(9)
    xs, ys = torch.stack([x, 1.2 * x])[:, None], torch.stack([y, y + 0.3, 0.7 * y])
    weights = torch.stack([a, a.flip(0)])[:, None].expand(2, 3, 5)
    return tuple(z.detach().requires_grad_() for z in (xs, ys, weights, b))


@pytest.mark.parametrize("options", SIDES, ids=str)
@pytest.mark.parametrize("metric", METRICS)
def test_clouds_with_leading_dimensions_have_the_values_of_single_ones(metric, options, storage):
    inputs = x, y, a, b = many_drawn()
    v = normal(3, 6, 2).requires_grad_()
    how = {"epsilon": 0.5, **options, **TIGHT}

    def outcome(cloud, a, v):
        f, g = eot.torch.potentials(cloud, a, b, **how)
        moved = eot.torch.plan_apply(cloud, v, a, b, **how)
        return eot.torch.value(cloud, a, b, **how), f, g, moved

    found = outcome(eot.PointCloud(x, y, metric), a, v)
    alone = [
        outcome(eot.PointCloud(x[i, 0], y[j], metric), a[i, j], v[j])
        for i, j in ((i, j) for i in (0, 1) for j in range(3))
    ]
    expected = [
        torch.stack(parts).reshape(one.shape) for parts, one in zip(zip(*alone, strict=True), found, strict=True)
    ]
    assert_close(found, expected)
    bars = [normal(*z.shape) for z in found]
    one, other = (list(torch.autograd.grad(z, (*inputs, v), bars)) for z in (found, expected))
    if not options:  # the masses of two fixed sides move together: derivatives in weights are known up to a constant
        for slopes in (one, other):
            slopes[2:4] = [z - z.mean(-1, keepdim=True) for z in slopes[2:4]]
    assert_close(one, other, 1e-7)  # errors of 1e-13 are amplified by the linear system


@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
def test_clouds_with_leading_dimensions_are_differentiated_twice(metric):
    x, y, a, b = (z.detach() for z in many_drawn())
    x, y = x[..., :2, :].clone().requires_grad_(), y[:2, :3].clone().requires_grad_()

    def value(x, y):
        return eot.torch.value(eot.PointCloud(x, y, metric), epsilon=0.6, cols=eot.KL(1.0), **TIGHT)

    assert torch.autograd.gradcheck(value, (x, y), check_forward_ad=True, atol=1e-5)
    assert torch.autograd.gradgradcheck(value, (x, y), atol=1e-4)

    def outcome(x, y, v):
        cloud, how = eot.PointCloud(x, y, metric), {"epsilon": 0.6, **TIGHT}
        return *eot.torch.potentials(cloud, **how), eot.torch.plan_apply(cloud, v, **how)

    v = normal(3, 2).requires_grad_()
    assert torch.autograd.gradcheck(outcome, (x, y, v), check_forward_ad=True, atol=1e-5)


def test_a_budget_of_many_clouds_is_differentiated():
    x, y, a, b = many_drawn()
    v = normal(6, 2).requires_grad_()

    def outcome(x, y, v):
        cloud, how = eot.PointCloud(x, y), {"epsilon": 0.6, "grad": "unroll", "max_iter": 3}
        return *eot.torch.potentials(cloud, **how), eot.torch.plan_apply(cloud, v, **how)

    assert torch.autograd.gradcheck(outcome, (x, y, v), atol=1e-5)


def test_the_distance_of_equal_points_has_derivative_0_in_many_clouds(storage):
    x = normal(2, 4, 2).requires_grad_()
    (found,) = torch.autograd.grad(eot.torch.value(eot.PointCloud(x, metric="euclidean"), epsilon=0.5).sum(), x)
    parts = [eot.torch.value(eot.PointCloud(z, metric="euclidean"), epsilon=0.5) for z in x]
    assert torch.isfinite(found).all()
    assert_close([found], torch.autograd.grad(sum(parts), x), 1e-6)  # both are solved to 1e-9


def test_divergences_of_many_clouds(storage):
    x, y, a, b = many_drawn()
    found = eot.torch.divergence(eot.PointCloud(x, y), a=a, b=b, epsilon=0.4, **TIGHT)
    pairs = [(i, j) for i in (0, 1) for j in range(3)]
    alone = [
        eot.torch.divergence(eot.PointCloud(x[i, 0], y[j]), a=a[i, j], b=b, epsilon=0.4, **TIGHT) for i, j in pairs
    ]
    expected = torch.stack(alone).reshape(2, 3)
    assert_close([found], [expected])
    assert_close(*(torch.autograd.grad(z.sum(), (x, y, a), retain_graph=True) for z in (found, expected)), 1e-7)


def test_wrong_points_of_many_clouds_are_named(storage):
    x, y, a, b = (z.detach() for z in many_drawn())
    x[1, 0, 2, 0] = float("nan")
    with pytest.raises(ValueError, match=r"^(x\[1, 0, 2, 0\]|problem \[1, 0\]: x\[2, 0\]) is nan"):
        eot.torch.value(eot.PointCloud(x, y), epsilon=0.5)


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


@pytest.mark.parametrize("backend", ["eager", "aot_eager"])
def test_a_cloud_may_be_made_inside_of_one_compiled_graph(backend):
    torch.compiler.reset()
    x, y, *_ = drawn()

    def loss(x, y):
        return eot.torch.divergence(eot.PointCloud(2.0 * x, y, "euclidean"), epsilon=0.1, tol=1e-8)

    found, expected = torch.compile(loss, fullgraph=True, backend=backend)(x, y), loss(x, y)
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(torch.autograd.grad(found, x), torch.autograd.grad(expected, x))


def test_a_cloud_of_a_compiled_function_is_refused_by_what_needs_the_numbers():
    torch.compiler.reset()
    x, y = (points.detach() for points in drawn()[:2])
    cloud = torch.compile(lambda x, y: eot.PointCloud(x, y), fullgraph=True, backend="eager")(x, y)
    with pytest.raises(TypeError, match="transformed or compiled; call an operator"):
        eot.solve(cloud, epsilon=0.1)
