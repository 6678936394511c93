"""Selective scan, the core of Mamba (arXiv 2312.00752, equations 2a, 2b and algorithm 2):

    h_t = exp(delta_t A) h_{t-1} + (delta_t u_t) B_t        h_{-1} = h0, or 0
    y_t = C_t h_t + D u_t

u, delta [B,T,D] (delta already positive), A [D,N] (negative), Bm, Cm [B,T,N], Dskip [D] or None,
h0 [B,D,N] or None -> y [B,T,D] and h_last [B,D,N]. D channels, N numbers of state per channel; each
of the D x N numbers is its own recurrence. As in Mamba's own code, B_t is discretised by Euler
(delta_t B_t), A by zero-order hold.

The state, A and all sums are float32 whatever the inputs are (float64 for float64 inputs); y has
the type of u, h_last is float32. The T states are never all in memory: one in every chunk is kept,
and the backward pass recomputes the others. No atomics: the kernels' shares of dA, dB, dC and
dDskip are summed outside, in a fixed order.
"""

from __future__ import annotations

import torch
from torch import Tensor

from kernels import Impl, choose
from kernels._inputs import not_float32
from kernels.selective_scan.definition import definition, example_inputs, step
from kernels.selective_scan.native import native
from kernels.selective_scan.operator import run
from kernels.selective_scan.plans import KERNEL_CHUNK
from kernels.selective_scan.reference import reference

__all__ = ["definition", "example_inputs", "reference", "selective_scan", "step"]


def selective_scan(
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    Bm: Tensor,
    Cm: Tensor,
    Dskip: Tensor | None = None,
    h0: Tensor | None = None,
    *,
    impl: Impl = "auto",
) -> tuple[Tensor, Tensor]:
    """y [B,T,D] and h_last [B,D,N]; the shapes are in the module's docstring.

    Raises ValueError, naming the input, where shapes do not fit; where impl is "triton" and there
    is no kernel: float64, N over 64; where impl is "native" and a tensor is not float32.
    """
    if u.ndim != 3 or A.ndim != 2 or 0 in u.shape:
        raise ValueError(
            f"selective_scan: u {list(u.shape)}, A {list(A.shape)} are not [B,T,D], [D,N]"
        )
    (B, T, D), N = u.shape, A.shape[1]
    wanted: dict[str, tuple[Tensor | None, tuple[int, ...]]]
    wanted = {"delta": (delta, (B, T, D)), "A": (A, (D, N)), "Bm": (Bm, (B, T, N))}
    wanted |= {"Cm": (Cm, (B, T, N)), "Dskip": (Dskip, (D,)), "h0": (h0, (B, D, N))}
    for name, (tensor, shape) in wanted.items():
        if tensor is not None and tensor.shape != shape:
            raise ValueError(f"selective_scan: {name} {list(tensor.shape)} must be {list(shape)}")
    no = None
    if u.dtype == torch.float64:
        no = "float64 is more than the kernel's float32"
    elif N > 64:
        no = f"N = {N} is more than the kernel's 64"
    elif T * max(N, D, D * N // KERNEL_CHUNK) >= 2**31:
        no = f"T = {T} with D = {D} is beyond the kernel's 32-bit offsets"
    tensors = u, delta, A, Bm, Cm, Dskip, h0
    chosen = choose("selective_scan", impl, u.device, no, not_float32(*tensors))
    if chosen == "native":
        return native(*tensors)
    return run(*tensors, triton=chosen == "triton")
