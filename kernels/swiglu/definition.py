"""The formula of the SiLU gate, and inputs to try it on."""

from __future__ import annotations

import torch
from torch import Tensor


def definition(x: Tensor, gate: Tensor) -> Tensor:
    """The formula, in the type of x."""
    return x * gate / (1 + torch.exp(-gate))


def example_inputs(
    D: int = 20, T: int = 3, seed: int = 0, dtype: torch.dtype = torch.float32
) -> dict[str, Tensor]:
    """Keyword arguments for `swiglu`: x and gate [2,T,D], gates up to about 10."""
    g = torch.Generator().manual_seed(seed)
    x, gate = torch.randn(2, 2, T, D, generator=g, dtype=torch.float64)
    return {"x": x.to(dtype), "gate": (3 * gate).to(dtype)}
