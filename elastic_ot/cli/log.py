"""What every command says on the terminal while it works."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def shown_on_stderr() -> Iterator[None]:
    """Print what the package logs: that it compiles, which takes seconds and happens once."""
    logger, handler = logging.getLogger("elastic_ot"), logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("elastic-ot: %(message)s"))
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)
