"""Triton kernels of PaTH's backward pass for long rows, and the launch of either.

`backward_sweep` passes the chunks left of the queries' own, `backward_inside` the queries' own
chunk, and `backward_chunks` turns the gradients of K^, Z, X and U into those of k, w and beta.
Short rows go through `backward_short` instead, in one launch. No atomics: gradients repeat bit
for bit.
"""
# mypy: disable-error-code="no-untyped-def,index"

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from kernels import COUNTS
from kernels._launch import launch, processors, row_major
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
from kernels.path import plans
from kernels.path.backward_short import backward_short
from kernels.path.chunks import gradient_inside, gradient_reflections, keep, prepared, recall
from kernels.path.forward import arguments


@triton.jit(do_not_specialize=COUNTS)
def backward_sweep(
    Q, K, V, W, GATE, SUMS, TILES, XS, US, KH, ZS, Y, LSE, DY, DO, DELTA, DGATE, DQH, DKH, DVH, DZ,
    DCOLS, QS, scale, T, n_tiles, n_chunks, n_rows,
    H: tl.constexpr, G: tl.constexpr, d: tl.constexpr, e: tl.constexpr, D: tl.constexpr,
    E: tl.constexpr, BT: tl.constexpr, C: tl.constexpr, SHARES: tl.constexpr,
    GATE_KIND: tl.constexpr, HAS_FORGET: tl.constexpr, PACKED: tl.constexpr, PREC: tl.constexpr,
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
            start, length, r0, slot = 0, T, tile * BT, 0
            if PACKED:
                start = tl.load(TILES + 4 * tile)
                length = tl.load(TILES + 4 * tile + 1)
                r0 = tl.load(TILES + 4 * tile + 2) * BT
                slot = tl.load(TILES + 4 * tile + 3)
            token, head = b * T + start, (b * H + h) * T + start
            r = r0 + tl.arange(0, BT)
            row_d, row_e = (token * G + g_head) * d, (token * G + g_head) * e
            own_d = ((own_rows + start) * G + g_head) * d
            own_e = ((own_rows + start) * G + g_head) * e
            at_d, at_e = (token * H + h) * d, (token * H + h) * e
            loaded = load_rows(Q + at_d, r[:, None], cd[None, :], H * d, length, d, D)
            do = load_rows(DY + at_e, r[:, None], ce[None, :], H * e, length, e, E)
            do, delta = before_gate(
                do, GATE, Y, DGATE, token, h, at_e, r, ce, length, H, e, E, GATE_KIND
            )
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
                        qw = tl.where(ok, tl.dot(asked, tl.trans(w), input_precision=PREC), 0.0)
                        qw = qw.to(loaded.dtype)
                        q -= tl.dot(qw, U, input_precision=PREC)
                    else:
                        k = load_rows(KH + row_d, s[:, None], cd[None, :], G * d, length, d, D)
                        z_at = ZS + ((b * n_chunks + slot + n) * G + g_head) * D * D
                        z = load_rows(z_at, cd[:, None], cd[None, :], D, D, D, D)
                        ok = (r[:, None] // C > n) & (s[None, :] < length)
                        asked = tl.where(r[:, None] // C > n, q, 0.0).to(loaded.dtype)
                        keep(QS + n * BT * D, asked, r[:, None] - r0, cd[None, :], D)
                        q += tl.dot(asked, z, input_precision=PREC)
                    if HAS_FORGET:
                        S = tl.dot(asked, tl.trans(k), input_precision=PREC)
                        if part == 0:
                            X = load_rows(
                                XS + (token * G + g_head) * C, s[:, None], c[None, :], G * C,
                                length, C, C)  # fmt: skip
                            S -= tl.dot(qw, X, input_precision=PREC)
                        end = tl.load(SUMS + head + tl.minimum(n * C + C, length) - 1)
                        near_s, lost_s = log2_sums(SUMS + head, s[None, :], length, end)
                        near_r, lost_r = log2_sums(SUMS + head, r[:, None], length, end)
                        S = S * (scale * LOG2E) + (near_r - near_s)
                        if part == 0:
                            S += lost_r - lost_s
                        p = tl.exp2(tl.where(ok, S, float("-inf")) - lse[:, None])
                        v = load_rows(V + row_e, s[:, None], ce[None, :], G * e, length, e, E)
                        exact += tl.sum(p * tl.dot(do, tl.trans(v), input_precision=PREC), 1)
            if HAS_FORGET:
                delta = exact
            tl.store(DELTA + head + r, delta, mask=r < length)
            tl.debug_barrier()
            do = load_rows(DO + at_e, r[:, None], ce[None, :], H * e, length, e, E)
            g = tl.zeros([BT, D], tl.float32)
            for n in range(0, last):
                s = n * C + c
                q_n = recall(QS + n * BT * D, r[:, None] - r0, cd[None, :], D)
                k = load_rows(KH + row_d, s[:, None], cd[None, :], G * d, length, d, D)
                v = load_rows(V + row_e, s[:, None], ce[None, :], G * e, length, e, E)
                z_at = ((slot + n) * G + g_head) * D * D
                z = load_rows(
                    ZS + b * n_chunks * G * D * D + z_at,
                    cd[:, None], cd[None, :], D, D, D, D)  # fmt: skip
                S = tl.dot(q_n, tl.trans(k), input_precision=PREC) * (scale * LOG2E)
                if HAS_FORGET:
                    # Between the chunk's keys and the queries after it.
                    end = tl.load(SUMS + head + n * C + C - 1)
                    near_s, _ = log2_sums(SUMS + head, s, length, end)
                    near_r, _ = log2_sums(SUMS + head, r, length, end)
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
                    at = DCOLS + ((share * n_rows + b) * H + h) * T + start + s
                    tl.store(at, tl.load(at) + tl.sum(ds, 1))
                dk = tl.dot((ds * scale).to(q_n.dtype), q_n, input_precision=PREC)
                dk += load_rows(DKH + own_d, s[:, None], cd[None, :], G * d, length, d, D)
                store_rows(DKH + own_d, dk, s[:, None], cd[None, :], G * d, length, d, D)
                dv += load_rows(DVH + own_e, s[:, None], ce[None, :], G * e, length, e, E)
                store_rows(DVH + own_e, dv, s[:, None], ce[None, :], G * e, length, e, E)
                at = DZ + own_chunks * G * D * D + z_at
                dz += load_rows(at, cd[:, None], cd[None, :], D, D, D, D)
                store_rows(at, dz, cd[:, None], cd[None, :], D, D, D, D)
            store_rows(DQH + at_d, g, r[:, None], cd[None, :], H * d, length, d, D)
            tl.debug_barrier()


@triton.jit(do_not_specialize=COUNTS)
def backward_inside(
    Q, K, V, W, SUMS, TILES, XS, US, LSE, DO, DELTA, DQH, DVH, DCOLS, DQ, DV, DKI, DWI, DX, DU,
    COLUMNS, scale, T, n_tiles, n_rows,
    H: tl.constexpr, G: tl.constexpr, d: tl.constexpr, e: tl.constexpr, D: tl.constexpr,
    E: tl.constexpr, C: tl.constexpr, SHARES: tl.constexpr, HAS_FORGET: tl.constexpr,
    PACKED: tl.constexpr, PREC: tl.constexpr,
):  # fmt: skip
    """What queries do to the chunk they are in.

    owns    C tokens of one row and head of keys; dk, dw, dX, dU, dv stay in registers
    reads   q, dO, DQH, lse and delta of the chunk for H / G heads; k, v, w, X, U; DVH of all shares
    writes  dq and dv whole, DKI, DWI, DX, DU, and column sums of dS
    """
    b, g_head, start, length, s0 = place(TILES, T, n_tiles, G, C, PACKED)
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
    ok = (c[:, None] >= c[None, :]) & (s[:, None] < length)
    ok_t = (c[None, :] >= c[:, None]) & (s[None, :] < length)
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
        near, lost = 0.0, 0.0
        if HAS_FORGET:
            near, lost = log2_sums(SUMS + head, s, length, tl.load(SUMS + head + s0))
        g, dk1, dv1, dw1, dX1, dU1, columns = gradient_inside(
            q, tl.trans(q), k, v, w, X, X_t, U, do, tl.trans(do), g, g_t.to(q.dtype), lse, delta,
            near, near, lost, lost, ok, ok_t, scale, HAS_FORGET, PREC,
        )  # fmt: skip
        dk += dk1
        dv += dv1
        dw += dw1
        dX += dX1
        dU += dU1
        store_rows(DQ + at_d, g, s[:, None], cd[None, :], H * d, length, d, D)
        if HAS_FORGET:
            for share in range(0, SHARES):
                at = DCOLS + ((share * n_rows + b) * H + h) * T + start
                columns += tl.load(at + s, mask=s < length, other=0.0)
            tl.store(COLUMNS + head + s, columns, mask=s < length)
    store_rows(DKI + row_d, dk, s[:, None], cd[None, :], G * d, length, d, D)
    store_rows(DWI + row_d, dw, s[:, None], cd[None, :], G * d, length, d, D)
    store_rows(DU + row_d, dU, s[:, None], cd[None, :], G * d, length, d, D)
    store_rows(DX + square, dX, s[:, None], c[None, :], G * C, length, C, C)
    for share in range(0, SHARES):
        at = DVH + (((share * n_rows + b) * T + start) * G + g_head) * e
        dv += load_rows(at, s[:, None], ce[None, :], G * e, length, e, E)
    store_rows(DV + row_e, dv, s[:, None], ce[None, :], G * e, length, e, E)


@triton.jit(do_not_specialize=COUNTS)
def backward_chunks(
    K, W, BETA, TILES, XS, US, AS, DKH, DZ, DKI, DWI, DX, DU, DK, DW, DBETA, T, n_tiles, n_rows,
    G: tl.constexpr, d: tl.constexpr, D: tl.constexpr, C: tl.constexpr, SHARES: tl.constexpr,
    PACKED: tl.constexpr, PREC: tl.constexpr,
):  # fmt: skip
    """From the gradients of a chunk's K^, Z, X and U to those of k, w and beta.

    owns    C tokens of one row and head of keys
    reads   k, w, beta, X, U, A; DKI, DWI, DX, DU; DKH and DZ of all shares
    writes  dk, dw and dbeta; AS serves to transpose
    """
    slot = tl.program_id(0) % n_tiles
    b, g_head, start, length, s0 = place(TILES, T, n_tiles, G, C, PACKED)
    if s0 >= length:
        return
    token = b * T + start
    c, cd = tl.arange(0, C), tl.arange(0, D)
    s = s0 + c
    row_d, square = (token * G + g_head) * d, (token * G + g_head) * C
    k = load_rows(K + row_d, s[:, None], cd[None, :], G * d, length, d, D)
    w = load_rows(W + row_d, s[:, None], cd[None, :], G * d, length, d, D)
    U = load_rows(US + row_d, s[:, None], cd[None, :], G * d, length, d, D)
    X = load_rows(XS + square, s[:, None], c[None, :], G * C, length, C, C)
    beta = tl.load(BETA + (token + s) * G + g_head, mask=s < length, other=0.0).to(tl.float32)
    dk = load_rows(DKI + row_d, s[:, None], cd[None, :], G * d, length, d, D)
    dw = load_rows(DWI + row_d, s[:, None], cd[None, :], G * d, length, d, D)
    dU = load_rows(DU + row_d, s[:, None], cd[None, :], G * d, length, d, D)
    dX = load_rows(DX + square, s[:, None], c[None, :], G * C, length, C, C)
    w_full = w.to(tl.float32)
    for share in range(0, SHARES):
        rows = (share * n_rows + b) * T + start
        at = DKH + (rows * G + g_head) * d
        part = load_rows(at, s[:, None], cd[None, :], G * d, length, d, D)
        dk += part
        dX -= tl.dot(w_full, tl.trans(part), input_precision=PREC)
        dw -= tl.dot(X.to(tl.float32), part, input_precision=PREC)
        at = DZ + (((share * n_rows + b) * n_tiles + slot) * G + g_head) * D * D
        part = load_rows(at, cd[:, None], cd[None, :], D, D, D, D)
        dw -= tl.dot(U.to(tl.float32), tl.trans(part), input_precision=PREC)
        dU -= tl.dot(w_full, part, input_precision=PREC)
    X_t = load_rows(XS + square, s[None, :], c[:, None], G * C, length, C, C)
    A_t = load_rows(AS + square, s[None, :], c[:, None], G * C, length, C, C)
    dk2, dw2, dbeta = gradient_reflections(
        dX, dU, k, w, beta, A_t, X_t, U, AS + square, s, G * C, length, C, PREC
    )
    store_rows(DK + row_d, dk + dk2, s[:, None], cd[None, :], G * d, length, d, D)
    store_rows(DW + row_d, dw + dw2, s[:, None], cd[None, :], G * d, length, d, D)
    tl.store(DBETA + (token + s) * G + g_head, dbeta, mask=s < length)


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
    dy, y, lse = row_major(dy, y, lse)
    given = arguments(q, k, v, w, beta, scale, log_forget, gate, offsets)
    B, T, H, d = q.shape
    G, e = v.shape[2:]
    like = torch.empty_like
    made: dict[str, Any] = {n: like(given[n[1:]]) for n in ("DQ", "DK", "DV", "DW", "DBETA")}
    made["DGATE"] = None if gate is None else like(given["GATE"])
    given |= made | {"DY": dy, "Y": y, "LSE": lse}
    plan = plans.plan(True, d, e, q.dtype.itemsize, T)
    C, BT, D = plan.C, plan.BT, given["D"]
    given |= {"C": C, "BT": BT, "n_rows": B}
    dlog = None
    if plan.fused and G == H and offsets is None:
        if log_forget is not None:
            dlog = q.new_empty(B, T, H, dtype=torch.float32)
        N = BT // C
        programs = min(B * H, 2 * processors(q.device))
        given |= {
            "QS": q.new_empty(programs, N, BT, D), "GS": q.new_empty(programs, BT, D),
            "XS": q.new_empty(programs, N, C, C), "US": q.new_empty(programs, N, C, D),
            "AS": q.new_empty(programs, N, C, C, dtype=torch.float32), "n_heads": B * H,
            "DLOG": dlog,
        }  # fmt: skip
        launch(backward_short, (programs,), given, plan.num_warps, 1)
    else:
        given |= prepared(given, C, offsets, True)
        table, n = tiles(offsets, T, BT, C)
        chunk_table, chunks = tiles(offsets, T, C, C)
        shares = plans.shares(B * G, n, q.device)

        def zeros(*shape: int) -> Tensor:
            return torch.zeros(shares, B, *shape, dtype=torch.float32, device=q.device)

        given |= {
            "DO": given["DY"] if gate is None else like(given["DY"]), "DELTA": like(lse),
            "DQH": torch.empty(q.shape, dtype=torch.float32, device=q.device),
            "DKH": zeros(T, G, d), "DVH": zeros(T, G, e), "DZ": zeros(chunks, G, D, D),
            "DCOLS": None if log_forget is None else zeros(H, T),
            "QS": q.new_empty(B * G * shares, chunks, BT, D), "SHARES": shares,
        }  # fmt: skip
        own = given | {"TILES": table, "n_tiles": n, "n_chunks": chunks}
        launch(backward_sweep, (B * G * shares,), own, plan.num_warps, 1)
        made32 = ("DKI", "DWI", "DU", "DX")
        widths = (d, d, d, C)
        columns = None if log_forget is None else q.new_empty(B, H, T, dtype=torch.float32)
        own = given | {"TILES": chunk_table, "n_tiles": chunks, "COLUMNS": columns}
        own |= {
            n: q.new_empty(B, T, G, width, dtype=torch.float32)
            for n, width in zip(made32, widths, strict=True)
        }
        for kernel, name in (
            (backward_inside, "backward_inside"),
            (backward_chunks, "backward_chunks"),
        ):
            warps = plans.chunk_warps(name, q.dtype.itemsize, C, max(D, given["E"]))
            launch(kernel, (chunks * B * G,), own, warps, 1)
        if columns is not None:
            dlog = sum_to_the_end(columns, offsets).neg_()
    return (
        made["DQ"],
        made["DK"],
        made["DV"],
        made["DW"],
        made["DBETA"],
        q.new_empty(0, dtype=torch.float32) if dlog is None else dlog,
        q.new_empty(0) if gate is None else made["DGATE"],
    )
