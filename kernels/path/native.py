"""PaTH by native.cpp: float32 on a processor, forward and every gradient."""

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
    w: Tensor,
    beta: Tensor,
    scale: float,
    log_forget: Tensor | None,
    gate: Tensor | None,
    offsets: Tensor | None,
    queries: Tensor | None,
) -> Tensor:
    """y [B,T,H,e] of the formula in kernels/path, or [1,N,H,e] with queries, float32; offsets and
    queries are checked."""
    y: Tensor = _Path.apply(q, k, v, w, beta, scale, log_forget, gate, offsets, queries)
    return y


class _Path(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, *inputs: Any) -> Tensor:
        q, k, v, w, beta, scale, log_forget, gate, offsets, queries = inputs
        B, T, H, _ = q.shape
        q, k, v = (x if x.stride(3) == 1 else x.contiguous() for x in (q, k, v))
        w, beta = w.contiguous(), beta.contiguous()
        log_forget, gate = (None if x is None else x.contiguous() for x in (log_forget, gate))
        offsets = None if offsets is None else offsets.long()
        queries = None if queries is None else queries.contiguous()
        y = q.new_empty(B, T, H, v.shape[3])
        maximum, inverse = q.new_empty(2, B, H, T) if any(ctx.needs_input_grad) else (None, None)
        arguments = _arguments(q, k, v, w, beta, scale, log_forget, gate, offsets, queries)
        call("path", "forward", *arguments, y, maximum, inverse)
        inputs = q, k, v, w, beta, log_forget, gate, offsets, queries
        ctx.save_for_backward(*inputs, y, maximum, inverse)
        ctx.scale = scale
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        q, k, v, w, beta, log_forget, gate, offsets, queries, *kept = ctx.saved_tensors
        dense = torch.contiguous_format
        dq, dk, dv, dw, dbeta, dlog, dgate = (
            None if x is None else torch.empty_like(x, memory_format=dense)
            for x in (q, k, v, w, beta, log_forget, gate)
        )
        arguments = _arguments(q, k, v, w, beta, ctx.scale, log_forget, gate, offsets, queries)
        grads = (dq, dk, dv, dw, dbeta, dlog, dgate)
        call("path", "backward", *arguments, *kept, dy.contiguous(), *grads)
        return dq, dk, dv, dw, dbeta, None, dlog, dgate, None, None


def _arguments(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    w: Tensor,
    beta: Tensor,
    scale: float,
    log_forget: Tensor | None,
    gate: Tensor | None,
    offsets: Tensor | None,
    queries: Tensor | None,
) -> tuple[Any, ...]:
    """What both functions of native.cpp take first."""
    (B, T, G, d), H, e = k.shape, q.shape[2], v.shape[3]
    number = -1 if queries is None else len(queries)
    rows = B if offsets is None else len(offsets) - 1
    width = e if gate is not None and gate.ndim == 4 else 1
    strides = (n for x in (q, k, v) for n in x.stride()[:3])
    own = (q, k, v, w, beta, log_forget, gate, offsets, queries)
    return (*own, number, rows, T, H, G, d, e, width, *strides, float(scale))
