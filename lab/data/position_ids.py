"""Position ids that a task gives its tokens, for the position schemes that read them."""

from __future__ import annotations

import numpy as np

from lab.config import Experiment, ModelConfig
from tasks import Batch, Task, refuse


def check_rows(experiment: Experiment) -> Experiment:
    """The experiment, once each of its probes and training lengths has given a row: a bad option is
    found before a run folder is made."""
    experiment.train.installed()
    rows = [(probe.of(experiment.task), probe.length) for probe in experiment.probes]
    rows += [(experiment.task, length) for length in experiment.train.lengths]
    for task, length in rows:
        position_ids(task, experiment.model, task.sample(np.random.default_rng(0), 1, length))
    return experiment


def position_ids(task: Task, config: ModelConfig, batch: Batch) -> np.ndarray | None:
    """The task's position ids [n,T], for the two schemes that read them."""
    if config.position not in ("coupled", "predicted"):
        return None
    ids = task.positions(batch)
    if ids is None:
        allowed = f"the task {task.name} has no coupled places"
        raise refuse("model.position", config.position, allowed)
    return ids
