"""Pictures as grey values, and grey values as a picture."""

from __future__ import annotations

from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

GREY_MODES = ("L", "I;16", "I", "F")  # in which Pillow holds one number a pixel
NEEDS_PILLOW = "pictures needs Pillow: pip install pillow; or give a .npy file"


class UnreadablePicture(Exception):
    """It cannot be read; the message is the reason."""


def grey_values(file: str | BinaryIO) -> NDArray[Any]:
    """Return the grey values of a picture; one in colour counts by its brightness."""
    try:
        from PIL import Image
    except ImportError as error:
        raise UnreadablePicture(f"reading {NEEDS_PILLOW}") from error
    try:
        with Image.open(file) as picture:
            return np.asarray(picture if picture.mode in GREY_MODES else picture.convert("L"))
    except (OSError, ValueError, Image.DecompressionBombError) as error:
        raise UnreadablePicture(getattr(error, "strerror", None) or str(error)) from error


def can_write_pictures() -> bool:
    """Return True where Pillow is installed."""
    try:
        import PIL.Image  # noqa: F401
    except ImportError:
        return False
    return True


def write_picture(values: NDArray[Any], file: BinaryIO) -> None:
    """Write values >= 0 as grey values, the largest of them white."""
    from PIL import Image

    grey = np.rint(255.0 * values / max(float(values.max()), np.finfo(float).tiny)).astype(np.uint8)
    Image.fromarray(grey).save(file, format="PNG")
