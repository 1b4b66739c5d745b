"""Applications on torch tensors against the loops that they are published with: processor seconds of one thread.

    python -m benchmarks.compare_systems [--quick] [--only SECTION ...] [--output FOLDER]

prints the tables and writes systems.json (the numbers) and systems.rst (the tables, for the docs). A run with --quick
or --only writes nothing unless told where; --redraw makes the tables of stored numbers.
"""

from collections.abc import Callable
from functools import partial
from time import process_time
from typing import TYPE_CHECKING, Literal

import numpy as np

from elastic_ot import applications

from .compare_small_layers import one_thread
from .report import Benchmark, Figures, Report, Section, options
from .tables import Goal, Table, milliseconds, times
from .timing import time_calls

if TYPE_CHECKING:
    from torch import Tensor

    Layer = Callable[..., Tensor]

ITERATIONS = 20
ROUTER_TOL = 1e-4  # of the published loop
RANK_EPSILONS = {"projected": 1.0, "transport": 0.1}
OURS, THEIRS = "elastic_ot", "published loop"


class Scale:
    """How much is measured."""

    def __init__(self, quick: bool) -> None:
        self.rounds = 3 if quick else 21
        self.predictions = [(32, 10)] if quick else [(b, d) for b in (32, 64, 256) for d in (10, 100, 1000)]
        self.routed = [(64, 4)] if quick else [(1024, 8), (4096, 16), (16384, 64)]
        self.matrices = [(8, 4)] if quick else [(64, 8), (256, 10), (320, 32), (32, 100)]
        self.ranked = [(2, 10)] if quick else [(64, 10), (64, 100), (64, 1000)]


def normals(*shape: int, seed: int = 0) -> "Tensor":
    import torch

    return torch.from_numpy(np.random.default_rng(seed).normal(size=shape).astype(np.float32))


def step(layer: "Layer", x: "Tensor", bar: "Tensor") -> "Tensor":
    """Forward and backward; returns the gradient."""
    import torch

    given = x.detach().requires_grad_()
    return torch.autograd.grad((layer(given) * bar).sum(), given)[0]


def distance(found: "Tensor", exact: "Tensor") -> float:
    return float((found.double() - exact).norm() / exact.norm())


def measured(layers: dict[str, "Layer"], x: "Tensor", bar: "Tensor", exact: "Layer", rounds: int) -> dict[str, object]:
    """Seconds forward and both ways, and errors of the gradient against the published loop in float64."""
    forward = {name: partial(layer, x) for name, layer in layers.items()}
    both = {name: partial(step, layer, x, bar) for name, layer in layers.items()}
    gradient = step(exact, x.double(), bar.double())
    return {
        "forward": time_calls(forward, rounds, process_time),
        "both": time_calls(both, rounds, process_time),
        "errors": {name: distance(call(), gradient) for name, call in both.items()},
    }


def distillation(scale: Scale) -> Figures:
    import torch

    from . import published_loops as loops

    found = []
    with one_thread():
        for b, d in scale.predictions:
            student, teacher = 2 * normals(b, d), 2 * normals(b, d, seed=1)
            layers: dict[str, Layer] = {
                OURS: lambda x, teacher=teacher: applications.sinkd_loss(x, teacher, iterations=ITERATIONS),
                THEIRS: lambda x, teacher=teacher: loops.distillation(x, teacher, ITERATIONS),
            }
            exact = partial(loops.distillation, teacher=teacher.double(), iterations=ITERATIONS)
            figures = measured(layers, student, torch.ones(()), exact, scale.rounds)
            found.append({"size": [b, d], **figures})
    return found


def routing(scale: Scale) -> Figures:
    """Ours is asked for the error that the loop's plan has in the end."""
    from . import published_loops as loops

    found = []
    with one_thread():
        for tokens, experts in scale.routed:
            for k in (1, 2):
                logits = normals(tokens, experts) + normals(experts, seed=1)
                reached = marginal_error(loops.balanced(logits, ROUTER_TOL))
                combine: Literal["sigmoid", "softmax"] = "sigmoid" if k == 1 else "softmax"
                ours = partial(applications.route, k=k, method="sinkhorn", combine=combine, tol=reached)
                layers: dict[str, Layer] = {
                    OURS: lambda x, ours=ours: ours(x).weight,
                    THEIRS: lambda x, k=k: loops.router(x, k, ROUTER_TOL)[1],
                }
                exact = partial(_gates, experts=loops.router(logits, k, ROUTER_TOL)[0])
                figures = measured(layers, logits, normals(tokens, k, seed=2), exact, scale.rounds)
                routed = ours(logits)
                figures["plan errors"] = {OURS: marginal_error(routed.plan), THEIRS: reached}
                figures["same experts"] = float((routed.idx == loops.router(logits, k, ROUTER_TOL)[0]).double().mean())
                found.append({"size": [tokens, experts, k], **figures})
    return found


def marginal_error(plan: "Tensor") -> float:
    """L1 distance of both marginals from equal ones, as a share of the mass."""
    shares = plan.double() / plan.double().sum()
    return float(sum((shares.sum(dim=axis) - 1 / shares.shape[1 - axis]).abs().sum() for axis in (0, 1)))


def _gates(logits: "Tensor", experts: "Tensor") -> "Tensor":
    import torch

    gates = torch.sigmoid(logits) if experts.shape[1] == 1 else torch.softmax(logits, dim=-1)
    return gates.gather(1, experts)


def permutations(scale: Scale) -> Figures:
    import torch

    from . import published_loops as loops

    found = []
    with one_thread():
        for count, n in scale.matrices:
            uniform = torch.from_numpy(np.random.default_rng(1).random((count, n, n), dtype=np.float32))
            scores = normals(count, n, n) + applications.gumbel_noise(uniform)
            ours = partial(applications.gumbel_sinkhorn, hard=True, iterations=ITERATIONS)
            exact = partial(loops.straight_through, iterations=ITERATIONS)
            bar = normals(count, n, n, seed=2)
            figures = measured({OURS: ours, THEIRS: exact}, scores, bar, exact, scale.rounds)
            hard = {OURS: partial(ours, scores), THEIRS: partial(loops.permutations, scores)}
            figures["forward"] = time_calls(hard, scale.rounds, process_time)
            figures["same"] = float((ours(scores) == loops.permutations(scores)).double().mean())
            found.append({"size": [count, n], **figures})
    return found


def ranking(scale: Scale) -> Figures:
    from . import published_loops as loops

    found = []
    with one_thread():
        for rows, n in scale.ranked:
            epsilon = RANK_EPSILONS["projected"]
            exact = partial(loops.projected_rank, epsilon=epsilon)
            layers: dict[str, Layer] = {OURS: partial(applications.projected_rank, epsilon=epsilon), THEIRS: exact}
            figures = measured(layers, normals(rows, n), normals(rows, n, seed=2), exact, scale.rounds)
            transport = partial(applications.soft_rank, epsilon=RANK_EPSILONS["transport"], tol=1e-6)
            both = {"transport": partial(step, transport, normals(rows, n), normals(rows, n, seed=2))}
            figures["transport"] = time_calls(both, min(scale.rounds, 3), process_time)["transport"]
            found.append({"size": [rows, n], **figures})
    return found


def report_of(
    title: str, sizes: str, goal: str, note: str, more: dict[str, Callable[[Figures], str]]
) -> Callable[[Figures], Report]:
    """What makes the report of a section: its times, ratios and errors, and columns of its own."""

    def report(figures: Figures) -> Report:
        rows, goals = [], []
        for x in figures:
            size = " x ".join(map(str, x["size"]))
            ratios = {way: x[way][THEIRS] / x[way][OURS] for way in ("forward", "both")}
            cells = [
                f"{milliseconds(x[way][OURS])}, {milliseconds(x[way][THEIRS])}, {times(ratios[way])}" for way in ratios
            ]
            errors = "{:.0e}, {:.0e}".format(x["errors"][OURS], x["errors"][THEIRS])
            rows.append([size, *cells, errors, *(show(x) for show in more.values())])
            goals.append(Goal(f"{goal}, {size}: times faster, both ways", ratios["both"], 1.0, True))
        way = "ours, theirs, theirs / ours"
        header = [sizes, f"forward: {way}", f"and backward: {way}", "error of the gradient: ours, theirs", *more]
        return Report([Table(title, header, rows, note)], goals)

    return report


SYSTEMS = Benchmark(
    "systems",
    {
        "distillation": Section(
            distillation,
            report_of(
                "SinKD's loss, 20 iterations, float32, one thread",
                "samples x classes",
                "sinkd_loss",
                "Errors against the loop in float64. The derivative of an L1 distance jumps where a prediction of the "
                "student equals one of the teacher's, and rounding decides on which side of the jump a few are.",
                {},
            ),
        ),
        "routing": Section(
            routing,
            report_of(
                "A router by Sinkhorn's iteration, float32, one thread",
                "tokens x experts x k",
                "route",
                "The loop stops at its own tolerance of 1e-4; ours at the error of the marginals that it has then, "
                "recomputed from both plans. The plan chooses experts; their gates are differentiated.",
                {
                    "error of the plan: ours, theirs": lambda x: "{:.0e}, {:.0e}".format(
                        x["plan errors"][OURS], x["plan errors"][THEIRS]
                    ),
                    "same experts": lambda x: f"{x['same experts']:.4f}",
                },
            ),
        ),
        "permutations": Section(
            permutations,
            report_of(
                "Hard permutations of noisy scores, float32, one thread",
                "matrices x n",
                "gumbel_sinkhorn(hard=True)",
                "Forward: the permutations alone, by SciPy for one matrix after the other in the loop. And backward: "
                "with the derivatives of 20 iterations.",
                {"same entries": lambda x: f"{x['same']:.4f}"},
            ),
        ),
        "ranking": Section(
            ranking,
            report_of(
                "Ranks by projection, quadratic, float32, one thread",
                "rows x n",
                "projected_rank",
                "The loop is SciPy's isotonic regression for one row after the other. Last: soft_rank, another "
                "operator, at epsilon 0.1 and a tolerance of 1e-6, forward and backward.",
                {"soft_rank": lambda x: milliseconds(x["transport"])},
            ),
        ),
    },
)


def main() -> None:
    arguments = options(__doc__, list(SYSTEMS.sections)).parse_args()
    if arguments.redraw:
        SYSTEMS.redraw(arguments.output)
    else:
        SYSTEMS.run(arguments, Scale(arguments.quick))


if __name__ == "__main__":
    main()
