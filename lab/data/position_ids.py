"""Position ids that a task gives its tokens, and whether rows fit a table of positions."""

from __future__ import annotations

import functools

import numpy as np

from lab.config import Experiment, ModelConfig
from lab.data.batches import visible
from lab.data.parts import alone
from lab.data.rows import Rows
from lab.data.size import check_size
from tasks import Batch, Task, draw, refuse


def check_rows(experiment: Experiment) -> Experiment:
    """The experiment, after one row was made at each training length and for each probe, of every
    part of a mixture.

    A bad option, and a size beyond this machine's memory, raises ValueError here, before a run
    folder is made. The parent is checked first.
    """
    if experiment.parent:
        check_rows(experiment.parent.experiment)
    experiment.train.installed()
    check_size(experiment)
    rows = [(probe.of(experiment.task), probe.length, 0) for probe in experiment.probes]
    offset = experiment.train.offset
    rows += [(experiment.task, length, offset) for length in experiment.train.lengths]
    rows += [(own, size, shift) for task, at, shift in rows for own, size in alone(task, at)]
    for task, length, shift in rows:
        if experiment.source:
            Rows(task, length, 0)[0:1]  # a whole block shows more of a user's errors
        _check_positions(experiment, task, length, shift)
    return experiment


def _check_positions(experiment: Experiment, task: Task, length: int, shift: int) -> None:
    """ValueError when the row has no position in the model's table; shift: the largest one."""
    config = experiment.model
    batch = visible(experiment, _row(_Same(task), length))
    ids = position_ids(task, config, batch)
    if config.position not in ("learned", "coupled", "predicted"):
        return
    tokens = batch.tokens.shape[1] - 1  # the last one is never read
    highest = shift + (tokens if ids is None else int(ids[:, :-1].max(initial=0)) + 1)
    if highest > config.max_positions:
        allowed = f"at least {highest}, the positions of a row of length {length}"
        raise refuse("model.max_positions", config.max_positions, allowed)


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
    return draw(key.task, np.random.default_rng(0), 1, length)


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
