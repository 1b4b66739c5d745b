"""Batches, budgets and gradients, as a network uses them, against torch and OTT.

    python -m benchmarks.compare_layers [--quick] [--only SECTION ...] [--output FOLDER]

prints the tables and writes layers.json (the numbers) and layers.rst (the tables, for the docs). A run with --quick or
--only writes nothing unless told where; --redraw makes the tables of stored numbers.
"""

import tracemalloc
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

import elastic_ot as eot

from .peers import ott
from .problems import Array
from .report import Benchmark, Figures, Report, Section, options
from .tables import CommonGoal, Goal, Table, milliseconds, times
from .timing import time_calls

if TYPE_CHECKING:
    import torch

Call = Callable[[], object]
BATCHES = {  # name: shape, iterations
    "64 of 256 x 256": ((64, 256, 256), 5),
    "16 of 1024 x 1024": ((16, 1024, 1024), 5),
    "50,000 of 4 x 4": ((50_000, 4, 4), 20),
}
QUICK = {"quick": ((4, 32, 32), 5), "quick tiny": ((500, 4, 4), 20)}
SOFTMAX_GOALS = {"64 of 256 x 256": 3.0, "16 of 1024 x 1024": 1.5}  # at most so many times its time
LOOP_GOALS = {"64 of 256 x 256": 25.0, "50,000 of 4 x 4": 20.0}  # at least so many times faster


class Scale:
    """How much is measured."""

    def __init__(self, quick: bool) -> None:
        self.batches = QUICK if quick else BATCHES
        self.rounds = 3 if quick else 9
        self.n = 100 if quick else 1000
        self.shares = (1e-1, 1e-2)
        self.tol = 1e-9
        self.memory = (4, 64, 64) if quick else (64, 256, 256)


def torch_loop(cost: "torch.Tensor", count: int) -> "torch.Tensor":
    """The log-domain loop that layers are usually written with; rows sum to 1, columns to n / m."""
    import torch

    n, m = cost.shape[-2:]
    f, g = cost.new_zeros(*cost.shape[:-1], 1), cost.new_zeros(*cost.shape[:-2], 1, m)
    log_b = float(np.log(n / m))
    for _ in range(count):
        f = -torch.logsumexp(g - cost, dim=-1, keepdim=True)
        g = log_b - torch.logsumexp(f - cost, dim=-2, keepdim=True)
    return torch.exp(f + g - cost)


def layer(cost: "torch.Tensor", count: int) -> "torch.Tensor":
    """The same by `elastic_ot.torch`."""
    import torch

    n, m = cost.shape[-2:]
    a, b = torch.ones(n, dtype=torch.float64), torch.full((m,), n / m, dtype=torch.float64)
    return eot.torch.plan(
        cost, a, b, epsilon=1.0, reference="counting", grad="unroll", max_iter=count, end="cols", on_failure="ignore"
    )


def potentials(cost: "torch.Tensor", count: int) -> object:
    """The same iterations by `elastic_ot.solve`, without the plan."""
    n, m = cost.shape[-2:]
    a, b = np.ones(n).tolist(), np.full(m, n / m).tolist()
    return eot.solve(cost, a, b, epsilon=1.0, reference="counting", tol=0, max_iter=count, end="cols").f


def converged_plan(cost: Array, epsilon: float, tol: float) -> object:
    return eot.solve(cost, epsilon=epsilon, tol=tol).plan


def forward(scale: Scale) -> Figures:
    import torch

    found = []
    for name, (shape, count) in scale.batches.items():
        scores = torch.from_numpy(np.random.default_rng(0).normal(size=shape).astype(np.float32))
        cost = -scores
        calls: dict[str, Call] = {
            "elastic_ot": partial(layer, cost, count),
            "solve": partial(potentials, cost, count),
            "softmax": partial(torch.softmax, scores, -1),
            "torch loop": partial(torch_loop, cost, count),
        }
        seconds = time_calls(calls, scale.rounds)
        plan, loop = layer(cost, count).double(), torch_loop(cost, count).double()
        reference = torch_loop(cost.double(), count)
        errors = [float((x - reference).abs().sum() / reference.sum()) for x in (plan, loop)]
        found.append({"batch": name, "iterations": count, "seconds": seconds, "errors": errors})
    return found


def report_forward(figures: Figures) -> Report:
    rows, goals = [], []
    for x in figures:
        name, seconds, ours = x["batch"], x["seconds"], x["seconds"]["elastic_ot"]
        over_softmax, over_loop = ours / seconds["softmax"], seconds["torch loop"] / ours
        rows.append(
            [
                name,
                str(x["iterations"]),
                milliseconds(ours),
                milliseconds(seconds["solve"]),
                f"{milliseconds(seconds['softmax'])}, {times(over_softmax)}",
                f"{milliseconds(seconds['torch loop'])}, {times(over_loop)}x",
                "{:.1e}, {:.1e}".format(*x["errors"]),
            ]
        )
        if name in SOFTMAX_GOALS:
            goals.append(Goal(f"{name}: time over softmax", over_softmax, SOFTMAX_GOALS[name], False))
        if name in LOOP_GOALS:
            goals.append(Goal(f"{name}: times faster than the loop", over_loop, LOOP_GOALS[name], True))
    header = ["batch, float32", "iterations", "elastic_ot", "potentials only", "softmax, ratio", "torch loop, ratio"]
    table = Table(
        "Plans of a batch after a fixed number of iterations, forward",
        [*header, "L1 error of the plan: ours, loop"],
        rows,
        "Errors against the same iterations in float64. Potentials only: ``solve``, whose plan is not asked for.",
    )
    return Report([table], goals)


def unrolled(scale: Scale) -> Figures:
    """The backward pass of a fixed number of iterations, in a batch and alone."""
    import torch

    found = []
    for name, (shape, count) in {**scale.batches, f"one of {scale.n} x {scale.n}": ((scale.n, scale.n), 5)}.items():
        cost = torch.from_numpy(-np.random.default_rng(0).normal(size=shape).astype(np.float32)).requires_grad_()
        bar = torch.from_numpy(np.random.default_rng(1).normal(size=shape).astype(np.float32))
        plan, loop = layer(cost, count), torch_loop(cost, count)

        gradient = partial(torch.autograd.grad, inputs=cost, grad_outputs=bar, retain_graph=True)
        calls: dict[str, Call] = {
            "forward": partial(layer, cost, count),
            "backward": partial(gradient, plan),
            "loop backward": partial(gradient, loop),
        }
        seconds = time_calls(calls, scale.rounds)
        exact_cost = cost.detach().double().requires_grad_()
        exact = torch.autograd.grad(torch_loop(exact_cost, count), exact_cost, bar.double())[0]
        errors = [float((gradient(graph)[0].double() - exact).norm() / exact.norm()) for graph in (plan, loop)]
        found.append({"problem": name, "iterations": count, "seconds": seconds, "errors": errors})
    return found


def report_unrolled(figures: Figures) -> Report:
    rows, cases = [], []
    for x in figures:
        seconds = x["seconds"]
        ratio = seconds["backward"] / seconds["forward"]
        rows.append(
            [
                x["problem"],
                str(x["iterations"]),
                milliseconds(seconds["forward"]),
                f"{milliseconds(seconds['backward'])}, {times(ratio)}",
                f"{milliseconds(seconds['loop backward'])}, {times(seconds['loop backward'] / seconds['backward'])}x",
                "{:.1e}, {:.1e}".format(*x["errors"]),
            ]
        )
        cases.append(Goal(x["problem"], ratio, 3.0, False))
    header = ["problem, float32", "iterations", "forward", "backward, ratio", "backward of the torch loop, ratio"]
    table = Table("Backward pass of a fixed number of iterations", [*header, "error of the gradient: ours, loop"], rows)
    return Report([table], [CommonGoal("backward of a budget over its forward", 3.0, False, cases)])


def implicit(scale: Scale) -> Figures:
    """The backward pass at convergence, next to OTT's implicit differentiation."""
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(scale.n, 2)), rng.normal(size=(scale.n, 2)) + 0.5
    cost = ((x[:, None] - y) ** 2).sum(-1)
    bar = rng.normal(size=cost.shape)
    found = []
    for share in scale.shares:
        epsilon = share * float(cost.max())
        exact = eot.solve(cost, epsilon=epsilon, tol=1e-13, on_failure="ignore").vjp(plan=bar).cost
        sol = eot.solve(cost, epsilon=epsilon, tol=scale.tol)
        ours = sol.vjp(plan=bar).cost
        calls: dict[str, Call] = {
            "forward": partial(converged_plan, cost, epsilon, scale.tol),
            "backward": partial(sol.vjp, plan=bar),
        }
        ott_forward, ott_backward, ott_gradient, threshold = ott.gradient_calls(cost, epsilon, bar, exact, scale.tol)
        calls |= {"OTT forward": ott_forward, "OTT backward": ott_backward}
        seconds = time_calls(calls, scale.rounds)
        errors = [float(np.linalg.norm(g - exact) / np.linalg.norm(exact)) for g in (ours, ott_gradient)]
        found.append({"epsilon": share, "seconds": seconds, "errors": errors, "OTT threshold": threshold})
    return {"n": scale.n, "tol": scale.tol, "problems": found}


def report_implicit(figures: Figures) -> Report:
    rows, goals = [], []
    for x in figures["problems"]:
        share, seconds = x["epsilon"], x["seconds"]
        ratio, against = seconds["backward"] / seconds["forward"], seconds["OTT backward"] / seconds["backward"]
        rows.append(
            [
                f"{share:g} max C",
                milliseconds(seconds["forward"]),
                f"{milliseconds(seconds['backward'])}, {times(ratio)}",
                milliseconds(seconds["OTT forward"]),
                f"{milliseconds(seconds['OTT backward'])}, {times(against)}x",
                "{:.1e}, {:.1e}".format(*x["errors"]),
            ]
        )
        goals.append(Goal(f"epsilon = {share:g} max C: implicit backward over forward", ratio, 2.0, False))
        goals.append(Goal(f"epsilon = {share:g} max C: times faster than OTT's", against, 5.0, True))
    header = ["epsilon", "forward", "backward, over forward", "OTT forward", "OTT backward, over ours"]
    table = Table(
        f"Implicit backward pass, n = {figures['n']}, plane, float64",
        [*header, "error of the gradient: ours, OTT"],
        rows,
        f"Ours to tol = {figures['tol']:g}; OTT's threshold is lowered until its gradient is as accurate, or it stops "
        "improving. OTT backward is its pull-back alone, compiled.",
    )
    return Report([table], goals)


def memory(scale: Scale) -> Figures:
    """What a backward pass allocates at its peak, over the size of the batch: it must not grow with the iterations."""
    cost = np.random.default_rng(0).normal(size=scale.memory).astype(np.float32)
    bar = np.ones_like(cost)
    peaks = {}
    for count in (2, 5, 20, 50):
        sol = eot.solve(cost, epsilon=1.0, tol=0, max_iter=count, end="cols")
        sol.vjp(plan=bar)
        tracemalloc.start()
        sol.vjp(plan=bar)
        peaks[count] = tracemalloc.get_traced_memory()[1] / cost.nbytes
        tracemalloc.stop()
    return {"shape": scale.memory, "peak over batch, by iterations": peaks}


def report_memory(figures: Figures) -> Report:
    peaks = figures["peak over batch, by iterations"]
    table = Table(
        f"Peak memory of the backward pass, {' x '.join(map(str, figures['shape']))} float32",
        ["iterations", "peak over the size of the batch"],
        [[count, f"{peak:.2f}"] for count, peak in peaks.items()],
    )
    return Report([table], [Goal("backward memory, 50 iterations over 2", peaks["50"] / peaks["2"], 1.5, False)])


LAYERS = Benchmark(
    "layers",
    {
        "forward": Section(forward, report_forward),
        "unrolled": Section(unrolled, report_unrolled),
        "implicit": Section(implicit, report_implicit),
        "memory": Section(memory, report_memory),
    },
)


def main() -> None:
    arguments = options(__doc__, list(LAYERS.sections)).parse_args()
    if arguments.redraw:
        LAYERS.redraw(arguments.output)
    else:
        LAYERS.run(arguments, Scale(arguments.quick))


if __name__ == "__main__":
    main()
