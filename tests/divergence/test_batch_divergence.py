"""Divergences of many pairs: each is that of the pair alone, to the last bit."""

import numpy as np
import pytest

import elastic_ot as eot
from helpers.application_arrays import opened

NAMES = ("cost_xy", "cost_xx", "cost_yy", "a", "b", "epsilon")


def some_pairs(batch=(2, 3), n=5, m=4, seed=0):
    rng = np.random.default_rng(seed)
    x, y = rng.random((*batch, n)), rng.random((*batch, m)) + 0.3
    a, b = rng.random((*batch, n)) + 0.1, rng.random((*batch, m)) + 0.1
    a, b = (w / w.sum(axis=-1, keepdims=True) for w in (a, b))
    return *(np.abs(p[..., :, None] - q[..., None, :]) for p, q in ((x, y), (x, x), (y, y))), a, b


@pytest.mark.parametrize("single", [False, True], ids=["float64", "float32"])
def test_each_pair_has_the_bits_it_has_alone(single):
    inputs = some_pairs()
    if single:
        inputs = (*(x.astype(np.float32) for x in inputs[:3]), *inputs[3:])
    found = eot.divergence(*inputs, epsilon=0.05, rows=eot.KL(0.5))
    gradients = found.gradients()
    assert found.value.shape == found.converged.shape == found.gap.shape == (2, 3)
    for index in np.ndindex(2, 3):
        alone = eot.divergence(*(x[index] for x in inputs), epsilon=0.05, rows=eot.KL(0.5))
        assert found.value[index] == alone.value == found[index].value
        assert found.gap[index] == alone.gap
        by_alone = alone.gradients()
        for name in NAMES:
            np.testing.assert_array_equal(getattr(gradients, name)[index], getattr(by_alone, name))
    assert [pair.value for pair in found] == found.value.reshape(-1).tolist()
    assert len(found) == 2
    assert repr(found) == "BatchDivergence(2 x 3 pairs of 5 and 4 points, 6 converged)"


def test_whatever_has_leading_dimensions_broadcasts():
    xy, xx, yy, a, b = some_pairs((3,))
    rho, epsilon = np.array([0.5, 1.0, 2.0]), np.array([[0.1], [0.3]])
    found = eot.divergence(xy[0], xx[0].tolist(), yy, a[:1], b[1], epsilon=epsilon, cols=eot.KL(rho))
    assert found.value.shape == (2, 3)
    for i, k in np.ndindex(2, 3):
        sides = {"epsilon": epsilon[i, 0], "cols": eot.KL(rho[k])}
        assert found.value[i, k] == eot.divergence(xy[0], xx[0], yy[k], a[0], b[1], **sides).value


def test_its_gradients_are_those_of_differences():
    inputs = some_pairs((2,), 3, 4)
    how = {"tol": 1e-11, "rows": eot.KL(0.7), "cols": eot.KL(0.4)}
    found = eot.divergence(*inputs, epsilon=0.2, **how).gradients()
    rng = np.random.default_rng(1)
    moves = [rng.normal(size=x.shape) for x in inputs]
    moves[1], moves[2] = (x + np.swapaxes(x, 1, 2) for x in moves[1:3])  # costs within a cloud stay symmetric
    for name, x, move in zip(NAMES, inputs, moves, strict=False):
        values = []
        for sign in (1, -1):
            moved = [y + sign * 1e-5 * move if y is x else y for y in inputs]
            values.append(eot.divergence(*moved, epsilon=0.2, **how).value)
        numeric = (values[0] - values[1]) / 2e-5
        slope = getattr(found, name) * move
        np.testing.assert_allclose(slope.reshape(2, -1).sum(axis=1), numeric, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("name", ["torch", "jax"])
def test_pairs_of_other_libraries_have_solutions_there(name):
    with opened(name) as library:
        inputs = [library.make(x.astype(np.float32)) for x in some_pairs((2,))]
        found = eot.divergence(*inputs, epsilon=0.1)
    assert isinstance(found[0].cross.f, type(inputs[0]))
    plain = eot.divergence(*map(np.asarray, inputs), epsilon=0.1)
    np.testing.assert_array_equal(found.value, plain.value)
    if name == "torch":
        other = eot.torch.divergence(*(x.double() for x in inputs), epsilon=0.1)
        np.testing.assert_allclose(found.value, other, atol=1e-5)  # tol of the three terms


def test_one_message_speaks_for_all_that_did_not_converge():
    inputs = some_pairs()
    options = {"epsilon": 1e-3, "max_iter": 2}
    with pytest.warns(eot.ConvergenceWarning, match=r"\d of 6 pairs, first \[0, 0\] .*did not converge") as caught:
        found = eot.divergence(*inputs, **options)
    assert len(caught) == 1
    with pytest.raises(eot.ConvergenceError, match="pairs, first"):
        eot.divergence(*inputs, **options, on_failure="raise")
    assert not eot.divergence(*inputs, **options, on_failure="ignore").converged.all()
    with pytest.warns(eot.ConvergenceWarning, match="gradients hold at the optimum, and") as caught:
        found.gradients()
    assert len(caught) == 1


def test_a_time_limit_is_that_of_all_pairs():
    inputs = some_pairs((50,), 40, 40)
    found = eot.divergence(*inputs, epsilon=1e-4, tol=1e-9, time_limit=0.2, on_failure="ignore")
    assert not found.converged.all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"a": np.ones((4, 5)) / 5}, r"a has leading dimensions \(4,\) and what stands before it \(2, 3\)"),
        ({"b": np.ones((2, 3, 4)) / 4 * np.r_[1, 1, 2][:, None]}, r"problem \[0, 2\]: .*no plan has both"),
        ({"epsilon": [0.1, -0.1, 0.1]}, r"problem \[0, 1\]: epsilon is -0\.1"),
        ({"cost_xx": np.zeros((0, 5, 5))}, r"cost_xx has leading dimensions \(0,\); none of them may be 0"),
        ({"cost_yy": np.triu(np.ones((2, 3, 4, 4)))}, r"problem \[0, 0\]: cost_yy\[0, 1\] is 1\.0"),
    ],
)
def test_bad_input_is_named_with_its_problem(change, message):
    given = dict(zip(NAMES, (*some_pairs(), 0.1), strict=True)) | change
    with pytest.raises(ValueError, match=message):
        eot.divergence(**given)


def test_an_index_has_a_number_for_every_dimension():
    found = eot.divergence(*some_pairs(), epsilon=0.5)
    with pytest.raises(IndexError, match=r"the batch has shape \(2, 3\)"):
        found[0]
