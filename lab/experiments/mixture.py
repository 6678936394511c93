"""Several tasks in one run: `--parts "parity k=2; copy; copy symbols=9 weight=2"` (2501.11873).

Balanced over a micro-batch of one task, experts must serve all tasks alike; balanced over all
micro-batches of a step, they may divide the tasks. The two arms are `lab run mixture --experts 8
--grad-accum 6 --micro-batches one_part` with and without `--balance-over global`, and `lab analyze
RUN --what experts` counts experts by part. There: 3.4 to 43 billion parameters; tasks, sizes and
budgets are ours at both scales. cpu: 8 bits, symbols and numbers, two layers of width 64. gpu: 16
of each, six layers with 8 experts, micro-batches of one part balanced together.
"""

from __future__ import annotations

from dataclasses import replace

from lab.config import Experiment, ModelConfig, Probe, TrainConfig
from lab.config.experiment import Scale
from tasks.mixture import Mixture

PARTS = "parity k=2; copy symbols=10; sorting values=10"


def experiment(
    scale: Scale = "cpu",
    cot: bool = True,
    length: int | None = None,
    parts: str = PARTS,
    named: bool = True,
) -> Experiment:
    """Can one model learn several tasks at once, and which experts serve which task?

    scale: cpu, minutes on one core; or gpu, longer rows and a wider model with experts
    cot: train on the thoughts of the parts that have one, then the answer; or on the answer alone
    length: size of the problem, of parts without a length of their own; none for 8 (cpu) or 16
        (gpu), or 1 where all parts have one
    parts: tasks with options, weights and lengths, and ; between them
    named: begin each row with a token that names its part
    """
    wide = scale == "gpu"
    task = Mixture(parts=parts, named=named)
    each = task.each_part()
    if length is None:
        length = 1 if all(part.length for part in each) else 16 if wide else 8
    model = ModelConfig(layers="attention*2", width=64, heads=4, position="rope")
    train = TrainConfig(steps=1_500, batch=96, lr=3e-3, warmup=50, eval_every=150)
    if wide:
        model = replace(
            model, layers="attention*6", width=512, heads=8, experts=8, balance_over="global"
        )
        train = TrainConfig(
            steps=20_000,
            batch=384,
            grad_accum=12,
            micro_batches="one_part",
            lr=3e-4,
            warmup=500,
            eval_every=2_000,
            precision="bf16",
        )
    probes = [Probe("all parts", length, {"split": "test"})]
    for part in each:
        change = {"part": part.name, "split": "test"}
        probes.append(Probe(part.name, part.at(length), change, 512))
    return Experiment(
        name="mixture",
        task=task,
        cot=cot,
        model=model,
        train=replace(train, lengths=(length,), eval_rows=128, eval_answers=False),
        probes=tuple(probes),
    )
