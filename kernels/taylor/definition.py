"""The formula of the second-order kernel, one token at a time, and inputs to try it on."""

from __future__ import annotations

import torch
from torch import Tensor


def definition(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """The formula, in the type of v."""
    out = []
    for t in range(q.shape[1]):
        s = (q[:, t, None] * k[:, : t + 1]).sum(-1, keepdim=True) / q.shape[-1] ** 0.5
        p = 1 + s + s.square() / 2  # [B,t+1,H,1]
        out.append((p * v[:, : t + 1]).sum(1) / p.sum(1))
    return torch.stack(out, 1)


def example_inputs(
    B: int = 2,
    T: int = 33,
    H: int = 2,
    f: int = 4,
    e: int = 8,
    seed: int = 0,
    dtype: torch.dtype = torch.float32,
) -> dict[str, Tensor]:
    """Keyword arguments for `taylor`."""
    r = torch.Generator().manual_seed(seed)

    def normal(width: int) -> Tensor:
        return torch.randn(B, T, H, width, generator=r, dtype=torch.float64).to(dtype)

    return {"q": normal(f), "k": normal(f), "v": normal(e)}
