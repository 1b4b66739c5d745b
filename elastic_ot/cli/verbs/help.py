"""``elastic-ot help`` and ``elastic-ot completion``: what the parser knows of itself."""

from __future__ import annotations

import argparse
from typing import Any

from ..completion import SHELLS, script, verbs_of


def add_help(commands: Any) -> None:
    """Declare the command and its options."""
    parser = commands.add_parser("help", help="print the help of a command", description="Print the help of a command.")
    parser.add_argument(
        "verb", metavar="COMMAND", nargs="?", choices=list(commands.choices), help="(default: list them)"
    )
    parser.set_defaults(command=run_help)


def run_help(options: argparse.Namespace) -> int:
    """Print a help text."""
    parser = options.root if options.verb is None else verbs_of(options.root)[options.verb]
    parser.print_help()
    return 0


def add_completion(commands: Any) -> None:
    """Declare the command and its options."""
    parser = commands.add_parser(
        "completion",
        help="print a script that completes commands and options",
        description='Print a script for the completion of a shell. In bash: eval "$(elastic-ot completion bash)"; in '
        "zsh the same with zsh, after compinit; in fish: elastic-ot completion fish | source.",
    )
    parser.add_argument("shell", choices=SHELLS, help="the shell")
    parser.set_defaults(command=run_completion)


def run_completion(options: argparse.Namespace) -> int:
    """Print a script."""
    print(script(options.shell, options.root))
    return 0
