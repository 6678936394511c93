"""The short convolution by native.cpp, and its gradient."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from kernels._inputs import dense, token_rows
from kernels._native import call


def native(x: Tensor, weight: Tensor, bias: Tensor | None, silu: bool) -> Tensor:
    """y [B,T,C] of x [B,T,C], weight [w,C], bias [C] or None, all float32."""
    y: Tensor = _ShortConv.apply(x, weight, bias, silu)
    return y


class _ShortConv(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, silu: bool) -> Tensor:
        ctx.save_for_backward(x, weight, bias)
        ctx.silu = silu
        rows, stride = token_rows(x)
        y = x.new_empty(x.shape)
        weights = dense(weight, bias)
        call("short_conv", "forward", rows, *weights, y, *x.shape, len(weight), stride, silu)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, bias = ctx.saved_tensors
        grads = [None if v is None else v.new_empty(v.shape) for v in (x, weight, bias)]
        (x, stride), (dy, dy_stride) = token_rows(x), token_rows(dy)
        weights = dense(weight, bias)
        sizes = *x.shape, len(weight), stride, dy_stride, ctx.silu
        call("short_conv", "backward", x, *weights, dy, *grads, *sizes)
        return *grads, None
