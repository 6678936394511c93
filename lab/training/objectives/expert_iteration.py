"""Expert iteration: train on the completions that the oracle accepts.

Sample, keep what is right, raise its likelihood, and sample again from the better model, with
lengths that grow (train.lengths with train.curriculum): the loop of 2502.01612 (self-improving
transformers), where a filter without an oracle takes its place; the forms of rows, rounds and
acceptance are ours. A step is one round. `random` accepts as many completions as have a right
answer, whatever they say: the control that keeps the number of rows and loses the oracle.
"""

from __future__ import annotations

import numpy as np
import torch

from lab.config import Experiment, TrainConfig
from lab.data.rows import stream
from lab.nn.model import Model
from lab.training.loop import supervised
from lab.training.objectives.rewards import Judged
from lab.training.objectives.rollouts import Rollouts


class ExpertIteration:
    """The objective on one batch of completions. reward: float64 [N], 1 where one is accepted.
    idle: share of the prompts without any."""

    def __init__(
        self,
        experiment: Experiment,
        rollouts: Rollouts,
        judged: Judged,
        step: int,
        device: torch.device,
    ) -> None:
        self.experiment, self.device = experiment, device
        key = stream(experiment.train.seed, "accept", experiment.stage, step)
        rows = accepted(judged, experiment.train, np.random.default_rng(key))
        self.reward = np.isin(np.arange(len(judged.answer)), rows).astype(np.float64)
        self.idle = float((self.reward.reshape(-1, experiment.train.samples).max(1) == 0).mean())
        self._inputs = rollouts.inputs(device, rows) if len(rows) else None

    def backward(self, model: Model, number: int) -> tuple[float, dict[str, float]] | None:
        """Add the gradients of the mean loss of the accepted completions: the loss and nothing
        else. None where none is accepted. number: of the update, from 0."""
        if self._inputs is None:
            return None
        told = supervised(self.experiment, model, self._inputs, number, self.device)
        return told.loss, {}


def accepted(judged: Judged, config: TrainConfig, rng: np.random.Generator) -> np.ndarray:
    """The numbers of the completions to train on, ascending. rng: for accept = random."""
    keep = judged.answer
    if config.accept == "thought":
        keep = keep & judged.thought
    if config.accept == "random":
        return np.sort(rng.choice(len(keep), int(keep.sum()), replace=False))
    return np.flatnonzero(keep)
