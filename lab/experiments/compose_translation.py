"""Chained translation: lists of languages that were never seen (2502.08991, its translation code).

gpu: that code: six languages in lists of six, 20 meanings, three example lines, ten training lists,
100,000 rows once in batches of 16, GPT-2 of two layers, three heads and width 720, bf16, AdamW at
6e-5, a line to 0. Its results are not known to us; RoPE and an output matrix that is not tied to
the embedding are ours. cpu is ours: ten lists of four out of 1,296, eight meanings, width 64. Lists
twice as long are our addition.

Measured, seed 0, 91 s on one thread: `lab run compose_translation` gets 1.000 of rows of seen lists
exactly and 0.906 of unseen ones, and none of lists twice as long.
"""

from __future__ import annotations

from dataclasses import replace

from lab.config import Experiment, ModelConfig, Probe, TrainConfig
from lab.config.experiment import Scale, over_lengths
from tasks.compose_translation import ComposeTranslation


def experiment(
    scale: Scale = "cpu",
    cot: bool = True,
    length: int | None = None,
    languages: int = 6,
    meanings: int | None = None,
    contexts: int = 3,
    train_tasks: int = 10,
) -> Experiment:
    """Does a model translate through lists of languages that were never combined in training?

    scale: cpu, minutes on one core; or gpu, the sizes of the published code
    cot: train on every translation of the chain; or on the last one alone
    length: languages in a list; none for 4 (cpu) or 6 (gpu)
    languages: how many there are, with repetition in a list
    meanings: words of each language; none for 8 (cpu) or 20 (gpu)
    contexts: example lines before the question
    train_tasks: lists in training, all others are unseen
    """
    paper = scale == "gpu"
    if length is None:
        length = 6 if paper else 4
    if meanings is None:
        meanings = 20 if paper else 8
    model = ModelConfig(
        layers="attention*2",
        width=720 if paper else 64,
        heads=3 if paper else 4,
        position="rope",
    )
    if paper:
        train = TrainConfig(steps=6_250, batch=16, lr=6e-5, precision="bf16", eval_every=625)
    else:
        train = TrainConfig(steps=1_000, batch=64, lr=3e-3, warmup=50, eval_every=100)
    probes: tuple[Probe, ...] = ()
    for label, lengths in (("seen", (length,)), ("unseen", (length, 2 * length))):
        probes += over_lengths(f"{label} lists", lengths, split=label)
    return Experiment(
        name="compose_translation",
        task=ComposeTranslation(
            languages=languages, meanings=meanings, contexts=contexts, train_tasks=train_tasks
        ),
        cot=cot,
        model=model,
        train=replace(train, lengths=(length,), eval_rows=256, eval_answers=False),
        probes=probes,
    )
