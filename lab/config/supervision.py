"""Whether the rows of a task and the model allow what training is configured to do with them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from tasks import Batch, Role, draw, refuse

if TYPE_CHECKING:
    from lab.config.experiment import Experiment

# Settings of training about thoughts, and the values that need none.
THOUGHTS: dict[str, tuple[Any, ...]] = {
    "cot_noise": ("none",),
    "reward_process": (0,),
    "accept": ("answer", "random"),
}


def check_supervision(experiment: Experiment) -> None:
    """Refuse settings of training that the rows of the task, or the model, do not allow."""
    train = experiment.train
    if train.micro_batches != "mixed" and not experiment.task.each_part():
        allowed = f"the rows of the task {experiment.task.name} are of one part"
        raise refuse("train.micro_batches", train.micro_batches, allowed)
    for name, off in THOUGHTS.items():
        value = getattr(train, name)
        if value in off:
            continue
        if not experiment.cot:
            raise refuse(f"train.{name}", value, "cot = false leaves no thought")
        _check_thought(experiment, f"train.{name}", value)
    if max(train.reveal, default=0):
        _check_hints(experiment)
    if train.samples_completions:
        _check_sampling(experiment)


def _check_hints(experiment: Experiment) -> None:
    """Refuse hints where no thought is and no answer has a token before its last one."""
    rows = _some_rows(experiment)
    if rows is None:
        return
    if experiment.cot and np.isin(rows.roles, (Role.THOUGHT, Role.TOOL)).any():
        return
    answer = rows.without_thoughts().roles == Role.ANSWER
    if not (answer[:, 1:] & answer[:, :-1]).any():
        allowed = f"without a thought, an answer of {experiment.task.name} has one token"
        raise refuse("train.reveal", experiment.train.reveal, allowed)


def _check_thought(experiment: Experiment, option: str, value: object) -> None:
    """Refuse an option about thoughts where the task has none or cannot recompute them."""
    task, rows = experiment.task, _some_rows(experiment)
    if rows is None:
        return
    if not (rows.roles == Role.THOUGHT).any():
        raise refuse(option, value, f"the rows of the task {task.name} have no thought")
    if value == "dynamic":
        try:
            task.recompute(rows, lambda tokens, columns: tokens)
        except ValueError as error:
            raise refuse(option, value, str(error)) from None


def _check_sampling(experiment: Experiment) -> None:
    """Refuse what an objective that samples completions cannot train."""
    train, model, task = experiment.train, experiment.model, experiment.task
    with_objective = f"not with objective = {train.objective}"
    if model.position in ("coupled", "predicted"):
        allowed = f"{with_objective}: a sampled row has no position ids of the task"
        raise refuse("model.position", model.position, allowed)
    if train.objective == "grpo" and model.dropout:
        allowed = f"{with_objective}: it would sample from another model than it updates"
        raise refuse("model.dropout", model.dropout, allowed)
    if train.reward_format and not task.stop:
        allowed = f"every completion of the task {task.name} has its form"
        raise refuse("train.reward_format", train.reward_format, allowed)
    rows = _some_rows(experiment) if experiment.cot else None
    if rows is not None and (rows.roles == Role.TOOL).any():
        allowed = f"the task {task.name} has a tool, whose tokens the model does not write"
        raise refuse("train.objective", train.objective, allowed)


def _some_rows(experiment: Experiment) -> Batch | None:
    """A few rows of the first training length; None where it is refused elsewhere, in better
    words."""
    length = min(experiment.train.lengths[0], 256)  # long rows cost memory and tell no more
    try:
        return draw(experiment.task, np.random.default_rng(0), 64, length)
    except ValueError:
        return None
