"""Triton kernels of kernels/attention.py: forward, backward by rows and by keys, and a short one.

Tiles are BM queries by BN keys; D and E are the widths rounded up to a power of two of at least
16. Logits are kept in units of log 2, so that every exponential is one exp2. Masked logits are -inf
under a finite running maximum, which makes their weight zero without a second mask.

The backward needs neither the attention weights nor the output before the gate: with y gated,
delta_i = dy_i . y_i is what the softmax needs, and dgate = dy y (1 - sigmoid(gate)).
`backward_rows` owns tiles of queries: it writes dq, dgate, delta and the gradient dO before the
gate. `backward_keys` owns tiles of keys, goes through the H/G heads that read them and writes dk
and dv once. No atomics, so gradients repeat bit for bit. `backward_short` does both for one tile.

log f: column sums of dS are written; minus their sum from a token to the end is its gradient.
"""
# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

from typing import Any, NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor

from kernels import COUNTS

LOG2E = tl.constexpr(1.4426950408889634)


@triton.jit
def _biased(
    S,
    r,
    s,
    near_r,
    near_s,
    slope,
    window,
    T,
    HAS_SLOPES: tl.constexpr,
    HAS_WINDOW: tl.constexpr,
    HAS_FORGET: tl.constexpr,
    MASKED: tl.constexpr,
):
    """Logits with their biases; r, s broadcast to the tile, whichever way it lies."""
    if HAS_SLOPES:
        S -= slope * (r - s).to(tl.float32)
    if HAS_FORGET:
        S += near_r - near_s
    if MASKED:
        S = tl.where((r >= s) & (s < T), S, float("-inf"))
    if HAS_WINDOW:
        S = tl.where(r - s < window, S, float("-inf"))
    return S


@triton.jit
def _load(P, rows, cols, stride, T, W: tl.constexpr, WP: tl.constexpr, UPCAST: tl.constexpr):
    """Rows below T of a matrix of width W, zeros elsewhere; rows, cols broadcast to the tile."""
    mask = rows < T
    if W != WP:
        mask = mask & (cols < W)
    x = tl.load(P + rows * stride + cols, mask=mask, other=0.0)
    if UPCAST:
        x = x.to(tl.float32)
    return x


@triton.jit
def _rounded(x):
    """To the nearest bfloat16: the interpreter cuts off where a GPU rounds."""
    bits = x.to(tl.float32).to(tl.uint32, bitcast=True)
    bits = (bits + 0x7FFF + ((bits >> 16) & 1)) & 0xFFFF0000
    return bits.to(tl.float32, bitcast=True)


@triton.jit
def _store(P, x, rows, cols, stride, T, W: tl.constexpr, WP: tl.constexpr, UPCAST: tl.constexpr):
    mask = rows < T
    if W != WP:
        mask = mask & (cols < W)
    if UPCAST:
        x = _rounded(x)
    tl.store(P + rows * stride + cols, x.to(P.dtype.element_ty), mask=mask)


@triton.jit
def _near(SUMS, rows, stride, T, reference):
    """Sums of log f relative to one of them, in units of log 2: exact where the weight is not 0."""
    sums = tl.load(SUMS + rows * stride, mask=rows < T, other=reference)
    return ((sums - reference) * LOG2E).to(tl.float32)


@triton.jit
def _place(TILES, T, n_tiles, N: tl.constexpr, BLOCK: tl.constexpr, PACKED: tl.constexpr):
    """Row b, head, first token of the sequence in the row, its length, first token of the tile."""
    pid = tl.program_id(0)
    tile, rest = pid % n_tiles, pid // n_tiles
    start, length = 0, T
    if PACKED:
        start = tl.load(TILES + 4 * tile)
        length = tl.load(TILES + 4 * tile + 1)
        tile = tl.load(TILES + 4 * tile + 2)
    return (rest // N).to(tl.int64), rest % N, start, length, tile * BLOCK


@triton.jit(do_not_specialize=COUNTS)
def forward(
    Q,
    K,
    V,
    GATE,
    SLOPES,
    WINDOW,
    SUMS,
    TILES,
    Y,
    LSE,
    scale,
    T,
    n_tiles,
    slopes_stride,
    window_stride,
    H: tl.constexpr,
    G: tl.constexpr,
    d: tl.constexpr,
    e: tl.constexpr,
    D: tl.constexpr,
    E: tl.constexpr,
    BM: tl.constexpr,
    BN: tl.constexpr,
    GATE_KIND: tl.constexpr,
    HAS_SLOPES: tl.constexpr,
    HAS_WINDOW: tl.constexpr,
    HAS_FORGET: tl.constexpr,
    PACKED: tl.constexpr,
    UPCAST: tl.constexpr,
    PREC: tl.constexpr,
):
    b, h, start, length, r0 = _place(TILES, T, n_tiles, H, BM, PACKED)
    if r0 >= length:
        return
    g = h // (H // G)
    token = b * T + start
    r = r0 + tl.arange(0, BM)
    cd, ce = tl.arange(0, D), tl.arange(0, E)
    K += (token * G + g) * d
    V += (token * G + g) * e
    q = _load(Q + (token * H + h) * d, r[:, None], cd[None, :], H * d, length, d, D, UPCAST)
    scale2 = scale * LOG2E
    slope, window, near_r, origin = 0.0, 0, 0.0, 0.0
    low = 0
    if HAS_SLOPES:
        slope = tl.load(SLOPES + b * slopes_stride + h).to(tl.float32) * LOG2E
    if HAS_WINDOW:
        window = tl.load(WINDOW + b * window_stride + h)
        window = tl.where(window > 0, window, length)
        low = tl.maximum(r0 - window + 1, 0) // BN * BN
    if HAS_FORGET:
        SUMS += token * H + h
        origin = tl.load(SUMS + r0 * H)
        near_r = _near(SUMS, r, H, length, origin)[:, None]
    acc = tl.zeros([BM, E], tl.float32)
    m = tl.full([BM], -1e30, tl.float32)
    total = tl.zeros([BM], tl.float32)
    # Keys before the tile's first query need no mask; the others need one.
    for part in tl.static_range(2):
        first = low if part == 0 else r0 // BN * BN
        last = r0 // BN * BN if part == 0 else tl.minimum(r0 + BM, length)
        for s0 in range(first, last, BN):
            s = s0 + tl.arange(0, BN)
            k = _load(K, s[:, None], cd[None, :], G * d, length, d, D, UPCAST)
            S = tl.dot(q, tl.trans(k), input_precision=PREC) * scale2
            near_s = 0.0
            if HAS_FORGET:
                near_s = _near(SUMS, s, H, length, origin)[None, :]
            S = _biased(
                S, r[:, None], s[None, :], near_r, near_s, slope, window, length,
                HAS_SLOPES, HAS_WINDOW, HAS_FORGET, part == 1,
            )  # fmt: skip
            top = tl.maximum(m, tl.max(S, 1))
            p = tl.exp2(S - top[:, None])
            shrink = tl.exp2(m - top)
            total = total * shrink + tl.sum(p, 1)
            v = _load(V, s[:, None], ce[None, :], G * e, length, e, E, UPCAST)
            acc = acc * shrink[:, None]
            acc += tl.dot(p.to(v.dtype), v, input_precision=PREC)
            m = top
    # Rows behind the end may see no key at all.
    acc = acc / tl.maximum(total, 1e-30)[:, None]
    if GATE_KIND == 1:
        logit = tl.load(GATE + (token + r) * H + h, mask=r < length, other=0.0)
        acc = acc * tl.sigmoid(logit.to(tl.float32))[:, None]
    if GATE_KIND == 2:
        logit = _load(
            GATE + (token * H + h) * e, r[:, None], ce[None, :], H * e, length, e, E, False
        )
        acc = acc * tl.sigmoid(logit.to(tl.float32))
    _store(Y + (token * H + h) * e, acc, r[:, None], ce[None, :], H * e, length, e, E, UPCAST)
    tl.store(LSE + (token + r) * H + h, m + tl.log2(tl.maximum(total, 1e-30)), mask=r < length)


@triton.jit(do_not_specialize=COUNTS)
def backward_rows(
    Q,
    K,
    V,
    GATE,
    SLOPES,
    WINDOW,
    SUMS,
    TILES,
    Y,
    LSE,
    DY,
    DO,
    DELTA,
    DQ,
    DGATE,
    scale,
    T,
    n_tiles,
    slopes_stride,
    window_stride,
    H: tl.constexpr,
    G: tl.constexpr,
    d: tl.constexpr,
    e: tl.constexpr,
    D: tl.constexpr,
    E: tl.constexpr,
    BM: tl.constexpr,
    BN: tl.constexpr,
    GATE_KIND: tl.constexpr,
    HAS_SLOPES: tl.constexpr,
    HAS_WINDOW: tl.constexpr,
    HAS_FORGET: tl.constexpr,
    PACKED: tl.constexpr,
    UPCAST: tl.constexpr,
    PREC: tl.constexpr,
):
    b, h, start, length, r0 = _place(TILES, T, n_tiles, H, BM, PACKED)
    if r0 >= length:
        return
    g = h // (H // G)
    token = b * T + start
    r = r0 + tl.arange(0, BM)
    cd, ce = tl.arange(0, D), tl.arange(0, E)
    K += (token * G + g) * d
    V += (token * G + g) * e
    row_e = (token * H + h) * e
    q = _load(Q + (token * H + h) * d, r[:, None], cd[None, :], H * d, length, d, D, UPCAST)
    dy = _load(DY + row_e, r[:, None], ce[None, :], H * e, length, e, E, UPCAST)
    do, delta = _before_gate(
        dy, GATE, Y, DGATE, token, h, row_e, r, ce, length, H, e, E, GATE_KIND, UPCAST
    )
    if GATE_KIND > 0:
        _store(DO + row_e, do, r[:, None], ce[None, :], H * e, length, e, E, UPCAST)
    lse = tl.load(LSE + (token + r) * H + h, mask=r < length, other=0.0)
    scale2 = scale * LOG2E
    slope, window, near_r, origin = 0.0, 0, 0.0, 0.0
    low = 0
    if HAS_SLOPES:
        slope = tl.load(SLOPES + b * slopes_stride + h).to(tl.float32) * LOG2E
    if HAS_WINDOW:
        window = tl.load(WINDOW + b * window_stride + h)
        window = tl.where(window > 0, window, length)
        low = tl.maximum(r0 - window + 1, 0) // BN * BN
    if HAS_FORGET:
        SUMS += token * H + h
        origin = tl.load(SUMS + r0 * H)
        near_r = _near(SUMS, r, H, length, origin)[:, None]
    dq = tl.zeros([BM, D], tl.float32)
    drows = tl.zeros([BM], tl.float32)
    for part in tl.static_range(2):
        first = low if part == 0 else r0 // BN * BN
        last = r0 // BN * BN if part == 0 else tl.minimum(r0 + BM, length)
        for s0 in range(first, last, BN):
            s = s0 + tl.arange(0, BN)
            k = _load(K, s[:, None], cd[None, :], G * d, length, d, D, UPCAST)
            v = _load(V, s[:, None], ce[None, :], G * e, length, e, E, UPCAST)
            S = tl.dot(q, tl.trans(k), input_precision=PREC) * scale2
            near_s = 0.0
            if HAS_FORGET:
                near_s = _near(SUMS, s, H, length, origin)[None, :]
            S = _biased(
                S, r[:, None], s[None, :], near_r, near_s, slope, window, length,
                HAS_SLOPES, HAS_WINDOW, HAS_FORGET, part == 1,
            )  # fmt: skip
            p = tl.exp2(S - lse[:, None])
            ds = p * (tl.dot(do, tl.trans(v), input_precision=PREC) - delta[:, None])
            dq += tl.dot(ds.to(k.dtype), k, input_precision=PREC)
            if HAS_FORGET:
                drows += tl.sum(ds, 1)
    _store(
        DQ + (token * H + h) * d, dq * scale, r[:, None], cd[None, :], H * d, length, d, D, UPCAST
    )
    # Rows of dS must add up to 0. What they do add up to is the rounding of y in delta, and a sum
    # over tokens, as the forget gate takes, would gather it.
    tl.store(DELTA + (token + r) * H + h, delta + drows, mask=r < length)


@triton.jit
def _before_gate(
    dy,
    GATE,
    Y,
    DGATE,
    token,
    h,
    row_e,
    r,
    ce,
    T,
    H: tl.constexpr,
    e: tl.constexpr,
    E: tl.constexpr,
    GATE_KIND: tl.constexpr,
    UPCAST: tl.constexpr,
):
    """dO before the gate, delta = dy . y; writes dgate."""
    y = _load(Y + row_e, r[:, None], ce[None, :], H * e, T, e, E, False).to(tl.float32)
    gain = dy.to(tl.float32) * y
    delta = tl.sum(gain, 1)
    do = dy
    if GATE_KIND == 1:
        logit = tl.load(GATE + (token + r) * H + h, mask=r < T, other=0.0)
        share = tl.sigmoid(logit.to(tl.float32))
        dgate = (delta * (1 - share)).to(DGATE.dtype.element_ty)
        tl.store(DGATE + (token + r) * H + h, dgate, mask=r < T)
        do = dy.to(tl.float32) * share[:, None]
    if GATE_KIND == 2:
        logit = _load(GATE + row_e, r[:, None], ce[None, :], H * e, T, e, E, False)
        share = tl.sigmoid(logit.to(tl.float32))
        _store(DGATE + row_e, gain * (1 - share), r[:, None], ce[None, :], H * e, T, e, E, UPCAST)
        do = dy.to(tl.float32) * share
    if UPCAST:
        do = _rounded(do)
    return do.to(dy.dtype), delta


@triton.jit(do_not_specialize=COUNTS)
def backward_keys(
    Q,
    K,
    V,
    SLOPES,
    WINDOW,
    SUMS,
    TILES,
    LSE,
    DO,
    DELTA,
    DK,
    DV,
    DCOLS,
    scale,
    T,
    n_tiles,
    slopes_stride,
    window_stride,
    H: tl.constexpr,
    G: tl.constexpr,
    d: tl.constexpr,
    e: tl.constexpr,
    D: tl.constexpr,
    E: tl.constexpr,
    BM: tl.constexpr,
    BN: tl.constexpr,
    HAS_SLOPES: tl.constexpr,
    HAS_WINDOW: tl.constexpr,
    HAS_FORGET: tl.constexpr,
    PACKED: tl.constexpr,
    UPCAST: tl.constexpr,
    PREC: tl.constexpr,
):
    b, g, start, length, s0 = _place(TILES, T, n_tiles, G, BN, PACKED)
    if s0 >= length:
        return
    token = b * T + start
    s = s0 + tl.arange(0, BN)
    cd, ce = tl.arange(0, D), tl.arange(0, E)
    row_d, row_e = (token * G + g) * d, (token * G + g) * e
    k = _load(K + row_d, s[:, None], cd[None, :], G * d, length, d, D, UPCAST)
    v = _load(V + row_e, s[:, None], ce[None, :], G * e, length, e, E, UPCAST)
    scale2 = scale * LOG2E
    dk = tl.zeros([BN, D], tl.float32)
    dv = tl.zeros([BN, E], tl.float32)
    for h in range(g * (H // G), (g + 1) * (H // G)):
        q_h = Q + (token * H + h) * d
        do_h = DO + (token * H + h) * e
        slope, window, near_s, origin = 0.0, 0, 0.0, 0.0
        high = length
        if HAS_SLOPES:
            slope = tl.load(SLOPES + b * slopes_stride + h).to(tl.float32) * LOG2E
        if HAS_WINDOW:
            window = tl.load(WINDOW + b * window_stride + h)
            window = tl.where(window > 0, window, length)
            high = tl.minimum(length, s0 + BN - 1 + window)
        if HAS_FORGET:
            sums_h = SUMS + token * H + h
            origin = tl.load(sums_h + s0 * H)
            near_s = _near(sums_h, s, H, length, origin)[:, None]
        dcols = tl.zeros([BN], tl.float32)
        # Queries after the tile's last key need no mask; the others need one.
        middle = tl.minimum((s0 + BN + BM - 1) // BM * BM, high)
        for part in tl.static_range(2):
            first = s0 // BM * BM if part == 0 else middle
            last = middle if part == 0 else high
            for r0 in range(first, last, BM):
                r = r0 + tl.arange(0, BM)
                q = _load(q_h, r[:, None], cd[None, :], H * d, length, d, D, UPCAST)
                do = _load(do_h, r[:, None], ce[None, :], H * e, length, e, E, UPCAST)
                # Queries behind the end: the weight is exp2(-inf).
                lse = tl.load(LSE + (token + r) * H + h, mask=r < length, other=float("inf"))
                delta = tl.load(DELTA + (token + r) * H + h, mask=r < length, other=0.0)
                S = tl.dot(k, tl.trans(q), input_precision=PREC) * scale2
                near_r = 0.0
                if HAS_FORGET:
                    near_r = _near(sums_h, r, H, length, origin)[None, :]
                S = _biased(
                    S, r[None, :], s[:, None], near_r, near_s, slope, window, length,
                    HAS_SLOPES, HAS_WINDOW, HAS_FORGET, part == 0,
                )  # fmt: skip
                p = tl.exp2(S - lse[None, :])
                dv += tl.dot(p.to(do.dtype), do, input_precision=PREC)
                ds = p * (tl.dot(v, tl.trans(do), input_precision=PREC) - delta[None, :])
                dk += tl.dot(ds.to(q.dtype), q, input_precision=PREC)
                if HAS_FORGET:
                    dcols += tl.sum(ds, 1)
        if HAS_FORGET:
            tl.store(DCOLS + (token + s) * H + h, dcols, mask=s < length)
    _store(DK + row_d, dk * scale, s[:, None], cd[None, :], G * d, length, d, D, UPCAST)
    _store(DV + row_e, dv, s[:, None], ce[None, :], G * e, length, e, E, UPCAST)


@triton.jit(do_not_specialize=COUNTS)
def backward_short(
    Q,
    K,
    V,
    GATE,
    SLOPES,
    WINDOW,
    SUMS,
    Y,
    LSE,
    DY,
    DQ,
    DK,
    DV,
    DGATE,
    DLOG,
    scale,
    T,
    slopes_stride,
    window_stride,
    H: tl.constexpr,
    d: tl.constexpr,
    e: tl.constexpr,
    D: tl.constexpr,
    E: tl.constexpr,
    BM: tl.constexpr,
    BN: tl.constexpr,
    GATE_KIND: tl.constexpr,
    HAS_SLOPES: tl.constexpr,
    HAS_WINDOW: tl.constexpr,
    HAS_FORGET: tl.constexpr,
    UPCAST: tl.constexpr,
    PREC: tl.constexpr,
):
    """Everything for one row and head with T <= BM and G = H: memory is read about once.

    First dq, then dk and dv, so that the two never hold registers together. dO is made again and
    transposed for the second half: no computed tile is ever transposed.
    """
    pid = tl.program_id(0)
    b, h = (pid // H).to(tl.int64), pid % H
    token = b * T
    r = tl.arange(0, BM)
    cd, ce = tl.arange(0, D), tl.arange(0, E)
    row_d, row_e = (token * H + h) * d, (token * H + h) * e
    q = _load(Q + row_d, r[:, None], cd[None, :], H * d, T, d, D, UPCAST)
    dy = _load(DY + row_e, r[:, None], ce[None, :], H * e, T, e, E, UPCAST)
    do, delta = _before_gate(
        dy, GATE, Y, DGATE, token, h, row_e, r, ce, T, H, e, E, GATE_KIND, UPCAST
    )
    lse = tl.load(LSE + (token + r) * H + h, mask=r < T, other=float("inf"))
    scale2 = scale * LOG2E
    slope, window, near_r, origin = 0.0, 0, 0.0, 0.0
    if HAS_SLOPES:
        slope = tl.load(SLOPES + b * slopes_stride + h).to(tl.float32) * LOG2E
    if HAS_WINDOW:
        window = tl.load(WINDOW + b * window_stride + h)
        window = tl.where(window > 0, window, T)
    if HAS_FORGET:
        SUMS += token * H + h
        origin = tl.load(SUMS)
        near_r = _near(SUMS, r, H, T, origin)[:, None]
    dq = tl.zeros([BM, D], tl.float32)
    drows = tl.zeros([BM], tl.float32)
    for s0 in range(0, T, BN):
        s = s0 + tl.arange(0, BN)
        k = _load(K + row_d, s[:, None], cd[None, :], H * d, T, d, D, UPCAST)
        v = _load(V + row_e, s[:, None], ce[None, :], H * e, T, e, E, UPCAST)
        near_s = 0.0
        if HAS_FORGET:
            near_s = _near(SUMS, s, H, T, origin)[None, :]
        S = tl.dot(q, tl.trans(k), input_precision=PREC) * scale2
        S = _biased(
            S, r[:, None], s[None, :], near_r, near_s, slope, window, T,
            HAS_SLOPES, HAS_WINDOW, HAS_FORGET, True,
        )  # fmt: skip
        p = tl.exp2(S - lse[:, None])
        ds = p * (tl.dot(do, tl.trans(v), input_precision=PREC) - delta[:, None])
        dq += tl.dot(ds.to(k.dtype), k, input_precision=PREC)
        if HAS_FORGET:
            drows += tl.sum(ds, 1)
    delta += drows
    _store(DQ + row_d, dq * scale, r[:, None], cd[None, :], H * d, T, d, D, UPCAST)
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
    if HAS_FORGET:
        near_r = _near(SUMS, r, H, T, origin)[None, :]
    for s0 in range(0, T, BN):
        s = s0 + tl.arange(0, BN)
        k = _load(K + row_d, s[:, None], cd[None, :], H * d, T, d, D, UPCAST)
        v = _load(V + row_e, s[:, None], ce[None, :], H * e, T, e, E, UPCAST)
        near_s = 0.0
        if HAS_FORGET:
            near_s = _near(SUMS, s, H, T, origin)[:, None]
        S = tl.dot(k, tl.trans(q), input_precision=PREC) * scale2
        S = _biased(
            S, r[None, :], s[:, None], near_r, near_s, slope, window, T,
            HAS_SLOPES, HAS_WINDOW, HAS_FORGET, True,
        )  # fmt: skip
        p = tl.exp2(S - lse[None, :])
        dv = tl.dot(p.to(do.dtype), do, input_precision=PREC)
        _store(DV + row_e, dv, s[:, None], ce[None, :], H * e, T, e, E, UPCAST)
        ds = p * (tl.dot(v, do_t, input_precision=PREC) - delta[None, :])
        dk = tl.dot(ds.to(q.dtype), q, input_precision=PREC)
        _store(DK + row_d, dk * scale, s[:, None], cd[None, :], H * d, T, d, D, UPCAST)
        if HAS_FORGET:
            tl.store(DLOG + (token + s) * H + h, -tl.sum(ds, 1), mask=s < T)
    if HAS_FORGET:
        tl.debug_barrier()
        own = tl.load(DLOG + (token + r) * H + h, mask=r < T, other=0.0)
        dlog = tl.cumsum(own, 0, reverse=True)
        tl.debug_barrier()
        tl.store(DLOG + (token + r) * H + h, dlog, mask=r < T)


class _Plan(NamedTuple):
    """Tile sizes and launch options of one kernel."""

    BM: int
    BN: int
    num_warps: int
    num_stages: int


def _plan(kernel: str, width: int, itemsize: int, T: int) -> _Plan:
    """Chosen by registers and shared memory, which the compiler tells; not yet by the clock."""
    wide = width > 64
    if itemsize == 4:
        plan = {
            "forward": _Plan(64, 32, 8 if wide else 4, 2),
            "rows": _Plan(64, 32, 8 if wide else 4, 1),
            "keys": _Plan(32, 32, 8 if wide else 4, 1),
        }[kernel]
    else:
        plan = {
            "forward": _Plan(128, 64, 8 if wide else 4, 2 if wide else 3),
            "rows": _Plan(64 if wide else 128, 64, 8, 2),
            "keys": _Plan(32, 64, 8 if wide else 4, 2),
            "short": _Plan(128, 64, 8, 1),
        }[kernel]
    short = max(16, triton.next_power_of_2(T))
    BM, BN = min(plan.BM, short), min(plan.BN, short)
    warps = max(1, plan.num_warps * (BM if kernel != "keys" else BN) // plan.BM)
    return _Plan(BM, BN, min(plan.num_warps, warps), plan.num_stages)


def _tiles(offsets: Tensor | None, T: int, block: int) -> tuple[Tensor | None, int]:
    return tiles(offsets, T, block, block)


def tiles(offsets: Tensor | None, T: int, block: int, chunk: int) -> tuple[Tensor | None, int]:
    """Packed rows: (start, length, tile, chunks before) int32 of every tile, and how many tiles.

    Row r has ceil(length / block) tiles; the table has room for as many as there can be, and the
    tiles left over have length 0. Nothing waits for the GPU.
    """
    if offsets is None:
        return None, -(-T // block)
    rows = len(offsets) - 1
    n = T // block + rows
    lengths = offsets.diff()

    def before(size: int) -> Tensor:
        ends = (lengths + size - 1).div(size, rounding_mode="floor").cumsum(0)
        return torch.nn.functional.pad(ends, (1, 0))

    first = before(block)
    tile = torch.arange(n, device=offsets.device)
    row = torch.searchsorted(first[1:], tile, right=True)
    inside = row < rows
    row = row.clamp(max=rows - 1)
    length = torch.where(inside, lengths[row], 0)
    columns = (offsets[row], length, tile - first[row], before(chunk)[row])
    return torch.stack(columns, 1).to(torch.int32).contiguous(), n


def _common(
    q: Tensor,
    v: Tensor,
    G: int,
    slopes: Tensor | None,
    window: Tensor | None,
    log_forget: Tensor | None,
    gate: Tensor | None,
    offsets: Tensor | None,
) -> dict[str, Any]:
    """What every launch needs, by argument name."""
    H, d, e = q.shape[2], q.shape[3], v.shape[3]
    sums = None if log_forget is None else log_forget.cumsum(1, dtype=torch.float64)
    tensors: dict[str, Any] = {
        "SLOPES": None if slopes is None else slopes.contiguous(),
        "WINDOW": None if window is None else window.to(torch.int32).contiguous(),
        "SUMS": None if sums is None else sums.contiguous(),
    }
    constants: dict[str, Any] = {
        "slopes_stride": H if slopes is not None and slopes.ndim == 2 else 0,
        "window_stride": H if window is not None and window.ndim == 2 else 0,
        "H": H,
        "G": G,
        "d": d,
        "e": e,
        "D": max(16, triton.next_power_of_2(d)),
        "E": max(16, triton.next_power_of_2(e)),
        "GATE_KIND": 0 if gate is None else gate.ndim - 2,
        "HAS_SLOPES": slopes is not None,
        "HAS_WINDOW": window is not None,
        "HAS_FORGET": log_forget is not None,
        "PACKED": offsets is not None,
        "UPCAST": q.dtype == torch.bfloat16 and triton.knobs.runtime.interpret,
        "PREC": _PRECISION,
    }
    return tensors | constants


# Products of float32 tiles as three of TensorFloat32: float32's error from tensor cores.
_PRECISION = "tf32x3"


def _run(kernel: Any, grid: int, plan: _Plan, given: dict[str, Any]) -> None:
    given = given | {"BM": plan.BM, "BN": plan.BN}
    kernel[(grid,)](
        **{n: given[n] for n in kernel.arg_names},
        num_warps=plan.num_warps,
        num_stages=plan.num_stages,
    )


def run_forward(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    scale: float,
    slopes: Tensor | None,
    window: Tensor | None,
    log_forget: Tensor | None,
    gate: Tensor | None,
    offsets: Tensor | None,
) -> tuple[Tensor, Tensor]:
    """y [B,T,H,e] and the logarithm (base 2) of the softmax's denominator [B,T,H]."""
    q, k, v = q.contiguous(), k.contiguous(), v.contiguous()
    B, T, H, d = q.shape
    e = v.shape[3]
    y = torch.empty(B, T, H, e, dtype=v.dtype, device=q.device)
    lse = torch.empty(B, T, H, dtype=torch.float32, device=q.device)
    given = _common(q, v, k.shape[2], slopes, window, log_forget, gate, offsets)
    plan = _plan("forward", max(d, e), q.dtype.itemsize, T)
    tiles, n = _tiles(offsets, T, plan.BM)
    gate = None if gate is None else gate.contiguous()
    own: dict[str, Any] = {"Q": q, "K": k, "V": v, "GATE": gate, "TILES": tiles, "Y": y, "LSE": lse}
    own |= {"scale": scale, "T": T, "n_tiles": n}
    _run(forward, n * B * H, plan, given | own)
    return y, lse


def run_backward(
    dy: Tensor,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    y: Tensor,
    lse: Tensor,
    scale: float,
    slopes: Tensor | None,
    window: Tensor | None,
    log_forget: Tensor | None,
    gate: Tensor | None,
    offsets: Tensor | None,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """dq, dk, dv, dlog_forget (float32) and dgate; the last two are empty where there is none."""
    q, k, v, dy = q.contiguous(), k.contiguous(), v.contiguous(), dy.contiguous()
    B, T, H, d = q.shape
    G, e = v.shape[2:]
    given = _common(q, v, G, slopes, window, log_forget, gate, offsets)
    gate = None if gate is None else gate.contiguous()
    dq, dk, dv = torch.empty_like(q), torch.empty_like(k), torch.empty_like(v)
    dgate = None if gate is None else torch.empty_like(gate)
    given |= {"Q": q, "K": k, "V": v, "GATE": gate, "Y": y, "LSE": lse, "DY": dy}
    given |= {"DQ": dq, "DK": dk, "DV": dv, "DGATE": dgate, "scale": scale, "T": T}
    dlog = None
    if T <= 128 and max(d, e) <= 64 and q.dtype.itemsize == 2 and G == H and offsets is None:
        if log_forget is not None:
            dlog = torch.empty(B, T, H, dtype=torch.float32, device=q.device)
        plan = _plan("short", max(d, e), q.dtype.itemsize, T)
        _run(backward_short, B * H, plan, given | {"DLOG": dlog})
    else:
        delta = torch.empty_like(lse)
        do = dy if gate is None else torch.empty_like(dy)
        cols = None
        if log_forget is not None:
            cols = torch.empty(B, T, H, dtype=torch.float32, device=q.device)
        given |= {"DO": do, "DELTA": delta, "DCOLS": cols}
        plan = _plan("rows", max(d, e), q.dtype.itemsize, T)
        tiles, n = _tiles(offsets, T, plan.BM)
        _run(backward_rows, n * B * H, plan, given | {"TILES": tiles, "n_tiles": n})
        plan = _plan("keys", max(d, e), q.dtype.itemsize, T)
        tiles, n = _tiles(offsets, T, plan.BN)
        _run(backward_keys, n * B * G, plan, given | {"TILES": tiles, "n_tiles": n})
        if cols is not None:
            dlog = _summed_to_the_end(cols, offsets).neg_()
    return (
        dq,
        dk,
        dv,
        q.new_empty(0, dtype=torch.float32) if dlog is None else dlog,
        q.new_empty(0) if dgate is None else dgate,
    )


def _summed_to_the_end(x: Tensor, offsets: Tensor | None) -> Tensor:
    """sum over i >= t of x_i [B,T,H], inside each packed row."""
    sums = x.cumsum(1, dtype=torch.float64)
    last = sums[:, -1:]
    if offsets is not None:
        token = torch.arange(x.shape[1], device=x.device)
        row = torch.searchsorted(offsets[1:], token, right=True)
        last = sums[:, offsets[1:].long()[row] - 1]
    return (last - sums + x).to(x.dtype)


def configurations() -> list[dict[str, Any]]:
    """Every kernel as it is shipped, for compilation ahead of time."""
    found = []
    for kernel, name in (
        (forward, "forward"),
        (backward_rows, "rows"),
        (backward_keys, "keys"),
        (backward_short, "short"),
    ):
        for dtype, width, options in _SHIPPED[name]:
            gate, biases = _OPTIONS[options]
            plan = _plan(name, width, 4 if dtype == "fp32" else 2, 128 if name == "short" else 2048)
            constants = {
                "H": 8, "G": 8, "d": width, "e": width, "D": width, "E": width,
                "BM": plan.BM, "BN": plan.BN, "GATE_KIND": gate, "HAS_SLOPES": biases,
                "HAS_WINDOW": biases, "HAS_FORGET": biases, "PACKED": False, "UPCAST": False,
                "PREC": _PRECISION, "TILES": None,
            }  # fmt: skip
            if not biases:
                absent = ("SLOPES", "WINDOW", "SUMS", "DCOLS", "DLOG")
                constants |= dict.fromkeys(absent)
            if gate == 0:
                constants |= {"GATE": None, "DGATE": None}
            single = ("LSE", "DELTA", "DCOLS", "DLOG", "SLOPES")
            types = dict.fromkeys(kernel.arg_names, f"*{dtype}")
            types |= dict.fromkeys(single, "*fp32") | {"WINDOW": "*i32", "SUMS": "*fp64"}
            types |= {"scale": "fp32", "T": "i32", "n_tiles": "i32"}
            types |= {"slopes_stride": "i32", "window_stride": "i32"}
            constants = {n: x for n, x in constants.items() if n in kernel.arg_names}
            found.append(
                {
                    "name": f"attention {name} {dtype} {width} {options}",
                    "kernel": kernel,
                    "signature": {n: types[n] for n in kernel.arg_names if n not in constants},
                    "constexprs": constants,
                    "num_warps": plan.num_warps,
                    "num_stages": plan.num_stages,
                    "quick": dtype == "bf16"
                    and width == 64
                    and options == ("all" if name in ("rows", "keys") else "gate"),
                    "spill_free": (name, dtype, width, options) not in _SPILL,
                }
            )
    return found


_OPTIONS = {"plain": (0, False), "gate": (2, False), "all": (2, True)}
_SHIPPED = {
    name: [
        (dtype, width, options)
        for dtype in ("bf16", "fp32")
        for width in (32, 64, 128)
        for options in _OPTIONS
        if not (name == "keys" and options == "gate")
        if not (name == "short" and (dtype == "fp32" or width == 128))
    ]
    for name in ("forward", "rows", "keys", "short")
}
# Float32 products want three copies of their operands; ALiBi, window and FoX at once are rare.
_SPILL = {
    *((name, "fp32", 128, o) for name in ("forward", "rows", "keys") for o in _OPTIONS),
    *(("keys", "fp32", 32, o) for o in _OPTIONS),
    *(("short", "bf16", width, "all") for width in (32, 64)),
    ("rows", "fp32", 64, "all"),
    ("forward", "bf16", 64, "all"),
    ("rows", "bf16", 128, "all"),
}
