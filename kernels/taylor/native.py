"""The second-order kernel by native.cpp, and its gradient."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from kernels._inputs import dense_heads, head_strides
from kernels._native import call


def native(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """y [B,T,H,e] of q, k [B,T,H,f], v [B,T,H,e], float32, views or not."""
    y: Tensor = _Taylor.apply(q, k, v)
    return y


class _Taylor(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        q, k, v = dense_heads(q, k, v)
        B, T, H, e = v.shape
        y, z = torch.empty(v.shape), torch.empty(B, H, T)
        strides = torch.tensor(head_strides(q, k, v))
        call("taylor", "forward", q, k, v, strides, y, z, B, T, H, q.shape[3], e)
        ctx.save_for_backward(q, k, v, y, z)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor, ...]:
        q, k, v, y, z = ctx.saved_tensors
        B, T, H, e = v.shape
        f = q.shape[3]
        # One buffer, so that the gradient of a projection of all three needs no gathering.
        grads = torch.empty(B, T, H, 2 * f + e).split([f, f, e], -1)
        to = (*grads, torch.tensor(head_strides(*grads)))
        inputs = (dy.contiguous(), q, k, v, y, z, torch.tensor(head_strides(q, k, v)))
        call("taylor", "backward", *inputs, *to, B, T, H, f, e)
        return grads
