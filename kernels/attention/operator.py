"""The kernels of attention as operators of torch: shapes, gradient, vmap."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from kernels._register import differentiable_attention


@torch.library.custom_op("kernels::attention", mutates_args=())
def operator(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    scale: float,
    slopes: Tensor | None,
    window: Tensor | None,
    log_forget: Tensor | None,
    gate: Tensor | None,
    offsets: Tensor | None,
) -> tuple[Tensor, Tensor]:
    return _launchers()[0](q, k, v, scale, slopes, window, log_forget, gate, offsets)


@torch.library.custom_op("kernels::attention_backward", mutates_args=())
def operator_backward(
    dy: Tensor,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    y: Tensor,
    lse: Tensor,
    scale: float,
    slopes: Tensor | None,
    window: Tensor | None,
    log_forget: Tensor | None,
    gate: Tensor | None,
    offsets: Tensor | None,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    rest = slopes, window, log_forget, gate, offsets
    return _launchers()[1](dy, q, k, v, y, lse, scale, *rest)


@operator.register_fake
def _(q: Tensor, k: Tensor, v: Tensor, *rest: Any) -> tuple[Tensor, Tensor]:
    B, T, H, _ = q.shape
    y = torch.empty(B, T, H, v.shape[3], dtype=v.dtype, device=q.device)
    return y, q.new_empty(B, H, T, dtype=torch.float32)


@operator_backward.register_fake
def _(dy: Tensor, q: Tensor, k: Tensor, v: Tensor, y: Tensor, lse: Tensor, *rest: Any) -> Any:
    log_forget, gate = rest[3:5]
    like = torch.empty_like
    return (
        *(like(x, memory_format=torch.contiguous_format) for x in (q, k, v)),
        q.new_empty(0 if log_forget is None else log_forget.shape, dtype=torch.float32),
        q.new_empty(0) if gate is None else like(gate, memory_format=torch.contiguous_format),
    )


def _setup(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    q, k, v, ctx.scale, *rest = inputs
    ctx.save_for_backward(q, k, v, *output, *rest)


def _gradients(backward: Any, ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
    q, k, v, y, lse, slopes, window, log_forget, gate, offsets = ctx.saved_tensors
    dq, dk, dv, dlog, dgate = backward(
        dy, q, k, v, y, lse, ctx.scale, slopes, window, log_forget, gate, offsets
    )
    dlog = None if log_forget is None else dlog.to(log_forget.dtype)
    return dq, dk, dv, None, None, None, dlog, None if gate is None else dgate, None


def _launchers() -> tuple[Callable[..., Any], Callable[..., Any]]:
    from kernels.attention.backward import run_backward
    from kernels.attention.forward import run_forward

    return run_forward, run_backward


eager = differentiable_attention(
    "attention",
    operator,
    operator_backward,
    _launchers,
    _setup,
    _gradients,
    per_head=(4, 5),
    offsets=8,
    lse=5,
)
