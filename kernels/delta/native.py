"""The gated delta rule by native.cpp, and its gradient."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from kernels._inputs import dense, dense_heads, head_strides
from kernels._native import call
from kernels.delta.operator import Inputs

CHUNK = 8  # tokens between two kept states, as in native.cpp


def native(i: Inputs) -> tuple[Tensor, Tensor]:
    """o and S_last of float32 inputs, differentiable once."""
    if i.save and any(isinstance(x, Tensor) and x.requires_grad for x in i):
        return _Delta.apply(*i)
    o, last, _ = _forward(i._replace(save=False))
    return o, last


class _Delta(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, *inputs: Any) -> tuple[Tensor, Tensor]:
        o, last, kept = _forward(Inputs(*inputs))
        *tensors, ctx.scale, _ = inputs
        ctx.save_for_backward(*tensors, kept)
        ctx.set_materialize_grads(False)
        return o, last

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, do: Tensor | None, dlast: Tensor | None) -> tuple[Tensor | None, ...]:
        *inputs, kept = ctx.saved_tensors
        q, k, v = dense_heads(*inputs[:3])
        (do,) = dense_heads(torch.zeros_like(v) if do is None else do)
        grads = [None if x is None else x.new_empty(x.shape) for x in inputs]
        sizes = *k.shape, v.shape[3], *head_strides(q, k, v, do)
        given = q, k, v, *dense(*inputs[3:5]), kept, do, *dense(dlast)
        call("delta", "backward", *given, *grads, *sizes, ctx.scale)
        return *grads, None, None


def _forward(i: Inputs) -> tuple[Tensor, Tensor, Tensor | None]:
    """o, S_last and, to save for the backward pass, the state before every chunk."""
    q, k, v = dense_heads(i.q, i.k, i.v)
    (B, T, H, d), e = k.shape, v.shape[3]
    o, last = v.new_empty(B, T, H, e), v.new_empty(B, H, d, e)
    kept = None
    if i.save:
        kept = v.new_empty(B, H, -(-T // CHUNK), -(-d // 4) * 4, -(-e // 16) * 16)
    given = q, k, v, *dense(i.beta, i.log_decay, i.S0), o, last, kept
    call("delta", "forward", *given, B, T, H, d, e, *head_strides(q, k, v), i.scale)
    return o, last, kept
