"""Triton kernels of the delta rule's backward pass, and their launch."""
# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

import triton
import triton.language as tl
from torch import Tensor

from kernels import COUNTS
from kernels._launch import blocks, launch, like
from kernels._tiles import load_rows, store_rows
from kernels.delta import plans
from kernels.delta.chunks import decays, fade, fade_flipped
from kernels.delta.forward import arguments
from kernels.delta.operator import Inputs


@triton.jit(do_not_specialize=COUNTS)
def carry_kernel(
    Q, K, BETA, G, M, DO, DLAST, DS, DR, DS0, scale, T,
    H: tl.constexpr, d: tl.constexpr, e: tl.constexpr, C: tl.constexpr, BK: tl.constexpr,
    BV: tl.constexpr, PREC: tl.constexpr,
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
    BETA += first
    if G is not None:
        G += first
    chunks = tl.cdiv(T, C)
    M += bh * chunks * C * C
    known = None if d % BK == 0 else d
    dS = load_rows(DLAST + bh * d * e, x[:, None], y[None, :], e, known, e, BV).to(tl.float32)
    for back in range(0, chunks):
        n = chunks - 1 - back
        t = n * C + c
        q = load_rows(Q, t[:, None], x[None, :], H * d, T, d, BK)
        k = load_rows(K, t[:, None], x[None, :], H * d, T, d, BK)
        do = load_rows(DO, t[:, None], y[None, :], H * e, T, e, BV)
        beta = tl.load(BETA + t * H, mask=t < T, other=0.0).to(tl.float32)
        near, lost, rest, whole = decays(G, t, T, H, C)
        begun = tl.exp2(near)
        ds = dS.to(k.dtype)
        behind = DS + (bh * chunks + n) * d * e
        store_rows(behind, ds, x[:, None], y[None, :], e, known, e, BV)
        scores = tl.dot(k, tl.trans(q), input_precision=PREC) * fade_flipped(near, lost) * scale
        scores = tl.where(c[:, None] <= c[None, :], scores, 0.0).to(k.dtype)
        dr = tl.dot(scores, do, input_precision=PREC)
        dr += rest[:, None] * tl.dot(k, ds, input_precision=PREC)
        m = tl.load(M + n * C * C + c[None, :] * C + c[:, None])
        dr = tl.dot(m, dr.to(k.dtype), input_precision=PREC)
        store_rows(DR, dr, t[:, None], y[None, :], H * e, T, e, BV)
        dS *= whole
        seen = (do.to(tl.float32) * (begun * scale)[:, None]).to(k.dtype)
        dS += tl.dot(tl.trans(q), seen, input_precision=PREC)
        dx = (dr * (-begun * beta)[:, None]).to(k.dtype)
        dS += tl.dot(tl.trans(k), dx, input_precision=PREC)
    store_rows(DS0 + bh * d * e, dS, x[:, None], y[None, :], e, known, e, BV)


@triton.jit(do_not_specialize=COUNTS)
def gradient_kernel(
    Q, K, V, BETA, G, KEPT, R, DO, DS, DR, DQ, DK, DV, DBETA, DG, scale, T,
    H: tl.constexpr, d: tl.constexpr, e: tl.constexpr, C: tl.constexpr, BK: tl.constexpr,
    BV: tl.constexpr, PREC: tl.constexpr,
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
    BETA, R, DO, DR = BETA + first, R + first * e, DO + first * e, DR + first * e
    if G is not None:
        G += first
    DQ, DK, DV = DQ + first * d, DK + first * d, DV + first * e
    state = (bh * tl.num_programs(1) + n) * d * e
    KEPT, DS = KEPT + state, DS + state
    t = n * C + c
    beta = tl.load(BETA + t * H, mask=t < T, other=0.0).to(tl.float32)
    near, lost, rest, whole = decays(G, t, T, H, C)
    begun = tl.exp2(near)

    dL = tl.zeros([C, C], tl.float32)
    dL_flipped = tl.zeros([C, C], tl.float32)
    dP = tl.zeros([C, C], tl.float32)
    dP_flipped = tl.zeros([C, C], tl.float32)
    dbeta = tl.zeros([C], tl.float32)
    for y0 in range(0, e, BV):
        y = y0 + tl.arange(0, BV)
        do = load_rows(DO, t[:, None], y[None, :], H * e, T, e, BV)
        r = load_rows(R, t[:, None], y[None, :], H * e, T, e, BV)
        dr = load_rows(DR, t[:, None], y[None, :], H * e, T, e, BV)
        v = load_rows(V, t[:, None], y[None, :], H * e, T, e, BV)
        dbeta += tl.sum(dr.to(tl.float32) * v.to(tl.float32), 1)
        dv = beta[:, None] * dr.to(tl.float32)
        store_rows(DV, dv, t[:, None], y[None, :], H * e, T, e, BV)
        dL += tl.dot(dr, tl.trans(r), input_precision=PREC)
        dL_flipped += tl.dot(r, tl.trans(dr), input_precision=PREC)
        dP += tl.dot(do, tl.trans(r), input_precision=PREC)
        dP_flipped += tl.dot(r, tl.trans(do), input_precision=PREC)
    kk = tl.zeros([C, C], tl.float32)
    kq = tl.zeros([C, C], tl.float32)
    for first_x in tl.static_range(0, d, BK):
        x = first_x + tl.arange(0, BK)
        q = load_rows(Q, t[:, None], x[None, :], H * d, T, d, BK)
        k = load_rows(K, t[:, None], x[None, :], H * d, T, d, BK)
        kk += tl.dot(k, tl.trans(k), input_precision=PREC)
        kq += tl.dot(k, tl.trans(q), input_precision=PREC)
    faded, flipped = fade(near, lost), fade_flipped(near, lost)
    # L = beta fade kk: its gradient is -dr r^T below the diagonal.
    dL = tl.where(i > j, dL * faded, 0.0)
    dbeta -= tl.sum(dL * kk, 1)
    dL *= -beta[:, None]
    dP = tl.where(i >= j, dP * faded * scale, 0.0)
    dP_flipped = tl.where(i <= j, dP_flipped * flipped * scale, 0.0)
    moved = dP_flipped * kq - dL * kk
    dg = tl.sum(moved, 0) - tl.sum(moved, 1)
    dL -= tl.where(i < j, dL_flipped * flipped * beta[None, :], 0.0)

    known = None if d % BK == 0 else d
    from_end = tl.zeros([C], tl.float32)
    total = tl.zeros([BK], tl.float32)
    for x0 in range(0, d, BK):
        x = x0 + tl.arange(0, BK)
        held = tl.zeros([C, BK], tl.float32)
        dk = tl.zeros([C, BK], tl.float32)
        dq = tl.zeros([C, BK], tl.float32)
        for y0 in range(0, e, BV):
            y = y0 + tl.arange(0, BV)
            do = load_rows(DO, t[:, None], y[None, :], H * e, T, e, BV)
            r = load_rows(R, t[:, None], y[None, :], H * e, T, e, BV)
            dr = load_rows(DR, t[:, None], y[None, :], H * e, T, e, BV)
            s = load_rows(KEPT, x[:, None], y[None, :], e, known, e, BV)
            ds = load_rows(DS, x[:, None], y[None, :], e, known, e, BV)
            total += tl.sum(s.to(tl.float32) * ds.to(tl.float32), 1)
            held += tl.dot(dr, tl.trans(s), input_precision=PREC)
            dk += tl.dot(r, tl.trans(ds), input_precision=PREC)
            dq += tl.dot(do, tl.trans(s), input_precision=PREC)
        q = load_rows(Q, t[:, None], x[None, :], H * d, T, d, BK)
        k = load_rows(K, t[:, None], x[None, :], H * d, T, d, BK)
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
        store_rows(DQ, dq, t[:, None], x[None, :], H * d, T, d, BK)
        store_rows(DK, dk, t[:, None], x[None, :], H * d, T, d, BK)
    tl.store(DBETA + first + t * H, dbeta.to(DBETA.dtype.element_ty), mask=t < T)
    if G is not None:
        # dg is the gradient of the sums up to each token: log_decay_r is in those from r on.
        dg = tl.cumsum(dg, 0, reverse=True) + tl.sum(from_end, 0) + tl.sum(total, 0) * whole
        tl.store(DG + first + t * H, dg.to(DG.dtype.element_ty), mask=t < T)


def run_backward(
    i: Inputs, kept: Tensor, M: Tensor, R: Tensor, do: Tensor, dlast: Tensor
) -> dict[str, Tensor | None]:
    """Gradients by name."""
    (B, T, H, d), e = i.k.shape, i.v.shape[3]
    plan = plans.plan(d, e, i.v.dtype)
    given = arguments(i)
    kept, M, R, do, dlast = (x.contiguous() for x in (kept, M, R, do, dlast))
    grads = {n: like(given[n]) for n in ("Q", "K", "V", "BETA", "G")}
    dS0 = dlast.new_empty(B, H, d, e)
    given |= {
        "M": M, "KEPT": kept, "R": R, "DO": do, "DLAST": dlast, "DS": like(kept), "DR": like(R),
        "DS0": dS0,
    }  # fmt: skip
    given |= {f"D{n}": x for n, x in grads.items()}
    launch(carry_kernel, (B * H, blocks(e, plan.columns)), given, plan.warps, 1)
    own = given | {"BK": plan.tile, "BV": plan.tile}
    launch(gradient_kernel, (B * H, blocks(T, plan.C)), own, plan.tile // 16, 1)
    dq, dk, dv, dbeta, dg = grads.values()
    return {
        "q": dq.to(i.q.dtype), "k": dk.to(i.k.dtype), "v": dv, "beta": dbeta, "log_decay": dg,
        "S0": None if i.S0 is None else dS0.to(i.S0.dtype),
    }  # fmt: skip
