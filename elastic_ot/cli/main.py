"""The ``elastic-ot`` command: its commands are the modules of ``verbs``.

Exit codes: 0 converged, 1 not converged, 2 bad input (one line on stderr), 130 interrupted, 141 nobody reads the
standard output any more. Whatever can be wrong with a file or an option is found before the solve starts.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from typing import NoReturn

import elastic_ot as eot

from .errors import BadInput
from .files import readers_of
from .log import shown_on_stderr
from .options import EXIT_CODES
from .verbs.assign import add_assign
from .verbs.barycenter import add_barycenter
from .verbs.compile import add_compile
from .verbs.demo import add_demo
from .verbs.divergence import add_divergence
from .verbs.exact import add_exact
from .verbs.help import add_completion, add_help
from .verbs.solve import add_solve


class Parser(argparse.ArgumentParser):
    """argparse, with a bad option reported like any other bad input."""

    def error(self, message: str) -> NoReturn:
        """Raise instead of printing the usage and exiting."""
        raise BadInput(f"{message} (see {self.prog} --help)")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command on ``argv`` (default ``sys.argv[1:]``) and return the exit code."""
    code = 2
    try:
        options = build_parser().parse_args(argv)
        _refuse_two_readers(options)
        command: Callable[[argparse.Namespace], int] = options.command
        with shown_on_stderr():
            code = command(options)
        sys.stdout.flush()
        return code
    except BadInput as error:
        message = " ".join(str(error).split())
    except eot.ConvergenceError as error:
        message, code = " ".join(str(error).split()), 1
    except MemoryError:
        message = "not enough memory for this problem; points and pictures need no matrix (--points, --grid)"
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or Python complains when it ends
        return 141
    except OSError as error:
        message = f"{error.filename or 'output'}: {error.strerror or error}"
    except eot.RankError:
        return 2  # the process that has failed says why
    except KeyboardInterrupt:
        print("elastic-ot: interrupted", file=sys.stderr)
        return 130
    print(f"elastic-ot: {message}", file=sys.stderr)
    return code


def build_parser() -> Parser:
    """Declare the commands and their options."""
    parser = Parser(
        prog="elastic-ot",
        description="Entropic optimal transport with elastic marginals.",
        epilog=f"{EXIT_CODES} Options of a command: elastic-ot help COMMAND.",
    )
    parser.add_argument("--version", action="version", version=f"elastic-ot {eot.__version__}")
    parser.set_defaults(root=parser, command=_print_help)
    commands = parser.add_subparsers(title="commands", metavar="COMMAND")
    add_solve(commands)
    add_assign(commands)
    add_exact(commands)
    add_divergence(commands)
    add_barycenter(commands)
    add_demo(commands)
    add_compile(commands)
    add_completion(commands)
    add_help(commands)
    return parser


def _print_help(options: argparse.Namespace) -> int:
    """``elastic-ot`` alone."""
    options.root.print_help()
    return 0


def _refuse_two_readers(options: argparse.Namespace) -> None:
    """Standard input can be read once."""
    if readers_of(options) > 1:
        raise BadInput("-: standard input can be read once; give one of the files by its name")
