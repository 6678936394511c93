"""Short causal depthwise convolution with a state, shared by mamba, deltanet and based.

    y_t = f(bias + sum_{i < w} weight_i * x_{t-w+1+i})        x before the first token is 0

x [B,T,C], weight [w,C] (the last row meets the token itself), bias [C] or none, f SiLU or identity.
Its state is the last w - 1 inputs [B,w-1,C], zeros where there were none. Weights and biases start
uniform in +-1/sqrt(w), as in torch's Conv1d. Sums are float32 for half types; y has the type of x.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

# Numbers in a block of rows, so that one pass over the taps stays in cache.
_BLOCK = 1 << 17


class ShortConv(nn.Module):
    """x [B,T,C] -> [B,T,C]; `channels` is C, `taps` is w."""

    def __init__(self, channels: int, taps: int, *, bias: bool, silu: bool) -> None:
        super().__init__()
        bound = taps**-0.5
        self.weight = nn.Parameter(torch.empty(taps, channels).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(channels).uniform_(-bound, bound)) if bias else None
        self.silu = silu

    def forward(self, x: Tensor) -> Tensor:
        return _Taps.apply(x, self.weight, self.bias, self.silu)

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


class _Taps(torch.autograd.Function):
    """One pass over the data for all taps and the nonlinearity; autograd would store each tap's
    output."""

    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor, weight: Tensor, bias: Tensor | None, silu: bool) -> Tensor:
        out = torch.empty_like(x, memory_format=torch.contiguous_format)
        for part, place in zip(_blocks(x), _blocks(out), strict=True):
            y = _sum(part.to(_wide(x, weight)), weight, bias)
            place.copy_(F.silu(y, inplace=True) if silu else y)
        return out

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        x, weight, bias, ctx.silu = inputs
        ctx.save_for_backward(x, weight, bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor, Tensor, Tensor | None, None]:
        x, weight, bias = ctx.saved_tensors
        dx = torch.empty_like(x, memory_format=torch.contiguous_format)
        wide, dw, db = _wide(x, weight), [], []
        for part, g, place in zip(_blocks(x), _blocks(dy), _blocks(dx), strict=True):
            part, g = part.to(wide), g.to(wide)
            if ctx.silu:
                y = _sum(part, weight, bias)
                gate = torch.sigmoid(y)
                g = g * (gate + y * gate * (1 - gate))
            place.copy_(_back(g, weight))
            dw.append(_slopes(part, g, len(weight)))
            db.append(g.sum((0, 1)))
        slopes, offsets = torch.stack(dw).sum(0), torch.stack(db).sum(0)
        return (
            dx,
            slopes.to(weight.dtype),
            None if bias is None else offsets.to(bias.dtype),
            None,
        )


def _wide(x: Tensor, weight: Tensor) -> torch.dtype:
    return torch.promote_types(torch.promote_types(x.dtype, weight.dtype), torch.float32)


def _blocks(x: Tensor) -> tuple[Tensor, ...]:
    return (x,) if x.is_cuda else x.split(max(1, _BLOCK // (x.shape[1] * x.shape[2])))


def _sum(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    T, w = x.shape[1], len(weight)
    y = x * weight[-1] if bias is None else torch.addcmul(bias.to(x.dtype), x, weight[-1])
    for i in range(1, min(w, T)):
        y[:, i:].addcmul_(x[:, : T - i], weight[w - 1 - i])
    return y


def _back(g: Tensor, weight: Tensor) -> Tensor:
    """The gradient of x: the taps applied backwards in time."""
    T, w = g.shape[1], len(weight)
    dx = g * weight[-1]
    for i in range(1, min(w, T)):
        dx[:, : T - i].addcmul_(g[:, i:], weight[w - 1 - i])
    return dx


def _slopes(x: Tensor, g: Tensor, w: int) -> Tensor:
    """The gradient of the weight [w,C]."""
    T = x.shape[1]
    taps = [(g[:, i:] * x[:, : max(0, T - i)]).sum((0, 1)) for i in range(w)]
    return torch.stack(taps[::-1])
