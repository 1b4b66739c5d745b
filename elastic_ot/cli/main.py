"""The ``elastic-ot`` command: solve a problem read from files, run the demonstration, or compile beforehand.

Exit codes: 0 converged, 1 not converged, 2 bad input (one line on stderr), 130 interrupted. Whatever can be
wrong with a file or an option is found before the solve starts.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np

import elastic_ot as eot

from .files import BadInput
from .precompile import add_compile, shown_on_stderr
from .problem import add_problem, check_drawable, parse_epsilon, read_problem
from .processes import Alone, this_process

if TYPE_CHECKING:
    from ..problems.penalty import Penalty
    from ..solutions.solution import Solution

PENALTIES = "fixed, kl:RHO, tv:RHO, l2:RHO, between:LO:HI, atmost, free, elastic:LAM"
SAVED = (
    *("f", "g", "plan", "row_marginal", "col_marginal", "transport_cost", "value", "dual_value", "gap"),
    *("marginal_error", "epsilon", "n_iter", "converged", "method"),
)
METHOD_CHOICES = "auto, scaling, stabilized, log, epsilon_scaling, newton"


class Parser(argparse.ArgumentParser):
    """argparse, with a bad option reported like any other bad input."""

    def error(self, message: str) -> NoReturn:
        """Raise instead of printing the usage and exiting."""
        raise BadInput(f"{message} (see {self.prog} --help)")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command on ``argv`` (default ``sys.argv[1:]``) and return the exit code."""
    try:
        options = build_parser().parse_args(argv)
        command: Callable[[argparse.Namespace], int] = options.command
        with shown_on_stderr():
            return command(options)
    except BadInput as error:
        message = " ".join(str(error).split())
    except MemoryError:
        message = "not enough memory for this problem"
    except OSError as error:
        message = f"{error.filename or 'output'}: {error.strerror or error}"
    except eot.RankError:
        return 2  # the process that has failed says why
    except KeyboardInterrupt:
        print("elastic-ot: interrupted", file=sys.stderr)
        return 130
    print(f"elastic-ot: {message}", file=sys.stderr)
    return 2


def build_parser() -> Parser:
    """Declare the commands and their options."""
    parser = Parser(
        prog="elastic-ot",
        description="Entropic optimal transport with elastic marginals.",
        epilog="Exit code: 0 converged, 1 not converged, 2 bad input.",
    )
    parser.add_argument("--version", action="version", version=f"elastic-ot {eot.__version__}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="{solve,demo,compile}")

    solve = commands.add_parser(
        "solve",
        help="solve a problem read from files",
        description="Solve one problem and print its result: of a cost matrix, of points, or of two pictures. Files "
        "are .npy, .npz (the array named like the option, or the only one) or .csv (comma-separated numbers, no "
        "header).",
        epilog="Exit code: 0 converged, 1 not converged, 2 bad input.",
    )
    add_problem(solve)
    solve.add_argument(
        "--epsilon",
        metavar="E",
        required=True,
        help="strength of the entropy, in units of the cost; with a final x (0.01x) as a fraction of "
        "max - min of the finite costs",
    )
    solve.add_argument("--rows", metavar="PENALTY", default="fixed", help=f"one of {PENALTIES} (default: fixed)")
    solve.add_argument("--cols", metavar="PENALTY", default="fixed", help="the same for the columns")
    solve.add_argument("--reference", default="product", help="product (default) or counting")
    solve.add_argument("--method", default="auto", help=f"one of {METHOD_CHOICES} (default: auto)")
    solve.add_argument(
        "--relaxation", type=parse_relaxation, default=1.0, metavar="W", help="in (0, 2), or auto (default: 1)"
    )
    solve.add_argument("--tol", type=float, default=1e-6, help="tolerance (default: 1e-6)")
    solve.add_argument("--max-iter", type=int, default=10_000, metavar="N", help="(default: 10000)")
    solve.add_argument("--time-limit", type=float, metavar="S", help="seconds (default: none)")
    solve.add_argument(
        "--output", metavar="NPZ", help="save f, g, plan (of points and pictures if small), marginals and scalars"
    )
    solve.add_argument("--plot", metavar="PICTURE", help="save the picture of the plan (.png, .pdf, .svg, ...)")
    solve.add_argument("--progress", action="store_true", help="show a progress bar (needs tqdm)")
    solve.set_defaults(command=run_solve)

    demo = commands.add_parser(
        "demo",
        help="recolour a photograph with the palette of another",
        description="Colour transfer between two photographs shipped with the package: balanced, elastic and "
        "with capacities. Prints a table and saves a picture.",
    )
    demo.add_argument("--output", metavar="PICTURE", default="elastic-ot-demo.png", help="(default: %(default)s)")
    demo.add_argument("--no-plot", action="store_true", help="print the table only")
    demo.set_defaults(command=run_demo)
    add_compile(commands)
    return parser


def run_solve(options: argparse.Namespace) -> int:
    """``elastic-ot solve``."""
    process = this_process()
    cost: Any = None
    a: Any = None
    b: Any = None
    mask: Any = None
    rows, cols = parse_penalty("--rows", options.rows), parse_penalty("--cols", options.cols)
    with process.ranks.noting():
        cost, a, b, mask = prepared(options, process)
    process.ranks.check()
    epsilon = parse_epsilon(options.epsilon, cost, process.ranks)
    start = time.perf_counter()
    try:
        solution = eot.solve(
            cost,
            a,
            b,
            epsilon=epsilon,
            rows=rows,
            cols=cols,
            reference=options.reference,
            mask=mask,
            method=options.method,
            relaxation=options.relaxation,
            tol=options.tol,
            max_iter=options.max_iter,
            time_limit=options.time_limit,
            progress=options.progress and process.first,
            on_failure="ignore",
            comm=process.comm,
        )
    except (ValueError, TypeError, ImportError) as error:
        if not process.first:
            return 2
        raise BadInput(str(error)) from error
    if process.first:
        print(result_table(solution, time.perf_counter() - start))
    if options.output is not None:
        save_solution(solution, Path(options.output), process)
    if options.plot is not None:
        solution.plot().savefig(options.plot, dpi=150)
    return 0 if solution.converged else 1


def prepared(options: argparse.Namespace, process: Alone) -> tuple[Any, Any, Any, Any]:
    """Return cost, weights and mask of the own rows; whatever is wrong with a file is found here."""
    if options.output is not None:
        if Path(options.output).suffix != ".npz":
            raise BadInput(f"--output {options.output}: the name must end in .npz")
        check_writable("--output", str(process.part(Path(options.output))))
    if options.plot is not None:
        if process.comm is not None:
            raise BadInput("--plot: draws a whole plan, and mpiexec has split its rows; start it without")
        check_picture("--plot", options.plot)
    found = read_problem(options, None if process.comm is None else process.own)
    if options.plot is not None:
        check_drawable(found[0])
    return found


def run_demo(options: argparse.Namespace) -> int:
    """``elastic-ot demo``."""
    from . import demo

    if options.no_plot:
        return demo.run(None)
    if find_spec("matplotlib") is None:
        code = demo.run(None)
        print('For the picture: pip install "elastic-ot[plot]", then run elastic-ot demo again.')
        return code
    check_picture("--output", options.output)
    return demo.run(Path(options.output))


def parse_penalty(option: str, text: str) -> Penalty:
    """Read ``kl:0.5`` and its like into a penalty."""
    kinds: dict[str, tuple[Callable[..., Penalty], int]] = {
        "fixed": (eot.Fixed, 0),
        "kl": (eot.KL, 1),
        "tv": (eot.TV, 1),
        "l2": (eot.L2, 1),
        "between": (eot.Between, 2),
        "atmost": (eot.AtMost, 0),
        "free": (eot.Free, 0),
        "elastic": (eot.Elastic, 1),
    }
    name, *strengths = text.split(":")
    if name.lower() not in kinds:
        raise BadInput(f"{option} {text}: no such penalty; choose from {PENALTIES}")
    kind, count = kinds[name.lower()]
    if len(strengths) != count:
        raise BadInput(f"{option} {text}: {name} takes {count} number(s), got {len(strengths)}; see {PENALTIES}")
    try:
        return kind(*(float(strength) for strength in strengths))
    except (ValueError, TypeError) as error:
        raise BadInput(f"{option} {text}: {error}") from error


def parse_relaxation(text: str) -> float | str:
    """Read a number or the word auto; anything else is left for `solve` to refuse."""
    try:
        return float(text)
    except ValueError:
        return text


def check_writable(option: str, name: str) -> None:
    """Open the file for appending, and remove it again if it was not there."""
    existed = os.path.lexists(name)
    try:
        with open(name, "ab"):
            pass
    except OSError as error:
        raise BadInput(f"{option} {name}: cannot be written: {error.strerror or error}") from error
    if not existed:
        os.remove(name)


def check_picture(option: str, name: str) -> None:
    """Find out before the solve whether a picture of this name can be drawn and saved."""
    try:
        from matplotlib.backend_bases import FigureCanvasBase
    except ImportError as error:
        raise BadInput(f'{option}: needs matplotlib: pip install "elastic-ot[plot]"') from error
    known = FigureCanvasBase.get_supported_filetypes()
    if Path(name).suffix.removeprefix(".").lower() not in known:
        raise BadInput(f"{option} {name}: the name must end in one of {', '.join(sorted(known))}")
    check_writable(option, name)


def result_table(solution: Solution, seconds: float) -> str:
    """Name and value a line."""
    problem = solution.problem
    lines = {
        "status": solution.status.name.lower(),
        "method": solution.method,
        "problem": f"{problem.cost.row_count} x {len(solution.g)}, rows {problem.rows!r}, columns {problem.cols!r}",
        "epsilon": f"{solution.epsilon:.6g}",
        "iterations": f"{solution.n_iter}",
        "transport cost": f"{solution.transport_cost:.10g}",
        "value": f"{solution.value:.10g}",
        "gap": f"{solution.gap:.3g}",
        "marginal error": f"{solution.marginal_error:.3g}",
        "seconds": f"{seconds:.3f}",
    }
    if not solution.converged:
        lines["message"] = solution.message
    return "\n".join(f"{name:<16}{value}" for name, value in lines.items())


def save_solution(solution: Solution, path: Path, process: Alone) -> None:
    """Write next to the target and rename, so that an interruption leaves no half-written file.

    The plan of a cost that is not stored is left out. One of several processes writes its rows, and says which.
    """
    path = process.part(path)
    names = [name for name in SAVED if name != "plan" or solution.problem.cost.stored]
    arrays: dict[str, Any] = {name: np.asarray(getattr(solution, name)) for name in names}
    if process.comm is not None:
        rows = process.own(solution.problem.cost.row_count)
        arrays["rows"] = np.array([rows.start, rows.stop])
    partial = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        with open(partial, "wb") as file:
            np.savez(file, status=np.asarray(solution.status.name.lower()), **arrays)
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)
