"""The formula of attention as a loop over queries, and inputs to try it on."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from kernels._inputs import each_row, open_gate
from kernels.attention.softplus import EVEN, FIRST


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
    softplus: float | None = None,
) -> Tensor:
    """The formula, one query token after the other."""
    if offsets is not None:

        def row(q: Tensor, k: Tensor, v: Tensor, f: Tensor | None, g: Tensor | None) -> Tensor:
            own = {"log_forget": f, "gate": g}
            return definition(
                q, k, v, scale=scale, slopes=slopes, window=window, softplus=softplus, **own
            )

        return each_row(row, offsets, q, k, v, log_forget, gate)
    T, H, d = q.shape[1:]
    if scale is None:
        scale = d**-0.5 if softplus is None else math.log(d)
    head = torch.arange(H, device=q.device) * k.shape[2] // H
    k, v = k[:, :, head], v[:, :, head]
    forgotten = q.new_zeros(q.shape[0], 0, H)
    rows = []
    for i in range(T):
        s = scale * torch.einsum("bhd,bjhd->bjh", q[:, i], k[:, : i + 1])
        offset = i - torch.arange(i + 1, device=q.device)
        if softplus is not None:
            far = window if window is not None else torch.zeros_like(head)
            s = s * torch.where(far > 0, far.clamp(max=i + 1), i + 1).to(s.dtype).log()
        if slopes is not None:
            s = s - slopes * offset[:, None]
        if log_forget is not None:
            forgotten = F.pad(forgotten + log_forget[:, i, None], (0, 0, 0, 1))
            s = s + forgotten
        if window is not None:
            unseen = (window > 0) & (offset[:, None] >= window)
            s = s.masked_fill(unseen, float("-inf"))
        weights = s.softmax(1) if softplus is None else _softplus(s, softplus)
        y = torch.einsum("bjh,bjhe->bhe", weights, v[:, : i + 1])
        rows.append(y if gate is None else y * open_gate(gate)[:, i])
    return torch.stack(rows, 1)


def _softplus(s: Tensor, power: float) -> Tensor:
    """The weights of the keys of one query from its scores [B,keys,H], -inf where not seen."""
    N = s.isfinite().sum(1, keepdim=True)
    a = s.exp().log1p()
    a = a / a.sum(1, keepdim=True)
    if power:
        compared = (N > FIRST) & ((N * a).amax(1, keepdim=True) > 1 + EVEN)
        a = torch.where(compared, N * a - 1, N * a).clamp(min=0) ** power
        a = a / a.sum(1, keepdim=True)
    return a


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
