"""Rows scaled to norm 1, over the last dimension:

    y = x / max(|x|, 1e-12)

x [...,D] -> y [...,D]. There is no Triton kernel: torch's own operators serve a GPU. The reference
is torch's `normalize`, so there is no file `reference`.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from kernels import Impl, choose
from kernels._inputs import not_float32
from kernels.normalize.definition import definition, example_inputs
from kernels.normalize.native import native

__all__ = ["definition", "example_inputs", "normalize"]


def normalize(x: Tensor, *, impl: Impl = "auto") -> Tensor:
    """y of the shape and type of x. ValueError where impl is "native" or "triton" and cannot be."""
    if choose("normalize", impl, x.device, "there is no Triton kernel", not_float32(x)) == "native":
        return native(x)
    return F.normalize(x, dim=-1)
