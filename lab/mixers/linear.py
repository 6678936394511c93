"""Gated linear attention (2312.06635): a decay per channel of the key.

    S_t = diag(a_t) S_{t-1} + k_t v_t^T        o_t = S_t^T q_t / sqrt(d)
    y_t = W_out (SiLU(r_t) * RMSNorm(o_t))     log a_t = logsigmoid(W_2 W_1 x_t + b) / 16

q, k, v, r = W x; W_1 gives 16 numbers; S [d,d] of each head starts at 0; RMSNorm within a head, its
weight [d] shared by the heads. Rank and temperature 16, the norm, the output gate and 1/sqrt(d) are
as in flash-linear-attention, by authors of the paper. Our choice: keys as wide as values (there
half as wide), eps 1e-6, b starts at 0 and so a_t near 0.96.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kernels.linear import linear, linear_step
from lab.config import ModelConfig
from lab.mixers._recurrent import gated_norm, projection

_RANK = 16
_TEMPERATURE = 16.0


class _State(NamedTuple):
    """S [B,H,d,d]."""

    S: Tensor


class Linear(nn.Module):
    """x [B,T,D] -> [B,T,D]."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        D, self.heads, self.d = config.width, config.heads, config.width // config.heads
        self.qkvr = projection(config, D, 4 * D)
        self.low = nn.Linear(D, _RANK, bias=False)
        self.decay = nn.Linear(_RANK, D)
        self.norm = nn.Parameter(torch.ones(self.d))
        self.out = projection(config, D, D)
        nn.init.zeros_(self.decay.bias)

    def forward(self, x: Tensor) -> Tensor:
        return self.prefill(x)[0]

    def prefill(self, x: Tensor) -> tuple[Tensor, _State]:
        q, k, v, r, log_decay = self._project(x)
        o, S = linear(q, k, v, log_decay, scale=self.d**-0.5)
        return self.out(gated_norm(o, r, self.norm)), _State(S)

    def step(self, x: Tensor, state: _State) -> tuple[Tensor, _State]:
        q, k, v, r, log_decay = self._project(x)
        o, S = linear_step(q, k, v, log_decay, state.S, scale=self.d**-0.5)
        return self.out(gated_norm(o, r, self.norm)), _State(S)

    def state_size(self, T: int) -> int:
        return self.heads * self.d**2

    def _project(self, x: Tensor) -> tuple[Tensor, ...]:
        """q, k, v [...,H,d], gate [...,D], log decay [...,H,d]."""
        *qkv, r = self.qkvr(x).chunk(4, -1)
        log_decay = F.logsigmoid(self.decay(self.low(x))) / _TEMPERATURE
        q, k, v, g = (part.unflatten(-1, (self.heads, self.d)) for part in (*qkv, log_decay))
        return q, k, v, r, g
