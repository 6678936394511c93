"""The formula of linear attention, one token at a time, and inputs to try it on."""

from __future__ import annotations

import torch
from torch import Tensor


def definition(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    log_decay: Tensor | None = None,
    S0: Tensor | None = None,
    scale: float | None = None,
) -> tuple[Tensor, Tensor]:
    """The formula, one token at a time, in the type of v."""
    S = v.new_zeros(*k[:, 0].shape, v.shape[-1]) if S0 is None else S0
    out = []
    for t in range(v.shape[1]):
        g = None if log_decay is None else log_decay[:, t]
        S, o = _advance(q[:, t], k[:, t], v[:, t], g, S)
        out.append(o if scale is None else o * scale)
    return torch.stack(out, 1), S


def linear_step(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    log_decay: Tensor | None,
    S: Tensor,
    *,
    scale: float | None = None,
) -> tuple[Tensor, Tensor]:
    """One token: q, k [B,H,d], v [B,H,e], log_decay [B,H,d], [B,H] or None -> o [B,H,e], new S."""
    with torch.autocast(v.device.type, enabled=False):
        g = None if log_decay is None else log_decay.to(S.dtype)
        S, o = _advance(q.to(S.dtype), k.to(S.dtype), v.to(S.dtype), g, S)
        return (o if scale is None else o * scale).to(v.dtype), S


def _advance(
    q: Tensor, k: Tensor, v: Tensor, log_decay: Tensor | None, S: Tensor
) -> tuple[Tensor, Tensor]:
    if log_decay is not None:
        S = S * log_decay.exp().reshape(*S.shape[:2], -1, 1)
    S = S + k[..., :, None] * v[..., None, :]
    return S, (S * q[..., :, None]).sum(-2)


def example_inputs(
    B: int = 2,
    T: int = 64,
    H: int = 2,
    d: int = 16,
    e: int = 32,
    seed: int = 0,
    dtype: torch.dtype = torch.float32,
) -> dict[str, Tensor]:
    """Keyword arguments for `linear`: decays per channel from none to nearly total."""
    r = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=r, dtype=torch.float64)

    g = -torch.exp(2 * normal(B, T, H, d) - 2)
    q, k, v = normal(B, T, H, d) * d**-0.5, normal(B, T, H, d), normal(B, T, H, e)
    S0 = normal(B, H, d, e).to(torch.promote_types(dtype, torch.float32))
    return {
        "q": q.to(dtype),
        "k": k.to(dtype),
        "v": v.to(dtype),
        "log_decay": g.to(dtype),
        "S0": S0,
    }
