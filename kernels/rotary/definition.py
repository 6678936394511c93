"""The formula of rotary embedding, and inputs to try it on."""

from __future__ import annotations

import torch
from torch import Tensor


def definition(x: Tensor, start: int = 0, *, base: float) -> Tensor:
    """The formula, in the type of x, one position and pair of channels at a time."""
    half = x.shape[3] // 2
    columns = []
    for t in range(x.shape[1]):
        turned = []
        for m in range(half):
            a = torch.tensor((start + t) * base ** (-m / half), dtype=x.dtype)
            low, high = x[:, t, :, m], x[:, t, :, m + half]
            pair = low * a.cos() - high * a.sin(), high * a.cos() + low * a.sin()
            turned.append(torch.stack(pair, -1))
        columns.append(torch.stack(turned, -1).flatten(-2))
    return torch.stack(columns, 1)


def example_inputs(
    B: int = 2,
    T: int = 7,
    H: int = 3,
    d: int = 8,
    seed: int = 0,
    dtype: torch.dtype = torch.float32,
) -> dict[str, Tensor]:
    """Keyword arguments for `rotary`."""
    r = torch.Generator().manual_seed(seed)
    return {"x": torch.randn(B, T, H, d, generator=r, dtype=torch.float64).to(dtype)}
