"""Gated DeltaNet (2412.06464, equation 10): a write replaces the value stored under its key.

    S_t = a_t (I - b_t k_t k_t^T) S_{t-1} + b_t k_t v_t^T        o_t = S_t^T q_t
    y_t = W_out (SiLU(r_t) * RMSNorm(o_t))
    b_t = sigmoid(W_b x_t)        a_t = exp(-exp(A_log) * softplus(W_a x_t + b_dt))

q, k, v come from linear maps of x, a short convolution of config.d_conv taps and SiLU; q and k of
each head are then normalised to length 1; S [d,d] of each head starts at 0; RMSNorm within a head,
its weight [d] shared by the heads; r = W_r x. So in flash-linear-attention, by authors of the
paper, where softplus(b_dt) starts log-uniform in [1e-3, 1e-1] too. Our choice: exp(A_log) starts
uniform in [1, 16] (there [0, 16], whose logarithm has no bound), values as wide as keys (there
twice as wide), eps 1e-6, no 1/sqrt(d) on q: RMSNorm would undo it, but for eps.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kernels.delta import delta, delta_step
from kernels.normalize import normalize
from lab.config import ModelConfig
from lab.mixers._conv import ShortConv
from lab.mixers._recurrent import gated_norm, projection, step_bias


class _State(NamedTuple):
    """seen [B,w-1,3D] inputs of the convolution, S [B,H,d,d]."""

    seen: Tensor
    S: Tensor


class DeltaNet(nn.Module):
    """x [B,T,D] -> [B,T,D]."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        D, H = config.width, config.heads
        self.heads, self.d = H, D // H
        self.parts = 3 * D, D, H, H
        self.into = projection(config, D, sum(self.parts))
        self.conv = ShortConv(3 * D, config.d_conv, bias=False, silu=True)
        self.A_log = nn.Parameter(torch.empty(H).uniform_(1, 16).log())
        self.dt_bias = nn.Parameter(step_bias(H))
        self.norm = nn.Parameter(torch.ones(self.d))
        self.out = projection(config, D, D)

    def forward(self, x: Tensor) -> Tensor:
        return self._mix(*self.into(x).split(self.parts, -1))[0]

    def prefill(self, x: Tensor) -> tuple[Tensor, _State]:
        parts = self.into(x).split(self.parts, -1)
        y, S = self._mix(*parts)
        return y, _State(self.conv.state(parts[0]), S)

    def step(self, x: Tensor, state: _State) -> tuple[Tensor, _State]:
        qkv, r, b, a = self.into(x).split(self.parts, -1)
        qkv, seen = self.conv.step(qkv, state.seen)
        o, S = delta_step(*self._heads(qkv), *self._gates(b, a), state.S)
        return self.out(gated_norm(o, r, self.norm)), _State(seen, S)

    def state_size(self, T: int) -> int:
        return (len(self.conv.weight) - 1) * self.parts[0] + self.heads * self.d**2

    def _mix(self, qkv: Tensor, r: Tensor, b: Tensor, a: Tensor) -> tuple[Tensor, Tensor]:
        o, S = delta(*self._heads(self.conv(qkv)), *self._gates(b, a))
        return self.out(gated_norm(o, r, self.norm)), S

    def _heads(self, qkv: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """q, k, v [...,H,d]."""
        qk, v = qkv.unflatten(-1, (3, self.heads, self.d)).split([2, 1], -3)
        q, k = normalize(qk).unbind(-3)
        return q, k, v.squeeze(-3)

    def _gates(self, b: Tensor, a: Tensor) -> tuple[Tensor, Tensor]:
        """beta and the logarithm of the decay [...,H]."""
        return torch.sigmoid(b), -torch.exp(self.A_log) * F.softplus(a + self.dt_bias)
