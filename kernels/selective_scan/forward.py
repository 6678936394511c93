"""Triton kernel of the selective scan's forward pass, and its launch."""
# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

from typing import Any

import triton
import triton.language as tl
from torch import Tensor

from kernels import COUNTS
from kernels._launch import blocks, launch, row_major
from kernels.selective_scan.operator import Inputs, made
from kernels.selective_scan.plans import CHANNELS, options, tile


@triton.jit
def fetch(U, DELTA, B, C, t, T, d, D, n, N):
    """Inputs of token t; after the last token a step of size 0, which changes nothing."""
    here, there = (t < T) & (d < D), (t < T) & (n < N)
    u = tl.load(U + t * D + d, mask=here, other=0.0).to(tl.float32)
    delta = tl.load(DELTA + t * D + d, mask=here, other=0.0).to(tl.float32)
    b = tl.load(B + t * N + n, mask=there, other=0.0).to(tl.float32)
    c = tl.load(C + t * N + n, mask=there, other=0.0).to(tl.float32)
    return u, delta, b, c


@triton.jit
def advance(h, A2, u, delta, b):
    return tl.exp2(delta[None, :] * A2) * h + (delta * u)[None, :] * b[:, None]


@triton.jit(do_not_specialize=COUNTS)
def forward_kernel(
    U, DELTA, A, B, C, SKIP, H0, Y, LAST, KEPT, T, D, N, shared_rows,
    HAS_SKIP: tl.constexpr, INITIAL: tl.constexpr, CHUNK: tl.constexpr, BD: tl.constexpr,
    BN: tl.constexpr,
):  # fmt: skip
    """Token by token from the first, 4 at a time.

    owns    BD channels of one row; the state [BN,BD] stays in registers
    reads   u, delta of its channels; B, C of the row; A, skip, h0
    writes  y, the last state, and the state before every CHUNK tokens
    """
    row, d = tl.program_id(0).to(tl.int64), tl.program_id(1) * BD + tl.arange(0, BD)
    n = tl.arange(0, BN)
    model = row // shared_rows
    U, DELTA, Y = U + row * T * D, DELTA + row * T * D, Y + row * T * D
    B, C = B + row * T * N, C + row * T * N
    KEPT += row * tl.cdiv(T, CHUNK) * N * D
    inside = (n < N)[:, None] & (d < D)[None, :]
    across = d[None, :] * N + n[:, None]
    A2 = tl.load(A + model * D * N + across, mask=inside, other=0.0).to(tl.float32)
    A2 *= 1.4426950408889634
    skip = tl.zeros([BD], tl.float32)
    if HAS_SKIP:
        skip = tl.load(SKIP + model * D + d, mask=d < D, other=0.0).to(tl.float32)
    h = tl.zeros([BN, BD], tl.float32)
    if INITIAL:
        h = tl.load(H0 + row * D * N + across, mask=inside, other=0.0).to(tl.float32)
    for t in range(0, T, 4):
        if t % CHUNK == 0:
            at = (t // CHUNK) * N * D + n[:, None] * D + d[None, :]
            tl.store(KEPT + at, h, mask=inside)
        # Four tokens are fetched together, before any store: their latencies overlap.
        u0, s0, b0, c0 = fetch(U, DELTA, B, C, t, T, d, D, n, N)
        u1, s1, b1, c1 = fetch(U, DELTA, B, C, t + 1, T, d, D, n, N)
        u2, s2, b2, c2 = fetch(U, DELTA, B, C, t + 2, T, d, D, n, N)
        u3, s3, b3, c3 = fetch(U, DELTA, B, C, t + 3, T, d, D, n, N)
        h = advance(h, A2, u0, s0, b0)
        y0 = tl.sum(h * c0[:, None], 0) + skip * u0
        h = advance(h, A2, u1, s1, b1)
        y1 = tl.sum(h * c1[:, None], 0) + skip * u1
        h = advance(h, A2, u2, s2, b2)
        y2 = tl.sum(h * c2[:, None], 0) + skip * u2
        h = advance(h, A2, u3, s3, b3)
        y3 = tl.sum(h * c3[:, None], 0) + skip * u3
        out = Y + t * D + d
        tl.store(out, y0.to(Y.dtype.element_ty), mask=d < D)
        tl.store(out + D, y1.to(Y.dtype.element_ty), mask=(t + 1 < T) & (d < D))
        tl.store(out + 2 * D, y2.to(Y.dtype.element_ty), mask=(t + 2 < T) & (d < D))
        tl.store(out + 3 * D, y3.to(Y.dtype.element_ty), mask=(t + 3 < T) & (d < D))
    tl.store(LAST + row * D * N + across, h, mask=inside)


def arguments(i: Inputs) -> dict[str, Any]:
    """What every launch needs, by argument name."""
    i = row_major(i)
    (B, T, D), (P, _, N) = i.u.shape, i.A.shape
    return {
        "U": i.u, "DELTA": i.delta, "A": i.A, "B": i.Bm, "C": i.Cm, "SKIP": i.Dskip, "H0": i.h0,
        "T": T, "D": D, "N": N, "shared_rows": B // P, "HAS_SKIP": i.Dskip is not None,
        "INITIAL": i.h0 is not None, **tile(N),
    }  # fmt: skip


def run_forward(i: Inputs) -> tuple[Tensor, Tensor, Tensor]:
    """y, the last state, and the state before every chunk [B, chunks, N, D]."""
    (B, _, D), N = i.u.shape, i.A.shape[2]
    y, last, kept = made(i)
    given = arguments(i) | {"Y": y, "LAST": last, "KEPT": kept}
    launch(forward_kernel, (B, blocks(D, CHANNELS)), given, **options(N))
    return y, last, kept
