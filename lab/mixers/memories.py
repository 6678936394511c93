"""Mixture-of-Memories (2502.13685): a token writes to and reads from some of several states.

    S^m_t = a^m_t (I - b^m_t k^m_t k^m_t^T) S^m_{t-1} + b^m_t k^m_t v^m_t^T     if m is chosen at t
    S^m_t = S^m_{t-1}                                                           otherwise
    o_t = S^0_t^T q_t + sum_{m chosen} g^m_t S^m_t^T q_t
    y_t = W_out (SiLU(r_t) * RMSNorm(o_t))

Memory 0 is shared by all tokens. Of the other config.memories a router chooses 2 for each token; g
is their softmax, scaled to sum to 1 (lab/mixers/_router.py, whose load-balancing loss the training
adds). Within a memory all is as in Gated DeltaNet (lab/mixers/deltanet.py).

We know the paper's text in parts only. Our choices: keys, values, a and b by maps of each memory's
own, q by one map, the convolution over all tokens, chosen or not, and g on what is read, not on
what is written.
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
from lab.mixers._position import exact
from lab.mixers._recurrent import gated_norm, projection, step_bias
from lab.mixers._router import Router

_CHOSEN = 2


class _State(NamedTuple):
    """seen [B,w-1,(2M+1)D] inputs of the convolution, S [B,M H,d,d], memory after memory."""

    seen: Tensor
    S: Tensor


class Memories(nn.Module):
    """x [B,T,D] -> [B,T,D]. M counts the shared memory too."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        D, H, M = config.width, config.heads, config.memories + 1
        self.heads, self.d, self.M = H, D // H, M
        self.parts = (2 * M + 1) * D, D, M * H, M * H
        self.into = projection(config, D, sum(self.parts))
        self.router = Router(config, config.memories, _CHOSEN)
        self.conv = ShortConv((2 * M + 1) * D, config.d_conv, bias=False, silu=True)
        self.A_log = nn.Parameter(torch.empty(M * H).uniform_(1, 16).log())
        self.dt_bias = nn.Parameter(step_bias(M * H))
        self.norm = nn.Parameter(torch.ones(self.d))
        self.out = projection(config, D, D)

    def forward(self, x: Tensor) -> Tensor:
        return self._mix(x, *self.into(x).split(self.parts, -1))[0]

    def prefill(self, x: Tensor) -> tuple[Tensor, _State]:
        parts = self.into(x).split(self.parts, -1)
        y, S = self._mix(x, *parts)
        return y, _State(self.conv.state(parts[0]), S)

    def step(self, x: Tensor, state: _State) -> tuple[Tensor, _State]:
        qkv, r, b, a = self.into(x).split(self.parts, -1)
        qkv, seen = self.conv.step(qkv, state.seen)
        share, chosen = self._routes(x)
        o, S = delta_step(*self._heads(qkv), *self._gates(b, a, chosen), state.S)
        return self._merge(o, share, r), _State(seen, S)

    def state_size(self, T: int) -> int:
        return (len(self.conv.weight) - 1) * self.parts[0] + self.M * self.heads * self.d**2

    def _mix(
        self, x: Tensor, qkv: Tensor, r: Tensor, b: Tensor, a: Tensor
    ) -> tuple[Tensor, Tensor]:
        share, chosen = self._routes(x)
        o, S = delta(*self._heads(self.conv(qkv)), *self._gates(b, a, chosen))
        return self._merge(o, share, r), S

    def _routes(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """How much of each memory a token reads, and whether it has chosen it (1 or 0): [...,M].

        In float32 at least: rounded logits would choose other memories.
        """
        with torch.autocast(x.device.type, enabled=False):
            weight, choices = self.router(x.to(exact(self.router.weight)))
        none = weight.new_zeros(*x.shape[:-1], self.M - 1)
        share = none.scatter(-1, choices, weight)
        chosen = none.scatter(-1, choices, 1.0)
        return F.pad(share, (1, 0), value=1.0), F.pad(chosen, (1, 0), value=1.0)

    def _heads(self, qkv: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """q, k, v [...,M H,d]: the heads of every memory."""
        heads = qkv.unflatten(-1, (2 * self.M + 1, self.heads, self.d))
        qk, v = heads.split([self.M + 1, self.M], -3)
        q, k = normalize(qk).split([1, self.M], -3)
        return q.expand_as(k).flatten(-3, -2), k.flatten(-3, -2), v.flatten(-3, -2)

    def _gates(self, b: Tensor, a: Tensor, chosen: Tensor) -> tuple[Tensor, Tensor]:
        """beta and the logarithm of the decay [...,M H]; 0 where a memory is not chosen, so that
        its state stays."""
        chosen = chosen.repeat_interleave(self.heads, -1)
        log_decay = -torch.exp(self.A_log) * F.softplus(a + self.dt_bias)
        return torch.sigmoid(b) * chosen, log_decay * chosen

    def _merge(self, o: Tensor, share: Tensor, r: Tensor) -> Tensor:
        """What the memories give, o [...,M H,d], each by its share -> [...,D]."""
        read = (o.unflatten(-2, (self.M, self.heads)) * share[..., None, None]).sum(-3)
        return self.out(gated_norm(read, r, self.norm))
