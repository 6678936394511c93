"""Group relative policy optimization: the clipped surrogate and its KL penalty.

For completion i of N with tokens t = 1 .. |o_i|, its advantage A_i (rewards.py), the ratio
r_it = p(token) / p_old(token) and the clip c,

    loss = - sum_i sum_t w_i [ min(r_it A_i, clip(r_it, 1 - c, 1 + c) A_i) - beta KL_it ]
    KL_it = p_first / p - log(p_first / p) - 1      an estimate of KL(p || p_first) at each token
    w_i = 1 / (N |o_i|)      grpo:    DeepSeekMath (2402.03300), eq. 3 and 4
    w_i = 1 / (N L)          dr_grpo: Dr. GRPO (2503.20783), section 3; L is the longest completion
                             that a row of the batch can hold (there a constant budget)

p_old are the probabilities before the first update on the batch, p_first those of the weights with
which the run started. All are at the temperature of sampling. N counts the completions of groups
that teach nothing too. Where no group teaches and there is no KL penalty, weights stay as they are.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from lab.config import TrainConfig
from lab.mixers._router import balance_losses, new_step
from lab.nn.inputs import Inputs
from lab.nn.loss import precision
from lab.nn.model import Model
from lab.training.objectives.rewards import advantages
from lab.training.objectives.rollouts import Rollouts


def log_probs(model: Model, inputs: Inputs, temperature: float) -> Tensor:
    """The log-probability of every supervised token [M], row after row."""
    logits = model(inputs.tokens[:, :-1], inputs.supervised)
    if logits.dtype == torch.bfloat16:
        logits = logits.float()
    log = (logits / temperature).log_softmax(-1)
    return log.gather(-1, inputs.tokens[:, 1:][inputs.supervised][:, None])[:, 0]


def surrogate(new: Tensor, old: Tensor, advantage: Tensor, clip: float) -> Tensor:
    """The clipped gain of each token [M], to be maximized, from its log-probabilities."""
    ratio = (new - old).exp()
    return torch.minimum(ratio * advantage, ratio.clamp(1 - clip, 1 + clip) * advantage)


def divergence(new: Tensor, first: Tensor) -> Tensor:
    """An estimate of KL(p || p_first) at each token [M], unbiased and never negative."""
    log_ratio = first - new
    return log_ratio.exp() - log_ratio - 1


def token_weights(rollouts: Rollouts, kind: str) -> np.ndarray:
    """w_i, the weight of each token of completion i: float64 [N]."""
    sizes = rollouts.own.sum(1).astype(np.float64)
    each = sizes if kind == "grpo" else np.full_like(sizes, rollouts.room)
    weight: np.ndarray = 1 / (len(each) * each)
    return weight


class Grpo:
    """The objective on one batch of completions, for one update after the other.

    reward: float64 [N]. idle: share of the groups that teach nothing. reference: the model with the
    first weights, for kl above 0.
    """

    def __init__(
        self,
        config: TrainConfig,
        rollouts: Rollouts,
        reward: np.ndarray,
        device: torch.device,
        reference: Model | None,
    ) -> None:
        self.config, self.device, self.reference = config, device, reference
        self.reward = reward
        self.idle = float((np.ptp(reward.reshape(-1, config.samples), axis=1) == 0).mean())
        advantage = advantages(reward, config)
        sizes, weight = rollouts.own.sum(1), token_weights(rollouts, config.advantage)
        # Without a KL penalty, a completion without an advantage has no gradient.
        rows = np.arange(len(sizes)) if reference is not None else np.flatnonzero(advantage)
        self.parts = [
            _Part(
                rollouts.inputs(device, part),
                *(_per_token(x[part], sizes[part], device) for x in (advantage, weight)),
            )
            for part in np.array_split(rows, config.grad_accum)
            if len(part)
        ]

    def backward(self, model: Model, number: int) -> tuple[float, dict[str, float]] | None:
        """Add the gradients to the parameters of the model: the loss, and what else is told: kl,
        the estimate for the tokens as `loss` weighs them, and clipped, the share of the tokens
        whose ratio is outside of the clip. None where no group teaches. number: of the update.
        The first call fixes p_old."""
        config, total, kl, clipped = self.config, 0.0, 0.0, 0
        if not self.parts:
            return None
        new_step(model)
        for part in self.parts:
            with precision(config.precision, self.device):
                new = log_probs(model, part.inputs, config.temperature)
                if part.old is None:
                    part.old = new.detach()
                    part.first = self._first(part.inputs)
            gain = surrogate(new, part.old, part.advantage, config.ratio_clip)
            loss = -(part.weight * gain).sum()
            if part.first is not None:
                penalty = (part.weight * divergence(new, part.first)).sum()
                loss, kl = loss + config.kl * penalty, kl + penalty.item()
            if model.config.experts:
                balance = torch.stack(balance_losses(model)).sum() / len(self.parts)
                loss = loss + model.config.aux_loss_weight * balance
            torch.autograd.backward(loss)
            ratio = (new.detach() - part.old).exp()
            clipped += int(((ratio - 1).abs() > config.ratio_clip).sum())
            total += loss.item()
        tokens = sum(len(part.advantage) for part in self.parts)
        told = {"kl": kl} if self.reference is not None else {}
        return total, {**told, "clipped": clipped / tokens}

    @torch.no_grad()
    def _first(self, inputs: Inputs) -> Tensor | None:
        if self.reference is None:
            return None
        return log_probs(self.reference, inputs, self.config.temperature)


@dataclass
class _Part:
    """Some rows; of each of their M tokens the advantage, its weight, and the log-probabilities
    before the first update and under the first weights."""

    inputs: Inputs
    advantage: Tensor
    weight: Tensor
    old: Tensor | None = None
    first: Tensor | None = None


def _per_token(values: np.ndarray, sizes: np.ndarray, device: torch.device) -> Tensor:
    """A value [n] of each row as one of each of its tokens [M]."""
    return torch.from_numpy(np.repeat(values, sizes)).to(device)
