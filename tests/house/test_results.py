"""Every result is one short line as text, whatever its size; some are a table with a picture in a notebook."""

import inspect
from xml.etree import ElementTree

import numpy as np
import pytest

import elastic_ot as eot

RNG = np.random.default_rng(0)
N = 2000
COST = RNG.random((40, 50))
X, Y = RNG.random((N, 2)), RNG.random((N, 2))
LINE = np.sort(RNG.random(N))
WITHOUT_A_RESULT = {
    *(name for name in eot.__all__ if name.endswith(("Error", "Warning", "Unavailable"))),
    *("Fixed", "KL", "TV", "L2", "Between", "AtMost", "Free", "Elastic", "Newton"),
    *("Cost", "FunctionCost", "PointCloud", "Grid", "Status", "EpsilonSchedule"),
}


def results():
    """One of each, large where that is cheap."""
    soon = {"max_iter": 2, "on_failure": "ignore"}
    one = eot.solve(COST, epsilon=0.1)
    cloud = eot.PointCloud(X, Y)
    yield one
    yield eot.solve(cloud, epsilon=0.1, **soon)
    yield eot.solve(RNG.random((3, 2, 400, 300)), epsilon=np.full((3, 2), 0.5), cols=eot.KL(np.ones((3, 2))), **soon)
    yield from (one.history, one.gradients(), one.jvp(a=np.zeros(40)))
    yield eot.solve(cloud, epsilon=0.1, **soon | {"max_iter": 300}).gradients()
    yield from (eot.assign(COST), eot.assign(cloud), eot.assign(RNG.random((5, 30, 40))))
    yield from (eot.exact(COST), eot.exact(RNG.random((5, 30, 40))))
    line = eot.transport_1d(LINE, LINE[::-1] + 1.0)
    yield from (line, line.gradients(), eot.transport_1d(RNG.random((4, N)), LINE))
    yield from (eot.sliced(X, Y, seed=0), eot.sliced(X, Y, seed=0, kind="min"), eot.couple(X[:100], Y[:100], seed=0))
    found = eot.divergence(eot.PointCloud(X[:300], Y[:200]), epsilon=0.1)
    yield from (found, found.gradients())
    yield eot.divergence(eot.PointCloud(RNG.random((2, 30, 2)), Y[:20]), epsilon=0.1)
    gromov = eot.gromov(eot.PointCloud(X[:100]), eot.PointCloud(Y[:100]), epsilon=0.1, **soon)
    yield from (gromov, gromov.history)
    middle = eot.barycenter((LINE[::10, None] - LINE[::10]) ** 2, RNG.dirichlet(np.ones(N // 10), 3), epsilon=0.1)
    yield from (middle, middle.gradients())
    yield eot.free_barycenter([X[:100], Y[:100]], support=20, epsilon=0.1, max_moves=2, on_failure="ignore")
    low = eot.low_rank(COST, 3, max_iter=5, on_failure="ignore")
    yield from (low, low.history)
    routing = eot.applications.route(RNG.random((512, 16)), 2)
    yield from (routing, eot.applications.load_balance(routing.load))
    yield eot.applications.match(RNG.random((60, 50)), dustbin=1.0)
    yield eot.applications.sink_metrics(RNG.dirichlet(np.ones(64), 64))


RESULTS = list(results())
CLASSES = {
    value
    for module in (eot, eot.applications)
    for name in set(module.__all__) - WITHOUT_A_RESULT
    if inspect.isclass(value := getattr(module, name))
}


def test_every_class_of_results_is_tested():
    assert {type(result) for result in RESULTS} == CLASSES


@pytest.mark.parametrize("result", RESULTS, ids=lambda result: type(result).__name__)
def test_a_result_is_one_line(result):
    text = repr(result)
    assert text == str(result)
    assert "\n" not in text
    assert text.startswith(f"{type(result).__name__}(")
    assert len(text) <= 120
    assert "array(" not in text
    assert "plan" not in getattr(result, "__dict__", {}) or not isinstance(result, eot.Solution)


@pytest.mark.parametrize("result", RESULTS, ids=lambda result: type(result).__name__)
def test_what_a_result_was_made_of_is_one_line_too(result):
    for name in ("problem", "found", "host"):
        text = repr(getattr(result, name, None))
        assert "\n" not in text
        assert len(text) <= 120


def test_text_computes_no_plan():
    """One of so many entries cannot be made, which is said when it is asked for."""
    many = RNG.random((5000, 1))
    found = eot.solve(eot.PointCloud(many, many), epsilon=0.1, max_iter=1, method="log", on_failure="ignore")
    assert repr(found).startswith("Solution(5000 x 5000")
    with pytest.raises(ValueError, match="16777216"):
        found.plan  # noqa: B018
    assert "<svg" not in found._repr_html_()


def test_strengths_that_are_arrays_are_shown_by_range_and_shape():
    assert repr(eot.KL(np.linspace(0.5, 2.0, 6).reshape(2, 3))) == "KL(rho=0.5 to 2 of shape (2, 3))"
    assert repr(eot.Between(0.5, np.inf)) == "Between(lo=0.5, hi=inf)"
    assert repr(eot.Elastic(0.5)) == "Elastic(lam=0.5)"


SHOWN = {
    "Solution": eot.solve(COST, epsilon=0.1),
    "BatchSolution": eot.solve(RNG.random((3, 5, 4)), epsilon=0.1),
    "BatchSolution of a budget": eot.solve(RNG.random((3, 5, 4)), epsilon=0.1, tol=0, max_iter=5),
    "Assignment": eot.assign(COST),
    "Assignment of nothing": eot.assign(np.ones((3, 3)), cost_limit=0.5),
    "ExactSolution": eot.exact(COST),
    "Divergence": eot.divergence(eot.PointCloud(X[:40], Y[:30]), epsilon=0.1),
    "Solution that broke down": eot.solve(COST, epsilon=1e-30, on_failure="ignore"),
}


@pytest.mark.parametrize("name", SHOWN)
def test_notebooks_show_a_table(name):
    result = SHOWN[name]
    tree = ElementTree.fromstring(result._repr_html_())
    assert tree.find("table/caption/b").text == type(result).__name__
    cells = {row.find("th").text: row.find("td").text for row in tree.iter("tr")}
    assert len(cells) >= 3
    assert all("\n" not in text and len(text) < 100 for text in cells.values())


def test_a_picture_has_the_mass_of_the_plan_where_it_lies():
    """A permutation of ten points, and blocks of many: opacities are roots of shares of the largest mass."""
    order = RNG.permutation(10)
    cost = 1.0 - np.eye(10)[order]
    for result in (eot.solve(cost, epsilon=0.01), eot.assign(cost), eot.exact(cost)):
        tree = ElementTree.fromstring(result._repr_html_())
        tiles = [tile for tile in tree.iter("{http://www.w3.org/2000/svg}rect") if "fill-opacity" in tile.attrib]
        assert sorted((int(tile.get("y")), int(tile.get("x"))) for tile in tiles) == list(enumerate(order))
        assert {tile.get("fill-opacity") for tile in tiles} == {"1.00"}


def test_tiles_of_a_large_plan_hold_all_of_its_mass():
    from elastic_ot.solutions.html import tiles_of_entries, tiles_of_plan

    sol = eot.solve(RNG.random((100, 70)), epsilon=0.1)
    tiles = tiles_of_plan(sol.found)
    assert tiles.shape == (24, 24)
    assert tiles.sum() == pytest.approx(sol.plan.sum(), rel=1e-12)
    assert tiles[0, 0] == pytest.approx(sol.plan[:5, :3].sum(), rel=1e-12)
    i, j = np.nonzero(np.ones(sol.plan.shape))
    assert np.allclose(tiles_of_entries(i, j, sol.plan[i, j], sol.plan.shape), tiles, rtol=1e-12)


@pytest.mark.parametrize("result", RESULTS, ids=lambda result: type(result).__name__)
def test_no_array_is_made_of_a_result_by_mistake(result):
    kinds = (eot.History, eot.Gradients, eot.Assignment, eot.PointGradients)
    if isinstance(result, kinds) or not hasattr(type(result), "_as_array"):
        return
    with pytest.raises(TypeError, match=rf"this is a {type(result).__name__} and no array; take \w+\.\w+") as caught:
        np.asarray(result)
    assert hasattr(type(result), str(caught.value).rpartition(".")[2]) or hasattr(result, result._as_array)


def test_numpy_reads_an_assignment_as_scipys_pair():
    result = eot.assign(COST)
    assert np.array_equal(np.asarray(result), np.stack([result.row_ind, result.col_ind]))
    with pytest.raises(TypeError, match=r"take solution\.plan"):
        np.sum(eot.solve(COST, epsilon=0.1))
