"""The experiment of any task that has none of its own, a user's file included."""

from __future__ import annotations

from collections.abc import Callable

from lab.config import Experiment, ModelConfig, Probe, TrainConfig
from tasks import Task


def for_task(cls: type[Task], source: str | None = None) -> Callable[..., Experiment]:
    """The function `experiment` for a task class; source: its file when it is a user's own."""
    task = cls()
    first, *held_out = task.splits()

    def experiment(cot: bool = True, length: int = 8) -> Experiment:
        """Can a small transformer learn this task, and does it generalize to held-out rows?

        cot: train on the thought, then the answer; or on the answer alone
        length: size of the problem
        """
        return Experiment(
            name=task.name,
            task=task,
            cot=cot,
            model=ModelConfig(),
            train=TrainConfig(lengths=(length,)),
            probes=tuple(Probe(split, length, {"split": split}) for split in [first, *held_out]),
            source=source,
        )

    return experiment
