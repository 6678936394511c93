"""Triton kernels of kernels/path.py.

Letters of that file: in a chunk of C tokens X = A stril(diag(beta) W K^T), U = A diag(beta) W,
K^ = K - X^T W, and here Z = P - I = -W^T U, so that a query that passes a chunk changes by what is
small: Q <- Q + Q Z, kept in float32.

`prepare` makes X, U, K^, Z once per chunk and head of keys. `forward` owns BT queries and walks the
chunks from their end to the first. Chunks inside the tile take the masked form
    QW = tril(Q W^T)     S = Q K^T - QW X     Q <- Q - QW U
which also holds for chunks further left, where K^ and Z take over. FUSED makes X and U on the spot
and keeps to the masked form: one launch, for short rows.

The inverse A joins blocks of 1, 2, 4, ... rows: two products a level, as stable as substitution.
"""
# mypy: disable-error-code="no-untyped-def,index"

from __future__ import annotations

from typing import Any, NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor

from kernels import COUNTS
from kernels._attention_triton import (
    LOG2E,
    _before_gate,
    _load,
    _near,
    _place,
    _rounded,
    _store,
    _summed_to_the_end,
    tiles,
)


@triton.jit
def _join(A, L, size: tl.constexpr, C: tl.constexpr, PREC: tl.constexpr):
    """From inverses of the diagonal blocks of `size` rows to those of twice the size."""
    c = tl.arange(0, C)
    i, j = c[:, None] // size, c[None, :] // size
    pair = (i // 2 == j // 2) & (i > j)
    half = tl.dot(A, tl.where(pair, L, 0.0), input_precision=PREC)
    return A - tl.dot(half, A, input_precision=PREC)


@triton.jit
def _inverse(L, C: tl.constexpr, PREC: tl.constexpr):
    """(I + L)^-1 of strictly lower L [C,C], float32."""
    c = tl.arange(0, C)
    i, j = c[:, None], c[None, :]
    A = tl.where(i == j, 1.0, 0.0) - tl.where((i == j + 1) & (i % 2 == 1), L, 0.0)
    for level in tl.static_range(1, 7):
        if (1 << level) < C:
            A = _join(A, L, 1 << level, C, PREC)
    return A


@triton.jit
def _chunk(k, w, beta, C: tl.constexpr, PREC: tl.constexpr):
    """A, X and U [C,*] of one chunk, float32; k, w as loaded."""
    c = tl.arange(0, C)
    low = c[:, None] > c[None, :]
    overlap = tl.dot(w, tl.trans(w), input_precision=PREC)
    A = _inverse(tl.where(low, overlap * beta[:, None], 0.0), C, PREC)
    scaled = A * beta[None, :]
    U = tl.dot(scaled, w.to(tl.float32), input_precision=PREC)
    overlap = tl.dot(w, tl.trans(k), input_precision=PREC)
    X = tl.dot(scaled, tl.where(low, overlap, 0.0), input_precision=PREC)
    return A, X, U


@triton.jit(do_not_specialize=COUNTS)
def prepare(
    K,
    W,
    BETA,
    TILES,
    XS,
    US,
    KH,
    ZS,
    AS,
    T,
    n_tiles,
    G: tl.constexpr,
    d: tl.constexpr,
    D: tl.constexpr,
    C: tl.constexpr,
    PACKED: tl.constexpr,
    UPCAST: tl.constexpr,
    PREC: tl.constexpr,
):
    """X [B,T,G,C], U, K^ [B,T,G,d], Z [B,chunks,G,D,D], and A [B,T,G,C] if asked."""
    slot = tl.program_id(0) % n_tiles
    b, g, start, length, s0 = _place(TILES, T, n_tiles, G, C, PACKED)
    if s0 >= length:
        return
    token = b * T + start
    c, cd = tl.arange(0, C), tl.arange(0, D)
    s = s0 + c
    row = (token * G + g) * d
    k = _load(K + row, s[:, None], cd[None, :], G * d, length, d, D, UPCAST)
    w = _load(W + row, s[:, None], cd[None, :], G * d, length, d, D, UPCAST)
    beta = tl.load(BETA + (token + s) * G + g, mask=s < length, other=0.0).to(tl.float32)
    A, X, U = _chunk(k, w, beta, C, PREC)
    square = (token * G + g) * C
    _store(XS + square, X, s[:, None], c[None, :], G * C, length, C, C, UPCAST)
    _store(US + row, U, s[:, None], cd[None, :], G * d, length, d, D, UPCAST)
    if AS is not None:
        _store(AS + square, A, s[:, None], c[None, :], G * C, length, C, C, False)
    z = -tl.dot(tl.trans(w).to(tl.float32), U, input_precision=PREC)
    z_at = ZS + ((b * n_tiles + slot) * G + g) * D * D
    _store(z_at, z, cd[:, None], cd[None, :], D, D, D, D, UPCAST)
    # X comes back transposed through memory: no computed tile is ever transposed.
    tl.debug_barrier()
    x_t = _load(XS + square, s[None, :], c[:, None], G * C, length, C, C, True)
    kh = k.to(tl.float32) - tl.dot(x_t, w.to(tl.float32), input_precision=PREC)
    _store(KH + row, kh, s[:, None], cd[None, :], G * d, length, d, D, UPCAST)


@triton.jit(do_not_specialize=COUNTS)
def forward(
    Q,
    K,
    V,
    W,
    BETA,
    GATE,
    SUMS,
    TILES,
    XS,
    US,
    KH,
    ZS,
    Y,
    LSE,
    scale,
    T,
    n_tiles,
    n_chunks,
    H: tl.constexpr,
    G: tl.constexpr,
    d: tl.constexpr,
    e: tl.constexpr,
    D: tl.constexpr,
    E: tl.constexpr,
    BT: tl.constexpr,
    C: tl.constexpr,
    GATE_KIND: tl.constexpr,
    HAS_FORGET: tl.constexpr,
    PACKED: tl.constexpr,
    FUSED: tl.constexpr,
    UPCAST: tl.constexpr,
    PREC: tl.constexpr,
):
    b, h, start, length, r0 = _place(TILES, T, n_tiles, H, BT, PACKED)
    if r0 >= length:
        return
    g = h // (H // G)
    token = b * T + start
    slot = b * n_chunks
    if PACKED:
        slot += tl.load(TILES + 4 * (tl.program_id(0) % n_tiles) + 3)
    r, c = r0 + tl.arange(0, BT), tl.arange(0, C)
    cd, ce = tl.arange(0, D), tl.arange(0, E)
    row_d, row_e = (token * G + g) * d, (token * G + g) * e
    loaded = _load(Q + (token * H + h) * d, r[:, None], cd[None, :], H * d, length, d, D, UPCAST)
    q = loaded.to(tl.float32)
    near_r, origin = 0.0, 0.0
    if HAS_FORGET:
        SUMS += token * H + h
        origin = tl.load(SUMS + r0 * H)
        near_r = _near(SUMS, r, H, length, origin)[:, None]
    scale2 = scale * LOG2E
    acc = tl.zeros([BT, E], tl.float32)
    m = tl.full([BT], -1e30, tl.float32)
    total = tl.zeros([BT], tl.float32)
    own = r0 // C
    for part in tl.static_range(2):
        count = tl.cdiv(tl.minimum(r0 + BT, length), C) - own if part == 0 else own
        for t in range(0, count):
            n = own + count - 1 - t if part == 0 else own - 1 - t
            s = n * C + c
            asked = q.to(loaded.dtype)
            if part == 0 or FUSED:
                k = _load(K + row_d, s[:, None], cd[None, :], G * d, length, d, D, UPCAST)
                w = _load(W + row_d, s[:, None], cd[None, :], G * d, length, d, D, UPCAST)
                if FUSED:
                    beta = tl.load(BETA + (token + s) * G + g, mask=s < length, other=0.0)
                    _, X, U = _chunk(k, w, beta.to(tl.float32), C, PREC)
                    X, U = X.to(loaded.dtype), U.to(loaded.dtype)
                else:
                    square = (token * G + g) * C
                    X = _load(XS + square, s[:, None], c[None, :], G * C, length, C, C, UPCAST)
                    U = _load(US + row_d, s[:, None], cd[None, :], G * d, length, d, D, UPCAST)
                qw = tl.dot(asked, tl.trans(w), input_precision=PREC)
                if part == 0:
                    qw = tl.where(r[:, None] >= s[None, :], qw, 0.0)
                qw = qw.to(loaded.dtype)
                S = tl.dot(asked, tl.trans(k), input_precision=PREC)
                S -= tl.dot(qw, X, input_precision=PREC)
                q -= tl.dot(qw, U, input_precision=PREC)
            else:
                kh = _load(KH + row_d, s[:, None], cd[None, :], G * d, length, d, D, UPCAST)
                z_at = ZS + ((slot + n) * G + g) * D * D
                z = _load(z_at, cd[:, None], cd[None, :], D, D, D, D, UPCAST)
                S = tl.dot(asked, tl.trans(kh), input_precision=PREC)
                q += tl.dot(asked, z, input_precision=PREC)
            S *= scale2
            if HAS_FORGET:
                S += near_r - _near(SUMS, s, H, length, origin)[None, :]
            if part == 0:
                S = tl.where((r[:, None] >= s[None, :]) & (s[None, :] < length), S, float("-inf"))
            top = tl.maximum(m, tl.max(S, 1))
            p = tl.exp2(S - top[:, None])
            shrink = tl.exp2(m - top)
            total = total * shrink + tl.sum(p, 1)
            v = _load(V + row_e, s[:, None], ce[None, :], G * e, length, e, E, UPCAST)
            acc = acc * shrink[:, None]
            acc += tl.dot(p.to(v.dtype), v, input_precision=PREC)
            m = top
    acc = acc / total[:, None]
    if GATE_KIND == 1:
        logit = tl.load(GATE + (token + r) * H + h, mask=r < length, other=0.0)
        acc = acc * tl.sigmoid(logit.to(tl.float32))[:, None]
    gate_at = (token * H + h) * e
    if GATE_KIND == 2:
        logit = _load(GATE + gate_at, r[:, None], ce[None, :], H * e, length, e, E, False)
        acc = acc * tl.sigmoid(logit.to(tl.float32))
    _store(Y + gate_at, acc, r[:, None], ce[None, :], H * e, length, e, E, UPCAST)
    tl.store(LSE + (token + r) * H + h, m + tl.log2(total), mask=r < length)


@triton.jit
def _keep(P, x, rows, cols, stride, UPCAST: tl.constexpr):
    """To scratch memory of the program's own; a barrier must follow before it is read."""
    if UPCAST:
        x = _rounded(x)
    tl.store(P + rows * stride + cols, x.to(P.dtype.element_ty))


@triton.jit
def _recall(P, rows, cols, stride, UPCAST: tl.constexpr):
    x = tl.load(P + rows * stride + cols)
    if UPCAST:
        x = x.to(tl.float32)
    return x


@triton.jit
def _inside(
    q,
    q_t,
    k,
    v,
    w,
    X,
    X_t,
    U,
    do,
    do_t,
    g,
    g_t,
    lse,
    delta,
    near_r,
    near_s,
    ok,
    ok_t,
    scale,
    HAS_FORGET: tl.constexpr,
    PREC: tl.constexpr,
):
    """Backward of one chunk in the masked form, for queries q that enter it.

    g: gradient of the queries that leave it. Returns the gradient of those that enter, and of k, v,
    w, X, U as this step uses them, and the column sums of dS. Whatever multiplies transposed comes
    transposed from memory or is made again: computed tiles are never transposed.
    """
    dtype = q.dtype
    scale2 = scale * LOG2E
    qw = tl.where(ok, tl.dot(q, tl.trans(w), input_precision=PREC), 0.0).to(dtype)
    S = tl.dot(q, tl.trans(k), input_precision=PREC) - tl.dot(qw, X, input_precision=PREC)
    S *= scale2
    if HAS_FORGET:
        S += near_r[:, None] - near_s[None, :]
    p = tl.exp2(tl.where(ok, S, float("-inf")) - lse[:, None])
    ds = p * (tl.dot(do, tl.trans(v), input_precision=PREC) - delta[:, None])
    ds = (ds * scale).to(dtype)
    g_low = g.to(dtype)
    dqw = tl.dot(ds, tl.trans(X), input_precision=PREC)
    dqw += tl.dot(g_low, tl.trans(U), input_precision=PREC)
    dqw = tl.where(ok, -dqw, 0.0).to(dtype)
    g += tl.dot(ds, k, input_precision=PREC) + tl.dot(dqw, w, input_precision=PREC)
    qw_t = tl.where(ok_t, tl.dot(w, q_t, input_precision=PREC), 0.0).to(dtype)
    dX = -tl.dot(qw_t, ds, input_precision=PREC)
    dU = -tl.dot(qw_t, g_low, input_precision=PREC)
    S = tl.dot(k, q_t, input_precision=PREC) - tl.dot(X_t, qw_t, input_precision=PREC)
    S *= scale2
    if HAS_FORGET:
        S += near_r[None, :] - near_s[:, None]
    p = tl.exp2(tl.where(ok_t, S, float("-inf")) - lse[None, :])
    dv = tl.dot(p.to(do.dtype), do, input_precision=PREC)
    ds = p * (tl.dot(v, do_t, input_precision=PREC) - delta[None, :])
    columns = tl.sum(ds, 1)
    ds = (ds * scale).to(dtype)
    dk = tl.dot(ds, q, input_precision=PREC)
    dqw = tl.dot(X, ds, input_precision=PREC) + tl.dot(U, g_t, input_precision=PREC)
    dqw = tl.where(ok_t, -dqw, 0.0).to(dtype)
    dw = tl.dot(dqw, q, input_precision=PREC)
    return g, dk, dv, dw, dX, dU, columns


@triton.jit
def _reflections(
    dX,
    dU,
    k,
    w,
    beta,
    A_t,
    X_t,
    U,
    AS,
    s,
    stride,
    limit,
    C: tl.constexpr,
    PREC: tl.constexpr,
):
    """What X and U say of k, w and beta: dk, dw, dbeta. A_t: the inverse, transposed.

    dN = A^T dX and dM = A^T dU belong to stril(diag(beta) W K^T) and diag(beta) W, and
    dL = -stril(dN X^T + dM U^T) to L. Rows s below `limit` of AS, where the inverse was, serve to
    turn dL and dN round.
    """
    c = tl.arange(0, C)
    k, w, U = k.to(tl.float32), w.to(tl.float32), U.to(tl.float32)
    low = c[:, None] > c[None, :]
    dN = tl.dot(A_t, dX, input_precision=PREC)
    dM = tl.dot(A_t, dU, input_precision=PREC)
    dL = tl.dot(dN, X_t.to(tl.float32), input_precision=PREC)
    dL += tl.dot(dM, tl.trans(U), input_precision=PREC)
    dL = tl.where(low, -dL, 0.0)
    dN = tl.where(low, dN, 0.0)
    dbeta = tl.sum(dL * tl.dot(w, tl.trans(w), input_precision=PREC), 1)
    dbeta += tl.sum(dN * tl.dot(w, tl.trans(k), input_precision=PREC), 1)
    dbeta += tl.sum(dM * w, 1)
    dw = dM + tl.dot(dL, w, input_precision=PREC) + tl.dot(dN, k, input_precision=PREC)
    dw *= beta[:, None]
    tl.debug_barrier()
    _store(AS, dL * beta[:, None], s[:, None], c[None, :], stride, limit, C, C, False)
    tl.debug_barrier()
    dL = _load(AS, s[None, :], c[:, None], stride, limit, C, C, False)
    dw += tl.dot(dL, w, input_precision=PREC)
    tl.debug_barrier()
    _store(AS, dN * beta[:, None], s[:, None], c[None, :], stride, limit, C, C, False)
    tl.debug_barrier()
    dN = _load(AS, s[None, :], c[:, None], stride, limit, C, C, False)
    dk = tl.dot(dN, w, input_precision=PREC)
    return dk, dw, dbeta


@triton.jit(do_not_specialize=COUNTS)
def backward_short(
    Q,
    K,
    V,
    W,
    BETA,
    GATE,
    SUMS,
    Y,
    LSE,
    DY,
    DQ,
    DK,
    DV,
    DW,
    DBETA,
    DGATE,
    DLOG,
    QS,
    GS,
    XS,
    US,
    AS,
    scale,
    T,
    n_heads,
    H: tl.constexpr,
    d: tl.constexpr,
    e: tl.constexpr,
    D: tl.constexpr,
    E: tl.constexpr,
    BT: tl.constexpr,
    C: tl.constexpr,
    GATE_KIND: tl.constexpr,
    HAS_FORGET: tl.constexpr,
    UPCAST: tl.constexpr,
    PREC: tl.constexpr,
):
    """Everything for rows of T <= BT tokens with G = H, one row and head after the other.

    The chunks are prepared and the queries pass them from the end to the start, once; then back,
    the gradient of the queries growing on the way. What has to be kept in between lies in scratch
    memory of the program, small enough for the cache.
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
        token = b * long_T
        row_d, row_e = (token * H + h) * d, (token * H + h) * e
        loaded = _load(Q + row_d, r[:, None], cd[None, :], H * d, T, d, D, UPCAST)
        dy = _load(DY + row_e, r[:, None], ce[None, :], H * e, T, e, E, UPCAST)
        do, delta = _before_gate(
            dy, GATE, Y, DGATE, token, h, row_e, r, ce, T, H, e, E, GATE_KIND, UPCAST
        )
        lse = tl.load(LSE + (token + r) * H + h, mask=r < T, other=float("inf"))
        near_r, sums, origin = 0.0, SUMS, 0.0
        if HAS_FORGET:
            sums = SUMS + token * H + h
            origin = tl.load(sums)
            near_r = _near(sums, r, H, T, origin)
        count = tl.cdiv(T, C)
        exact = tl.zeros([BT], tl.float32)
        q = loaded.to(tl.float32)
        for t in range(0, count):
            n = count - 1 - t
            s = n * C + c
            k = _load(K + row_d, s[:, None], cd[None, :], H * d, T, d, D, UPCAST)
            w = _load(W + row_d, s[:, None], cd[None, :], H * d, T, d, D, UPCAST)
            beta = tl.load(BETA + (token + s) * H + h, mask=s < T, other=0.0).to(tl.float32)
            A, X, U = _chunk(k, w, beta, C, PREC)
            _keep(AS + n * C * C, A, c[:, None], c[None, :], C, False)
            _keep(XS + n * C * C, X, c[:, None], c[None, :], C, UPCAST)
            _keep(US + n * C * D, U, c[:, None], cd[None, :], D, UPCAST)
            _keep(QS + n * BT * D, q, r[:, None], cd[None, :], D, UPCAST)
            asked = q.to(loaded.dtype)
            ok = (r[:, None] >= s[None, :]) & (s[None, :] < T)
            qw = tl.where(ok, tl.dot(asked, tl.trans(w), input_precision=PREC), 0.0)
            qw = qw.to(loaded.dtype)
            if HAS_FORGET:
                # Rows of dS must add up to 0; see kernels/_attention_triton.py. Here delta is made
                # of the products themselves.
                S = tl.dot(asked, tl.trans(k), input_precision=PREC)
                S -= tl.dot(qw, X.to(loaded.dtype), input_precision=PREC)
                near_s = _near(sums, s, H, T, origin)
                S = S * (scale * LOG2E) + near_r[:, None] - near_s[None, :]
                p = tl.exp2(tl.where(ok, S, float("-inf")) - lse[:, None])
                v = _load(V + row_e, s[:, None], ce[None, :], H * e, T, e, E, UPCAST)
                exact += tl.sum(p * tl.dot(do, tl.trans(v), input_precision=PREC), 1)
            q -= tl.dot(qw, U.to(loaded.dtype), input_precision=PREC)
        if HAS_FORGET:
            delta = exact
        do_t = _load(DY + row_e, r[None, :], ce[:, None], H * e, T, e, E, UPCAST)
        if GATE_KIND == 1:
            logit = tl.load(GATE + (token + r) * H + h, mask=r < T, other=0.0)
            share = tl.sigmoid(logit.to(tl.float32))[None, :]
            do_t = (do_t.to(tl.float32) * share).to(dy.dtype)
        if GATE_KIND == 2:
            logit = _load(GATE + row_e, r[None, :], ce[:, None], H * e, T, e, E, False)
            do_t = (do_t.to(tl.float32) * tl.sigmoid(logit.to(tl.float32))).to(dy.dtype)
        if UPCAST:
            do_t = _rounded(do_t)
        g = tl.zeros([BT, D], tl.float32)
        for n in range(0, count):
            _keep(GS, g, r[:, None], cd[None, :], D, UPCAST)
            tl.debug_barrier()
            s = n * C + c
            k = _load(K + row_d, s[:, None], cd[None, :], H * d, T, d, D, UPCAST)
            v = _load(V + row_e, s[:, None], ce[None, :], H * e, T, e, E, UPCAST)
            w = _load(W + row_d, s[:, None], cd[None, :], H * d, T, d, D, UPCAST)
            beta = tl.load(BETA + (token + s) * H + h, mask=s < T, other=0.0).to(tl.float32)
            q_n = _recall(QS + n * BT * D, r[:, None], cd[None, :], D, UPCAST)
            g_t = _recall(GS, r[None, :], cd[:, None], D, UPCAST)
            X = _recall(XS + n * C * C, c[:, None], c[None, :], C, UPCAST)
            X_t = _recall(XS + n * C * C, c[None, :], c[:, None], C, UPCAST)
            U = _recall(US + n * C * D, c[:, None], cd[None, :], D, UPCAST)
            near_s = 0.0
            if HAS_FORGET:
                near_s = _near(sums, s, H, T, origin)
            ok = (r[:, None] >= s[None, :]) & (s[None, :] < T)
            ok_t = (r[None, :] >= s[:, None]) & (s[:, None] < T)
            g, dk, dv, dw, dX, dU, columns = _inside(
                q_n, tl.trans(q_n), k, v, w, X, X_t, U, do, do_t, g, g_t, lse, delta,
                near_r, near_s, ok, ok_t, scale, HAS_FORGET, PREC,
            )  # fmt: skip
            _store(DV + row_e, dv, s[:, None], ce[None, :], H * e, T, e, E, UPCAST)
            if HAS_FORGET:
                tl.store(DLOG + (token + s) * H + h, -columns, mask=s < T)
            A_t = _recall(AS + n * C * C, c[None, :], c[:, None], C, False)
            dk2, dw2, dbeta = _reflections(
                dX, dU, k, w, beta, A_t, X_t, U, AS + n * C * C, c, C, C, C, PREC
            )
            _store(DK + row_d, dk + dk2, s[:, None], cd[None, :], H * d, T, d, D, UPCAST)
            _store(DW + row_d, dw + dw2, s[:, None], cd[None, :], H * d, T, d, D, UPCAST)
            tl.store(DBETA + (token + s) * H + h, dbeta, mask=s < T)
        _store(DQ + row_d, g, r[:, None], cd[None, :], H * d, T, d, D, UPCAST)
        tl.debug_barrier()
        if HAS_FORGET:
            own = tl.load(DLOG + (token + r) * H + h, mask=r < T, other=0.0)
            dlog = tl.cumsum(own, 0, reverse=True)
            tl.debug_barrier()
            tl.store(DLOG + (token + r) * H + h, dlog, mask=r < T)


@triton.jit(do_not_specialize=COUNTS)
def backward_sweep(
    Q,
    K,
    V,
    W,
    GATE,
    SUMS,
    TILES,
    XS,
    US,
    KH,
    ZS,
    Y,
    LSE,
    DY,
    DO,
    DELTA,
    DGATE,
    DQH,
    DKH,
    DVH,
    DZ,
    DCOLS,
    QS,
    scale,
    T,
    n_tiles,
    n_chunks,
    n_rows,
    H: tl.constexpr,
    G: tl.constexpr,
    d: tl.constexpr,
    e: tl.constexpr,
    D: tl.constexpr,
    E: tl.constexpr,
    BT: tl.constexpr,
    C: tl.constexpr,
    SHARES: tl.constexpr,
    GATE_KIND: tl.constexpr,
    HAS_FORGET: tl.constexpr,
    PACKED: tl.constexpr,
    UPCAST: tl.constexpr,
    PREC: tl.constexpr,
):
    """The chunks left of the queries' own: one row, head of keys and share of the tiles a program.

    A tile's queries leave their own chunks, then pass the others from right to left and are kept in
    scratch memory (as long as a row, whatever the number of rows); on the way back the gradient of
    the queries grows, and those of K^, V, Z are added to sums of the program's own. DQH is the
    gradient of queries that have left their own chunk.
    """
    pid = tl.program_id(0)
    share, bg = pid % SHARES, pid // SHARES
    b, g_head = (bg // G).to(tl.int64), bg % G
    QS += pid.to(tl.int64) * n_chunks * BT * D
    own_rows = (share * n_rows + b) * T
    own_chunks = (share * n_rows + b) * n_chunks
    c, cd, ce = tl.arange(0, C), tl.arange(0, D), tl.arange(0, E)
    for h in range(g_head * (H // G), (g_head + 1) * (H // G)):
        for tile in range(share, n_tiles, SHARES):
            start, length, r0, slot = 0, T, tile * BT, 0
            if PACKED:
                start = tl.load(TILES + 4 * tile)
                length = tl.load(TILES + 4 * tile + 1)
                r0 = tl.load(TILES + 4 * tile + 2) * BT
                slot = tl.load(TILES + 4 * tile + 3)
            token = b * T + start
            r = r0 + tl.arange(0, BT)
            row_d, row_e = (token * G + g_head) * d, (token * G + g_head) * e
            own_d = ((own_rows + start) * G + g_head) * d
            own_e = ((own_rows + start) * G + g_head) * e
            at_d, at_e = (token * H + h) * d, (token * H + h) * e
            loaded = _load(Q + at_d, r[:, None], cd[None, :], H * d, length, d, D, UPCAST)
            do = _load(DY + at_e, r[:, None], ce[None, :], H * e, length, e, E, UPCAST)
            do, delta = _before_gate(
                do, GATE, Y, DGATE, token, h, at_e, r, ce, length, H, e, E, GATE_KIND, UPCAST
            )
            if GATE_KIND > 0:
                _store(DO + at_e, do, r[:, None], ce[None, :], H * e, length, e, E, UPCAST)
                tl.debug_barrier()
            lse = tl.load(LSE + (token + r) * H + h, mask=r < length, other=float("inf"))
            near_r, sums, origin = 0.0, SUMS, 0.0
            if HAS_FORGET:
                sums = SUMS + token * H + h
                origin = tl.load(sums + r0 * H, mask=r0 < length, other=0.0)
                near_r = _near(sums, r, H, length, origin)
            q = loaded.to(tl.float32)
            exact = tl.zeros([BT], tl.float32)
            first, last = r0 // C, tl.cdiv(tl.minimum(r0 + BT, length), C) - 1
            for part in tl.static_range(2):
                count = last + 1 - first if part == 0 else last
                for t in range(0, count):
                    n = last - t if part == 0 else last - 1 - t
                    s = n * C + c
                    if part == 0:
                        k = _load(K + row_d, s[:, None], cd[None, :], G * d, length, d, D, UPCAST)
                        w = _load(W + row_d, s[:, None], cd[None, :], G * d, length, d, D, UPCAST)
                        U = _load(US + row_d, s[:, None], cd[None, :], G * d, length, d, D, UPCAST)
                        ok = (r[:, None] >= s[None, :]) & (r[:, None] // C == n)
                        asked = q.to(loaded.dtype)
                        qw = tl.where(ok, tl.dot(asked, tl.trans(w), input_precision=PREC), 0.0)
                        qw = qw.to(loaded.dtype)
                        q -= tl.dot(qw, U, input_precision=PREC)
                    else:
                        k = _load(KH + row_d, s[:, None], cd[None, :], G * d, length, d, D, UPCAST)
                        z_at = ZS + ((b * n_chunks + slot + n) * G + g_head) * D * D
                        z = _load(z_at, cd[:, None], cd[None, :], D, D, D, D, UPCAST)
                        ok = (r[:, None] // C > n) & (s[None, :] < length)
                        asked = tl.where(r[:, None] // C > n, q, 0.0).to(loaded.dtype)
                        _keep(QS + n * BT * D, asked, r[:, None] - r0, cd[None, :], D, UPCAST)
                        q += tl.dot(asked, z, input_precision=PREC)
                    if HAS_FORGET:
                        S = tl.dot(asked, tl.trans(k), input_precision=PREC)
                        if part == 0:
                            X = _load(
                                XS + (token * G + g_head) * C, s[:, None], c[None, :], G * C,
                                length, C, C, UPCAST,
                            )  # fmt: skip
                            S -= tl.dot(qw, X, input_precision=PREC)
                        near_s = _near(sums, s, H, length, origin)
                        S = S * (scale * LOG2E) + near_r[:, None] - near_s[None, :]
                        p = tl.exp2(tl.where(ok, S, float("-inf")) - lse[:, None])
                        v = _load(V + row_e, s[:, None], ce[None, :], G * e, length, e, E, UPCAST)
                        exact += tl.sum(p * tl.dot(do, tl.trans(v), input_precision=PREC), 1)
            if HAS_FORGET:
                delta = exact
            tl.store(DELTA + (token + r) * H + h, delta, mask=r < length)
            tl.debug_barrier()
            do = _load(DO + at_e, r[:, None], ce[None, :], H * e, length, e, E, UPCAST)
            g = tl.zeros([BT, D], tl.float32)
            for n in range(0, last):
                s = n * C + c
                q_n = _recall(QS + n * BT * D, r[:, None] - r0, cd[None, :], D, UPCAST)
                k = _load(KH + row_d, s[:, None], cd[None, :], G * d, length, d, D, UPCAST)
                v = _load(V + row_e, s[:, None], ce[None, :], G * e, length, e, E, UPCAST)
                z_at = ((slot + n) * G + g_head) * D * D
                z = _load(
                    ZS + b * n_chunks * G * D * D + z_at,
                    cd[:, None], cd[None, :], D, D, D, D, UPCAST,
                )  # fmt: skip
                S = tl.dot(q_n, tl.trans(k), input_precision=PREC) * (scale * LOG2E)
                if HAS_FORGET:
                    near_s = _near(sums, s, H, length, origin)
                    S += near_r[:, None] - near_s[None, :]
                S = tl.where(r[:, None] // C > n, S, float("-inf"))
                p = tl.exp2(S - lse[:, None])
                ds = p * (tl.dot(do, tl.trans(v), input_precision=PREC) - delta[:, None])
                ds = (ds * scale).to(q_n.dtype)
                g_low = tl.where(r[:, None] // C > n, g, 0.0).to(q_n.dtype)
                dz = tl.dot(tl.trans(q_n), g_low, input_precision=PREC)
                g += tl.dot(ds, k, input_precision=PREC)
                g += tl.dot(g_low, tl.trans(z), input_precision=PREC)
                S = tl.dot(k, tl.trans(q_n), input_precision=PREC) * (scale * LOG2E)
                if HAS_FORGET:
                    S += near_r[None, :] - near_s[:, None]
                S = tl.where(r[None, :] // C > n, S, float("-inf"))
                p = tl.exp2(S - lse[None, :])
                dv = tl.dot(p.to(do.dtype), do, input_precision=PREC)
                ds = p * (tl.dot(v, tl.trans(do), input_precision=PREC) - delta[None, :])
                if HAS_FORGET:
                    at = DCOLS + (own_rows + start + s) * H + h
                    tl.store(at, tl.load(at) + tl.sum(ds, 1))
                dk = tl.dot((ds * scale).to(q_n.dtype), q_n, input_precision=PREC)
                dk += _load(DKH + own_d, s[:, None], cd[None, :], G * d, length, d, D, False)
                _store(DKH + own_d, dk, s[:, None], cd[None, :], G * d, length, d, D, False)
                dv += _load(DVH + own_e, s[:, None], ce[None, :], G * e, length, e, E, False)
                _store(DVH + own_e, dv, s[:, None], ce[None, :], G * e, length, e, E, False)
                at = DZ + own_chunks * G * D * D + z_at
                dz += _load(at, cd[:, None], cd[None, :], D, D, D, D, False)
                _store(at, dz, cd[:, None], cd[None, :], D, D, D, D, False)
            _store(DQH + at_d, g, r[:, None], cd[None, :], H * d, length, d, D, False)
            tl.debug_barrier()


@triton.jit(do_not_specialize=COUNTS)
def backward_inside(
    Q,
    K,
    V,
    W,
    SUMS,
    TILES,
    XS,
    US,
    LSE,
    DO,
    DELTA,
    DQH,
    DVH,
    DCOLS,
    DQ,
    DV,
    DKI,
    DWI,
    DX,
    DU,
    DLOG,
    scale,
    T,
    n_tiles,
    n_rows,
    H: tl.constexpr,
    G: tl.constexpr,
    d: tl.constexpr,
    e: tl.constexpr,
    D: tl.constexpr,
    E: tl.constexpr,
    C: tl.constexpr,
    SHARES: tl.constexpr,
    HAS_FORGET: tl.constexpr,
    PACKED: tl.constexpr,
    UPCAST: tl.constexpr,
    PREC: tl.constexpr,
):
    """What queries do to the chunk they are in: dq, dv whole, and shares of dk, dw, dX, dU."""
    b, g_head, start, length, s0 = _place(TILES, T, n_tiles, G, C, PACKED)
    if s0 >= length:
        return
    token = b * T + start
    c, cd, ce = tl.arange(0, C), tl.arange(0, D), tl.arange(0, E)
    s = s0 + c
    row_d, row_e = (token * G + g_head) * d, (token * G + g_head) * e
    square = (token * G + g_head) * C
    k = _load(K + row_d, s[:, None], cd[None, :], G * d, length, d, D, UPCAST)
    v = _load(V + row_e, s[:, None], ce[None, :], G * e, length, e, E, UPCAST)
    w = _load(W + row_d, s[:, None], cd[None, :], G * d, length, d, D, UPCAST)
    U = _load(US + row_d, s[:, None], cd[None, :], G * d, length, d, D, UPCAST)
    X = _load(XS + square, s[:, None], c[None, :], G * C, length, C, C, UPCAST)
    X_t = _load(XS + square, s[None, :], c[:, None], G * C, length, C, C, UPCAST)
    ok = (c[:, None] >= c[None, :]) & (s[:, None] < length)
    ok_t = (c[None, :] >= c[:, None]) & (s[None, :] < length)
    dk = tl.zeros([C, D], tl.float32)
    dw = tl.zeros([C, D], tl.float32)
    dv = tl.zeros([C, E], tl.float32)
    dX = tl.zeros([C, C], tl.float32)
    dU = tl.zeros([C, D], tl.float32)
    for h in range(g_head * (H // G), (g_head + 1) * (H // G)):
        at_d, at_e = (token * H + h) * d, (token * H + h) * e
        q = _load(Q + at_d, s[:, None], cd[None, :], H * d, length, d, D, UPCAST)
        do = _load(DO + at_e, s[:, None], ce[None, :], H * e, length, e, E, UPCAST)
        g = _load(DQH + at_d, s[:, None], cd[None, :], H * d, length, d, D, False)
        g_t = _load(DQH + at_d, s[None, :], cd[:, None], H * d, length, d, D, False)
        lse = tl.load(LSE + (token + s) * H + h, mask=s < length, other=float("inf"))
        delta = tl.load(DELTA + (token + s) * H + h, mask=s < length, other=0.0)
        near = 0.0
        if HAS_FORGET:
            sums = SUMS + token * H + h
            near = _near(sums, s, H, length, tl.load(sums + s0 * H))
        g, dk1, dv1, dw1, dX1, dU1, columns = _inside(
            q, tl.trans(q), k, v, w, X, X_t, U, do, tl.trans(do), g, g_t.to(q.dtype), lse, delta,
            near, near, ok, ok_t, scale, HAS_FORGET, PREC,
        )  # fmt: skip
        dk += dk1
        dv += dv1
        dw += dw1
        dX += dX1
        dU += dU1
        _store(DQ + at_d, g, s[:, None], cd[None, :], H * d, length, d, D, UPCAST)
        if HAS_FORGET:
            for share in range(0, SHARES):
                rows = (share * n_rows + b) * T + start
                columns += tl.load(DCOLS + (rows + s) * H + h, mask=s < length, other=0.0)
            tl.store(DLOG + (token + s) * H + h, columns, mask=s < length)
    _store(DKI + row_d, dk, s[:, None], cd[None, :], G * d, length, d, D, False)
    _store(DWI + row_d, dw, s[:, None], cd[None, :], G * d, length, d, D, False)
    _store(DU + row_d, dU, s[:, None], cd[None, :], G * d, length, d, D, False)
    _store(DX + square, dX, s[:, None], c[None, :], G * C, length, C, C, False)
    for share in range(0, SHARES):
        at = DVH + (((share * n_rows + b) * T + start) * G + g_head) * e
        dv += _load(at, s[:, None], ce[None, :], G * e, length, e, E, False)
    _store(DV + row_e, dv, s[:, None], ce[None, :], G * e, length, e, E, UPCAST)


@triton.jit(do_not_specialize=COUNTS)
def backward_chunks(
    K,
    W,
    BETA,
    TILES,
    XS,
    US,
    AS,
    DKH,
    DZ,
    DKI,
    DWI,
    DX,
    DU,
    DK,
    DW,
    DBETA,
    T,
    n_tiles,
    n_rows,
    G: tl.constexpr,
    d: tl.constexpr,
    D: tl.constexpr,
    C: tl.constexpr,
    SHARES: tl.constexpr,
    PACKED: tl.constexpr,
    UPCAST: tl.constexpr,
    PREC: tl.constexpr,
):
    """The gradients of K^, Z, X and U of a chunk carried on to k, w and beta."""
    slot = tl.program_id(0) % n_tiles
    b, g_head, start, length, s0 = _place(TILES, T, n_tiles, G, C, PACKED)
    if s0 >= length:
        return
    token = b * T + start
    c, cd = tl.arange(0, C), tl.arange(0, D)
    s = s0 + c
    row_d, square = (token * G + g_head) * d, (token * G + g_head) * C
    k = _load(K + row_d, s[:, None], cd[None, :], G * d, length, d, D, UPCAST)
    w = _load(W + row_d, s[:, None], cd[None, :], G * d, length, d, D, UPCAST)
    U = _load(US + row_d, s[:, None], cd[None, :], G * d, length, d, D, UPCAST)
    X = _load(XS + square, s[:, None], c[None, :], G * C, length, C, C, UPCAST)
    beta = tl.load(BETA + (token + s) * G + g_head, mask=s < length, other=0.0).to(tl.float32)
    dk = _load(DKI + row_d, s[:, None], cd[None, :], G * d, length, d, D, False)
    dw = _load(DWI + row_d, s[:, None], cd[None, :], G * d, length, d, D, False)
    dU = _load(DU + row_d, s[:, None], cd[None, :], G * d, length, d, D, False)
    dX = _load(DX + square, s[:, None], c[None, :], G * C, length, C, C, False)
    w_full = w.to(tl.float32)
    for share in range(0, SHARES):
        rows = (share * n_rows + b) * T + start
        at = DKH + (rows * G + g_head) * d
        part = _load(at, s[:, None], cd[None, :], G * d, length, d, D, False)
        dk += part
        dX -= tl.dot(w_full, tl.trans(part), input_precision=PREC)
        dw -= tl.dot(X.to(tl.float32), part, input_precision=PREC)
        at = DZ + (((share * n_rows + b) * n_tiles + slot) * G + g_head) * D * D
        part = _load(at, cd[:, None], cd[None, :], D, D, D, D, False)
        dw -= tl.dot(U.to(tl.float32), tl.trans(part), input_precision=PREC)
        dU -= tl.dot(w_full, part, input_precision=PREC)
    X_t = _load(XS + square, s[None, :], c[:, None], G * C, length, C, C, UPCAST)
    A_t = _load(AS + square, s[None, :], c[:, None], G * C, length, C, C, False)
    dk2, dw2, dbeta = _reflections(
        dX, dU, k, w, beta, A_t, X_t, U, AS + square, s, G * C, length, C, PREC
    )
    _store(DK + row_d, dk + dk2, s[:, None], cd[None, :], G * d, length, d, D, UPCAST)
    _store(DW + row_d, dw + dw2, s[:, None], cd[None, :], G * d, length, d, D, UPCAST)
    tl.store(DBETA + (token + s) * G + g_head, dbeta, mask=s < length)


class _Plan(NamedTuple):
    """Tile of queries, chunk, whether chunks are prepared on the spot, and launch options."""

    BT: int
    C: int
    fused: bool
    num_warps: int
    num_stages: int


def _plan(backward: bool, width: int, itemsize: int, T: int) -> _Plan:
    """Chosen by registers and shared memory, which the compiler tells; not yet by the clock."""
    if itemsize == 4:
        fused = width <= 32 and T <= 64
        # 64 queries of 128 channels: Triton 3.6's binary for Hopper reads outside its memory.
        BT = 32 if backward or width > 64 else 64
        plan = _Plan(64 if fused else BT, 16, fused, 8 if width > 64 else 4, 1)
    elif width <= 32 and T <= 128:
        plan = _Plan(128, 16 if backward else 32, True, 8, 1)
    elif backward:
        plan = _Plan(64, 64 if 32 < width <= 64 else 32, False, 4 if width <= 32 else 8, 1)
    else:
        plan = _Plan(128 if width <= 64 else 64, 64, False, 8, 2)
    BT = min(plan.BT, max(16, triton.next_power_of_2(T)))
    warps = max(1, plan.num_warps * BT // plan.BT)
    return _Plan(BT, min(plan.C, BT), plan.fused, warps, plan.num_stages)


def _chunk_warps(C: int, D: int) -> int:
    """Of the kernels that own one chunk."""
    return 8 if C == 64 or D == 128 else 4


def _precision(dtype: torch.dtype) -> str:
    """Of products of float32 operands: as exact as the inputs are."""
    return "tf32x3" if dtype == torch.float32 else "tf32"


def _run(kernel: Any, grid: int, num_warps: int, num_stages: int, given: dict[str, Any]) -> None:
    arguments = {n: given[n] for n in kernel.arg_names}
    kernel[(grid,)](**arguments, num_warps=num_warps, num_stages=num_stages)


def _common(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    w: Tensor,
    beta: Tensor,
    scale: float,
    log_forget: Tensor | None,
    gate: Tensor | None,
    offsets: Tensor | None,
) -> dict[str, Any]:
    """What every launch needs, by argument name."""
    d, e = q.shape[3], v.shape[3]
    sums = None if log_forget is None else log_forget.cumsum(1, dtype=torch.float64).contiguous()
    return {
        "Q": q.contiguous(),
        "K": k.contiguous(),
        "V": v.contiguous(),
        "W": w.to(q.dtype).contiguous(),
        "BETA": beta.to(torch.float32).contiguous(),
        "GATE": None if gate is None else gate.contiguous(),
        "SUMS": sums,
        "scale": scale,
        "T": q.shape[1],
        "H": q.shape[2],
        "G": k.shape[2],
        "d": d,
        "e": e,
        "D": max(16, triton.next_power_of_2(d)),
        "E": max(16, triton.next_power_of_2(e)),
        "GATE_KIND": 0 if gate is None else gate.ndim - 2,
        "HAS_FORGET": log_forget is not None,
        "PACKED": offsets is not None,
        "UPCAST": q.dtype == torch.bfloat16 and triton.knobs.runtime.interpret,
        "PREC": _precision(q.dtype),
    }


def _prepared(
    given: dict[str, Any], C: int, offsets: Tensor | None, inverse: bool
) -> dict[str, Any]:
    """X, U, K^, Z of every chunk (and A), by argument name."""
    k, T, G, D = given["K"], given["T"], given["G"], given["D"]
    table, n = tiles(offsets, T, C, C)
    B = k.shape[0]
    made = {
        "XS": k.new_empty(B, T, G, C),
        "US": torch.empty_like(k),
        "KH": torch.empty_like(k),
        "ZS": k.new_empty(B, n, G, D, D),
        "AS": k.new_empty(B, T, G, C, dtype=torch.float32) if inverse else None,
    }
    own = given | made | {"TILES": table, "n_tiles": n, "C": C}
    _run(prepare, n * B * G, _chunk_warps(C, D), 1, own)
    return made | {"n_chunks": n, "C": C}


def run_forward(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    w: Tensor,
    beta: Tensor,
    scale: float,
    log_forget: Tensor | None,
    gate: Tensor | None,
    offsets: Tensor | None,
) -> tuple[Tensor, Tensor]:
    """y [B,T,H,e] and the logarithm (base 2) of the softmax's denominator [B,T,H]."""
    given = _common(q, k, v, w, beta, scale, log_forget, gate, offsets)
    B, T, H, d = q.shape
    e = v.shape[3]
    plan = _plan(False, max(d, e), q.dtype.itemsize, T)
    if plan.fused:
        given |= dict.fromkeys(("XS", "US", "KH", "ZS")) | {"n_chunks": 0}
    else:
        given |= _prepared(given, plan.C, offsets, False)
    table, n = tiles(offsets, T, plan.BT, plan.C)
    y = torch.empty(B, T, H, e, dtype=v.dtype, device=q.device)
    lse = torch.empty(B, T, H, dtype=torch.float32, device=q.device)
    given |= {"Y": y, "LSE": lse, "TILES": table, "n_tiles": n}
    given |= {"BT": plan.BT, "C": plan.C, "FUSED": plan.fused}
    _run(forward, n * B * H, plan.num_warps, plan.num_stages, given)
    return y, lse


def run_backward(
    dy: Tensor,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    w: Tensor,
    beta: Tensor,
    y: Tensor,
    lse: Tensor,
    scale: float,
    log_forget: Tensor | None,
    gate: Tensor | None,
    offsets: Tensor | None,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """dq, dk, dv, dw, dbeta, dlog_forget (the last two float32) and dgate; empty where absent."""
    given = _common(q, k, v, w, beta, scale, log_forget, gate, offsets)
    B, T, H, d = q.shape
    G, e = v.shape[2:]
    like = torch.empty_like
    made: dict[str, Any] = {n: like(given[n[1:]]) for n in ("DQ", "DK", "DV", "DW", "DBETA")}
    made["DGATE"] = None if gate is None else like(given["GATE"])
    made["DLOG"] = None if log_forget is None else q.new_empty(B, T, H, dtype=torch.float32)
    given |= made | {"DY": dy.contiguous(), "Y": y, "LSE": lse}
    plan = _plan(True, max(d, e), q.dtype.itemsize, T)
    C, BT, D = plan.C, plan.BT, given["D"]
    given |= {"C": C, "BT": BT, "n_rows": B}
    dlog = made["DLOG"]
    if plan.fused and G == H and offsets is None:
        N = BT // C
        programs = min(B * H, 2 * _processors(q.device))
        given |= {
            "QS": q.new_empty(programs, N, BT, D),
            "GS": q.new_empty(programs, BT, D),
            "XS": q.new_empty(programs, N, C, C),
            "US": q.new_empty(programs, N, C, D),
            "AS": q.new_empty(programs, N, C, C, dtype=torch.float32),
            "n_heads": B * H,
        }
        _run(backward_short, programs, plan.num_warps, 1, given)
    else:
        given |= _prepared(given, C, offsets, True)
        table, n = tiles(offsets, T, BT, C)
        chunk_table, chunks = tiles(offsets, T, C, C)
        shares = _shares(B * G, n, q.device)

        def zeros(*shape: int) -> Tensor:
            return torch.zeros(shares, B, *shape, dtype=torch.float32, device=q.device)

        given |= {
            "DO": given["DY"] if gate is None else like(given["DY"]),
            "DELTA": like(lse),
            "DQH": torch.empty(q.shape, dtype=torch.float32, device=q.device),
            "DKH": zeros(T, G, d),
            "DVH": zeros(T, G, e),
            "DZ": zeros(chunks, G, D, D),
            "DCOLS": None if log_forget is None else zeros(T, H),
            "QS": q.new_empty(B * G * shares, chunks, BT, D),
            "SHARES": shares,
        }
        own = given | {"TILES": table, "n_tiles": n, "n_chunks": chunks}
        _run(backward_sweep, B * G * shares, plan.num_warps, 1, own)
        made32 = ("DKI", "DWI", "DU", "DX")
        widths = (d, d, d, C)
        own = given | {"TILES": chunk_table, "n_tiles": chunks}
        own |= {
            n: q.new_empty(B, T, G, width, dtype=torch.float32)
            for n, width in zip(made32, widths, strict=True)
        }
        warps = _chunk_warps(C, max(D, given["E"]))
        _run(backward_inside, chunks * B * G, warps, 1, own)
        _run(backward_chunks, chunks * B * G, warps, 1, own)
        if dlog is not None:
            dlog = _summed_to_the_end(dlog, offsets).neg_()
    return (
        made["DQ"],
        made["DK"],
        made["DV"],
        made["DW"],
        made["DBETA"],
        q.new_empty(0, dtype=torch.float32) if dlog is None else dlog,
        q.new_empty(0) if gate is None else made["DGATE"],
    )


def _processors(device: torch.device) -> int:
    if device.type != "cuda":
        return 1
    return torch.cuda.get_device_properties(device).multi_processor_count


def _shares(heads: int, n_tiles: int, device: torch.device) -> int:
    """Into how many programs a head's tiles are divided: each costs sums as long as the row."""
    shares = 2
    while device.type == "cuda" and shares < 8 and shares * heads < 2 * _processors(device):
        shares *= 2
    if device.type == "cuda" and heads >= 2 * _processors(device):
        shares = 1
    return min(shares, n_tiles)


def configurations() -> list[dict[str, Any]]:
    """Every kernel as it is shipped, for compilation ahead of time."""
    found = []
    for kernel in (
        prepare, forward, backward_short, backward_sweep, backward_inside, backward_chunks
    ):  # fmt: skip
        for dtype, width, T in _SHAPES:
            for options, (gate, forget) in _OPTIONS.items():
                # `prepare` runs for both: with "plain" as the forward needs it, with "all" as the
                # backward does.
                backward = kernel is not forward and (kernel is not prepare or options == "all")
                plan = _plan(backward, width, 4 if dtype == "fp32" else 2, T)
                if not _shipped(kernel, plan, options):
                    continue
                name = f"path {kernel.__name__} {dtype} {width} T {T} {options}"
                tile = kernel in (forward, backward_short, backward_sweep)
                found.append(
                    _configuration(kernel, dtype, width, plan, gate, forget)
                    | {
                        "name": name,
                        "num_warps": plan.num_warps if tile else _chunk_warps(plan.C, width),
                        "num_stages": plan.num_stages if kernel is forward else 1,
                        "quick": (dtype, width, T) in _QUICK
                        and (options == "all" or kernel is backward_chunks),
                        "spill_free": name in _SPILL_FREE,
                    }
                )
    return found


_OPTIONS = {"plain": (0, False), "gate": (2, False), "all": (2, True)}
_SHAPES = [
    (dtype, width, T)
    for dtype in ("bf16", "fp32")
    for width, T in ((32, 64), (32, 128), (32, 2048), (64, 2048), (128, 2048))
]


def _shipped(kernel: Any, plan: _Plan, options: str) -> bool:
    if kernel is prepare:
        return not plan.fused and options != "gate"
    if kernel is backward_chunks:
        return not plan.fused and options == "plain"
    if kernel is backward_inside:
        return not plan.fused and options != "gate"
    if kernel is backward_short:
        return plan.fused and options != "plain"
    if kernel is backward_sweep:
        return not plan.fused and options != "plain"
    return options != "gate"


def _configuration(
    kernel: Any, dtype: str, width: int, plan: _Plan, gate: int, forget: bool
) -> dict[str, Any]:
    constants: dict[str, Any] = {
        "H": 8, "G": 8, "d": width, "e": width, "D": width, "E": width, "BT": plan.BT,
        "C": plan.C, "SHARES": 1, "GATE_KIND": gate, "HAS_FORGET": forget, "PACKED": False,
        "FUSED": plan.fused, "UPCAST": False, "PREC": "tf32x3" if dtype == "fp32" else "tf32",
        "TILES": None,
    }  # fmt: skip
    if gate == 0:
        constants |= {"GATE": None, "DGATE": None}
    if kernel is prepare and not forget:
        constants["AS"] = None
    if not forget:
        constants |= dict.fromkeys(("SUMS", "DCOLS", "DLOG"))
    if plan.fused and kernel is forward:
        constants |= dict.fromkeys(("XS", "US", "KH", "ZS"))
    single = ("BETA", "LSE", "DELTA", "DBETA", "AS", "DQH", "DKH", "DVH", "DZ", "DCOLS", "DLOG")
    types = dict.fromkeys(kernel.arg_names, f"*{dtype}")
    types |= dict.fromkeys((*single, "DKI", "DWI", "DX", "DU"), "*fp32") | {"SUMS": "*fp64"}
    types |= dict.fromkeys(("T", "n_tiles", "n_chunks", "n_rows", "n_heads"), "i32")
    types["scale"] = "fp32"
    constants = {n: x for n, x in constants.items() if n in kernel.arg_names}
    return {
        "kernel": kernel,
        "signature": {n: types[n] for n in kernel.arg_names if n not in constants},
        "constexprs": constants,
    }


_QUICK = (("bf16", 32, 128), ("bf16", 64, 2048))
_SPILL_FREE = {
    "path prepare bf16 32 T 2048 plain",
    "path forward bf16 32 T 64 plain",
    "path forward bf16 32 T 64 all",
    "path forward bf16 32 T 128 plain",
    "path forward bf16 32 T 128 all",
    "path forward bf16 32 T 2048 plain",
    "path forward bf16 32 T 2048 all",
    "path forward bf16 64 T 2048 plain",
    "path forward bf16 128 T 2048 plain",
    "path backward_inside bf16 64 T 2048 plain",
}
