"""The short convolution in few torch calls, forward and backward."""

from __future__ import annotations

import math
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
    output.

    Takes x [...,B,T,C], weight [...,w,C] and bias [...,C] with one weight and bias for each of the
    leading indices, which vmap adds: torch.vmap itself has no rule for addcmul_.
    """

    @staticmethod
    def forward(x: Tensor, weight: Tensor, bias: Tensor | None, silu: bool) -> Tensor:
        out = torch.empty_like(x, memory_format=torch.contiguous_format)
        taps, start = _factors(weight, bias)
        for part, place in zip(_blocks(x), _blocks(out), strict=True):
            y = _sum(part.to(_wide(x, weight)), taps, start)
            place.copy_(F.silu(y, inplace=True) if silu else y)
        return out

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        x, weight, bias, ctx.silu = inputs
        ctx.save_for_backward(x, weight, bias)

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int | None, ...], *inputs: Any) -> tuple[Tensor, int]:
        given = [
            x if not isinstance(x, Tensor)
            else x.expand(info.batch_size, *x.shape) if dim is None
            else x.movedim(dim, 0)
            for x, dim in zip(inputs, in_dims, strict=True)
        ]  # fmt: skip
        return _Taps.apply(*given), 0

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor, Tensor, Tensor | None, None]:
        x, weight, bias = ctx.saved_tensors
        dx = torch.empty_like(x, memory_format=torch.contiguous_format)
        wide, dw, db = _wide(x, weight), [], []
        taps, start = _factors(weight, bias)
        for part, g, place in zip(_blocks(x), _blocks(dy), _blocks(dx), strict=True):
            part, g = part.to(wide), g.to(wide)
            if ctx.silu:
                y = _sum(part, taps, start)
                gate = torch.sigmoid(y)
                g = g * (gate + y * gate * (1 - gate))
            place.copy_(_back(g, taps))
            dw.append(_slopes(part, g, len(taps)))
            db.append(g.sum((-3, -2)))
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
    models, T, C = math.prod(x.shape[:-3]), *x.shape[-2:]
    return (x,) if x.is_cuda else x.split(max(1, _BLOCK // (models * T * C)), -3)


def _factors(weight: Tensor, bias: Tensor | None) -> tuple[tuple[Tensor, ...], Tensor | None]:
    """weight [...,w,C] as factors [...,1,1,C] of x, the token's own first; bias [...,1,1,C]."""
    taps = weight[..., None, None, :].unbind(-4)[::-1]
    return taps, None if bias is None else bias[..., None, None, :]


def _sum(x: Tensor, taps: tuple[Tensor, ...], start: Tensor | None) -> Tensor:
    T = x.shape[-2]
    y = x * taps[0] if start is None else torch.addcmul(start.to(x.dtype), x, taps[0])
    for i in range(1, min(len(taps), T)):
        y.narrow(-2, i, T - i).addcmul_(x.narrow(-2, 0, T - i), taps[i])
    return y


def _back(g: Tensor, taps: tuple[Tensor, ...]) -> Tensor:
    """The gradient of x: the taps applied backwards in time."""
    T = g.shape[-2]
    dx = g * taps[0]
    for i in range(1, min(len(taps), T)):
        dx.narrow(-2, 0, T - i).addcmul_(g.narrow(-2, i, T - i), taps[i])
    return dx


def _slopes(x: Tensor, g: Tensor, w: int) -> Tensor:
    """The gradient of the weight [...,w,C]."""
    T = x.shape[-2]
    taps = [
        (g.narrow(-2, min(i, T), max(0, T - i)) * x.narrow(-2, 0, max(0, T - i))).sum((-3, -2))
        for i in range(w)
    ]
    return torch.stack(taps[::-1], -2)
