"""Attention on the solver, against softmax attention and the published Sinkformer loop in torch.

    python benchmarks/attention.py [--quick] [--only SECTION ...] [--output FOLDER]

prints the tables and writes attention.json (every figure) and attention.rst (the tables, for the docs). A run with
--quick or --only writes nothing unless told where.
"""

import argparse
from collections.abc import Callable
from functools import partial
from pathlib import Path

import attentions
import machine
import torch
from goals import Goal
from layers import Run, interleaved, medians
from processes import measure_attention
from report import Table, milliseconds, show, times
from sections import Section, summary, write

ITERATIONS = 5
BLOCK = 64


def dense(scale: "Scale") -> Section:
    """Softmax, the loop of as many half steps, and ours."""
    q, k, v, bar = attentions.inputs(*scale.shape)
    half_steps = 2 * ITERATIONS - 1
    contenders: dict[str, attentions.Attention] = {
        "softmax": attentions.softmax,
        "elastic attention": partial(attentions.elastic, iterations=ITERATIONS),
        "Sinkformer": partial(attentions.sinkformer, half_steps=half_steps),
        "Sinkformer, published loop": partial(attentions.sinkformer_loop, half_steps=half_steps),
    }
    seconds = {}
    for way in ("forward", "forward and backward"):
        runs: dict[str, Run] = {
            name: partial(attention, q, k, v) if way == "forward" else partial(attentions.step, attention, q, k, v, bar)
            for name, attention in contenders.items()
        }
        seconds[way] = medians(interleaved(runs, scale.rounds))
    double = [x.double() for x in (q, k, v)]
    exact = attentions.sinkformer_loop(*double, half_steps)
    errors = {
        name: float((contenders[name](q, k, v).double() - exact).abs().max())
        for name in ("Sinkformer", "Sinkformer, published loop")
    }
    rows = [
        [
            name,
            *(f"{milliseconds(found[name])}, {times(found[name] / found['softmax'])}" for found in seconds.values()),
            f"{errors[name]:.1e}" if name in errors else "",
        ]
        for name in contenders
    ]
    shape = " x ".join(map(str, scale.shape))
    table = Table(
        f"Attention of {shape} (batch, heads, length, width), float32, {ITERATIONS} iterations",
        ["attention", *(f"{way}, over softmax" for way in seconds), "largest error of the output"],
        rows,
        f"Products with keys and values included. {ITERATIONS} iterations that end on the rows are {half_steps} half "
        "steps. Errors against the same half steps in float64.",
    )
    show(table)
    forward, both = seconds.values()
    goals = [
        Goal("elastic attention over softmax, forward", forward["elastic attention"] / forward["softmax"], 2.0, False),
        Goal(
            "Sinkformer: times faster than the loop, forward",
            forward["Sinkformer, published loop"] / forward["Sinkformer"],
            15.0,
            True,
        ),
        Goal(
            "Sinkformer: times faster than the loop, forward and backward",
            both["Sinkformer, published loop"] / both["Sinkformer"],
            8.0,
            True,
        ),
    ]
    return Section([table], {"shape": scale.shape, "seconds": seconds, "errors": errors}, goals)


def sparse(scale: "Scale") -> Section:
    """Sparse against full attention, by length: seconds in this process, peak memory in fresh ones."""
    rows, figures, goals = [], [], []
    for length in scale.lengths:
        shape = (1, scale.heads, length, 64)
        q, k, v, _ = attentions.inputs(*shape)
        runs: dict[str, Run] = {
            "sparse": partial(attentions.sparse, q, k, v, block=BLOCK),
            "full": partial(attentions.softmax, q, k, v),
        }
        with torch.no_grad():
            seconds = medians(interleaved(runs, scale.rounds))
        resident = {name: measure_attention(name, shape, BLOCK)["resident"] for name in runs}
        rows.append(
            [
                str(length),
                *(milliseconds(seconds[name]) for name in runs),
                times(seconds["full"] / seconds["sparse"]),
                *(f"{resident[name] / 2**20:.0f} MiB" for name in runs),
            ]
        )
        figures.append({"length": length, "shape": shape, "seconds": seconds, "resident": resident})
        if length >= 2048:
            goals.append(Goal(f"sparse, length {length}: times faster", seconds["full"] / seconds["sparse"], 1.0, True))
    growth = figures[-1]["resident"]["sparse"] / figures[0]["resident"]["sparse"]
    longer = scale.lengths[-1] / scale.lengths[0]
    goals.append(Goal("sparse: growth of memory over growth of length", growth / longer, 1.25, False))
    table = Table(
        f"Sparse Sinkhorn attention, {scale.heads} heads of width 64, blocks of {BLOCK}, float32, forward",
        ["length", "sparse", "full", "times faster", "peak memory, sparse", "full"],
        rows,
        "Full: softmax attention in torch. Peak memory: growth of a fresh process above its inputs.",
    )
    show(table)
    return Section([table], figures, goals)


class Scale:
    """How much is measured."""

    def __init__(self, quick: bool) -> None:
        self.rounds = 3 if quick else 9
        self.shape = (1, 2, 64, 16) if quick else (4, 8, 512, 64)
        self.heads = 2 if quick else 8
        self.lengths = (128, 256) if quick else (1024, 2048, 3072, 4096)


SECTIONS: dict[str, Callable[[Scale], Section]] = {"dense": dense, "sparse": sparse}


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
            write(output / "attention", done, setting)
    show(summary(done))
    show(setting)


if __name__ == "__main__":
    main()
