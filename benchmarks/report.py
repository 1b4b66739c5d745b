"""Tables as reStructuredText, made to be included in a page of the docs: captions, no section titles."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Table:
    title: str
    header: list[str]
    rows: list[list[str]]
    note: str = ""

    def rst(self) -> str:
        lines = [f".. list-table:: {self.title}", "   :header-rows: 1", ""]
        for row in [self.header, *self.rows]:
            lines += [f"   {'*' if i == 0 else ' '} - {cell}".rstrip() for i, cell in enumerate(row)]
        return "\n".join([*lines, "", self.note, ""] if self.note else [*lines, ""])

    def text(self) -> str:
        rows = [self.header, *self.rows]
        widths = [max(len(row[k]) for row in rows) for k in range(len(self.header))]
        lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows]
        return "\n".join([self.title, *(f"  {line}".rstrip() for line in lines), *([self.note] if self.note else [])])


def show(table: Table) -> None:
    print(table.text(), end="\n\n", flush=True)


def milliseconds(seconds: float) -> str:
    """Three significant digits; from 10 s on in seconds."""
    return f"{1e3 * seconds:.3g} ms" if seconds < 1 else f"{seconds:.3g} s"


def times(ratio: float) -> str:
    """How many times the time of the method compared with."""
    return f"{ratio:.2f}" if ratio < 10 else f"{ratio:.0f}"
