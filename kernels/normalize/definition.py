"""The formula of rows of norm 1, and inputs to try it on."""

from __future__ import annotations

import torch
from torch import Tensor


def definition(x: Tensor) -> Tensor:
    """The formula, in the type of x."""
    return x / x.square().sum(-1, keepdim=True).sqrt().clamp(min=1e-12)


def example_inputs(
    n: int = 5, D: int = 40, seed: int = 0, dtype: torch.dtype = torch.float32
) -> dict[str, Tensor]:
    """Keyword arguments for `normalize`: rows that differ in size."""
    r = torch.Generator().manual_seed(seed)
    size, x = (torch.randn(n, D, generator=r, dtype=torch.float64) for D in (1, D))
    return {"x": (size.exp() * x).to(dtype)}
