"""The short convolution in few torch calls, forward and backward."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

# Numbers in a block of rows, so that one pass over the taps stays in cache.
_BLOCK = 1 << 17


def reference(x: Tensor, weight: Tensor, bias: Tensor | None, silu: bool) -> Tensor:
    """y, differentiable, under vmap too; checks no shapes."""
    y: Tensor = _Taps.apply(x, weight, bias, silu)
    return y


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
