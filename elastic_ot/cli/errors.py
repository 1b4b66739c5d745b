"""What is wrong with what the user gave, in one line that names the file it stands in."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

SUBJECT = re.compile(r"(?:rank \d+: )?(\w+)")  # the argument that a message of the library begins with


class BadInput(Exception):
    """What the user gave cannot be used; the message is one line."""


def alternatives(words: Sequence[str]) -> str:
    """Return words to choose from, as in "a, b or c"."""
    return " or ".join(filter(None, [", ".join(words[:-1]), *words[-1:]]))


@contextmanager
def refusals(files: Mapping[str, str]) -> Iterator[None]:
    """Turn what the library refuses into bad input, and name the file that an argument was read from."""
    try:
        yield
    except (ValueError, TypeError, ImportError) as error:
        text = str(error)
        subject = SUBJECT.match(text)
        where = files.get(subject[1]) if subject else None
        raise BadInput(f"{where}: {text}" if where else text) from error
