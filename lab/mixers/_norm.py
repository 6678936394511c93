"""RMSNorm as a module, for mixers and blocks."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from kernels.rms_norm import rms_norm

EPS = 1e-6


class RMSNorm(nn.Module):
    """RMSNorm (1910.07467) of the last dimension, [..., D] -> [..., D], with a weight of ones."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        return rms_norm(x, self.weight, eps=EPS)
