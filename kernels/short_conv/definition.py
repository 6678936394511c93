"""The formula of the short convolution, one token at a time, and inputs to try it on."""

from __future__ import annotations

import torch
from torch import Tensor


def definition(x: Tensor, weight: Tensor, bias: Tensor | None = None, *, silu: bool) -> Tensor:
    """The formula, in the type of x."""
    past = x.new_zeros(len(x), len(weight) - 1, x.shape[2])
    padded = torch.cat([past, x], 1)
    out = []
    for t in range(x.shape[1]):
        y = (padded[:, t : t + len(weight)] * weight).sum(1)
        y = y if bias is None else y + bias
        out.append(y / (1 + torch.exp(-y)) if silu else y)
    return torch.stack(out, 1)


def example_inputs(
    B: int = 2,
    T: int = 20,
    C: int = 20,
    w: int = 4,
    seed: int = 0,
    dtype: torch.dtype = torch.float32,
) -> dict[str, Tensor]:
    """Keyword arguments for `short_conv`, but for `silu`."""
    g = torch.Generator().manual_seed(seed)
    shapes = {"x": (B, T, C), "weight": (w, C), "bias": (C,)}
    return {
        name: torch.randn(shape, generator=g, dtype=torch.float64).to(dtype)
        for name, shape in shapes.items()
    }
