"""Rotary embedding by native.cpp, and its gradient: the rotation back."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from kernels._inputs import dense_heads, head_strides
from kernels._native import call


def native(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """y [B,T,H,d] of x [B,T,H,d], a view or not, by the angles' cosines and sines [T,d/2]."""
    y: Tensor = _Rotary.apply(x, cos, sin)
    return y


def _turned(x: Tensor, cos: Tensor, sin: Tensor, sign: float) -> Tensor:
    (x,) = dense_heads(x)
    y = torch.empty(x.shape)
    B, T, H, d = x.shape
    call("rotary", "rotate", x, cos, sin, y, B, T, H, d // 2, *head_strides(x), sign)
    return y


class _Rotary(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        ctx.save_for_backward(cos, sin)
        return _turned(x, cos, sin, 1.0)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor, None, None]:
        cos, sin = ctx.saved_tensors
        return _turned(dy, cos, sin, -1.0), None, None
