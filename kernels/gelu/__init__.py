"""GELU in the tanh form of GPT-2 (1606.08415, section 2), of every number:

    y = x sigmoid(2 u)     u = sqrt(2 / pi) (x + 0.044715 x^3)

which is x (1 + tanh u) / 2. There is no Triton kernel: torch's own serves a GPU. The reference is
torch's `gelu`, so there is no file `reference`.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from kernels import Impl, choose
from kernels._inputs import not_float32
from kernels.gelu.definition import definition, example_inputs
from kernels.gelu.native import native

__all__ = ["definition", "example_inputs", "gelu"]


def gelu(x: Tensor, *, impl: Impl = "auto") -> Tensor:
    """y of the shape and type of x. ValueError where impl is "native" or "triton" and cannot be."""
    if choose("gelu", impl, x.device, "there is no Triton kernel", not_float32(x)) == "native":
        return native(x)
    return F.gelu(x, approximate="tanh")
