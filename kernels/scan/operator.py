"""The scan as operators of torch, by its kernels or its reference: shapes, gradient, vmap."""
# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

import torch
from torch import Tensor

from kernels._register import differentiable_recurrence


@torch.library.custom_op("kernels::scan", mutates_args=())
def operator(a: Tensor, x: Tensor, h0: Tensor | None, triton: bool) -> Tensor:
    """h [B,T,D]."""
    if triton:
        from kernels.scan.forward import run_forward
    else:
        from kernels.scan.reference import run_forward
    return run_forward(a, x, h0)


@torch.library.custom_op("kernels::scan_backward", mutates_args=())
def operator_backward(
    a: Tensor, h: Tensor, h0: Tensor | None, dh: Tensor, triton: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """da, dx and dh0 (empty where there is no h0)."""
    if triton:
        from kernels.scan.backward import run_backward
    else:
        from kernels.scan.reference import run_backward
    return run_backward(a, h, h0, dh)


@operator.register_fake
def _(a: Tensor, x: Tensor, h0: Tensor | None, triton: bool) -> Tensor:
    return x.new_empty(x.shape)


@operator_backward.register_fake
def _(
    a: Tensor, h: Tensor, h0: Tensor | None, dh: Tensor, triton: bool
) -> tuple[Tensor, Tensor, Tensor]:
    dh0 = a.new_empty(len(a), 0) if h0 is None else h0.new_empty(h0.shape)
    return a.new_empty(a.shape), h.new_empty(h.shape), dh0


def _setup(ctx, inputs, output) -> None:
    a, _, h0, ctx.triton = inputs
    ctx.save_for_backward(a, output, h0)


def _gradients(ctx, dh):
    a, h, h0 = ctx.saved_tensors
    da, dx, dh0 = operator_backward(a, h, h0, dh, ctx.triton)
    return da, dx, None if h0 is None else dh0, None


eager = differentiable_recurrence(operator, operator_backward, _setup, _gradients)


def run(a: Tensor, x: Tensor, h0: Tensor | None, triton: bool) -> Tensor:
    """h [B,T,D] by the kernels or the reference, differentiable."""
    call = operator if torch.compiler.is_compiling() else eager
    return call(a, x, h0, triton)
