"""One clear error for each mistake, naming the argument, the index and the value, before any work."""

import re

import numpy as np
import pytest

import elastic_ot as eot


def no_work(iteration, residual):
    raise AssertionError("an iteration ran before the mistake was refused")


def refused(error, *parts, **changes):
    """Assert that a valid call with these changes raises `error` with every part in its one-line message."""
    rng = np.random.default_rng(141)
    arguments = {
        "cost": rng.random((4, 5)),
        "a": np.full(4, 0.25),
        "b": np.full(5, 0.2),
        "epsilon": 0.1,
        "callback": no_work,
    } | changes
    cost = arguments.pop("cost")
    with pytest.raises(error) as caught:
        eot.solve(cost, arguments.pop("a"), arguments.pop("b"), **arguments)
    message = str(caught.value)
    for part in parts:
        assert re.search(part, message, re.IGNORECASE), f"{part!r} is not in {message!r}"
    assert "\n" not in message
    return message


def spoiled(shape, index, value, dtype=float):
    array = np.full(shape, 0.2, dtype=dtype)
    array[index] = value
    return array


def test_the_unchanged_call_is_valid():
    with pytest.raises(AssertionError, match="an iteration ran"):
        refused(ValueError)


@pytest.mark.parametrize("order", ["C", "F"])
def test_nan_in_the_cost(order):
    cost = np.array(spoiled((4, 5), (2, 3), np.nan), order=order)
    refused(ValueError, r"cost\[2, 3\]", "nan", cost=cost)
    refused(ValueError, r"cost\[2, 3\]", "nan", cost=cost.astype(np.float32))


def test_nan_under_a_mask_is_a_mistake_as_well():
    mask = np.ones((4, 5), dtype=bool)
    mask[2, 3] = False
    refused(ValueError, r"cost\[2, 3\]", "nan", cost=spoiled((4, 5), (2, 3), np.nan), mask=mask)


def test_minus_infinite_cost():
    refused(ValueError, r"cost\[1, 4\]", "-inf", cost=spoiled((4, 5), (1, 4), -np.inf))


@pytest.mark.parametrize(("name", "size"), [("a", 4), ("b", 5)])
@pytest.mark.parametrize(
    ("value", "shown"), [(np.nan, "nan"), (-0.2, r"-0\.2"), (np.inf, "inf"), (-np.inf, "-inf"), (-1e-12, "-1e-12")]
)
def test_bad_weights(name, size, value, shown):
    refused(ValueError, rf"\b{name}\[3\]", shown, **{name: spoiled(size, 3, value)})


@pytest.mark.parametrize(("name", "size"), [("a", 4), ("b", 5)])
def test_all_zero_weights(name, size):
    refused(ValueError, rf"\b{name}\b", "zero|0|positive", **{name: np.zeros(size)})
    refused(ValueError, rf"\b{name}\b", "zero|0|positive", rows=eot.KL(1.0), cols=eot.KL(1.0), **{name: np.zeros(size)})


@pytest.mark.parametrize(("name", "size"), [("a", 4), ("b", 5)])
def test_weights_of_the_wrong_shape(name, size):
    refused(ValueError, rf"\b{name}\b", "7", str(size), **{name: np.full(7, 0.1)})
    refused(ValueError, rf"\b{name}\b", "shape|dimension", **{name: np.full((size, 1), 1 / size)})
    refused(ValueError, rf"\b{name}\b", "shape|dimension", **{name: 1.0})


@pytest.mark.parametrize("shape", [(5,), ()])
def test_costs_of_the_wrong_dimension(shape):
    refused(ValueError, r"\bcost\b", "matrix|2-D|two", re.escape(str(shape)), cost=np.zeros(shape))


@pytest.mark.parametrize("shape", [(0, 5), (4, 0), (0, 0)])
def test_an_empty_cost(shape):
    refused(ValueError, r"\bcost\b", re.escape(str(shape)), cost=np.zeros(shape), a=None, b=None)


@pytest.mark.parametrize("value", [0.0, -0.5, np.nan, np.inf])
def test_epsilon_out_of_range(value):
    refused(ValueError, "epsilon", str(value), epsilon=value)


@pytest.mark.parametrize("value", ["0.1", None, ["a", "b"], 1j])
def test_epsilon_of_the_wrong_type(value):
    refused((TypeError, ValueError), "epsilon", epsilon=value)


@pytest.mark.parametrize("penalty", ["KL", "TV", "L2"])
@pytest.mark.parametrize("value", [-0.5, np.nan])
def test_strength_out_of_range(penalty, value):
    with pytest.raises(ValueError, match=rf"rho.*{value}"):
        getattr(eot, penalty)(value)


@pytest.mark.parametrize("penalty", ["KL", "TV", "L2", "Elastic"])
@pytest.mark.parametrize("value", ["strong", None, ["strong"], 1j])
def test_strength_of_the_wrong_type(penalty, value):
    with pytest.raises((TypeError, ValueError), match=r"rho|lam"):
        getattr(eot, penalty)(value)


@pytest.mark.parametrize("value", [-0.1, 1.1, np.nan])
def test_lam_out_of_range(value):
    with pytest.raises(ValueError, match=rf"lam.*{value}"):
        eot.Elastic(value)


def test_bounds_out_of_order_or_range():
    with pytest.raises(ValueError, match=r"lo.*1\.5.*hi.*0\.5|lo.*hi.*1\.5.*0\.5"):
        eot.Between(1.5, 0.5)
    with pytest.raises(ValueError, match=r"lo.*-0\.5"):
        eot.Between(-0.5, 0.5)
    with pytest.raises(ValueError, match=r"lo.*nan"):
        eot.Between(np.nan, 0.5)
    with pytest.raises(ValueError, match=r"hi.*nan"):
        eot.Between(0.5, np.nan)


def test_unequal_masses_of_two_fixed_sides_are_both_shown():
    refused(eot.InfeasibleError, r"\ba\b", r"\bb\b", r"1\.0|\b1\b", r"1\.5", b=np.full(5, 0.3))
    refused(eot.InfeasibleError, r"1\.5", cols=eot.Elastic(1.0), b=np.full(5, 0.3))


def test_a_small_difference_of_masses_is_shown_with_enough_digits():
    message = refused(eot.InfeasibleError, b=np.full(5, 0.2 + 2e-6))
    masses = {float(number) for number in re.findall(r"\d+\.\d+(?:e-?\d+)?", message)}
    assert any(1.000005 < mass < 1.000015 for mass in masses), message


def test_a_forbidden_row_or_column_with_fixed_mass_is_named():
    mask = np.ones((4, 5), dtype=bool)
    mask[2] = False
    refused(eot.InfeasibleError, r"row 2|a\[2\]", mask=mask)
    refused(eot.InfeasibleError, r"col(umn)? 3|b\[3\]", cost=spoiled((4, 5), (slice(None), 3), np.inf))
    refused(eot.InfeasibleError, r"row 2|a\[2\]", mask=mask, cols=eot.KL(1.0))
    refused(eot.InfeasibleError, r"row 2|a\[2\]", mask=mask, rows=eot.Between(0.5, 2.0), cols=eot.KL(1.0))
    refused(eot.InfeasibleError, r"row 2|a\[2\]", mask=mask, rows=eot.Elastic(1.0), cols=eot.KL(1.0))


def test_a_row_whose_every_partner_has_zero_weight_is_named():
    cost = np.zeros((2, 2))
    cost[0, 1] = np.inf
    refused(eot.InfeasibleError, r"row 0|a\[0\]", cost=cost, a=[0.5, 0.5], b=[0.0, 1.0])


def test_a_forbidden_row_that_need_not_be_met_is_no_mistake():
    mask = np.ones((4, 5), dtype=bool)
    mask[2] = False
    for rows in (eot.KL(1.0), eot.TV(1.0), eot.L2(1.0), eot.AtMost(), eot.Free(), eot.Elastic(0.5)):
        solution = eot.solve(np.zeros((4, 5)), epsilon=1.0, rows=rows, cols=eot.KL(1.0), mask=mask, on_failure="raise")
        assert np.isneginf(solution.f[2])
    a = np.array([0.5, 0.25, 0.0, 0.25])
    assert eot.solve(np.zeros((4, 5)), a, epsilon=1.0, mask=mask, on_failure="raise").converged


@pytest.mark.parametrize(
    ("rows", "cols", "b"),
    [
        (eot.Fixed(), eot.AtMost(), 0.1),  # 1 cannot fit into 0.5
        (eot.Fixed(), eot.Between(0.9, 1.1), 0.3),  # 1 is below 1.35
        (eot.Fixed(), eot.Between(0.0, 0.9), 0.2),
        (eot.Between(1.5, 2.0), eot.AtMost(), 0.2),
        (eot.Between(0.1, 0.2), eot.Between(0.5, 0.6), 0.2),
        (eot.AtMost(), eot.Fixed(), 0.4),
    ],
)
def test_bounds_that_cannot_meet_the_other_side_are_refused_with_the_masses(rows, cols, b):
    refused(eot.InfeasibleError, r"rows|\ba\b", r"cols|columns|\bb\b", r"\d", rows=rows, cols=cols, b=np.full(5, b))


def test_bounds_that_just_meet_are_no_mistake():
    solution = eot.solve(np.eye(3), epsilon=1.0, rows=eot.Fixed(), cols=eot.AtMost(), on_failure="raise")
    np.testing.assert_allclose(solution.col_marginal, 1 / 3, atol=1e-6)


def test_unknown_choices_list_the_choices():
    refused(ValueError, "method", "'?fast'?", "auto", "scaling", "stabilized", "log", "epsilon_scaling", method="fast")
    refused(ValueError, "method", "quasi-newton", "auto", "newton", method="quasi-newton")
    refused(ValueError, "reference", "uniform", "product", "counting", reference="uniform")
    refused(ValueError, "on_failure", "shout", "warn", "raise", "ignore", on_failure="shout")


@pytest.mark.parametrize("value", [0.0, -0.5, 2.0, 2.5, np.nan])
def test_relaxation_out_of_range(value):
    refused(ValueError, "relaxation", str(value), relaxation=value)


def test_relaxation_of_the_wrong_type():
    refused((TypeError, ValueError), "relaxation", "fast", relaxation="fast")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("tol", -1e-6),
        ("tol", np.nan),
        ("max_iter", -1),
        ("max_iter", 2.5),
        ("time_limit", -1.0),
        ("time_limit", np.nan),
    ],
)
def test_limits_out_of_range(name, value):
    refused((ValueError, TypeError), name, re.escape(str(value)), **{name: value})


@pytest.mark.parametrize("name", ["rows", "cols"])
@pytest.mark.parametrize("value", ["fixed", 0.5, None, eot.KL])
def test_a_side_that_is_not_a_penalty(name, value):
    refused(TypeError, name, "penalt|Fixed", **{name: value})


@pytest.mark.parametrize(
    ("cost", "shown"),
    [
        (np.zeros((4, 5), dtype=complex), "complex"),
        (np.array([["a", "b"], ["c", "d"]]), "U1|str"),
        (np.array([[object()] * 5] * 4), "object"),
        ("cost.npy", "cost"),
        (None, "cost"),
        ([[1.0, 2.0], [3.0]], "cost"),
    ],
)
def test_costs_that_are_not_real_numbers(cost, shown):
    refused((TypeError, ValueError), r"\bcost\b", shown, cost=cost)


def test_weights_that_are_not_real_numbers():
    refused((TypeError, ValueError), r"\ba\b", a=["x", "y", "z", "w"])
    refused((TypeError, ValueError), r"\bb\b", b=np.full(5, 0.2 + 0j))


def test_a_mask_of_the_wrong_shape_or_type():
    refused(ValueError, "mask", r"\(5, 4\)", r"\(4, 5\)", mask=np.ones((5, 4), dtype=bool))
    refused(TypeError, "mask", "bool", mask=np.ones((4, 5)))


def test_a_mask_that_forbids_everything():
    refused(eot.InfeasibleError, "row 0|a\\[0\\]|every|all", mask=np.zeros((4, 5), dtype=bool))


def test_a_start_of_the_wrong_shape_or_value():
    refused((ValueError, TypeError), "init", init=np.zeros(4))
    refused(ValueError, "init", "3", "4", init=(np.zeros(3), np.zeros(5)))
    refused(ValueError, "init", "nan", init=(np.zeros(4), spoiled(5, 1, np.nan)))
    refused(ValueError, "init", "inf", init=(spoiled(4, 1, np.inf), np.zeros(5)))
    refused((TypeError, ValueError), "init", init="warm")


def test_a_start_from_a_problem_of_another_size():
    other = eot.solve(np.eye(3), epsilon=1.0, on_failure="raise")
    refused(ValueError, "init", "3", "4", init=other)


def test_a_callback_that_cannot_be_called():
    refused(TypeError, "callback", callback=3)


def test_a_misspelt_option_is_refused():
    with pytest.raises(TypeError, match="epsilonn"):
        eot.solve(np.eye(2), epsilonn=1.0)
    with pytest.raises(TypeError, match="epsilon"):
        eot.solve(np.eye(2))


def test_errors_are_of_the_documented_kinds():
    assert issubclass(eot.InfeasibleError, ValueError)
    assert issubclass(eot.ConvergenceError, RuntimeError)
    assert issubclass(eot.ConvergenceWarning, UserWarning)
    assert issubclass(eot.BackendUnavailable, ImportError)


def test_solution_methods_name_their_mistakes():
    solution = eot.solve(np.eye(3)[:, :2], epsilon=1.0, on_failure="raise")
    with pytest.raises(ValueError, match=r"x.*3.*2|x.*2.*3"):
        solution.apply(np.ones(3))
    with pytest.raises(ValueError, match=r"axis.*2"):
        solution.apply(np.ones(2), axis=2)
    with pytest.raises(ValueError, match=r"mass.*1\.5"):
        solution.sparse_plan(mass=1.5)
    with pytest.raises(ValueError, match=r"mass.*nan"):
        solution.sparse_plan(mass=np.nan)


@pytest.mark.parametrize("name", ["method", "reference", "on_failure", "end"])
def test_an_array_in_place_of_a_word(name):
    refused(ValueError, rf"^{name} is array", "choose from", **{name: np.ones(3)})


def test_an_infinite_time_limit_is_none():
    cost = np.random.default_rng(0).random((5, 4))
    assert eot.solve(cost, epsilon=0.01, method="log", time_limit=np.inf).converged


def test_penalties_with_a_strength_for_every_problem_can_be_compared():
    assert eot.KL([1.0, 2.0]) == eot.KL(np.array([1.0, 2.0]))
    assert eot.KL([1.0, 2.0]) != eot.KL([1.0, 3.0])
    assert eot.KL([1.0]) != eot.KL(1.0)
    assert len({eot.Elastic([0.1, 0.2]), eot.Elastic([0.1, 0.2]), eot.TV([0.1, 0.2])}) == 2
