"""Losses of distillation against their formulas in NumPy and against differences."""

import numpy as np
import pytest
from scipy.spatial.distance import cdist
from scipy.special import rel_entr

import elastic_ot as eot
from elastic_ot.applications.distillation import js_loss, kl_loss, reverse_kl_loss, sinkd_loss
from helpers.application_arrays import DIFFERENTIABLE, arrays, differences, gradient, opened  # noqa: F401 - a fixture


def some_logits(b=6, d=4, seed=0, batch=()):
    rng = np.random.default_rng(seed)
    return 3.0 * rng.normal(size=(*batch, b, d)), 3.0 * rng.normal(size=(*batch, b, d))


def predictions(logits, temperature):
    weights = np.exp(logits / temperature)
    return weights / weights.sum(axis=-1, keepdims=True)


def by_formula(student, teacher, temperature=2.0, epsilon=0.1, iterations=20, tau=1.0):
    """The kernel divided by its row sums, then by its column sums to the power tau, again and again."""
    cost = cdist(predictions(student, temperature), predictions(teacher, temperature), "cityblock")
    plan, v = np.exp(-cost / epsilon), 1.0
    kernel = plan
    for _ in range(iterations):
        u = 1 / (kernel * v).sum(axis=1, keepdims=True)
        v = (u * kernel).sum(axis=0) ** -tau
        plan = u * kernel * v
    return (plan * cost).sum(), plan, cost


@pytest.mark.parametrize(("temperature", "epsilon", "iterations"), [(2.0, 0.1, 20), (1.0, 0.05, 3), (4.0, 1.0, 1)])
def test_the_loss_is_its_formula(arrays, temperature, epsilon, iterations):  # noqa: F811
    student, teacher = some_logits()
    options = {"temperature": temperature, "epsilon": epsilon, "iterations": iterations}
    found = sinkd_loss(arrays.make(student), arrays.make(teacher), **options)
    assert float(found) == pytest.approx(by_formula(student, teacher, **options)[0], rel=1e-10)
    assert isinstance(found, (arrays.kind, np.floating))


def test_the_formula_of_the_tests_is_that_of_repeated_division():
    student, teacher = some_logits()
    _, scaled, cost = by_formula(student, teacher)
    plan = np.exp(-cost / 0.1)
    for _ in range(20):
        plan = plan / plan.sum(axis=1, keepdims=True)
        plan = plan / plan.sum(axis=0, keepdims=True)
    np.testing.assert_allclose(scaled, plan, rtol=1e-12)


@pytest.mark.parametrize("lam", [0.0, 0.3, 0.9])
def test_elastic_columns_have_the_exponent_lam(lam):
    student, teacher = some_logits()
    found = sinkd_loss(student, teacher, cols=eot.Elastic(lam))
    assert float(found) == pytest.approx(by_formula(student, teacher, tau=lam)[0], rel=1e-10)


def test_rigid_columns_are_elastic_ones_with_lam_one():
    student, teacher = some_logits()
    assert float(sinkd_loss(student, teacher, cols=eot.Elastic(1.0))) == float(sinkd_loss(student, teacher))


def test_without_a_number_of_iterations_the_plan_is_solved_for():
    student, teacher = some_logits()
    found = sinkd_loss(student, teacher, iterations=None, grad="implicit", tol=1e-12)
    assert float(found) == pytest.approx(by_formula(student, teacher, iterations=20_000)[0], rel=1e-9)


def test_a_student_that_equals_the_teacher_up_to_order_pays_little():
    """The loss compares batches, not samples; entropy keeps it from 0."""
    student, _ = some_logits()
    shuffled = student[::-1]
    assert float(sinkd_loss(student, shuffled)) == pytest.approx(float(sinkd_loss(student, student)), rel=1e-9)
    assert float(sinkd_loss(student, shuffled, epsilon=0.01)) < 1e-3
    assert float(kl_loss(student, shuffled)) > 0.1


def test_leading_dimensions_are_batches_of_their_own(arrays):  # noqa: F811
    student, teacher = some_logits(batch=(2, 3))
    found = arrays.read(sinkd_loss(arrays.make(student), arrays.make(teacher)))
    assert found.shape == (2, 3)
    for index in np.ndindex(2, 3):
        assert found[index] == pytest.approx(by_formula(student[index], teacher[index])[0], rel=1e-10)


CASES = [
    {"iterations": 20},
    {"iterations": 2, "cols": eot.Elastic(0.5)},
    {"iterations": None, "grad": "implicit", "tol": 1e-13},
]


@pytest.mark.parametrize("name", DIFFERENTIABLE)
@pytest.mark.parametrize("options", CASES, ids=str)
def test_gradients_are_those_of_differences(name, options):
    student, teacher = some_logits(4, 3)
    with opened(name) as library:
        goal = library.make(teacher)
    found = gradient(name, lambda x: sinkd_loss(x, goal, **options), student)
    numeric = differences(lambda x: float(sinkd_loss(x, teacher, **options)), student, step=1e-5)
    np.testing.assert_allclose(found, numeric, atol=1e-6)  # tol times the mass over the step
    assert np.abs(found).max() > 1e-3


@pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated:DeprecationWarning")
def test_torch_differentiates_both_sides():
    with opened("torch") as found:
        import torch

        student, teacher = (found.make(x).requires_grad_() for x in some_logits(3, 3))
        assert torch.autograd.gradcheck(lambda s, t: sinkd_loss(s, t, iterations=5), (student, teacher))
        for loss in (kl_loss, reverse_kl_loss, js_loss):
            assert torch.autograd.gradcheck(loss, (student, teacher))


@pytest.mark.parametrize("name", DIFFERENTIABLE)
def test_a_detached_plan_is_held(name):
    student, teacher = some_logits(4, 3)
    _, plan, _ = by_formula(student, teacher)

    def held(x):
        return (plan * cdist(predictions(x, 2.0), predictions(teacher, 2.0), "cityblock")).sum()

    with opened(name) as library:
        goal = library.make(teacher)
    found = gradient(name, lambda x: sinkd_loss(x, goal, grad="detach"), student)
    np.testing.assert_allclose(found, differences(held, student), atol=1e-8)


def test_sample_losses_are_their_formulas(arrays):  # noqa: F811
    student, teacher = some_logits()
    for temperature in (1.0, 3.0):
        p, q = predictions(student, temperature), predictions(teacher, temperature)
        r = (p + q) / 2
        formulas = {
            kl_loss: rel_entr(q, p),
            reverse_kl_loss: rel_entr(p, q),
            js_loss: (rel_entr(p, r) + rel_entr(q, r)) / 2,
        }
        for loss, terms in formulas.items():
            found = loss(arrays.make(student), arrays.make(teacher), temperature=temperature)
            assert float(found) == pytest.approx(temperature**2 * terms.sum(axis=-1).mean(), rel=1e-12)


def test_sample_losses_are_zero_for_equal_predictions_and_never_negative():
    student, teacher = some_logits()
    for loss in (kl_loss, reverse_kl_loss, js_loss):
        assert float(loss(student, student + 5.0)) == pytest.approx(0.0, abs=1e-12)
        assert float(loss(student, teacher)) > 0
        assert np.isfinite(loss(100 * student, 100 * teacher))
    assert float(js_loss(student, teacher)) == pytest.approx(float(js_loss(teacher, student)), rel=1e-12)
    assert float(kl_loss(student, teacher)) == pytest.approx(float(reverse_kl_loss(teacher, student)), rel=1e-12)


@pytest.mark.parametrize("loss", [sinkd_loss, kl_loss, reverse_kl_loss, js_loss])
@pytest.mark.parametrize(
    ("shapes", "options", "message"),
    [
        (((4,), (4,)), {}, r"student_logits has shape \(4,\)"),
        (((0, 4), (0, 4)), {}, "none of these may be 0"),
        (((3, 4), (2, 4)), {}, r"student_logits has shape \(3, 4\) and teacher_logits \(2, 4\)"),
        (((3, 4), (3, 4)), {"temperature": 0.0}, "temperature is 0.0"),
    ],
)
def test_bad_input_is_named(loss, shapes, options, message):
    with pytest.raises(ValueError, match=message):
        loss(*map(np.zeros, shapes), **options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"epsilon": 0.0}, "epsilon is 0.0"),
        ({"iterations": 0}, "iterations is 0"),
        ({"iterations": None}, "grad is 'unroll' and iterations None"),
        ({"grad": "implicit"}, "grad is 'implicit' and iterations 20"),
    ],
)
def test_bad_options_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        sinkd_loss(np.zeros((3, 4)), np.zeros((3, 4)), **options)
