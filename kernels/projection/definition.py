"""The formula of the linear layer, and inputs to try it on."""

from __future__ import annotations

import torch
from torch import Tensor


def definition(x: Tensor, W: Tensor, b: Tensor | None = None) -> Tensor:
    """The formula as a sum over the K channels, in the type of x."""
    y = x.new_zeros(*x.shape[:-1], len(W)) if b is None else b.expand(*x.shape[:-1], len(W))
    for k in range(W.shape[1]):
        y = y + x[..., k, None] * W[:, k]
    return y


def example_inputs(
    B: int = 2,
    T: int = 5,
    K: int = 8,
    N: int = 12,
    seed: int = 0,
    dtype: torch.dtype = torch.float32,
) -> dict[str, Tensor]:
    """Keyword arguments for `projection`."""
    r = torch.Generator().manual_seed(seed)
    shapes = {"x": (B, T, K), "W": (N, K), "b": (N,)}
    numbers = {n: torch.randn(s, generator=r, dtype=torch.float64) for n, s in shapes.items()}
    return {n: x.to(dtype) for n, x in numbers.items()}
