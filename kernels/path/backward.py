"""Triton kernels of PaTH's backward pass for long rows, and the launch of either.

`backward_sweep` passes the chunks left of the queries' own, `backward_chunks` the queries' own and
turns the gradients of K^, Z, X and U into those of k, w and beta. Short rows go through
`backward_short` instead, in one launch. No atomics: gradients repeat bit for bit.
"""
# mypy: disable-error-code="no-untyped-def,index"

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from kernels import COUNTS
from kernels._launch import launch, like, processors
from kernels._tiles import (
    LOG2E,
    before_gate,
    load_rows,
    log2_sums,
    place,
    sequence,
    store_rows,
    sum_to_the_end,
    tiles,
)
from kernels.path import plans
from kernels.path.backward_short import backward_short
from kernels.path.chunks import gradient_inside, gradient_reflections, keep, prepared, recall
from kernels.path.forward import arguments
from kernels.path.operator import Inputs


@triton.jit(do_not_specialize=COUNTS)
def backward_sweep(
    Q, K, V, W, GATE, SUMS, TILES, XS, US, KH, ZS, Y, LSE, DY, DO, DELTA, DGATE, DQH, DKH, DVH, DZ,
    DCOLS, QS, scale, T, n_tiles, n_chunks, n_rows,
    H: tl.constexpr, G: tl.constexpr, d: tl.constexpr, e: tl.constexpr, D: tl.constexpr,
    E: tl.constexpr, BT: tl.constexpr, C: tl.constexpr, SHARES: tl.constexpr,
    GATE_KIND: tl.constexpr, PREC: tl.constexpr,
):  # fmt: skip
    """The chunks left of the queries' own.

    A tile's queries leave their own chunks, then pass the others from right to left and are kept in
    scratch memory (as long as a row, whatever the number of rows); on the way back the gradient of
    the queries grows, and those of K^, V, Z are added to sums of the program's own.

        keys     0 .................. r0 .. r0 + BT
        queries  [ <- pass, keep in QS | own      ]
        queries  [ gradients ->        |          ]

    owns    one row, head of keys and share of the tiles of queries, one tile after the other
    reads   q, dy, y, gate and lse of its tiles; k, w, X, U of their own chunks, K^, Z, v further
            left; the sums DKH, DVH, DZ, DCOLS for every tile
    writes  dO, delta, dgate and DQH (the gradient of queries that have left their own chunk) of its
            tiles; QS; its sums
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
            start, length, r0, slot = sequence(TILES, tile, T, BT)
            token, head = b * T + start, (b * H + h) * T + start
            r = r0 + tl.arange(0, BT)
            row_d, row_e = (token * G + g_head) * d, (token * G + g_head) * e
            own_d = ((own_rows + start) * G + g_head) * d
            own_e = ((own_rows + start) * G + g_head) * e
            at_d, at_e = (token * H + h) * d, (token * H + h) * e
            loaded = load_rows(Q + at_d, r[:, None], cd[None, :], H * d, length, d, D)
            do = load_rows(DY + at_e, r[:, None], ce[None, :], H * e, length, e, E)
            do, delta = before_gate(do, GATE, Y, DGATE, token, h, r, ce, length, H, e, E, GATE_KIND)
            if GATE_KIND > 0:
                store_rows(DO + at_e, do, r[:, None], ce[None, :], H * e, length, e, E)
                tl.debug_barrier()
            lse = tl.load(LSE + head + r, mask=r < length, other=float("inf"))
            q = loaded.to(tl.float32)
            exact = tl.zeros([BT], tl.float32)
            first, last = r0 // C, tl.cdiv(tl.minimum(r0 + BT, length), C) - 1
            for part in tl.static_range(2):
                count = last + 1 - first if part == 0 else last
                for t in range(0, count):
                    n = last - t if part == 0 else last - 1 - t
                    s = n * C + c
                    if part == 0:
                        k = load_rows(K + row_d, s[:, None], cd[None, :], G * d, length, d, D)
                        w = load_rows(W + row_d, s[:, None], cd[None, :], G * d, length, d, D)
                        U = load_rows(US + row_d, s[:, None], cd[None, :], G * d, length, d, D)
                        ok = (r[:, None] >= s[None, :]) & (r[:, None] // C == n)
                        asked = q.to(loaded.dtype)
                        qw = tl.where(ok, -tl.dot(asked, tl.trans(w), input_precision=PREC), 0.0)
                        qw = qw.to(loaded.dtype)
                        q += tl.dot(qw, U, input_precision=PREC)
                    else:
                        k = load_rows(KH + row_d, s[:, None], cd[None, :], G * d, None, d, D)
                        z_at = ZS + ((b * n_chunks + slot + n) * G + g_head) * D * D
                        z = load_rows(z_at, cd[:, None], cd[None, :], D, None, D, D)
                        ok = r[:, None] // C > n
                        asked = (tl.where(ok, q, 0.0) if BT > C else q).to(loaded.dtype)
                        keep(QS + n * BT * D, asked, r[:, None] - r0, cd[None, :], D)
                        q += tl.dot(asked, z, input_precision=PREC)
                    if SUMS is not None:
                        S = tl.dot(asked, tl.trans(k), input_precision=PREC)
                        if part == 0:
                            X = load_rows(
                                XS + (token * G + g_head) * C, s[:, None], c[None, :], G * C,
                                length, C, C)  # fmt: skip
                            S += tl.dot(qw, X, input_precision=PREC)
                        end = tl.load(SUMS + head + tl.minimum(n * C + C, length) - 1)
                        sums_s = log2_sums(SUMS + head, s[None, :], length, end)
                        sums_r = log2_sums(SUMS + head, r[:, None], length, end)
                        S = S * (scale * LOG2E) + (sums_r[0] - sums_s[0])
                        if part == 0:
                            S += sums_r[1] - sums_s[1]
                        p = tl.exp2(tl.where(ok, S, float("-inf")) - lse[:, None])
                        v = load_rows(V + row_e, s[:, None], ce[None, :], G * e, length, e, E)
                        exact += tl.sum(p * tl.dot(do, tl.trans(v), input_precision=PREC), 1)
            if SUMS is not None:
                delta = exact
            tl.store(DELTA + head + r, delta, mask=r < length)
            delta *= scale
            tl.debug_barrier()
            do = load_rows(DO + at_e, r[:, None], ce[None, :], H * e, length, e, E)
            g = tl.zeros([BT, D], tl.float32)
            for n in range(0, last):
                s = n * C + c
                q_n = recall(QS + n * BT * D, r[:, None] - r0, cd[None, :], D)
                k = load_rows(KH + row_d, s[:, None], cd[None, :], G * d, None, d, D)
                v = load_rows(V + row_e, s[:, None], ce[None, :], G * e, None, e, E)
                z_at = ((slot + n) * G + g_head) * D * D
                z = load_rows(
                    ZS + b * n_chunks * G * D * D + z_at,
                    cd[:, None], cd[None, :], D, None, D, D)  # fmt: skip
                later = r // C > n
                S = tl.dot(q_n, tl.trans(k), input_precision=PREC) * (scale * LOG2E)
                if SUMS is not None:
                    # Between the chunk's keys and the queries after it.
                    end = tl.load(SUMS + head + n * C + C - 1)
                    near_s, _ = log2_sums(SUMS + head, s, length, end)
                    near_r, _ = log2_sums(SUMS + head, r, length, end)
                    S += near_r[:, None] - near_s[None, :]
                g_low = g
                if BT > C:
                    S = tl.where(later[:, None], S, float("-inf"))
                    g_low = tl.where(later[:, None], g, 0.0)
                g_low = g_low.to(q_n.dtype)
                p = tl.exp2(S - lse[:, None])
                ds = p * (tl.dot(do, tl.trans(v), input_precision=PREC) * scale - delta[:, None])
                dz = tl.dot(tl.trans(q_n), g_low, input_precision=PREC)
                g += tl.dot(ds.to(q_n.dtype), k, input_precision=PREC)
                g += tl.dot(g_low, tl.trans(z), input_precision=PREC)
                S = tl.dot(k, tl.trans(q_n), input_precision=PREC) * (scale * LOG2E)
                if SUMS is not None:
                    S += near_r[None, :] - near_s[:, None]
                if BT > C:
                    S = tl.where(later[None, :], S, float("-inf"))
                p = tl.exp2(S - lse[None, :])
                dv = tl.dot(p.to(do.dtype), do, input_precision=PREC)
                ds = p * (tl.dot(v, tl.trans(do), input_precision=PREC) * scale - delta[None, :])
                if SUMS is not None:
                    at = DCOLS + ((share * n_rows + b) * H + h) * T + start + s
                    tl.store(at, tl.load(at) + tl.sum(ds, 1) / scale)
                dk = tl.dot(ds.to(q_n.dtype), q_n, input_precision=PREC)
                dk += load_rows(DKH + own_d, s[:, None], cd[None, :], G * d, None, d, D)
                store_rows(DKH + own_d, dk, s[:, None], cd[None, :], G * d, None, d, D)
                dv += load_rows(DVH + own_e, s[:, None], ce[None, :], G * e, None, e, E)
                store_rows(DVH + own_e, dv, s[:, None], ce[None, :], G * e, None, e, E)
                at = DZ + own_chunks * G * D * D + z_at
                dz += load_rows(at, cd[:, None], cd[None, :], D, None, D, D)
                store_rows(at, dz, cd[:, None], cd[None, :], D, None, D, D)
            store_rows(DQH + at_d, g, r[:, None], cd[None, :], H * d, length, d, D)
            tl.debug_barrier()


@triton.jit(do_not_specialize=COUNTS)
def backward_chunks(
    Q, K, V, W, BETA, SUMS, TILES, XS, US, AS, LSE, DO, DELTA, DQH, DKH, DVH, DZ, DCOLS, DQ, DK,
    DV, DW, DBETA, COLUMNS, scale, T, n_tiles, n_rows,
    H: tl.constexpr, G: tl.constexpr, d: tl.constexpr, e: tl.constexpr, D: tl.constexpr,
    E: tl.constexpr, C: tl.constexpr, SHARES: tl.constexpr, PREC: tl.constexpr,
):  # fmt: skip
    """What queries do to the chunk they are in; then all that is known of the chunk's gradients,
    those of K^, Z, X and U, becomes that of k, w and beta.

    owns    C tokens of one row and head of keys; dk, dw, dX, dU, dv stay in registers
    reads   q, dO, DQH, lse and delta of the chunk for H / G heads; k, v, w, beta, X, U, A; DKH, DVH
            and DZ of all shares
    writes  dq, dk, dv, dw, dbeta, and column sums of dS; AS serves to transpose
    """
    slot = tl.program_id(0) % n_tiles
    b, g_head, start, length, s0, _ = place(TILES, T, n_tiles, G, C)
    if s0 >= length:
        return
    token = b * T + start
    c, cd, ce = tl.arange(0, C), tl.arange(0, D), tl.arange(0, E)
    s = s0 + c
    row_d, row_e = (token * G + g_head) * d, (token * G + g_head) * e
    square = (token * G + g_head) * C
    k = load_rows(K + row_d, s[:, None], cd[None, :], G * d, length, d, D)
    v = load_rows(V + row_e, s[:, None], ce[None, :], G * e, length, e, E)
    w = load_rows(W + row_d, s[:, None], cd[None, :], G * d, length, d, D)
    U = load_rows(US + row_d, s[:, None], cd[None, :], G * d, length, d, D)
    X = load_rows(XS + square, s[:, None], c[None, :], G * C, length, C, C)
    X_t = load_rows(XS + square, s[None, :], c[:, None], G * C, length, C, C)
    ok, ok_t = c[:, None] >= c[None, :], c[None, :] >= c[:, None]
    dk = tl.zeros([C, D], tl.float32)
    dw = tl.zeros([C, D], tl.float32)
    dv = tl.zeros([C, E], tl.float32)
    dX = tl.zeros([C, C], tl.float32)
    dU = tl.zeros([C, D], tl.float32)
    for h in range(g_head * (H // G), (g_head + 1) * (H // G)):
        at_d, at_e = (token * H + h) * d, (token * H + h) * e
        head = (b * H + h) * T + start
        q = load_rows(Q + at_d, s[:, None], cd[None, :], H * d, length, d, D)
        do = load_rows(DO + at_e, s[:, None], ce[None, :], H * e, length, e, E)
        g = load_rows(DQH + at_d, s[:, None], cd[None, :], H * d, length, d, D)
        g_t = load_rows(DQH + at_d, s[None, :], cd[:, None], H * d, length, d, D)
        lse = tl.load(LSE + head + s, mask=s < length, other=float("inf"))
        delta = tl.load(DELTA + head + s, mask=s < length, other=0.0)
        sums = None
        if SUMS is not None:
            sums = log2_sums(SUMS + head, s, length, tl.load(SUMS + head + s0))
        g, dk1, dv1, dw1, dX1, dU1, columns = gradient_inside(
            q, tl.trans(q), k, v, w, X, X_t, U, do, tl.trans(do), g, g_t.to(q.dtype), lse, delta,
            sums, sums, ok, ok_t, scale, PREC,
        )  # fmt: skip
        dk += dk1
        dv += dv1
        dw += dw1
        dX += dX1
        dU += dU1
        store_rows(DQ + at_d, g, s[:, None], cd[None, :], H * d, length, d, D)
        if SUMS is not None:
            for share in range(0, SHARES):
                at = DCOLS + ((share * n_rows + b) * H + h) * T + start
                columns += tl.load(at + s, mask=s < length, other=0.0)
            tl.store(COLUMNS + head + s, columns, mask=s < length)
    for share in range(0, SHARES):
        at = DVH + (((share * n_rows + b) * T + start) * G + g_head) * e
        dv += load_rows(at, s[:, None], ce[None, :], G * e, length, e, E)
    store_rows(DV + row_e, dv, s[:, None], ce[None, :], G * e, length, e, E)
    # Factors are made negative, so that products add up in tensor cores.
    less_w, less_X, less_U = -w.to(tl.float32), -X.to(tl.float32), -U.to(tl.float32)
    for share in range(0, SHARES):
        rows = (share * n_rows + b) * T + start
        at = DKH + (rows * G + g_head) * d
        part = load_rows(at, s[:, None], cd[None, :], G * d, length, d, D)
        dk += part
        dX += tl.dot(less_w, tl.trans(part), input_precision=PREC)
        dw += tl.dot(less_X, part, input_precision=PREC)
        at = DZ + (((share * n_rows + b) * n_tiles + slot) * G + g_head) * D * D
        part = load_rows(at, cd[:, None], cd[None, :], D, None, D, D)
        dw += tl.dot(less_U, tl.trans(part), input_precision=PREC)
        dU += tl.dot(less_w, part, input_precision=PREC)
    beta = tl.load(BETA + (token + s) * G + g_head, mask=s < length, other=0.0).to(tl.float32)
    A_t = load_rows(AS + square, s[None, :], c[:, None], G * C, length, C, C)
    dk2, dw2, dbeta = gradient_reflections(
        dX, dU, k, w, beta, A_t, X_t, U, AS + square, s, G * C, length, C, PREC
    )
    store_rows(DK + row_d, dk + dk2, s[:, None], cd[None, :], G * d, length, d, D)
    store_rows(DW + row_d, dw + dw2, s[:, None], cd[None, :], G * d, length, d, D)
    tl.store(DBETA + (token + s) * G + g_head, dbeta, mask=s < length)


def run_backward(i: Inputs, y: Tensor, lse: Tensor, dy: Tensor) -> dict[str, Tensor | None]:
    """Gradients by name."""
    given = arguments(i)
    y, lse, dy = (x.contiguous() for x in (y, lse, dy))
    given |= {f"D{n}": like(given[n]) for n in ("Q", "K", "V", "W", "BETA", "GATE")}
    plan = plans.plan(True, given["d"], given["e"], i.q.dtype.itemsize, given["T"])
    given |= {"Y": y, "LSE": lse, "DY": dy, "C": plan.C, "BT": plan.BT}
    if plan.fused and given["G"] == given["H"] and i.offsets is None:
        dlog = _short_rows(given, plan)
    else:
        dlog = _long_rows(given, plan)
    names = {"q": "DQ", "k": "DK", "v": "DV", "w": "DW", "beta": "DBETA", "gate": "DGATE"}
    grads = {name: given[argument] for name, argument in names.items()}
    return {
        n: None if x is None else x.to(getattr(i, n).dtype)
        for n, x in (grads | {"log_forget": dlog}).items()
    }


def _short_rows(given: dict[str, Any], plan: plans.Plan) -> Tensor | None:
    """Launch what fills the gradients; that of log f."""
    q, D, C, BT = given["Q"], given["D"], plan.C, plan.BT
    B, T, H, _ = q.shape
    programs, N = min(B * H, 2 * processors(q.device)), BT // C
    dlog = None if given["SUMS"] is None else q.new_empty(B, T, H, dtype=torch.float32)
    given |= {
        "QS": q.new_empty(programs, N, BT, D), "GS": q.new_empty(programs, BT, D),
        "XS": q.new_empty(programs, N, C, C), "US": q.new_empty(programs, N, C, D),
        "AS": q.new_empty(programs, N, C, C, dtype=torch.float32), "n_heads": B * H,
        "DLOG": dlog,
    }  # fmt: skip
    launch(backward_short, (programs,), given, plan.num_warps, 1)
    return dlog


def _long_rows(given: dict[str, Any], plan: plans.Plan) -> Tensor | None:
    """Launch what fills the gradients; that of log f."""
    q, lse, offsets, D, C = given["Q"], given["LSE"], given["offsets"], given["D"], plan.C
    B, T, H, d = q.shape
    G, e = given["V"].shape[2:]
    given |= prepared(given, C, True)
    table, n = tiles(offsets, T, plan.BT, C)
    chunk_table, chunks = tiles(offsets, T, C, C)
    shares = plans.shares(B * G, n, q.device)

    def zeros(*shape: int) -> Tensor:
        return torch.zeros(shares, B, *shape, dtype=torch.float32, device=q.device)

    columns = None if given["SUMS"] is None else like(lse)
    given |= {
        "DO": given["DY"] if given["GATE"] is None else like(given["DY"]), "DELTA": like(lse),
        "DQH": q.new_empty(q.shape, dtype=torch.float32), "DKH": zeros(T, G, d),
        "DVH": zeros(T, G, e), "DZ": zeros(chunks, G, D, D),
        "DCOLS": None if columns is None else zeros(H, T), "COLUMNS": columns, "n_rows": B,
        "QS": q.new_empty(B * G * shares, chunks, plan.BT, D), "SHARES": shares, "TILES": table,
        "n_tiles": n, "n_chunks": chunks,
    }  # fmt: skip
    launch(backward_sweep, (B * G * shares,), given, plan.num_warps, 1)
    given |= {"TILES": chunk_table, "n_tiles": chunks}
    warps = plans.chunk_warps("chunks", q.dtype.itemsize, C, max(D, given["E"]))
    launch(backward_chunks, (chunks * B * G,), given, warps, 1)
    return None if columns is None else sum_to_the_end(columns, offsets).neg_()
