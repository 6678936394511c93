"""Triton kernel of the scan's forward pass, and its launch."""
# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from kernels import COUNTS
from kernels._launch import blocks, launch, row_major
from kernels.scan.operator import Inputs
from kernels.scan.plans import FORWARD, LAUNCH


@triton.jit(do_not_specialize=COUNTS)
def forward_kernel(
    A, X, H0, H, T, D, INITIAL: tl.constexpr, BD: tl.constexpr, U: tl.constexpr, S: tl.constexpr
):
    """Token by token from the first; U tokens are fetched S stages ahead.

    owns    BD channels of one row; the state stays in registers
    reads   a, x of the row and h0
    writes  h of the row
    """
    row, d = tl.program_id(0).to(tl.int64), tl.program_id(1) * BD + tl.arange(0, BD)
    A, X, H = A + row * T * D, X + row * T * D, H + row * T * D
    h = tl.zeros([BD], tl.float32)
    if INITIAL:
        h = tl.load(H0 + row * D + d, mask=d < D, other=0.0).to(tl.float32)
    for first in tl.range(0, T, U, num_stages=S):
        for j in tl.static_range(U):
            t = first + j
            here = t * D + d
            inside = (t < T) & (d < D)
            a = tl.load(A + here, mask=inside, other=0.0).to(tl.float32)
            x = tl.load(X + here, mask=inside, other=0.0).to(tl.float32)
            h = a * h + x
            tl.store(H + here, h.to(H.dtype.element_ty), mask=inside)


def run_forward(i: Inputs) -> Tensor:
    """h [B,T,D] in the type of x."""
    i = row_major(i)
    B, T, D = i.x.shape
    h = torch.empty_like(i.x)
    given = {
        "A": i.a, "X": i.x, "H0": i.h0, "H": h, "T": T, "D": D,
        "INITIAL": i.h0 is not None,
    }  # fmt: skip
    launch(forward_kernel, (B, blocks(D, FORWARD["BD"])), given | FORWARD, **LAUNCH)
    return h
