"""Bigram-Backcopy: a head that has something to do at few tokens only (2410.13835, section 2).

At a trigger the head reads the token before it. What follows the other tokens is best predicted
from these alone, by the bigram table, and there the weight of the head goes to the first token: an
attention sink, which `lab analyze` shows. The claim gate-sink measures what a gate does to it
(`--gate elementwise`).

gpu: the sizes of the published code: 65 characters with 3 triggers, rows of 256 tokens, one layer
with one head of width 256, AdamW at 3e-4 with decay rates 0.9 and 0.99 and weight decay 1e-4,
10,000 batches of 512. cpu: 31 characters, rows of 48 tokens, width 64, AdamW at 3e-3 with 0.9 and
0.98, 4,000 batches of 32. Ours: that, learned positions, a constant rate. A probe on longer rows
reads positions that were never trained; with `--position rope` there are none.
"""

from __future__ import annotations

from lab.config import Experiment, ModelConfig, TrainConfig
from lab.config.experiment import Scale, over_lengths
from tasks import refuse
from tasks.backcopy import Backcopy


def experiment(
    scale: Scale = "cpu", length: int | None = None, triggers: int = 3, rate: float = 0.25
) -> Experiment:
    """Where does a head look that has something to do at few tokens only?

    scale: cpu, minutes on one core; or gpu, the sizes of the published code
    length: tokens of a row after the first; none for 48 (cpu) or 256 (gpu)
    triggers: how many different ones there are
    rate: probability of a trigger after any other token
    """
    paper = scale == "gpu"
    if length is None:
        length = 256 if paper else 48
    if length < 3:
        raise refuse("length", length, "at least 3, for one back-copy")
    if paper:
        train = TrainConfig(
            steps=10_000,
            batch=512,
            lengths=(length,),
            lr=3e-4,
            beta2=0.99,
            weight_decay=1e-4,
            schedule="constant",
            eval_every=1_000,
            eval_rows=256,
            eval_answers=False,
        )
    else:
        train = TrainConfig(
            steps=4_000,
            batch=32,
            lengths=(length,),
            lr=3e-3,
            beta2=0.98,
            schedule="constant",
            eval_every=500,
            eval_rows=128,
            eval_answers=False,
        )
    return Experiment(
        name="backcopy",
        task=Backcopy(letters=62 if paper else 28, triggers=triggers, rate=rate),
        cot=False,
        model=ModelConfig(layers="attention", width=256 if paper else 64, heads=1),
        train=train,
        probes=over_lengths("held out", (length, 2 * length), 512, split="test"),
    )
