"""Attention by native.cpp, and its gradient."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from kernels._inputs import dense, dense_heads
from kernels._native import call
from kernels.attention.operator import Inputs


def native(i: Inputs, queries: Tensor | None) -> Tensor:
    """y [B,T,H,e], float32; with queries, checked, [1,N,H,e]. q, k, v may be parts of one tensor
    [B,T,H+2G,d] (with queries k and v of one [B,T,2G,d]): none is copied, and their gradients are
    parts of one such tensor."""
    y: Tensor = _Attention.apply(*i[:-1], queries)
    return y


class _Attention(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, *inputs: Any) -> Tensor:
        q, k, v, ctx.scale, slopes, window, log_forget, gate, queries = inputs
        slopes = None if slopes is None else slopes.to(torch.float32)
        window = None if window is None else window.to(torch.int64)
        tensors = *dense_heads(q, k, v), *dense(slopes, window, log_forget, gate, queries)
        (B, T, _, e), H = v.shape, q.shape[2]
        y = q.new_empty(*q.shape[:3], e)
        kept = q.new_empty(B, H, 2, -(-T // 16) * 16)
        call("attention", "forward", *_arguments(*tensors), ctx.scale, y, kept)
        ctx.save_for_backward(*tensors, y, kept)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        *tensors, y, kept = ctx.saved_tensors
        q, k, v, _, _, log_forget, gate, queries = tensors
        H, (B, T, G, d) = q.shape[2], k.shape
        if d != v.shape[3]:
            dq, dk, dv = (x.new_empty(x.shape) for x in (q, k, v))
        elif queries is None:
            dq, dk, dv = q.new_empty(B, T, H + 2 * G, d).split([H, G, G], 2)
        else:
            dq = q.new_empty(q.shape)
            dk, dv = k.new_empty(B, T, 2 * G, d).split(G, 2)
        dlog, dgate = (None if x is None else torch.empty_like(x) for x in (log_forget, gate))
        given = *_arguments(*tensors), ctx.scale, y, kept, dy.contiguous()
        call("attention", "backward", *given, *_strided(dq, dk, dv), dlog, dgate)
        return dq, dk, dv, None, None, None, dlog, dgate, None


def _strided(*heads: Tensor) -> list[Any]:
    """Each tensor, then the numbers from one row, token and head to the next."""
    return [part for x in heads for part in (x, *x.stride()[:3])]


def _arguments(*tensors: Any) -> list[Any]:
    """What both functions of native.cpp take first."""
    q, k, v, *_, gate, queries = tensors
    (B, T, G, d), H, e = k.shape, q.shape[2], v.shape[3]
    number = -1 if queries is None else len(queries)
    gate_width = 0 if gate is None else 1 if gate.ndim == 3 else e
    return [*_strided(q, k, v), *tensors[3:], number, B, T, H, G, d, e, gate_width]
