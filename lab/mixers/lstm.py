"""Long short-term memory (Hochreiter and Schmidhuber 1997; forget gate: Gers et al. 2000):

    [i_t, f_t, g_t, o_t] = W x_t + b + U h_{t-1} + c
    c_t = sigmoid(f_t) * c_{t-1} + sigmoid(i_t) * tanh(g_t)        h_t = sigmoid(o_t) * tanh(c_t)

torch's nn.LSTM of one layer with D hidden units, its four gates in this order, its two biases b and
c whatever config.bias says, and its start: all uniform in +-1/sqrt(D). Our choice: the output is
h_t as it is, with no projection behind it. On a CPU the cell computes in its weights' type under
autocast too: oneDNN has no bf16 LSTM for every processor, and fails instead of falling back.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from lab.config import ModelConfig


class _State(NamedTuple):
    """h, c [B,D]."""

    h: Tensor
    c: Tensor


class LSTM(nn.Module):
    """x [B,T,D] -> h [B,T,D]."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.cell = nn.LSTM(config.width, config.width, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        return self._all(x)[0]

    def prefill(self, x: Tensor) -> tuple[Tensor, _State]:
        y, (h, c) = self._all(x)
        return y, _State(h[0], c[0])

    def _all(self, x: Tensor) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        if x.device.type != "cpu":
            return self.cell(x)
        with torch.autocast("cpu", enabled=False):
            return self.cell(x.to(next(self.cell.parameters()).dtype))

    def step(self, x: Tensor, state: _State) -> tuple[Tensor, _State]:
        h, c = torch.lstm_cell(x, state, *self.cell.all_weights[0])
        return h, _State(h, c)

    def state_size(self, T: int) -> int:
        return 2 * self.cell.hidden_size
