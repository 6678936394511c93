"""Flip-flop language: does attention keep one bit among instructions to ignore? (2505.16381, FFLM)

The paper compares positions in one layer of two heads and width 64. Its test errors: RoPE 6.9% on
rows like those of training (80% ignored), 40.3% on sparse ones (98%), 0.01% on dense ones (10%);
PaTH 0, 0.0001 and 0%. The default here is RoPE; compare with `lab run flipflop --position path`.

gpu: that model; 256 instructions and 1.6 million rows as on the data card synthseq/flipflop.
Optimizer, batch and steps are not known to us. Ours: AdamW, learning rate 3e-4, weight decay 0.1,
50 steps of warm-up, a line to 0, 25,000 batches of 64. cpu: 64 instructions, 1,000 batches of 32
at 1e-3, all ours. Longer rows are our addition. A row counts when all its reads are right, which
is harder than the share of reads.

Measured, seed 0, minutes on one core: `lab run flipflop --position path` is right on every row of
every probe.
"""

from __future__ import annotations

from lab.config import Experiment, ModelConfig, Probe, TrainConfig
from lab.config.experiment import Scale, over_lengths
from tasks import refuse
from tasks.flipflop import FlipFlop

OTHERS = (0.98, 0.1)  # shares of ignored instructions that are never trained on


def experiment(scale: Scale = "cpu", length: int | None = None, ignore: float = 0.8) -> Experiment:
    """Does a one-layer model keep the last bit written, with many instructions in between?

    scale: cpu, minutes on one core; or gpu, the sizes of the paper and its data card
    length: instructions of a training row, two tokens each; none for 64 (cpu) or 256 (gpu)
    ignore: share of ignored instructions in training rows; probes have 0.98 and 0.1 as well
    """
    paper = scale == "gpu"
    if length is None:
        length = 256 if paper else 64
    if length < 3:
        raise refuse("length", length, "at least 3 instructions, or nothing can be held out")
    if paper:
        train = TrainConfig(
            steps=25_000,
            batch=64,
            lengths=(length,),
            lr=3e-4,
            weight_decay=0.1,
            warmup=50,
            eval_every=2_500,
            eval_rows=512,
            eval_answers=False,
        )
    else:
        train = TrainConfig(
            steps=1_000,
            batch=32,
            lengths=(length,),
            lr=1e-3,
            warmup=50,
            eval_every=100,
            eval_rows=128,
            eval_answers=False,
        )
    probes: tuple[Probe, ...] = ()
    for share in dict.fromkeys((ignore, *OTHERS)):
        label = f"{100 * share:g}% ignored"
        n = 4_096 if paper else 512
        probes += over_lengths(label, (length, 2 * length), n, split="test", ignore=share)
    return Experiment(
        name="flipflop",
        task=FlipFlop(ignore=ignore),
        cot=False,
        model=ModelConfig(layers="attention", width=64, heads=2, position="rope"),
        train=train,
        probes=probes,
    )
