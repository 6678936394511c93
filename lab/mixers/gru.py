"""Gated recurrent unit (Cho et al. 2014, 1406.1078; reset gate behind the product, as in cuDNN):

    [r_t, z_t] = sigmoid(W x_t + b + U h_{t-1} + c)
    n_t = tanh(V x_t + d + r_t * (Q h_{t-1} + e))        h_t = (1 - z_t) * n_t + z_t * h_{t-1}

torch's nn.GRU of one layer with D hidden units, its three gates in this order, its two biases per
gate whatever config.bias says, and its start: all uniform in +-1/sqrt(D). Our choice: the output is
h_t as it is, with no projection behind it.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from lab.config import ModelConfig


class _State(NamedTuple):
    """h [B,D]."""

    h: Tensor


class GRU(nn.Module):
    """x [B,T,D] -> h [B,T,D]."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.cell = nn.GRU(config.width, config.width, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.cell(x)[0]

    def prefill(self, x: Tensor) -> tuple[Tensor, _State]:
        y, h = self.cell(x)
        return y, _State(h[0])

    def step(self, x: Tensor, state: _State) -> tuple[Tensor, _State]:
        h = torch.gru_cell(x, state.h, *self.cell.all_weights[0])
        return h, _State(h)

    def state_size(self, T: int) -> int:
        return self.cell.hidden_size
