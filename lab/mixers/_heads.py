"""Queries, keys and values as parts of one projection, forward and backward without a copy."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from kernels._native import transformed
from kernels.projection import projection


def split_heads(x: Tensor, sizes: list[int]) -> tuple[Tensor, ...]:
    """x [B,T,heads,d] -> views of so many heads each.

    Gradients that already lie side by side, as native attention writes them, are taken as they lie,
    where torch's split joins its parts by copying.
    """
    if transformed() is not None:
        return x.split(sizes, 2)
    parts: tuple[Tensor, ...] = _Split.apply(x, sizes)
    return parts


class _Split(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, sizes: list[int]) -> tuple[Tensor, ...]:
        return x.split(sizes, 2)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        # Of a gradient that is differentiated again, every part must be seen.
        whole = None if torch.is_grad_enabled() else _side_by_side(grads)
        return torch.cat(grads, 2) if whole is None else whole, None


def project_apart(
    x: Tensor, rows: Tensor, weight: Tensor, bias: Tensor | None, n: int
) -> tuple[Tensor, Tensor]:
    """x [B,T,D] -> [1,N,n] by the first n of weight [channels,D], at N of the B T tokens alone, and
    [B,T,channels - n] by the others. Not under a transform of torch."""
    some, whole = _Apart.apply(x, rows, weight, n)
    if bias is not None:
        some, whole = some + bias[:n], whole + bias[n:]
    return some, whole


class _Apart(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, rows: Tensor, weight: Tensor, n: int) -> tuple[Tensor, Tensor]:
        flat = x.flatten(0, 1)
        chosen = flat.index_select(0, rows)
        ctx.save_for_backward(flat, chosen, rows, weight)
        return (chosen @ weight[:n].T)[None], projection(flat, weight[n:]).view(*x.shape[:2], -1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, some: Tensor, whole: Tensor) -> tuple[Tensor | None, ...]:
        flat, chosen, rows, weight = ctx.saved_tensors
        (B, T), n = whole.shape[:2], some.shape[2]
        some, whole = some[0], whole.flatten(0, 1)
        dx = projection(whole, weight[n:].T).index_add_(0, rows, some @ weight[:n])
        dweight = torch.empty_like(weight)
        torch.mm(some.T, chosen, out=dweight[:n])
        torch.mm(whole.T, flat, out=dweight[n:])
        return dx.view(B, T, -1), None, dweight, None


def _side_by_side(parts: tuple[Tensor, ...]) -> Tensor | None:
    """The dense tensor [B,T,heads,d] that the parts make up in memory, or None."""
    first = parts[0]
    B, T, _, d = first.shape
    heads = sum(part.shape[2] for part in parts)
    stride, place = (T * heads * d, heads * d, d, 1), first.storage_offset()
    memory = first.untyped_storage().data_ptr()
    for part in parts:
        same = part.untyped_storage().data_ptr() == memory and part.stride() == stride
        if not same or part.storage_offset() != place:
            return None
        place += part.shape[2] * d
    return first.as_strided((B, T, heads, d), stride)
