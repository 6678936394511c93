"""The product with a SiLU gate by native.cpp, and its gradient."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from kernels._inputs import token_rows
from kernels._native import call


def native(x: Tensor, gate: Tensor) -> Tensor:
    """y of the shape of x and gate, float32."""
    y: Tensor = _SwiGlu.apply(x, gate)
    return y


class _SwiGlu(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, gate: Tensor) -> Tensor:
        ctx.save_for_backward(x, gate)
        (rows, x_stride), (gates, gate_stride) = _tokens(x), _tokens(gate)
        y = x.new_empty(x.shape)
        B, T, D = rows.shape
        call("swiglu", "forward", rows, gates, y, B * T, D, x_stride, gate_stride)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor, Tensor]:
        x, gate = ctx.saved_tensors
        tensors, strides = zip(*map(_tokens, (x, gate, dy)), strict=True)
        dx, dgate = x.new_empty(x.shape), x.new_empty(x.shape)
        B, T, D = tensors[0].shape
        call("swiglu", "backward", *tensors, dx, dgate, B * T, D, *strides)
        return dx, dgate


def _tokens(x: Tensor) -> tuple[Tensor, int]:
    """x as [B,T,D], a view where it can be, and the numbers from one token to the next."""
    return token_rows(x if x.ndim == 3 else x.reshape(1, -1, x.shape[-1] if x.ndim else 1))
