"""A moving average of the weights along training, which probes score in place of the weights.

After t steps with the weights w_1 ... w_t the average is

    sum of d^(t-i) w_i / sum of d^(t-i),   i = 1 ... t,   d = train.ema

so the first, random weights have no share in it (our choice; a plain recursion that starts from
them keeps d^t of them, most of a short run). The recursion below needs t alone.
"""

from __future__ import annotations

import copy

import torch

from lab.nn.model import Model
from lab.training.checkpoint import named_weights


class Average:
    """The average of a run. model: a copy of the run's model with averaged weights; before the
    first step it has the first weights."""

    def __init__(self, model: Model, decay: float) -> None:
        self.model, self.decay = copy.deepcopy(model), decay

    @torch.no_grad()
    def update(self, model: Model, step: int) -> None:
        """Take in the weights after a step, counted from 1."""
        share = (1 - self.decay) / (1 - self.decay**step)
        new = named_weights(model)
        for name, mean in named_weights(self.model).items():
            if mean.is_floating_point():
                mean.lerp_(new[name], share)
            else:
                mean.copy_(new[name])
