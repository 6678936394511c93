"""Triton kernels of the delta rule's forward pass, and their launch."""
# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

from typing import Any

import triton
import triton.language as tl
from torch import Tensor

from kernels import COUNTS
from kernels._launch import blocks, launch, row_major
from kernels._tiles import exact, inverse, load_rows, store_rows
from kernels.delta import plans
from kernels.delta.chunks import decays, fade, lower
from kernels.delta.operator import Inputs, made


@triton.jit(do_not_specialize=COUNTS)
def prepare_kernel(
    K, BETA, G, M, T,
    H: tl.constexpr, d: tl.constexpr, BK: tl.constexpr, PREC: tl.constexpr,
):  # fmt: skip
    """M = (I + L)^-1 of one chunk of 32 tokens, from two halves of 16.

    owns    32 tokens of one row and head
    reads   k, beta and log decay of the chunk
    writes  M [32,32]
    """
    EXACT: tl.constexpr = exact(K.dtype.element_ty, PREC)
    bh, n = tl.program_id(0).to(tl.int64), tl.program_id(1)
    x, c = tl.arange(0, BK), tl.arange(0, 16)
    first = (bh // H) * T * H + bh % H
    K, BETA = K + first * d, BETA + first
    if G is not None:
        G += first
    t = n * 32 + c
    k1 = load_rows(K, t[:, None], x[None, :], H * d, T, d, BK)
    k2 = load_rows(K, t[:, None] + 16, x[None, :], H * d, T, d, BK)
    b1 = tl.load(BETA + t * H, mask=t < T, other=0.0).to(tl.float32)
    b2 = tl.load(BETA + (t + 16) * H, mask=t + 16 < T, other=0.0).to(tl.float32)
    near1, lost1, rest1, _ = decays(G, t, T, H, 16)
    near2, lost2, _, _ = decays(G, t + 16, T, H, 16)
    M1 = inverse(lower(k1, b1, fade(near1, lost1), 16, PREC), 16, EXACT)
    M2 = inverse(lower(k2, b2, fade(near2, lost2), 16, PREC), 16, EXACT)
    L21 = tl.dot(k2, tl.trans(k1), input_precision=PREC) * rest1[None, :]
    L21 *= (b2 * tl.exp2(near2))[:, None]
    M21 = tl.dot(tl.dot(M2, L21, input_precision=EXACT), M1, input_precision=EXACT)
    out = M + (bh * tl.num_programs(1) + n) * 1024 + c[:, None] * 32 + c[None, :]
    tl.store(out, M1.to(M.dtype.element_ty))
    tl.store(out + 16, tl.zeros([16, 16], tl.float32).to(M.dtype.element_ty))
    tl.store(out + 512, (-M21).to(M.dtype.element_ty))
    tl.store(out + 528, M2.to(M.dtype.element_ty))


@triton.jit(do_not_specialize=COUNTS)
def forward_kernel(
    Q, K, V, BETA, G, S0, OUT, LAST, M, KEPT, R, scale, T,
    H: tl.constexpr, d: tl.constexpr, e: tl.constexpr, PREPARED: tl.constexpr, SAVE: tl.constexpr,
    C: tl.constexpr, BK: tl.constexpr, BV: tl.constexpr, PREC: tl.constexpr,
):  # fmt: skip
    """The state of one head, chunk by chunk from the first.

    owns    BV columns of one row's and head's state [BK,BV], in registers
    reads   q, k, beta, log decay of the row and M (PREPARED); its columns of v and S0
    writes  its columns of o and the last state; SAVE: of R and of the state before each chunk, M
    """
    bh, block = tl.program_id(0).to(tl.int64), tl.program_id(1)
    x, y, c = tl.arange(0, BK), block * BV + tl.arange(0, BV), tl.arange(0, C)
    i, j = c[:, None], c[None, :]
    first = (bh // H) * T * H + bh % H
    Q, K, V, OUT = Q + first * d, K + first * d, V + first * e, OUT + first * e
    BETA, R = BETA + first, R + first * e
    if G is not None:
        G += first
    chunks = tl.cdiv(T, C)
    M += bh * chunks * C * C
    known = None if d % BK == 0 else d
    S = tl.zeros([BK, BV], tl.float32)
    if S0 is not None:
        S += load_rows(S0 + bh * d * e, x[:, None], y[None, :], e, known, e, BV)
    for n in range(0, chunks):
        t = n * C + c
        q = load_rows(Q, t[:, None], x[None, :], H * d, T, d, BK)
        k = load_rows(K, t[:, None], x[None, :], H * d, T, d, BK)
        beta = tl.load(BETA + t * H, mask=t < T, other=0.0).to(tl.float32)
        near, lost, rest, whole = decays(G, t, T, H, C)
        faded = fade(near, lost)
        if PREPARED:
            m = tl.load(M + n * C * C + i * C + j)
        else:
            m = inverse(lower(k, beta, faded, C, PREC), C, exact(k.dtype, PREC)).to(k.dtype)
            if SAVE:
                tl.store(M + n * C * C + i * C + j, m.to(M.dtype.element_ty))
        begun = tl.exp2(near)
        s = S.to(k.dtype)
        o = begun[:, None] * tl.dot(q, s, input_precision=PREC)
        scores = tl.dot(q, tl.trans(k), input_precision=PREC) * faded
        scores = tl.where(i >= j, scores, 0.0).to(k.dtype)
        v = load_rows(V, t[:, None], y[None, :], H * e, T, e, BV).to(tl.float32)
        left = beta[:, None] * (v - begun[:, None] * tl.dot(k, s, input_precision=PREC))
        r = tl.dot(m, left.to(k.dtype), input_precision=PREC)
        o += tl.dot(scores, r.to(k.dtype), input_precision=PREC)
        store_rows(OUT, scale * o, t[:, None], y[None, :], H * e, T, e, BV)
        if SAVE:
            before = KEPT + (bh * chunks + n) * d * e
            store_rows(before, s, x[:, None], y[None, :], e, known, e, BV)
            store_rows(R, r, t[:, None], y[None, :], H * e, T, e, BV)
        r = (r * rest[:, None]).to(k.dtype)
        S = S * whole + tl.dot(tl.trans(k), r, input_precision=PREC)
    store_rows(LAST + bh * d * e, S, x[:, None], y[None, :], e, known, e, BV)


def run_forward(i: Inputs) -> tuple[Tensor, ...]:
    """o, the last state; for the backward pass the state before each chunk, M and R."""
    plan, H = plans.plan(i.k.shape[3], i.v.shape[3], i.v.dtype), i.k.shape[2]
    o, last, kept, M, R = made(i)
    B, N, e = len(i.k), blocks(i.k.shape[1], plan.C), i.v.shape[3]
    inverses = M if i.save or not plan.prepared else i.v.new_empty(B, H, N, plan.C, plan.C)
    given = arguments(i) | {
        "OUT": o, "LAST": last, "KEPT": kept, "M": inverses, "R": R, "PREPARED": plan.prepared,
        "SAVE": i.save,
    }  # fmt: skip
    if plan.prepared:
        launch(prepare_kernel, (B * H, N), given, 1, 1)
    launch(forward_kernel, (B * H, blocks(e, plan.columns)), given, plan.warps, 1)
    return o, last, kept, M, R


def arguments(i: Inputs) -> dict[str, Any]:
    """What every launch needs, by argument name."""
    i = row_major(i._replace(q=i.q.to(i.v), k=i.k.to(i.v)))
    _, T, H, d = i.k.shape
    e = i.v.shape[3]
    plan = plans.plan(d, e, i.v.dtype)
    return {
        "Q": i.q, "K": i.k, "V": i.v, "BETA": i.beta, "G": i.log_decay, "S0": i.S0,
        "scale": i.scale, "T": T, "H": H, "d": d, "e": e, "C": plan.C,
        "BK": plans.width(d), "BV": plan.columns, "PREC": plans.precision(i.v.dtype),
    }  # fmt: skip
