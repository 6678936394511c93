"""Triton kernels of attention's backward pass: by rows, by keys, and a short one.

The backward needs neither the attention weights nor the output before the gate: with y gated,
delta_i = dy_i . y_i is what the softmax needs, and dgate = dy y (1 - sigmoid(gate)).
`backward_rows` owns tiles of queries: it writes dq, dgate, delta and the gradient dO before the
gate. `backward_keys` owns tiles of keys, goes through the H/G heads that read them and writes dk
and dv once. No atomics, so gradients repeat bit for bit. `backward_short` does both for one tile.

log f: column sums of dS are written; minus their sum from a token to the end is its gradient.
"""
# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

from typing import Any

import triton
import triton.language as tl
from torch import Tensor

from kernels._launch import like
from kernels._tiles import (
    LOG2E,
    before_gate,
    load_rows,
    log2_sums,
    place,
    store_rows,
    sum_in_place,
    sum_to_the_end,
    turned_gradient,
)
from kernels.attention import plans
from kernels.attention.forward import arguments, biased, run, slope_of, window_of
from kernels.attention.operator import Inputs
from kernels.attention.plans import COUNTS


@triton.jit(do_not_specialize=COUNTS)
def backward_rows(
    Q, K, V, GATE, SLOPES, WINDOW, SUMS, TILES, Y, LSE, DY, DO, DELTA, DQ, DGATE, scale, T, n_tiles,
    slopes_stride, window_stride,
    H: tl.constexpr, G: tl.constexpr, d: tl.constexpr, e: tl.constexpr, D: tl.constexpr,
    E: tl.constexpr, BM: tl.constexpr, BN: tl.constexpr, GATE_KIND: tl.constexpr,
    PREC: tl.constexpr,
):  # fmt: skip
    """The gradient of a tile of queries, over the same keys as in `forward`.

    owns    BM queries of one row and head; dq stays in registers
    reads   q, dy, y, gate and lse of the tile; k and v of keys 0 .. r0 + BM
    writes  dq, dgate, dO (dy before the gate) and delta of the tile
    """
    b, h, start, length, r0, _ = place(TILES, T, n_tiles, H, BM)
    if r0 >= length:
        return
    g = h // (H // G)
    token, head = b * T + start, (b * H + h) * T + start
    r = r0 + tl.arange(0, BM)
    cd, ce = tl.arange(0, D), tl.arange(0, E)
    K += (token * G + g) * d
    V += (token * G + g) * e
    row_e = (token * H + h) * e
    q = load_rows(Q + (token * H + h) * d, r[:, None], cd[None, :], H * d, length, d, D)
    dy = load_rows(DY + row_e, r[:, None], ce[None, :], H * e, length, e, E)
    do, delta = before_gate(dy, GATE, Y, DGATE, token, h, r, ce, length, H, e, E, GATE_KIND)
    if GATE_KIND > 0:
        store_rows(DO + row_e, do, r[:, None], ce[None, :], H * e, length, e, E)
    lse = tl.load(LSE + head + r, mask=r < length, other=float("inf"))
    scale2 = scale * LOG2E
    slope = slope_of(SLOPES, b, h, slopes_stride)
    window = window_of(WINDOW, b, h, window_stride, length)
    low, origin = 0, None
    if WINDOW is not None:
        low = tl.maximum(r0 - window + 1, 0) // BN * BN
    if SUMS is not None:
        SUMS += head
        origin = tl.load(SUMS + r0)
    sums_r = log2_sums(SUMS, r[:, None], length, origin)
    dq = tl.zeros([BM, D], tl.float32)
    drows = tl.zeros([BM], tl.float32)
    for part in tl.static_range(2):
        first = low if part == 0 else r0 // BN * BN
        last = r0 // BN * BN if part == 0 else tl.minimum(r0 + BM, length)
        known = None if part == 0 else length
        for s0 in range(first, last, BN):
            s = s0 + tl.arange(0, BN)
            k = load_rows(K, s[:, None], cd[None, :], G * d, known, d, D)
            v = load_rows(V, s[:, None], ce[None, :], G * e, known, e, E)
            S = tl.dot(q, tl.trans(k), input_precision=PREC) * scale2
            sums_s = log2_sums(SUMS, s[None, :], length, origin)
            S = biased(S, r[:, None], s[None, :], sums_r, sums_s, slope, window, part == 1)
            p = tl.exp2(S - lse[:, None])
            ds = p * (tl.dot(do, tl.trans(v), input_precision=PREC) - delta[:, None])
            dq += tl.dot(ds.to(k.dtype), k, input_precision=PREC)
            if SUMS is not None:
                drows += tl.sum(ds, 1)
    store_rows(DQ + (token * H + h) * d, dq * scale, r[:, None], cd[None, :], H * d, length, d, D)
    # Rows of dS add up to 0 exactly. The sum found here is the rounding error of y in delta; it is
    # moved into delta, because the forget gate's gradient sums dS over tokens.
    tl.store(DELTA + head + r, delta + drows, mask=r < length)


@triton.jit(do_not_specialize=COUNTS)
def backward_keys(
    Q, K, V, SLOPES, WINDOW, SUMS, TILES, LSE, DO, DELTA, DK, DV, DCOLS, scale, T, n_tiles,
    slopes_stride, window_stride,
    H: tl.constexpr, G: tl.constexpr, d: tl.constexpr, e: tl.constexpr, D: tl.constexpr,
    E: tl.constexpr, BM: tl.constexpr, BN: tl.constexpr, PREC: tl.constexpr,
):  # fmt: skip
    """The gradient of a tile of keys, over every query from it on.

        queries  s0 .. s0 + BN ........ T
        keys     [ masked      | whole  ]      BM queries at a time, all heads of the group

    owns    BN keys of one row and head of keys; dk and dv stay in registers
    reads   k, v of the tile; q, dO, lse and delta of queries s0 .. T of H / G heads
    writes  dk, dv and the column sums of dS of the tile
    """
    b, g, start, length, s0, _ = place(TILES, T, n_tiles, G, BN)
    if s0 >= length:
        return
    token = b * T + start
    s = s0 + tl.arange(0, BN)
    cd, ce = tl.arange(0, D), tl.arange(0, E)
    row_d, row_e = (token * G + g) * d, (token * G + g) * e
    k = load_rows(K + row_d, s[:, None], cd[None, :], G * d, length, d, D)
    v = load_rows(V + row_e, s[:, None], ce[None, :], G * e, length, e, E)
    scale2 = scale * LOG2E
    dk = tl.zeros([BN, D], tl.float32)
    dv = tl.zeros([BN, E], tl.float32)
    for h in range(g * (H // G), (g + 1) * (H // G)):
        q_h = Q + (token * H + h) * d
        do_h = DO + (token * H + h) * e
        head = (b * H + h) * T + start
        slope = slope_of(SLOPES, b, h, slopes_stride)
        window = window_of(WINDOW, b, h, window_stride, length)
        high, sums, origin = length, None, None
        if WINDOW is not None:
            high = tl.minimum(length, s0 + BN - 1 + window)
        if SUMS is not None:
            # Between the tile's keys and the queries after it.
            sums = SUMS + head
            origin = tl.load(sums + tl.minimum(s0 + BN, length) - 1)
        sums_s = log2_sums(sums, s[:, None], length, origin)
        dcols = tl.zeros([BN], tl.float32)
        # Queries after the tile's last key need no mask; the others need one.
        middle = tl.minimum((s0 + BN + BM - 1) // BM * BM, high)
        for part in tl.static_range(2):
            first = s0 // BM * BM if part == 0 else middle
            last = middle if part == 0 else high
            for r0 in range(first, last, BM):
                r = r0 + tl.arange(0, BM)
                q = load_rows(q_h, r[:, None], cd[None, :], H * d, length, d, D)
                do = load_rows(do_h, r[:, None], ce[None, :], H * e, length, e, E)
                # Queries after the end get the weight exp2(-inf) = 0.
                lse = tl.load(LSE + head + r, mask=r < length, other=float("inf"))
                delta = tl.load(DELTA + head + r, mask=r < length, other=0.0)
                S = tl.dot(k, tl.trans(q), input_precision=PREC) * scale2
                sums_r = log2_sums(sums, r[None, :], length, origin)
                S = biased(S, r[None, :], s[:, None], sums_r, sums_s, slope, window, part == 0)
                p = tl.exp2(S - lse[None, :])
                dv += tl.dot(p.to(do.dtype), do, input_precision=PREC)
                ds = p * (tl.dot(v, tl.trans(do), input_precision=PREC) - delta[None, :])
                dk += tl.dot(ds.to(q.dtype), q, input_precision=PREC)
                if SUMS is not None:
                    dcols += tl.sum(ds, 1)
        if SUMS is not None:
            tl.store(DCOLS + head + s, dcols, mask=s < length)
    store_rows(DK + row_d, dk * scale, s[:, None], cd[None, :], G * d, length, d, D)
    store_rows(DV + row_e, dv, s[:, None], ce[None, :], G * e, length, e, E)


@triton.jit(do_not_specialize=COUNTS)
def backward_short(
    Q, K, V, GATE, SLOPES, WINDOW, SUMS, Y, LSE, DY, DQ, DK, DV, DGATE, DLOG, scale, T,
    slopes_stride, window_stride,
    H: tl.constexpr, d: tl.constexpr, e: tl.constexpr, D: tl.constexpr, E: tl.constexpr,
    BM: tl.constexpr, BN: tl.constexpr, GATE_KIND: tl.constexpr, PREC: tl.constexpr,
):  # fmt: skip
    """Everything for one row and head with T <= BM and G = H: memory is read about once.

    First dq, then dk and dv, so that the two never hold registers together. dO is made again and
    transposed for the second half: no computed tile is ever transposed.

    owns    one row and head, BN keys at a time
    reads   q, k, v, dy, y, gate and lse of the row; k, v, dy and gate twice
    writes  every gradient of the row; that of log f is summed to the end in place
    """
    pid = tl.program_id(0)
    b, h = (pid // H).to(tl.int64), pid % H
    token, head = b * T, (b * H + h) * T
    r = tl.arange(0, BM)
    cd, ce = tl.arange(0, D), tl.arange(0, E)
    row_d, row_e = (token * H + h) * d, (token * H + h) * e
    q = load_rows(Q + row_d, r[:, None], cd[None, :], H * d, T, d, D)
    dy = load_rows(DY + row_e, r[:, None], ce[None, :], H * e, T, e, E)
    do, delta = before_gate(dy, GATE, Y, DGATE, token, h, r, ce, T, H, e, E, GATE_KIND)
    lse = tl.load(LSE + head + r, mask=r < T, other=float("inf"))
    scale2 = scale * LOG2E
    slope = slope_of(SLOPES, b, h, slopes_stride)
    window = window_of(WINDOW, b, h, window_stride, T)
    origin = None
    if SUMS is not None:
        SUMS += head
        origin = tl.load(SUMS)
    sums_r = log2_sums(SUMS, r[:, None], T, origin)
    dq = tl.zeros([BM, D], tl.float32)
    drows = tl.zeros([BM], tl.float32)
    for s0 in range(0, T, BN):
        s = s0 + tl.arange(0, BN)
        k = load_rows(K + row_d, s[:, None], cd[None, :], H * d, T, d, D)
        v = load_rows(V + row_e, s[:, None], ce[None, :], H * e, T, e, E)
        sums_s = log2_sums(SUMS, s[None, :], T, origin)
        S = tl.dot(q, tl.trans(k), input_precision=PREC) * scale2
        S = biased(S, r[:, None], s[None, :], sums_r, sums_s, slope, window, True)
        p = tl.exp2(S - lse[:, None])
        ds = p * (tl.dot(do, tl.trans(v), input_precision=PREC) - delta[:, None])
        dq += tl.dot(ds.to(k.dtype), k, input_precision=PREC)
        if SUMS is not None:
            drows += tl.sum(ds, 1)
    delta += drows
    store_rows(DQ + row_d, dq * scale, r[:, None], cd[None, :], H * d, T, d, D)
    do_t = turned_gradient(DY, GATE, token, h, r, ce, T, H, e, E, GATE_KIND)
    sums_r = log2_sums(SUMS, r[None, :], T, origin)
    for s0 in range(0, T, BN):
        s = s0 + tl.arange(0, BN)
        k = load_rows(K + row_d, s[:, None], cd[None, :], H * d, T, d, D)
        v = load_rows(V + row_e, s[:, None], ce[None, :], H * e, T, e, E)
        sums_s = log2_sums(SUMS, s[:, None], T, origin)
        S = tl.dot(k, tl.trans(q), input_precision=PREC) * scale2
        S = biased(S, r[None, :], s[:, None], sums_r, sums_s, slope, window, True)
        p = tl.exp2(S - lse[None, :])
        dv = tl.dot(p.to(do.dtype), do, input_precision=PREC)
        store_rows(DV + row_e, dv, s[:, None], ce[None, :], H * e, T, e, E)
        ds = p * (tl.dot(v, do_t, input_precision=PREC) - delta[None, :])
        dk = tl.dot(ds.to(q.dtype), q, input_precision=PREC)
        store_rows(DK + row_d, dk * scale, s[:, None], cd[None, :], H * d, T, d, D)
        if SUMS is not None:
            tl.store(DLOG + (token + s) * H + h, -tl.sum(ds, 1), mask=s < T)
    if SUMS is not None:
        sum_in_place(DLOG, token, h, r, T, H)


def run_backward(i: Inputs, y: Tensor, lse: Tensor, dy: Tensor) -> dict[str, Tensor | None]:
    """Gradients by name."""
    B, T, H, d = i.q.shape
    G, e = i.v.shape[2:]
    width, itemsize = max(d, e), i.q.dtype.itemsize
    given = arguments(i)
    y, lse, dy = (x.contiguous() for x in (y, lse, dy))
    given |= {f"D{n}": like(given[n]) for n in ("Q", "K", "V", "GATE")}
    given |= {"Y": y, "LSE": lse, "DY": dy}
    dlog: Any = None
    if T <= 128 and width <= 64 and itemsize == 2 and G == H and i.offsets is None:
        if i.log_forget is not None:
            dlog = lse.new_empty(B, T, H)
        plan = plans.plan("short", width, itemsize, T)
        run(backward_short, B * H, plan, given | {"DLOG": dlog}, T)
    else:
        given["DO"] = dy if i.gate is None else like(dy)
        given |= {"DELTA": like(lse), "DCOLS": None if i.log_forget is None else like(lse)}
        plan = plans.plan("rows", width, itemsize, T)
        run(backward_rows, B * H, plan, given, plan.BM)
        plan = plans.plan("keys", width, itemsize, T)
        run(backward_keys, B * G, plan, given, plan.BN)
        if i.log_forget is not None:
            dlog = sum_to_the_end(given["DCOLS"], i.offsets).neg_()
    return {
        "q": given["DQ"], "k": given["DK"], "v": given["DV"], "gate": given["DGATE"],
        "log_forget": None if i.log_forget is None else dlog.to(i.log_forget.dtype),
    }  # fmt: skip
