"""The delta rule's kernels as operators of torch: shapes, gradient, vmap."""
# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

import torch
from torch import Tensor

from kernels._launch import blocks
from kernels._register import differentiable_recurrence
from kernels.delta import plans


@torch.library.custom_op("kernels::delta", mutates_args=())
def operator(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    beta: Tensor,
    log_decay: Tensor | None,
    S0: Tensor | None,
    scale: float,
    save: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """o, the last state; for the backward pass the state before each chunk, M and R."""
    from kernels.delta.forward import run_forward

    return run_forward(q, k, v, beta, log_decay, S0, scale, save)


@torch.library.custom_op("kernels::delta_backward", mutates_args=())
def operator_backward(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    beta: Tensor,
    log_decay: Tensor | None,
    S0: Tensor | None,
    kept: Tensor,
    M: Tensor,
    R: Tensor,
    do: Tensor,
    dlast: Tensor,
    scale: float,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """The gradient of each input (empty where there is no input)."""
    from kernels.delta.backward import run_backward

    return run_backward(q, k, v, beta, log_decay, S0, kept, M, R, do, dlast, scale)


@operator.register_fake
def _(q, k, v, beta, log_decay, S0, scale, save):
    (B, T, H, d), e = k.shape, v.shape[3]
    C = plans.plan(d, e, v.dtype).C
    last = v.new_empty(B, H, d, e, dtype=torch.float32)
    N = blocks(T, C)
    shapes = [(B, H, N, d, e), (B, H, N, C, C), v.shape] if save else [(B, 0)] * 3
    return v.new_empty(v.shape), last, *(v.new_empty(shape) for shape in shapes)


@operator_backward.register_fake
def _(*inputs):
    *some, dg, dS0 = (None if x is None else x.new_empty(x.shape) for x in inputs[:6])
    B, dlast = len(inputs[0]), inputs[10]
    dg = inputs[3].new_empty(B, 0) if dg is None else dg
    return *some, dg, dlast.new_empty(B, 0) if dS0 is None else dS0


def _setup(ctx, inputs, output) -> None:
    *tensors, ctx.scale, _ = inputs
    ctx.save_for_backward(*tensors, *output[2:])
    ctx.set_materialize_grads(False)  # or the kept states get a gradient of zeros


def _gradients(ctx, do, dlast, *_):
    tensors = ctx.saved_tensors
    (B, _, H, d), v = tensors[1].shape, tensors[2]
    do = torch.zeros_like(v) if do is None else do
    if dlast is None:
        dlast = v.new_zeros(B, H, d, v.shape[3], dtype=torch.float32)
    *some, dg, dS0 = operator_backward(*tensors, do, dlast, ctx.scale)
    dg, dS0 = (None if x is None else dx for x, dx in zip(tensors[4:6], (dg, dS0), strict=True))
    return *some, dg, dS0, None, None


eager = differentiable_recurrence(operator, operator_backward, _setup, _gradients)
