"""The formula of PaTH as a loop over tokens, and inputs to try it on."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from kernels._inputs import each_row, open_gate
from kernels.attention.definition import example_inputs as attention_inputs


def definition(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    w: Tensor,
    beta: Tensor,
    *,
    scale: float | None = None,
    log_forget: Tensor | None = None,
    gate: Tensor | None = None,
    offsets: Tensor | None = None,
) -> Tensor:
    """The formula, one token after the other: its reflection turns every earlier key."""
    if offsets is not None:

        def row(*own: Tensor) -> Tensor:
            return definition(*own[:5], scale=scale, log_forget=own[5], gate=own[6])

        return each_row(row, offsets, q, k, v, w, beta, log_forget, gate)
    B, T, H, d = q.shape
    scale = d**-0.5 if scale is None else scale
    head = torch.arange(H, device=q.device) * k.shape[2] // H
    k, v, w, beta = (x[:, :, head] for x in (k, v, w, beta))
    turned = k[:, :0]
    forgotten = q.new_zeros(B, 0, H)
    rows = []
    for i in range(T):
        share = beta[:, i, None] * torch.einsum("bjhd,bhd->bjh", turned, w[:, i])
        turned = torch.cat([turned - share[..., None] * w[:, i, None], k[:, i, None]], 1)
        s = scale * torch.einsum("bhd,bjhd->bjh", q[:, i], turned)
        if log_forget is not None:
            forgotten = F.pad(forgotten + log_forget[:, i, None], (0, 0, 0, 1))
            s = s + forgotten
        y = torch.einsum("bjh,bjhe->bhe", s.softmax(1), v[:, : i + 1])
        rows.append(y if gate is None else y * open_gate(gate)[:, i])
    return torch.stack(rows, 1)


def example_inputs(
    B: int = 2,
    T: int = 64,
    H: int = 4,
    d: int = 32,
    *,
    G: int | None = None,
    e: int | None = None,
    forget: bool = False,
    gate: str | None = None,
    repeat: int | None = None,
    seed: int = 0,
    dtype: torch.dtype = torch.float32,
) -> dict[str, Tensor]:
    """Random inputs by name; repeat: number of different directions, with beta near 2."""
    G = G or H
    inputs = attention_inputs(
        B, T, H, d, G=G, e=e, forget=forget, gate=gate, seed=seed, dtype=dtype
    )
    random = torch.Generator().manual_seed(seed + 1)
    w = F.normalize(torch.randn(B, T, G, d, generator=random, dtype=torch.float64), dim=-1)
    beta = 2 * torch.rand(B, T, G, generator=random)
    if repeat is not None:
        kind = torch.randint(min(repeat, T), (T,), generator=random)
        w, beta = w[:, kind], 1.9 + beta / 21
    return inputs | {"w": w.to(dtype), "beta": beta.to(torch.promote_types(dtype, torch.float32))}
