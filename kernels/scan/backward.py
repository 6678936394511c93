"""Triton kernel of the scan's backward pass, and its launch."""
# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

import triton
import triton.language as tl
from torch import Tensor

from kernels import COUNTS
from kernels._launch import blocks, launch, like, row_major
from kernels.scan.operator import Inputs
from kernels.scan.plans import BACKWARD, LAUNCH


@triton.jit(do_not_specialize=COUNTS)
def backward_kernel(
    A, H, H0, DH, DA, DX, DH0, T, D,
    INITIAL: tl.constexpr, BD: tl.constexpr, U: tl.constexpr, S: tl.constexpr,
):  # fmt: skip
    """Token by token from the last; kept is a_{t+1} g_{t+1}.

    owns    BD channels of one row; the state's gradient stays in registers
    reads   a, h, dh of the row and h0
    writes  da, dx of the row and dh0
    """
    row, d = tl.program_id(0).to(tl.int64), tl.program_id(1) * BD + tl.arange(0, BD)
    A, H, DH = A + row * T * D, H + row * T * D, DH + row * T * D
    DA, DX = DA + row * T * D, DX + row * T * D
    h0 = tl.zeros([BD], tl.float32)
    if INITIAL:
        h0 = tl.load(H0 + row * D + d, mask=d < D, other=0.0).to(tl.float32)
    kept = tl.zeros([BD], tl.float32)
    for first in tl.range(0, T, U, num_stages=S):
        for j in tl.static_range(U):
            t = T - 1 - first - j
            here = t * D + d
            inside = (t >= 0) & (d < D)
            a = tl.load(A + here, mask=inside, other=0.0).to(tl.float32)
            dh = tl.load(DH + here, mask=inside, other=0.0).to(tl.float32)
            before = tl.load(H + here - D, mask=(t > 0) & (d < D), other=0.0).to(tl.float32)
            before = tl.where(t == 0, h0, before)
            g = dh + kept
            kept = tl.where(t >= 0, a * g, kept)
            tl.store(DX + here, g.to(DX.dtype.element_ty), mask=inside)
            tl.store(DA + here, (g * before).to(DA.dtype.element_ty), mask=inside)
    if INITIAL:
        tl.store(DH0 + row * D + d, kept.to(DH0.dtype.element_ty), mask=d < D)


def run_backward(i: Inputs, dh: Tensor) -> dict[str, Tensor | None]:
    """Gradients by name; the field x holds h."""
    i, dh = row_major(i), dh.contiguous()
    B, T, D = i.x.shape
    da, dx, dh0 = like(i.a), like(i.x), like(i.h0)
    given = {
        "A": i.a, "H": i.x, "H0": i.h0, "DH": dh, "DA": da, "DX": dx, "DH0": dh0, "T": T, "D": D,
        "INITIAL": i.h0 is not None,
    }  # fmt: skip
    launch(backward_kernel, (B, blocks(D, BACKWARD["BD"])), given | BACKWARD, **LAUNCH)
    return {"a": da, "x": dx, "h0": dh0}
