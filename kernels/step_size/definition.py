"""The formula of step sizes, and inputs to try it on."""

from __future__ import annotations

import torch
from torch import Tensor


def definition(x: Tensor, W: Tensor, b: Tensor) -> Tensor:
    """The formula, in the type of x."""
    return torch.logaddexp((x[..., None, :] * W).sum(-1) + b, x.new_zeros(()))


def example_inputs(
    T: int = 5, R: int = 4, D: int = 20, seed: int = 0, dtype: torch.dtype = torch.float32
) -> dict[str, Tensor]:
    """Keyword arguments for `step_size`: x [2,T,R], exponents up to about 10."""
    g = torch.Generator().manual_seed(seed)
    x, W, b = (
        torch.randn(*shape, generator=g, dtype=torch.float64) for shape in ((2, T, R), (D, R), (D,))
    )
    return {"x": x.to(dtype), "W": (2 * W).to(dtype), "b": b.to(dtype)}
