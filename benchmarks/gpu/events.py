"""Seconds on a CUDA device, by its own events."""

import statistics
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

Timed = Callable[[int], None]
"""Does something so many times."""

FEW, MANY = 16, 64  # one block of launches each


def elapsed(cupy: Any, run: Callable[[], None]) -> float:
    """Seconds between an event before `run` and one after it on the current stream."""
    begin, end = cupy.cuda.Event(), cupy.cuda.Event()
    begin.record()
    run()
    end.record()
    end.synchronize()
    return float(cupy.cuda.get_elapsed_time(begin, end)) / 1e3


def seconds(cupy: Any, run: Callable[[], None], rounds: int) -> float:
    """The median; two runs before that compile, load and bring the clocks up."""
    for _ in range(2):
        run()
    return statistics.median(elapsed(cupy, run) for _ in range(rounds))


def seconds_each(cupy: Any, runs: dict[str, Timed], rounds: int) -> dict[str, float]:
    """Of one more repetition, which leaves out what a call costs once: medians over interleaved rounds."""
    samples: dict[str, list[float]] = {name: [] for name in runs}
    for run in runs.values():
        run(MANY)
    for _ in range(rounds):
        for name, run in runs.items():
            few, many = (elapsed(cupy, partial(run, count)) for count in (FEW, MANY))
            samples[name].append((many - few) / (MANY - FEW))
    return {name: statistics.median(values) for name, values in samples.items()}


@contextmanager
def kernel_seconds(cupy: Any, device: Any) -> Iterator[list[float]]:
    """Seconds of every launch inside the block, without what the host does between them; filled when it ends."""
    launch, events = device.launch, []
    found: list[float] = []

    def timed(*args: Any) -> None:
        events.append((cupy.cuda.Event(), cupy.cuda.Event()))
        events[-1][0].record()
        launch(*args)
        events[-1][1].record()

    device.launch = timed
    try:
        yield found
    finally:
        del device.launch
    for begin, end in events:
        end.synchronize()
        found.append(float(cupy.cuda.get_elapsed_time(begin, end)) / 1e3)
