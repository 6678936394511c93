"""The training batch of a step, and the part of a task's rows that a model sees."""

from __future__ import annotations

import functools
from collections.abc import Callable

import numpy as np

from lab.config import Experiment, TrainConfig
from lab.data.parts import batches_by_part
from lab.data.rows import stream
from lab.data.thoughts import reveal, training_rows
from tasks import Batch


def batch_for_step(experiment: Experiment) -> Callable[[int], Batch]:
    """A function from a step (0, 1, ...) to its training batch. It depends on the step alone, so
    training can start at any step."""
    config, task = experiment.train, experiment.task
    stage = experiment.stage
    rows = {length: training_rows(task, length, config, stage) for length in config.lengths}
    size = -(-(config.examples or 0) // len(rows))  # rows of a fixed set, per length

    @functools.lru_cache(maxsize=2 * len(rows))
    def order(length: int, epoch: int) -> np.ndarray:
        key = stream(config.seed, "order", length, epoch)
        return np.random.default_rng(key).permutation(size)

    fixed = functools.cache(lambda length: rows[length][0:size])
    by_part = batches_by_part(experiment) if config.micro_batches == "one_part" else None

    def draw(step: int) -> Batch:
        lengths = open_lengths(config, step)
        rng = np.random.default_rng(stream(config.seed, "length", step))
        length = lengths[rng.integers(len(lengths))]
        start, stop = step * config.batch, (step + 1) * config.batch
        if by_part is not None:
            batch = by_part(length, step)
        elif config.examples is None:
            batch = rows[length][start:stop]
        else:
            number = np.arange(start, stop)
            picked = [order(length, int(e))[i] for e, i in zip(*divmod(number, size), strict=True)]
            batch = fixed(length)[np.array(picked)]
        return visible(experiment, batch, step)

    return draw


def open_lengths(config: TrainConfig, step: int) -> list[int]:
    """The lengths that a step draws from, with equal probability, shortest first.

    With a curriculum over S steps (that fraction of all steps, rounded), step s = 0, 1, ... < S
    draws from the shortest ceil(lengths x (s + 1) / S) lengths; later steps draw from all.
    """
    lengths = sorted(config.lengths)
    span = round(config.curriculum * config.steps)
    return lengths if step >= span else lengths[: -(-len(lengths) * (step + 1) // span)]


def visible(experiment: Experiment, batch: Batch, step: int | None = None) -> Batch:
    """What the model sees of a task's rows: without thoughts if cot is false, with repeated
    prompts, and with the hint of `reveal` at this training step (from 0; None: a probe, which has
    the last hint of the schedule, always of its own thought)."""
    seen = batch if experiment.cot else batch.without_thoughts()
    seen, shares = seen.repeat_prompt(experiment.prompt_repeats), experiment.train.reveal
    if not shares:
        return seen
    if step is None:
        return reveal(seen, shares[-1])
    part = min(len(shares) - 1, step * len(shares) // experiment.train.steps)
    return reveal(seen, shares[part], experiment.train.reveal_of)
