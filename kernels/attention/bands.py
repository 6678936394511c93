"""Heads with a narrow window on a CPU: sums over the offsets that they see, without a mask.

    s_o[i] = scale q_i . k_{i-o}      p_o = softmax_o(s_o)      y_i = sum_o p_o[i] v_{i-o}

An offset o is one pass over the heads that see it, so a head costs what its window costs; tokens
are the last dimension, where torch's elementwise operations are fastest.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from kernels._inputs import at_least_float32

NARROW = 8  # tokens for each token of a window, from which on this is faster than a masked product
WIDEST = 16


def narrow_heads(window: list[int], T: int) -> list[int]:
    """The heads that are faster as bands than under a mask, in rising order of their window."""
    most = min(T // NARROW, WIDEST)
    return sorted((h for h, w in enumerate(window) if 0 < w <= most), key=lambda h: window[h])


def banded(q: Tensor, k: Tensor, v: Tensor, window: list[int], scale: float) -> Tensor:
    """y [B,T,h,e] of q, k [B,T,h,d], v [B,T,h,e], whose h windows rise and are at most T."""
    # The first head that sees offset o.
    first = [sum(w <= o for w in window) for o in range(window[-1])]
    y: Tensor = _Bands.apply(q, k, v, first, scale)
    return y


class _Bands(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, *inputs: Any) -> Tensor:
        *tensors, ctx.first, ctx.scale = inputs
        ctx.types = [x.dtype for x in tensors]
        q, k, v = map(_tokens_last, tensors)
        T = q.shape[-1]
        seen = list(enumerate(ctx.first))
        s = [(q[:, h:, :, o:] * k[:, h:, :, : T - o]).sum(2).mul_(ctx.scale) for o, h in seen]
        largest, total = s[0].clone(), torch.zeros_like(s[0])
        for o, h in seen:
            most = largest[:, h:, o:]
            torch.maximum(most, s[o], out=most)
        for o, h in seen:
            total[:, h:, o:] += s[o].sub_(largest[:, h:, o:]).exp_()
        y = torch.zeros_like(v)
        for o, h in seen:
            p = s[o].div_(total[:, h:, o:])
            y[:, h:, :, o:].addcmul_(p[:, :, None], v[:, h:, :, : T - o])
        ctx.save_for_backward(q, k, v, *s)
        return y.permute(0, 3, 1, 2).to(ctx.types[2])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        q, k, v, *weights = ctx.saved_tensors
        T = q.shape[-1]
        dy = _tokens_last(dy)
        seen = list(enumerate(ctx.first))
        dp = [(dy[:, h:, :, o:] * v[:, h:, :, : T - o]).sum(2) for o, h in seen]
        mean = torch.zeros_like(weights[0])
        for o, h in seen:
            mean[:, h:, o:].addcmul_(weights[o], dp[o])
        dq, dk, dv = (torch.zeros_like(x) for x in (q, k, v))
        for o, h in seen:
            p = weights[o]
            ds = dp[o].sub_(mean[:, h:, o:]).mul_(p).mul_(ctx.scale)[:, :, None]
            dq[:, h:, :, o:].addcmul_(ds, k[:, h:, :, : T - o])
            dk[:, h:, :, : T - o].addcmul_(ds, q[:, h:, :, o:])
            dv[:, h:, :, : T - o].addcmul_(p[:, :, None], dy[:, h:, :, o:])
        grads = (x.permute(0, 3, 1, 2) for x in (dq, dk, dv))
        return *(x.to(t) for x, t in zip(grads, ctx.types, strict=True)), None, None


def _tokens_last(x: Tensor) -> Tensor:
    """[B,T,h,d] -> [B,h,d,T], copied."""
    return at_least_float32(x).permute(0, 2, 3, 1).contiguous()
