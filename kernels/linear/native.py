"""Gated linear attention by native.cpp, and its gradient."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from kernels._inputs import dense, dense_heads, head_strides
from kernels._native import call


def native(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    log_decay: Tensor | None,
    S0: Tensor | None,
    scale: float,
) -> tuple[Tensor, Tensor]:
    """o and S_last of float32 inputs, differentiable once. q, k and v may be views."""
    o, last = _Linear.apply(q, k, v, log_decay, S0, scale)
    return o, last


class _Linear(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, *inputs: Any) -> tuple[Tensor, Tensor]:
        *tensors, ctx.scale = inputs
        q, k, v = dense_heads(*tensors[:3])
        log_decay, S0 = dense(*tensors[3:])
        (B, T, H, d), e = k.shape, v.shape[3]
        width = 0 if log_decay is None else log_decay.numel() // (B * T * H)
        ctx.sizes = B, T, H, d, e, width, *head_strides(q, k, v)
        o, last = v.new_empty(B, T, H, e), v.new_empty(B, H, d, e)
        call("linear", "forward", q, k, v, log_decay, S0, o, last, *ctx.sizes, ctx.scale)
        ctx.save_for_backward(q, k, v, log_decay, S0)
        ctx.set_materialize_grads(False)
        return o, last

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, do: Tensor | None, dlast: Tensor | None) -> tuple[Tensor | None, ...]:
        inputs = ctx.saved_tensors
        (do,) = dense_heads(torch.zeros_like(inputs[2]) if do is None else do)
        grads = [None if x is None else x.new_empty(x.shape) for x in inputs]
        sizes = *ctx.sizes, *head_strides(do)
        call("linear", "backward", *inputs, do, *dense(dlast), *grads, *sizes, ctx.scale)
        return *grads, None
