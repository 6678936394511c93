"""What attention and PaTH share around their kernels: gradient, vmap, and an eager call.

Both operators give y and the row sums lse; their backward operators take dy, y and lse besides the
inputs, so an input has a place three further on there.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

_Runs = Callable[[], tuple[Callable[..., Any], Callable[..., Any]]]
_AHEAD = 3  # dy, y, lse


def differentiable(
    name: str,
    forward: Any,
    backward: Any,
    runs: _Runs,
    setup: Callable[[Any, tuple[Any, ...], Any], None],
    gradients: Callable[[Any, Any, Tensor], tuple[Tensor | None, ...]],
    *,
    offsets: int,
    per_head: tuple[int, ...] = (),
) -> Callable[..., Any]:
    """Register gradient and vmap of two custom operators; return the call for eager mode.

    runs imports what launches the kernels, forward and backward. setup(ctx, inputs, output) saves;
    gradients(backward, ctx, dy) gives one for every input. offsets, per_head: see `fold`.
    """

    def folded(call: Any, ahead: int = 0) -> Callable[..., Any]:
        """The vmap of a call, whose inputs have places `ahead` further on."""
        heads = tuple(i + ahead for i in per_head)

        def rule(info: Any, in_dims: tuple[int | None, ...], *inputs: Any) -> Any:
            n, last = info.batch_size, offsets + ahead
            return fold(call, n, in_dims, inputs, per_head=heads, offsets=last)

        return rule

    class Eager(torch.autograd.Function):
        """Less to do per call than in the operator, and torch.func.grad sees it."""

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
            return folded(EagerBackward.apply, _AHEAD)(info, in_dims, *inputs)

    def gradient(ctx: Any, dy: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
        return gradients(backward, ctx, dy)

    forward.register_autograd(gradient, setup_context=setup)
    forward.register_vmap(folded(forward))
    backward.register_vmap(folded(backward, _AHEAD))
    return Eager.apply


def fold(
    operator: Any,
    n: int,
    in_dims: tuple[int | None, ...],
    inputs: tuple[Any, ...],
    *,
    per_head: tuple[int, ...] = (),
    offsets: int,
) -> tuple[tuple[Tensor, ...], tuple[int, ...]]:
    """Run `operator` with the n entries of a vmapped dimension as further rows.

    Tensors [B,...] become [n B,...]; with offsets (B = 1) the entries are packed along T instead.
    Tensors per_head [H] become [n B,H] where the entries differ.
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
            folded.append(x.flatten(0, 2)[None] if packed else x.flatten(0, 1))
    outputs = []
    for y in operator(*folded):
        if y.ndim == 1:
            outputs.append(y.expand(n, 0))
        else:
            outputs.append(y[0].unflatten(0, (n, 1, T)) if packed else y.unflatten(0, (n, B)))
    return tuple(outputs), (0,) * len(outputs)
