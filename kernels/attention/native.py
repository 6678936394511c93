"""Attention by native.cpp, and its gradient."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from kernels._native import call


def native(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    scale: float,
    slopes: Tensor | None,
    window: Tensor | None,
    log_forget: Tensor | None,
    gate: Tensor | None,
    queries: Tensor | None,
) -> Tensor:
    """y [B,T,H,e], float32; with queries, checked, [1,N,H,e]. q, k, v may be parts of one tensor
    [B,T,H+2G,d] (with queries k and v of one [B,T,2G,d]): none is copied, and their gradients are
    parts of one such tensor."""
    y: Tensor = _Attention.apply(q, k, v, scale, slopes, window, log_forget, gate, queries)
    return y


class _Attention(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        q: Tensor,
        k: Tensor,
        v: Tensor,
        scale: float,
        slopes: Tensor | None,
        window: Tensor | None,
        log_forget: Tensor | None,
        gate: Tensor | None,
        queries: Tensor | None,
    ) -> Tensor:
        q, k, v = (x if x.stride(3) == 1 else x.contiguous() for x in (q, k, v))
        slopes = None if slopes is None else slopes.to(torch.float32).contiguous()
        window = None if window is None else window.to(torch.int64).contiguous()
        log_forget, gate = (None if x is None else x.contiguous() for x in (log_forget, gate))
        queries = None if queries is None else queries.contiguous()
        (B, T, _, e), H = v.shape, q.shape[2]
        y = q.new_empty(*q.shape[:3], e)
        kept = q.new_empty(B, H, 2, -(-T // 16) * 16)
        ctx.scale = scale
        inputs = q, k, v, slopes, window, log_forget, gate, queries
        call("attention", "forward", *_arguments(scale, *inputs), y, kept)
        ctx.save_for_backward(*inputs, y, kept)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        *inputs, y, kept = ctx.saved_tensors
        q, k, v, _, _, log_forget, gate, queries = inputs
        H, (B, T, G, d) = q.shape[2], k.shape
        if d != v.shape[3]:
            dq, dk, dv = (x.new_empty(x.shape) for x in (q, k, v))
        elif queries is None:
            dq, dk, dv = q.new_empty(B, T, H + 2 * G, d).split([H, G, G], 2)
        else:
            dq = q.new_empty(q.shape)
            dk, dv = k.new_empty(B, T, 2 * G, d).split(G, 2)
        dlog, dgate = (None if x is None else torch.empty_like(x) for x in (log_forget, gate))
        grads = [part for x in (dq, dk, dv) for part in _strided(x)]
        given = _arguments(ctx.scale, *inputs)
        call("attention", "backward", *given, y, kept, dy.contiguous(), *grads, dlog, dgate)
        return dq, dk, dv, None, None, None, dlog, dgate, None


def _strided(x: Tensor) -> tuple[Tensor | int, ...]:
    return x, *x.stride()[:3]


def _arguments(
    scale: float,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    slopes: Tensor | None,
    window: Tensor | None,
    log_forget: Tensor | None,
    gate: Tensor | None,
    queries: Tensor | None,
) -> list[Any]:
    """The arguments that both functions begin with."""
    (B, T, G, d), H, e = k.shape, q.shape[2], v.shape[3]
    number = -1 if queries is None else len(queries)
    gate_width = 0 if gate is None else 1 if gate.ndim == 3 else e
    heads = [part for x in (q, k, v) for part in _strided(x)]
    sizes = number, B, T, H, G, d, e, gate_width
    return [*heads, slopes, window, log_forget, gate, queries, *sizes, scale]
