"""Attention through torch's scaled_dot_product_attention: what runs anywhere, and trains."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from kernels._inputs import open_gate, ragged
from kernels._native import transformed
from kernels.attention.bands import banded, narrow_heads
from kernels.attention.softplus import softplus_reference, usual_scale


def reference(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    *,
    scale: float | None = None,
    slopes: Tensor | None = None,
    window: Tensor | None = None,
    log_forget: Tensor | None = None,
    gate: Tensor | None = None,
    offsets: Tensor | None = None,
    softplus: float | None = None,
) -> Tensor:
    """The same through torch's scaled_dot_product_attention, differentiable.

    A bias that depends on the key alone up to a constant of the row (ALiBi, FoX) changes no
    softmax when the constant is dropped; it rides in extra columns of q and k, so that the flash
    kernel needs no mask of [T, T] and gives its gradient. Its rounding is that of its largest sum.

    On a CPU heads whose window is at most T / 8 and 16 are computed as bands. Softplus scores have
    a reference of their own, without torch's operator.
    """
    if offsets is not None:
        packed, unpacked = ragged(offsets, q.shape[1])
        parts = [None if x is None else packed(x) for x in (q, k, v, log_forget, gate)]
        return unpacked(
            reference(
                *parts[:3],  # type: ignore[arg-type]
                scale=scale,
                slopes=slopes,
                window=window,
                log_forget=parts[3],
                gate=parts[4],
                softplus=softplus,
            )
        )
    T, H, d = q.shape[1:]
    G, e = v.shape[2:]
    dtype = v.dtype
    scale = usual_scale(d, softplus) if scale is None else scale
    if softplus is not None:
        biases = {"slopes": slopes, "window": window, "log_forget": log_forget}
        y = softplus_reference(q, k, v, softplus, scale=scale, **biases)
        return y.to(dtype) if gate is None else (y * open_gate(gate)).to(dtype)
    if (slopes is not None or log_forget is not None) and G != H:
        k, v = (x.repeat_interleave(H // G, 2) for x in (k, v))
    if slopes is not None or log_forget is not None:
        if q.dtype == torch.float16:  # sums of log f leave its range
            q, k, v = q.float(), k.float(), v.float()
        bias = torch.zeros((), dtype=torch.float64, device=q.device)
        if slopes is not None:
            bias = slopes.double() * torch.arange(T, device=q.device)[:, None]
        if log_forget is not None:
            bias = bias - log_forget.double().cumsum(1)
        bias = (bias / scale).expand(q.shape[0], T, H)
        columns = []
        # Three bfloat16 numbers together hold the digits of one float32.
        for _ in range(1 if q.dtype.itemsize > 2 else 3):
            columns.append(bias.to(q.dtype))
            bias = bias - columns[-1].double()
        # The flash kernel prefers widths that are multiples of 4, and all three alike.
        width = -(-max(d + len(columns), e) // 4) * 4
        ones = q.new_ones(()).expand(*q.shape[:3], len(columns))
        rest = q.new_zeros(()).expand(*q.shape[:3], width - d - len(columns))
        q = torch.cat([q, ones, rest], -1)
        k = torch.cat([k, torch.stack(columns, -1), rest], -1)
        v = F.pad(v, (0, width - e))
    elif e != d:
        q, k, v = (F.pad(x, (0, max(d, e) - x.shape[-1])) for x in (q, k, v))
    if window is not None and q.device.type == "cpu" and not transformed():
        y = _with_bands(q, k, v, window, scale)
    else:
        y = _masked(q, k, v, window, scale)
    y = y[..., :e]
    return y.to(dtype) if gate is None else (y * open_gate(gate)).to(dtype)


def _with_bands(q: Tensor, k: Tensor, v: Tensor, window: Tensor, scale: float) -> Tensor:
    """y [B,T,H,e]: narrow heads as bands, the others under a mask if they need one."""
    T, H = q.shape[1:3]
    widths = window.tolist()
    narrow = narrow_heads(widths, T)
    rest = [h for h in range(H) if h not in narrow]
    order, n = narrow + rest, len(narrow)
    G = k.shape[2]
    sorted_already = order == list(range(H))
    if not sorted_already:
        q = q[:, :, order]
    if not sorted_already or G != H:
        k, v = (x[:, :, [h * G // H for h in order]] for x in (k, v))
    parts = []
    (q_n, q), (k_n, k), (v_n, v) = (x.split([n, H - n], 2) for x in (q, k, v))
    if narrow:
        parts.append(banded(q_n, k_n, v_n, [widths[h] for h in narrow], scale))
    if rest:
        wide = any(0 < widths[h] < T for h in rest)
        parts.append(_masked(q, k, v, window[rest] if wide else None, scale))
    y = torch.cat(parts, 2) if len(parts) > 1 else parts[0]
    return y if sorted_already else y[:, :, [order.index(h) for h in range(H)]]


def _masked(q: Tensor, k: Tensor, v: Tensor, window: Tensor | None, scale: float) -> Tensor:
    """y [B,T,H,e] through torch's operator, under a mask where there is a window."""
    T, H = q.shape[1:3]
    mask = None
    if window is not None:
        offset = torch.arange(T, device=q.device)
        offset = offset[:, None] - offset
        width_h = window[:, None, None]
        mask = ((offset >= 0) & ((width_h <= 0) | (offset < width_h)))[None]
    q, k, v = (x.transpose(1, 2) for x in (q, k, v))
    if q.device.type == "cpu":
        if mask is not None:
            zeros = torch.zeros(mask.shape, dtype=q.dtype)
            mask = zeros.masked_fill(~mask, float("-inf"))
        y = _Flash.apply(q, k, v, mask, scale)[0]
    else:
        grouped = k.shape[1] != H
        y = F.scaled_dot_product_attention(
            q, k, v, mask, is_causal=mask is None, scale=scale, enable_gqa=grouped
        )
    return y.transpose(1, 2)


class _Flash(torch.autograd.Function):
    """What scaled_dot_product_attention runs on a CPU, with the batching rule that it lacks."""

    @staticmethod
    def forward(
        q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, scale: float
    ) -> tuple[Tensor, Tensor]:
        return torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(
            q, k, v, 0.0, mask is None, attn_mask=mask, scale=scale
        )

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
        *tensors, ctx.scale = inputs
        ctx.save_for_backward(*tensors, *output)
        ctx.mark_non_differentiable(output[1])

    @staticmethod
    def backward(ctx: Any, grad: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
        q, k, v, mask, y, lse = ctx.saved_tensors
        grads = _FlashBackward.apply(grad, q, k, v, mask, y, lse, ctx.scale)
        return *grads, None, None

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int | None, ...], *inputs: Any) -> Any:
        return _fold_into_rows(_Flash, info.batch_size, in_dims, inputs, mask=3)


class _FlashBackward(torch.autograd.Function):
    @staticmethod
    def forward(*inputs: Any) -> tuple[Tensor, Tensor, Tensor]:
        grad, q, k, v, mask, y, lse, scale = inputs
        return torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward(
            grad, q, k, v, y, lse, 0.0, mask is None, attn_mask=mask, scale=scale
        )

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        pass

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        raise RuntimeError("attention: the flash kernel has no second derivative")

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int | None, ...], *inputs: Any) -> Any:
        return _fold_into_rows(_FlashBackward, info.batch_size, in_dims, inputs, mask=4)


def _fold_into_rows(
    function: Any, n: int, in_dims: tuple[int | None, ...], inputs: tuple[Any, ...], mask: int
) -> tuple[tuple[Tensor, ...], tuple[int, ...]]:
    """Fold the n entries of a vmapped dimension into the rows; input `mask` [1,...] has one row."""
    folded: list[Any] = []
    for i, (x, dim) in enumerate(zip(inputs, in_dims, strict=True)):
        if isinstance(x, Tensor) and (i != mask or dim is not None):
            x = x.expand(n, *x.shape) if dim is None else x.movedim(dim, 0)
            if i == mask:
                x = x.expand(n, folded[0].shape[0] // n, *x.shape[2:])
            x = x.flatten(0, 1)
        folded.append(x)
    outputs = function.apply(*folded)
    return tuple(y.unflatten(0, (n, -1)) for y in outputs), (0,) * len(outputs)
