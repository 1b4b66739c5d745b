"""The demonstration: what it prints and draws, and that it solves what its lines say."""

import sys

import numpy as np
import pytest

import elastic_ot as eot
from elastic_ot.cli import demo
from elastic_ot.cli import main as cli


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty directory, which is also the current one."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="module")
def outcomes():
    return list(demo.solve_all(demo.load_photographs()))


def test_demo_prints_a_line_for_every_problem_and_saves_a_picture(folder, capsys, monkeypatch, outcomes):
    monkeypatch.setattr(demo, "solve_all", lambda _: outcomes)
    assert cli.main("demo --output picture.png".split()) == 0
    printed = capsys.readouterr().out
    for outcome in outcomes:
        assert demo.table_line(outcome) in printed
    assert printed.endswith("Picture saved as picture.png\n")
    assert (folder / "picture.png").read_bytes().startswith(b"\x89PNG")


def test_demo_without_matplotlib_prints_the_table_and_how_to_get_the_picture(folder, capsys, monkeypatch, outcomes):
    monkeypatch.setattr(demo, "solve_all", lambda _: outcomes)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    before = sorted(folder.iterdir())
    assert cli.main(["demo"]) == 0
    printed = capsys.readouterr().out
    assert demo.table_line(outcomes[-1]) in printed
    assert 'pip install "elastic-ot[plot]"' in printed
    assert sorted(folder.iterdir()) == before


def test_demo_fails_if_a_problem_does_not_converge(capsys, monkeypatch):
    solve = eot.solve
    monkeypatch.setattr(eot, "solve", lambda *a, **k: solve(*a, **k | {"max_iter": 1, "tol": 1e-14}))
    assert cli.main(["demo", "--no-plot"]) == 1
    assert "max_iter" in capsys.readouterr().out


def test_demo_solves_what_its_names_say(outcomes):
    cost = demo.load_photographs().cost
    softmax = np.exp(-cost / demo.EPSILON)
    softmax /= softmax.sum(axis=1, keepdims=True)
    first, balanced = outcomes[0], outcomes[len(demo.LAMS) - 1]
    # The plan holds 1/n of every row of the softmax; the rest is rounding in exp and sum.
    np.testing.assert_allclose(first.solution.plan * demo.SAMPLES, softmax, rtol=1e-9, atol=1e-15)
    np.testing.assert_allclose(balanced.load, 1.0, atol=demo.DEMO_TOL * demo.SAMPLES)
    largest = [outcome.load.max() for outcome in outcomes[: len(demo.LAMS)]]
    assert largest == sorted(largest, reverse=True)
    capacity, bounds = outcomes[-2:]
    slack = demo.DEMO_TOL * demo.SAMPLES  # an L1 error of tol may lie in one column of weight 1 / SAMPLES
    assert capacity.load.max() <= demo.CAPACITY + slack
    assert bounds.load.max() <= 2.0 + slack
    assert bounds.load.min() >= 0.5 - slack


def test_lab_of_known_colours():
    # CIE Lab (D65) of sRGB white, black and pure red, rounded to two digits as commonly tabulated.
    colours = np.array([[255, 255, 255], [0, 0, 0], [255, 0, 0]], dtype=np.uint8)
    known = [[100.0, 0.0, 0.0], [0.0, 0.0, 0.0], [53.24, 80.09, 67.20]]
    np.testing.assert_allclose(demo.lab(colours), known, atol=0.02)
    x = demo.lab(colours)
    direct = ((x[:, None] - x[None]) ** 2).sum(axis=-1) / 100.0**2
    np.testing.assert_allclose(demo.colour_distance(x, x), direct, atol=1e-12)


def test_recolouring_a_sampled_pixel_gives_the_mean_of_its_row(outcomes):
    photographs = demo.load_photographs()
    solution = outcomes[2].solution
    plan = np.asarray(solution.plan)
    mean = plan @ photographs.palette_pixels / plan.sum(axis=1, keepdims=True)
    mapped = demo.recolour(photographs, solution).reshape(-1, 3)
    pixels = photographs.source.reshape(-1, 3)
    for i in range(0, demo.SAMPLES, 50):
        where = np.flatnonzero((pixels == photographs.source_pixels[i]).all(axis=1))
        # Rounded to whole grey levels; the potentials meet the row to the tolerance.
        np.testing.assert_allclose(mapped[where[0]], mean[i], atol=0.51)
