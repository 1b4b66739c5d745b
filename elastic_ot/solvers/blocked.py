"""The refusal of problems whose mask leaves no plan, in one place."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..errors import InfeasibleError
from .feasibility import Blocked


def refuse_blocked(found: Blocked | None, label: str = "") -> None:
    """Raise an InfeasibleError that names blocked rows or columns."""
    if found is None:
        return
    name, other = found.name, "columns" if found.name == "rows" else "rows"
    raise InfeasibleError(
        f"{label}{name} {_listed(found.members)} have allowed cells in {other} {_listed(found.partners)} only, which "
        f"cannot take what they must carry ({found.members.size} {name}, {found.partners.size} {other}); allow more or "
        f"relax a side"
    )


def _listed(indices: NDArray[np.integer]) -> str:
    shown = ", ".join(map(str, indices[:10].tolist()))
    return f"[{shown}{', ...' if indices.size > 10 else ''}]"
