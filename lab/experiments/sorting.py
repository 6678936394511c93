"""Sort numbers that are written in ascending, descending or a fixed random order (1511.06391).

Order Matters: the order in which a set is read and written decides how well it is learned. The
paper sorts 5, 10 or 15 random floats with a read-process-write network, scored after 10,000
iterations; tokens, a transformer and the order of the output as an option are ours, and so are
optimizer, rate and batch. gpu: 15 numbers of 1,000 values, 10,000 batches of 512. cpu: 10 numbers
of 64 values, two layers of width 64. Longer rows are our addition; a fixed random order belongs to
one length, so there are none for `--output-order shuffled`.

Measured, seed 90, one core: `lab run sorting` gets 0.82 of rows of 10 numbers after 1,050 of its
1,500 steps, 0.01 of 15 and none of 20.
"""

from __future__ import annotations

from typing import Literal

from lab.config import Experiment, ModelConfig, TrainConfig
from lab.config.experiment import Scale, over_lengths
from tasks.sorting import Sorting


def experiment(
    scale: Scale = "cpu",
    length: int | None = None,
    values: int | None = None,
    input_order: Literal["random", "ascending", "descending"] = "random",
    output_order: Literal["ascending", "descending", "shuffled"] = "ascending",
) -> Experiment:
    """In which order is a sorted list learned best?

    scale: cpu, minutes on one core; or gpu, the numbers and iterations of the paper
    length: numbers of a training row; none for 10 (cpu) or 15 (gpu)
    values: numbers are below this; none for 64 (cpu) or 1000 (gpu)
    input_order: how the numbers are given
    output_order: how they are written; shuffled: their ranks in one fixed random order
    """
    paper = scale == "gpu"
    if length is None:
        length = 15 if paper else 10
    if values is None:
        values = 1000 if paper else 64
    lengths = (length,) if output_order == "shuffled" else (length, 3 * length // 2, 2 * length)
    return Experiment(
        name="sorting",
        task=Sorting(values=values, input_order=input_order, output_order=output_order),
        cot=False,
        model=ModelConfig(
            layers="attention*4" if paper else "attention*2",
            width=256 if paper else 64,
            heads=8 if paper else 4,
            position="rope",
        ),
        train=TrainConfig(
            steps=10_000 if paper else 1_500,
            batch=512 if paper else 128,
            lengths=(length,),
            lr=1e-3 if paper else 3e-3,
            warmup=50,
            eval_every=1_000 if paper else 150,
            eval_rows=512,
            eval_answers=False,
        ),
        probes=over_lengths("held out", dict.fromkeys(lengths), 512, split="test"),
    )
