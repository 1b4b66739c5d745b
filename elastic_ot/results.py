"""What all results have in common: one line of text, and no array made of them by mistake."""

from __future__ import annotations

from dataclasses import fields, is_dataclass
from typing import TYPE_CHECKING, ClassVar, NoReturn

SHOWN_TEXT = 40  # characters of the text of a field that is neither number nor array, at most
LONGEST_LINE = 120  # characters of a result's text, at most


class Result:
    """A result that is no array itself: NumPy is told which of its attributes is meant."""

    _as_array: ClassVar[str] = "plan"

    if not TYPE_CHECKING:  # so that types refuse it as well

        def __array__(self, dtype: object = None, copy: object = None) -> NoReturn:
            name = type(self).__name__
            word = "solution" if name.endswith("Solution") else "result"
            raise TypeError(f"this is a {name} and no array; take {word}.{self._as_array}")


def one_line(record: object) -> str:
    """Return the text of a record: its numbers, and the shapes of its arrays; what is None is left out."""
    names = [field.name for field in fields(record) if field.repr] if is_dataclass(record) else record._fields  # type: ignore[attr-defined]
    parts = [_part(name, getattr(record, name)) for name in names]
    text = f"{type(record).__name__}({', '.join(part for part in parts if part)})"
    return text if len(text) <= LONGEST_LINE else f"{text[: LONGEST_LINE - 4]}...)"


def _part(name: str, value: object) -> str:
    if value is None:
        return ""
    shape = getattr(value, "shape", None)
    if isinstance(value, list | tuple):
        return f"{len(value)} {name}"
    if shape is not None and len(shape) > 0:
        return f"{name} {' x '.join(map(str, shape))}"
    if isinstance(value, bool | str):
        return f"{name}={value}"
    try:
        return f"{name}={float(value):.6g}"  # type: ignore[arg-type]
    except (TypeError, ValueError, RuntimeError):
        text = repr(value)
        return f"{name}={text}" if len(text) <= SHOWN_TEXT and "\n" not in text else name
