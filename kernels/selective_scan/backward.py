"""Triton kernel of the selective scan's backward pass, and its launch."""
# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

from typing import Any

import triton
import triton.language as tl
from torch import Tensor

from kernels import COUNTS
from kernels._launch import blocks, launch, like
from kernels.selective_scan.forward import advance, arguments, fetch
from kernels.selective_scan.operator import Inputs
from kernels.selective_scan.plans import CHANNELS, options


@triton.jit
def recompute(h, A2, U, DELTA, B, C, t, T, d, D, n, N):
    u, delta, b, _ = fetch(U, DELTA, B, C, t, T, d, D, n, N)
    return advance(h, A2, u, delta, b)


@triton.jit
def retreat(g, dA, before, h, A2, skip, U, DELTA, B, C, DY, DU, DDT, DB, DC, t, T, d, D, n, N):
    """Store token t's gradients; returns g, the gradient of the state before it."""
    here, there = (t < T) & (d < D), (t < T) & (n < N)
    u, delta, b, c = fetch(U, DELTA, B, C, t, T, d, D, n, N)
    dy = tl.load(DY + t * D + d, mask=here, other=0.0).to(tl.float32)
    g += c[:, None] * dy[None, :]
    tl.store(DC + t * N + n, tl.sum(h * dy[None, :], 1), mask=there)
    tl.store(DB + t * N + n, tl.sum(g * (delta * u)[None, :], 1), mask=there)
    dx = tl.sum(g * b[:, None], 0)
    g *= tl.exp2(delta[None, :] * A2)
    m = g * before
    # A2 is A / ln 2.
    ddelta = tl.sum(m * A2, 0) * 0.6931471805599453 + dx * u
    du = dx * delta + skip * dy
    tl.store(DDT + t * D + d, ddelta.to(DDT.dtype.element_ty), mask=here)
    tl.store(DU + t * D + d, du.to(DU.dtype.element_ty), mask=here)
    return g, dA + m * delta[None, :], dy * u


@triton.jit(do_not_specialize=COUNTS)
def backward_kernel(
    U, DELTA, A, B, C, SKIP, KEPT, DY, DLAST, DU, DDT, DA, DB, DC, DSKIP, DH0, T, D, N, shared_rows,
    HAS_SKIP: tl.constexpr, CHUNK: tl.constexpr, BD: tl.constexpr, BN: tl.constexpr,
):  # fmt: skip
    """Token by token from the last, 4 at a time; states are run again from the chunk's kept one.

    owns    BD channels of one row; the state's gradient and dA [BN,BD] stay in registers
    reads   u, delta, dy of its channels; B, C of the row; A, skip, the kept states, dlast
    writes  du, ddelta and dh0; its share of dA, dB, dC and dskip, summed outside in a fixed order
    """
    row, d = tl.program_id(0).to(tl.int64), tl.program_id(1) * BD + tl.arange(0, BD)
    n = tl.arange(0, BN)
    model = row // shared_rows
    U, DELTA, DY = U + row * T * D, DELTA + row * T * D, DY + row * T * D
    DU, DDT = DU + row * T * D, DDT + row * T * D
    B, C = B + row * T * N, C + row * T * N
    share = (tl.program_id(1) * tl.num_programs(0) + row) * T * N
    DB, DC = DB + share, DC + share
    KEPT += row * tl.cdiv(T, CHUNK) * N * D
    inside = (n < N)[:, None] & (d < D)[None, :]
    across = d[None, :] * N + n[:, None]
    along = n[:, None] * D + d[None, :]
    A2 = tl.load(A + model * D * N + across, mask=inside, other=0.0).to(tl.float32)
    A2 *= 1.4426950408889634
    skip = tl.zeros([BD], tl.float32)
    if HAS_SKIP:
        skip = tl.load(SKIP + model * D + d, mask=d < D, other=0.0).to(tl.float32)
    g = tl.load(DLAST + row * D * N + across, mask=inside, other=0.0).to(tl.float32)
    dA = tl.zeros([BN, BD], tl.float32)
    dskip = tl.zeros([BD], tl.float32)
    for i in range(0, tl.cdiv(T, 4)):
        t = (tl.cdiv(T, 4) - 1 - i) * 4
        chunk = t // CHUNK
        h0 = tl.load(KEPT + chunk * N * D + along, mask=inside, other=0.0)
        for s in range(chunk * CHUNK, t):
            h0 = recompute(h0, A2, U, DELTA, B, C, s, T, d, D, n, N)
        h1 = recompute(h0, A2, U, DELTA, B, C, t, T, d, D, n, N)
        h2 = recompute(h1, A2, U, DELTA, B, C, t + 1, T, d, D, n, N)
        h3 = recompute(h2, A2, U, DELTA, B, C, t + 2, T, d, D, n, N)
        h4 = recompute(h3, A2, U, DELTA, B, C, t + 3, T, d, D, n, N)
        g, dA, e3 = retreat(
            g, dA, h3, h4, A2, skip, U, DELTA, B, C, DY, DU, DDT, DB, DC, t + 3, T, d, D, n, N
        )
        g, dA, e2 = retreat(
            g, dA, h2, h3, A2, skip, U, DELTA, B, C, DY, DU, DDT, DB, DC, t + 2, T, d, D, n, N
        )
        g, dA, e1 = retreat(
            g, dA, h1, h2, A2, skip, U, DELTA, B, C, DY, DU, DDT, DB, DC, t + 1, T, d, D, n, N
        )
        g, dA, e0 = retreat(
            g, dA, h0, h1, A2, skip, U, DELTA, B, C, DY, DU, DDT, DB, DC, t, T, d, D, n, N
        )
        dskip += e0 + e1 + e2 + e3
    tl.store(DA + row * D * N + across, dA, mask=inside)
    tl.store(DH0 + row * D * N + across, g, mask=inside)
    if HAS_SKIP:
        tl.store(DSKIP + row * D + d, dskip, mask=d < D)


def run_backward(i: Inputs, kept: Tensor, dy: Tensor, dlast: Tensor) -> dict[str, Tensor | None]:
    """Gradients by name."""
    (B, T, D), (P, _, N) = i.u.shape, i.A.shape
    given, parts = arguments(i), blocks(D, CHANNELS)
    kept, dy, dlast = (x.contiguous() for x in (kept, dy, dlast))
    du, ddelta = like(given["U"]), like(given["DELTA"])
    dA, dh0 = (kept.new_empty(B, D, N) for _ in range(2))
    dB, dC = (kept.new_empty(parts, B, T, N) for _ in range(2))
    dskip = None if i.Dskip is None else kept.new_empty(B, D)
    given |= {
        "KEPT": kept, "DY": dy, "DLAST": dlast, "DU": du, "DDT": ddelta, "DA": dA, "DB": dB,
        "DC": dC, "DSKIP": dskip, "DH0": dh0,
    }  # fmt: skip
    launch(backward_kernel, (B, parts), given, **options(N))

    def sums(shares: Any, wanted: Tensor) -> Tensor:
        """Of the rows that share an entry, in a fixed order."""
        return shares.unflatten(0, (P, -1)).sum(1).to(wanted.dtype)

    return {
        "u": du, "delta": ddelta, "A": sums(dA, i.A), "Bm": dB.sum(0).to(i.Bm.dtype),
        "Cm": dC.sum(0).to(i.Cm.dtype), "h0": None if i.h0 is None else dh0.to(i.h0.dtype),
        "Dskip": None if i.Dskip is None else sums(dskip, i.Dskip),
    }  # fmt: skip
