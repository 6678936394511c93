"""Gradient, vmap and eager call of operators that are registered with torch.library.

`differentiable_attention` serves attention and PaTH, whose forward operators give y [B,T,H,e] and
the softmax's denominators lse [B,H,T].
`differentiable_recurrence` serves scan, selective_scan and delta.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

_Runs = Callable[[], tuple[Callable[..., Any], Callable[..., Any]]]
_BEFORE_INPUTS = 3  # dy, y, lse


def differentiable_attention(
    name: str,
    forward: Any,
    backward: Any,
    runs: _Runs,
    setup: Callable[[Any, tuple[Any, ...], Any], None],
    gradients: Callable[[Any, Any, Tensor], tuple[Tensor | None, ...]],
    *,
    offsets: int,
    lse: int,
    per_head: tuple[int, ...] = (),
) -> Callable[..., Any]:
    """Register gradient and vmap of two custom operators; return the call for eager mode.

    runs imports what launches the kernels, forward and backward. setup(ctx, inputs, output) saves;
    gradients(backward, ctx, dy) gives one for every input. offsets and per_head are places of the
    forward operator's inputs, lse of one of the backward operator's: see `fold_heads`.
    """

    def folded(call: Any, ahead: int = 0) -> Callable[..., Any]:
        """The vmap of a call, whose inputs come `ahead` places later."""
        heads = tuple(i + ahead for i in per_head)

        def rule(info: Any, in_dims: tuple[int | None, ...], *inputs: Any) -> Any:
            n, last = info.batch_size, offsets + ahead
            at = lse if ahead else None
            return fold_heads(call, n, in_dims, inputs, per_head=heads, offsets=last, lse=at)

        return rule

    class Eager(torch.autograd.Function):
        """Cheaper per call than the operator, and torch.func.grad accepts it."""

        @staticmethod
        def forward(*inputs: Any) -> Any:
            return runs()[0](*inputs)

        @staticmethod
        def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
            setup(ctx, inputs, output)
            ctx.mark_non_differentiable(output[1])

        @staticmethod
        def backward(ctx: Any, dy: Tensor, _: Tensor) -> Any:
            return gradients(EagerBackward.apply, ctx, dy)

        @staticmethod
        def vmap(info: Any, in_dims: tuple[int | None, ...], *inputs: Any) -> Any:
            return folded(Eager.apply)(info, in_dims, *inputs)

    class EagerBackward(torch.autograd.Function):
        @staticmethod
        def forward(*inputs: Any) -> Any:
            return runs()[1](*inputs)

        @staticmethod
        def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
            pass

        @staticmethod
        def backward(ctx: Any, *grads: Tensor) -> Any:
            raise RuntimeError(f"{name}: the kernels have no second derivative")

        @staticmethod
        def vmap(info: Any, in_dims: tuple[int | None, ...], *inputs: Any) -> Any:
            return folded(EagerBackward.apply, _BEFORE_INPUTS)(info, in_dims, *inputs)

    def gradient(ctx: Any, dy: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
        return gradients(backward, ctx, dy)

    forward.register_autograd(gradient, setup_context=setup)
    forward.register_vmap(folded(forward))
    backward.register_vmap(folded(backward, _BEFORE_INPUTS))
    return Eager.apply


def fold_heads(
    operator: Any,
    n: int,
    in_dims: tuple[int | None, ...],
    inputs: tuple[Any, ...],
    *,
    per_head: tuple[int, ...] = (),
    offsets: int,
    lse: int | None,
) -> tuple[tuple[Tensor, ...], tuple[int, ...]]:
    """Run `operator` with the n entries of a vmapped dimension as further rows.

    Tensors [B,...] become [n B,...]; with offsets (B = 1) the entries are packed along T instead.
    Tensors per_head [H] become [n B,H] where the entries differ. The tokens of lse [B,H,T] come
    last; where it is no input, it is the second output.
    """
    inputs = tuple(
        x if dim is None or not isinstance(x, Tensor) else x.movedim(dim, 0)
        for x, dim in zip(inputs, in_dims, strict=True)
    )
    first = next(i for i, x in enumerate(inputs) if isinstance(x, Tensor))
    B, T = inputs[first].shape[0 if in_dims[first] is None else 1 :][:2]
    packed = inputs[offsets] is not None
    folded: list[Any] = []
    for i, (x, dim) in enumerate(zip(inputs, in_dims, strict=True)):
        if not isinstance(x, Tensor):
            folded.append(x)
        elif i == offsets:
            shift = T * torch.arange(n, device=x.device, dtype=x.dtype)[:, None]
            folded.append(F.pad((x[..., 1:] + shift).flatten(), (1, 0)))
        elif i in per_head:
            if dim is not None and packed:
                raise ValueError("vmap over the slopes or windows of packed rows has no kernel")
            folded.append(x if dim is None else x.repeat_interleave(B, 0))
        else:
            x = x.expand(n, *x.shape) if dim is None else x
            if packed and i == lse:
                folded.append(x.movedim(0, 2).flatten(2))
            else:
                folded.append(x.flatten(0, 2)[None] if packed else x.flatten(0, 1))
    outputs = []
    for i, y in enumerate(operator(*folded)):
        if y.ndim == 1:
            outputs.append(y.expand(n, 0))
        elif packed and lse is None and i == 1:
            outputs.append(y.unflatten(2, (n, T)).movedim(2, 0))
        else:
            outputs.append(y[0].unflatten(0, (n, 1, T)) if packed else y.unflatten(0, (n, B)))
    return tuple(outputs), (0,) * len(outputs)


def differentiable_recurrence(
    forward: Any,
    backward: Any,
    setup: Callable[[Any, tuple[Any, ...], Any], None],
    gradients: Callable[..., Any],
) -> Callable[..., Any]:
    """Register gradient and vmap of a recurrence's two operators; return the call for eager mode.

    setup(ctx, inputs, output) saves; gradients(ctx, *dy) gives one gradient for every input. The
    compiler takes the operator with its registered gradient; torch.func.grad does not, and takes
    the call that is returned. Every tensor has rows as its first dimension.
    """

    run = forward

    class Eager(torch.autograd.Function):
        generate_vmap_rule = True
        forward = staticmethod(lambda *inputs: run(*inputs))
        setup_context = staticmethod(setup)  # type: ignore[assignment]
        backward = staticmethod(once_differentiable(gradients))  # type: ignore[assignment]

    forward.register_autograd(gradients, setup_context=setup)
    for operator in (forward, backward):
        operator.register_vmap(partial(_vmap_by_rows, operator))
    return Eager.apply


def _vmap_by_rows(
    operator: Any, info: Any, in_dims: tuple[int | None, ...], *inputs: Any
) -> tuple[Any, Any]:
    """Run `operator` with the entries of a vmapped dimension as further rows."""
    n = info.batch_size
    folded = [
        _fold_into_rows(x, dim, n) if isinstance(x, Tensor) else x
        for x, dim in zip(inputs, in_dims, strict=True)
    ]
    outputs = operator(*folded)
    if isinstance(outputs, Tensor):
        return outputs.unflatten(0, (n, -1)), 0
    return tuple(y.unflatten(0, (n, -1)) for y in outputs), (0,) * len(outputs)


def _fold_into_rows(x: Tensor, dim: int | None, n: int) -> Tensor:
    """The vmapped dimension of x (or n copies of x) folded into its rows."""
    x = x.expand(n, *x.shape) if dim is None else x.movedim(dim, 0)
    return x.reshape(-1, *x.shape[2:])
