"""Planted sparse parity: length generalization against sparsity (2502.16792).

The paper's claim: the fewer tokens a label depends on, the longer the inputs to which a model
generalizes; its layout, sizes, training and numbers are not known to us, so all of this is ours.
One model learns k planted bits in rows of up to `length` tokens and is probed on longer rows, and
on fewer and more bits than it was trained on. gpu: six layers of width 512, rows of 20 to 50
tokens; cpu: two layers of width 64, rows of 8 to 16. Measured, seed 0, 130 s on one core: `lab run
planted` answers at least 0.9 of the rows up to 24 tokens and 0.46 of those of 64; it does not
generalize to 2 or 6 bits.
"""

from __future__ import annotations

from lab.config import Experiment, ModelConfig, TrainConfig
from lab.config.experiment import Scale, over_lengths
from lab.config.model import Position
from tasks import refuse
from tasks.planted import Planted


def experiment(
    scale: Scale = "cpu",
    cot: bool = True,
    length: int | None = None,
    k: int = 4,
    position: Position = "alibi",
) -> Experiment:
    """Does a parity of few planted bits generalize to longer rows and other numbers of bits?

    scale: cpu, minutes on one core; or gpu, a larger model on longer rows
    cot: write the running parity, then the answer; or the answer alone
    length: tokens of the longest training prompt; none for 16 (cpu) or 50 (gpu)
    k: planted bits of a training row; probes have k - 2, at least 2, and k + 2 as well
    position: where order comes from
    """
    paper = scale == "gpu"
    longest = (50 if paper else 16) if length is None else length
    shortest = max(k + 2, longest * 2 // 5 if paper else longest // 2)
    if longest < shortest:
        raise refuse("length", longest, f"at least k + 2, {k + 2}")
    model = ModelConfig(layers="attention*2", width=64, heads=4, position=position)
    train = TrainConfig(
        steps=3_000,
        batch=128,
        lengths=tuple(range(shortest, longest + 1)),
        lr=1e-3,
        warmup=50,
        eval_every=300,
        eval_rows=256,
        eval_answers=False,
    )
    if paper:
        model = ModelConfig(layers="attention*6", width=512, heads=8, position=position)
        train = TrainConfig(
            steps=20_000,
            batch=256,
            lengths=train.lengths,
            lr=3e-4,
            warmup=500,
            precision="bf16",
            eval_every=2_000,
            eval_rows=512,
            eval_answers=False,
        )
    lengths = (longest, longest * 3 // 2, 2 * longest, 4 * longest)
    probes = over_lengths("held out", lengths, 512, split="test")
    for other in sorted({max(2, k - 2), k + 2} - {k}):
        probes += over_lengths(f"k = {other}", lengths, 512, split="test", k=other)
    return Experiment(
        name="planted", task=Planted(k=k), cot=cot, model=model, train=train, probes=probes
    )
