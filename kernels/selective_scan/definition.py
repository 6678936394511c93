"""The formula of the selective scan, one token at a time, and inputs to try it on."""

from __future__ import annotations

import torch
from torch import Tensor

from kernels._inputs import at_least_float32


def definition(
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    Bm: Tensor,
    Cm: Tensor,
    Dskip: Tensor | None = None,
    h0: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """The formula, one token at a time, in the type of u."""
    h = u.new_zeros(u.shape[0], *A.shape) if h0 is None else h0
    out = []
    for t in range(u.shape[1]):
        h, y = _advance(u[:, t], delta[:, t], A, Bm[:, t], Cm[:, t], h)
        out.append(y if Dskip is None else y + Dskip * u[:, t])
    return torch.stack(out, 1), h


def step(
    u: Tensor, delta: Tensor, A: Tensor, Bm: Tensor, Cm: Tensor, Dskip: Tensor | None, h: Tensor
) -> tuple[Tensor, Tensor]:
    """One token: u, delta [B,D], Bm, Cm [B,N], h [B,D,N] -> y [B,D] and the new h."""
    h, y = _advance(
        at_least_float32(u),
        at_least_float32(delta),
        at_least_float32(A),
        at_least_float32(Bm),
        at_least_float32(Cm),
        h,
    )
    return (y if Dskip is None else y + Dskip * u).to(u.dtype), h


def _advance(
    u: Tensor, delta: Tensor, A: Tensor, Bm: Tensor, Cm: Tensor, h: Tensor
) -> tuple[Tensor, Tensor]:
    h = torch.exp(delta[:, :, None] * A) * h + (delta * u)[:, :, None] * Bm[:, None, :]
    return h, (h * Cm[:, None, :]).sum(-1)


def example_inputs(
    B: int = 2,
    T: int = 64,
    D: int = 32,
    N: int = 16,
    seed: int = 0,
    dtype: torch.dtype = torch.float32,
) -> dict[str, Tensor]:
    """Keyword arguments for `selective_scan`: Mamba's A, step sizes from 1e-3 to beyond 1."""
    g = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=g, dtype=torch.float64)

    A = -torch.arange(1, N + 1, dtype=torch.float64) * (0.1 * normal(D, 1)).exp()
    delta = torch.nn.functional.softplus(2 * normal(B, T, D) - 2)
    return {
        "u": normal(B, T, D).to(dtype),
        "delta": delta.to(dtype),
        "A": A.to(torch.promote_types(dtype, torch.float32)),
        "Bm": normal(B, T, N).to(dtype),
        "Cm": normal(B, T, N).to(dtype),
        "Dskip": normal(D).to(torch.promote_types(dtype, torch.float32)),
        "h0": normal(B, D, N).to(torch.promote_types(dtype, torch.float32)),
    }
