"""Addition by reinforcement alone: from a half-trained model to more than twice its accuracy.

The parent learns sums of two numbers from rows, without a thought, and stops at the first
evaluation at which one in four held-out sums is right. From then on it sees no sum: grpo samples
8 answers to each prompt, and the oracle says which are right. The objective is that of DeepSeekMath
(2402.03300); task, sizes and budgets are ours, and the gpu scale has not been run. Measured, seed
93, 84 s of CPU time: held-out sums of 2 digits right in 0.306 of the rows before, 0.862 after.
"""

from __future__ import annotations

from dataclasses import replace

from lab.config import Experiment, ModelConfig, Parent, TrainConfig
from lab.config.experiment import Scale, over_lengths
from tasks.addition import Addition

HALF = 0.25  # exact match at which the parent stops


def experiment(scale: Scale = "cpu", length: int | None = None, base: int = 10) -> Experiment:
    """Can a half-trained model learn to add from the oracle's rewards alone?

    scale: cpu, minutes on one core; or gpu, longer numbers and a wider model
    length: number of digits; none for 2 (cpu) or 4 (gpu)
    base: number of values of a digit, 2 to 26
    """
    wide = scale == "gpu"
    digits = (4 if wide else 2) if length is None else length
    model = ModelConfig(
        layers=f"attention*{4 if wide else 2}",
        width=256 if wide else 64,
        heads=4,
        position="learned",
    )
    rows = TrainConfig(
        steps=20_000 if wide else 2_000,
        batch=256 if wide else 64,
        lengths=(digits,),
        lr=3e-4 if wide else 1e-3,
        schedule="constant",
        warmup=20,
        eval_every=100 if wide else 10,
        eval_rows=512,
        eval_answers=False,
        threshold=HALF,
        early_stop=True,
    )
    parent = Experiment(
        name="addition",
        task=Addition(base),
        cot=False,
        model=model,
        train=rows,
        probes=over_lengths("held out", (digits, 2 * digits), 1_024, split="test"),
    )
    rewards = TrainConfig(
        objective="grpo",
        steps=1_000 if wide else 200,
        batch=512 if wide else 128,
        samples=8,
        lengths=(digits,),
        lr=1e-4 if wide else 3e-4,
        warmup=5,
        eval_every=100 if wide else 25,
        eval_rows=512,
    )
    return replace(parent, name="addition_rl", train=rewards, parent=Parent(parent))
