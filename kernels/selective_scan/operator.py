"""The selective scan as operators of torch, by kernels or reference: shapes, gradient, vmap."""
# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

import torch
from torch import Tensor

from kernels._register import differentiable_recurrence
from kernels.selective_scan.plans import CHUNK, KERNEL_CHUNK


@torch.library.custom_op("kernels::selective_scan", mutates_args=())
def operator(
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    Bm: Tensor,
    Cm: Tensor,
    Dskip: Tensor | None,
    h0: Tensor | None,
    triton: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """y, the last state, and the state before every chunk [B, chunks, N, D]."""
    if triton:
        from kernels.selective_scan.forward import run_forward
    else:
        from kernels.selective_scan.reference import run_forward
    return run_forward(u, delta, A, Bm, Cm, Dskip, h0)


@torch.library.custom_op("kernels::selective_scan_backward", mutates_args=())
def operator_backward(
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    Bm: Tensor,
    Cm: Tensor,
    Dskip: Tensor | None,
    h0: Tensor | None,
    kept: Tensor,
    dy: Tensor,
    dlast: Tensor,
    triton: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """The gradient of each input of the forward pass (empty where there is no input)."""
    if triton:
        from kernels.selective_scan.backward import run_backward
    else:
        from kernels.selective_scan.reference import run_backward
    return run_backward(u, delta, A, Bm, Cm, Dskip, h0, kept, dy, dlast)


@operator.register_fake
def _(u, delta, A, Bm, Cm, Dskip, h0, triton):
    (B, T, D), N = u.shape, A.shape[2]
    wide = torch.promote_types(u.dtype, torch.float32)
    last = u.new_empty(B, D, N, dtype=wide)
    chunks = -(-T // (KERNEL_CHUNK if triton else CHUNK))
    return u.new_empty(B, T, D), last, u.new_empty(B, chunks, N, D, dtype=wide)


@operator_backward.register_fake
def _(*inputs):
    *some, dskip, dh0 = (None if v is None else v.new_empty(v.shape) for v in inputs[:7])
    dskip = inputs[7].new_empty(len(inputs[2]), 0) if dskip is None else dskip
    return *some, dskip, inputs[7].new_empty(len(inputs[0]), 0) if dh0 is None else dh0


def _setup(ctx, inputs, output) -> None:
    *tensors, ctx.triton = inputs
    ctx.save_for_backward(*tensors, output[2])
    ctx.set_materialize_grads(False)  # or the kept states get a gradient of zeros


def _gradients(ctx, dy, dlast, _):
    *tensors, kept = ctx.saved_tensors
    u, _, A, *_ = tensors
    dy = torch.zeros_like(u) if dy is None else dy
    dlast = kept.new_zeros(len(u), *A.shape[1:]) if dlast is None else dlast
    *some, dskip, dh0 = operator_backward(*tensors, kept, dy, dlast, ctx.triton)
    dskip, dh0 = (None if v is None else g for v, g in zip(tensors[5:], (dskip, dh0), strict=True))
    return *some, dskip, dh0, None


eager = differentiable_recurrence(operator, operator_backward, _setup, _gradients)


def run(
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    Bm: Tensor,
    Cm: Tensor,
    Dskip: Tensor | None,
    h0: Tensor | None,
    triton: bool,
) -> tuple[Tensor, Tensor]:
    """y and h_last by the kernels or the reference, differentiable."""
    Dskip = None if Dskip is None else Dskip[None]
    call = operator if torch.compiler.is_compiling() else eager
    y, last, _ = call(u, delta, A[None], Bm, Cm, Dskip, h0, triton)
    return y, last
