"""Bad input to a batch: each mistake has its own message, with the argument, the problem and the value."""

import re

import numpy as np
import pytest

import elastic_ot as eot


def refused(kind, *patterns, **arguments):
    given = {"cost": np.zeros((2, 3, 4, 5)), "epsilon": 0.1} | arguments
    with pytest.raises(kind) as caught:
        eot.solve(**given)
    for pattern in patterns:
        assert re.search(pattern, str(caught.value)), str(caught.value)


def spoiled(shape, index, value, fill=0.2):
    values = np.full(shape, fill)
    values[index] = value
    return values


@pytest.mark.parametrize(
    ("name", "value", "shown"),
    [
        ("a", np.full((4, 4), 0.25), r"\(4,\)"),
        ("b", np.full((3, 3, 5), 0.2), r"\(3, 3\)"),
        ("epsilon", np.full(2, 0.1), r"\(2,\)"),
        ("mask", np.ones((5, 1, 4, 5), bool), r"\(5, 1\)"),
        ("row_lengths", [1, 2], r"\(2,\)"),
        ("col_lengths", [[1, 2]], r"\(1, 2\)"),
        ("rows", eot.KL([1.0, 2.0]), r"\(2,\)"),
        ("cols", eot.Elastic(np.ones((4, 1))), r"\(4, 1\)"),
    ],
)
def test_shapes_that_do_not_broadcast_are_both_shown(name, value, shown):
    refused(ValueError, name, shown, r"cost.*\(2, 3\)", "broadcast", **{name: value})


def test_two_others_that_do_not_broadcast():
    refused(ValueError, r"\ba\b.*\(2,\)", r"\bb\b.*\(3,\)", cost=np.eye(2), a=np.ones((2, 2)), b=np.ones((3, 2)))
    refused(ValueError, r"epsilon.*\(2,\)", r"rho.*\(3,\)", cost=np.eye(2), epsilon=[1, 1], rows=eot.KL([1, 1, 1]))


@pytest.mark.parametrize(
    "arguments",
    [
        {"cost": np.zeros((0, 4, 5))},
        {"cost": np.zeros((2, 0, 5))},
        {"cost": np.zeros((2, 4, 0))},
        {"cost": np.zeros((4, 5)), "epsilon": np.zeros(0)},
        {"cost": np.zeros((4, 5)), "a": np.zeros((0, 4))},
        {"cost": np.zeros((4, 5)), "row_lengths": np.zeros(0, int)},
        {"cost": np.zeros((4, 5)), "mask": np.ones((0, 4, 5), bool)},
    ],
)
def test_nothing_is_no_batch(arguments):
    refused(ValueError, "may be 0|must hold", r"\(.*0.*\)", **arguments)
    with pytest.raises(ValueError, match=r"rho has shape \(0,\)"):
        eot.KL([])


@pytest.mark.parametrize("name", ["row_lengths", "col_lengths"])
@pytest.mark.parametrize("value", [0, -1, 6])
def test_lengths_out_of_range(name, value):
    most = 4 if name == "row_lengths" else 5
    refused(ValueError, rf"{name}\[1, 2\] is {value}", str(most), **{name: [[1, 2, 3], [1, 1, value]]})
    refused(ValueError, rf"{name} is {value}", **{name: value})


@pytest.mark.parametrize("value", [1.5, [1.0, 2.0, 3.0], "two", [True, True, False], ["1", "2", "3"], 1j])
def test_lengths_of_the_wrong_type(value):
    refused((TypeError, ValueError), "row_lengths", row_lengths=value)


@pytest.mark.parametrize("value", [0.0, -0.5, np.nan, np.inf])
def test_epsilons_out_of_range(value):
    refused(ValueError, r"epsilon\[1\] is " + str(value), epsilon=[0.1, value, 0.2])
    refused(ValueError, rf"epsilon is {value}", epsilon=value)


@pytest.mark.parametrize("value", ["0.1", None, ["a", "b", "c"], [1j, 1j, 1j], [True, True, True], [[0.1], [0.1, 0.2]]])
def test_epsilons_of_the_wrong_type(value):
    refused((TypeError, ValueError), "epsilon", epsilon=value)


def test_strengths_out_of_range():
    for penalty in (eot.KL, eot.TV, eot.L2):
        with pytest.raises(ValueError, match=r"rho\[1\] is -1\.0"):
            penalty([0.5, -1.0])
        with pytest.raises(ValueError, match=r"rho\[0, 1\] is nan"):
            penalty([[0.5, np.nan]])
    with pytest.raises(ValueError, match=r"lam\[1\] is 1\.5"):
        eot.Elastic([0.5, 1.5])
    with pytest.raises(TypeError, match="lo must be a number"):
        eot.Between([0.5, 0.6], 2.0)


@pytest.mark.parametrize(("name", "size"), [("a", 4), ("b", 5)])
@pytest.mark.parametrize("value", [-0.1, np.nan, np.inf])
def test_weights_out_of_range_are_named_where_they_were_given(name, size, value):
    refused(ValueError, rf"^{name}\[1, 2, 3\] is {value}", **{name: spoiled((2, 3, size), (1, 2, 3), value)})
    refused(ValueError, rf"^{name}\[2\] is {value}", **{name: spoiled(size, 2, value)})
    refused(ValueError, rf"^{name}\[0, 0, 1\] is {value}", **{name: spoiled((1, 1, size), (0, 0, 1), value)})


@pytest.mark.parametrize(("name", "size"), [("a", 4), ("b", 5)])
def test_weights_that_are_all_zero(name, size):
    refused(ValueError, rf"{name}\[1, 2\] sums to 0", **{name: spoiled((2, 3, size), (1, 2), 0.0)})
    refused(ValueError, rf"^{name} sums to 0", **{name: np.zeros(size)})
    lengths = "row_lengths" if name == "a" else "col_lengths"
    refused(ValueError, rf"^{name} sums to 0", **{name: np.arange(size) // 2, lengths: 2})


def test_weights_of_the_wrong_size_or_type():
    refused(ValueError, r"\ba\b", r"\(3, 7\)", "4 rows", a=np.full((3, 7), 0.1))
    refused(ValueError, r"\bb\b", r"\(\)", b=1.0)
    refused(TypeError, r"\ba\b", a=[["x", "y", "z", "w"]] * 3)
    refused(TypeError, r"\bb\b", "complex", b=np.full((3, 5), 0.2 + 0j))


@pytest.mark.parametrize("value", [np.nan, -np.inf])
def test_costs_that_are_no_numbers_are_named_where_they_were_given(value):
    refused(ValueError, rf"cost\[1, 2, 3, 4\] is {value}", cost=spoiled((2, 3, 4, 5), (1, 2, 3, 4), value))
    refused(ValueError, rf"cost\[3, 4\] is {value}", cost=spoiled((4, 5), (3, 4), value), epsilon=[0.1, 0.2])
    mask = np.ones((4, 5), bool)
    mask[3, 4] = False
    if np.isnan(value):
        refused(ValueError, r"cost\[1, 2, 3, 4\] is nan", cost=spoiled((2, 3, 4, 5), (1, 2, 3, 4), value), mask=mask)
    lengths = {"row_lengths": 3}
    assert eot.solve(spoiled((2, 4, 5), (1, 3, 4), value), epsilon=0.1, **lengths).converged.all()


def test_costs_of_the_wrong_shape_or_type():
    refused(TypeError, "cost", "complex", cost=np.zeros((2, 2, 2), complex))
    refused(ValueError, "cost", cost=np.zeros(3), epsilon=[0.1, 0.2])
    refused((TypeError, ValueError), "cost", cost=[[[1.0, 2.0], [3.0]], [[1.0, 2.0], [3.0, 4.0]]])


def test_a_ratio_that_overflows():
    refused(ValueError, "overflows", cost=np.full((2, 4, 5), 1e300), epsilon=[1.0, 1e-10])
    refused(ValueError, "overflows", cost=np.full((2, 4, 5), 1.0), epsilon=[1.0, 1e-310])
    refused(ValueError, r"problem \[1\]", "product overflows", cost=np.zeros((2, 2, 2)), a=[[1, 1], [1e200, 1e200]],
            b=[[1, 1], [1e200, 1e200]])  # fmt: skip


def test_masks_of_the_wrong_shape_or_type():
    refused(ValueError, "mask", r"\(5, 4\)", r"\(4, 5\)", mask=np.ones((5, 4), bool))
    refused(TypeError, "mask", "bool", mask=np.ones((4, 5)))
    refused(ValueError, "mask", mask=np.ones(5, bool))


def test_the_infeasible_problem_is_named():
    b = np.full((2, 3, 5), 0.2)
    b[1, 2] *= 1.5
    refused(eot.InfeasibleError, r"problem \[1, 2\]", r"\b1\b", r"1\.5", b=b)
    refused(eot.InfeasibleError, r"problem \[0, 0\]", b=np.full(5, 0.3))
    refused(eot.InfeasibleError, r"problem \[1, 2\]", "1.5", b=b, rows=eot.KL([[1.0] * 3, [1.0, 1.0, np.inf]]))
    refused(eot.InfeasibleError, r"problem \[1, 2\]", b=b, rows=eot.Elastic([[0.5] * 3, [0.5, 0.5, 1.0]]))
    assert eot.solve(np.zeros((2, 3, 4, 5)), b=b, epsilon=0.1, rows=eot.KL(1.0)).converged.all()
    refused(eot.InfeasibleError, r"problem \[0, 0\]", cols=eot.AtMost(), b=np.full(5, 0.1))
    refused(eot.InfeasibleError, "^rows=", cost=np.zeros((4, 5)), b=np.full(5, 0.3), row_lengths=4)


def test_a_row_without_an_allowed_cell_is_named():
    cost = np.zeros((2, 3, 4, 5))
    cost[1, 2, 3] = np.inf
    refused(eot.InfeasibleError, r"problem \[1, 2\]", "row 3", cost=cost)
    refused(eot.InfeasibleError, r"problem \[1, 2\]", "row 3", cost=cost, cols=eot.KL(1.0))
    refused(eot.InfeasibleError, r"problem \[0, 2\]", "column 4", cost=np.zeros((3, 4, 5)), cols=eot.Between(0.5, 2),
            rows=eot.KL(1.0), mask=np.arange(5) < np.full((2, 3, 4, 1), [[[5]], [[5]], [[4]]]))  # fmt: skip
    refused(
        eot.InfeasibleError, r"problem \[1, 2\]", rows=eot.TV([[1.0] * 3, [1, 1, np.inf]]), cols=eot.KL(1.0), cost=cost
    )
    cost[0, 1] = np.inf
    refused(eot.InfeasibleError, r"problem \[0, 1\]", "every cell", cost=cost, rows=eot.KL(1.0), cols=eot.KL(1.0))
    refused(eot.InfeasibleError, "row 0", cost=np.zeros((4, 5)), mask=np.zeros((4, 5), bool), row_lengths=4)


def test_masses_that_are_equal_to_rounding_are_no_mistake():
    a, b = np.full((3, 4), 0.25), np.full((3, 5), 0.2)
    assert eot.solve(np.zeros((3, 4, 5)), a, b * (1 + 1e-10), epsilon=0.1, tol=1e-9).converged.all()
    single = (b * (1 + 1e-6)).astype(np.float32)
    assert eot.solve(np.zeros((3, 4, 5)), a.astype(np.float32), single, epsilon=0.1, tol=1e-9).converged.all()
    refused(eot.InfeasibleError, r"problem \[0\]", cost=np.zeros((3, 4, 5)), a=a, b=b * (1 + 1e-6))


def test_starts_of_the_wrong_shape_or_value():
    cost = np.zeros((2, 3, 4, 5))
    refused(ValueError, "init", "f", r"\(3,\)", r"\(2, 3, 4\)", init=(np.zeros(3), np.zeros(5)))
    refused(ValueError, "init", "g", r"\(2, 5\)", r"\(2, 3, 5\)", init=(np.zeros(4), np.zeros((2, 5))))
    refused(ValueError, "init", "nan", init=(np.zeros(4), spoiled(5, 1, np.nan)))
    refused(ValueError, "init", "inf", init=(spoiled((3, 4), (1, 1), np.inf), np.zeros(5)))
    refused(TypeError, "init", init="warm")
    refused((ValueError, TypeError), "init", init=(["a"] * 4, ["b"] * 5))
    other = eot.solve(np.zeros((3, 2, 2)), epsilon=1.0)
    refused(ValueError, "init", init=other)
    with pytest.raises((ValueError, TypeError), match="init"):
        eot.solve(cost[0, 0], epsilon=0.1, init=eot.solve(cost, epsilon=0.1))


def test_options_are_checked_as_for_one_problem():
    refused(ValueError, "method", method="fast")
    refused(ValueError, "reference", reference="uniform")
    refused(TypeError, "rows", rows="fixed")
    refused(TypeError, "cols", cols=eot.KL)
    refused(ValueError, "on_failure", on_failure="shout")
    refused(ValueError, "tol", tol=-1)
    refused(ValueError, "max_iter", max_iter=0)
    refused(ValueError, "progress", progress=True)
    refused(ValueError, "relaxation", relaxation=2.5)
    refused(ValueError, "end", end="both")


def test_methods_of_a_solution_name_their_mistakes():
    solution = eot.solve(np.zeros((2, 3, 4, 5)), epsilon=0.1)
    with pytest.raises(ValueError, match=r"x has shape \(4, 1\).*5"):
        solution.apply(np.ones((4, 1)))
    with pytest.raises(ValueError, match=r"x has shape \(5,\)"):
        solution.apply(np.ones(5))
    with pytest.raises(ValueError, match=r"axis is 2"):
        solution.apply(np.ones((5, 1)), axis=2)
    with pytest.raises(ValueError, match=r"\(2,\).*\(2, 3\)"):
        solution.apply(np.ones((2, 5, 1)))
    with pytest.raises(ValueError, match=r"plan has shape \(4, 5\)"):
        solution.vjp(plan=np.ones((4, 5)))


def test_an_array_of_strengths_is_no_single_problem():
    for penalty in (eot.KL([0.1, 0.2]), eot.Elastic([0.1, 0.2])):
        with pytest.raises(TypeError, match=r"shape \(2,\)"):
            eot.exact(np.eye(2), rows=penalty)
