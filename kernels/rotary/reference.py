"""Rotary embedding in few torch calls, forward and backward."""
# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

import torch
from torch import Tensor


def reference(x: Tensor, start: int | Tensor, base: float) -> Tensor:
    """y [B,T,H,d] of x [B,T,H,d], differentiable, under vmap too."""
    cos, sin = (part[:, None] for part in angles(x, start, base))
    turned: Tensor = _Turn.apply(x.to(cos.dtype), cos, sin)
    return turned.to(x.dtype)


def angles(x: Tensor, start: int | Tensor, base: float) -> tuple[Tensor, Tensor]:
    """Cosines and sines [T,d/2] of the positions, float32 at least."""
    T, half = x.shape[1], x.shape[3] // 2
    wide = torch.promote_types(x.dtype, torch.float32)
    frequency = base ** (-torch.arange(half, device=x.device, dtype=wide) / half)
    if isinstance(start, int):
        start = torch.arange(start, start + T, device=x.device, dtype=wide)
    angle = start.to(wide)[:, None] * frequency
    return angle.cos(), angle.sin()


class _Turn(torch.autograd.Function):
    """Rotation with two passes over x forward and two backward; autograd would need a dozen."""

    @staticmethod
    def forward(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        half = cos.shape[-1]
        y = x * torch.cat([cos, cos], -1)
        y[..., :half].addcmul_(x[..., half:], sin, value=-1)
        y[..., half:].addcmul_(x[..., :half], sin)
        return y

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.save_for_backward(*inputs[1:])

    @staticmethod
    def backward(ctx, grad):
        cos, sin = ctx.saved_tensors
        return _Turn.apply(grad, cos, -sin), None, None

    @staticmethod
    def vmap(info, in_dims, x, cos, sin):
        return _Turn.apply(x.movedim(in_dims[0], 0), cos, sin), 0  # one set of angles for all
