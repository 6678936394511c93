"""Triton kernels of the delta rule's backward pass, and their launch."""
# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from kernels import COUNTS
from kernels._launch import blocks, launch, row_major
from kernels.delta import plans
from kernels.delta.chunks import (
    decay_since,
    decay_since_flipped,
    last_row,
    load_tile,
    log2_decay,
)


@triton.jit(do_not_specialize=COUNTS)
def carry_kernel(
    Q, K, BETA, G, M, DO, DLAST, DS, DR, DS0, scale, T, H, d, e,
    DECAY: tl.constexpr, C: tl.constexpr, BK: tl.constexpr, BV: tl.constexpr, PREC: tl.constexpr,
):  # fmt: skip
    """The gradient of the state, chunk by chunk from the last.

    owns    BV columns of one row's and head's dS [BK,BV], in registers
    reads   q, k, beta, log decay and M of the row; its columns of do and of the last state's
            gradient
    writes  its columns of DS (the gradient of the state behind each chunk), of DR (that of beta X,
            where R = M (beta X)) and of dS0
    """
    bh, block = tl.program_id(0).to(tl.int64), tl.program_id(1)
    x, y, c = tl.arange(0, BK), block * BV + tl.arange(0, BV), tl.arange(0, C)
    first = (bh // H) * T * H + bh % H
    Q, K, DO, DR = Q + first * d, K + first * d, DO + first * e, DR + first * e
    BETA, G = BETA + first, G + first
    chunks = tl.cdiv(T, C)
    M += bh * chunks * C * C
    here = x[:, None] * e + y[None, :]
    state = (x < d)[:, None] & (y < e)[None, :]
    dS = tl.load(DLAST + bh * d * e + here, mask=state, other=0.0).to(tl.float32)
    for back in range(0, chunks):
        n = chunks - 1 - back
        t = n * C + c
        q, k = load_tile(Q, t, T, H * d, x, d), load_tile(K, t, T, H * d, x, d)
        do = load_tile(DO, t, T, H * e, y, e)
        beta = tl.load(BETA + t * H, mask=t < T, other=0.0).to(tl.float32)
        g = log2_decay(G, t, T, H, DECAY, C)
        flipped = decay_since_flipped(g, C)
        begun, rest = tl.exp2(tl.cumsum(g, 0)), tl.exp2(last_row(decay_since(g, C), C))
        ds = dS.to(k.dtype)
        at = (bh * chunks + n) * d * e + here
        tl.store(DS + at, ds.to(DS.dtype.element_ty), mask=state)
        scores = tl.dot(k, tl.trans(q), input_precision=PREC) * tl.exp2(flipped) * scale
        scores = tl.where(c[:, None] <= c[None, :], scores, 0.0).to(k.dtype)
        dr = tl.dot(scores, do, input_precision=PREC)
        dr += rest[:, None] * tl.dot(k, ds, input_precision=PREC)
        m = tl.load(M + n * C * C + c[None, :] * C + c[:, None])
        dr = tl.dot(m, dr.to(k.dtype), input_precision=PREC)
        out, inside = t[:, None] * (H * e) + y[None, :], (t < T)[:, None] & (y < e)[None, :]
        tl.store(DR + out, dr.to(DR.dtype.element_ty), mask=inside)
        dS *= tl.exp2(tl.sum(g, 0))
        seen = (do.to(tl.float32) * (begun * scale)[:, None]).to(k.dtype)
        dS += tl.dot(tl.trans(q), seen, input_precision=PREC)
        dx = (dr * (begun * beta)[:, None]).to(k.dtype)
        dS -= tl.dot(tl.trans(k), dx, input_precision=PREC)
    tl.store(DS0 + bh * d * e + here, dS, mask=state)


@triton.jit(do_not_specialize=COUNTS)
def gradient_kernel(
    Q, K, V, BETA, G, KEPT, R, DO, DS, DR, DQ, DK, DV, DBETA, DG, scale, T, H, d, e,
    DECAY: tl.constexpr, C: tl.constexpr, BK: tl.constexpr, BV: tl.constexpr, PREC: tl.constexpr,
):  # fmt: skip
    """Gradients of one chunk's inputs, every chunk at once.

    First what passes between tokens, [i, j] or [j, i]; then BK channels of keys at a time what
    passes through the states. BV columns of values are summed at a time.

    owns    C tokens of one row and head
    reads   q, k, v, beta, log decay, R, do, DR of the chunk; the state before it and DS behind it
    writes  dq, dk, dv, dbeta and dg of the chunk
    """
    bh, n = tl.program_id(0).to(tl.int64), tl.program_id(1)
    c = tl.arange(0, C)
    i, j = c[:, None], c[None, :]
    first = (bh // H) * T * H + bh % H
    Q, K, V = Q + first * d, K + first * d, V + first * e
    BETA, G, R, DO, DR = BETA + first, G + first, R + first * e, DO + first * e, DR + first * e
    DQ, DK, DV = DQ + first * d, DK + first * d, DV + first * e
    state = (bh * tl.num_programs(1) + n) * d * e
    KEPT, DS = KEPT + state, DS + state
    t = n * C + c
    beta = tl.load(BETA + t * H, mask=t < T, other=0.0).to(tl.float32)
    g = log2_decay(G, t, T, H, DECAY, C)
    since = decay_since(g, C)
    begun, rest = tl.exp2(tl.cumsum(g, 0)), tl.exp2(last_row(since, C))

    dL = tl.zeros([C, C], tl.float32)
    dL_flipped = tl.zeros([C, C], tl.float32)
    dP = tl.zeros([C, C], tl.float32)
    dP_flipped = tl.zeros([C, C], tl.float32)
    dbeta = tl.zeros([C], tl.float32)
    for y0 in range(0, e, BV):
        y = y0 + tl.arange(0, BV)
        do, r = load_tile(DO, t, T, H * e, y, e), load_tile(R, t, T, H * e, y, e)
        dr, v = load_tile(DR, t, T, H * e, y, e), load_tile(V, t, T, H * e, y, e)
        dbeta += tl.sum(dr.to(tl.float32) * v.to(tl.float32), 1)
        dv = beta[:, None] * dr.to(tl.float32)
        out, inside = t[:, None] * (H * e) + y[None, :], (t < T)[:, None] & (y < e)[None, :]
        tl.store(DV + out, dv.to(DV.dtype.element_ty), mask=inside)
        dL += tl.dot(dr, tl.trans(r), input_precision=PREC)
        dL_flipped += tl.dot(r, tl.trans(dr), input_precision=PREC)
        dP += tl.dot(do, tl.trans(r), input_precision=PREC)
        dP_flipped += tl.dot(r, tl.trans(do), input_precision=PREC)
    kk = tl.zeros([C, C], tl.float32)
    kq = tl.zeros([C, C], tl.float32)
    for x0 in range(0, d, BK):
        x = x0 + tl.arange(0, BK)
        q, k = load_tile(Q, t, T, H * d, x, d), load_tile(K, t, T, H * d, x, d)
        kk += tl.dot(k, tl.trans(k), input_precision=PREC)
        kq += tl.dot(k, tl.trans(q), input_precision=PREC)
    fade, flipped = tl.exp2(since), tl.exp2(decay_since_flipped(g, C))
    # L = beta fade kk: its gradient is -dr r^T below the diagonal.
    dL = tl.where(i > j, dL * fade, 0.0)
    dbeta -= tl.sum(dL * kk, 1)
    dL *= -beta[:, None]
    moved = dL * kk
    dg = tl.sum(moved, 1) - tl.sum(moved, 0)
    dL -= tl.where(i < j, dL_flipped * flipped * beta[None, :], 0.0)
    dP = tl.where(i >= j, dP * fade * scale, 0.0)
    dP_flipped = tl.where(i <= j, dP_flipped * flipped * scale, 0.0)
    moved = dP_flipped * kq
    dg += tl.sum(moved, 0) - tl.sum(moved, 1)

    from_end = tl.zeros([C], tl.float32)
    total = tl.zeros([BK], tl.float32)
    for x0 in range(0, d, BK):
        x = x0 + tl.arange(0, BK)
        held = tl.zeros([C, BK], tl.float32)
        dk = tl.zeros([C, BK], tl.float32)
        dq = tl.zeros([C, BK], tl.float32)
        for y0 in range(0, e, BV):
            y = y0 + tl.arange(0, BV)
            do, r = (
                load_tile(DO, t, T, H * e, y, e),
                load_tile(R, t, T, H * e, y, e),
            )
            dr = load_tile(DR, t, T, H * e, y, e)
            s, ds = load_tile(KEPT, x, d, e, y, e), load_tile(DS, x, d, e, y, e)
            total += tl.sum(s.to(tl.float32) * ds.to(tl.float32), 1)
            held += tl.dot(dr, tl.trans(s), input_precision=PREC)
            dk += tl.dot(r, tl.trans(ds), input_precision=PREC)
            dq += tl.dot(do, tl.trans(s), input_precision=PREC)
        q, k = load_tile(Q, t, T, H * d, x, d), load_tile(K, t, T, H * d, x, d)
        held *= begun[:, None]
        dk *= rest[:, None]
        dq *= (begun * scale)[:, None]
        seen = tl.sum(k.to(tl.float32) * held, 1)
        left = tl.sum(k.to(tl.float32) * dk, 1)
        dbeta -= seen
        from_end += left
        dg += tl.sum(q.to(tl.float32) * dq, 1) - beta * seen - left
        dk -= beta[:, None] * held
        dk += tl.dot(dL.to(k.dtype), k, input_precision=PREC)
        dk += tl.dot(dP_flipped.to(k.dtype), q, input_precision=PREC)
        dq += tl.dot(dP.to(k.dtype), k, input_precision=PREC)
        out, inside = t[:, None] * (H * d) + x[None, :], (t < T)[:, None] & (x < d)[None, :]
        tl.store(DQ + out, dq.to(DQ.dtype.element_ty), mask=inside)
        tl.store(DK + out, dk.to(DK.dtype.element_ty), mask=inside)
    tl.store(DBETA + first + t * H, dbeta.to(DBETA.dtype.element_ty), mask=t < T)
    if DECAY:
        # dg is the gradient of the sums up to each token: log_decay_r is in those from r on.
        dg = tl.sum(tl.where(i >= j, dg[:, None], 0.0), 0)
        dg += tl.sum(from_end, 0) + tl.sum(total, 0) * tl.exp2(tl.sum(g, 0))
        tl.store(DG + first + t * H, dg.to(DG.dtype.element_ty), mask=t < T)


def run_backward(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    beta: Tensor,
    log_decay: Tensor | None,
    S0: Tensor | None,
    kept: Tensor,
    M: Tensor,
    R: Tensor,
    do: Tensor,
    dlast: Tensor,
    scale: float,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """The gradient of each input (empty where there is no input)."""
    (B, T, H, d), e = k.shape, v.shape[3]
    plan = plans.plan(d, e, v.dtype)
    C, N = plan.C, blocks(T, plan.C)
    q_, k_, v, beta, log_decay = row_major(q.to(v), k.to(v), v, beta, log_decay)
    kept, M, R, do, dlast = row_major(kept, M, R, do, dlast)
    g = beta if log_decay is None else log_decay
    dS, dR, dS0 = torch.empty_like(kept), torch.empty_like(R), dlast.new_empty(B, H, d, e)
    dq, dk, dv, dbeta = (torch.empty_like(x) for x in (q_, k_, v, beta))
    dg = beta.new_empty(B, 0) if log_decay is None else torch.empty_like(g)
    given = {
        "Q": q_, "K": k_, "V": v, "BETA": beta, "G": g, "M": M, "KEPT": kept, "R": R, "DO": do,
        "DLAST": dlast, "DS": dS, "DR": dR, "DS0": dS0, "DQ": dq, "DK": dk, "DV": dv,
        "DBETA": dbeta, "DG": dg, "scale": scale, "T": T, "H": H, "d": d, "e": e,
        "DECAY": log_decay is not None, "C": C, "PREC": plans.precision(v.dtype),
    }  # fmt: skip
    own = given | {"BK": plans.width(d), "BV": plan.columns}
    launch(carry_kernel, (B * H, blocks(e, plan.columns)), own, plan.warps, 1)
    own = given | {"BK": plan.tile, "BV": plan.tile}
    launch(gradient_kernel, (B * H, N), own, plan.tile // 16, 1)
    dS0 = dS0[:, :0, 0, 0].clone() if S0 is None else dS0.to(S0.dtype)
    return dq.to(q.dtype), dk.to(k.dtype), dv, dbeta, dg, dS0
