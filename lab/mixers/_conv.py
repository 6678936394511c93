"""Short causal depthwise convolution with a state, of mamba, deltanet, based and memories.

    y_t = f(bias + sum_{i < w} weight_i * x_{t-w+1+i})        x before the first token is 0

x [B,T,C], weight [w,C] (the last row meets the token itself), bias [C] or none, f SiLU or identity.
Its state is the last w - 1 inputs [B,w-1,C], zeros where there were none. Weights and biases start
uniform in +-1/sqrt(w), as in torch's Conv1d.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kernels.short_conv import short_conv


class ShortConv(nn.Module):
    """x [B,T,C] -> [B,T,C]; `channels` is C, `taps` is w."""

    def __init__(self, channels: int, taps: int, *, bias: bool, silu: bool) -> None:
        super().__init__()
        bound = taps**-0.5
        self.weight = nn.Parameter(torch.empty(taps, channels).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(channels).uniform_(-bound, bound)) if bias else None
        self.silu = silu

    def forward(self, x: Tensor) -> Tensor:
        return short_conv(x, self.weight, self.bias, silu=self.silu)

    def state(self, x: Tensor) -> Tensor:
        """The state after all tokens of x."""
        past = len(self.weight) - 1
        last = x[:, max(0, x.shape[1] - past) :]
        return F.pad(last, (0, 0, past - last.shape[1], 0))  # a copy: x can be freed

    def step(self, x: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """One token x [B,C]."""
        seen = torch.cat([state, x[:, None]], 1)
        y = (seen * self.weight).sum(1)
        y = y if self.bias is None else y + self.bias
        return (F.silu(y) if self.silu else y).to(x.dtype), seen[:, 1:]
