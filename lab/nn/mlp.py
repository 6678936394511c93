"""The MLP of a block, or a mixture of experts in its place.

    gelu     out(gelu(up x)), the tanh form of GPT-2
    swiglu   out(silu(gate x) * up x), as in LLaMA

Mixture of experts with token choice: a token goes to its `experts_per_token` most likely experts,
with their probabilities scaled to sum to 1 (our choice; no token is ever dropped, so rows stay
independent). The router and its load-balancing loss are those of lab/mixers/_router.py.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from kernels.gelu import gelu
from kernels.swiglu import swiglu
from lab.config import ModelConfig
from lab.mixers._projection import Projection
from lab.mixers._router import Router


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
        self.router = Router(config, config.experts, config.experts_per_token)
        self.experts = nn.ModuleList(_MLP(config) for _ in range(config.experts))

    def forward(self, x: Tensor) -> Tensor:
        flat = x.reshape(-1, x.shape[-1])
        weight, choices = self.router(flat)
        # Slots are sorted by expert: each expert multiplies one block of rows, and every slot is
        # written once, so the sum over the slots of a token is deterministic.
        order = choices.flatten().argsort(stable=True)
        sizes = torch.bincount(choices.flatten(), minlength=len(self.experts)).tolist()
        rows = flat[order // self.router.active].split(sizes)
        parts = [e(r) for e, r in zip(self.experts, rows, strict=True) if len(r)]
        slots = torch.empty_like(order).scatter_(
            0, order, torch.arange(len(order), device=x.device)
        )
        mixed = torch.cat(parts)[slots].view(*choices.shape, -1)
        return (weight.to(mixed.dtype)[..., None] * mixed).sum(-2).view_as(x)
