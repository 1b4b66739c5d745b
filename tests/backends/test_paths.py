"""Exact transport on some cells: the promises of `protocol.Paths`, on whole masses and costs, without rounding."""

import inspect
import itertools

import numpy as np
import pytest
from scipy.optimize import linear_sum_assignment

from elastic_ot.backends import protocol
from helpers.graphs import (
    SIDES,
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
    wanted,
)

PRIMITIVES = [name for name, value in vars(protocol.Paths).items() if inspect.isfunction(value) and name[0] != "_"]


@pytest.mark.parametrize("name", PRIMITIVES)
def test_the_functions_have_the_protocol_s_signatures(name):
    compiled = getattr(paths, name)
    wanted_names = list(inspect.signature(getattr(protocol.Paths, name)).parameters)[1:]
    assert list(inspect.signature(getattr(compiled, "py_func", compiled)).parameters) == wanted_names


def test_cells_put_in_at_once_or_in_parts_are_the_same():
    cost, allowed, *_ = problem(1, share=0.6)
    expected = [(i, j, float(cost[i, j]), 0) for i, j in np.argwhere(allowed)]
    for cut in (None, 1, 4):
        graph = graph_of(cost, allowed, cut)
        assert_consistent(graph)
        assert cells_of(graph) == expected


def test_extending_keeps_cells_costs_and_flows_and_adds_what_is_missing():
    *_, graph, rows, cols = problem(2, share=0.4)
    started(graph, rows, cols)
    paths.ship_tight(graph, rows, cols, 0.0)
    before = cells_of(graph)
    assert any(flow for *_, flow in before)
    place = np.full(6, -1, np.int32)
    place[[4, 1]] = [0, 1]
    heads = np.array([[0, 1, 2, 3, 4, 5, 6, 7], [7, -1, 3, -1, -1, -1, -1, -1]], np.int32)
    wider = paths.extend(graph, place, heads, np.full(heads.shape, 77.0))
    assert_consistent(wider, rows, cols)
    had = {cell[:2] for cell in before}
    new = {(4, j) for j in range(8)} | {(1, 7), (1, 3)}
    assert cells_of(wider) == sorted(before + [(*cell, 77.0, 0) for cell in new - had])
    assert cells_of(graph) == before


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_transposing_exchanges_rows_and_columns(share):
    *_, graph, rows, cols = problem(3, share=share)
    started(graph, rows, cols)
    paths.ship_tight(graph, rows, cols, 3.0)
    turned = paths.transpose(graph)
    assert_consistent(turned, cols, rows)
    assert cells_of(turned) == sorted((j, i, cost, flow) for i, j, cost, flow in cells_of(graph))
    assert_consistent(paths.transpose(turned), rows, cols)
    assert cells_of(paths.transpose(turned)) == cells_of(graph)


@pytest.mark.parametrize(("rows", "cols"), list(itertools.product(["fixed", "at most"], ["fixed", "at most", "free"])))
def test_tight_cells_carry_what_rows_ask_for_and_columns_take(rows, cols):
    for seed in range(10):
        *_, graph, row_nodes, col_nodes = problem(seed, rows, cols, share=0.7)
        started(graph, row_nodes, col_nodes)
        paths.ship_tight(graph, row_nodes, col_nodes, 0.0)
        assert_consistent(graph, row_nodes, col_nodes)
        assert_feasible_and_tight(graph, row_nodes, col_nodes)
        asked, taken = wanted(row_nodes)[0], wanted(col_nodes)[1]
        assert (row_nodes.marginal <= asked).all()
        assert (col_nodes.marginal <= taken).all()
        reduced = graph.cost - row_nodes.potential[graph.tails] - col_nodes.potential[graph.heads]
        hungry, room = (row_nodes.marginal < asked)[graph.tails], (col_nodes.marginal < taken)[graph.heads]
        assert (reduced[hungry & room] > 0.0).all()


def test_flow_along_cells_that_are_no_longer_tight_is_withdrawn():
    *_, graph, rows, cols = problem(4)
    started(graph, rows, cols)
    shipped(graph, rows, cols)
    flow, lowered = graph.flow.copy(), np.array([0, 3])
    rows.potential[lowered] -= [0.25, 2.0]
    paths.withdraw(graph, rows, cols, 0.5)
    assert_consistent(graph, rows, cols)
    assert (graph.flow == np.where(graph.tails == 3, 0, flow)).all()


@pytest.mark.parametrize("share", [1.0, 0.7])
@pytest.mark.parametrize("shape", [(6, 8), (8, 6), (1, 5), (5, 1), (25, 30)])
@pytest.mark.parametrize("cols", ["fixed", "at most"])
def test_shipping_is_optimal_if_it_is_possible(cols, shape, share):
    for seed in range(8):
        cost, allowed, a, b, graph, row_nodes, col_nodes = problem(seed, "fixed", cols, shape, share)
        started(graph, row_nodes, col_nodes)
        blocked, _ = shipped(graph, row_nodes, col_nodes)
        assert_consistent(graph, row_nodes, col_nodes)
        assert_feasible_and_tight(graph, row_nodes, col_nodes)
        if not blocked.any():
            assert (row_nodes.marginal == a).all()
            assert (col_nodes.marginal <= b).all()
            assert (graph.cost * graph.flow).sum() == cheapest(np.where(allowed, cost, 10**6), a, b)


@pytest.mark.parametrize("share", [0.15, 0.3, 0.5])
@pytest.mark.parametrize("cols", ["fixed", "at most", "between"])
def test_what_is_blocked_asks_for_more_than_all_it_reaches_can_take(cols, share):
    for seed in range(40):
        _, allowed, a, b, graph, row_nodes, col_nodes = problem(seed, "fixed", cols, share=share)
        started(graph, row_nodes, col_nodes)
        blocked, blocked_cols = shipped(graph, row_nodes, col_nodes)
        assert_consistent(graph, row_nodes, col_nodes)
        assert_feasible_and_tight(graph, row_nodes, col_nodes)
        most = col_nodes.levels[0]
        assert blocked.any() == (largest_flow(allowed, a, most) < TOTAL)
        if blocked.any():
            assert (allowed[blocked].any(axis=0) <= blocked_cols).all()
            assert a[blocked].sum() > most[blocked_cols].sum()
        else:
            assert not blocked_cols.any()


@pytest.mark.parametrize(("rows", "cols"), list(itertools.product(SIDES, SIDES)))
def test_shipping_from_both_sides_solves_every_pair_of_sides(rows, cols):
    """Feasible potentials, tight flow, and marginals that both sides want at them: the proof, in whole numbers."""
    bounded = not {rows, cols} & {"variation", "cheap variation", "free"}  # else mass could be earned with
    for seed in range(10):
        *_, graph, row_nodes, col_nodes = problem(seed, rows, cols, low=-4 if bounded else 0, high=6)
        started(graph, row_nodes, col_nodes)
        assert not any(x.any() for x in shipped(graph, row_nodes, col_nodes))
        graph = paths.transpose(graph)
        assert not any(x.any() for x in shipped(graph, col_nodes, row_nodes))
        graph = paths.transpose(graph)
        assert_consistent(graph, row_nodes, col_nodes)
        assert_feasible_and_tight(graph, row_nodes, col_nodes)
        for side in (row_nodes, col_nodes):
            least, most = wanted(side)
            assert (least <= side.marginal).all()
            assert (side.marginal <= most).all()


def test_real_costs_are_met_to_rounding():
    for seed in range(10):
        rng = np.random.default_rng(seed)
        cost, a, b = rng.random((30, 40)), masses(rng, 30), masses(rng, 40)
        graph, rows, cols = graph_of(cost), nodes("fixed", a), nodes("at most", b)
        started(graph, rows, cols)
        shipped(graph, rows, cols)
        assert_consistent(graph, rows, cols)
        assert_feasible_and_tight(graph, rows, cols, 30 * 2.0**-52)  # potentials of about 1, moved some 30 times
        units = np.repeat(np.repeat(cost, a, axis=0), b, axis=1)
        assert (graph.cost * graph.flow).sum() == pytest.approx(units[linear_sum_assignment(units)].sum(), rel=1e-13)


def test_the_work_space_is_left_as_it_was():
    """Whether a search ended or was blocked."""
    search = paths.search_space(6, 8)
    for seed in range(20):
        for share in (0.3, 1.0):
            *_, graph, rows, cols = problem(seed, share=share)
            *_, fresh_graph, fresh_rows, fresh_cols = problem(seed, share=share)
            started(graph, rows, cols)
            started(fresh_graph, fresh_rows, fresh_cols)
            found, fresh = shipped(graph, rows, cols, search), shipped(fresh_graph, fresh_rows, fresh_cols)
            assert all((x == y).all() for x, y in zip(found, fresh, strict=True))
            assert cells_of(graph) == cells_of(fresh_graph)


def test_rows_that_ask_for_nothing_send_nothing():
    *_, graph, rows, cols = problem(5, "at most", "at most")
    started(graph, rows, cols)
    shipped(graph, rows, cols)
    assert (graph.flow == 0).all()
    assert (rows.marginal == 0).all()


def test_pieces_change_nothing(monkeypatch):
    found = []
    for piece in (10**9, 20, 0):
        monkeypatch.setattr(paths, "PIECE", piece)
        *_, graph, rows, cols = problem(6, "fixed", "at most", (25, 30))
        started(graph, rows, cols)
        pauses = []
        shipped(graph, rows, cols, pause=lambda pauses=pauses: pauses.append(0))
        found.append((cells_of(graph), rows.potential.tolist(), cols.potential.tolist()))
    assert found[0] == found[1] == found[2]
    assert len(pauses) > 20


def test_what_a_pause_raises_ends_the_search():
    *_, graph, rows, cols = problem(6)
    started(graph, rows, cols)

    def pause():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        shipped(graph, rows, cols, pause=pause)
