"""The kernels of PaTH as operators of torch: shapes, gradient, vmap."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from kernels._register import differentiable_attention


@torch.library.custom_op("kernels::path", mutates_args=())
def operator(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    w: Tensor,
    beta: Tensor,
    scale: float,
    log_forget: Tensor | None,
    gate: Tensor | None,
    offsets: Tensor | None,
) -> tuple[Tensor, Tensor]:
    return _launchers()[0](q, k, v, w, beta, scale, log_forget, gate, offsets)


@torch.library.custom_op("kernels::path_backward", mutates_args=())
def operator_backward(
    dy: Tensor,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    w: Tensor,
    beta: Tensor,
    y: Tensor,
    lse: Tensor,
    scale: float,
    log_forget: Tensor | None,
    gate: Tensor | None,
    offsets: Tensor | None,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    return _launchers()[1](dy, q, k, v, w, beta, y, lse, scale, log_forget, gate, offsets)


@operator.register_fake
def _(q: Tensor, k: Tensor, v: Tensor, *rest: Any) -> tuple[Tensor, Tensor]:
    B, T, H, _ = q.shape
    y = torch.empty(B, T, H, v.shape[3], dtype=v.dtype, device=q.device)
    return y, q.new_empty(B, H, T, dtype=torch.float32)


@operator_backward.register_fake
def _(dy: Tensor, q: Tensor, k: Tensor, v: Tensor, w: Tensor, beta: Tensor, *rest: Any) -> Any:
    log_forget, gate = rest[3:5]
    like = [torch.empty_like(x, memory_format=torch.contiguous_format) for x in (q, k, v)]
    return (
        *like,
        torch.empty(w.shape, dtype=q.dtype, device=q.device),
        torch.empty(beta.shape, dtype=torch.float32, device=q.device),
        q.new_empty(0 if log_forget is None else log_forget.shape, dtype=torch.float32),
        q.new_empty(0) if gate is None else gate.new_empty(gate.shape),
    )


def _setup(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    q, k, v, w, beta, ctx.scale, *rest = inputs
    ctx.save_for_backward(q, k, v, w, beta, *output, *rest)


def _gradients(backward: Any, ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
    q, k, v, w, beta, y, lse, log_forget, gate, offsets = ctx.saved_tensors
    dq, dk, dv, dw, dbeta, dlog, dgate = backward(
        dy, q, k, v, w, beta, y, lse, ctx.scale, log_forget, gate, offsets
    )
    dlog = None if log_forget is None else dlog.to(log_forget.dtype)
    dgate = None if gate is None else dgate
    return dq, dk, dv, dw.to(w.dtype), dbeta.to(beta.dtype), None, dlog, dgate, None


def _launchers() -> tuple[Callable[..., Any], Callable[..., Any]]:
    from kernels.path.backward import run_backward
    from kernels.path.forward import run_forward

    return run_forward, run_backward


eager = differentiable_attention(
    "path", operator, operator_backward, _launchers, _setup, _gradients, offsets=8, lse=7
)
