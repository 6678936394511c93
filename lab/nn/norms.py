"""Norms of a block: LayerNorm, RMSNorm, and two that keep outliers small (2601.22966).

PreAffine:  y = RMSNorm(a * x), with a learned per channel and initialised to 1
GatedNorm:  y = r * sigmoid(U silu(V r)) with r = RMSNorm(x), V down to rank 16 and U back up

The paper's initialisation of U is not known to us; here U and V are initialised like every other
matrix, so the gate starts near 1/2.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lab.config import ModelConfig
from lab.mixers._norm import RMSNorm

RANK = 16


def norm(config: ModelConfig) -> nn.Module:
    """The norm of a configuration, over the width: [..., D] -> [..., D]."""
    if config.norm == "layer":
        return nn.LayerNorm(config.width, eps=1e-5)
    if config.norm == "rms":
        return RMSNorm(config.width)
    return _PreAffine(config.width) if config.norm == "preaffine" else _GatedNorm(config.width)


class _PreAffine(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(width))
        self.norm = RMSNorm(width)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.scale * x)


class _GatedNorm(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = RMSNorm(width)
        self.down = nn.Linear(width, RANK, bias=False)
        self.up = nn.Linear(RANK, width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm(x)
        return y * torch.sigmoid(self.up(F.silu(self.down(y))))
