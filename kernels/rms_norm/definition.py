"""The formula of RMSNorm, and inputs to try it on."""

from __future__ import annotations

import torch
from torch import Tensor


def definition(x: Tensor, weight: Tensor, *, eps: float) -> Tensor:
    """The formula, in the type of x."""
    return x / (x.square().mean(-1, keepdim=True) + eps).sqrt() * weight


def example_inputs(
    n: int = 5, D: int = 40, seed: int = 0, dtype: torch.dtype = torch.float32
) -> dict[str, Tensor]:
    """Keyword arguments for `rms_norm`: rows that differ in size."""
    r = torch.Generator().manual_seed(seed)
    size, x, weight = (
        torch.randn(*shape, generator=r, dtype=torch.float64) for shape in ((n, 1), (n, D), (D,))
    )
    return {"x": (size.exp() * x).to(dtype), "weight": (1 + weight / 4).to(dtype)}
