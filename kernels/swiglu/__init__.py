"""The product with a SiLU gate (SwiGLU without its matrices, 2002.05202, equation 6):

    y = x * gate * sigmoid(gate)

x, gate [...,D] of one shape -> y. There is no Triton kernel, and the reference is torch's `silu`,
so there is no file `reference`.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from kernels import Impl, choose
from kernels._inputs import not_float32
from kernels.swiglu.definition import definition, example_inputs
from kernels.swiglu.native import native

__all__ = ["definition", "example_inputs", "swiglu"]


def swiglu(x: Tensor, gate: Tensor, *, impl: Impl = "auto") -> Tensor:
    """y of the shape of x and gate.

    Raises ValueError where shapes differ, or where impl is "native" or "triton" and cannot be.
    """
    if x.shape != gate.shape:
        raise ValueError(f"swiglu: gate {list(gate.shape)} must be {list(x.shape)}")
    no = not_float32(x, gate)
    if choose("swiglu", impl, x.device, "there is no Triton kernel", no) == "native":
        return native(x, gate)
    return x * F.silu(gate)
