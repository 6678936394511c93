"""PaTH by native.cpp: float32 on a processor, forward and every gradient."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from kernels._inputs import dense, dense_heads, head_strides
from kernels._native import call
from kernels.path.operator import Inputs


def native(i: Inputs, queries: Tensor | None) -> Tensor:
    """y [B,T,H,e] of the formula in kernels/path, or [1,N,H,e] with queries, float32; offsets and
    queries are checked."""
    y: Tensor = _Path.apply(*i, queries)
    return y


class _Path(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, *inputs: Any) -> Tensor:
        *given, queries = inputs
        i = Inputs(*given)
        B, T, H, _ = i.q.shape
        offsets = None if i.offsets is None else i.offsets.long()
        ctx.scale = i.scale
        rest = dense(i.w, i.beta, i.log_forget, i.gate, offsets, queries)
        tensors = *dense_heads(i.q, i.k, i.v), *rest
        y = i.q.new_empty(B, T, H, i.v.shape[3])
        kept = i.q.new_empty(2, B, H, T) if any(ctx.needs_input_grad) else (None, None)
        call("path", "forward", *_arguments(*tensors, scale=i.scale), y, *kept)
        ctx.save_for_backward(*tensors, y, *kept)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        *tensors, y, maximum, inverse = ctx.saved_tensors
        dense_ = torch.contiguous_format
        grads = [
            None if x is None else torch.empty_like(x, memory_format=dense_) for x in tensors[:7]
        ]
        arguments = _arguments(*tensors, scale=ctx.scale)
        call("path", "backward", *arguments, y, maximum, inverse, dy.contiguous(), *grads)
        return *grads[:5], None, *grads[5:], None, None


def _arguments(*tensors: Any, scale: float) -> tuple[Any, ...]:
    """What both functions of native.cpp take first."""
    q, k, v, _, _, _, gate, offsets, queries = tensors
    (B, T, G, d), H, e = k.shape, q.shape[2], v.shape[3]
    number = -1 if queries is None else len(queries)
    rows = B if offsets is None else len(offsets) - 1
    width = e if gate is not None and gate.ndim == 4 else 1
    return *tensors, number, rows, T, H, G, d, e, width, *head_strides(q, k, v), float(scale)
