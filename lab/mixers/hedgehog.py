"""Hedgehog (2402.04347): linear attention whose feature map is learned, to mimic softmax.

    y_t = sum_{j <= t} (phi_q(q_t) . phi_k(k_j)) v_j / sum_{j <= t} phi_q(q_t) . phi_k(k_j)
    phi(x) = [f(W x), f(-W x)]        f: softmax, or to compare with it ReLU or 1 + ELU

q, k, v [d] in each head; W [d,d], one for the queries and one for the keys of each head, starts at
the identity. Features are not negative, nor are the weights, and a sum below 1e-12 counts as 1e-12.
The step form keeps S = sum phi_k(k) [v, 1]^T.

Our choices: of the published forms the one with softmax (there is one with exp too); no positions
on q and k, no 1 / sqrt(d), which W can learn; for config.feature_map = relu (the function of T2R,
2103.13076) and elu (that of 2006.16236) the same W and the same two signs, so that f alone differs.
Names and shapes of the projections are those of
attention without grouped heads, so that a model of attention can hand its weights on.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kernels.linear import linear, linear_step
from lab.config import ModelConfig
from lab.mixers._position import exact
from lab.mixers._recurrent import projection

_LEAST = 1e-12

_FEATURES: dict[str, Callable[[Tensor], Tensor]] = {
    "softmax": lambda z: z.softmax(-1),
    "relu": F.relu,
    "elu": lambda z: 1 + F.elu(z),
}


class _State(NamedTuple):
    """S [B,H,2d,d+1]."""

    S: Tensor


class Hedgehog(nn.Module):
    """x [B,T,D] -> [B,T,D]."""

    gate = None  # what lab.analysis asks of attention

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        D, self.heads, self.d = config.width, config.heads, config.width // config.heads
        self.qkv = projection(config, D, 3 * D)
        self.feature = _FEATURES[config.feature_map]
        self.maps = nn.Parameter(torch.eye(self.d).repeat(2, self.heads, 1, 1))
        self.out = projection(config, D, D)

    def forward(self, x: Tensor) -> Tensor:
        return self.prefill(x)[0]

    def prefill(self, x: Tensor) -> tuple[Tensor, _State]:
        o, S = linear(*self._features(x))
        return self._merge(o), _State(S)

    def step(self, x: Tensor, state: _State) -> tuple[Tensor, _State]:
        q, k, v = self._features(x)
        o, S = linear_step(q, k, v, None, state.S)
        return self._merge(o), _State(S)

    def attention_weights(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """The weights [B,H,T,T] of the formula, for lab.analysis, the values that each head reads
        and, twice, the heads' outputs [B,T,H,d]. Float64."""
        q, k, v = (part.double() for part in self._features(x))
        weights = torch.einsum("bihf,bjhf->bhij", q, k).tril()
        weights = weights / weights.sum(-1, keepdim=True).clamp(min=_LEAST)
        v = v[..., :-1]
        read = torch.einsum("bhij,bjhd->bihd", weights, v)
        return weights, v, read, read

    def state_size(self, T: int) -> int:
        return self.heads * 2 * self.d * (self.d + 1)

    def _features(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """phi_q(q), phi_k(k) [...,H,2d] and [v, 1] [...,H,d+1], in float32 at least."""
        qkv = self.qkv(x).unflatten(-1, (3, self.heads, self.d))
        with torch.autocast(x.device.type, enabled=False):
            qk, v = qkv.to(exact(qkv)).split([2, 1], -3)
            z = torch.einsum("...nhd,nhed->...nhe", qk, self.maps.to(qk.dtype))
            q, k = torch.cat([self.feature(z), self.feature(-z)], -1).unbind(-3)
            return q, k, F.pad(v.squeeze(-3), (0, 1), value=1.0)

    def _merge(self, o: Tensor) -> Tensor:
        y = o[..., :-1] / o[..., -1:].clamp(min=_LEAST)
        return self.out(y.flatten(-2))
