"""Position ids that a task gives its tokens, for position = coupled and predicted."""

from __future__ import annotations

import functools

import numpy as np

from lab.config import Experiment, ModelConfig
from lab.data.size import check_size
from tasks import Batch, Task, refuse


def check_rows(experiment: Experiment) -> Experiment:
    """The experiment, after one row was made at each training length and for each probe.

    A bad option, and a size beyond this machine's memory, raises ValueError here, before a run
    folder is made.
    """
    experiment.train.installed()
    check_size(experiment)
    rows = [(probe.of(experiment.task), probe.length) for probe in experiment.probes]
    rows += [(experiment.task, length) for length in experiment.train.lengths]
    for task, length in rows:
        position_ids(task, experiment.model, _row(_Same(task), length))
    return experiment


class _Same:
    """A task as a key of a cache, also where an option of a user's task cannot be hashed."""

    def __init__(self, task: Task) -> None:
        self.task, self.text = task, repr(task)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Same) and self.task == other.task

    def __hash__(self) -> int:
        return hash(self.text)


@functools.lru_cache(256)  # most experiments of a sweep share their tasks
def _row(key: _Same, length: int) -> Batch:
    return key.task.sample(np.random.default_rng(0), 1, length)


def position_ids(task: Task, config: ModelConfig, batch: Batch) -> np.ndarray | None:
    """The task's position ids [n,T]; None for a position scheme that does not read them.

    ValueError when the scheme needs ids and the task has none.
    """
    if config.position not in ("coupled", "predicted"):
        return None
    ids = task.positions(batch)
    if ids is None:
        allowed = f"the task {task.name} has no position ids"
        raise refuse("model.position", config.position, allowed)
    return ids
