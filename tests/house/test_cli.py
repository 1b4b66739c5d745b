"""The command line: exit codes, what is printed, what is written, and that bad input is found before the work."""

import re
import subprocess
import sys
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
from PIL import Image

import elastic_ot as eot
from elastic_ot.cli import files, options, problem
from elastic_ot.cli import main as cli
from elastic_ot.costs import scan
from elastic_ot.costs.points import METRICS
from elastic_ot.solvers.methods import METHODS, Method

COST = np.array([[1.0, 4.0, 6.0], [5.0, 2.0, 3.0]])
SHARES = np.array([0.6, 0.4])
POINTS = tuple(np.random.default_rng(0).random((size, 2)) for size in (7, 9))
SHADES = tuple(np.random.default_rng(1).integers(0, 255, shape, np.uint8) for shape in ((5, 6), (4, 3)))


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A directory with one problem in it, which is also the current one."""
    monkeypatch.chdir(tmp_path)
    np.save("cost.npy", COST)
    np.savetxt("a.csv", SHARES)
    return tmp_path


@pytest.fixture
def no_solve(monkeypatch):
    """Fail the test if a solve is started."""

    def refuse(*_, **__):
        pytest.fail("the solve was started")

    monkeypatch.setattr(eot, "solve", refuse)


def table(text):
    """Read back what `result_table` prints."""
    return dict(re.split(r"\s{2,}", line, maxsplit=1) for line in text.splitlines())


def test_the_table_holds_the_numbers_of_solve(folder, capsys):
    assert cli.main("solve cost.npy --a a.csv --epsilon 0.5 --cols kl:2 --tol 1e-9".split()) == 0
    printed = table(capsys.readouterr().out)
    solution = eot.solve(COST, SHARES, epsilon=0.5, cols=eot.KL(2.0), tol=1e-9)
    assert printed["status"].startswith("converged")
    assert printed["iterations"] == str(solution.n_iter)
    # Ten digits are printed.
    assert float(printed["transport cost"]) == pytest.approx(solution.transport_cost, rel=1e-9)
    assert float(printed["value"]) == pytest.approx(solution.value, rel=1e-9)


@pytest.mark.parametrize("name", ["cost.npy", "cost.npz", "named.npz", "cost.csv"])
def test_every_file_format_gives_the_same_matrix(folder, name):
    np.savez("cost.npz", COST)
    np.savez("named.npz", other=SHARES, cost=COST)
    np.savetxt("cost.csv", COST, delimiter=",")
    np.testing.assert_array_equal(files.opened("COST", name).array("cost", ndim=2), COST)


@pytest.mark.parametrize("shape", [(2,), (2, 1), (1, 2)])
def test_weights_may_be_a_row_or_a_column(folder, shape):
    np.save("w.npy", SHARES.reshape(shape))
    np.testing.assert_array_equal(files.opened("--a", "w.npy").array("a", ndim=1), SHARES)


@pytest.mark.parametrize(
    ("text", "penalty"),
    [
        ("fixed", eot.Fixed()),
        ("kl:0.5", eot.KL(0.5)),
        ("KL:5e-1", eot.KL(0.5)),
        ("tv:2", eot.TV(2.0)),
        ("l2:3", eot.L2(3.0)),
        ("between:0:1.5", eot.Between(0.0, 1.5)),
        ("atmost", eot.AtMost()),
        ("free", eot.Free()),
        ("elastic:0.9", eot.Elastic(0.9)),
    ],
)
def test_a_penalty_is_read_from_its_short_form(text, penalty):
    assert options.parse_penalty("--rows", text) == penalty


def test_a_relative_epsilon_is_a_fraction_of_the_range_of_the_finite_costs():
    cost = np.array([[2.0, np.inf], [12.0, 7.0]])
    assert problem.parse_epsilon("0.01x", cost) == pytest.approx(0.1, rel=1e-15)
    assert problem.parse_epsilon("0.01", cost) == 0.01


def test_output_holds_a_plan_made_of_its_own_potentials(folder, capsys):
    assert cli.main("solve cost.npy --a a.csv --epsilon 1 --cols between:0.5:2 --output out.npz".split()) == 0
    with np.load("out.npz", allow_pickle=False) as saved:
        assert {"f", "g", "plan", "row_marginal", "col_marginal", "value", "gap", "status"} <= set(saved)
        exponent = saved["f"][:, None] + saved["g"] - COST
        np.testing.assert_allclose(saved["plan"], SHARES[:, None] / 3 * np.exp(exponent), rtol=1e-12)
        np.testing.assert_allclose(saved["plan"].sum(axis=1), saved["row_marginal"], rtol=1e-12)
        assert saved["status"] == "converged"
        assert saved["converged"]
        assert saved["epsilon"] == 1.0
    assert [path.name for path in folder.glob("out*")] == ["out.npz"]


def test_a_mask_forbids_cells(folder):
    np.savetxt("mask.csv", [[1, 0, 1], [1, 1, 1]], delimiter=",")
    assert cli.main("solve cost.npy --epsilon 1 --mask mask.csv --output out.npz".split()) == 0
    with np.load("out.npz") as saved:
        np.testing.assert_array_equal(saved["plan"] == 0.0, [[False, True, False], [False] * 3])


@pytest.mark.parametrize("metric", ["sqeuclidean", "euclidean", "cosine"])
def test_points_are_solved_as_a_cloud(folder, capsys, metric):
    np.save("x.npy", POINTS[0])
    np.savetxt("y.csv", POINTS[1], delimiter=",")
    assert cli.main(f"solve --points x.npy y.csv --metric {metric} --epsilon 0.1 --output out.npz".split()) == 0
    solution = eot.solve(eot.PointCloud(*POINTS, metric), epsilon=0.1)
    assert float(table(capsys.readouterr().out)["value"]) == pytest.approx(solution.value, rel=1e-9)
    with np.load("out.npz") as saved:
        np.testing.assert_array_equal(saved["plan"], solution.plan)


@pytest.mark.parametrize("names", [("a.npy", "b.npy"), ("a.png", "b.png"), ("a.png", "b.npy")])
def test_grey_values_of_pictures_are_weights_on_a_grid(folder, capsys, names):
    for name, shade in zip("ab", SHADES, strict=True):
        np.save(f"{name}.npy", shade)
        Image.fromarray(shade).save(f"{name}.png")
    assert cli.main(f"solve --grid {' '.join(names)} --epsilon 0.1 --rows kl:1 --output out.npz".split()) == 0
    a, b = (shade / shade.sum() for shade in SHADES)
    solution = eot.solve(eot.Grid(a.shape, b.shape), a, b, epsilon=0.1, rows=eot.KL(1.0))
    assert float(table(capsys.readouterr().out)["value"]) == pytest.approx(solution.value, rel=1e-9)
    with np.load("out.npz") as saved:
        np.testing.assert_allclose(saved["row_marginal"], solution.row_marginal, rtol=0, atol=1e-12)


def test_a_picture_in_colour_counts_by_its_brightness_and_one_of_16_bits_keeps_them(folder):
    Image.fromarray(np.full((2, 3, 3), 80, np.uint8)).save("colour.png")
    Image.fromarray(np.array([[1, 2], [3, 60000]], np.uint16)).save("deep.png")
    np.testing.assert_allclose(files.opened("--grid", "colour.png", pictures=True).picture("a"), np.full((2, 3), 1 / 6))
    np.testing.assert_array_equal(
        files.opened("--grid", "deep.png", pictures=True).picture("a"), np.array([[1, 2], [3, 60000]]) / 60006
    )


@pytest.mark.usefixtures("no_solve")
def test_pictures_without_pillow_say_how_to_get_it(folder, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "PIL", None)
    assert cli.main("solve --grid a.png b.png --epsilon 1".split()) == 2
    assert "--grid a.png: reading pictures needs Pillow: pip install pillow" in capsys.readouterr().err


def test_the_plan_of_what_is_not_stored_is_not_saved(folder, monkeypatch):
    monkeypatch.setattr(scan, "KEPT_ENTRIES", 0)
    np.save("x.npy", POINTS[0])
    assert cli.main("solve --points x.npy x.npy --epsilon 0.1 --output out.npz".split()) == 0
    with np.load("out.npz") as saved:
        assert "plan" not in saved
        assert saved["f"].shape == (7,)


@pytest.mark.usefixtures("no_solve")
def test_a_plan_too_large_to_draw_is_refused_before_the_work(folder, capsys):
    np.save("x.npy", np.zeros((4097, 1)))
    assert cli.main("solve --points x.npy x.npy --epsilon 1 --plot plan.png".split()) == 2
    assert "--plot: needs a whole plan" in capsys.readouterr().err


def test_a_relative_epsilon_of_points_is_a_fraction_of_a_bound_on_their_range(folder):
    cloud = eot.PointCloud(*POINTS)
    matrix = cloud.block(slice(0, 7), slice(0, 9))
    assert np.ptp(matrix) <= problem.parse_epsilon("1x", cloud) <= 2.0  # the square of the diagonal
    assert problem.parse_epsilon("0.5x", eot.Grid((3, 3))) == pytest.approx(4 / 9, rel=1e-15)


def test_plot_saves_a_picture(folder):
    assert cli.main("solve cost.npy --epsilon 1 --plot plan.png".split()) == 0
    assert (folder / "plan.png").read_bytes().startswith(b"\x89PNG")


def test_progress_goes_to_stderr(folder, capsys):
    assert cli.main("solve cost.npy --epsilon 1 --progress".split()) == 0
    assert "status" in capsys.readouterr().out


def test_not_converged_is_exit_code_1_and_the_result_is_still_written(folder, capsys):
    arguments = "solve cost.npy --epsilon 0.01 --method log --tol 1e-14 --max-iter 1 --output out.npz"
    assert cli.main(arguments.split()) == 1
    captured = capsys.readouterr()
    assert table(captured.out)["status"].startswith("max_iter")
    assert not [line for line in captured.err.splitlines() if "compiling" not in line]
    with np.load("out.npz") as saved:
        assert not saved["converged"]


def write_bad_files():
    """One file for every way a file can be wrong."""
    Path("text.npy").write_text("not an array")
    Path("text.npz").write_text("not an archive")
    Path("words.csv").write_text("1,2\nx,2\n")
    Path("ragged.csv").write_text("1,2\n1\n")
    Path("empty.csv").write_text("\n")
    Path("latin.csv").write_bytes(b"1,\xe9\n")
    Path("cost.mat").write_text("1,2\n")
    np.save("objects.npy", np.array([{}, 1]))
    np.save("complex.npy", COST * 1j)
    np.save("vector.npy", COST[0])
    np.save("nan.npy", np.where(COST == 6.0, np.nan, COST))
    np.save("flat.npy", np.ones((2, 3)))
    np.savez("two.npz", x=COST, y=COST)
    np.save("x.npy", POINTS[0])
    np.save("y.npy", POINTS[1])
    np.save("shade.npy", SHADES[0])
    np.save("black.npy", np.zeros((2, 2)))
    np.save("negative.npy", [[1.0, -1.0]])
    Path("false.png").write_text("not a picture")
    whole = Path("cost.npy").read_bytes()
    Path("cut.npy").write_bytes(whole[:-8])
    np.savez("cut.npz", cost=COST)
    Path("cut.npz").write_bytes(Path("cut.npz").read_bytes()[:-30])


BAD = {
    "frobnicate": "frobnicate",
    "solve cost.npy": "--epsilon",
    "solve --epsilon 1": "give one of COST, --points X Y and --grid A B",
    "solve cost.npy --epsilon 1 --points x.npy y.npy": "give one of",
    "solve cost.npy --epsilon 1 --metric dot": "--metric dot: is for --points and --grid",
    "solve --points x.npy --epsilon 1": "--points: expected 2 arguments",
    "solve --points x.npy vector.npy --epsilon 1": "--points vector.npy: has 1 dimensions",
    "solve --points x.npy cost.npy --epsilon 1": "--points x.npy: x has shape (7, 2) and y has shape (2, 3)",
    "solve --points x.npy y.npy --metric l3 --epsilon 1": "argument --metric: invalid choice: 'l3'",
    "solve --points x.npy y.npy --mask cost.npy --epsilon 1": "--mask cost.npy",
    "solve --points x.npy y.npy --a a.csv --epsilon 1": "a has 2 entries",
    "solve --grid nowhere.png shade.npy --epsilon 1": "--grid nowhere.png: No such file",
    "solve --grid false.png shade.npy --epsilon 1": "--grid false.png: cannot identify image file",
    "solve --grid shade.npy negative.npy --epsilon 1": "--grid negative.npy: entry [0, 1] is -1.0",
    "solve --grid shade.npy nan.npy --epsilon 1": "--grid nan.npy: entry [0, 2] is nan",
    "solve --grid black.npy shade.npy --epsilon 1": "--grid black.npy: holds no grey value above 0",
    "solve --grid shade.npy vector.npy --epsilon 1": "--grid: axes_x has 2 axes and axes_y has 1",
    "solve --grid shade.npy shade.npy --metric cosine --epsilon 1": "--grid: metric is 'cosine'",
    "solve --grid shade.npy shade.npy --a a.csv --epsilon 1": "--a: has no place beside --grid",
    "solve nowhere.npy --epsilon 1": "nowhere.npy: No such file",
    "solve . --epsilon 1": "COST .: ",
    "solve cost.mat --epsilon 1": "must end in .npy, .npz, .csv, .tsv or .txt",
    "solve text.npy --epsilon 1": "not a readable .npy",
    "solve text.npz --epsilon 1": "not a readable .npz",
    "solve cut.npy --epsilon 1": "not a readable .npy",
    "solve cut.npz --epsilon 1": "not a readable .npz",
    "solve words.csv --epsilon 1": "COST words.csv: line 2, column 1: 'x' is not a number",
    "solve ragged.csv --epsilon 1": "COST ragged.csv: line 2 has 1 number, and line 1 has 2",
    "solve empty.csv --epsilon 1": "empty",
    "solve latin.csv --epsilon 1": "COST latin.csv: line 1: is not UTF-8 text",
    "solve two.npz --epsilon 1": "x, y",
    "solve objects.npy --epsilon 1": "objects.npy: not a readable .npy",  # pickles are never run
    "solve complex.npy --epsilon 1": "complex128",
    "solve vector.npy --epsilon 1": "dimensions",
    "solve nan.npy --epsilon 1": "COST nan.npy: cost[0, 2]",
    "solve cost.npy --epsilon much": "--epsilon much",
    "solve cost.npy --epsilon nan": "epsilon",
    "solve cost.npy --epsilon -1": "epsilon",
    "solve flat.npy --epsilon 0.1x": "--epsilon 0.1x: epsilon is '0.1x', and all finite costs are equal",
    "solve cost.npy --epsilon 1 --a cost.npy": "--a cost.npy",
    "solve cost.npy --epsilon 1 --b a.csv": "b",
    "solve cost.npy --epsilon 1 --mask cost.npy": "[0, 1]",
    "solve cost.npy --epsilon 1 --rows klx:1": "no such penalty",
    "solve cost.npy --epsilon 1 --rows kl": "takes 1 number",
    "solve cost.npy --epsilon 1 --cols kl:a": "--cols kl:a",
    "solve cost.npy --epsilon 1 --cols kl:-1": "--cols kl:-1",
    "solve cost.npy --epsilon 1 --cols between:2:1": "--cols between:2:1",
    "solve cost.npy --epsilon 1 --cols elastic:2": "--cols elastic:2",
    "solve cost.npy --epsilon 1 --method newt": "newt",
    "solve cost.npy --epsilon 1 --reference sum": "sum",
    "solve cost.npy --epsilon 1 --relaxation 3": "relaxation",
    "solve cost.npy --epsilon 1 --max-iter many": "--max-iter",
    "solve cost.npy --epsilon 1 --tol -1": "tol",
    "demo --output picture.zzz": "picture.zzz",
    "demo --output nowhere/picture.png": "nowhere/picture.png",
}


@pytest.mark.parametrize("arguments", BAD)
def test_bad_input_is_exit_code_2_and_one_line(folder, capsys, arguments):
    write_bad_files()
    before = sorted(folder.iterdir())
    assert cli.main(arguments.split()) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("elastic-ot: ")
    assert captured.err.count("\n") == 1
    assert BAD[arguments] in captured.err
    assert sorted(folder.iterdir()) == before


@pytest.mark.usefixtures("no_solve")
@pytest.mark.parametrize(
    "option",
    [
        "--output out.mat",
        "--output nowhere/out.npz",
        "--output cost.npy/out.npz",
        "--output folder.npz",
        "--plot plan.zzz",
        "--plot nowhere/plan.png",
    ],
)
def test_an_unwritable_result_is_found_before_the_work(folder, capsys, option):
    (folder / "folder.npz").mkdir()
    assert cli.main(f"solve cost.npy --epsilon 1 {option}".split()) == 2
    captured = capsys.readouterr().err
    assert option in captured
    assert captured.count("\n") == 1


def test_a_refused_problem_leaves_an_older_result_alone(folder):
    (folder / "out.npz").write_bytes(b"older")
    assert cli.main("solve cost.npy --epsilon -1 --output out.npz".split()) == 2
    assert (folder / "out.npz").read_bytes() == b"older"


def test_an_interruption_leaves_no_half_written_file(folder, capsys, monkeypatch):
    def interrupt(file, **_):
        file.write(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(np, "savez", interrupt)
    before = sorted(folder.iterdir())
    assert cli.main("solve cost.npy --epsilon 1 --output out.npz".split()) == 130
    assert capsys.readouterr().err == "elastic-ot: interrupted\n"
    assert sorted(folder.iterdir()) == before


def test_a_full_disk_is_one_line(folder, capsys, monkeypatch):
    def fail(*_, **__):
        raise OSError(28, "No space left on device", "out.npz")

    monkeypatch.setattr(np, "savez", fail)
    assert cli.main("solve cost.npy --epsilon 1 --output out.npz".split()) == 2
    assert capsys.readouterr().err == "elastic-ot: out.npz: No space left on device\n"


@pytest.mark.usefixtures("no_solve")
def test_plot_without_matplotlib_says_how_to_get_it(folder, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.backend_bases", None)
    assert cli.main("solve cost.npy --epsilon 1 --plot plan.png".split()) == 2
    assert 'pip install "elastic-ot[plot]"' in capsys.readouterr().err


def test_help_and_version_leave_numba_and_matplotlib_alone():
    for words in (["--help"], ["--version"], [], ["help", "solve"], ["completion", "bash"]):
        code = (
            "import sys\n"
            "from elastic_ot.cli.main import main\n"
            f"try:\n    main({words!r})\n"
            "except SystemExit as end:\n    assert not end.code\n"
            "assert not {'numba', 'matplotlib', 'sklearn'} & set(sys.modules), 'a heavy import'\n"
        )
        subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


VERBS = ("solve", "assign", "exact", "divergence", "barycenter", "demo", "compile", "completion", "help")


def test_alone_it_prints_its_help(capsys):
    assert cli.main([]) == 0
    alone = capsys.readouterr().out
    assert cli.main(["help"]) == 0
    assert capsys.readouterr().out == alone
    for verb in VERBS:
        assert re.search(rf"^    {verb}\b", alone, re.MULTILINE)


@pytest.mark.parametrize("verb", VERBS)
def test_help_of_a_verb_is_that_of_its_option(capsys, verb):
    assert cli.main(["help", verb]) == 0
    helped = capsys.readouterr().out
    with pytest.raises(SystemExit) as end:
        cli.main([verb, "--help"])
    assert end.value.code == 0
    assert capsys.readouterr().out == helped
    assert helped.startswith(f"usage: elastic-ot {verb}")


def test_choices_are_those_of_the_library(capsys):
    cli.main(["help", "solve"])
    helped = " ".join(capsys.readouterr().out.split())
    assert set(get_args(Method)) == {"auto", *METHODS}
    assert f"--method {{{','.join(['auto', *METHODS])}}}" in helped
    assert f"--metric {{{','.join(METRICS)}}}" in helped


@pytest.mark.parametrize("method", METHODS)
def test_every_method_of_the_library_can_be_chosen(folder, capsys, method):
    np.save("x.npy", POINTS[0])
    np.save("y.npy", POINTS[1])
    assert cli.main(f"solve --points x.npy y.npy --epsilon 0.1 --method {method}".split()) == 0
    assert table(capsys.readouterr().out)["status"] == "converged"


def test_the_module_is_the_command():
    done = subprocess.run([sys.executable, "-m", "elastic_ot", "--version"], check=True, capture_output=True, text=True)
    assert done.stdout == f"elastic-ot {eot.__version__}\n"
    done = subprocess.run([sys.executable, "-m", "elastic_ot", "solve"], check=False, capture_output=True)
    assert done.returncode == 2
