"""The selective scan by native.cpp, and its gradient."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from kernels._inputs import token_rows
from kernels._native import call

CHUNK = 8  # tokens between two kept states, as in native.cpp


def native(
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    Bm: Tensor,
    Cm: Tensor,
    Dskip: Tensor | None,
    h0: Tensor | None,
) -> tuple[Tensor, Tensor]:
    """y and h_last of float32 inputs, differentiable once."""
    inputs = u, delta, A, Bm, Cm, Dskip, h0
    if torch.is_grad_enabled() and any(x is not None and x.requires_grad for x in inputs):
        return _SelectiveScan.apply(*inputs)
    y, last, _ = _forward(*inputs, keep=False)
    return y, last


class _SelectiveScan(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, *inputs: Any) -> tuple[Tensor, Tensor]:
        y, last, kept = _forward(*inputs, keep=True)
        ctx.save_for_backward(*inputs, kept)
        ctx.set_materialize_grads(False)
        return y, last

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor | None, dlast: Tensor | None) -> tuple[Tensor | None, ...]:
        *inputs, kept = ctx.saved_tensors
        (u, delta, A, Bm, Cm, Dskip, _), strides = _dense(*inputs)
        (B, T, D), N = u.shape, A.shape[1]
        dy, dy_stride = token_rows(torch.zeros_like(u) if dy is None else dy)
        dlast = None if dlast is None else dlast.contiguous()
        grads = [None if x is None else x.new_empty(x.shape) for x in inputs]
        tensors = u, delta, A, Bm, Cm, Dskip, kept, dy, dlast, *grads
        call("selective_scan", "backward", *tensors, B, T, D, N, *strides, dy_stride)
        return tuple(grads)


def _forward(
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    Bm: Tensor,
    Cm: Tensor,
    Dskip: Tensor | None,
    h0: Tensor | None,
    *,
    keep: bool,
) -> tuple[Tensor, Tensor, Tensor | None]:
    """y, h_last and, to keep for the backward pass, the state before every chunk."""
    (u, delta, A, Bm, Cm, Dskip, h0), strides = _dense(u, delta, A, Bm, Cm, Dskip, h0)
    (B, T, D), N = u.shape, A.shape[1]
    y, last = u.new_empty(B, T, D), u.new_empty(B, D, N)
    kept = u.new_empty(B, -(-T // CHUNK), N, -(-D // 16) * 16) if keep else None
    tensors = u, delta, A, Bm, Cm, Dskip, h0, y, last, kept
    call("selective_scan", "forward", *tensors, B, T, D, N, *strides)
    return y, last, kept


def _dense(
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    Bm: Tensor,
    Cm: Tensor,
    Dskip: Tensor | None,
    h0: Tensor | None,
) -> tuple[tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor | None, Tensor | None], list[int]]:
    """The inputs as native.cpp reads them, and the strides of u, delta, Bm and Cm."""
    sequences, strides = zip(*map(token_rows, (u, delta, Bm, Cm)), strict=True)
    u, delta, Bm, Cm = sequences
    Dskip, h0 = (None if x is None else x.contiguous() for x in (Dskip, h0))
    return (u, delta, A.contiguous(), Bm, Cm, Dskip, h0), list(strides)
