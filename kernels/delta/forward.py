"""Triton kernels of the delta rule's forward pass, and their launch."""
# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from kernels import COUNTS
from kernels._launch import blocks, launch, row_major
from kernels._tiles import inverse
from kernels.delta import plans
from kernels.delta.chunks import (
    decay_since,
    last_row,
    load_tile,
    log2_decay,
    lower,
)


@triton.jit(do_not_specialize=COUNTS)
def prepare_kernel(
    K, BETA, G, M, T, H, d,
    DECAY: tl.constexpr, BK: tl.constexpr, PREC: tl.constexpr,
):  # fmt: skip
    """M = (I + L)^-1 of one chunk of 32 tokens, from two halves of 16.

    owns    32 tokens of one row and head
    reads   k, beta and log decay of the chunk
    writes  M [32,32]
    """
    bh, n = tl.program_id(0).to(tl.int64), tl.program_id(1)
    x, c = tl.arange(0, BK), tl.arange(0, 16)
    first = (bh // H) * T * H + bh % H
    K, BETA, G = K + first * d, BETA + first, G + first
    t = n * 32 + c
    k1, k2 = load_tile(K, t, T, H * d, x, d), load_tile(K, t + 16, T, H * d, x, d)
    b1 = tl.load(BETA + t * H, mask=t < T, other=0.0).to(tl.float32)
    b2 = tl.load(BETA + (t + 16) * H, mask=t + 16 < T, other=0.0).to(tl.float32)
    g1, g2 = log2_decay(G, t, T, H, DECAY, 16), log2_decay(G, t + 16, T, H, DECAY, 16)
    since1 = decay_since(g1, 16)
    M1 = inverse(lower(k1, b1, since1, 16, PREC), 16, "tf32x3")
    M2 = inverse(lower(k2, b2, decay_since(g2, 16), 16, PREC), 16, "tf32x3")
    across = tl.cumsum(g2, 0)[:, None] + last_row(since1, 16)[None, :]
    L21 = tl.dot(k2, tl.trans(k1), input_precision=PREC) * b2[:, None] * tl.exp2(across)
    M21 = tl.dot(tl.dot(M2, L21, input_precision="tf32x3"), M1, input_precision="tf32x3")
    out = M + (bh * tl.num_programs(1) + n) * 1024 + c[:, None] * 32 + c[None, :]
    tl.store(out, M1.to(M.dtype.element_ty))
    tl.store(out + 16, tl.zeros([16, 16], tl.float32).to(M.dtype.element_ty))
    tl.store(out + 512, (-M21).to(M.dtype.element_ty))
    tl.store(out + 528, M2.to(M.dtype.element_ty))


@triton.jit(do_not_specialize=COUNTS)
def forward_kernel(
    Q, K, V, BETA, G, S0, OUT, LAST, M, KEPT, R, scale, T, H, d, e,
    DECAY: tl.constexpr, INITIAL: tl.constexpr, PREPARED: tl.constexpr, SAVE: tl.constexpr,
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
    BETA, G, R = BETA + first, G + first, R + first * e
    chunks = tl.cdiv(T, C)
    M += bh * chunks * C * C
    here = x[:, None] * e + y[None, :]
    state = (x < d)[:, None] & (y < e)[None, :]
    S = tl.zeros([BK, BV], tl.float32)
    if INITIAL:
        S = tl.load(S0 + bh * d * e + here, mask=state, other=0.0).to(tl.float32)
    for n in range(0, chunks):
        t = n * C + c
        q, k = load_tile(Q, t, T, H * d, x, d), load_tile(K, t, T, H * d, x, d)
        beta = tl.load(BETA + t * H, mask=t < T, other=0.0).to(tl.float32)
        g = log2_decay(G, t, T, H, DECAY, C)
        since = decay_since(g, C)
        if PREPARED:
            m = tl.load(M + n * C * C + i * C + j)
        else:
            m = inverse(lower(k, beta, since, C, PREC), C, "tf32x3").to(k.dtype)
            if SAVE:
                tl.store(M + n * C * C + i * C + j, m.to(M.dtype.element_ty))
        begun = tl.exp2(tl.cumsum(g, 0))
        s = S.to(k.dtype)
        o = begun[:, None] * tl.dot(q, s, input_precision=PREC)
        scores = tl.dot(q, tl.trans(k), input_precision=PREC) * tl.exp2(since)
        scores = tl.where(i >= j, scores, 0.0).to(k.dtype)
        v = load_tile(V, t, T, H * e, y, e).to(tl.float32)
        left = beta[:, None] * (v - begun[:, None] * tl.dot(k, s, input_precision=PREC))
        r = tl.dot(m, left.to(k.dtype), input_precision=PREC)
        o += tl.dot(scores, r.to(k.dtype), input_precision=PREC)
        out, inside = t[:, None] * (H * e) + y[None, :], (t < T)[:, None] & (y < e)[None, :]
        tl.store(OUT + out, (scale * o).to(OUT.dtype.element_ty), mask=inside)
        if SAVE:
            at = (bh * chunks + n) * d * e + here
            tl.store(KEPT + at, s.to(KEPT.dtype.element_ty), mask=state)
            tl.store(R + out, r.to(R.dtype.element_ty), mask=inside)
        r = (r * tl.exp2(last_row(since, C))[:, None]).to(k.dtype)
        S = S * tl.exp2(tl.sum(g, 0)) + tl.dot(tl.trans(k), r, input_precision=PREC)
    tl.store(LAST + bh * d * e + here, S, mask=state)


def run_forward(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    beta: Tensor,
    log_decay: Tensor | None,
    S0: Tensor | None,
    scale: float,
    save: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """o, the last state; for the backward pass the state before each chunk, M and R."""
    (B, T, H, d), e = k.shape, v.shape[3]
    plan = plans.plan(d, e, v.dtype)
    C, N = plan.C, blocks(T, plan.C)
    q, k, v, beta, log_decay, S0 = row_major(q.to(v), k.to(v), v, beta, log_decay, S0)
    g = beta if log_decay is None else log_decay
    o, last = torch.empty_like(v), v.new_empty(B, H, d, e, dtype=torch.float32)
    M = v.new_empty(B, H, N, C, C) if plan.prepared or save else v.new_empty(B, 0)
    kept = v.new_empty(B, H, N, d, e) if save else v.new_empty(B, 0)
    R = torch.empty_like(v) if save else v.new_empty(B, 0)
    decay, initial = log_decay is not None, S0 is not None
    start = last if S0 is None else S0
    given = {
        "Q": q, "K": k, "V": v, "BETA": beta, "G": g, "S0": start, "OUT": o, "LAST": last, "M": M,
        "KEPT": kept, "R": R, "scale": scale, "T": T, "H": H, "d": d, "e": e, "DECAY": decay,
        "INITIAL": initial, "PREPARED": plan.prepared, "SAVE": save, "C": C, "BK": plans.width(d),
        "BV": plan.columns, "PREC": plans.precision(v.dtype),
    }  # fmt: skip
    if plan.prepared:
        launch(prepare_kernel, (B * H, N), given, 1, 1)
    launch(forward_kernel, (B * H, blocks(e, plan.columns)), given, plan.warps, 1)
    return o, last, kept, M if save else v.new_empty(B, 0), R
