"""The selective scan by native.cpp, and its gradient."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from kernels._inputs import dense, token_rows
from kernels._native import call

CHUNK = 8  # tokens between two kept states, as in native.cpp


def native(*inputs: Tensor | None) -> tuple[Tensor, Tensor]:
    """y and h_last of float32 inputs, those of `selective_scan`, differentiable once."""
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
        (u, delta, A, Bm, Cm, Dskip, _), sizes = _dense(*inputs)
        dy, dy_stride = token_rows(torch.zeros_like(u) if dy is None else dy)
        grads = [None if x is None else x.new_empty(x.shape) for x in inputs]
        tensors = u, delta, A, Bm, Cm, Dskip, kept, dy, *dense(dlast), *grads
        call("selective_scan", "backward", *tensors, *sizes, dy_stride)
        return tuple(grads)


def _forward(*inputs: Any, keep: bool) -> tuple[Tensor, Tensor, Tensor | None]:
    """y, h_last and, to keep for the backward pass, the state before every chunk."""
    tensors, sizes = _dense(*inputs)
    u, (B, T, D, N, *_) = tensors[0], sizes
    y, last = u.new_empty(B, T, D), u.new_empty(B, D, N)
    kept = u.new_empty(B, -(-T // CHUNK), N, -(-D // 16) * 16) if keep else None
    call("selective_scan", "forward", *tensors, y, last, kept, *sizes)
    return y, last, kept


def _dense(u: Tensor, delta: Tensor, A: Tensor, Bm: Tensor, Cm: Tensor, *rest: Any) -> Any:
    """The inputs as native.cpp reads them; B, T, D, N and the strides of u, delta, Bm and Cm."""
    sequences, strides = zip(*map(token_rows, (u, delta, Bm, Cm)), strict=True)
    u, delta, Bm, Cm = sequences
    return (u, delta, *dense(A), Bm, Cm, *dense(*rest)), (*u.shape, A.shape[1], *strides)
