"""The router of a mixture: each token chooses a few of the options, such as experts or memories.

    p = softmax(W x)      the `active` likeliest options, their p scaled to sum to 1

The load-balancing loss is E sum_i f_i p_i over E options, where f_i is the fraction of choices that
went to option i and p_i its mean probability; it is 1 when the load is even. f_i is taken over the
micro-batch, or averaged over the micro-batches of a step so far (global batch, 2501.11873). Padding
tokens count too.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from lab.config import ModelConfig


class Router(nn.Linear):
    """x [...,D] -> the weights of the chosen options [...,active] and their numbers."""

    def __init__(self, config: ModelConfig, options: int, active: int) -> None:
        super().__init__(config.width, options, bias=False)
        self.active, self.everywhere = active, config.balance_over == "global"
        self.balance: Tensor | None = None  # of the last forward in training
        self._loads: list[Tensor] = []  # f of the micro-batches of this step

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:  # type: ignore[override]
        p = super().forward(x).to(torch.promote_types(x.dtype, torch.float32)).softmax(-1)
        weight, choices = p.topk(self.active, -1)
        if self.training:
            self._add_load(p.flatten(0, -2), choices)
        return weight / weight.sum(-1, keepdim=True), choices

    def _add_load(self, p: Tensor, choices: Tensor) -> None:
        E = self.out_features
        load = torch.bincount(choices.flatten(), minlength=E) / choices.numel()
        if self.everywhere:
            self._loads.append(load)
            load = torch.stack(self._loads).mean(0)
        self.balance = E * (load * p.mean(0)).sum()

    def new_step(self) -> None:
        """Forget the micro-batches of the previous step."""
        self._loads.clear()


def balance_losses(model: nn.Module) -> list[Tensor]:
    """The load-balancing losses of the last forward in training, one per router."""
    losses = [m.balance for m in model.modules() if isinstance(m, Router)]
    return [loss for loss in losses if loss is not None]


def new_step(model: nn.Module) -> None:
    """Tell every router that a new training step begins."""
    for module in model.modules():
        if isinstance(module, Router):
            module.new_step()
