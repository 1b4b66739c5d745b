"""A tqdm bar that counts orders of magnitude left to the tolerance."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from .measure import Measure


@contextmanager
def progress_bar(wanted: bool, tol: float) -> Iterator[Callable[[int, Measure], None] | None]:
    """Yields the function that moves the bar, or None if no bar is wanted."""
    if not wanted:
        yield None
        return
    try:
        from tqdm.auto import tqdm
    except ImportError:
        raise ImportError('progress=True needs tqdm: pip install "elastic-ot[progress]"') from None
    worst = 0.0
    with tqdm(total=1.0, bar_format="{l_bar}{bar}| {postfix}") as bar:

        def report(iteration: int, found: Measure) -> None:
            nonlocal worst
            distance = math.log(max(found.residual, 1e-300) / max(tol * found.mass, 1e-300))
            worst = max(worst, distance)
            share = 1.0 if distance <= 0 else 1.0 - distance / worst
            bar.n = max(bar.n, share)
            bar.set_postfix_str(f"iteration {iteration}, residual {found.residual:.1e}, target {tol * found.mass:.1e}")

        yield report
