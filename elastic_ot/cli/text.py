"""Numbers in text: a row a line, with commas, semicolons, tabs or blanks between its numbers."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

SEPARATORS = ("\t", ";", ",")  # the first of them that a line of numbers has; without any it is blanks
FIRST_OF_NUMBERS = "+-.,0123456789"
DECIMAL_COMMA = re.compile(r"[+-]?\d*,\d+(?:[eE][+-]?\d+)?")
SHOWN_OF_A_CELL = 30  # characters of a wrong cell


class WrongText(ValueError):
    """The text holds no table of numbers; the message says in which line and column."""


def read_table(data: bytes) -> NDArray[np.float64]:
    """Return the numbers of a table.

    Empty lines, what follows a ``#``, and a first line of names are left out.
    """
    text = _decoded(data)
    lines = [line for _, line in _lines(text)]
    if not lines:
        raise WrongText("it is empty; write a row of numbers a line")
    separator = _separator(lines)
    names = _names(lines, separator)
    if names:
        del lines[0]
        if not lines:
            raise WrongText("it holds a line of names and no numbers below")
    try:
        return np.loadtxt(lines, delimiter=separator, quotechar='"', comments=None, ndmin=2)
    except ValueError as error:
        numbers = [number for number, _ in _lines(text)][1 if names else 0 :]
        fault = next(_faults(numbers, lines, separator, names), str(error))
        raise WrongText(fault) from None


def _decoded(data: bytes) -> str:
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise WrongText(f"line {line}: is not UTF-8 text; save the table as UTF-8") from None


def _lines(text: str) -> Iterator[tuple[int, str]]:
    """The lines that hold something, with their numbers in the file."""
    for number, line in enumerate(text.splitlines(), 1):
        kept = line.partition("#")[0]
        if kept.strip():
            yield number, kept


def _separator(lines: list[str]) -> str | None:
    """Return what stands between the numbers of the second line, or of the first if that may hold numbers."""
    for line in lines[1:2] + [line for line in lines[:1] if len(lines) == 1 or line.lstrip()[0] in FIRST_OF_NUMBERS]:
        for separator in SEPARATORS:
            if separator in line:
                return separator
    return None


def _cells(line: str, separator: str | None) -> list[str]:
    if separator is None:
        return [cell.strip('"') for cell in line.split()]
    return [cell.strip() for cell in next(csv.reader([line], delimiter=separator))]


def _names(lines: list[str], separator: str | None) -> list[str]:
    """Return the names of the columns, if every cell of the first line may be one."""
    alone = separator is None and len(lines) > 1 and len(lines[1].split()) == 1  # one column: its name may have blanks
    names = [lines[0].strip()] if alone else _cells(lines[0], separator)
    if len(lines) > 1 and len(names) != len(_cells(lines[1], separator)):
        return []
    if len(names) > 1 and not names[0] and all(names[1:]):
        raise WrongText(
            "line 1, column 1: has no name, as over the numbers of rows; leave these out (pandas: index=False)"
        )
    return names if all(map(_is_name, names)) else []


def _is_name(cell: str) -> bool:
    return any(map(str.isalpha, cell)) and cell[0] not in FIRST_OF_NUMBERS and not _is_number(cell)


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return "_" not in cell


def _faults(numbers: list[int], lines: list[str], separator: str | None, names: list[str]) -> Iterator[str]:
    """What is wrong with the cells, from the first line on."""
    count = len(_cells(lines[0], separator))
    for number, line in zip(numbers, lines, strict=True):
        cells = _cells(line, separator)
        for k, cell in enumerate(cells):
            if not _is_number(cell):
                name = f" ({names[k]})" if k < len(names) else ""
                yield f"line {number}, column {k + 1}{name}: {_wrong(cell)}"
        if len(cells) != count:
            yield f"line {number} has {_counted(cells)}, and line {numbers[0]} has {count}; each needs as many"


def _counted(cells: list[str]) -> str:
    return f"{len(cells)} number{'s' if len(cells) > 1 else ''}"


def _wrong(cell: str) -> str:
    if not cell:
        return "is empty; every cell needs a number"
    shown = repr(cell if len(cell) <= SHOWN_OF_A_CELL else f"{cell[:SHOWN_OF_A_CELL]}...")
    if DECIMAL_COMMA.fullmatch(cell):
        return f"{shown} has a decimal comma; write {cell.replace(',', '.')}"
    return f"{shown} is not a number; write numbers with commas, semicolons, tabs or blanks between them"
