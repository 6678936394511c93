"""The formula of the scan, one token at a time, and inputs to try it on."""

from __future__ import annotations

import torch
from torch import Tensor


def definition(a: Tensor, x: Tensor, h0: Tensor | None = None) -> Tensor:
    """The formula, one token at a time, in the type of x."""
    h = torch.zeros_like(x[:, 0]) if h0 is None else h0
    out = []
    for t in range(x.shape[1]):
        h = a[:, t] * h + x[:, t]
        out.append(h)
    return torch.stack(out, 1)


def step(a: Tensor, x: Tensor, h: Tensor) -> Tensor:
    """One token: a, x, h [B,D] -> the new h [B,D]."""
    return a * h + x


def example_inputs(
    B: int = 2, T: int = 64, D: int = 64, seed: int = 0, dtype: torch.dtype = torch.float32
) -> dict[str, Tensor]:
    """Keyword arguments for `scan`: gates in [0, 1] with exact zeros and ones among them."""
    g = torch.Generator().manual_seed(seed)
    a = torch.sigmoid(torch.randn(B, T, D, generator=g, dtype=torch.float64) + 2)
    pick = torch.rand(B, T, D, generator=g)
    a = a.masked_fill(pick < 0.05, 0.0).masked_fill(pick > 0.95, 1.0)
    x = torch.randn(B, T, D, generator=g, dtype=torch.float64)
    h0 = torch.randn(B, D, generator=g, dtype=torch.float64)
    return {"a": a.to(dtype), "x": x.to(dtype), "h0": h0.to(dtype)}
