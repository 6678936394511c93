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

import torch
import triton
import triton.language as tl
from torch import Tensor

from kernels._launch import row_major
from kernels._tiles import (
    LOG2E,
    before_gate,
    load_rows,
    log2_sums,
    place,
    store_rows,
    sum_to_the_end,
    tiles,
)
from kernels.attention import plans
from kernels.attention.forward import arguments, biased, run
from kernels.attention.plans import COUNTS


@triton.jit(do_not_specialize=COUNTS)
def backward_rows(
    Q, K, V, GATE, SLOPES, WINDOW, SUMS, TILES, Y, LSE, DY, DO, DELTA, DQ, DGATE, scale, T, n_tiles,
    slopes_stride, window_stride,
    H: tl.constexpr, G: tl.constexpr, d: tl.constexpr, e: tl.constexpr, D: tl.constexpr,
    E: tl.constexpr, BM: tl.constexpr, BN: tl.constexpr, GATE_KIND: tl.constexpr,
    HAS_SLOPES: tl.constexpr, HAS_WINDOW: tl.constexpr, HAS_FORGET: tl.constexpr,
    PACKED: tl.constexpr, PREC: tl.constexpr,
):  # fmt: skip
    """The gradient of a tile of queries, over the same keys as in `forward`.

    owns    BM queries of one row and head; dq stays in registers
    reads   q, dy, y, gate and lse of the tile; k and v of keys 0 .. r0 + BM
    writes  dq, dgate, dO (dy before the gate) and delta of the tile
    """
    b, h, start, length, r0 = place(TILES, T, n_tiles, H, BM, PACKED)
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
    do, delta = before_gate(dy, GATE, Y, DGATE, token, h, row_e, r, ce, length, H, e, E, GATE_KIND)
    if GATE_KIND > 0:
        store_rows(DO + row_e, do, r[:, None], ce[None, :], H * e, length, e, E)
    lse = tl.load(LSE + head + r, mask=r < length, other=float("inf"))
    scale2 = scale * LOG2E
    slope, window, low = 0.0, 0, 0
    near_r, lost_r, origin = 0.0, 0.0, 0.0
    if HAS_SLOPES:
        slope = tl.load(SLOPES + b * slopes_stride + h).to(tl.float32) * LOG2E
    if HAS_WINDOW:
        window = tl.load(WINDOW + b * window_stride + h)
        window = tl.where(window > 0, window, length)
        low = tl.maximum(r0 - window + 1, 0) // BN * BN
    if HAS_FORGET:
        SUMS += head
        origin = tl.load(SUMS + r0)
        near_r, lost_r = log2_sums(SUMS, r[:, None], length, origin)
    dq = tl.zeros([BM, D], tl.float32)
    drows = tl.zeros([BM], tl.float32)
    for part in tl.static_range(2):
        first = low if part == 0 else r0 // BN * BN
        last = r0 // BN * BN if part == 0 else tl.minimum(r0 + BM, length)
        for s0 in range(first, last, BN):
            s = s0 + tl.arange(0, BN)
            k = load_rows(K, s[:, None], cd[None, :], G * d, length, d, D)
            v = load_rows(V, s[:, None], ce[None, :], G * e, length, e, E)
            S = tl.dot(q, tl.trans(k), input_precision=PREC) * scale2
            near_s, lost_s = 0.0, 0.0
            if HAS_FORGET:
                near_s, lost_s = log2_sums(SUMS, s[None, :], length, origin)
            S = biased(
                S, r[:, None], s[None, :], near_r, near_s, lost_r, lost_s, slope, window, length,
                HAS_SLOPES, HAS_WINDOW, HAS_FORGET, part == 1,
            )  # fmt: skip
            p = tl.exp2(S - lse[:, None])
            ds = p * (tl.dot(do, tl.trans(v), input_precision=PREC) - delta[:, None])
            dq += tl.dot(ds.to(k.dtype), k, input_precision=PREC)
            if HAS_FORGET:
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
    E: tl.constexpr, BM: tl.constexpr, BN: tl.constexpr, HAS_SLOPES: tl.constexpr,
    HAS_WINDOW: tl.constexpr, HAS_FORGET: tl.constexpr, PACKED: tl.constexpr, PREC: tl.constexpr,
):  # fmt: skip
    """The gradient of a tile of keys, over every query from it on.

        queries  s0 .. s0 + BN ........ T
        keys     [ masked      | whole  ]      BM queries at a time, all heads of the group

    owns    BN keys of one row and head of keys; dk and dv stay in registers
    reads   k, v of the tile; q, dO, lse and delta of queries s0 .. T of H / G heads
    writes  dk, dv and the column sums of dS of the tile
    """
    b, g, start, length, s0 = place(TILES, T, n_tiles, G, BN, PACKED)
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
        slope, window, high = 0.0, 0, length
        near_s, lost_s, origin = 0.0, 0.0, 0.0
        if HAS_SLOPES:
            slope = tl.load(SLOPES + b * slopes_stride + h).to(tl.float32) * LOG2E
        if HAS_WINDOW:
            window = tl.load(WINDOW + b * window_stride + h)
            window = tl.where(window > 0, window, length)
            high = tl.minimum(length, s0 + BN - 1 + window)
        if HAS_FORGET:
            # Between the tile's keys and the queries after it.
            origin = tl.load(SUMS + head + tl.minimum(s0 + BN, length) - 1)
            near_s, lost_s = log2_sums(SUMS + head, s[:, None], length, origin)
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
                near_r, lost_r = 0.0, 0.0
                if HAS_FORGET:
                    near_r, lost_r = log2_sums(SUMS + head, r[None, :], length, origin)
                S = biased(
                    S, r[None, :], s[:, None], near_r, near_s, lost_r, lost_s, slope, window,
                    length, HAS_SLOPES, HAS_WINDOW, HAS_FORGET, part == 0,
                )  # fmt: skip
                p = tl.exp2(S - lse[None, :])
                dv += tl.dot(p.to(do.dtype), do, input_precision=PREC)
                ds = p * (tl.dot(v, tl.trans(do), input_precision=PREC) - delta[None, :])
                dk += tl.dot(ds.to(q.dtype), q, input_precision=PREC)
                if HAS_FORGET:
                    dcols += tl.sum(ds, 1)
        if HAS_FORGET:
            tl.store(DCOLS + head + s, dcols, mask=s < length)
    store_rows(DK + row_d, dk * scale, s[:, None], cd[None, :], G * d, length, d, D)
    store_rows(DV + row_e, dv, s[:, None], ce[None, :], G * e, length, e, E)


@triton.jit(do_not_specialize=COUNTS)
def backward_short(
    Q, K, V, GATE, SLOPES, WINDOW, SUMS, Y, LSE, DY, DQ, DK, DV, DGATE, DLOG, scale, T,
    slopes_stride, window_stride,
    H: tl.constexpr, d: tl.constexpr, e: tl.constexpr, D: tl.constexpr, E: tl.constexpr,
    BM: tl.constexpr, BN: tl.constexpr, GATE_KIND: tl.constexpr, HAS_SLOPES: tl.constexpr,
    HAS_WINDOW: tl.constexpr, HAS_FORGET: tl.constexpr, PREC: tl.constexpr,
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
    do, delta = before_gate(dy, GATE, Y, DGATE, token, h, row_e, r, ce, T, H, e, E, GATE_KIND)
    lse = tl.load(LSE + head + r, mask=r < T, other=float("inf"))
    scale2 = scale * LOG2E
    slope, window = 0.0, 0
    near_r, lost_r, origin = 0.0, 0.0, 0.0
    if HAS_SLOPES:
        slope = tl.load(SLOPES + b * slopes_stride + h).to(tl.float32) * LOG2E
    if HAS_WINDOW:
        window = tl.load(WINDOW + b * window_stride + h)
        window = tl.where(window > 0, window, T)
    if HAS_FORGET:
        SUMS += head
        origin = tl.load(SUMS)
        near_r, lost_r = log2_sums(SUMS, r[:, None], T, origin)
    dq = tl.zeros([BM, D], tl.float32)
    drows = tl.zeros([BM], tl.float32)
    for s0 in range(0, T, BN):
        s = s0 + tl.arange(0, BN)
        k = load_rows(K + row_d, s[:, None], cd[None, :], H * d, T, d, D)
        v = load_rows(V + row_e, s[:, None], ce[None, :], H * e, T, e, E)
        near_s, lost_s = 0.0, 0.0
        if HAS_FORGET:
            near_s, lost_s = log2_sums(SUMS, s[None, :], T, origin)
        S = tl.dot(q, tl.trans(k), input_precision=PREC) * scale2
        S = biased(
            S, r[:, None], s[None, :], near_r, near_s, lost_r, lost_s, slope, window, T,
            HAS_SLOPES, HAS_WINDOW, HAS_FORGET, True,
        )  # fmt: skip
        p = tl.exp2(S - lse[:, None])
        ds = p * (tl.dot(do, tl.trans(v), input_precision=PREC) - delta[:, None])
        dq += tl.dot(ds.to(k.dtype), k, input_precision=PREC)
        if HAS_FORGET:
            drows += tl.sum(ds, 1)
    delta += drows
    store_rows(DQ + row_d, dq * scale, r[:, None], cd[None, :], H * d, T, d, D)
    do_t = load_rows(DY + row_e, r[None, :], ce[:, None], H * e, T, e, E)
    if GATE_KIND == 1:
        logit = tl.load(GATE + (token + r) * H + h, mask=r < T, other=0.0)
        share = tl.sigmoid(logit.to(tl.float32))[None, :]
        do_t = (do_t.to(tl.float32) * share).to(dy.dtype)
    if GATE_KIND == 2:
        logit = load_rows(GATE + row_e, r[None, :], ce[:, None], H * e, T, e, E)
        do_t = (do_t.to(tl.float32) * tl.sigmoid(logit.to(tl.float32))).to(dy.dtype)
    if HAS_FORGET:
        near_r, lost_r = log2_sums(SUMS, r[None, :], T, origin)
    for s0 in range(0, T, BN):
        s = s0 + tl.arange(0, BN)
        k = load_rows(K + row_d, s[:, None], cd[None, :], H * d, T, d, D)
        v = load_rows(V + row_e, s[:, None], ce[None, :], H * e, T, e, E)
        near_s, lost_s = 0.0, 0.0
        if HAS_FORGET:
            near_s, lost_s = log2_sums(SUMS, s[:, None], T, origin)
        S = tl.dot(k, tl.trans(q), input_precision=PREC) * scale2
        S = biased(
            S, r[None, :], s[:, None], near_r, near_s, lost_r, lost_s, slope, window, T,
            HAS_SLOPES, HAS_WINDOW, HAS_FORGET, True,
        )  # fmt: skip
        p = tl.exp2(S - lse[None, :])
        dv = tl.dot(p.to(do.dtype), do, input_precision=PREC)
        store_rows(DV + row_e, dv, s[:, None], ce[None, :], H * e, T, e, E)
        ds = p * (tl.dot(v, do_t, input_precision=PREC) - delta[None, :])
        dk = tl.dot(ds.to(q.dtype), q, input_precision=PREC)
        store_rows(DK + row_d, dk * scale, s[:, None], cd[None, :], H * d, T, d, D)
        if HAS_FORGET:
            tl.store(DLOG + (token + s) * H + h, -tl.sum(ds, 1), mask=s < T)
    if HAS_FORGET:
        tl.debug_barrier()
        own = tl.load(DLOG + (token + r) * H + h, mask=r < T, other=0.0)
        dlog = tl.cumsum(own, 0, reverse=True)
        tl.debug_barrier()
        tl.store(DLOG + (token + r) * H + h, dlog, mask=r < T)


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
    dy, q, k, v, y, lse, slopes, window, log_forget, gate = row_major(
        dy, q, k, v, y, lse, slopes, window, log_forget, gate
    )
    B, T, H, d = q.shape
    G, e = v.shape[2:]
    given = arguments(q, v, G, slopes, window, log_forget, gate, offsets)
    dq, dk, dv = torch.empty_like(q), torch.empty_like(k), torch.empty_like(v)
    dgate = None if gate is None else torch.empty_like(gate)
    given |= {"Q": q, "K": k, "V": v, "GATE": gate, "Y": y, "LSE": lse, "DY": dy}
    given |= {"DQ": dq, "DK": dk, "DV": dv, "DGATE": dgate, "scale": scale, "T": T}
    dlog = None
    if T <= 128 and max(d, e) <= 64 and q.dtype.itemsize == 2 and G == H and offsets is None:
        if log_forget is not None:
            dlog = torch.empty(B, T, H, dtype=torch.float32, device=q.device)
        plan = plans.plan("short", max(d, e), q.dtype.itemsize, T)
        run(backward_short, B * H, plan, given | {"DLOG": dlog})
    else:
        delta = torch.empty_like(lse)
        do = dy if gate is None else torch.empty_like(dy)
        cols = None
        if log_forget is not None:
            cols = torch.empty(B, H, T, dtype=torch.float32, device=q.device)
        given |= {"DO": do, "DELTA": delta, "DCOLS": cols}
        plan = plans.plan("rows", max(d, e), q.dtype.itemsize, T)
        table, n = tiles(offsets, T, plan.BM, plan.BM)
        run(backward_rows, n * B * H, plan, given | {"TILES": table, "n_tiles": n})
        plan = plans.plan("keys", max(d, e), q.dtype.itemsize, T)
        table, n = tiles(offsets, T, plan.BN, plan.BN)
        run(backward_keys, n * B * G, plan, given | {"TILES": table, "n_tiles": n})
        if cols is not None:
            dlog = sum_to_the_end(cols, offsets).neg_()
    return (
        dq,
        dk,
        dv,
        q.new_empty(0, dtype=torch.float32) if dlog is None else dlog,
        q.new_empty(0) if dgate is None else dgate,
    )
