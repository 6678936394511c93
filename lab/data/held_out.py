"""Whether the probes of an experiment hold anything out that it trains on."""

from __future__ import annotations

import numpy as np

from lab.config import Experiment
from lab.data.rows import draw
from tasks import Task

ROWS = 64  # that two splits are compared by


def no_held_out(experiment: Experiment) -> str | None:
    """A sentence where train and test are one distribution: every probe of a training length draws
    its rows as training does. None where one holds rows out, or is longer.

    Compared are the rows of one random generator, which a task that has two splits draws apart.
    """
    lengths = set(experiment.train.lengths)
    if any(probe.length not in lengths for probe in experiment.probes):
        return None
    task = experiment.task
    for probe in experiment.probes:
        if not _equal(task, probe.of(task), probe.length):
            return None
    named = [task.split, *(probe.of(task).split for probe in experiment.probes)]
    splits = " and ".join(map(repr, dict.fromkeys(named)))
    return f"Note: train and test are one distribution ({splits}): nothing is held out."


def _equal(one: Task, other: Task, length: int) -> bool:
    """Whether two tasks draw the same rows from one random generator."""
    if one == other:
        return True
    a, b = (draw(task, np.random.default_rng(0), ROWS, length) for task in (one, other))
    return np.array_equal(a.tokens, b.tokens) and np.array_equal(a.roles, b.roles)
