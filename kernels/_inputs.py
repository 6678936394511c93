"""Checks and conversions of inputs, before an operator runs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

Map = Callable[[Tensor], Tensor]


def check_heads(
    operator: str,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    log_forget: Tensor | None,
    gate: Tensor | None,
    offsets: Tensor | None,
    queries: Tensor | None = None,
) -> None:
    """Raise ValueError, naming the input, unless the shapes fit together."""
    shapes = [list(x.shape) for x in (q, k, v)]
    if any(len(s) != 4 for s in shapes) or k.shape[1] == 0:
        raise ValueError(f"{operator}: q, k, v must be [B,T,heads,width] with T >= 1: {shapes}")
    B, T, G, d = k.shape
    H, e = q.shape[2], v.shape[3]
    asked = (B, T) if queries is None else (1, queries.numel())
    if q.shape != (*asked, H, d) or v.shape != (B, T, G, e) or H % G:
        raise ValueError(f"{operator}: q, k, v must agree in B, T and d, and G divide H: {shapes}")
    if log_forget is not None and log_forget.shape != (B, T, H):
        raise ValueError(f"{operator}: log_forget must be {[B, T, H]}: {list(log_forget.shape)}")
    if gate is not None and gate.shape not in ((*asked, H), (*asked, H, e)):
        allowed = f"{[*asked, H]} or {[*asked, H, e]}"
        raise ValueError(f"{operator}: gate must be {allowed}: {list(gate.shape)}")
    if offsets is not None and (offsets.dtype != torch.int32 or offsets.ndim != 1 or B != 1):
        raise ValueError(f"{operator}: offsets must be int32 [rows + 1], and B = 1 with them")
    if queries is not None:
        if offsets is not None:
            raise ValueError(f"{operator}: packed rows (offsets) take no queries")
        _check_queries(operator, queries, B * T)


def _check_queries(operator: str, queries: Tensor, tokens: int) -> None:
    good = queries.dtype == torch.int64 and queries.ndim == 1
    if good and len(queries):
        rises = bool((queries[1:] > queries[:-1]).all())
        good = rises and int(queries[0]) >= 0 and int(queries[-1]) < tokens
    if not good:
        raise ValueError(f"{operator}: queries must be int64 [N] and rise from 0 to {tokens - 1}")


def check_states(name: str, q: Tensor, k: Tensor, v: Tensor, S0: Tensor | None) -> None:
    """Raise ValueError unless q, k [B,T,H,d], v [B,T,H,e], S0 [B,H,d,e] or None belong together."""
    if k.ndim != 4 or q.shape != k.shape or 0 in k.shape:
        raise ValueError(f"{name}: q {list(q.shape)} and k {list(k.shape)} must be one [B,T,H,d]")
    if v.ndim != 4 or v.shape[:3] != k.shape[:3] or 0 in v.shape:
        raise ValueError(f"{name}: v {list(v.shape)} does not go with k {list(k.shape)}")
    B, _, H, d = k.shape
    if S0 is not None and S0.shape != (B, H, d, v.shape[3]):
        raise ValueError(f"{name}: S0 {list(S0.shape)} must be {[B, H, d, v.shape[3]]}")


def unsupported_heads(q: Tensor, k: Tensor, v: Tensor, scale: float) -> str | None:
    """Why the kernels cannot take these inputs, or None: types, widths, sizes, scale."""
    d, e = q.shape[-1], v.shape[-1]
    if not q.dtype == k.dtype == v.dtype:
        return f"q, k and v differ in type: {q.dtype}, {k.dtype}, {v.dtype}"
    if q.dtype not in (torch.float32, torch.float16, torch.bfloat16):
        return f"there is no kernel for {q.dtype}"
    if max(d, e) > 128:
        return f"heads of width {max(d, e)} exceed 128"
    if k.shape[1] * q.shape[2] * max(d, e) >= 2**31:
        return "T H d reaches 2^31"
    if scale <= 0:  # kernels take the largest product before they scale it
        return f"scale = {scale} is not positive"
    return None


def not_float32(*tensors: Tensor | None) -> str | None:
    """Why native operators cannot take these tensors, or None: they read float32 on a CPU."""
    for x in tensors:
        if x is not None and (x.dtype != torch.float32 or x.device.type != "cpu"):
            return f"native operators take float32 on a CPU, not {x.dtype} on {x.device.type}"
    return None


def at_all_tokens(x: Tensor, queries: Tensor, like: Tensor) -> Tensor:
    """x [1,N,...] at the tokens that are its queries -> [B,T,...] of like [B,T,...], else 0."""
    B, T = like.shape[:2]
    zeros = x.new_zeros(B * T, *x.shape[2:])
    return zeros.index_copy(0, queries, x[0]).unflatten(0, (B, T))


def at_queries(y: Tensor, queries: Tensor) -> Tensor:
    """y [B,T,...] -> [1,N,...], that of the queries."""
    return y.flatten(0, 1).index_select(0, queries)[None]


def dense_heads(*tensors: Tensor) -> tuple[Tensor, ...]:
    """x [B,T,H,width], or dense copies, so that the numbers of a head follow each other."""
    return tuple(x if x.stride(3) == 1 else x.contiguous() for x in tensors)


def head_strides(*tensors: Tensor) -> list[int]:
    """Numbers from one row, one token and one head to the next, of every tensor."""
    return [n for x in tensors for n in x.stride()[:3]]


def dense(*tensors: Tensor | None) -> tuple[Any, ...]:
    """The tensors in row-major memory, or None."""
    return tuple(None if x is None else x.contiguous() for x in tensors)


def token_rows(x: Tensor) -> tuple[Tensor, int]:
    """x [B,T,D], or a dense copy, and the numbers from one token to the next, of all rows."""
    B, T, D = x.shape
    if x.stride(2) == 1 and (B == 1 or x.stride(0) == T * x.stride(1)):
        return x, x.stride(1)
    return x.contiguous(), D  # never its stride: where T is 1 that may be anything


def autocast(*tensors: Tensor) -> tuple[Tensor, ...]:
    """The tensors in the type that an enclosing torch.autocast asks for, else as they are."""
    device = tensors[0].device.type
    if not torch.is_autocast_enabled(device):
        return tensors
    dtype = torch.get_autocast_dtype(device)
    return tuple(x.to(dtype) if x.is_floating_point() else x for x in tensors)


def each_row(function: Callable[..., Tensor], offsets: Tensor, *packed: Tensor | None) -> Tensor:
    """The function of every packed row [1,length,...] that is not empty, joined to [1,T,...]."""
    rows = []
    for start, end in zip(offsets[:-1].tolist(), offsets[1:].tolist(), strict=True):
        if start < end:
            rows.append(function(*(None if x is None else x[:, start:end] for x in packed)))
    return torch.cat(rows, 1)


def check_offsets(offsets: Tensor, T: int) -> None:
    """Raise ValueError unless the rows that start at offsets [rows + 1] make up T tokens."""
    # One question, so that a GPU is waited for once.
    if (offsets[0] != 0) | (offsets[-1] != T) | (offsets.diff() < 0).any():
        raise ValueError(f"offsets must rise from 0 to T = {T}: {offsets.tolist()}")


def ragged(offsets: Tensor, T: int) -> tuple[Map, Map]:
    """Two functions: packed [1,T,...] -> padded [rows,longest,...], and back again."""
    check_offsets(offsets, T)
    lengths = offsets.diff().long()
    rows, longest = len(lengths), int(lengths.max())
    place = torch.arange(longest, device=offsets.device)
    # Padding after a row's end holds tokens of another row; causal rows never read it.
    source = (offsets[:-1, None] + place).clamp(max=T - 1).flatten()
    target = (place < lengths[:, None]).flatten().nonzero()[:, 0]

    def pad(x: Tensor) -> Tensor:
        return x[0].index_select(0, source).unflatten(0, (rows, longest))

    def unpad(y: Tensor) -> Tensor:
        return y.flatten(0, 1).index_select(0, target)[None]

    return pad, unpad


def attended(i: Any) -> tuple[Tensor, Tensor]:
    """y [B,T,H,e] and the logarithm (base 2) of the softmax's denominator [B,H,T], not filled."""
    B, T, H, _ = i.q.shape
    return i.v.new_empty(B, T, H, i.v.shape[3]), i.q.new_empty(B, H, T, dtype=torch.float32)


def open_gate(gate: Tensor) -> Tensor:
    """sigmoid(gate) [B,T,H,1 or e], float32 at least."""
    share = gate.to(torch.promote_types(gate.dtype, torch.float32)).sigmoid()
    return share if gate.ndim == 4 else share[..., None]


def at_least_float32(x: Tensor) -> Tensor:
    """x in float32, or as it is where it is float64."""
    return x if x.dtype == torch.float64 else x.float()
