"""Every verb of the command line: its numbers are those of the library, from matrices, points and pictures."""

import io
import json
import os
import re
import shutil
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image
from scipy.optimize import linear_sum_assignment, linprog
from scipy.spatial.distance import cdist

import elastic_ot as eot
from elastic_ot.cli import main as cli

RNG = np.random.default_rng(3)
COST = RNG.random((6, 8))
A, B = (weights / weights.sum() for weights in (RNG.random(6) + 0.2, RNG.random(8) + 0.2))
X, Y = RNG.random((6, 2)), RNG.random((8, 2))
needs_bash = pytest.mark.skipif(os.name == "nt" or shutil.which("bash") is None, reason="there is no bash")
PICTURES = RNG.integers(1, 255, (2, 5, 6), np.uint8)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Files of all kinds in a directory, which is also the current one."""
    monkeypatch.chdir(tmp_path)
    for name, values in {"cost": COST, "a": A, "b": B, "x": X, "y": Y, "i": PICTURES[0], "j": PICTURES[1]}.items():
        np.save(f"{name}.npy", values)
    np.savez("short.npz", cost=COST, measures=np.ones((2, 5)))
    return tmp_path


@pytest.fixture
def answer(folder, capsys):
    """Return the object that a command prints with ``--json``."""

    def ask(arguments, code=0):
        assert cli.main([*arguments.split(), "--json"]) == code
        out = capsys.readouterr().out
        assert out.count("\n") == 1
        return json.loads(out, parse_constant=pytest.fail)

    return ask


def table(text):
    return dict(re.split(r"\s{2,}", line, maxsplit=1) for line in text.splitlines())


def transport(cost, a, b):
    """The value of transport without entropy, by SciPy."""
    n, m = cost.shape
    sums = np.vstack([np.kron(np.eye(n), np.ones(m)), np.kron(np.ones(n), np.eye(m))])
    return linprog(cost.ravel(), A_eq=sums, b_eq=np.concatenate([a, b])).fun


def grid_cost():
    rows, cols = (np.arange(size) / size + 0.5 / size for size in PICTURES[0].shape)
    points = np.stack(np.meshgrid(rows, cols, indexing="ij"), axis=-1).reshape(-1, 2)
    return cdist(points, points, "sqeuclidean")


def test_assign_is_that_of_scipy(answer):
    rows, cols = linear_sum_assignment(COST)
    found = answer("assign cost.npy --output pairs.npy")
    assert found["cost"] == pytest.approx(COST[rows, cols].sum(), rel=1e-15)
    assert found["status"] == "optimal"
    assert found["pairs"] == 6
    np.testing.assert_array_equal(np.load("pairs.npy"), np.column_stack([rows, cols]))


def test_assign_of_points_the_other_way_round_and_with_a_limit(answer):
    distances = cdist(X, Y)
    rows, cols = linear_sum_assignment(distances, maximize=True)
    found = answer("assign --points x.npy y.npy --metric euclidean --maximize")
    assert found["cost"] == pytest.approx(distances[rows, cols].sum(), rel=1e-14)
    limited = answer("assign cost.npy --cost-limit 0.1")
    assert limited["pairs"] < 6
    assert limited["cost"] <= 0.1 * limited["pairs"]


def test_exact_is_a_linear_programme(answer):
    found = answer("exact cost.npy --a a.npy --b b.npy --output plan.npz")
    assert found["value"] == pytest.approx(transport(COST, A, B), rel=1e-12)
    with np.load("plan.npz") as saved:
        assert saved["mass"] @ COST[saved["row_ind"], saved["col_ind"]] == pytest.approx(found["value"], rel=1e-14)
        np.testing.assert_array_less(saved["f"][:, None] + saved["g"], COST + 1e-12)


def test_exact_of_points_and_of_pictures(answer):
    points = answer("exact --points x.npy y.npy --a a.npy --b b.npy")
    assert points["value"] == pytest.approx(transport(cdist(X, Y, "sqeuclidean"), A, B), rel=1e-12)
    a, b = (picture.ravel() / picture.sum() for picture in PICTURES)
    pictures = answer("exact --grid i.npy j.npy")
    assert pictures["shape"] == [30, 30]
    assert pictures["value"] == pytest.approx(transport(grid_cost(), a, b), rel=1e-10)


def test_partial_transport_carries_its_mass(answer):
    for command in ("exact cost.npy", "solve cost.npy --epsilon 0.05 --tol 1e-9"):
        assert answer(f"{command} --mass 0.4 --output plan.npy")["converged"]
        assert np.load("plan.npy").sum() == pytest.approx(0.4, rel=1e-8)


def test_divergence_is_that_of_the_library_from_all_it_is_given(answer):
    costs = cdist(X, Y, "sqeuclidean"), cdist(X, X, "sqeuclidean"), cdist(Y, Y, "sqeuclidean")
    np.savez("costs.npz", cost_xy=costs[0], cost_xx=costs[1], cost_yy=costs[2], a=A, b=B)
    for name, cost in zip(("xy", "xx", "yy"), costs, strict=True):
        np.save(f"{name}.npy", cost)
    expected = eot.divergence(*costs, A, B, epsilon=0.1, tol=1e-9)
    for given in ("costs.npz", "xy.npy xx.npy yy.npy --a a.npy --b b.npy", "--points x.npy y.npy --a a.npy --b b.npy"):
        found = answer(f"divergence {given} --epsilon 0.1 --tol 1e-9")
        assert found["value"] == pytest.approx(expected.value, abs=expected.gap + found["gap"] + 1e-12)
        parts = {name: part["value"] for name, part in found["terms"].items()}
        own = 0.5 * (parts["self_x"] + parts["self_y"])
        assert found["value"] == pytest.approx(parts["cross"] - own, abs=1e-8)


def test_divergence_of_a_picture_and_itself_is_0_and_blur_is_a_length(answer):
    assert answer("divergence --grid i.npy i.npy --epsilon 0.05")["value"] == 0
    by_blur, by_epsilon = (answer(f"divergence --grid i.npy j.npy {how}") for how in ("--blur 0.2", "--epsilon 0.04"))
    assert by_blur["epsilon"] == pytest.approx(0.04, rel=1e-15)
    assert by_blur["value"] == pytest.approx(by_epsilon["value"], rel=1e-9)


def test_divergence_saves_potentials_and_derivatives(answer):
    answer("divergence --points x.npy y.npy --epsilon 0.1 --tol 1e-10 --output out.npz")
    step = 1e-5
    ahead, behind = (eot.divergence(eot.PointCloud(X + h, Y), epsilon=0.1, tol=1e-10).value for h in (step, -step))
    with np.load("out.npz") as saved:
        assert saved["gradient_x"].sum() == pytest.approx((ahead - behind) / (2 * step), abs=1e-6)
        assert saved["f_cross"].shape == (6,)
        np.testing.assert_array_equal(saved["f_self_y"], saved["g_self_y"])


def test_barycenter_of_measures_on_one_cost_or_one_for_each(answer):
    measures = np.stack([A, A[::-1], np.full(6, 1 / 6)])
    np.savez("all.npz", cost=COST, measures=measures)
    np.savetxt("measures.csv", measures, delimiter=",")
    for k, measure in enumerate(measures):
        np.savetxt(f"m{k}.txt", measure)
    expected = eot.barycenter(COST, measures, [1, 2, 1], epsilon=0.05, tol=1e-11)
    for given in (
        "all.npz",
        "cost.npy --measures measures.csv",
        "cost.npy cost.npy cost.npy --measures m0.txt m1.txt m2.txt",
    ):
        found = answer(f"barycenter {given} --weights 1,2,1 --epsilon 0.05 --tol 1e-11 --output w.txt")
        assert found["measures"] == 3
        assert found["value"] == pytest.approx(expected.value, rel=1e-9)
        np.testing.assert_allclose(np.loadtxt("w.txt"), expected.weights, atol=1e-9)


def test_barycenter_of_pictures_is_a_picture(answer):
    found = answer("barycenter --grid i.npy j.npy --epsilon 0.02 --output mean.csv")
    mean = np.loadtxt("mean.csv", delimiter=",")
    images = [picture / picture.sum() for picture in PICTURES]
    expected = eot.barycenter(eot.Grid((5, 6)), images, epsilon=0.02)
    np.testing.assert_allclose(mean, np.reshape(expected.weights, (5, 6)), atol=1e-9)
    assert found["gap"] <= 1e-5
    answer("barycenter --grid i.npy j.npy --epsilon 0.02 --output mean.png")
    with Image.open("mean.png") as picture:
        np.testing.assert_array_equal(np.asarray(picture), np.rint(255 * mean / mean.max()))


def test_barycenter_of_one_picture_on_a_coarser_one_has_its_shape(answer):
    np.save("coarse.npy", np.ones((3, 3)))
    answer("barycenter --grid coarse.npy i.npy --epsilon 0.05 --output mean.npy")
    assert np.load("mean.npy").shape == (3, 3)


def test_barycenter_of_clouds_on_points_that_are_given_or_move(answer):
    np.savetxt("ends.txt", Y)
    answer("barycenter --points x.npy y.npy --support ends.txt --metric cityblock --epsilon 0.1 --output w.csv")
    written = np.loadtxt("w.csv", delimiter=",", skiprows=1)
    costs = [eot.PointCloud(points, Y, "cityblock") for points in (X, Y)]
    expected = eot.barycenter(costs, epsilon=0.1)
    np.testing.assert_allclose(written, np.column_stack([Y, expected.weights]), atol=1e-8)
    np.savez("x.npz", x=X, a=A)
    answer("barycenter --points x.npz y.npy --support ends.txt --epsilon 0.1 --output w.npz")
    weighted = eot.barycenter([eot.PointCloud(points, Y) for points in (X, Y)], [A, np.full(8, 1 / 8)], epsilon=0.1)
    with np.load("w.npz") as saved:
        np.testing.assert_allclose(saved["weights"], weighted.weights, atol=1e-8)
    found = answer("barycenter --points x.npy y.npy --free 3 --epsilon 0.02 --max-moves 500 --output free.npz")
    moved = eot.free_barycenter([X, Y], support=3, epsilon=0.02, max_moves=500)
    assert found["moves"] == moved.n_moves
    with np.load("free.npz") as saved:
        np.testing.assert_allclose(saved["support"], moved.support, atol=1e-9)


def test_a_gap_that_there_is_none_of_json_calls_null(answer):
    assert 0 <= answer("barycenter --grid i.npy i.npy --epsilon 0.02 --debiased")["gap"] < 1e-4
    relaxed = answer("barycenter --grid i.npy i.npy --epsilon 0.02 --debiased --rows kl:1")
    assert relaxed["gap"] is None
    assert relaxed["dual_value"] is None


@pytest.mark.parametrize(
    "arguments",
    [
        "divergence --points x.npy y.npy --epsilon 0.001 --max-iter 1 --tol 1e-12",
        "barycenter --grid i.npy j.npy --epsilon 0.001 --max-iter 1 --tol 1e-12",
        "barycenter --points x.npy y.npy --free 3 --epsilon 0.001 --max-moves 1",
    ],
)
def test_not_converged_is_exit_code_1_of_every_verb_and_what_there_is_is_written(answer, arguments):
    found = answer(f"{arguments} --output out.npz", code=1)
    with np.load("out.npz") as saved:
        assert saved["status"] == "max_iter"
    assert not found["converged"]
    assert found["status"] == "max_iter"


def test_without_a_proof_there_is_no_result(folder, capsys):
    assert cli.main("exact cost.npy --time-limit 1e-9 --output plan.csv".split()) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("elastic-ot: time_limit of 1e-09 s passed")
    assert not (folder / "plan.csv").exists()


def test_json_has_the_names_of_the_library(answer):
    found = answer("solve cost.npy --epsilon 0.1 --cols kl:1")
    solution = eot.solve(COST, epsilon=0.1, cols=eot.KL(1.0))
    for name in ("value", "transport_cost", "dual_value"):
        assert found[name] == pytest.approx(getattr(solution, name), rel=1e-12)
    for name in ("n_iter", "method", "message", "converged", "epsilon"):
        assert found[name] == getattr(solution, name)
    assert {"gap", "marginal_error", "residual", "seconds"} <= set(found)
    assert found["cols"] == repr(eot.KL(1.0))
    assert found["shape"] == [6, 8]


FORMATS = {
    "npy": lambda data: np.load(io.BytesIO(data)),
    "csv": lambda data: np.loadtxt(io.BytesIO(data), delimiter=","),
    "tsv": lambda data: np.loadtxt(io.BytesIO(data), delimiter="\t"),
    "txt": lambda data: np.loadtxt(io.BytesIO(data)),
    "npz": lambda data: np.load(io.BytesIO(data))["plan"],
}


@pytest.mark.parametrize("form", FORMATS)
def test_a_plan_is_written_in_every_format_to_the_last_digit(folder, capsysbinary, form):
    plan = eot.solve(COST, epsilon=0.1).plan
    assert cli.main(f"solve cost.npy --epsilon 0.1 --output plan.{form}".split()) == 0
    np.testing.assert_array_equal(FORMATS[form]((folder / f"plan.{form}").read_bytes()), plan)
    capsysbinary.readouterr()
    assert cli.main(f"solve cost.npy --epsilon 0.1 --output - --format {form}".split()) == 0
    captured = capsysbinary.readouterr()
    np.testing.assert_array_equal(FORMATS[form](captured.out), plan)
    assert b"status          converged" in captured.err


def test_json_goes_to_standard_error_beside_a_result(folder, capsysbinary):
    assert cli.main("assign cost.npy --output - --format csv --json".split()) == 0
    captured = capsysbinary.readouterr()
    assert captured.out.startswith(b"row,column\n0,")
    assert json.loads(captured.err.splitlines()[-1])["pairs"] == 6


def test_what_was_written_can_be_read_again(folder):
    assert cli.main("exact cost.npy --a a.npy --output plan.tsv".split()) == 0
    assert cli.main("solve plan.tsv --epsilon 1".split()) == 0


def test_binary_data_are_not_written_to_a_terminal(folder, capsys, monkeypatch):
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    assert cli.main("solve cost.npy --epsilon 0.1 --output -".split()) == 2
    assert "would write binary data to the terminal" in capsys.readouterr().err


@needs_bash
def test_a_pipe_is_written_into_and_not_replaced(folder):
    program = "import sys; from elastic_ot.cli.main import main; sys.exit(main(sys.argv[1:]))"
    words = [
        sys.executable,
        "-c",
        program,
        "assign",
        "cost.npy",
        "--output",
        "/dev/stdout",
        "--format",
        "csv",
        "--json",
    ]
    done = subprocess.run(words, capture_output=True, check=True, text=True)
    assert "row,column\n" in done.stdout


def test_a_chain_of_pipes(folder):
    """As users run it: text in, the plan out, and what is said of it apart."""
    command = [sys.executable, "-m", "elastic_ot"]
    text = "\n".join(" ".join(map(str, row)) for row in COST)
    words = [*command, "exact", "-", "--a", "a.npy", "--output", "-", "--format", "csv"]
    first = subprocess.run(words, input=text, capture_output=True, check=True, text=True)
    plan = np.loadtxt(io.StringIO(first.stdout), delimiter=",")
    np.testing.assert_allclose(plan.sum(axis=1), A, atol=1e-15)
    assert table(first.stderr[first.stderr.index("status") :])["status"] == "optimal"
    second = subprocess.run(
        [*command, "assign", "-", "--json"], input=first.stdout, capture_output=True, check=True, text=True
    )
    assert json.loads(second.stdout)["shape"] == [6, 8]


@needs_bash
def test_a_reader_that_has_gone_is_no_traceback(folder):
    command = f"{sys.executable} -m elastic_ot exact cost.npy --output - --format csv | true; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", command], capture_output=True, check=False, text=True)
    assert done.returncode in (0, 141)
    assert "Traceback" not in done.stderr
    assert "Exception" not in done.stderr


BAD = {
    "solve cost.npy --epsilon 1 --format csv": "--format csv: is that of --output",
    "solve cost.npy --epsilon 1 --output plan": "must end in .npz, .npy, .csv, .tsv or .txt, or --format say",
    "divergence --points x.npy y.npy --epsilon 1 --output d.csv": "--output d.csv: the name must end in .npz",
    "assign --grid i.npy j.npy": "unrecognized arguments: --grid",
    "assign": "give one of COST, --points X Y",
    "assign cost.npy --a a.npy": "--a",
    "exact cost.npy --rows kl:1": "is not linear",
    "exact cost.npy --a x.npy": "--a x.npy: has 2 dimensions, expected 1",
    "exact cost.npy --a b.npy": "--a b.npy: a has 8 entries",
    "divergence cost.npy --epsilon 1": "COST cost.npy: holds one matrix; give the costs within each cloud",
    "divergence cost.npy cost.npy --epsilon 1": "2 files of COST: give three, or one .npz file",
    "divergence --points x.npy y.npy": "give one of --epsilon E and --blur L",
    "divergence --points x.npy y.npy --epsilon 1 --blur 1": "give one of --epsilon E and --blur L",
    "divergence cost.npy cost.npy cost.npy --epsilon 1": "COST cost.npy: cost_xx",
    "divergence cost.npy cost.npy cost.npy --points x.npy y.npy --epsilon 1": "give one of",
    "divergence --epsilon 1": "give one of COST, --points X Y and --grid A B",
    "barycenter --epsilon 1": "give one of COST, --points X ... and --grid PICTURE ...",
    "barycenter cost.npy --epsilon 1": "pass the measures",
    "barycenter short.npz --epsilon 1": "COST short.npz: measures",
    "barycenter cost.npy --measures a.npy --epsilon 1": "--measures a.npy: has 1 dimensions, expected 2",
    "barycenter cost.npy --support x.npy --epsilon 1": "--support and --free: are for --points",
    "barycenter cost.npy --metric dot --epsilon 1": "--metric dot: is for --points and --grid",
    "barycenter --points x.npy y.npy --epsilon 1": "give one of --support FILE and --free FILE|M",
    "barycenter --points x.npy y.npy --free 3 --support x.npy --epsilon 1": "give one of --support FILE and --free",
    "barycenter --points x.npy y.npy --free 3 --debiased --epsilon 1": "--debiased: is not for points that move",
    "barycenter --points x.npy y.npy --free 99 --epsilon 1": "support is 99; draw between 1 and 14",
    "barycenter --points x.npy --free 3 --metric dot --epsilon 1": "--metric dot: points that move",
    "barycenter --points x.npy --support cost.npy --epsilon 1": "--points x.npy: x has shape (6, 2)",
    "barycenter --points x.npy --support y.npy --epsilon 1 --output w.png": "a picture is that of pictures",
    "barycenter --grid i.npy --measures a.npy --epsilon 1": "--measures: has no place beside --grid",
    "barycenter --grid i.npy a.npy --epsilon 1": "--grid: axes_x has 1 axes and axes_y has 2",
    "barycenter --grid i.npy j.npy --weights 1;2 --epsilon 1": "--weights 1;2: give numbers with commas",
    "barycenter --grid i.npy j.npy --weights 1,2,3 --epsilon 1": "weights",
    "help frobnicate": "invalid choice: 'frobnicate'",
    "completion tcsh": "invalid choice: 'tcsh'",
}


@pytest.mark.parametrize("arguments", BAD)
def test_bad_input_is_exit_code_2_and_one_line(folder, capsys, arguments):
    before = sorted(folder.iterdir())
    assert cli.main(arguments.split()) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("elastic-ot: ")
    assert captured.err.count("\n") == 1
    assert BAD[arguments] in captured.err
    assert sorted(folder.iterdir()) == before


def test_a_plan_too_large_for_text_is_refused_before_the_work(folder, capsys, monkeypatch):
    np.save("line.npy", np.zeros((4097, 1)))
    for command in ("solve --epsilon 1", "exact"):
        monkeypatch.setattr(eot, command.split()[0], lambda *_, **__: pytest.fail("the work was started"))
        assert cli.main(f"{command} --points line.npy line.npy --output plan.csv".split()) == 2
        assert "--output plan.csv: needs a whole plan" in capsys.readouterr().err


def test_a_picture_cannot_be_written_without_pillow(folder, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "PIL", None)
    monkeypatch.setitem(sys.modules, "PIL.Image", None)
    assert cli.main("barycenter --grid i.npy j.npy --epsilon 1 --output m.png".split()) == 2
    assert "--output m.png: writing pictures needs Pillow: pip install pillow" in capsys.readouterr().err


def test_a_standard_output_of_text_takes_no_bytes(folder, capsys, monkeypatch):
    monkeypatch.setattr(sys, "stdout", io.StringIO())
    assert cli.main("assign cost.npy --output - --format csv".split()) == 2
    assert "--output -: standard output is no stream of bytes here; give a file" in capsys.readouterr().err


def test_without_standard_input_it_is_empty(capsys, monkeypatch):
    for stdin in (None, SimpleNamespace(buffer=io.BytesIO())):
        monkeypatch.setattr(sys, "stdin", stdin)
        assert cli.main(["assign", "-"]) == 2
        assert "standard input is empty" in capsys.readouterr().err
