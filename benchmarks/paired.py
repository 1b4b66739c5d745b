"""Comparisons of studies: every kind is tuned alike, on equal splits, and compared with a baseline seed by seed.

A run is all that a seed decides: the split of the data, the first parameters, the order of the batches. In it a model
is trained with every learning rate, the one that does best on the validation split is kept, and the test split is
looked at once, with that one. Runs of a seed are pairs, and what is reported is the mean of their differences.
"""

import math
import os
import statistics
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from multiprocessing.pool import Pool
from typing import Any, Protocol, TypeVar

import numba
import numpy as np
import torch
from matplotlib.axes import Axes
from scipy.special import stdtrit

Run = dict[str, Any]
Runs = Mapping[str, Sequence[Run]]

LEVEL = 0.05  # of being wrong anywhere among the comparisons of a study, were there no differences at all
DIGITS = 5  # of a number that is stored of a run
BLUE, ORANGE, GREY = "#0072B2", "#D55E00", "#8A8F98"


class Trained(Protocol):
    def validation(self) -> float:
        """The score on the validation split; larger is better."""


Candidate = TypeVar("Candidate", bound=Trained)


def tune(fit: Callable[[float], Candidate], rates: Sequence[float]) -> tuple[Candidate, Run]:
    """What was trained with the best of the rates, the first of equals; that rate, and the scores of all."""
    fitted = [fit(rate) for rate in rates]
    scores = [one.validation() for one in fitted]
    best = max(range(len(rates)), key=scores.__getitem__)
    return fitted[best], {"rate": rates[best], "validation": scores}


def fingerprint(*parts: Any) -> str:
    """A checksum of the arrays that make up a split, so that stored runs show whether they are pairs."""
    return f"{zlib.crc32(b''.join(np.ascontiguousarray(part).tobytes() for part in parts)):08x}"


def run_all(one: Callable[[str, int], Run], kinds: Sequence[str], seeds: Sequence[int], processes: int) -> Runs:
    """Of every kind a run a seed, in so many processes of one thread each."""
    jobs = [(kind, seed) for seed in seeds for kind in kinds]
    if processes == 1:
        found = [_shown(one, job) for job in jobs]
    else:
        with _pool(processes) as pool:
            found = list(pool.imap(partial(_shown, one), jobs))
    return {kind: [run for (name, _), run in zip(jobs, found, strict=True) if name == kind] for kind in kinds}


def run_tasks(
    one: Callable[[str, int], Run], tasks: Iterable[str], kinds: Sequence[str], seeds: Sequence[int], processes: int
) -> dict[str, Runs]:
    """`run_all` for every task, of jobs that are called "task: kind"."""
    tasks = list(tasks)
    runs = run_all(one, [f"{task}: {kind}" for task in tasks for kind in kinds], seeds, processes)
    return {task: {kind: runs[f"{task}: {kind}"] for kind in kinds} for task in tasks}


def _pool(processes: int) -> Pool:
    """Of processes that begin no second thread: one that waits for work takes time from the others."""
    kept = dict(os.environ)
    os.environ |= dict.fromkeys(("NUMBA_NUM_THREADS", "OMP_NUM_THREADS"), "1")
    try:
        return get_context("spawn").Pool(processes, one_thread)
    finally:
        os.environ.clear()
        os.environ |= kept


def one_thread() -> None:
    torch.set_num_threads(1)
    numba.set_num_threads(1)


def _shown(one: Callable[[str, int], Run], job: tuple[str, int]) -> Run:
    run = {"seed": job[1], **rounded(one(*job))}
    print(*job, {key: value for key, value in run.items() if isinstance(value, float)}, flush=True)
    return run


def rounded(value: Any) -> Any:
    """To as many digits as are stored of a run."""
    if isinstance(value, dict):
        return {key: rounded(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [rounded(item) for item in value]
    return float(f"{value:.{DIGITS}g}") if isinstance(value, float) else value


@dataclass(frozen=True)
class Difference:
    """Of a kind from the baseline: the mean over seeds, its standard error, and the interval of the comparison.

    The interval is Student's, at `LEVEL` divided by the number of comparisons (Bonferroni): if no kind differs, all
    intervals hold 0 with probability 1 - LEVEL at least.
    """

    gaps: list[float]
    comparisons: int = 1

    @property
    def mean(self) -> float:
        return statistics.mean(self.gaps)

    @property
    def error(self) -> float:
        return statistics.stdev(self.gaps) / math.sqrt(len(self.gaps)) if len(self.gaps) > 1 else math.inf

    @property
    def interval(self) -> tuple[float, float]:
        if len(self.gaps) < 2:
            return -math.inf, math.inf
        reach = float(stdtrit(len(self.gaps) - 1, 1 - LEVEL / (2 * self.comparisons))) * self.error
        return self.mean - reach, self.mean + reach

    @property
    def verdict(self) -> str:
        low, high = self.interval
        return "higher" if low > 0 else "lower" if high < 0 else "no difference found"


def difference(
    runs: Sequence[Run], base: Sequence[Run], key: str, comparisons: int = 1, factor: float = 1
) -> Difference:
    """Seed by seed, of runs that had equal splits; others are refused."""
    for run, other in zip(runs, base, strict=True):
        if (run["seed"], run["split"]) != (other["seed"], other["split"]):
            raise ValueError(
                f"seed {run['seed']}, split {run['split']} is no pair of {other['seed']}, {other['split']}"
            )
    return Difference([factor * (run[key] - other[key]) for run, other in zip(runs, base, strict=True)], comparisons)


def differences(runs: Runs, base: str, key: str, comparisons: int = 1, factor: float = 1) -> dict[str, Difference]:
    """Of every other kind from the kind that is called `base`."""
    others = {kind: found for kind, found in runs.items() if kind != base}
    return {kind: difference(found, runs[base], key, comparisons, factor) for kind, found in others.items()}


def mean_cell(runs: Sequence[Run], key: str, factor: float = 1, digits: int = 1) -> str:
    """Mean and standard error over the seeds."""
    values = [factor * run[key] for run in runs]
    error = f" ± {statistics.stdev(values) / math.sqrt(len(values)):.{digits}f}" if len(values) > 1 else ""
    return f"{statistics.mean(values):.{digits}f}{error}"


HEADER = ["difference", "interval", "found"]


def difference_cells(found: Difference | None, digits: int = 1) -> list[str]:
    """Those of `HEADER`: mean and standard error, interval, verdict; empty for None, as of the baseline."""
    if found is None:
        return [""] * len(HEADER)
    low, high = found.interval
    error = f" ± {found.error:.{digits}f}" if math.isfinite(found.error) else ""
    return [f"{found.mean:+.{digits}f}{error}", f"{low:+.{digits}f} to {high:+.{digits}f}", found.verdict]


def note(seeds: int, comparisons: int, rates: Sequence[float]) -> str:
    """How the numbers of a comparison are to be read."""
    return (
        f"Means of {seeds} seeds ± standard errors. Intervals hold for all {comparisons} comparisons together with a "
        f"probability of {1 - LEVEL:.0%}; a difference is found if its interval leaves out 0. Learning rates "
        f"{' and '.join(f'{rate:g}' for rate in rates)} were tried for every kind and seed, and the one that is better "
        "on the validation split was kept."
    )


def draw_differences(axes: Axes, found: Mapping[str, Difference], label: str) -> None:
    """A row a kind: a dot a seed, the mean, the interval; in colour where a difference was found."""
    for place, one in enumerate(found.values()):
        colour = GREY if one.verdict.startswith("no") else ORANGE if one.mean < 0 else BLUE
        axes.plot(one.gaps, [place + 0.22] * len(one.gaps), ".", color=colour, alpha=0.5, ms=4, mew=0)
        if len(one.gaps) > 1:
            axes.plot(one.interval, [place] * 2, "-", color=colour, lw=2)
        axes.plot(one.mean, place, "o", color=colour)
    axes.axvline(0.0, color="black", lw=0.8)
    axes.set(xlabel=label, yticks=range(len(found)), yticklabels=list(found), ylim=(len(found) - 0.4, -0.6))
