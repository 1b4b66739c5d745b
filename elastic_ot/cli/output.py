"""Where a result goes, and as what: found out before the solve, written after it."""

from __future__ import annotations

import argparse
import io
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, TextIO

import numpy as np
from numpy.typing import NDArray

from .errors import BadInput, alternatives
from .files import STANDARD, FileName
from .pictures import NEEDS_PILLOW, can_write_pictures, write_picture
from .processes import Alone
from .report import Report, print_report

WRITTEN_BETWEEN = {"csv": ",", "tsv": "\t", "txt": " "}
TABLE_FORMATS = ("npz", "npy", *WRITTEN_BETWEEN)


@dataclass(frozen=True)
class Result:
    """What may be written."""

    arrays: dict[str, Any]
    """By the names of a .npz file."""
    table: Callable[[], NDArray[Any]] | None = None
    """The plan, or the pairs: what all other formats hold."""
    names: tuple[str, ...] = ()
    """Of the columns of the table, where these differ."""


@dataclass(frozen=True)
class Output:
    """A file or standard output, and a format."""

    name: str
    format: str

    @property
    def standard(self) -> bool:
        """True if the result goes to standard output, and what else is printed to standard error."""
        return self.name == STANDARD

    @property
    def whole(self) -> bool:
        """True if a whole plan is written."""
        return self.format != "npz"

    def check(self, process: Alone, formats: Sequence[str]) -> None:
        """Find out before the solve whether it can be written."""
        if self.format == "png" and not can_write_pictures():
            raise BadInput(f"--output {self.name}: writing {NEEDS_PILLOW}")
        if not self.standard:
            check_writable("--output", str(process.part(Path(self.name))))
        elif process.comm is not None:
            raise BadInput("--output -: each process writes a part of its own; give a file")
        elif not hasattr(sys.stdout, "buffer"):
            raise BadInput("--output -: standard output is no stream of bytes here; give a file")
        elif self.format not in WRITTEN_BETWEEN and sys.stdout.isatty():
            text = ", or give --format csv" if "csv" in formats else ""
            raise BadInput(f"--output -: would write binary data to the terminal; redirect it{text}")

    def write(self, result: Result, process: Alone) -> None:
        """Write it; next to the target first, so that an interruption leaves no half-written file."""
        if self.standard:
            held = io.BytesIO()
            self._write_to(held, result)
            sys.stdout.buffer.write(held.getbuffer())
            sys.stdout.buffer.flush()
            return
        path = process.part(Path(self.name))
        if _is_device(path):
            with open(path, "wb") as file:
                self._write_to(file, result)
            return
        partial = path.with_name(f"{path.name}.{os.getpid()}.part")
        try:
            with open(partial, "wb") as file:
                self._write_to(file, result)
            os.replace(partial, path)
        finally:
            partial.unlink(missing_ok=True)

    def _write_to(self, file: BinaryIO, result: Result) -> None:
        if self.format == "npz":
            np.savez(file, **result.arrays)
            return
        assert result.table is not None
        table = np.asarray(result.table())
        if self.format == "npy":
            np.save(file, table)
        elif self.format == "png":
            write_picture(table, file)
        else:
            for line in _lines(table, result.names, WRITTEN_BETWEEN[self.format]):
                file.write(line.encode())


def _lines(table: NDArray[Any], names: Sequence[str], separator: str) -> Iterator[str]:
    """Lines of text, in as many digits as it takes to read the same numbers again."""
    if names:
        yield separator.join(names) + "\n"
    for row in table if table.ndim == 2 else table[:, None]:
        yield separator.join(map(repr, row.tolist())) + "\n"


def add_output(parser: Any, formats: Sequence[str], what: str) -> None:
    """Where the result goes."""
    parser.add_argument("--output", metavar="FILE", type=FileName, help=f"save {what}; - is standard output")
    parser.add_argument(
        "--format", choices=formats, help=f"of --output (default: as the name ends; of -: {formats[0]})"
    )
    parser.set_defaults(formats=formats)


def read_output(options: argparse.Namespace, process: Alone) -> Output | None:
    """Return where the result goes, checked; None if it is only printed."""
    name = options.output
    if name is None:
        if options.format is not None:
            raise BadInput(f"--format {options.format}: is that of --output, which is missing")
        return None
    ending = Path(name).suffix.lower().removeprefix(".")
    form = options.format or (options.formats[0] if name == STANDARD else ending)
    if form not in options.formats:
        known = alternatives([f".{one}" for one in options.formats])
        raise BadInput(f"--output {name}: the name must end in {known}, or --format say what it is")
    output = Output(name, form)
    output.check(process, options.formats)
    return output


def finish(
    options: argparse.Namespace, report: Report, result: Callable[[], Result], output: Output | None, process: Alone
) -> int:
    """Print and write a result, and return the exit code; of several processes the first one prints."""
    file: TextIO | None = sys.stderr if output is not None and output.standard else None
    if process.first:
        print_report(report, as_json=options.json, file=file)
    if output is not None:
        output.write(result(), process)
    return 0 if report.get("converged", True) else 1


def check_writable(option: str, name: str) -> None:
    """Open the file for appending, and remove it again if it was not there."""
    if _is_device(Path(name)):
        return
    existed = os.path.lexists(name)
    try:
        with open(name, "ab"):
            pass
    except OSError as error:
        raise BadInput(f"{option} {name}: cannot be written: {error.strerror or error}") from error
    if not existed:
        os.remove(name)


def _is_device(path: Path) -> bool:
    """Return True for pipes and devices, which are written into and never replaced."""
    return path.exists() and not path.is_file() and not path.is_dir()


def check_drawable(option: str, name: str) -> None:
    """Find out before the solve whether a picture of this name can be drawn and saved."""
    try:
        from matplotlib.backend_bases import FigureCanvasBase
    except ImportError as error:
        raise BadInput(f'{option}: needs matplotlib: pip install "elastic-ot[plot]"') from error
    known = FigureCanvasBase.get_supported_filetypes()
    if Path(name).suffix.removeprefix(".").lower() not in known:
        raise BadInput(f"{option} {name}: the name must end in one of {', '.join(sorted(known))}")
    check_writable(option, name)
