"""`Paths.balance`: the optimum of problems with two fixed sides, on whole masses and costs, without rounding."""

import numpy as np
import ot
import pytest
from scipy.optimize import linear_sum_assignment

from helpers.graphs import (
    TOTAL,
    assert_consistent,
    assert_feasible_and_tight,
    cells_of,
    cheapest,
    graph_of,
    largest_flow,
    masses,
    nodes,
    paths,
    problem,
    shipped,
    started,
)

SHAPES = [(6, 8), (8, 6), (1, 5), (5, 1), (1, 1), (25, 30), (40, 40)]


def balanced(graph, rows, cols, order=None, slack=0.0, whole=True, pause=lambda: None):
    order = np.arange(graph.heads.size) if order is None else order
    blocked, blocked_cols = np.zeros(rows.potential.size, bool), np.zeros(cols.potential.size, bool)
    paths.balance(graph, rows, cols, order, slack, whole, blocked, blocked_cols, pause)
    return blocked, blocked_cols


def assert_optimal(graph, rows, cols, a, b):
    assert_consistent(graph, rows, cols)
    assert_feasible_and_tight(graph, rows, cols)
    assert (rows.marginal == a).all()
    assert (cols.marginal == b).all()


@pytest.mark.parametrize("high", [1, 2, 9, 10**6])  # from all costs equal to no ties
@pytest.mark.parametrize("shape", SHAPES)
def test_the_optimum_is_that_of_an_assignment_of_the_units(shape, high):
    for seed in range(6):
        cost, _, a, b, graph, rows, cols = problem(seed, shape=shape, high=high)
        order = np.random.default_rng(seed).permutation(graph.heads.size)
        assert not any(x.any() for x in balanced(graph, rows, cols, order))
        assert_optimal(graph, rows, cols, a, b)
        assert (graph.cost * graph.flow).sum() == cheapest(cost, a, b)
        assert np.count_nonzero(graph.flow) < sum(shape)  # a tree


def test_the_order_of_cells_changes_the_way_but_not_the_optimum():
    cost, _, a, b, _, _, _ = problem(1, shape=(12, 15))
    for seed in range(10):
        *_, graph, rows, cols = problem(1, shape=(12, 15))
        order = np.random.default_rng(seed).permutation(graph.heads.size)
        balanced(graph, rows, cols, order)
        assert_optimal(graph, rows, cols, a, b)
        assert (graph.cost * graph.flow).sum() == cheapest(cost, a, b)


def test_an_optimal_flow_is_kept():
    for seed in range(10):
        *_, a, b, graph, rows, cols = problem(seed, high=10**6)
        started(graph, rows, cols)
        shipped(graph, rows, cols)
        before = cells_of(graph)
        balanced(graph, rows, cols)
        assert_optimal(graph, rows, cols, a, b)
        assert cells_of(graph) == before  # the only optimum, costs being generic


def test_a_flow_that_is_not_optimal_any_more_or_not_complete_is_improved():
    for seed in range(10):
        cost, allowed, a, b, graph, rows, cols = problem(seed, share=0.7)
        if balanced(graph, rows, cols)[0].any():
            continue
        place = np.arange(6, dtype=np.int32)
        heads = np.tile(np.arange(8, dtype=np.int32), (6, 1))
        wider = paths.extend(graph, place, heads, cost.astype(float))
        balanced(wider, rows, cols)
        assert_optimal(wider, rows, cols, a, b)
        assert (wider.cost * wider.flow).sum() == cheapest(cost, a, b)
        wider.flow[np.flatnonzero(wider.flow)[0]] = 0
        balanced(wider, rows, cols)
        assert_optimal(wider, rows, cols, a, b)
        assert (wider.cost * wider.flow).sum() == cheapest(cost, a, b)


def test_a_flow_with_a_cycle_is_replaced():
    cost = np.array([[0, 1], [1, 0]])
    graph, rows, cols = graph_of(cost), nodes("fixed", np.array([2, 2])), nodes("fixed", np.array([2, 2]))
    graph.flow[:] = 1
    balanced(graph, rows, cols)
    assert_optimal(graph, rows, cols, [2, 2], [2, 2])
    assert (graph.cost * graph.flow).sum() == 0


@pytest.mark.parametrize("share", [0.1, 0.2, 0.3, 0.5])
@pytest.mark.parametrize("shape", [(6, 8), (8, 6), (20, 20)])
def test_what_is_blocked_asks_for_more_than_all_it_reaches_can_take(shape, share):
    for seed in range(40):
        cost, allowed, a, b, graph, rows, cols = problem(seed, shape=shape, share=share)
        blocked, blocked_cols = balanced(graph, rows, cols)
        assert_consistent(graph, rows, cols)
        assert blocked.any() == (largest_flow(allowed, a, b) < TOTAL)
        if blocked.any():
            assert (allowed[blocked].any(axis=0) <= blocked_cols).all()
            assert a[blocked].sum() > b[blocked_cols].sum()
        else:
            assert_optimal(graph, rows, cols, a, b)
            assert (graph.cost * graph.flow).sum() == cheapest(np.where(allowed, cost, 10**6), a, b)


def test_large_masses_are_exact():
    for seed in range(10):
        rng = np.random.default_rng(seed)
        cost, a = rng.random((12, 12)), rng.integers(0, 2**53, 12)
        graph, rows, cols = graph_of(cost), nodes("fixed", a), nodes("fixed", a[::-1].copy())
        balanced(graph, rows, cols, slack=1e-14, whole=False)
        assert_consistent(graph, rows, cols)
        assert (rows.marginal == a).all()
        assert (cols.marginal == a[::-1]).all()
        assert_feasible_and_tight(graph, rows, cols, 1e-13)


def test_real_costs_are_met_to_rounding():
    for seed in range(10):
        rng = np.random.default_rng(seed)
        cost, a, b = rng.random((30, 40)), masses(rng, 30), masses(rng, 40)
        graph, rows, cols = graph_of(cost), nodes("fixed", a), nodes("fixed", b)
        balanced(graph, rows, cols, slack=1e-14, whole=False)
        assert_consistent(graph, rows, cols)
        assert_feasible_and_tight(graph, rows, cols, 1e-13)
        units = np.repeat(np.repeat(cost, a, axis=0), b, axis=1)
        optimum = units[linear_sum_assignment(units)].sum()
        assert (graph.cost * graph.flow).sum() == pytest.approx(optimum, abs=1e-13 * TOTAL)


def test_pieces_change_nothing(monkeypatch):
    """The state of the method outlives a pause: wherever it is cut, pivots and bits are the same."""
    rng = np.random.default_rng(7)
    cost, a, b = rng.random((30, 40)), masses(rng, 30), masses(rng, 40)
    found, pauses = [], []
    for piece in (10**9, 500, 1):
        monkeypatch.setattr(paths, "PIECE", piece)
        graph, rows, cols = graph_of(cost), nodes("fixed", a), nodes("fixed", b)
        pauses.append(0)

        def pause():
            pauses[-1] += 1

        balanced(graph, rows, cols, slack=1e-14, whole=False, pause=pause)
        found.append((cells_of(graph), rows.potential.tolist(), cols.potential.tolist()))
    assert found[0] == found[1] == found[2]
    assert pauses[0] == 0 < pauses[1] < pauses[2]


def test_what_a_pause_raises_ends_the_pivots(monkeypatch):
    *_, graph, rows, cols = problem(3, shape=(20, 20))
    monkeypatch.setattr(paths, "PIECE", 1)

    def pause():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        balanced(graph, rows, cols, pause=pause)


@pytest.mark.parametrize("power", [0.5, 1.0, 2.0])
def test_rounding_of_distances_on_a_grid_has_an_end(power):
    """Potentials begin at 0, and every cell of a shortest path along the line is tight but for rounding."""
    for seed in range(4):
        rng = np.random.default_rng([seed, 8])
        x = np.linspace(0.0, 1.0, 50)
        cost = np.abs(x[:, None] - x) ** power
        a, b = rng.multinomial(10**15, rng.dirichlet(np.ones(50))), rng.multinomial(10**15, rng.dirichlet(np.ones(50)))
        graph, rows, cols = graph_of(cost), nodes("fixed", a), nodes("fixed", b)
        balanced(graph, rows, cols, slack=1e-14, whole=False)
        assert_consistent(graph, rows, cols)
        assert_feasible_and_tight(graph, rows, cols, 1e-13)
        assert (graph.cost * graph.flow).sum() / 1e15 == pytest.approx(ot.emd2(a / 1e15, b / 1e15, cost), rel=1e-12)


def test_rounding_without_end_is_given_up():
    """Hardly any slack: sums of potentials would differ from costs for ever, did not ever more count as rounding."""
    x = np.linspace(0.0, 1.0, 30)
    for seed in range(5):
        rng = np.random.default_rng([seed, 9])
        a, b = masses(rng, 30), masses(rng, 30)
        graph, rows, cols = graph_of(np.abs(x[:, None] - x)), nodes("fixed", a), nodes("fixed", b)
        balanced(graph, rows, cols, slack=1e-17, whole=False)
        assert_consistent(graph, rows, cols)
        assert_feasible_and_tight(graph, rows, cols, 1e-13)
