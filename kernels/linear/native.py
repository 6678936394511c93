"""Gated linear attention by native.cpp, and its gradient."""

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
    log_decay: Tensor | None,
    S0: Tensor | None,
    scale: float,
) -> tuple[Tensor, Tensor]:
    """o and S_last of float32 inputs, differentiable once. q, k and v may be views."""
    o, last = _Linear.apply(q, k, v, log_decay, S0, scale)
    return o, last


class _Linear(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        q: Tensor,
        k: Tensor,
        v: Tensor,
        log_decay: Tensor | None,
        S0: Tensor | None,
        scale: float,
    ) -> tuple[Tensor, Tensor]:
        q, k, v = (_heads(x) for x in (q, k, v))
        log_decay, S0 = (None if x is None else x.contiguous() for x in (log_decay, S0))
        (B, T, H, d), e = k.shape, v.shape[3]
        width = 0 if log_decay is None else log_decay.numel() // (B * T * H)
        sizes = B, T, H, d, e, width, *_strides(q, k, v)
        o, last = v.new_empty(B, T, H, e), v.new_empty(B, H, d, e)
        call("linear", "forward", q, k, v, log_decay, S0, o, last, *sizes, scale)
        ctx.save_for_backward(q, k, v, log_decay, S0)
        ctx.sizes, ctx.scale = sizes, scale
        ctx.set_materialize_grads(False)
        return o, last

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, do: Tensor | None, dlast: Tensor | None) -> tuple[Tensor | None, ...]:
        inputs = ctx.saved_tensors
        do = _heads(torch.zeros_like(inputs[2]) if do is None else do)
        dlast = None if dlast is None else dlast.contiguous()
        grads = [None if x is None else x.new_empty(x.shape) for x in inputs]
        sizes = *ctx.sizes, *_strides(do)
        call("linear", "backward", *inputs, do, dlast, *grads, *sizes, ctx.scale)
        return *grads, None


def _heads(x: Tensor) -> Tensor:
    """x [B,T,H,width], or a dense copy, so that the numbers of a head follow each other."""
    return x if x.stride(3) == 1 else x.contiguous()


def _strides(*tensors: Tensor) -> list[int]:
    """The strides of rows, tokens and heads."""
    return [n for x in tensors for n in x.stride()[:3]]
