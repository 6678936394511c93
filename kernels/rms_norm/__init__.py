"""RMSNorm (1910.07467, equation 4) over the last dimension:

    y = x / sqrt(mean(x^2) + eps) * weight

x [...,D], weight [D] -> y [...,D]. There is no Triton kernel: torch's own serves a GPU. The
reference is torch's `rms_norm`, so there is no file `reference`. (LayerNorm has no folder: torch's
is as fast on a CPU as native code.)
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from kernels import Impl, choose
from kernels._inputs import not_float32
from kernels.rms_norm.definition import definition, example_inputs
from kernels.rms_norm.native import native

__all__ = ["definition", "example_inputs", "rms_norm"]


def rms_norm(x: Tensor, weight: Tensor, *, eps: float, impl: Impl = "auto") -> Tensor:
    """y of the shape and type of x.

    Raises ValueError, naming the input, where shapes do not fit, or where impl is "native" or
    "triton" and cannot be.
    """
    if weight.shape != x.shape[-1:]:
        raise ValueError(f"rms_norm: weight {list(weight.shape)} must be {list(x.shape[-1:])}")
    no = not_float32(x, weight)
    if choose("rms_norm", impl, x.device, "there is no Triton kernel", no) == "native":
        return native(x, weight, eps)
    return F.rms_norm(x, weight.shape, weight, eps)
