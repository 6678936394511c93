"""Is a graph a tree? With a depth-first search as the thought, or without (2402.18510, 4.2.2).

The paper trains LLaMA and Mamba models of 0.5 to 2 million parameters, one for each number of
nodes; with the tour a transformer of 1 million is right on all graphs of 64 nodes, without it every
model stays at chance, and recurrent ones fall behind as graphs grow.

gpu: its LLaMA of 1 million (--preset has the other eight), 32 nodes, 5 million rows drawn from a
fixed million in batches of 64, AdamW at 1e-3 (3e-4 for mamba), 10,000 rows of warm-up, a cosine,
no clipping, 5,000 graphs a probe. cpu is ours: graphs of 6 to 12 nodes mixed, three layers of width
64, RoPE, Muon. Larger graphs are our addition, and hard: node names from `length` on never occur in
training.

Measured, seed 0, 297 s on one core: `lab run istree` answers 1.000 of the graphs of 6 nodes and
0.965 of those of 12, and is below a coin at 18 and 24.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

from lab.config import Experiment, ModelConfig, TrainConfig
from lab.config.experiment import Scale, over_lengths
from lab.config.presets import PRESETS
from tasks import refuse
from tasks.istree import IsTree


def experiment(
    scale: Scale = "cpu",
    cot: bool = True,
    length: int | None = None,
    graph: Literal["two-hub", "random"] = "two-hub",
    trace: Literal["tour", "retrieval"] = "tour",
) -> Experiment:
    """Can a model tell trees from other graphs, with and without a search written out?

    scale: cpu, minutes on one core; or gpu, the paper's sizes
    cot: train on the search, then the answer; or on the answer alone
    length: nodes of the largest training graphs; none for 12 (cpu) or 32 (gpu)
    graph: how graphs are drawn, the paper's two hubs or random trees with an edge moved
    trace: the search as a tour, or with a retrieval tool
    """
    if trace == "retrieval" and not cot:
        raise refuse("trace", trace, "cot = false leaves no thought")
    paper = scale == "gpu"
    if length is None:
        length = 32 if paper else 12
    if not 4 <= length <= 512:
        raise refuse("length", length, "from 4 to 512 nodes")
    if paper:
        lengths: tuple[int, ...] = (length,)
        model = PRESETS["llama-1m"]
        train = TrainConfig(
            steps=78_125,
            lr=1e-3,
            schedule="cosine",
            warmup=156,
            grad_clip=0,
            examples=1_000_000,
            eval_every=7_000,
        )
    else:
        lengths = tuple(sorted({max(4, length * i // 6) for i in (3, 4, 5, 6)}))
        model = ModelConfig(layers="attention*3", width=64, heads=4, position="rope")
        train = TrainConfig(steps=2_000, optimizer="muon", lr=4e-3, warmup=50, eval_every=200)
    probed = sorted({lengths[0], lengths[-1], 3 * length // 2, 2 * length})
    return Experiment(
        name="istree",
        task=IsTree(graph=graph, trace=trace, most=2 * length),
        cot=cot,
        model=model,
        train=replace(train, batch=64, lengths=lengths, eval_rows=128, eval_answers=False),
        probes=over_lengths("held out", probed, 5_000 if paper else 512, split="test"),
    )
