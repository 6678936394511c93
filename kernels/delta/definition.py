"""The formula of the delta rule, one token at a time, and inputs to try it on."""

from __future__ import annotations

import torch
from torch import Tensor


def definition(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    beta: Tensor,
    log_decay: Tensor | None = None,
    S0: Tensor | None = None,
    scale: float | None = None,
) -> tuple[Tensor, Tensor]:
    """The formula, one token at a time, in the type of v."""
    S = v.new_zeros(*k[:, 0].shape, v.shape[-1]) if S0 is None else S0
    out = []
    for t in range(v.shape[1]):
        g = None if log_decay is None else log_decay[:, t]
        S, o = _advance(q[:, t], k[:, t], v[:, t], beta[:, t], g, S)
        out.append(o if scale is None else o * scale)
    return torch.stack(out, 1), S


def delta_step(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    beta: Tensor,
    log_decay: Tensor | None,
    S: Tensor,
    *,
    scale: float | None = None,
) -> tuple[Tensor, Tensor]:
    """One token: q, k [B,H,d], v [B,H,e], beta, log_decay [B,H] -> o [B,H,e] and the new S."""
    with torch.autocast(v.device.type, enabled=False):
        g = None if log_decay is None else log_decay.to(S.dtype)
        q, k, values, beta = (x.to(S.dtype) for x in (q, k, v, beta))
        S, o = _advance(q, k, values, beta, g, S)
        return (o if scale is None else o * scale).to(v.dtype), S


def _advance(
    q: Tensor, k: Tensor, v: Tensor, beta: Tensor, log_decay: Tensor | None, S: Tensor
) -> tuple[Tensor, Tensor]:
    if log_decay is not None:
        S = S * log_decay.exp()[..., None, None]
    held = (S * k[..., :, None]).sum(-2)
    S = S + k[..., :, None] * (beta[..., None] * (v - held))[..., None, :]
    return S, (S * q[..., :, None]).sum(-2)


def example_inputs(
    B: int = 2,
    T: int = 64,
    H: int = 2,
    d: int = 16,
    e: int = 32,
    seed: int = 0,
    dtype: torch.dtype = torch.float32,
    distinct: int | None = None,
) -> dict[str, Tensor]:
    """Keyword arguments for `delta`: unit keys, beta up to 2; `distinct` keys only, if given."""
    r = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=r, dtype=torch.float64)

    k = torch.nn.functional.normalize(normal(B, T, H, d), dim=-1)
    if distinct is not None:
        k = k[:, torch.randint(min(distinct, T), (T,), generator=r)]
    beta = 2 * torch.rand(B, T, H, generator=r, dtype=torch.float64) ** 0.25
    g = -torch.exp(normal(B, T, H) - 2)
    q, v = normal(B, T, H, d), normal(B, T, H, e)
    S0 = normal(B, H, d, e).to(torch.promote_types(dtype, torch.float32))
    small = {"q": q, "k": k, "v": v, "beta": beta, "log_decay": g}
    return {name: x.to(dtype) for name, x in small.items()} | {"S0": S0}
