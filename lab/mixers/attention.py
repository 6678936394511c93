"""Causal softmax attention with a cache of keys and values.

    y_i = sum_{j <= i} softmax_j(q_i . k_j / sqrt(d)) v_j

position = rope turns queries and keys by angles i / 10000^(2m/d), pairing channel m with m + d/2
(RoFormer, 2104.09864; the half-split pairing of LLaMA). Learned positions are the model's business.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lab.config import ModelConfig


class _Cache(NamedTuple):
    """k, v [B,H,room,d] with the first t places filled; room doubles when it is used up."""

    k: Tensor
    v: Tensor
    t: int


class Attention(nn.Module):
    """Multi-head causal attention: x [B,T,D] -> [B,T,D]."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.heads, self.d = config.heads, config.width // config.heads
        self.rope = config.position == "rope"
        self.qkv = nn.Linear(config.width, 3 * config.width, bias=False)
        self.out = nn.Linear(config.width, config.width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self._project(x, 0)
        return self._merge(F.scaled_dot_product_attention(q, k, v, is_causal=True))

    def prefill(self, x: Tensor) -> tuple[Tensor, _Cache]:
        q, k, v = self._project(x, 0)
        y = self._merge(F.scaled_dot_product_attention(q, k, v, is_causal=True))
        return y, _Cache(k, v, x.shape[1])

    def step(self, x: Tensor, state: _Cache) -> tuple[Tensor, _Cache]:
        k, v, t = state
        q, k_new, v_new = self._project(x[:, None], t)
        if t == k.shape[2]:
            k, v = (F.pad(part, (0, 0, 0, max(t, 16))) for part in (k, v))
        k[:, :, t], v[:, :, t] = k_new[:, :, 0], v_new[:, :, 0]
        y = F.scaled_dot_product_attention(q, k[:, :, : t + 1], v[:, :, : t + 1])
        return self._merge(y)[:, 0], _Cache(k, v, t + 1)

    def state_size(self, T: int) -> int:
        return 2 * T * self.heads * self.d

    def _project(self, x: Tensor, start: int) -> tuple[Tensor, Tensor, Tensor]:
        """q, k, v [B,H,T,d] of tokens at positions start, start + 1, ..."""
        B, T, _ = x.shape
        q, k, v = self.qkv(x).view(B, T, 3, self.heads, self.d).permute(2, 0, 3, 1, 4)
        if self.rope:
            q, k = _turn(q, start), _turn(k, start)
        return q, k, v

    def _merge(self, y: Tensor) -> Tensor:
        return self.out(y.transpose(1, 2).flatten(2))


def _turn(x: Tensor, start: int) -> Tensor:
    """Rotary embedding of x [B,H,T,d]; angles in float32 at least."""
    T, half = x.shape[2], x.shape[3] // 2
    exact = torch.promote_types(x.dtype, torch.float32)
    frequency = 10000.0 ** (-torch.arange(half, device=x.device, dtype=exact) / half)
    angle = torch.arange(start, start + T, device=x.device, dtype=exact)[:, None] * frequency
    cos, sin = angle.cos(), angle.sin()
    a, b = x[..., :half].to(exact), x[..., half:].to(exact)
    return torch.cat([a * cos - b * sin, a * sin + b * cos], -1).to(x.dtype)
