"""The shortest path in a graph, with a breadth-first search as the thought or without (2410.19034).

Mixture of Parrots: more experts help to memorize (see phone_book) and hardly to find paths, from
about 67 to 71% of the graphs. Whether its rows have a thought is not known to us.

gpu: 12 layers with top-2 experts whose hidden width is that of the model, a million training rows
and 1,000 to test, as in the paper. Its graphs, widths, optimizer, rates and steps are not known to
us: 32 nodes, width 512, 8 experts and 20 epochs are ours. cpu, all ours: 6 to 10 nodes, three
layers of width 64, Muon. Larger graphs are our addition, and hard: node names from `length` on
never occur in training.

Measured, seed 90, one core: `lab run shortest_path` gets 1.00 of graphs of 6 nodes and 0.75 of 10
after 1,800 of its 2,000 steps, with every token of the search right, and none of 15.
"""

from __future__ import annotations

from dataclasses import replace

from lab.config import Experiment, ModelConfig, TrainConfig
from lab.config.experiment import Scale, over_lengths
from tasks import refuse
from tasks.shortest_path import ShortestPath


def experiment(
    scale: Scale = "cpu", cot: bool = True, length: int | None = None, extra: float = 0.5
) -> Experiment:
    """Does a model find shortest paths, with and without a search written out?

    scale: cpu, minutes on one core; or gpu, sizes of the paper
    cot: train on the search, then the path; or on the path alone
    length: nodes of the largest training graphs; none for 10 (cpu) or 32 (gpu)
    extra: edges beyond those of a tree, as a fraction of the nodes but two
    """
    paper = scale == "gpu"
    if length is None:
        length = 32 if paper else 10
    if not 6 <= length <= 64:
        raise refuse("length", length, "from 6 to 64 nodes")
    if paper:
        lengths: tuple[int, ...] = (length,)
        model = ModelConfig(
            layers="attention*12",
            width=512,
            heads=8,
            position="rope",
            mlp_ratio=1.0,
            experts=8,
        )
        train = TrainConfig(
            steps=39_062,
            batch=512,
            lr=3e-4,
            warmup=500,
            precision="bf16",
            examples=1_000_000,
            eval_every=4_000,
        )
    else:
        lengths = tuple(sorted({max(6, length - i) for i in (0, 2, 4)}))
        model = ModelConfig(layers="attention*3", width=64, heads=4, position="rope")
        train = TrainConfig(
            steps=2_000, batch=64, optimizer="muon", lr=4e-3, warmup=50, eval_every=200
        )
    probed = sorted({lengths[0], length, 3 * length // 2, 2 * length})
    return Experiment(
        name="shortest_path",
        task=ShortestPath(extra=extra, most=2 * length),
        cot=cot,
        model=model,
        train=replace(train, lengths=lengths, eval_rows=128, eval_answers=False),
        probes=over_lengths("held out", probed, 1_000 if paper else 512, split="test"),
    )
