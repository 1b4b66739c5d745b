"""Pairs for flow matching beside torchcfm's sampler, in PyTorch, at the same or a smaller cost.

    python -m benchmarks.compare_couples [--quick] [--output FOLDER]

prints the tables and writes couples.json (the numbers) and couples.rst (the tables, for the docs). A run with --quick
writes nothing unless told where; --redraw makes the tables of stored numbers. It needs PyTorch and torchcfm, of which
`pip install --no-deps torchcfm` is enough.

Every call has a new batch, and an operation of PyTorch before it, as it has in a network. Costs are those of plans,
computed anew in float64.
"""

import statistics
import time
import warnings
from collections.abc import Callable
from itertools import cycle
from typing import Any

import numpy as np

from .problems import Array
from .report import Benchmark, Figures, Report, Section, options
from .tables import Goal, Table, milliseconds, times

SHARE = 0.05  # epsilon of the largest cost
LOOSE, EQUAL = 1e-3, 1e-9  # tolerances: the default, and what torchcfm asks of POT
BATCHES = 4
NEVER_SLOWER = 1.0
MILLISECONDS = {1024: 5.0, 8192: 500.0}  # wanted of pairs in the plane


class Scale:
    """How much is measured: kinds of points, batch sizes and rounds."""

    def __init__(self, quick: bool) -> None:
        self.cases = [("plane", 64, 2)] if quick else CASES


CASES = [("plane", 256, 31), ("plane", 1024, 15), ("plane", 8192, 2), ("images", 128, 31), ("images", 512, 7)]


def plane(n: int, rng: np.random.Generator) -> tuple[Array, Array]:
    """Noise, and eight Gaussians on a circle."""
    angles = 2 * np.pi / 8 * rng.integers(8, size=n)
    centres = 5.0 * np.column_stack([np.cos(angles), np.sin(angles)])
    return rng.normal(size=(n, 2)), centres + 0.3 * rng.normal(size=(n, 2))


def images(n: int, rng: np.random.Generator) -> tuple[Array, Array]:
    """Noise, and scikit-learn's digits as 3 x 32 x 32 numbers in [-1, 1], each with some noise of its own."""
    from sklearn.datasets import load_digits

    digits = load_digits().images[rng.integers(1797, size=n)] / 8.0 - 1.0
    large = np.kron(digits, np.ones((4, 4)))[:, None].repeat(3, axis=1)
    return rng.normal(size=(n, 3, 32, 32)), large + 0.05 * rng.normal(size=(n, 3, 32, 32))


KINDS: dict[str, Callable[[int, np.random.Generator], tuple[Array, Array]]] = {"plane": plane, "images": images}


def batches_of(kind: str, n: int) -> list[Any]:
    import torch

    rng = np.random.default_rng(n)
    drawn = [KINDS[kind](n, rng) for _ in range(BATCHES)]
    return [tuple(torch.from_numpy(x.astype(np.float32)) for x in pair) for pair in drawn]


def costs_of(batch: Any) -> Array:
    x, y = (points.double().flatten(1) for points in batch)
    found: Array = ((x**2).sum(1)[:, None] + (y**2).sum(1) - 2.0 * x @ y.T).numpy()
    return found


def samplers(epsilon: float) -> dict[str, tuple[Any, Any]]:
    """By name, ours and torchcfm's."""
    from torchcfm import optimal_transport as theirs

    from elastic_ot import torch as ours

    entropic = theirs.OTPlanSampler(method="sinkhorn", reg=epsilon)
    return {
        "exact": (ours.OTPlanSampler(method="exact"), theirs.OTPlanSampler(method="exact")),
        "entropic, tol 1e-3": (ours.OTPlanSampler(method="sinkhorn", reg=epsilon, tol=LOOSE), entropic),
        "entropic, tol 1e-9": (ours.OTPlanSampler(method="sinkhorn", reg=epsilon, tol=EQUAL), entropic),
    }


def seconds_of(sampler: Any, batch: Any) -> float:
    batch[0].exp(), batch[1].exp()
    began = time.perf_counter()
    sampler.sample_plan(*batch)
    return time.perf_counter() - began


def plan_of(sampler: Any, batch: Any, costs: Array) -> Array:
    """The plan that pairs are drawn from; ours from its potentials, since clouds make no matrix of this size."""
    from elastic_ot.torch import OTPlanSampler

    if not isinstance(sampler, OTPlanSampler):
        return np.asarray(sampler.get_map(*batch))
    found = sampler.couple(*batch)
    entropic: Any = found.solution
    if found.epsilon is None:
        return found.plan
    plan: Array = np.exp((entropic.f[:, None] + entropic.g - costs) / found.epsilon) / costs.size
    return plan


def cost_of(plan: Array, costs: Array) -> tuple[float, float]:
    """<C, P>, and by how much P misses its marginals in L1."""
    missed = sum(float(np.abs(plan.sum(axis=axis) - 1.0 / plan.shape[1 - axis]).sum()) for axis in (0, 1))
    return float((costs * plan).sum()), missed


def measured(scale: Scale) -> Figures:
    found = []
    for kind, n, rounds in scale.cases:
        batches = batches_of(kind, n)
        costs = costs_of(batches[0])
        for name, both in samplers(SHARE * float(costs.max())).items():
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of POT, where its iterations are not enough
                values = [cost_of(plan_of(sampler, batches[0], costs), costs) for sampler in both]
                seconds: tuple[list[float], list[float]] = ([], [])
                for _, batch in zip(range(rounds), cycle(batches), strict=False):
                    for sampler, taken in zip(both, seconds, strict=True):
                        taken.append(seconds_of(sampler, batch))
            medians = [statistics.median(taken) for taken in seconds]
            figures = {"kind": kind, "n": n, "name": name, "seconds": medians, "rounds": rounds}
            found.append(figures | {"cost": [value for value, _ in values], "missed": [miss for _, miss in values]})
    return found


def report(figures: Figures) -> Report:
    rows, goals = [], []
    for x in figures:
        (ours, theirs), (cost, other) = x["seconds"], x["cost"]
        case = f"{x['kind']}, {x['n']:,}, {x['name']}"
        rows.append(
            [
                *(case, milliseconds(ours), milliseconds(theirs), times(theirs / ours)),
                *(f"{cost / other - 1.0:.0e}", "{:.0e}, {:.0e}".format(*x["missed"])),
            ]
        )
        goals.append(Goal(f"{case}: torchcfm's time over ours", theirs / ours, NEVER_SLOWER, True))
        wanted = MILLISECONDS.get(x["n"]) if x["kind"] == "plane" else None
        if wanted and x["name"] != "entropic, tol 1e-9":
            goals.append(Goal(f"{case}: milliseconds", 1e3 * ours, wanted, False))
    header = ["batch", "``elastic_ot.torch``", "torchcfm", "torchcfm / ours", "cost over theirs, less 1"]
    header += ["L1 error of marginals: ours, theirs"]
    note = (
        "``OTPlanSampler.sample_plan`` of both in turn, medians; epsilon is a twentieth of the largest cost. Pairs of "
        "the plane are noise and eight Gaussians, images noise and digits of 3 x 32 x 32 numbers."
    )
    return Report([Table("Pairs of a batch, between operations of PyTorch", header, rows, note)], goals)


COUPLES = Benchmark("couples", {"couples": Section(measured, report)})


def main() -> None:
    arguments = options(__doc__, list(COUPLES.sections)).parse_args()
    if arguments.redraw:
        COUPLES.redraw(arguments.output)
    else:
        COUPLES.run(arguments, Scale(arguments.quick))


if __name__ == "__main__":
    main()
