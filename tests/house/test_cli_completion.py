"""Completion in shells, as a user has it: the printed script is read by the shell and asked."""

import os
import shutil
import subprocess

import pytest

from elastic_ot.cli import main as cli
from elastic_ot.cli.completion import _brief, verbs_of
from elastic_ot.cli.options import KIND_BY_WORD
from elastic_ot.solvers.methods import METHODS

needs_bash = pytest.mark.skipif(os.name == "nt" or shutil.which("bash") is None, reason="there is no bash")


@pytest.fixture
def complete(tmp_path, capsys):
    """Return what bash offers for the last word of a line."""
    assert cli.main(["completion", "bash"]) == 0
    (tmp_path / "script.bash").write_text(capsys.readouterr().out)
    folder = tmp_path / "files"
    (folder / "inner").mkdir(parents=True)
    (folder / "cost.npy").touch()
    (folder / "two words.csv").touch()

    def ask(line):
        words = line.split(" ")
        program = (
            f"source ../script.bash; COMP_WORDS=({' '.join(map(repr, words))}); COMP_CWORD={len(words) - 1}; "
            'set -u; _elastic_ot; [ ${#COMPREPLY[@]} -eq 0 ] || printf "%s\\n" "${COMPREPLY[@]}"'
        )
        done = subprocess.run(["bash", "-c", program], cwd=folder, capture_output=True, text=True, check=True)
        assert done.stderr == ""
        return done.stdout.splitlines()

    return ask


@needs_bash
def test_verbs_are_offered_first(complete):
    assert {"solve", "assign", "exact", "divergence", "barycenter", "help"} <= set(complete("elastic-ot "))
    assert complete("elastic-ot so") == ["solve"]
    assert complete("elastic-ot --v") == ["--version"]


@needs_bash
def test_options_are_those_of_the_verb(complete):
    assert complete("elastic-ot solve --relax") == ["--relaxation"]
    assert complete("elastic-ot assign --relax") == []
    assert complete("elastic-ot assign cost.npy --max") == ["--maximize"]


@needs_bash
def test_every_option_of_every_verb_is_offered(complete):
    for verb, parser in verbs_of(cli.build_parser()).items():
        names = {name for action in parser._actions for name in action.option_strings}
        assert set(complete(f"elastic-ot {verb} -")) == names


@needs_bash
def test_values_are_the_choices_of_the_option(complete):
    assert complete("elastic-ot solve cost.npy --method ") == ["auto", *METHODS]
    assert complete("elastic-ot barycenter cost.npy --method l") == ["log"]
    assert [word.rstrip(":") for word in complete("elastic-ot exact --rows ")] == list(KIND_BY_WORD)
    assert complete("elastic-ot completion f") == ["fish"]
    assert complete("elastic-ot help div") == ["divergence"]


@needs_bash
def test_files_are_offered_where_files_are_meant(complete):
    assert sorted(complete("elastic-ot solve ")) == ["cost.npy", "inner", "two words.csv"]
    assert complete("elastic-ot solve --a co") == ["cost.npy"]
    assert complete("elastic-ot solve --points cost.npy two") == ["two words.csv"]
    assert complete("elastic-ot solve --tol ") == []
    assert complete("elastic-ot solve --output in") == ["inner"]


@needs_bash
def test_bash_has_the_function_as_the_completion_of_the_command(complete, tmp_path):
    program = f"source {tmp_path / 'script.bash'}; complete -p elastic-ot"
    done = subprocess.run(["bash", "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "complete -F _elastic_ot elastic-ot\n"


@pytest.mark.parametrize(("shell", "option"), [("bash", "-n"), ("zsh", "-n"), ("fish", "--no-execute")])
def test_a_script_is_one_of_its_shell(tmp_path, capsys, shell, option):
    assert cli.main(["completion", shell]) == 0
    script = capsys.readouterr().out
    for word in ("barycenter", "cost-limit", "epsilon_scaling"):
        assert word in script
    if shutil.which(shell) is None:
        pytest.skip(f"there is no {shell}")
    (tmp_path / "script").write_text(script)
    done = subprocess.run([shell, option, str(tmp_path / "script")], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.fixture
def offers(tmp_path, capsys):
    """Return what fish offers at the end of a line; zsh completes in its editor only, which a test cannot wait for."""
    if shutil.which("fish") is None:
        pytest.skip("there is no fish")
    assert cli.main(["completion", "fish"]) == 0
    script = tmp_path / "script"
    script.write_text(capsys.readouterr().out)
    (tmp_path / "files/inner").mkdir(parents=True)
    (tmp_path / "files/cost.npy").touch()

    def ask(line):
        command = ["fish", "-N", "-c", f"source {script}; complete -C {line!r}"]
        done = subprocess.run(command, cwd=tmp_path / "files", capture_output=True, text=True, check=True, timeout=60)
        return {one.partition("\t")[0].rstrip("/") for one in done.stdout.splitlines()}

    return ask


def test_fish_offers_verbs_options_values_and_files(offers):
    assert {"solve", "assign", "exact", "divergence", "barycenter", "help"} <= offers("elastic-ot ")
    assert offers("elastic-ot --v") == {"--version"}
    assert offers("elastic-ot solve --relax") == {"--relaxation"}
    assert offers("elastic-ot assign --relax") == set()
    assert offers("elastic-ot solve cost.npy --method ") == {"auto", *METHODS}
    assert {word.rstrip(":") for word in offers("elastic-ot exact --rows ")} == set(KIND_BY_WORD)
    assert offers("elastic-ot help div") == {"divergence"}
    assert offers("elastic-ot solve ") == {"cost.npy", "inner"}
    assert offers("elastic-ot solve --a co") == {"cost.npy"}
    assert offers("elastic-ot solve --tol ") == set()


def test_texts_beside_options_end_where_a_clause_does():
    assert _brief("in (0, 2), or auto (default: 1)") == "in (0, 2), or auto"
    assert _brief("one of fixed, kl:RHO (default: fixed)") == "one of fixed, kl:RHO"
    assert _brief("(default: auto)") == "default: auto"
    assert _brief("cost matrix, n x m; inf forbids a cell") == "cost matrix, n x m"
