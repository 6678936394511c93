"""The gated delta rule by native.cpp, and its gradient."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from kernels._native import call

CHUNK = 8  # tokens between two kept states, as in native.cpp


def native(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    beta: Tensor,
    log_decay: Tensor | None,
    S0: Tensor | None,
    scale: float,
) -> tuple[Tensor, Tensor]:
    """o and S_last of float32 inputs, differentiable once."""
    inputs = q, k, v, beta, log_decay, S0
    if torch.is_grad_enabled() and any(x is not None and x.requires_grad for x in inputs):
        return _Delta.apply(*inputs, scale)
    o, last, _ = _forward(*inputs, scale, keep=False)
    return o, last


class _Delta(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, *inputs: Any) -> tuple[Tensor, Tensor]:
        o, last, kept = _forward(*inputs, keep=True)
        *tensors, ctx.scale = inputs
        ctx.save_for_backward(*tensors, kept)
        ctx.set_materialize_grads(False)
        return o, last

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, do: Tensor | None, dlast: Tensor | None) -> tuple[Tensor | None, ...]:
        *inputs, kept = ctx.saved_tensors
        (q, k, v, *gates, _), strides = _dense(*inputs)
        do = _heads(torch.zeros_like(v) if do is None else do)
        dlast = None if dlast is None else dlast.contiguous()
        grads = [None if x is None else x.new_empty(x.shape) for x in inputs]
        sizes = *k.shape, v.shape[3], *strides, *do.stride()[:3]
        call("delta", "backward", q, k, v, *gates, kept, do, dlast, *grads, *sizes, ctx.scale)
        return *grads, None


def _forward(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    beta: Tensor,
    log_decay: Tensor | None,
    S0: Tensor | None,
    scale: float,
    *,
    keep: bool,
) -> tuple[Tensor, Tensor, Tensor | None]:
    """o, S_last and, to keep for the backward pass, the state before every chunk."""
    (q, k, v, *rest), strides = _dense(q, k, v, beta, log_decay, S0)
    (B, T, H, d), e = k.shape, v.shape[3]
    o, last = v.new_empty(B, T, H, e), v.new_empty(B, H, d, e)
    kept = None
    if keep:
        kept = v.new_empty(B, H, -(-T // CHUNK), -(-d // 4) * 4, -(-e // 16) * 16)
    call("delta", "forward", q, k, v, *rest, o, last, kept, B, T, H, d, e, *strides, scale)
    return o, last, kept


def _dense(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    beta: Tensor,
    log_decay: Tensor | None,
    S0: Tensor | None,
) -> tuple[tuple[Any, ...], list[int]]:
    """The inputs as native.cpp reads them, and the strides of rows, tokens and heads of q, k, v."""
    heads = [_heads(x) for x in (q, k, v)]
    others = [None if x is None else x.contiguous() for x in (beta, log_decay, S0)]
    return (*heads, *others), [n for x in heads for n in x.stride()[:3]]


def _heads(x: Tensor) -> Tensor:
    """x [B,T,H,width], or a dense copy, so that the numbers of a head follow each other."""
    return x if x.stride(3) == 1 else x.contiguous()
