"""What is wrong with a user's cost is said by the name of its class and of the block."""

import re

import numpy as np
import pytest

import elastic_ot as eot
from elastic_ot.costs import blocks
from helpers.user_costs import Given


def spoiled(make):
    """A cost whose second block is what `make` returns for it."""

    class Spoiled(Given):
        def block(self, rows, cols):
            found = super().block(rows, cols)
            return make(found) if rows.start else found

    return Spoiled(np.random.default_rng(0).random((20, 30)))


def replaced(value):
    def make(block):
        block = block.copy()
        block[1, 2] = value
        return block

    return make


def raises(block):
    raise KeyError("no such row")


BLOCK = re.escape("Spoiled.block(rows 5:10, columns 0:30)")
WRONG = {
    "shape": (lambda block: block.T, ValueError, r" returned shape \(30, 5\); it must be \(5, 30\)"),
    "dtype": (lambda block: block.astype(np.float32), TypeError, " returned dtype float32; it must be float64"),
    "list": (lambda block: block.tolist(), TypeError, " returned a list; it must be a NumPy array"),
    "nan": (replaced(np.nan), ValueError, r" returned nan for cost\[6, 2\]"),
    "-inf": (replaced(-np.inf), ValueError, r" returned -inf for cost\[6, 2\]"),
    "raises": (raises, ValueError, " raised KeyError: 'no such row'"),
}


@pytest.mark.parametrize("call", [lambda c: eot.solve(c, epsilon=0.1), eot.exact, eot.assign])
@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_block_is_named(name, call):
    make, kind, text = WRONG[name]
    with pytest.raises(kind, match=BLOCK + text):
        call(spoiled(make))


def test_what_block_raises_is_the_cause():
    with pytest.raises(ValueError, match="raised KeyError") as caught:
        eot.solve(spoiled(raises), epsilon=0.1)
    assert isinstance(caught.value.__cause__, KeyError)


def test_a_block_that_fails_during_a_solve_is_named_as_well():
    class Tired(Given):
        def block(self, rows, cols):
            if self.read > 2 * self.matrix.size:
                raise OSError("the disk is gone")
            return super().block(rows, cols)

    with pytest.raises(
        ValueError, match=r"Tired\.block\(rows \d+:\d+, columns 0:30\) raised OSError: the disk is gone"
    ):
        eot.solve(Tired(np.random.default_rng(0).random((20, 30))), epsilon=0.01)


@pytest.mark.parametrize(
    ("entries", "text"),
    [
        (lambda found: found[:-1], r" returned shape \(\d+,\); it must be \(\d+,\)"),
        (lambda found: 1 // 0, " raised ZeroDivisionError: "),
    ],
)
def test_wrong_single_entries_are_named(entries, text):
    class Spoiled(Given):
        def at(self, i, j):
            return entries(self.matrix[i, j])

    for call in (eot.assign, lambda cost: eot.assign(cost, maximize=True)):
        with pytest.raises(ValueError, match=r"Spoiled\.at\(\d+ pairs\)" + text):
            call(Spoiled(np.random.default_rng(0).random((20, 20))))


@pytest.mark.parametrize(
    ("field", "value", "kind"),
    [
        ("shape", (3,), ValueError),
        ("shape", (0, 3), ValueError),
        ("shape", [3, 4], ValueError),
        ("dtype", int, TypeError),
    ],
)
def test_a_wrong_shape_or_dtype_is_named(field, value, kind):
    cost = Given(np.ones((3, 4)))
    setattr(cost, field, value)
    with pytest.raises(kind, match=rf"Given\.{field} is"):
        eot.solve(cost, epsilon=0.1)


def test_masks_and_batches_are_refused_with_the_way_out():
    cost = Given(np.ones((3, 4)))
    with pytest.raises(ValueError, match=r"mask is for a cost matrix; let Given\.block return inf"):
        eot.solve(cost, epsilon=0.1, mask=np.ones((3, 4), bool))
    with pytest.raises(ValueError, match="cost is a Given, which is one problem"):
        eot.solve(cost, epsilon=[0.1, 0.2])


def test_matrices_beyond_a_number_of_entries_are_refused_with_the_way_out(monkeypatch):
    monkeypatch.setattr(blocks, "LARGEST_PLAN", 100)
    solution = eot.solve(Given(np.random.default_rng(0).random((20, 30))), epsilon=0.1)
    for read in (
        lambda: solution.plan,
        lambda: solution.log_plan,
        solution.rounded_plan,
        lambda: solution.vjp(f=np.ones(20)),
    ):
        with pytest.raises(
            ValueError, match=r"20 x 30 = 600 entries is more than the 100 .*; use apply, sparse_plan or"
        ):
            read()
    assert solution.gradients().cost is None
    assert solution.gap < 1e-5
    assert solution.apply(np.ones(30)).shape == (20,)
