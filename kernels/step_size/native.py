"""Step sizes by native.cpp, and their gradient."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from kernels._inputs import token_rows
from kernels._native import call


def native(x: Tensor, W: Tensor, b: Tensor) -> Tensor:
    """y [...,D] of x [...,R], W [D,R], b [D], float32."""
    y: Tensor = _StepSize.apply(x.reshape(1, -1, x.shape[-1]) if x.ndim != 3 else x, W, b)
    return y.view(*x.shape[:-1], len(b))


class _StepSize(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, W: Tensor, b: Tensor) -> Tensor:
        rows, stride = token_rows(x)
        B, T, R = x.shape
        by_channel, D = W.t().contiguous(), len(b)
        y = x.new_empty(B, T, D)
        slope = x.new_empty(B, T, D) if any(ctx.needs_input_grad) else None
        sizes = (B * T, R, D, stride)
        call("step_size", "forward", rows, by_channel, b.contiguous(), y, slope, *sizes)
        ctx.save_for_backward(x, by_channel, slope)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        x, W, slope = ctx.saved_tensors
        (rows, stride), (dy, dy_stride) = token_rows(x), token_rows(dy)
        B, T, R = x.shape
        D = W.shape[1]
        dx, dW, db = x.new_empty(x.shape), torch.empty_like(W), x.new_empty(D)
        sizes = (B * T, R, D, stride, dy_stride)
        call("step_size", "backward", dy, rows, W, slope, dx, dW, db, *sizes)
        return dx, dW.t(), db
