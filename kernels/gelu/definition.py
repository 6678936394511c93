"""The formula of GELU, and inputs to try it on."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def definition(x: Tensor) -> Tensor:
    """The formula, in the type of x."""
    u = math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)
    return x * (1 + u.tanh()) / 2


def example_inputs(
    n: int = 100, seed: int = 0, dtype: torch.dtype = torch.float32
) -> dict[str, Tensor]:
    """Keyword arguments for `gelu`: numbers of every size up to about 30."""
    r = torch.Generator().manual_seed(seed)
    x = 10 * torch.randn(n, generator=r, dtype=torch.float64) * torch.rand(n, generator=r)
    return {"x": x.to(dtype)}
