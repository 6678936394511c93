"""Sigma-reparametrisation (2303.06296): W' = (g / s(W)) W, s the largest singular value.

g is learned and starts at s(W), so the first forward pass is that of the plain model. s is tracked
by one power iteration in every forward pass of training; its vectors are buffers and part of a
checkpoint. Every linear layer of the blocks has its own g (a joint projection of queries, keys and
values counts as one matrix: our choice); embedding and output layer have none.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrize


class _Sigma(nn.Module):
    u: Tensor
    v: Tensor

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        with torch.no_grad():
            u, s, v = torch.linalg.svd(weight.float(), full_matrices=False)
        self.register_buffer("u", u[:, 0].to(weight.dtype).contiguous())
        self.register_buffer("v", v[0].to(weight.dtype).contiguous())
        self.g = nn.Parameter(s[0].to(weight.dtype).clone())

    def forward(self, weight: Tensor) -> Tensor:
        if self.training:
            with torch.no_grad():
                self.v.copy_(F.normalize(weight.T @ self.u, dim=0))
                self.u.copy_(F.normalize(weight @ self.v, dim=0))
        s = self.u.clone() @ (weight @ self.v.clone())  # clones: the next step changes the buffers
        return (self.g / s) * weight


def reparametrise(blocks: nn.Module) -> None:
    """Reparametrise every linear layer under `blocks`, in place."""
    for module in list(blocks.modules()):
        if isinstance(module, nn.Linear):
            parametrize.register_parametrization(module, "weight", _Sigma(module.weight.data))
