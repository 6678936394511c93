"""RMSNorm by native.cpp, and its gradient."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from kernels._native import call


def native(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    """y of the shape of x [...,D], float32."""
    y: Tensor = _RmsNorm.apply(x, weight, eps)
    return y


class _RmsNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, eps: float) -> Tensor:
        x, weight = x.contiguous(), weight.contiguous()
        y, kept = torch.empty_like(x), x.new_empty(x.shape[:-1])
        call("rms_norm", "forward", x, weight, y, kept, kept.numel(), x.shape[-1], eps)
        ctx.save_for_backward(x, weight, kept)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, kept = ctx.saved_tensors
        dx = torch.empty_like(x)
        dweight = torch.empty_like(weight) if ctx.needs_input_grad[1] else None
        n, D = kept.numel(), x.shape[-1]
        call("rms_norm", "backward", dy.contiguous(), x, weight, kept, dx, dweight, n, D)
        return dx, dweight, None
