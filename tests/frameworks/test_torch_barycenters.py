"""Barycenters as operators of PyTorch: differences, graphs, vmap, and what is refused."""

import pytest

import elastic_ot as eot
from helpers.array_libraries import library

library("torch")
import torch  # noqa: E402

import elastic_ot.torch as eot_torch  # noqa: E402

# torch's own, when forward mode is used for the first time
pytestmark = pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated:DeprecationWarning")
TIGHT = {"tol": 1e-13}
OPERATORS = [eot_torch.barycenter, eot_torch.barycenter_value]


def drawn(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def inputs(kind, count=2, n=3, m=4):
    """Logits of measures and weights, epsilon, and what costs are made of, all to be differentiated; and how."""
    logits, weights = drawn(count, n), drawn(count, seed=1).exp()
    epsilon = torch.tensor(0.5, dtype=torch.float64)
    if kind in ("one", "each"):
        costs = drawn(*([count] if kind == "each" else []), n, m, seed=2).square()
        return (costs, logits, weights, epsilon), lambda costs: costs
    if kind == "grid":
        grid = eot.Grid((n,), (torch.linspace(0, 1, m).numpy(),))
        return (torch.zeros((), dtype=torch.float64), logits, weights, epsilon), lambda _: grid
    shape = (n, 2) if kind == "cloud" else (count, n, 2)
    x, y = drawn(*shape, seed=3), drawn(m, 2, seed=4)
    return (x, logits, weights, epsilon), lambda x: eot.PointCloud(x, y)


KINDS = ["one", "each", "cloud", "clouds", "grid"]


@pytest.mark.parametrize(("kind", "rows"), [*((kind, eot.Fixed()) for kind in KINDS), ("each", eot.KL(0.5))], ids=str)
@pytest.mark.parametrize("operator", OPERATORS)
def test_derivatives_are_differences(operator, kind, rows):
    given, costs = inputs(kind)
    given = [x.requires_grad_() for x in given]

    def outcome(places, logits, weights, epsilon):
        measures = torch.softmax(logits, -1)
        return operator(costs(places), measures, weights, epsilon=epsilon, rows=rows, **TIGHT)

    if kind == "grid":
        given = given[1:]
        assert torch.autograd.gradcheck(lambda *x: outcome(None, *x), given, check_forward_ad=True, atol=1e-6)
        return
    assert torch.autograd.gradcheck(outcome, given, check_forward_ad=True, atol=1e-6)


@pytest.mark.parametrize("rows", [eot.Fixed(), eot.KL(0.5)], ids=str)
@pytest.mark.parametrize("kind", ["each", "cloud"])
def test_the_value_is_differentiated_twice(kind, rows):
    given, costs = inputs(kind)

    def value(places, logits, weights, epsilon):
        measures = torch.softmax(logits, -1)
        return eot_torch.barycenter_value(costs(places), measures, weights, epsilon=epsilon, rows=rows, **TIGHT)

    assert torch.autograd.gradgradcheck(value, [x.requires_grad_() for x in given], atol=1e-4)


def test_strengths_are_differentiated():
    (costs, logits, _, _), _ = inputs("each")
    rho = torch.tensor(0.4, dtype=torch.float64, requires_grad=True)
    measures = torch.exp(logits)  # masses differ

    def both(rho):
        how = {"epsilon": 0.5, "row_rho": rho, "rows": eot.KL(1.0), **TIGHT}
        return eot_torch.barycenter(costs, measures, **how), eot_torch.barycenter_value(costs, measures, **how)

    assert torch.autograd.gradcheck(both, (rho,), check_forward_ad=True)


def loss_of(kind):
    """A function of the places of costs and of logits, and values of these."""
    (places, logits, weights, _), costs = inputs(kind)

    def loss(places, logits):
        measures = torch.softmax(logits, -1)
        found = eot_torch.barycenter(costs(places), measures, weights, epsilon=0.5)
        return found.square().sum() + eot_torch.barycenter_value(costs(places), measures, weights, epsilon=0.5)

    return loss, places.requires_grad_(), logits.requires_grad_()


@pytest.mark.parametrize("kind", ["one", "grid"])
def test_compiled_graphs_agree_with_eager(kind):
    torch.compiler.reset()
    loss, places, logits = loss_of(kind)
    pair = loss(places, logits), torch.compile(loss, fullgraph=True, backend="aot_eager")(places, logits)
    torch.testing.assert_close(*pair)
    given = (places, logits) if kind == "one" else (logits,)
    for one, other in zip(*(torch.autograd.grad(x, given) for x in pair), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("kind", ["one", "clouds", "grid"])
def test_vmap_is_one_after_the_other(kind):
    loss, places, logits = loss_of(kind)
    places, many = places.detach(), torch.stack([logits, 2 * logits]).detach()
    slopes = torch.func.vmap(torch.func.grad(lambda x: loss(places, x)))(many)
    for one, logit in zip(slopes, many, strict=True):
        logit.requires_grad_()
        (other,) = torch.autograd.grad(loss(places, logit), logit)
        torch.testing.assert_close(one, other, atol=1e-9, rtol=1e-7)


def test_leading_dimensions_are_problems():
    (costs, logits, weights, _), _ = inputs("each")
    measures = torch.softmax(torch.stack([logits, logits.flip(0)]), -1)
    epsilon = torch.tensor([0.5, 0.8], dtype=torch.float64)
    found, converged = eot_torch.with_converged(eot_torch.barycenter)(costs, measures, weights, epsilon=epsilon)
    assert found.shape == (2, 4)
    assert converged.tolist() == [True, True]
    for k in range(2):
        alone = eot.barycenter(costs, measures[k], weights, epsilon=float(epsilon[k]), tol=1e-9)
        torch.testing.assert_close(found[k], alone.weights)
    both = eot_torch.barycenter_value(costs[:, None] + torch.zeros(2, 1, 1), None, epsilon=0.5)
    assert both.shape == (2,)


def test_images_and_dtypes():
    images = torch.rand(2, 4, 3, generator=torch.Generator().manual_seed(0))
    images = (images / images.sum((-1, -2), keepdim=True)).requires_grad_()
    found = eot_torch.barycenter(eot.Grid((4, 3)), images, epsilon=0.1, tol=1e-6)
    found[0].backward()
    assert (found.dtype, found.shape, images.grad.shape) == (torch.float32, (12,), (2, 4, 3))
    alone = eot.barycenter(eot.Grid((4, 3)), images.detach(), epsilon=0.1, tol=1e-6)
    torch.testing.assert_close(found.detach(), torch.as_tensor(alone.weights).float())


def test_what_cannot_be_differentiated_is_refused():
    (costs, logits, _, _), _ = inputs("each")
    measures = torch.softmax(logits, -1)
    cases = [
        (ValueError, "debiased barycenters are fixed points without derivatives", {"debiased": True}),
        (ValueError, "init is not for differentiable barycenters", {"init": None}),
        (TypeError, "there is no option 'cols'", {"cols": eot.KL(1.0)}),
        (TypeError, "row_rho is given and rows is Fixed", {"row_rho": 1.0}),
    ]
    for kind, message, options in cases:
        with pytest.raises(kind, match=message):
            eot_torch.barycenter(costs, measures, epsilon=0.5, **options)
    with pytest.raises(TypeError, match="costs is a list; stack"):
        eot_torch.barycenter(list(costs), measures, epsilon=0.5)
    with pytest.raises(ValueError, match="one for all measures or one for each of the 3"):
        eot_torch.barycenter(costs, measures[[0, 1, 0]], epsilon=0.5)
    with pytest.raises(ValueError, match=r"weights has shape \(3,\).*one for each measure"):
        eot_torch.barycenter(costs, measures, torch.ones(3), epsilon=0.5)
    with pytest.raises(ValueError, match="pass the measures"):
        eot_torch.barycenter(costs[0], epsilon=0.5)
    with pytest.raises(ValueError, match=r"it must be \(..., K, 3\)"):
        eot_torch.barycenter(costs, measures[:, :2], epsilon=0.5)
    with pytest.raises(ValueError, match="epsilon has leading dimensions"):
        eot_torch.barycenter(costs, measures.expand(2, 2, 3), epsilon=torch.ones(3))
    bent = measures.clone().requires_grad_()
    (slope,) = torch.autograd.grad(
        eot_torch.barycenter(costs, bent, epsilon=0.5).square().sum(), bent, create_graph=True
    )
    with pytest.raises(RuntimeError, match="differentiated once"):
        slope.sum().backward()


def test_unconverged_warns_unless_told_not_to():
    (costs, logits, _, _), _ = inputs("each")
    measures = torch.softmax(logits, -1).requires_grad_()
    how = {"epsilon": 1e-2, "max_iter": 2}
    with pytest.warns(eot.ConvergenceWarning, match="max_iter"):
        eot_torch.barycenter(costs, measures, **how)
    found, converged = eot_torch.with_converged(eot_torch.barycenter)(costs, measures, on_failure="ignore", **how)
    found.square().sum().backward()
    assert not converged
    assert measures.grad is not None


@pytest.mark.parametrize("kind", ["one", "each", "grid"])
def test_a_relative_epsilon_is_of_the_costs_of_all_measures(kind):
    (places, logits, weights, _), costs = inputs(kind)
    measures, given = torch.softmax(logits, -1), costs(places)
    plain = given if kind == "grid" else list(given.numpy()) if kind == "each" else given.numpy()
    expected = eot.barycenter(plain, measures.numpy(), weights.numpy(), epsilon="0.1x", tol=1e-9)
    found = eot_torch.barycenter_value(given, measures, weights, epsilon="0.1x")
    assert found.item() == pytest.approx(expected.value, abs=1e-9)


def test_a_relative_epsilon_is_each_problems_own_and_refused_of_points():
    costs, measures = drawn(2, 1, 3, 4, seed=2).square(), torch.softmax(drawn(2, 2, 3), -1)
    found = eot_torch.barycenter(costs, measures, epsilon="0.1x")
    for k in range(2):
        torch.testing.assert_close(found[k], eot_torch.barycenter(costs[k], measures[k], epsilon="0.1x"))
    cloud = eot.PointCloud(drawn(3, 2), drawn(4, 2))
    with pytest.raises(TypeError, match="for a PointCloud give a number"):
        eot_torch.barycenter(cloud, measures[0], epsilon="0.1x")
