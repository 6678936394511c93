"""What a token does on its own: an MLP, or a mixture of experts.

    gelu     out(gelu(up x)), the tanh form of GPT-2
    swiglu   out(silu(gate x) * up x), as in LLaMA

Mixture of experts, token choice: the router's softmax p over E experts; a token goes to its
`active` largest, their shares scaled to sum to 1 (our choice; no token is ever dropped, so rows
stay independent). Load balancing: E sum_i f_i p_i with f_i the share of choices that went to expert
i and p_i its mean probability; 1 when even. Over the micro-batch, or with f_i averaged over the
micro-batches of a step so far (global batch, 2501.11873). Places that hold padding count too.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lab.config import ModelConfig


def mlp(config: ModelConfig) -> nn.Module:
    """The MLP or mixture that a configuration names: [..., D] -> [..., D]."""
    return _Mixture(config) if config.experts else _MLP(config)


class _MLP(nn.Module):
    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        D, hidden = config.width, round(config.mlp_ratio * config.width)
        self.up = nn.Linear(D, hidden, bias=config.bias)
        gated = config.mlp_act == "swiglu"
        self.gate = nn.Linear(D, hidden, bias=config.bias) if gated else None
        self.out = nn.Linear(hidden, D, bias=config.bias)
        for part in self.children():
            if isinstance(part, nn.Linear) and part.bias is not None:
                nn.init.zeros_(part.bias)

    def forward(self, x: Tensor) -> Tensor:
        if self.gate is None:
            return self.out(F.gelu(self.up(x), approximate="tanh"))
        return self.out(F.silu(self.gate(x)) * self.up(x))


class _Mixture(nn.Module):
    """E experts, each an MLP of the full hidden width."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.active, self.everywhere = config.experts_per_token, config.balance_over == "global"
        self.router = nn.Linear(config.width, config.experts, bias=False)
        self.experts = nn.ModuleList(_MLP(config) for _ in range(config.experts))
        self.balance: Tensor | None = None  # of the last forward in training
        self._seen: list[Tensor] = []  # shares of the micro-batches of this step

    def forward(self, x: Tensor) -> Tensor:
        flat = x.reshape(-1, x.shape[-1])
        p = self.router(flat).to(torch.promote_types(x.dtype, torch.float32)).softmax(-1)
        weight, chosen = p.topk(self.active, -1)
        weight = weight / weight.sum(-1, keepdim=True)
        if self.training:
            self._note(p, chosen)
        # Slots in the order of their experts: each expert multiplies one block of rows, and every
        # slot is written once, so the sum over a token's slots is the same every time.
        order = chosen.flatten().argsort(stable=True)
        sizes = torch.bincount(chosen.flatten(), minlength=len(self.experts)).tolist()
        rows = flat[order // self.active].split(sizes)
        parts = [e(r) for e, r in zip(self.experts, rows, strict=True) if len(r)]
        slots = torch.empty_like(order).scatter_(
            0, order, torch.arange(len(order), device=x.device)
        )
        mixed = torch.cat(parts)[slots].view(*chosen.shape, -1)
        return (weight.to(mixed.dtype)[..., None] * mixed).sum(-2).view_as(x)

    def _note(self, p: Tensor, chosen: Tensor) -> None:
        E = len(self.experts)
        share = torch.bincount(chosen.flatten(), minlength=E) / chosen.numel()
        if self.everywhere:
            self._seen.append(share)
            share = torch.stack(self._seen).mean(0)
        self.balance = E * (share * p.mean(0)).sum()

    def new_step(self) -> None:
        """A new step begins: forget the micro-batches of the one before."""
        self._seen.clear()


def balance_losses(model: nn.Module) -> list[Tensor]:
    """The load-balancing losses of the last forward in training, one per mixture."""
    found = [m.balance for m in model.modules() if isinstance(m, _Mixture)]
    return [loss for loss in found if loss is not None]


def new_step(model: nn.Module) -> None:
    """Tell every mixture that a new step begins."""
    for module in model.modules():
        if isinstance(module, _Mixture):
            module.new_step()
