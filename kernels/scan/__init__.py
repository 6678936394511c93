"""Diagonal gated linear recurrence, the core of gated RNNs:

    h_t = a_t * h_{t-1} + x_t        h_{-1} = h0, or 0

a [B,T,D] (meant for 0 <= a <= 1), x [B,T,D], h0 [B,D] or None -> h [B,T,D]. Nothing divides by a
product of gates, so that a gate of exactly zero is a clean reset. Used so by HGRN (arXiv
2311.04823) and by minGRU (arXiv 2410.01201) with a = 1 - z and x = z * candidate.

The state is float32 whatever the inputs are (float64 for float64 inputs); h has the type of x.
The gradient is the same recurrence backwards: g_t = dh_t + a_{t+1} g_{t+1}, dx = g,
da_t = g_t h_{t-1}.
"""

from __future__ import annotations

import torch
from torch import Tensor

from kernels import Impl, choose
from kernels.scan.definition import definition, example_inputs, step
from kernels.scan.operator import Inputs, run
from kernels.scan.reference import reference

__all__ = ["definition", "example_inputs", "reference", "scan", "step"]


def scan(a: Tensor, x: Tensor, h0: Tensor | None = None, *, impl: Impl = "auto") -> Tensor:
    """h [B,T,D] with h_t = a_t * h_{t-1} + x_t, for a [B,T,D], x [B,T,D], h0 [B,D] or None.

    Raises ValueError where shapes do not fit, or where impl is "triton" and there is no kernel:
    float64, T * D of 2^31 or more.
    """
    if a.shape != x.shape or x.ndim != 3 or 0 in x.shape:
        raise ValueError(f"scan: a {list(a.shape)} and x {list(x.shape)} must be one [B,T,D]")
    if h0 is not None and h0.shape != (x.shape[0], x.shape[2]):
        raise ValueError(f"scan: h0 {list(h0.shape)} must be [{x.shape[0]}, {x.shape[2]}]")
    no = "float64 is more than the kernel's float32" if x.dtype == torch.float64 else None
    if x[0].numel() >= 2**31:
        no = f"T * D = {x[0].numel()} is beyond the kernel's 32-bit offsets"
    triton = choose("scan", impl, x.device, no) == "triton"
    h: Tensor = run(Inputs(a, x, h0, triton))
    return h
