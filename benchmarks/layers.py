"""Batches, budgets and gradients, as a network uses them, against torch and OTT.

    python benchmarks/layers.py [--quick] [--only SECTION ...] [--output FOLDER]

prints the tables and writes layers.json (every figure) and layers.rst (the tables, for the docs). A run with --quick or
--only writes nothing unless told where.
"""

import argparse
import statistics
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import machine
import numpy as np
import torch
from goals import Claim, Goal
from report import Table, milliseconds, show, times
from sections import Section, summary, write

import elastic_ot as eot

Run = Callable[[], object]
BATCHES = {  # name: shape, iterations, at most so many times a softmax, at least so many times faster than the loop
    "64 of 256 x 256": ((64, 256, 256), 5, 3.0, 25.0),
    "16 of 1024 x 1024": ((16, 1024, 1024), 5, 1.5, None),
    "50,000 of 4 x 4": ((50_000, 4, 4), 20, None, 20.0),
}
QUICK = {"quick": ((4, 32, 32), 5, 3.0, 25.0), "quick tiny": ((500, 4, 4), 20, None, 20.0)}


def interleaved(runs: dict[str, Run], rounds: int) -> dict[str, list[float]]:
    """Seconds of every run, in turn; an untimed one before each brings its data back into the caches."""
    samples: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(rounds):
        for name, run in runs.items():
            run()
            start = time.perf_counter()
            run()
            samples[name].append(time.perf_counter() - start)
    return samples


def medians(samples: dict[str, list[float]]) -> dict[str, float]:
    return {name: statistics.median(x) for name, x in samples.items()}


def torch_loop(cost: torch.Tensor, count: int) -> torch.Tensor:
    """The log-domain loop that layers are usually written with; rows sum to 1, columns to n / m."""
    n, m = cost.shape[-2:]
    f, g = cost.new_zeros(*cost.shape[:-1], 1), cost.new_zeros(*cost.shape[:-2], 1, m)
    log_b = float(np.log(n / m))
    for _ in range(count):
        f = -torch.logsumexp(g - cost, dim=-1, keepdim=True)
        g = log_b - torch.logsumexp(f - cost, dim=-2, keepdim=True)
    return torch.exp(f + g - cost)


def layer(cost: torch.Tensor, count: int) -> torch.Tensor:
    """The same by `elastic_ot.torch`."""
    n, m = cost.shape[-2:]
    a, b = torch.ones(n, dtype=torch.float64), torch.full((m,), n / m, dtype=torch.float64)
    return eot.torch.plan(
        cost, a, b, epsilon=1.0, reference="counting", grad="unroll", max_iter=count, end="cols", on_failure="ignore"
    )


def forward(scale: "Scale") -> Section:
    rows, figures, goals = [], [], []
    for name, (shape, count, softmax_limit, loop_limit) in scale.batches.items():
        scores = torch.from_numpy(np.random.default_rng(0).normal(size=shape).astype(np.float32))
        cost = -scores
        runs: dict[str, Run] = {
            "elastic_ot": lambda cost=cost, count=count: layer(cost, count),
            "solve": lambda cost=cost, count=count: (
                eot.solve(
                    cost,
                    np.ones(cost.shape[-2]).tolist(),
                    np.full(cost.shape[-1], cost.shape[-2] / cost.shape[-1]).tolist(),
                    epsilon=1.0,
                    reference="counting",
                    tol=0,
                    max_iter=count,
                    end="cols",
                ).f
            ),
            "softmax": lambda scores=scores: torch.softmax(scores, -1),
            "torch loop": lambda cost=cost, count=count: torch_loop(cost, count),
        }
        seconds = medians(interleaved(runs, scale.rounds))
        plan, loop = layer(cost, count).double(), torch_loop(cost, count).double()
        reference = torch_loop(cost.double(), count)
        errors = [float((x - reference).abs().sum() / reference.sum()) for x in (plan, loop)]
        ours = seconds["elastic_ot"]
        rows.append(
            [
                name,
                str(count),
                milliseconds(ours),
                milliseconds(seconds["solve"]),
                f"{milliseconds(seconds['softmax'])}, {times(ours / seconds['softmax'])}",
                f"{milliseconds(seconds['torch loop'])}, {times(seconds['torch loop'] / ours)}x",
                f"{errors[0]:.1e}, {errors[1]:.1e}",
            ]
        )
        figures.append({"batch": name, "iterations": count, "seconds": seconds, "errors": errors})
        if softmax_limit is not None:
            goals.append(Goal(f"{name}: time over softmax", ours / seconds["softmax"], softmax_limit, False))
        if loop_limit is not None:
            goals.append(Goal(f"{name}: times faster than the loop", seconds["torch loop"] / ours, loop_limit, True))
    header = ["batch, float32", "iterations", "elastic_ot", "potentials only", "softmax, ratio", "torch loop, ratio"]
    table = Table(
        "Plans of a batch after a fixed number of iterations, forward",
        [*header, "L1 error of the plan: ours, loop"],
        rows,
        "Errors against the same iterations in float64. Potentials only: ``solve``, whose plan is not asked for.",
    )
    show(table)
    return Section([table], figures, goals)


def unrolled(scale: "Scale") -> Section:
    """The backward pass of a fixed number of iterations, in a batch and alone."""
    rows, figures, cases = [], [], []
    shapes = {**{name: x[:2] for name, x in scale.batches.items()}, scale.alone: ((scale.n, scale.n), 5)}
    for name, (shape, count) in shapes.items():
        cost = torch.from_numpy(-np.random.default_rng(0).normal(size=shape).astype(np.float32)).requires_grad_()
        bar = torch.from_numpy(np.random.default_rng(1).normal(size=shape).astype(np.float32))
        graph = layer(cost, count)
        runs: dict[str, Run] = {
            "forward": lambda cost=cost, count=count: layer(cost, count),
            "backward": lambda cost=cost, bar=bar, graph=graph: torch.autograd.grad(
                graph, cost, bar, retain_graph=True
            ),
        }
        loop = torch_loop(cost, count)
        runs["loop backward"] = lambda cost=cost, bar=bar, loop=loop: torch.autograd.grad(
            loop, cost, bar, retain_graph=True
        )
        seconds = medians(interleaved(runs, scale.rounds))
        one, other = (torch.autograd.grad(x, cost, bar, retain_graph=True)[0].double() for x in (graph, loop))
        exact_cost = cost.detach().double().requires_grad_()
        exact = torch.autograd.grad(torch_loop(exact_cost, count), exact_cost, bar.double())[0]
        errors = [float((x - exact).norm() / exact.norm()) for x in (one, other)]
        ratio = seconds["backward"] / seconds["forward"]
        rows.append(
            [
                name,
                str(count),
                milliseconds(seconds["forward"]),
                f"{milliseconds(seconds['backward'])}, {times(ratio)}",
                f"{milliseconds(seconds['loop backward'])}, {times(seconds['loop backward'] / seconds['backward'])}x",
                f"{errors[0]:.1e}, {errors[1]:.1e}",
            ]
        )
        figures.append({"problem": name, "iterations": count, "seconds": seconds, "errors": errors})
        cases.append(Goal(name, ratio, 3.0, False))
    header = ["problem, float32", "iterations", "forward", "backward, ratio", "backward of the torch loop, ratio"]
    table = Table("Backward pass of a fixed number of iterations", [*header, "error of the gradient: ours, loop"], rows)
    show(table)
    return Section([table], figures, [Claim("backward of a budget over its forward", 3.0, False, cases)])


def implicit(scale: "Scale") -> Section:
    """The backward pass at convergence, next to OTT's implicit differentiation."""
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(scale.n, 2)), rng.normal(size=(scale.n, 2)) + 0.5
    cost = ((x[:, None] - y) ** 2).sum(-1)
    bar = rng.normal(size=cost.shape)
    rows, figures, goals = [], [], []
    for share in scale.shares:
        epsilon = share * float(cost.max())
        exact = eot.solve(cost, epsilon=epsilon, tol=1e-13, on_failure="ignore").vjp(plan=bar).cost
        sol = eot.solve(cost, epsilon=epsilon, tol=scale.tol)
        ours = sol.vjp(plan=bar).cost
        runs: dict[str, Run] = {
            "forward": lambda epsilon=epsilon: eot.solve(cost, epsilon=epsilon, tol=scale.tol).plan,
            "backward": lambda sol=sol: sol.vjp(plan=bar),
        }
        ott_forward, ott_backward, ott_gradient, threshold = ott_calls(cost, epsilon, bar, exact, scale.tol)
        runs["OTT forward"], runs["OTT backward"] = ott_forward, ott_backward
        seconds = medians(interleaved(runs, scale.rounds))
        errors = [float(np.linalg.norm(g - exact) / np.linalg.norm(exact)) for g in (ours, ott_gradient)]
        ratio, against = seconds["backward"] / seconds["forward"], seconds["OTT backward"] / seconds["backward"]
        rows.append(
            [
                f"{share:g} max C",
                milliseconds(seconds["forward"]),
                f"{milliseconds(seconds['backward'])}, {times(ratio)}",
                milliseconds(seconds["OTT forward"]),
                f"{milliseconds(seconds['OTT backward'])}, {times(against)}x",
                f"{errors[0]:.1e}, {errors[1]:.1e}",
            ]
        )
        figures.append({"epsilon": share, "seconds": seconds, "errors": errors, "OTT threshold": threshold})
        goals.append(Goal(f"epsilon = {share:g} max C: implicit backward over forward", ratio, 2.0, False))
        goals.append(Goal(f"epsilon = {share:g} max C: times faster than OTT's", against, 5.0, True))
    header = ["epsilon", "forward", "backward, over forward", "OTT forward", "OTT backward, over ours"]
    table = Table(
        f"Implicit backward pass, n = {scale.n}, plane, float64",
        [*header, "error of the gradient: ours, OTT"],
        rows,
        f"Ours to tol = {scale.tol:g}; OTT's threshold is lowered until its gradient is as accurate, or it stops "
        "improving. OTT backward is its pull-back alone, compiled.",
    )
    show(table)
    return Section([table], figures, goals)


def ott_calls(
    cost: np.ndarray, epsilon: float, bar: np.ndarray, exact: np.ndarray, tol: float
) -> tuple[Run, Run, np.ndarray, float]:
    """OTT's forward and pull-back, compiled, at the first threshold whose gradient is accurate, else the best."""
    import jax

    jax.config.update("jax_enable_x64", True)
    from ott.geometry import geometry
    from ott.problems.linear import linear_problem
    from ott.solvers.linear import implicit_differentiation, sinkhorn

    wanted = 100 * tol
    best: tuple[float, Run, Run, np.ndarray, float] | None = None
    device_cost, device_bar = jax.numpy.asarray(cost), jax.numpy.asarray(bar)
    for threshold in (1e-6, 1e-8, 1e-10, 1e-12):
        solver = sinkhorn.Sinkhorn(
            threshold=threshold, max_iterations=20_000, implicit_diff=implicit_differentiation.ImplicitDiff()
        )

        def plan(c, solver=solver):  # type: ignore[no-untyped-def]
            problem = linear_problem.LinearProblem(geometry.Geometry(cost_matrix=c, epsilon=epsilon))
            return solver(problem).matrix

        forward = jax.jit(plan)
        _, pull = jax.vjp(forward, device_cost)
        pull = jax.jit(pull)
        gradient = np.asarray(pull(device_bar)[0])
        error = float(np.linalg.norm(gradient - exact) / np.linalg.norm(exact))
        calls = (
            lambda forward=forward: forward(device_cost).block_until_ready(),
            lambda pull=pull: pull(device_bar)[0].block_until_ready(),
        )
        if best is None or error < 0.5 * best[0]:
            best = (error, *calls, gradient, threshold)
        if error <= wanted:
            break
    assert best is not None
    return best[1:]


def memory(scale: "Scale") -> Section:
    """What a backward pass allocates at its peak, over the size of the batch: it must not grow with the iterations."""
    shape = scale.memory
    cost = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    bar = np.ones_like(cost)
    rows, figures, peaks = [], [], []
    for count in (2, 5, 20, 50):
        sol = eot.solve(cost, epsilon=1.0, tol=0, max_iter=count, end="cols")
        sol.vjp(plan=bar)
        tracemalloc.start()
        sol.vjp(plan=bar)
        peaks.append(tracemalloc.get_traced_memory()[1] / cost.nbytes)
        tracemalloc.stop()
        rows.append([str(count), f"{peaks[-1]:.2f}"])
        figures.append({"iterations": count, "peak over batch": peaks[-1]})
    title = f"Peak memory of the backward pass, {' x '.join(map(str, shape))} float32"
    table = Table(title, ["iterations", "peak over the size of the batch"], rows)
    show(table)
    return Section([table], figures, [Goal("backward memory, 50 iterations over 2", peaks[-1] / peaks[0], 1.5, False)])


class Scale:
    """How much is measured."""

    def __init__(self, quick: bool) -> None:
        self.batches = QUICK if quick else BATCHES
        self.rounds = 3 if quick else 9
        self.n = 100 if quick else 1000
        self.alone = f"one of {self.n} x {self.n}"
        self.shares = (1e-1, 1e-2)
        self.tol = 1e-9
        self.memory = (4, 64, 64) if quick else (64, 256, 256)


SECTIONS: dict[str, Callable[[Scale], Section]] = {
    "forward": forward,
    "unrolled": unrolled,
    "implicit": implicit,
    "memory": memory,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="small sizes: shows that everything runs")
    parser.add_argument("--only", nargs="+", choices=list(SECTIONS), default=[], metavar="SECTION")
    parser.add_argument("--output", type=Path, help="folder to write to")
    arguments = parser.parse_args()
    output = arguments.output
    if output is None and not (arguments.quick or arguments.only):
        output = Path(__file__).parent / "results"
    machine.unset_blas_overrides()
    setting = Table("Machine and versions", ["", ""], [list(pair) for pair in machine.describe().items()])
    scale = Scale(arguments.quick)
    done: dict[str, Section] = {}
    for name in arguments.only or SECTIONS:
        done[name] = SECTIONS[name](scale)
        if output is not None:
            write(output / "layers", done, setting)
    show(summary(done))
    show(setting)


if __name__ == "__main__":
    main()
