"""Causal softmax attention with positional biases, a forget gate and an output gate.

    s_ij = scale q_i . k_j - slope_h (i - j) + sum_{l=j+1..i} log f_l    j <= i, i - j < window_h
    y_i  = sigmoid(gate_i) * sum_j softmax_j(s_ij) v_j

    slopes [H]              ALiBi (2108.12409), constants: they take no gradient
    window [H] int          Hard-ALiBi (2402.01032): head h sees offsets 0..window_h - 1; 0 sees all
    log_forget [B,T,H]      log f_i of FoX (2503.02130, eq. 4). The sum is added as it is: `scale`
                            multiplies q . k alone, as in the paper and unlike fla's PaTH
    gate [B,T,H] or [B,T,H,e]   logits of the output gate G1 of 2505.06708 (headwise, elementwise):
                            the sigmoid is taken here, and is fused with the rest
    offsets [rows+1] int32  rows of different lengths packed along T with B = 1: row r holds the
                            tokens offsets[r] .. offsets[r+1] - 1 and sees no other

Shapes: q [B,T,H,d], k [B,T,G,d], v [B,T,G,e] -> y [B,T,H,e]; head h reads keys and values h G // H.
Softmax, biases, the gate's sigmoid and all sums are float32 whatever the inputs; the sums of log f
are float64 and rounded after a difference is taken, so far tokens do not blur near ones.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from kernels import Impl, choose
from kernels._wrap import differentiable

_Map = Callable[[Tensor], Tensor]


def definition(
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
) -> Tensor:
    """The formula, one query token after the other."""
    if offsets is not None:
        rows = []
        for start, end in zip(offsets[:-1].tolist(), offsets[1:].tolist(), strict=True):
            if start == end:
                continue
            part = [None if x is None else x[:, start:end] for x in (log_forget, gate)]
            inputs = (x[:, start:end] for x in (q, k, v))
            rows.append(
                definition(
                    *inputs,
                    scale=scale,
                    slopes=slopes,
                    window=window,
                    log_forget=part[0],
                    gate=part[1],
                )
            )
        return torch.cat(rows, 1)
    T, H, d = q.shape[1:]
    scale = d**-0.5 if scale is None else scale
    head = torch.arange(H, device=q.device) * k.shape[2] // H
    k, v = k[:, :, head], v[:, :, head]
    forgotten = q.new_zeros(q.shape[0], 0, H)
    rows = []
    for i in range(T):
        s = scale * torch.einsum("bhd,bjhd->bjh", q[:, i], k[:, : i + 1])
        offset = i - torch.arange(i + 1, device=q.device)
        if slopes is not None:
            s = s - slopes * offset[:, None]
        if log_forget is not None:
            forgotten = F.pad(forgotten + log_forget[:, i, None], (0, 0, 0, 1))
            s = s + forgotten
        if window is not None:
            unseen = (window > 0) & (offset[:, None] >= window)
            s = s.masked_fill(unseen, float("-inf"))
        y = torch.einsum("bjh,bjhe->bhe", s.softmax(1), v[:, : i + 1])
        rows.append(y if gate is None else y * opened(gate)[:, i])
    return torch.stack(rows, 1)


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
) -> Tensor:
    """The same through torch's scaled_dot_product_attention, differentiable.

    A bias that depends on the key alone up to a constant of the row (ALiBi, FoX) changes no
    softmax when the constant is dropped; it rides in extra columns of q and k, so that the flash
    kernel needs no mask of [T, T] and gives its gradient. Its rounding is that of its largest sum.
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
            )
        )
    T, H, d = q.shape[1:]
    G, e = v.shape[2:]
    dtype = v.dtype
    scale = d**-0.5 if scale is None else scale
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
        # Three halves of a number in bfloat16 hold what one float32 holds.
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
    y = y.transpose(1, 2)[..., :e]
    return y.to(dtype) if gate is None else (y * opened(gate)).to(dtype)


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
        return _in_rows(_Flash, info.batch_size, in_dims, inputs, mask=3)


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
        return _in_rows(_FlashBackward, info.batch_size, in_dims, inputs, mask=4)


def _in_rows(
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


def attention(
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
    impl: Impl = "auto",
) -> Tensor:
    """y [B,T,H,e] of the formula above; `scale` is d**-0.5 unless given."""
    check("attention", q, k, v, log_forget, gate, offsets)
    H = q.shape[2]
    for name, x in (("slopes", slopes), ("window", window)):
        if x is not None and (x.shape != (H,) or x.requires_grad):
            raise ValueError(f"attention: {name} must be [{H}] and not learned: {list(x.shape)}")
    q, k, v = autocast(q, k, v)
    scale = q.shape[-1] ** -0.5 if scale is None else scale
    if choose("attention", impl, q.device, unsupported(q, k, v)):
        call = _attention if torch.compiler.is_compiling() else _eager
        return call(q, k, v, scale, slopes, window, log_forget, gate, offsets)[0]
    return reference(
        q,
        k,
        v,
        scale=scale,
        slopes=slopes,
        window=window,
        log_forget=log_forget,
        gate=gate,
        offsets=offsets,
    )


def unsupported(q: Tensor, k: Tensor, v: Tensor) -> str | None:
    """Why the kernels cannot take these, in words."""
    d, e = q.shape[-1], v.shape[-1]
    if not q.dtype == k.dtype == v.dtype:
        return f"q, k and v differ in type: {q.dtype}, {k.dtype}, {v.dtype}"
    if q.dtype not in (torch.float32, torch.float16, torch.bfloat16):
        return f"there is no kernel for {q.dtype}"
    if max(d, e) > 128:
        return f"heads of width {max(d, e)} exceed 128"
    if q.shape[1] * q.shape[2] * max(d, e) >= 2**31:
        return "T H d reaches 2^31"
    return None


@torch.library.custom_op("kernels::attention", mutates_args=())
def _attention(
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
    return _runs()[0](q, k, v, scale, slopes, window, log_forget, gate, offsets)


@torch.library.custom_op("kernels::attention_backward", mutates_args=())
def _attention_backward(
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
    return _runs()[1](dy, q, k, v, y, lse, scale, *rest)


@_attention.register_fake
def _(q: Tensor, k: Tensor, v: Tensor, *rest: Any) -> tuple[Tensor, Tensor]:
    B, T, H, _ = q.shape
    y = torch.empty(B, T, H, v.shape[3], dtype=v.dtype, device=q.device)
    return y, q.new_empty(B, T, H, dtype=torch.float32)


@_attention_backward.register_fake
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


def _runs() -> tuple[Callable[..., Any], Callable[..., Any]]:
    from kernels._attention_triton import run_backward, run_forward

    return run_forward, run_backward


_eager = differentiable(
    "attention",
    _attention,
    _attention_backward,
    _runs,
    _setup,
    _gradients,
    per_head=(4, 5),
    offsets=8,
)


def check(
    operator: str,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    log_forget: Tensor | None,
    gate: Tensor | None,
    offsets: Tensor | None,
) -> None:
    """Raise ValueError, naming the input, unless the shapes fit together."""
    shapes = [list(x.shape) for x in (q, k, v)]
    if any(len(s) != 4 for s in shapes) or q.shape[1] == 0:
        raise ValueError(f"{operator}: q, k, v must be [B,T,heads,width] with T >= 1: {shapes}")
    B, T, H, d = q.shape
    G, e = v.shape[2:]
    if k.shape != (B, T, G, d) or v.shape[:2] != (B, T) or H % G:
        raise ValueError(f"{operator}: q, k, v must agree in B, T and d, and G divide H: {shapes}")
    if log_forget is not None and log_forget.shape != (B, T, H):
        raise ValueError(f"{operator}: log_forget must be {[B, T, H]}: {list(log_forget.shape)}")
    if gate is not None and gate.shape not in ((B, T, H), (B, T, H, e)):
        raise ValueError(f"{operator}: gate must be {[B, T, H]} or {[B, T, H, e]}: {gate.shape}")
    if offsets is not None and (offsets.dtype != torch.int32 or offsets.ndim != 1 or B != 1):
        raise ValueError(f"{operator}: offsets must be int32 [rows + 1], and B = 1 with them")


def ragged(offsets: Tensor, T: int) -> tuple[_Map, _Map]:
    """Two functions: packed [1,T,...] -> padded [rows,longest,...], and back again."""
    lengths = offsets.diff().long()
    if offsets[0] != 0 or offsets[-1] != T or (lengths < 0).any():
        raise ValueError(f"offsets must rise from 0 to T = {T}: {offsets.tolist()}")
    rows, longest = len(lengths), int(lengths.max())
    place = torch.arange(longest, device=offsets.device)
    # Places behind a row's end read some other row's token: causality keeps it from mattering.
    source = (offsets[:-1, None] + place).clamp(max=T - 1).flatten()
    target = (place < lengths[:, None]).flatten().nonzero()[:, 0]

    def pad(x: Tensor) -> Tensor:
        return x[0].index_select(0, source).unflatten(0, (rows, longest))

    def unpad(y: Tensor) -> Tensor:
        return y.flatten(0, 1).index_select(0, target)[None]

    return pad, unpad


def autocast(*tensors: Tensor) -> tuple[Tensor, ...]:
    """The tensors in the type that an enclosing torch.autocast asks for, else as they are."""
    device = tensors[0].device.type
    if not torch.is_autocast_enabled(device):
        return tensors
    dtype = torch.get_autocast_dtype(device)
    return tuple(x.to(dtype) if x.is_floating_point() else x for x in tensors)


def configurations() -> list[dict[str, Any]]:
    """The kernels as they are shipped, for compilation ahead of time (kernels/_aot.py)."""
    from kernels import _attention_triton

    return _attention_triton.configurations()


def example_inputs(
    B: int = 2,
    T: int = 64,
    H: int = 4,
    d: int = 32,
    *,
    G: int | None = None,
    e: int | None = None,
    alibi: bool = False,
    window: bool = False,
    forget: bool = False,
    gate: str | None = None,
    seed: int = 0,
    dtype: torch.dtype = torch.float32,
) -> dict[str, Tensor]:
    """Random inputs by name; gate: None, "headwise" or "elementwise"."""
    G, e = G or H, e or d
    random = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=random, dtype=dtype)

    inputs = {"q": normal(B, T, H, d), "k": normal(B, T, G, d), "v": normal(B, T, G, e)}
    if alibi:
        inputs["slopes"] = 2.0 ** (-8 * torch.arange(1, H + 1) / H)
    if window:
        inputs["window"] = torch.where(torch.arange(H) < -(-H // 2), torch.arange(H) + 1, 0)
    if forget:
        inputs["log_forget"] = F.logsigmoid(normal(B, T, H).float() + 2)
    if gate is not None:
        inputs["gate"] = normal(B, T, H, e) if gate == "elementwise" else normal(B, T, H)
    return inputs


def opened(gate: Tensor) -> Tensor:
    """sigmoid(gate) [B,T,H,1 or e], float32 at least."""
    share = gate.to(torch.promote_types(gate.dtype, torch.float32)).sigmoid()
    return share if gate.ndim == 4 else share[..., None]
