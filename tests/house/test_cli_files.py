"""What the command line reads: text as people write it, standard input, and what lies beside a cost."""

import io
import sys
from types import SimpleNamespace

import numpy as np
import pytest

import elastic_ot as eot
from elastic_ot.cli import main as cli
from elastic_ot.cli.files import opened
from elastic_ot.cli.text import WrongText, read_table

COST = np.array([[1.0, 4.0, 6.0], [5.0, 2.0, 3.0]])
SHARES, TARGETS = np.array([0.6, 0.4]), np.array([0.5, 0.3, 0.2])
MASK = np.array([[1, 0, 1], [1, 1, 1]])


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def pipe(monkeypatch):
    """Put bytes where standard input is read."""
    return lambda data: monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(data)))


def bytes_of(save, *arrays, **named):
    held = io.BytesIO()
    save(held, *arrays, **named)
    return held.getvalue()


SPELLINGS = {
    "commas": "1,4,6\n5,2,3\n",
    "commas and blanks": "1, 4, 6\n5 ,2 , 3\n",
    "semicolons": "1;4;6\n5;2;3\n",
    "tabs": "1\t4\t6\n5\t2\t3",
    "blanks": "  1  4 6\n5 2 3\n",
    "names": "near,far,farther\n1,4,6\n5,2,3\n",
    "names in quotes with commas": '"near, very","far","farther"\n1,4,6\n5,2,3\n',
    "names over blanks": "near far farther\n1 4 6\n5 2 3\n",
    "numbers in quotes": '"1","4","6"\n"5","2","3"\n',
    "comments and empty lines": "# costs\n\n1,4,6  # first\n\n5,2,3\n",
    "Windows": "1,4,6\r\n5,2,3\r\n",
    "byte order mark": "\ufeffnear,far,farther\n1,4,6\n5,2,3\n",
    "exponents": "1e0,+4.,60e-1\n5,2,3\n",
}


@pytest.mark.parametrize("text", SPELLINGS.values(), ids=SPELLINGS)
def test_a_table_is_read_however_it_is_written(text):
    np.testing.assert_array_equal(read_table(text.encode()), COST)


@pytest.mark.parametrize("text", ["0.6\n0.4\n", "weight\n0.6\n0.4\n", "0.6 0.4", "share, in all\n0.6\n0.4"])
def test_weights_are_a_line_or_a_column(folder, text):
    (folder / "a.txt").write_text(text)
    np.testing.assert_array_equal(opened("--a", "a.txt").array("a", ndim=1), SHARES)


def test_infinity_is_a_number_and_no_name():
    np.testing.assert_array_equal(read_table(b"inf,1\n2,-inf\n"), [[np.inf, 1], [2, -np.inf]])


def test_a_single_line_of_numbers_is_no_line_of_names():
    np.testing.assert_array_equal(read_table(b"1;2;3"), [[1, 2, 3]])


WRONG = {
    "1,2\n3,x\n": "line 2, column 2: 'x' is not a number; write numbers",
    "near,far\n1,2\n3,x\n": "line 3, column 2 (far): 'x' is not a number",
    "# note\n\n1,2\n3,\n": "line 4, column 2: is empty; every cell needs a number",
    "1;2\n3;4,5\n": "line 2, column 2: '4,5' has a decimal comma; write 4.5",
    "1,5\t2\n3\t4\n": "line 1, column 1: '1,5' has a decimal comma; write 1.5",
    "1,2\n3\n": "line 2 has 1 number, and line 1 has 2",
    "1,2\n3,4,5\n": "line 2 has 3 numbers, and line 1 has 2",
    "x,1\n2,3\n": "line 1, column 1: 'x' is not a number",
    "a b c\n1 2\n": "line 1, column 1: 'a' is not a number",
    "1e5,2\n3\n": "line 2 has 1 number, and line 1 has 2",
    "1,5e2\n3\n": "line 2 has 1 number, and line 1 has 2",
    "1_0,2\n3,4\n": "line 1, column 1: '1_0' is not a number",
    ",0,1\n0,5,6\n1,7,8\n": "line 1, column 1: has no name, as over the numbers of rows; leave these out",
    "near,far\n": "it holds a line of names and no numbers below",
    "# nothing\n\n": "it is empty",
    "": "it is empty",
    "1," + "9" * 20 + "x" * 100: "line 1, column 2: '99999999999999999999xxxxxxxxxx...' is not a number",
}


@pytest.mark.parametrize("text", WRONG)
def test_a_wrong_cell_is_named_by_line_and_column(text):
    with pytest.raises(WrongText) as caught:
        read_table(text.encode())
    assert str(caught.value).startswith(WRONG[text])


def test_text_in_another_encoding_is_refused_with_its_line():
    with pytest.raises(WrongText, match="line 2: is not UTF-8 text; save the table as UTF-8"):
        read_table("Nähe\n".encode() + b"\xe9\n")
    with pytest.raises(WrongText, match="UTF-8"):
        read_table("1,2".encode("utf-16"))


PIPED = {"npy": bytes_of(np.save, COST), "npz": bytes_of(np.savez, COST), "text": b"near far farther\n1 4 6\n5 2 3\n"}


@pytest.mark.parametrize("data", PIPED.values(), ids=PIPED)
def test_standard_input_is_known_by_its_content(pipe, data):
    pipe(data)
    np.testing.assert_array_equal(opened("COST", "-").array("cost", ndim=2), COST)


@pytest.mark.parametrize("data", PIPED.values(), ids=PIPED)
def test_so_is_a_file_whose_name_has_no_ending(folder, data):
    (folder / "cost").write_bytes(data)
    np.testing.assert_array_equal(opened("COST", "cost").array("cost", ndim=2), COST)


def test_a_picture_comes_through_standard_input(pipe):
    from PIL import Image

    held = io.BytesIO()
    Image.fromarray(np.array([[1, 2], [3, 4]], np.uint8)).save(held, format="PNG")
    pipe(held.getvalue())
    np.testing.assert_array_equal(opened("--grid", "-", pictures=True).picture("a"), np.array([[1, 2], [3, 4]]) / 10)


def test_a_solve_of_standard_input_is_that_of_its_cost(folder, pipe, capsys):
    np.savetxt("a.csv", SHARES)
    pipe(PIPED["text"])
    assert cli.main("solve - --a a.csv --epsilon 0.5 --output out.npz".split()) == 0
    assert capsys.readouterr().out.startswith("status          converged")
    with np.load("out.npz") as saved:
        np.testing.assert_allclose(saved["plan"], eot.solve(COST, SHARES, epsilon=0.5).plan, rtol=1e-12)


def test_weights_and_mask_lie_in_the_file_of_the_cost(folder, capsys):
    np.savez("all.npz", cost=COST, a=SHARES, b=TARGETS, mask=MASK)
    assert cli.main("exact all.npz --output plan.csv".split()) == 0
    plan = np.loadtxt("plan.csv", delimiter=",")
    np.testing.assert_allclose(plan.sum(axis=1), SHARES, atol=1e-15)
    np.testing.assert_allclose(plan.sum(axis=0), TARGETS, atol=1e-15)
    assert plan[0, 1] == 0


def test_they_do_through_standard_input_and_whatever_the_cost_is_called(pipe, folder):
    pipe(bytes_of(np.savez, distances=COST, a=SHARES, b=TARGETS))
    assert cli.main("exact - --output plan.csv".split()) == 0
    np.testing.assert_allclose(np.loadtxt("plan.csv", delimiter=",").sum(axis=1), SHARES, atol=1e-15)


def test_an_option_is_stronger_than_what_lies_beside_the_cost(folder):
    np.savez("all.npz", cost=COST, a=SHARES, b=TARGETS)
    np.save("a.npy", [0.3, 0.7])
    assert cli.main("exact all.npz --a a.npy --output plan.csv".split()) == 0
    np.testing.assert_allclose(np.loadtxt("plan.csv", delimiter=",").sum(axis=1), [0.3, 0.7], atol=1e-15)


def test_weights_of_points_lie_beside_them(folder):
    np.savez("x.npz", x=[[0.0], [1.0]], a=SHARES)
    np.savez("y.npz", y=[[0.0], [1.0], [2.0]], b=TARGETS)
    assert cli.main("exact --points x.npz y.npz --output plan.csv".split()) == 0
    np.testing.assert_allclose(np.loadtxt("plan.csv", delimiter=",").sum(axis=0), TARGETS, atol=1e-15)


def test_a_mask_beside_a_cost_is_checked_like_one_of_its_own(folder, capsys):
    np.savez("all.npz", cost=COST, mask=2 * MASK)
    assert cli.main("solve all.npz --epsilon 1".split()) == 2
    assert capsys.readouterr().err == "elastic-ot: COST all.npz: entry [0, 0] is 2; a mask holds 0 and 1\n"


REFUSED = {
    "solve - --epsilon 1": (b"", "COST -: standard input is empty"),
    "solve - --a - --epsilon 1": (b"1,2\n", "-: standard input can be read once"),
    "divergence - - - --epsilon 1": (b"1,2\n", "-: standard input can be read once"),
    "solve - --epsilon 1 --tol 1": (b"\x89PNG\r\n\x1a\n\0", "COST -: is neither .npy nor .npz nor text"),
    "assign - --time-limit 1": (b"1,2\n3;x\n", "COST -: line 1, column 1: '1,2' has a decimal comma"),
    "solve - --epsilon 2": (PIPED["npy"][:-8], "COST -: not a readable .npy file"),
    "exact - --cols free": (b"1,2\n3,nan\n", "COST -: cost[1, 1] is nan"),
}


@pytest.mark.parametrize("arguments", REFUSED)
def test_wrong_standard_input_is_one_line(pipe, capsys, arguments):
    data, said = REFUSED[arguments]
    pipe(data)
    assert cli.main(arguments.split()) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    assert captured.err.startswith(f"elastic-ot: {said}")
