"""Step sizes of a state space from few numbers a token (Mamba, 2312.00752, section 3.6):

    y = softplus(x W^T + b)        softplus(z) = log(1 + e^z)

x [...,R], W [D,R], b [D] -> y [...,D]. R is small (a sixteenth of a model's width), too small for
matrix products to be fast. There is no Triton kernel, and the reference is torch's `linear` and
`softplus`, so there is no file `reference`.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from kernels import Impl, choose
from kernels._inputs import not_float32
from kernels.step_size.definition import definition, example_inputs
from kernels.step_size.native import native

__all__ = ["definition", "example_inputs", "step_size"]

MOST = 16  # R; from there on matrix products are as fast


def step_size(x: Tensor, W: Tensor, b: Tensor, *, impl: Impl = "auto") -> Tensor:
    """y [...,D] of the formula above.

    Raises ValueError, naming the input, where shapes do not fit, or where impl is "native" or
    "triton" and cannot be.
    """
    (D, R) = W.shape
    if x.shape[-1:] != (R,) or b.shape != (D,):
        got = f"x {list(x.shape)}, b {list(b.shape)}"
        raise ValueError(f"step_size: {got} do not go with W {list(W.shape)}")
    no = not_float32(x, W, b)
    if R > MOST:
        no = f"R = {R} is above the native operator's {MOST}"
    if choose("step_size", impl, x.device, "there is no Triton kernel", no) == "native":
        return native(x, W, b)
    return F.softplus(F.linear(x, W, b))
