"""Small layers of a network in PyTorch, forward and backward on one thread, against the loop they are written with.

    python -m benchmarks.compare_small_layers [--quick] [--output FOLDER]

prints the table and writes small_layers.json (the numbers) and small_layers.rst (the table, for the docs). A run with
--quick writes nothing unless told where; --redraw makes the table of stored numbers.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

import elastic_ot as eot

from .report import Benchmark, Figures, Report, Section, options
from .tables import Goal, Table, milliseconds, times
from .timing import time_calls

if TYPE_CHECKING:
    from torch import Tensor

GOALS = {"1 of 8 x 8": 0.5, "16 of 32 x 32": 1.0, "64 of 64 x 64": 3.0, "64 of 256 x 256": 8.0}  # times as fast
SHAPES = {"1 of 8 x 8": (1, 8, 8), "16 of 32 x 32": (16, 32, 32), "64 of 64 x 64": (64, 64, 64)}
LARGEST = {"64 of 256 x 256": (64, 256, 256)}


class Scale:
    """How much is measured."""

    def __init__(self, quick: bool) -> None:
        self.shapes = SHAPES if quick else SHAPES | LARGEST
        self.rounds = 3 if quick else 61


def loop(cost: "Tensor") -> "Tensor":
    """Three half steps, rows first and last: rows sum to 1, columns to n / m before the last."""
    import torch

    n, m = cost.shape[-2:]
    g, log_b = cost.new_zeros(*cost.shape[:-2], 1, m), float(np.log(n / m))
    f = -torch.logsumexp(g - cost, dim=-1, keepdim=True)
    g = log_b - torch.logsumexp(f - cost, dim=-2, keepdim=True)
    f = -torch.logsumexp(g - cost, dim=-1, keepdim=True)
    return torch.exp(f + g - cost)


def layer(cost: "Tensor") -> "Tensor":
    """The same by `elastic_ot.torch`."""
    import torch

    n, m = cost.shape[-2:]
    a, b = torch.ones(n, dtype=torch.float64), torch.full((m,), n / m, dtype=torch.float64)
    return eot.torch.plan(
        cost, a, b, epsilon=1.0, reference="counting", grad="unroll", max_iter=2, end="rows", on_failure="ignore"
    )


def step(of: Callable[["Tensor"], "Tensor"], cost: "Tensor", bar: "Tensor") -> "Tensor":
    """Forward and backward; returns the gradient."""
    import torch

    given = cost.detach().requires_grad_()
    return torch.autograd.grad((of(given) * bar).sum(), given)[0]


@contextmanager
def one_thread() -> Iterator[None]:
    import torch

    before = torch.get_num_threads(), eot.get_num_threads()
    torch.set_num_threads(1)
    eot.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before[0])
        eot.set_num_threads(before[1])


def both_ways(scale: Scale) -> Figures:
    import torch

    found = []
    with one_thread():
        for name, shape in scale.shapes.items():
            rng = np.random.default_rng(0)
            cost, bar = (torch.from_numpy(rng.normal(size=shape).astype(np.float32)) for _ in range(2))
            calls = {"elastic_ot": partial(step, layer, cost, bar), "torch loop": partial(step, loop, cost, bar)}
            seconds = time_calls(calls, scale.rounds)
            exact = step(loop, cost.double(), bar.double())
            errors = [float((call().double() - exact).norm() / exact.norm()) for call in calls.values()]
            found.append({"layer": name, "seconds": seconds, "errors": errors})
    return found


def report_both_ways(figures: Figures) -> Report:
    rows, goals = [], []
    for x in figures:
        ours, theirs = x["seconds"]["elastic_ot"], x["seconds"]["torch loop"]
        errors = "{:.0e}, {:.0e}".format(*x["errors"])
        rows.append([x["layer"], milliseconds(ours), milliseconds(theirs), times(theirs / ours), errors])
        goals.append(Goal(f"{x['layer']}: times faster than the loop", theirs / ours, GOALS[x["layer"]], True))
    header = ["layer, float32", "elastic_ot", "torch loop", "loop / ours", "error of the gradient: ours, loop"]
    note = (
        "Errors against the same half steps in float64. Three operations of torch around the layer are in both times."
    )
    return Report([Table("Three half steps, forward and backward, one thread", header, rows, note)], goals)


SMALL_LAYERS = Benchmark("small_layers", {"both ways": Section(both_ways, report_both_ways)})


def main() -> None:
    arguments = options(__doc__, list(SMALL_LAYERS.sections)).parse_args()
    if arguments.redraw:
        SMALL_LAYERS.redraw(arguments.output)
    else:
        SMALL_LAYERS.run(arguments, Scale(arguments.quick))


if __name__ == "__main__":
    main()
