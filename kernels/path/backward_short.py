"""Triton kernel of PaTH's whole backward pass for short rows."""
# mypy: disable-error-code="no-untyped-def,index"

from __future__ import annotations

import triton
import triton.language as tl

from kernels import COUNTS
from kernels._tiles import (
    LOG2E,
    before_gate,
    load_rows,
    log2_sums,
    store_rows,
    sum_in_place,
    turned_gradient,
)
from kernels.path.chunks import gradient_inside, gradient_reflections, keep, recall, solve_chunk


@triton.jit(do_not_specialize=COUNTS)
def backward_short(
    Q, K, V, W, BETA, GATE, SUMS, Y, LSE, DY, DQ, DK, DV, DW, DBETA, DGATE, DLOG, QS, GS, XS, US,
    AS, scale, T, n_heads,
    H: tl.constexpr, d: tl.constexpr, e: tl.constexpr, D: tl.constexpr, E: tl.constexpr,
    BT: tl.constexpr, C: tl.constexpr, GATE_KIND: tl.constexpr, PREC: tl.constexpr,
):  # fmt: skip
    """Everything for rows of T <= BT tokens with G = H.

    The chunks are prepared and the queries pass them from the end to the start, once; then back,
    the gradient of the queries growing on the way.

    owns    one row and head after the other
    reads   q, k, v, w, beta, dy, y, gate and lse of the row
    writes  every gradient of the row; QS, GS, XS, US, AS, scratch memory that fits the cache
    """
    N: tl.constexpr = BT // C
    pid = tl.program_id(0)
    QS += pid * N * BT * D
    GS += pid * BT * D
    XS += pid * N * C * C
    US += pid * N * C * D
    AS += pid * N * C * C
    r, c = tl.arange(0, BT), tl.arange(0, C)
    cd, ce = tl.arange(0, D), tl.arange(0, E)
    long_T = tl.full([], T, tl.int64)
    for bh in range(pid, n_heads, tl.num_programs(0)):
        b, h = bh // H, bh % H
        token, head = b * long_T, bh * long_T
        row_d, row_e = (token * H + h) * d, (token * H + h) * e
        loaded = load_rows(Q + row_d, r[:, None], cd[None, :], H * d, T, d, D)
        dy = load_rows(DY + row_e, r[:, None], ce[None, :], H * e, T, e, E)
        do, delta = before_gate(dy, GATE, Y, DGATE, token, h, r, ce, T, H, e, E, GATE_KIND)
        lse = tl.load(LSE + head + r, mask=r < T, other=float("inf"))
        sums, origin = None, None
        if SUMS is not None:
            sums = SUMS + head
            origin = tl.load(sums)
        sums_r = log2_sums(sums, r, T, origin)
        count = tl.cdiv(T, C)
        exact = tl.zeros([BT], tl.float32)
        q = loaded.to(tl.float32)
        for t in range(0, count):
            n = count - 1 - t
            s = n * C + c
            k = load_rows(K + row_d, s[:, None], cd[None, :], H * d, T, d, D)
            w = load_rows(W + row_d, s[:, None], cd[None, :], H * d, T, d, D)
            beta = tl.load(BETA + (token + s) * H + h, mask=s < T, other=0.0).to(tl.float32)
            A, X, U = solve_chunk(k, w, beta, C, PREC)
            keep(AS + n * C * C, A, c[:, None], c[None, :], C)
            keep(XS + n * C * C, X, c[:, None], c[None, :], C)
            keep(US + n * C * D, U, c[:, None], cd[None, :], D)
            keep(QS + n * BT * D, q, r[:, None], cd[None, :], D)
            asked = q.to(loaded.dtype)
            ok = r[:, None] >= s[None, :]
            qw = tl.where(ok, -tl.dot(asked, tl.trans(w), input_precision=PREC), 0.0)
            qw = qw.to(loaded.dtype)
            if SUMS is not None:
                # Rows of dS add up to 0 (see kernels/attention/backward.py), so delta is the sum of
                # the same products.
                S = tl.dot(asked, tl.trans(k), input_precision=PREC)
                S += tl.dot(qw, X.to(loaded.dtype), input_precision=PREC)
                sums_s = log2_sums(sums, s, T, origin)
                S = S * (scale * LOG2E) + (sums_r[0][:, None] - sums_s[0][None, :])
                S += sums_r[1][:, None] - sums_s[1][None, :]
                p = tl.exp2(tl.where(ok, S, float("-inf")) - lse[:, None])
                v = load_rows(V + row_e, s[:, None], ce[None, :], H * e, T, e, E)
                exact += tl.sum(p * tl.dot(do, tl.trans(v), input_precision=PREC), 1)
            q += tl.dot(qw, U.to(loaded.dtype), input_precision=PREC)
        if SUMS is not None:
            delta = exact
        do_t = turned_gradient(DY, GATE, token, h, r, ce, T, H, e, E, GATE_KIND)
        g = tl.zeros([BT, D], tl.float32)
        for n in range(0, count):
            keep(GS, g, r[:, None], cd[None, :], D)
            tl.debug_barrier()
            s = n * C + c
            k = load_rows(K + row_d, s[:, None], cd[None, :], H * d, T, d, D)
            v = load_rows(V + row_e, s[:, None], ce[None, :], H * e, T, e, E)
            w = load_rows(W + row_d, s[:, None], cd[None, :], H * d, T, d, D)
            beta = tl.load(BETA + (token + s) * H + h, mask=s < T, other=0.0).to(tl.float32)
            q_n = recall(QS + n * BT * D, r[:, None], cd[None, :], D)
            g_t = recall(GS, r[None, :], cd[:, None], D)
            X = recall(XS + n * C * C, c[:, None], c[None, :], C)
            X_t = recall(XS + n * C * C, c[None, :], c[:, None], C)
            U = recall(US + n * C * D, c[:, None], cd[None, :], D)
            sums_s = log2_sums(sums, s, T, origin)
            ok, ok_t = r[:, None] >= s[None, :], r[None, :] >= s[:, None]
            g, dk, dv, dw, dX, dU, columns = gradient_inside(
                q_n, tl.trans(q_n), k, v, w, X, X_t, U, do, do_t, g, g_t, lse, delta,
                sums_r, sums_s, ok, ok_t, scale, PREC,
            )  # fmt: skip
            store_rows(DV + row_e, dv, s[:, None], ce[None, :], H * e, T, e, E)
            if SUMS is not None:
                tl.store(DLOG + (token + s) * H + h, -columns, mask=s < T)
            A_t = recall(AS + n * C * C, c[None, :], c[:, None], C)
            dk2, dw2, dbeta = gradient_reflections(
                dX, dU, k, w, beta, A_t, X_t, U, AS + n * C * C, c, C, C, C, PREC
            )
            store_rows(DK + row_d, dk + dk2, s[:, None], cd[None, :], H * d, T, d, D)
            store_rows(DW + row_d, dw + dw2, s[:, None], cd[None, :], H * d, T, d, D)
            tl.store(DBETA + (token + s) * H + h, dbeta, mask=s < T)
        store_rows(DQ + row_d, g, r[:, None], cd[None, :], H * d, T, d, D)
        tl.debug_barrier()
        if SUMS is not None:
            sum_in_place(DLOG, token, h, r, T, H)
