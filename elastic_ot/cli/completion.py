"""Scripts by which shells complete commands, options and their values, written from the parser itself."""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from .files import FileName


@dataclass(frozen=True)
class Argument:
    """An option, or what a command takes beside its options."""

    names: tuple[str, ...]
    """Of an option, such as ``--help``; none of a positional."""
    count: int
    """How many values follow it, as far as they are told apart."""
    words: tuple[str, ...]
    files: bool
    label: str
    text: str


BREAK = re.compile(r"; |: | \((?!\d)")
ROOT_OPTIONS = {"--help": "show a help message and exit", "--version": "print the version and exit"}
Verbs = dict[str, tuple[str, list[Argument]]]
"""What a command is for and what it takes, by its name."""


def verbs_of(root: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    """Return the parsers of the commands."""
    return dict(_commands(root).choices)


def script(shell: str, root: argparse.ArgumentParser) -> str:
    """Return the script of a shell."""
    texts = {action.dest: action.help or "" for action in _commands(root)._choices_actions}
    verbs = {name: (texts[name], list(_arguments(parser))) for name, parser in verbs_of(root).items()}
    return SHELLS[shell](verbs)


def _commands(root: argparse.ArgumentParser) -> argparse._SubParsersAction[argparse.ArgumentParser]:
    # argparse has no public way to look at what was declared.
    return next(action for action in root._actions if isinstance(action, argparse._SubParsersAction))


def _arguments(parser: argparse.ArgumentParser) -> Iterator[Argument]:
    formatter = parser._get_formatter()
    for action in parser._actions:
        label = action.metavar[0] if isinstance(action.metavar, tuple) else action.metavar or action.dest.upper()
        words: Any = action.choices or getattr(action.type, "words", ())
        yield Argument(
            names=tuple(action.option_strings),
            count=action.nargs if isinstance(action.nargs, int) else 1,
            words=tuple(map(str, words)),
            files=action.type is FileName,
            label=label,
            text=_brief(formatter._expand_help(action)),
        )


def _brief(text: str) -> str:
    """Return a help text up to its first break; one that is nothing but a default without its parentheses."""
    return text.strip("()") if text.startswith("(") else BREAK.split(text, maxsplit=1)[0]


def _bash(verbs: Verbs) -> str:
    lines = [
        "_elastic_ot() {",
        "    local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]} words= files=",
        "    COMPREPLY=()",
        '    case "$COMP_CWORD ${COMP_WORDS[1]}" in',
        f'    "1 "*) words="{" ".join([*verbs, *ROOT_OPTIONS])}" ;;',
    ]
    for verb, (_, arguments) in verbs.items():
        lines += [f'    *" {verb}")', '        case "$cur $prev" in']
        options = [one for one in arguments if one.names]
        patterns: dict[str, list[str]] = {}
        for one in options:
            if one.count:
                patterns.setdefault(_bash_values([one]), []).extend(f'*" {name}"' for name in one.names)
        lines += [f"        {'|'.join(pattern)}) {values};;" for values, pattern in patterns.items()]
        names = " ".join(name for one in options for name in one.names)
        lines += [
            f'        -*) words="{names}" ;;',
            f"        *) {_bash_values([one for one in arguments if not one.names])};;",
            "        esac ;;",
        ]
    lines += [
        "    esac",
        "    local IFS=$' \\t\\n'",
        '    [ -z "$words" ] || COMPREPLY=( $(compgen -W "$words" -- "$cur") )',
        '    [[ "${COMPREPLY[0]-}" != *: ]] || compopt -o nospace 2>/dev/null',
        "    IFS=$'\\n'",
        '    [ -z "$files" ] || { COMPREPLY+=( $(compgen -f -- "$cur") ); compopt -o filenames 2>/dev/null; }',
        "    return 0",
        "}",
        "complete -F _elastic_ot elastic-ot",
    ]
    return "\n".join(lines)


def _bash_values(arguments: list[Argument]) -> str:
    words = [word for one in arguments for word in one.words]
    files = any(one.files for one in arguments)
    return (f'words="{" ".join(words)}" ' if words else "") + ("files=1 " if files else "")


def _zsh(verbs: Verbs) -> str:
    lines = [
        "#compdef elastic-ot",
        "_elastic_ot() {",
        "    local -a verbs",
        "    verbs=(",
        *(f"        {_quoted(f'{verb}:{text}')}" for verb, (text, _) in verbs.items()),
        "    )",
        "    local -a options",
        "    options=(",
        *(f"        {_quoted(f'{name}:{text}')}" for name, text in ROOT_OPTIONS.items()),
        "    )",
        "    if (( CURRENT == 2 )); then",
        "        if [[ $words[2] == -* ]]; then",
        "            _describe -t options option options",
        "        else",
        "            _describe -t commands command verbs",
        "        fi",
        "        return",
        "    fi",
        "    shift words",
        "    (( CURRENT-- ))",
        '    case "$words[1]" in',
    ]
    for verb, (_, arguments) in verbs.items():
        specs = " \\\n            ".join(_zsh_spec(one, name) for one in arguments for name in one.names or ("*",))
        lines += [f"    {verb})", f"        _arguments {specs} ;;"]
    return "\n".join([*lines, "    esac", "}", "compdef _elastic_ot elastic-ot"])


def _zsh_spec(argument: Argument, name: str) -> str:
    def plain(text: str) -> str:
        return "".join(f"\\{letter}" if letter in "[]:\\" else letter for letter in text)

    open_ended = [word for word in argument.words if word.endswith(":")]  # something follows without a space
    values = "_files" if argument.files else f"({plain(' '.join(argument.words))})" if argument.words else " "
    if open_ended:
        whole = " ".join(word for word in argument.words if word not in open_ended)
        values = "{" + plain(f"compadd -- {whole}; compadd -S '' -- {' '.join(open_ended)}") + "}"
    text = f"[{plain(argument.text)}]" if argument.names else ""
    return _quoted(name + text + f":{plain(argument.label)}:{values}" * argument.count)


def _fish(verbs: Verbs) -> str:
    lines = ["complete -c elastic-ot -f"]
    for name, text in ROOT_OPTIONS.items():
        lines.append(f"complete -c elastic-ot -n __fish_use_subcommand -l {name[2:]} -d {_quoted(text)}")
    for verb, (text, arguments) in verbs.items():
        lines.append(f"complete -c elastic-ot -n __fish_use_subcommand -a {verb} -d {_quoted(text)}")
        for one in arguments:
            start = f"complete -c elastic-ot -n '__fish_seen_subcommand_from {verb}'"
            names = "".join(f" -l {n[2:]}" if n.startswith("--") else f" -s {n[1:]}" for n in one.names)
            takes = "" if not one.count or not one.names else " -r" if one.files else " -x"
            values = " -F" if one.files else f" -a {_quoted(' '.join(one.words))}" if one.words else ""
            if names or values:
                lines.append(f"{start}{names}{takes}{values} -d {_quoted(one.text)}")
    return "\n".join(lines)


def _quoted(text: str) -> str:
    """Return a word of zsh and fish."""
    return "'" + text.replace("'", "'\\''") + "'"


SHELLS: dict[str, Callable[[Verbs], str]] = {"bash": _bash, "zsh": _zsh, "fish": _fish}
