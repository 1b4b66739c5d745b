"""The picture of a solution: it shows the numbers of the solution, for plans of any size and state."""

import io
import subprocess
import sys
import tracemalloc
from types import SimpleNamespace

import numpy as np
import pytest
from matplotlib.figure import Figure

import elastic_ot as eot
from elastic_ot.solutions.plotting import block_sums, plot_solution


def cloud(n, m, dtype=np.float64):
    rng = np.random.default_rng(n)
    x, y = rng.random((n, 2)), rng.random((m, 2))
    return ((x[:, None] - y[None]) ** 2).sum(axis=-1).astype(dtype)


def parts(figure):
    return {axes.get_label(): axes for axes in figure.axes}


def save(figure):
    """Draw everything; with warnings as errors this is a test in itself."""
    figure.savefig(io.BytesIO(), dpi=40)


def steps(axes):
    """The values of the two step curves of a marginal: weights, attained."""
    return [patch.get_data().values for patch in axes.patches]


def test_the_figure_shows_the_plan_its_marginals_and_the_history():
    b = np.array([0.1, 0.2, 0.3, 0.4])
    solution = eot.solve(cloud(5, 4), b=b, epsilon=0.05, cols=eot.KL(0.3))
    figure = solution.plot()
    assert isinstance(figure, Figure)
    axes = parts(figure)
    assert list(axes) == ["plan", "columns", "rows", "scale", "residual", "dual"]
    np.testing.assert_array_equal(axes["plan"].images[0].get_array(), solution.plan)
    for side, weights, attained in (
        ("columns", b, solution.col_marginal),
        ("rows", np.full(5, 0.2), solution.row_marginal),
    ):
        np.testing.assert_array_equal(steps(axes[side]), [weights, attained])
    history = solution.history
    np.testing.assert_array_equal(axes["residual"].lines[0].get_xydata()[:, 0], history.iteration)
    np.testing.assert_array_equal(axes["residual"].lines[0].get_ydata(), history.residual)
    assert axes["residual"].get_yscale() == "log"
    np.testing.assert_array_equal(axes["dual"].lines[0].get_ydata(), history.dual)
    np.testing.assert_array_equal(axes["dual"].lines[1].get_ydata(), [solution.value] * 2)
    assert "KL(" in axes["columns"].get_title()
    assert "Fixed" in axes["rows"].get_xlabel()
    save(figure)


@pytest.mark.parametrize("shape", [(1, 1), (1, 7), (7, 1), (3, 2)])
def test_tiny_plans_are_drawn(shape):
    save(eot.solve(cloud(*shape), epsilon=0.1).plot())


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_large_plan_is_drawn_by_the_masses_of_its_blocks(dtype):
    solution = eot.solve(cloud(1201, 500, dtype), epsilon=0.1)
    figure = plot_solution(solution)
    axes = parts(figure)
    shown = axes["plan"].images[0].get_array()
    assert max(shown.shape) <= 400
    assert shown.shape == (301, 125)  # blocks of 4, the last row of blocks is one cell high
    # Sums of up to 16 entries of the cost's dtype, added up again in float64.
    assert shown.sum() == pytest.approx(1.0, abs=1e-5)
    plan = np.asarray(solution.plan)
    assert shown[2, 3] == pytest.approx(plan[8:12, 12:16].sum(), rel=1e-5)
    for side, whole in (("columns", solution.col_marginal), ("rows", solution.row_marginal)):
        attained = steps(axes[side])[1]
        assert attained.sum() == pytest.approx(whole.sum(), rel=1e-12)
        assert attained[1] == pytest.approx(whole[4:8].sum(), rel=1e-12)
    assert axes["plan"].get_xlim() == (-0.5, 499.5)
    assert axes["plan"].get_ylim() == (1200.5, -0.5)
    save(figure)


@pytest.mark.parametrize("shape", [(1, 1), (5, 7), (6, 8), (9, 3)])
@pytest.mark.parametrize("size", [1, 2, 3, 10])
def test_block_sums_add_every_cell_once(shape, size):
    plan = np.random.default_rng(0).random(shape)
    sums = block_sums(plan, size)
    rows, columns = (range(0, length, size) for length in shape)
    for k, i in enumerate(rows):
        for q, j in enumerate(columns):
            assert sums[k, q] == pytest.approx(plan[i : i + size, j : j + size].sum(), rel=1e-14)
    assert sums.shape == (len(rows), len(columns))


def test_a_large_plan_is_not_copied():
    solution = eot.solve(cloud(1600, 1600), epsilon=0.1)
    plan_bytes = np.asarray(solution.plan).nbytes  # now it is computed, and its cost is not the plot's
    plot_solution(solution)  # imports and font tables
    tracemalloc.start()
    try:
        plot_solution(solution)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    # 400 rows of 1600 are a quarter of the plan; blocks and artists are small beside it.
    assert peak < 0.5 * plan_bytes


def test_removed_rows_and_forbidden_cells_are_drawn_empty():
    a = np.array([0.5, 0.0, 0.5])
    cost = cloud(3, 4)
    cost[0, 1] = np.inf
    solution = eot.solve(cost, a, epsilon=0.1, cols=eot.KL(1.0))
    figure = solution.plot()
    shown = parts(figure)["plan"].images[0].get_array()
    assert (shown[1] == 0.0).all()
    assert shown[0, 1] == 0.0
    np.testing.assert_array_equal(steps(parts(figure)["rows"])[1][1], 0.0)
    save(figure)


def test_only_the_last_level_of_epsilon_is_drawn_as_dual_value():
    solution = eot.solve(cloud(30, 30), epsilon=0.001, method="epsilon_scaling", on_failure="ignore")
    history = solution.history
    last = np.asarray(history.epsilon) == solution.epsilon
    assert not last.all()
    axes = parts(solution.plot())
    np.testing.assert_array_equal(axes["dual"].lines[0].get_ydata(), history.dual[last])
    assert len(axes["residual"].patches) >= 1  # bands of the levels


def stand_in(plan, **history):
    """A solution that no solver returns readily."""
    empty = dict.fromkeys(("iteration", "residual", "dual", "epsilon", "seconds"), np.array([]))
    n, m = plan.shape
    return SimpleNamespace(
        plan=plan,
        row_marginal=plan.sum(axis=1),
        col_marginal=plan.sum(axis=0),
        problem=SimpleNamespace(a=np.full(n, 1 / n), b=np.full(m, 1 / m), rows=eot.Fixed(), cols=eot.Free()),
        history=SimpleNamespace(**empty | history),
        status=eot.Status.STOPPED,
        n_iter=0,
        method="log",
        epsilon=1.0,
        transport_cost=np.nan,
        value=np.nan,
        gap=np.nan,
    )


@pytest.mark.parametrize("entry", [0.0, np.nan])
def test_a_plan_without_mass_and_an_empty_history_are_drawn(entry):
    figure = plot_solution(stand_in(np.full((3, 4), entry)))
    save(figure)
    assert not parts(figure)["plan"].images
    assert parts(figure)["residual"].texts[0].get_text() == "nothing recorded"


def test_a_residual_of_zero_is_said_not_drawn():
    one = np.array([1.0])
    solution = stand_in(np.full((2, 2), 0.25), iteration=one, residual=0 * one, dual=one, epsilon=one)
    figure = plot_solution(solution)
    save(figure)
    assert parts(figure)["residual"].texts[0].get_text() == "zero at every check"


def test_a_given_figure_is_drawn_into():
    figure = Figure()
    solution = eot.solve(cloud(3, 3), epsilon=0.1)
    assert plot_solution(solution, figure=figure) is figure
    assert len(figure.axes) == 6


def test_max_blocks_must_be_positive():
    solution = eot.solve(cloud(3, 3), epsilon=0.1)
    with pytest.raises(ValueError, match="max_blocks is 0"):
        plot_solution(solution, max_blocks=0)


def test_pyplot_is_never_imported():
    code = (
        "import sys, io, numpy as np, elastic_ot as eot\n"
        "assert 'matplotlib' not in sys.modules\n"
        "eot.solve(np.eye(3), epsilon=1.0).plot().savefig(io.BytesIO())\n"
        "assert 'matplotlib.pyplot' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_without_matplotlib_the_error_names_the_extra(monkeypatch):
    solution = eot.solve(cloud(3, 3), epsilon=0.1)
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ImportError, match=r'pip install "elastic-ot\[plot\]"'):
        solution.plot()
