"""Steps of objectives that sample: completions are sampled, judged, and trained on.

Step s takes the prompts of training batch s (lab.training.loop) and random numbers that depend on
seed and s alone, so that training can start at any step. With train.reveal, the first tokens of
the oracle's solution stand in these prompts as a hint, as in QuestA (2507.13266): they are given,
neither sampled nor trained on, and are never all of an answer. A step tells, besides its loss:

    reward             mean reward of the completions (expert_iteration: 1 for an accepted one)
    pass@1, pass@2 ..  Pass@k of the prompts, before the updates; fresh prompts, so no row was seen
    idle               share of the prompts that teach nothing: all rewards equal, none accepted
    ended              share of the completions that end with an answer
    written            tokens that the model chose in a completion, mean
    entropy            of these choices, nats
    kl, clipped        grpo, of the last update: see lab.training.objectives.grpo
"""

from __future__ import annotations

from collections.abc import Generator
from typing import Protocol

import numpy as np
import torch

from lab.config import Experiment
from lab.data.batches import batch_for_step
from lab.data.rows import prefetch
from lab.nn.model import Model
from lab.training.loop import Step, update
from lab.training.objectives.expert_iteration import ExpertIteration
from lab.training.objectives.grpo import Grpo
from lab.training.objectives.rewards import judge, passes, rewards
from lab.training.objectives.rollouts import roll_out
from lab.training.schedules import set_rate


class Objective(Protocol):
    """What grpo and expert_iteration make of one batch of completions."""

    reward: np.ndarray
    idle: float

    def backward(self, model: Model, number: int) -> tuple[float, dict[str, float]] | None:
        """Add the gradients of update `number`: the loss and what else is told; None for none."""


def reinforce(
    experiment: Experiment,
    model: Model,
    optimizer: torch.optim.Optimizer,
    start: int,
    device: torch.device,
    budget: int | None = None,
    reference: Model | None = None,
) -> Generator[Step, None, None]:
    """As lab.training.loop.train, for an objective that samples. reference: the model with the
    first weights of the run, for kl above 0."""
    task, config = experiment.task, experiment.train
    stop = budget or config.steps
    for number, batch in enumerate(prefetch(batch_for_step(experiment), start, stop), start):
        lr = set_rate(optimizer, config, number, budget)
        rollouts = roll_out(model, experiment, batch, number)
        judged = judge(task, rollouts)
        objective: Objective
        if config.objective == "grpo":
            objective = Grpo(config, rollouts, rewards(judged, config), device, reference)
        else:
            objective = ExpertIteration(experiment, rollouts, judged, number, device)
        model.train()
        done: tuple[float, dict[str, float]] | None = None
        for count in range(number * config.updates, (number + 1) * config.updates):
            optimizer.zero_grad(set_to_none=True)
            done = objective.backward(model, count)
            if done is not None:
                update(model, optimizer, config, count, device)
        loss, more = done or (0.0, {})
        told = {
            "reward": float(objective.reward.mean()),
            **passes(judged.answer, config.samples),
            "idle": objective.idle,
            "ended": float(judged.ended.mean()),
            "written": float(rollouts.own.sum(1).mean()),
            "entropy": rollouts.entropy,
            **more,
        }
        exact = float((judged.answer & judged.thought).mean())
        yield Step(number + 1, loss, exact, rollouts.written.size, lr, told)
