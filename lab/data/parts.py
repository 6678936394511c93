"""Micro-batches of one part of a mixture each (2501.11873: a micro-batch is of one domain).

    parts with weights 2, 1, 1       a b a c | c a a b | ...      one letter a micro-batch

In every sum(weights) micro-batches, counted over the whole run, each part has its weight, in an
order that is drawn anew (ours). So a step trains on all parts alike where grad_accum is a multiple
of that sum, and row i of a part is seen once, whatever the order.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from lab.config import Experiment
from lab.data.rows import join, stream
from lab.data.thoughts import training_rows
from tasks import Batch, Task


def alone(task: Task, length: int) -> list[tuple[Task, int]]:
    """Each part of a mixture of this length as a task of its own, with its own length; empty for
    any other task."""
    return [
        (replace(task, part=part.name), part.at(length))  # type: ignore[type-var]
        for part in task.each_part()
    ]


def turns(weights: Sequence[int], seed: int) -> Callable[[int], tuple[int, int]]:
    """A function from the number of a micro-batch (0, 1, ...) to its part, and how many
    micro-batches before it are of that part."""
    each = np.repeat(np.arange(len(weights)), weights)

    @functools.lru_cache(8)
    def order(period: int) -> np.ndarray:
        return np.random.default_rng(stream(seed, "parts", period)).permutation(each)

    def turn(number: int) -> tuple[int, int]:
        period, at = divmod(number, len(each))
        part = int(order(period)[at])
        return part, period * weights[part] + int((order(period)[:at] == part).sum())

    return turn


def batches_by_part(experiment: Experiment) -> Callable[[int, int], Batch]:
    """A function from a length and a step (0, 1, ...) to its batch: `grad_accum` micro-batches of
    one part each, one after the other."""
    config, task = experiment.train, experiment.task
    turn = turns([part.weight for part in task.each_part()], config.seed)
    size = config.batch // config.grad_accum
    rows = {
        (length, number): training_rows(own, its_length, config, experiment.stage, str(number))
        for length in config.lengths
        for number, (own, its_length) in enumerate(alone(task, length))
    }

    def draw(length: int, step: int) -> Batch:
        first = step * config.grad_accum
        chosen = [turn(number) for number in range(first, first + config.grad_accum)]
        return join([rows[length, part][n * size : (n + 1) * size] for part, n in chosen])

    return draw
