"""Mamba-1 block (2312.00752), E = expand x D channels, N = state:

    u, z = W_in x                                   u = SiLU(short convolution of u)
    low, B, C = W_x u                               delta = softplus(W_dt low + b_dt)
    h_t = exp(delta_t A) h_{t-1} + delta_t u_t B_t  y = W_out ((C h + skip * u) * SiLU(z))

A = -exp(A_log). low has ceil(D / 16) channels; the convolution has config.d_conv taps and a bias.
W_x has no bias; W_in and W_out have one only with config.bias. Initialised as in the authors' code:
A = -1, -2, ..., -N in every channel, skip 1, W_dt uniform in +-rank^-1/2, softplus(b_dt)
log-uniform in [1e-3, 1e-1]; W_in, W_x and W_out are nn.Linear, which lab.nn.model initialises.

Parameters without biases, w taps: 3 D E + E (w + 2 rank + 3 N + 3).
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn

from kernels.selective_scan import selective_scan, step
from kernels.step_size import step_size
from kernels.swiglu import swiglu
from lab.config import ModelConfig
from lab.mixers._conv import ShortConv
from lab.mixers._recurrent import projection, step_bias


class _State(NamedTuple):
    """seen [B,w-1,E] inputs of the convolution, h [B,E,N]."""

    seen: Tensor
    h: Tensor


class Mamba(nn.Module):
    """x [B,T,D] -> [B,T,D]."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        D, E, N = config.width, config.expand * config.width, config.d_state
        rank = math.ceil(D / 16)
        self.parts = rank, N, N
        self.in_proj = projection(config, D, 2 * E)
        self.conv = ShortConv(E, config.d_conv, bias=True, silu=True)
        self.x_proj = nn.Linear(E, sum(self.parts), bias=False)
        self.dt_weight = nn.Parameter(torch.empty(E, rank).uniform_(-(rank**-0.5), rank**-0.5))
        self.dt_bias = nn.Parameter(step_bias(E))
        self.A_log = nn.Parameter(torch.arange(1.0, N + 1).log().repeat(E, 1))
        self.skip = nn.Parameter(torch.ones(E))
        self.out = projection(config, E, D)

    def forward(self, x: Tensor) -> Tensor:
        u, z = self.in_proj(x).chunk(2, -1)
        return self._mix(u, z)[0]

    def prefill(self, x: Tensor) -> tuple[Tensor, _State]:
        u, z = self.in_proj(x).chunk(2, -1)
        y, h = self._mix(u, z)
        return y, _State(self.conv.state(u), h)

    def step(self, x: Tensor, state: _State) -> tuple[Tensor, _State]:
        u, z = self.in_proj(x).chunk(2, -1)
        u, seen = self.conv.step(u, state.seen)
        y, h = step(u, *self._select(u), self.skip, state.h)
        return self.out(swiglu(y, z)), _State(seen, h)

    def state_size(self, T: int) -> int:
        return self.skip.numel() * (len(self.conv.weight) - 1) + self.A_log.numel()

    def _mix(self, u: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
        u = self.conv(u)
        y, h = selective_scan(u, *self._select(u), self.skip)
        return self.out(swiglu(y, z)), h

    def _select(self, u: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """delta [...,E], A [E,N], B and C [...,N]."""
        low, B, C = self.x_proj(u).split(self.parts, -1)
        delta = step_size(low, self.dt_weight, self.dt_bias)
        return delta, -torch.exp(self.A_log), B, C
