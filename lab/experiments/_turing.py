"""The shared part of the Turing Programs (2407.03310): model, training and probes at both scales.

From the paper and its authors' code: the paper trains on up to 50 digits and tests on 100;
Hard-ALiBi is its position encoding, as in the same authors' code for copying: 12 layers, width
1024, 16 heads, 8 of them banded, AdamW with weight decay 0.1, clipping at 1, a linear schedule with
100 steps of warm-up. Whether Turing Programs use that size is not known to us, nor are learning
rate, batch, steps and rows of a test: the gpu scale takes that model, and the rest is ours. So is
all of the cpu scale.
"""

from __future__ import annotations

from lab.config import Experiment, ModelConfig, TrainConfig
from lab.config.experiment import Scale, over_lengths
from lab.config.model import Position
from tasks import Task, refuse


def authors(
    position: Position, lengths: tuple[int, ...], steps: int
) -> tuple[ModelConfig, TrainConfig]:
    """Model and training of the code for copying; rate, batch, steps and evaluations are ours."""
    model = ModelConfig(
        layers="attention*12",
        width=1024,
        heads=16,
        position=position,
        banded=8 if position == "hard_alibi" else 0,
    )
    train = TrainConfig(
        steps=steps,
        batch=64,
        lengths=lengths,
        lr=1e-4,
        weight_decay=0.1,
        warmup=100,
        precision="bf16",
        eval_every=steps // 10,
        eval_rows=256,
        eval_answers=False,
    )
    return model, train


def program(
    name: str,
    task: Task,
    scale: Scale,
    cot: bool,
    longest: int,
    shortest: int,
    position: Position,
    steps: int,
) -> Experiment:
    """Train on lengths shortest..longest, probe up to twice the longest. steps: at cpu scale."""
    if longest < shortest:
        raise refuse("length", longest, f"at least {shortest}")
    lengths = tuple(range(shortest, longest + 1))
    banded = position == "hard_alibi"
    if scale == "gpu":
        model, train = authors(position, lengths, steps=20_000)
    else:
        model = ModelConfig(
            layers="attention*3",
            width=64,
            heads=8,
            position=position,
            banded=6 if banded else 0,
            qk_norm=True,
        )
        train = TrainConfig(
            steps=steps,
            batch=64,
            lengths=lengths,
            optimizer="muon",
            lr=5e-3,
            warmup=50,
            eval_every=steps // 8,
            eval_rows=128,
            eval_answers=False,
        )
    reached = {shortest, (shortest + longest) // 2, 2 * longest}
    reached |= {longest + round(share * longest) for share in (0.2, 0.4, 0.5, 0.6)}
    others = sorted(reached - {longest})
    return Experiment(
        name=name,
        task=task,
        cot=cot,
        model=model,
        train=train,
        probes=over_lengths("held out", (longest, *others), 256, split="test"),
    )
