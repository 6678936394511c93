"""Short causal depthwise convolution with an optional SiLU, as in Mamba (2312.00752, figure 3):

    y_t = f(bias + sum_{i < w} weight_i * x_{t-w+1+i})        x before the first token is 0

x [B,T,C], weight [w,C] (the last row meets the token itself), bias [C] or None, f SiLU or identity
-> y [B,T,C]. Sums are float32 for half types; y has the type of x. There is no Triton kernel: a GPU
runs the reference.
"""

from __future__ import annotations

from torch import Tensor

from kernels import Impl, choose
from kernels._inputs import not_float32
from kernels.short_conv.definition import definition, example_inputs
from kernels.short_conv.native import native
from kernels.short_conv.reference import reference

TAPS = 16  # the most that native.cpp takes

__all__ = ["definition", "example_inputs", "reference", "short_conv"]


def short_conv(
    x: Tensor, weight: Tensor, bias: Tensor | None = None, *, silu: bool, impl: Impl = "auto"
) -> Tensor:
    """y [B,T,C]; the shapes are in the module's docstring.

    Raises ValueError, naming the input, where shapes do not fit, or where impl is "native" or
    "triton" and cannot be.
    """
    if x.ndim != 3 or weight.ndim != 2 or 0 in weight.shape or weight.shape[1] != x.shape[2]:
        raise ValueError(
            f"short_conv: x {list(x.shape)}, weight {list(weight.shape)} are not [B,T,C], [w,C]"
        )
    if bias is not None and bias.shape != x.shape[2:]:
        raise ValueError(f"short_conv: bias {list(bias.shape)} must be {list(x.shape[2:])}")
    no = not_float32(x, weight, bias)
    if len(weight) > TAPS:
        no = f"native code takes at most {TAPS} taps, not {len(weight)}"
    if choose("short_conv", impl, x.device, "there is no Triton kernel", no) == "native":
        return native(x, weight, bias, silu)
    return reference(x, weight, bias, silu)
