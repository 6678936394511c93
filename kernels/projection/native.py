"""The linear layer by oneDNN's product, and its gradient."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable


def native(x: Tensor, W: Tensor, b: Tensor | None) -> Tensor:
    """y [...,N], float32."""
    y: Tensor = _Projection.apply(x, W, b)
    return y


def product(x: Tensor, W: Tensor, b: Tensor | None = None) -> Tensor:
    """x [M,K], W [N,K] with any strides, b [N] or None -> x W^T + b [M,N], without a gradient."""
    y: Tensor = torch.ops.mkldnn._linear_pointwise(x, W, b, "none", [], "")
    return y


class _Projection(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, W: Tensor, b: Tensor | None) -> Tensor:
        ctx.save_for_backward(x, W)
        return product(x.reshape(-1, x.shape[-1]), W, b).view(*x.shape[:-1], len(W))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        x, W = ctx.saved_tensors
        dy = dy.reshape(-1, dy.shape[-1])
        dx = dW = db = None
        if ctx.needs_input_grad[0]:
            dx = product(dy, W.T).view(x.shape)
        if ctx.needs_input_grad[1]:
            dW = dy.T @ x.reshape(-1, x.shape[-1])  # a sum over tokens: oneDNN is no faster
        if ctx.needs_input_grad[2]:
            db = dy.sum(0)
        return dx, dW, db
