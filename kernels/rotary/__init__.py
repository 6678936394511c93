"""Rotary embedding (2104.09864) with the half-split pairing of LLaMA:

    y_m       = x_m cos a - x_{m+d/2} sin a     a = p_t base^(-2m/d)     m < d/2
    y_{m+d/2} = x_{m+d/2} cos a + x_m sin a

x [B,T,H,d] with d even -> y [B,T,H,d]: the token t of every row has the position p_t = start + t,
or start[t] of an int64 [T]. Angles are float32 at least. There is no Triton kernel: the reference
is two passes over x.
"""

from __future__ import annotations

from torch import Tensor

from kernels import Impl, choose
from kernels._inputs import not_float32
from kernels.rotary.definition import definition, example_inputs
from kernels.rotary.native import native
from kernels.rotary.reference import angles, reference

__all__ = ["definition", "example_inputs", "reference", "rotary"]


def rotary(x: Tensor, start: int | Tensor = 0, *, base: float, impl: Impl = "auto") -> Tensor:
    """y of the shape and type of x.

    Raises ValueError, naming the input, where the shape does not fit, or where impl is "native" or
    "triton" and cannot be.
    """
    if x.ndim != 4 or x.shape[3] % 2:
        raise ValueError(f"rotary: x {list(x.shape)} must be [B,T,H,d] with an even d")
    if choose("rotary", impl, x.device, "there is no Triton kernel", not_float32(x)) == "native":
        return native(x, *angles(x, start, base))
    return reference(x, start, base)
