"""The MLP of a block, or a mixture of experts in its place.

    gelu     out(gelu(up x)), the tanh form of GPT-2
    swiglu   out(silu(gate x) * up x), as in LLaMA

Mixture of experts with token choice: the router's softmax gives p over E experts. A token goes to
its `experts_per_token` most likely experts, with their probabilities scaled to sum to 1 (our
choice; no token is ever dropped, so rows stay independent). The load-balancing loss is E sum_i f_i
p_i, where f_i is the fraction of choices that went to expert i and p_i its mean probability; it is
1 when the load is even. f_i is taken over the micro-batch, or averaged over the micro-batches of a
step so far (global batch, 2501.11873). Padding tokens count too.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from kernels.gelu import gelu
from kernels.swiglu import swiglu
from lab.config import ModelConfig
from lab.mixers._projection import Projection


def mlp(config: ModelConfig) -> nn.Module:
    """The MLP or the mixture of a configuration: [..., D] -> [..., D]."""
    return _Mixture(config) if config.experts else _MLP(config)


class _MLP(nn.Module):
    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        D, hidden = config.width, round(config.mlp_ratio * config.width)
        self.up = Projection(D, hidden, bias=config.bias)
        gated = config.mlp_act == "swiglu"
        self.gate = Projection(D, hidden, bias=config.bias) if gated else None
        self.out = Projection(hidden, D, bias=config.bias)
        for part in self.children():
            if isinstance(part, nn.Linear) and part.bias is not None:
                nn.init.zeros_(part.bias)

    def forward(self, x: Tensor) -> Tensor:
        if self.gate is None:
            return self.out(gelu(self.up(x)))
        return self.out(swiglu(self.up(x), self.gate(x)))


class _Mixture(nn.Module):
    """E experts, each an MLP of the full hidden width."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.active, self.everywhere = config.experts_per_token, config.balance_over == "global"
        self.router = nn.Linear(config.width, config.experts, bias=False)
        self.experts = nn.ModuleList(_MLP(config) for _ in range(config.experts))
        self.balance: Tensor | None = None  # of the last forward in training
        self._loads: list[Tensor] = []  # f of the micro-batches of this step

    def forward(self, x: Tensor) -> Tensor:
        flat = x.reshape(-1, x.shape[-1])
        p = self.router(flat).to(torch.promote_types(x.dtype, torch.float32)).softmax(-1)
        weight, choices = p.topk(self.active, -1)
        weight = weight / weight.sum(-1, keepdim=True)
        if self.training:
            self._add_load(p, choices)
        # Slots are sorted by expert: each expert multiplies one block of rows, and every slot is
        # written once, so the sum over the slots of a token is deterministic.
        order = choices.flatten().argsort(stable=True)
        sizes = torch.bincount(choices.flatten(), minlength=len(self.experts)).tolist()
        rows = flat[order // self.active].split(sizes)
        parts = [e(r) for e, r in zip(self.experts, rows, strict=True) if len(r)]
        slots = torch.empty_like(order).scatter_(
            0, order, torch.arange(len(order), device=x.device)
        )
        mixed = torch.cat(parts)[slots].view(*choices.shape, -1)
        return (weight.to(mixed.dtype)[..., None] * mixed).sum(-2).view_as(x)

    def _add_load(self, p: Tensor, choices: Tensor) -> None:
        E = len(self.experts)
        load = torch.bincount(choices.flatten(), minlength=E) / choices.numel()
        if self.everywhere:
            self._loads.append(load)
            load = torch.stack(self._loads).mean(0)
        self.balance = E * (load * p.mean(0)).sum()

    def new_step(self) -> None:
        """Forget the micro-batches of the previous step."""
        self._loads.clear()


def balance_losses(model: nn.Module) -> list[Tensor]:
    """The load-balancing losses of the last forward in training, one per mixture."""
    losses = [m.balance for m in model.modules() if isinstance(m, _Mixture)]
    return [loss for loss in losses if loss is not None]


def new_step(model: nn.Module) -> None:
    """Tell every mixture of experts that a new training step begins."""
    for module in model.modules():
        if isinstance(module, _Mixture):
            module.new_step()
