"""Attention on the solver, against softmax attention and the published Sinkformer loop in torch.

    python -m benchmarks.compare_attention [--quick] [--only SECTION ...] [--output FOLDER]

prints the tables and writes attention.json (the numbers) and attention.rst (the tables, for the docs). A run with
--quick or --only writes nothing unless told where; --redraw makes the tables of stored numbers.
"""

from functools import partial

from .fresh_processes import measure_attention
from .report import Benchmark, Figures, Report, Section, options
from .tables import Goal, Table, milliseconds, times
from .timing import time_calls

ITERATIONS = 5
BLOCK = 64


class Scale:
    """How much is measured."""

    def __init__(self, quick: bool) -> None:
        self.rounds = 3 if quick else 9
        self.shape = (1, 2, 64, 16) if quick else (4, 8, 512, 64)
        self.heads = 2 if quick else 8
        self.lengths = (128, 256) if quick else (1024, 2048, 3072, 4096)


def dense(scale: Scale) -> Figures:
    """Softmax, the loop of as many half steps, and ours."""
    from . import attention_layers as layers

    q, k, v, bar = layers.inputs(*scale.shape)
    half_steps = 2 * ITERATIONS - 1
    attentions: dict[str, layers.Attention] = {
        "softmax": layers.softmax,
        "elastic attention": partial(layers.elastic, iterations=ITERATIONS),
        "Sinkformer": partial(layers.sinkformer, half_steps=half_steps),
        "Sinkformer, published loop": partial(layers.sinkformer_loop, half_steps=half_steps),
    }
    forward = {name: partial(attention, q, k, v) for name, attention in attentions.items()}
    both = {name: partial(layers.step, attention, q, k, v, bar) for name, attention in attentions.items()}
    seconds = {"forward": time_calls(forward, scale.rounds), "forward and backward": time_calls(both, scale.rounds)}
    exact = layers.sinkformer_loop(q.double(), k.double(), v.double(), half_steps)
    errors = {
        name: float((attentions[name](q, k, v).double() - exact).abs().max())
        for name in ("Sinkformer", "Sinkformer, published loop")
    }
    return {"shape": scale.shape, "iterations": ITERATIONS, "seconds": seconds, "errors": errors}


def report_dense(figures: Figures) -> Report:
    seconds, errors, iterations = figures["seconds"], figures["errors"], figures["iterations"]
    rows = [
        [
            name,
            *(f"{milliseconds(found[name])}, {times(found[name] / found['softmax'])}" for found in seconds.values()),
            f"{errors[name]:.1e}" if name in errors else "",
        ]
        for name in seconds["forward"]
    ]
    shape = " x ".join(map(str, figures["shape"]))
    table = Table(
        f"Attention of {shape} (batch, heads, length, width), float32, {iterations} iterations",
        ["attention", *(f"{way}, over softmax" for way in seconds), "largest error of the output"],
        rows,
        f"Products with keys and values included. {iterations} iterations that end on the rows are "
        f"{2 * iterations - 1} half steps. Errors against the same half steps in float64.",
    )
    forward, both = seconds["forward"], seconds["forward and backward"]
    loop, faster = "Sinkformer, published loop", "Sinkformer: times faster than the loop"
    goals = [
        Goal("elastic attention over softmax, forward", forward["elastic attention"] / forward["softmax"], 2.0, False),
        Goal(f"{faster}, forward", forward[loop] / forward["Sinkformer"], 15.0, True),
        Goal(f"{faster}, forward and backward", both[loop] / both["Sinkformer"], 8.0, True),
    ]
    return Report([table], goals)


def sparse(scale: Scale) -> Figures:
    """Sparse against full attention, by length: seconds in this process, peak memory in fresh ones."""
    import torch

    from . import attention_layers as layers

    found = []
    for length in scale.lengths:
        shape = (1, scale.heads, length, 64)
        q, k, v, _ = layers.inputs(*shape)
        calls = {"sparse": partial(layers.sparse, q, k, v, block=BLOCK), "full": partial(layers.softmax, q, k, v)}
        with torch.no_grad():
            seconds = time_calls(calls, scale.rounds)
        resident = {name: measure_attention(name, shape, BLOCK)["resident"] for name in calls}
        found.append({"shape": shape, "seconds": seconds, "resident": resident})
    return {"block": BLOCK, "lengths": found}


def report_sparse(figures: Figures) -> Report:
    rows, goals = [], []
    found = figures["lengths"]
    for x in found:
        length, seconds, resident = x["shape"][2], x["seconds"], x["resident"]
        ratio = seconds["full"] / seconds["sparse"]
        memory = (f"{size / 2**20:.0f} MiB" for size in resident.values())
        rows.append([str(length), *map(milliseconds, seconds.values()), times(ratio), *memory])
        if length >= 2048:
            goals.append(Goal(f"sparse, length {length}: times faster", ratio, 1.0, True))
    growth = found[-1]["resident"]["sparse"] / found[0]["resident"]["sparse"]
    longer = found[-1]["shape"][2] / found[0]["shape"][2]
    goals.append(Goal("sparse: growth of memory over growth of length", growth / longer, 1.25, False))
    _, heads, _, width = found[0]["shape"]
    table = Table(
        f"Sparse Sinkhorn attention, {heads} heads of width {width}, blocks of {figures['block']}, float32, forward",
        ["length", "sparse", "full", "times faster", "peak memory, sparse", "full"],
        rows,
        "Full: softmax attention in torch. Peak memory: growth of a fresh process above its inputs.",
    )
    return Report([table], goals)


ATTENTION = Benchmark("attention", {"dense": Section(dense, report_dense), "sparse": Section(sparse, report_sparse)})


def main() -> None:
    arguments = options(__doc__, list(ATTENTION.sections)).parse_args()
    if arguments.redraw:
        ATTENTION.redraw(arguments.output)
    else:
        ATTENTION.run(arguments, Scale(arguments.quick))


if __name__ == "__main__":
    main()
