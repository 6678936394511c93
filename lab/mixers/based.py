"""Based (2402.18668): linear attention whose kernel is exp to the second order.

    y_t = sum_{j <= t} p(s_tj) v_j / sum_{j <= t} p(s_tj)
    p(s) = 1 + s + s^2 / 2 = phi(q) . phi(k)        s_tj = q_t . k_j / sqrt(f)

q, k [f], v [D/H] in each head, f = config.feature (kernels/taylor). The step form keeps
S = sum phi(k) [v, 1]^T.

Our choice: Based has gated short convolutions in layers of their own (BaseConv); here q, k and v of
one mixer go through a short convolution of config.d_conv taps without bias and nonlinearity, so
that a key can contain the token before it.
"""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor, nn

from kernels import taylor as operator
from lab.config import ModelConfig
from lab.mixers._conv import ShortConv
from lab.mixers._recurrent import projection


class _State(NamedTuple):
    """seen [B,w-1,H(2f+d)] inputs of the convolution, S [B,H,1+f+f(f+1)/2,d+1]."""

    seen: Tensor
    S: Tensor


class Based(nn.Module):
    """x [B,T,D] -> [B,T,D]."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        D, H, f = config.width, config.heads, config.feature
        self.heads, self.parts = H, (f, f, D // H)
        self.qkv = projection(config, D, H * sum(self.parts))
        self.conv = ShortConv(H * sum(self.parts), config.d_conv, bias=False, silu=False)
        self.out = projection(config, D, D)

    def forward(self, x: Tensor) -> Tensor:
        return self._merge(operator.taylor(*self._heads(self.conv(self.qkv(x)))))

    def prefill(self, x: Tensor) -> tuple[Tensor, _State]:
        qkv = self.qkv(x)
        q, k, v = self._heads(self.conv(qkv))
        state = _State(self.conv.state(qkv), operator.state(k, v))
        return self._merge(operator.taylor(q, k, v)), state

    def step(self, x: Tensor, state: _State) -> tuple[Tensor, _State]:
        qkv, seen = self.conv.step(self.qkv(x), state.seen)
        q, k, v = self._heads(qkv[:, None])
        y, S = operator.taylor_step(q, k, v, state.S)
        return self._merge(y)[:, 0], _State(seen, S)

    def state_size(self, T: int) -> int:
        f, _, d = self.parts
        seen = (len(self.conv.weight) - 1) * self.heads * sum(self.parts)
        return seen + self.heads * (1 + f + f * (f + 1) // 2) * (d + 1)

    def _heads(self, qkv: Tensor) -> list[Tensor]:
        """q, k [B,T,H,f] and v [B,T,H,d]."""
        return list(qkv.unflatten(-1, (self.heads, -1)).split(self.parts, -1))

    def _merge(self, y: Tensor) -> Tensor:
        return self.out(y.flatten(2))
