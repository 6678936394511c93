"""Triton kernels of PaTH's backward pass for long rows, and the launch of either.

`backward_queries` passes the chunks left of the queries' own, there and back, and keeps each pair
of a tile and a chunk: the queries that enter the chunk, and the gradient of those that leave it.
`backward_keys` owns a chunk: it adds up what the pairs say of K^, V and Z, then what queries do to
the chunk they are in, and turns the gradients of K^, Z, X and U into those of k, w and beta. Short
rows go through `backward_short` instead, in one launch. No atomics: gradients repeat bit for bit.

Pairs grow with the square of the row, so rows and heads go through the two kernels in parts whose
pairs fit `plans.PAIRS`.
"""
# mypy: disable-error-code="no-untyped-def,index"

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from kernels import COUNTS
from kernels._launch import launch, like, processors, recording
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
from kernels.path.operator import Inputs


@triton.jit
def pairs_before(tile, m: tl.constexpr):
    """Pairs of the tiles before this one, in a sequence whose tiles are of m chunks: each of the
    tiles up to it makes one with every chunk left of its last."""
    return m * (tile * (tile + 1) // 2) - tile


@triton.jit(do_not_specialize=COUNTS)
def backward_queries(
    Q, K, V, W, GATE, SUMS, TILES, BEFORE, XS, US, KH, ZS, Y, LSE, DY, DO, DELTA, DGATE, DQH, QS,
    GS, scale, T, n_tiles, n_chunks, n_pairs,
    H: tl.constexpr, G: tl.constexpr, d: tl.constexpr, e: tl.constexpr, D: tl.constexpr,
    E: tl.constexpr, BT: tl.constexpr, C: tl.constexpr, GATE_KIND: tl.constexpr, PREC: tl.constexpr,
):  # fmt: skip
    """The chunks left of the queries' own, as a tile of queries sees them.

    The queries leave their own chunks, then pass the others from right to left; on the way back
    their gradient grows.

        keys     0 .................. r0 .. r0 + BT
        queries  [ <- pass, keep in QS | own      ]
        queries  [ -> gradients in GS  |          ]

    owns    BT queries of one row and head
    reads   q, dy, y, gate and lse of the tile; k, w, X, U of its own chunks, K^, Z, v further left
    writes  dO, delta, dgate and DQH (the gradient of queries that have left their own chunk) of the
            tile; its pairs of QS and GS [B,H,n_pairs,BT,D]
    """
    b, h, start, length, r0, slot = place(TILES, T, n_tiles, H, BT)
    if r0 >= length:
        return
    g_head = h // (H // G)
    pair = (b * H + h) * n_pairs + pairs_before(r0 // BT, BT // C)
    if BEFORE is not None:
        pair += tl.load(BEFORE + start)
    QS += pair * BT * D
    GS += pair * BT * D
    c, cd, ce = tl.arange(0, C), tl.arange(0, D), tl.arange(0, E)
    token, head = b * T + start, (b * H + h) * T + start
    slot += b * n_chunks
    r, rows = r0 + tl.arange(0, BT), tl.arange(0, BT)
    row_d, row_e = (token * G + g_head) * d, (token * G + g_head) * e
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
                z_at = ZS + ((slot + n) * G + g_head) * D * D
                z = load_rows(z_at, cd[:, None], cd[None, :], D, None, D, D)
                ok = r[:, None] // C > n
                asked = (tl.where(ok, q, 0.0) if BT > C else q).to(loaded.dtype)
                keep(QS + n * BT * D, asked, rows[:, None], cd[None, :], D)
                q += tl.dot(asked, z, input_precision=PREC)
            if SUMS is not None:
                # Rows of dS add up to 0 (see kernels/attention/backward.py), so delta is the sum of
                # the same products.
                S = tl.dot(asked, tl.trans(k), input_precision=PREC)
                if part == 0:
                    X = load_rows(
                        XS + (token * G + g_head) * C, s[:, None], c[None, :], G * C, length, C, C
                    )
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
        q_n = recall(QS + n * BT * D, rows[:, None], cd[None, :], D)
        k = load_rows(KH + row_d, s[:, None], cd[None, :], G * d, None, d, D)
        v = load_rows(V + row_e, s[:, None], ce[None, :], G * e, None, e, E)
        z_at = ZS + ((slot + n) * G + g_head) * D * D
        z = load_rows(z_at, cd[:, None], cd[None, :], D, None, D, D)
        S = tl.dot(q_n, tl.trans(k), input_precision=PREC) * (scale * LOG2E)
        if SUMS is not None:
            # Between the chunk's keys and the queries after it.
            end = tl.load(SUMS + head + n * C + C - 1)
            near_s = log2_sums(SUMS + head, s, length, end)[0]
            near_r = log2_sums(SUMS + head, r, length, end)[0]
            S += near_r[:, None] - near_s[None, :]
        g_low = g
        if BT > C:
            later = r // C > n
            S = tl.where(later[:, None], S, float("-inf"))
            g_low = tl.where(later[:, None], g, 0.0)
        g_low = g_low.to(q_n.dtype)
        keep(GS + n * BT * D, g_low, rows[:, None], cd[None, :], D)
        p = tl.exp2(S - lse[:, None])
        ds = p * (tl.dot(do, tl.trans(v), input_precision=PREC) * scale - delta[:, None])
        g += tl.dot(ds.to(q_n.dtype), k, input_precision=PREC)
        g += tl.dot(g_low, tl.trans(z), input_precision=PREC)
    store_rows(DQH + at_d, g, r[:, None], cd[None, :], H * d, length, d, D)


@triton.jit(do_not_specialize=COUNTS)
def backward_keys(
    Q, K, V, W, BETA, SUMS, TILES, BEFORE, XS, US, KH, AS, LSE, DO, DELTA, DQH, QS, GS, DKH, DZ,
    DQ, DK, DV, DW, DBETA, COLUMNS, scale, T, n_tiles, n_chunks, n_pairs,
    H: tl.constexpr, G: tl.constexpr, d: tl.constexpr, e: tl.constexpr, D: tl.constexpr,
    E: tl.constexpr, BT: tl.constexpr, C: tl.constexpr, PREC: tl.constexpr,
):  # fmt: skip
    """A chunk of keys: the queries of later chunks, in pairs, then those of the chunk itself.

        queries  s0 .. s0 + C ................ length
        keys     [ own | <- QS, GS, a tile a time   ]

    owns    C tokens of one row and head of keys; every sum over queries stays in registers
    reads   QS, GS, dO, lse and delta of the tiles after the chunk, for H / G heads; q, DQH of the
            chunk; k, v, w, beta, X, U, K^ and A of the chunk
    writes  dq, dk, dv, dw, dbeta, and column sums of dS; DKH and DZ, where the gradients of K^ and
            Z are read again, and AS serve to transpose
    """
    b, g_head, start, length, s0, _ = place(TILES, T, n_chunks, G, C)
    if s0 >= length:
        return
    base = s0 // C
    if BEFORE is not None:
        base += tl.load(BEFORE + start)
    token = b * T + start
    c, cd, ce = tl.arange(0, C), tl.arange(0, D), tl.arange(0, E)
    s = s0 + c
    row_d, row_e = (token * G + g_head) * d, (token * G + g_head) * e
    square = (token * G + g_head) * C
    v = load_rows(V + row_e, s[:, None], ce[None, :], G * e, length, e, E)
    kh = load_rows(KH + row_d, s[:, None], cd[None, :], G * d, length, d, D)
    dk = tl.zeros([C, D], tl.float32)
    dv = tl.zeros([C, E], tl.float32)
    dz = tl.zeros([D, D], tl.float32)
    # Tiles with queries after the chunk: none where the sequence ends in it.
    after = (s0 + C) // BT
    end_tile = tl.where(s0 + C < length, tl.cdiv(length, BT), after)
    for h in range(g_head * (H // G), (g_head + 1) * (H // G)):
        at_e, head = (token * H + h) * e, (b * H + h) * T + start
        columns = tl.zeros([C], tl.float32)
        if SUMS is not None:
            end = tl.load(SUMS + head + tl.minimum(s0 + C, length) - 1)
            near_s = log2_sums(SUMS + head, s, length, end)[0]
        for tile in range(after, end_tile):
            rows = tl.arange(0, BT)
            r = tile * BT + rows
            at = (b * H + h) * n_pairs + base + pairs_before(tile, BT // C)
            at *= BT * D
            q = recall(QS + at, rows[:, None], cd[None, :], D)
            g = recall(GS + at, rows[:, None], cd[None, :], D)
            do = load_rows(DO + at_e, r[:, None], ce[None, :], H * e, length, e, E)
            lse = tl.load(LSE + head + r, mask=r < length, other=float("inf"))
            delta = tl.load(DELTA + head + r, mask=r < length, other=0.0) * scale
            S = tl.dot(kh, tl.trans(q), input_precision=PREC) * (scale * LOG2E)
            if SUMS is not None:
                near_r = log2_sums(SUMS + head, r, length, end)[0]
                S += near_r[None, :] - near_s[:, None]
            if BT > C:
                S = tl.where(r[None, :] >= s0 + C, S, float("-inf"))
            p = tl.exp2(S - lse[None, :])
            dv += tl.dot(p.to(do.dtype), do, input_precision=PREC)
            ds = p * (tl.dot(v, tl.trans(do), input_precision=PREC) * scale - delta[None, :])
            columns += tl.sum(ds, 1)
            dk += tl.dot(ds.to(q.dtype), q, input_precision=PREC)
            dz += tl.dot(tl.trans(q), g, input_precision=PREC)
        if SUMS is not None:
            tl.store(COLUMNS + head + s, columns / scale, mask=s < length)
    z_at = DZ + tl.program_id(0).to(tl.int64) * D * D
    store_rows(DKH + row_d, dk, s[:, None], cd[None, :], G * d, length, d, D)
    store_rows(z_at, dz, cd[:, None], cd[None, :], D, None, D, D)
    tl.debug_barrier()
    k = load_rows(K + row_d, s[:, None], cd[None, :], G * d, length, d, D)
    w = load_rows(W + row_d, s[:, None], cd[None, :], G * d, length, d, D)
    U = load_rows(US + row_d, s[:, None], cd[None, :], G * d, length, d, D)
    X = load_rows(XS + square, s[:, None], c[None, :], G * C, length, C, C)
    X_t = load_rows(XS + square, s[None, :], c[:, None], G * C, length, C, C)
    dk = tl.zeros([C, D], tl.float32)
    dw = tl.zeros([C, D], tl.float32)
    dX = tl.zeros([C, C], tl.float32)
    dU = tl.zeros([C, D], tl.float32)
    ok, ok_t = c[:, None] >= c[None, :], c[None, :] >= c[:, None]
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
            columns += tl.load(COLUMNS + head + s, mask=s < length, other=0.0)
            tl.debug_barrier()
            tl.store(COLUMNS + head + s, columns, mask=s < length)
    store_rows(DV + row_e, dv, s[:, None], ce[None, :], G * e, length, e, E)
    # Factors are made negative, so that products add up in tensor cores.
    less_w, less_X, less_U = -w.to(tl.float32), -X.to(tl.float32), -U.to(tl.float32)
    dkh = load_rows(DKH + row_d, s[:, None], cd[None, :], G * d, length, d, D)
    dk += dkh
    dX += tl.dot(less_w, tl.trans(dkh), input_precision=PREC)
    dw += tl.dot(less_X, dkh, input_precision=PREC)
    dz = load_rows(z_at, cd[:, None], cd[None, :], D, None, D, D)
    dw += tl.dot(less_U, tl.trans(dz), input_precision=PREC)
    dU += tl.dot(less_w, dz, input_precision=PREC)
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
    offsets, T, C = given["offsets"], given["T"], plan.C
    columns = None if given["SUMS"] is None else like(given["LSE"])
    table, n = tiles(offsets, T, plan.BT, C)
    chunk_table, chunks = tiles(offsets, T, C, C)
    n_pairs, before = _pairs(offsets, T, n, plan)
    pairs = (n_pairs, plan.BT, given["D"])
    for part in _parts(given | {"COLUMNS": columns}, math.prod(pairs)):
        q, H, (B, _, G, d) = part["Q"], part["H"], part["K"].shape
        part |= prepared(part, C, True)
        part |= {
            "DO": part["DY"] if part["GATE"] is None else like(part["DY"]),
            "DELTA": like(part["LSE"]),
            "DQH": q.new_empty(q.shape, dtype=torch.float32),
            "DKH": q.new_empty(B, T, G, d, dtype=torch.float32),
            "DZ": q.new_empty(B * G * chunks, *part["ZS"].shape[3:], dtype=torch.float32),
            "QS": q.new_empty(B * H, *pairs), "GS": q.new_empty(B * H, *pairs),
            "BEFORE": before, "TILES": table, "n_tiles": n, "n_chunks": chunks, "n_pairs": n_pairs,
        }  # fmt: skip
        launch(backward_queries, (n * B * H,), part, plan.num_warps, 1)
        part["TILES"] = chunk_table
        warps = plans.chunk_warps("keys", q.dtype.itemsize, C, max(part["D"], part["E"]))
        launch(backward_keys, (chunks * B * G,), part, warps, 1)
    return None if columns is None else sum_to_the_end(columns, offsets).neg_()


def _pairs(offsets: Tensor | None, T: int, n: int, plan: plans.Plan) -> tuple[int, Tensor | None]:
    """Pairs of a tile and a chunk in one head of n tiles; and for packed rows those of the rows
    before, int32, at the first token of each row.

    Where asking the GPU would stop a graph's recording, there is room for as many pairs as one row
    of n tiles has.
    """

    def of(tiles: Any) -> Any:
        return plan.BT // plan.C * (tiles * (tiles + 1) // 2) - tiles

    if offsets is None:
        return of(n), None
    ends = of((offsets.diff() + plan.BT - 1) // plan.BT).cumsum(0)
    before = torch.nn.functional.pad(ends[:-1], (1, 0)).to(torch.int32)
    before = offsets.new_zeros(T + 1).index_copy_(0, offsets[:-1].long(), before)
    if recording() or (offsets.is_cuda and torch.cuda.is_current_stream_capturing()):
        return of(n), before
    return int(ends[-1]), before


def _parts(given: dict[str, Any], pairs: int) -> Iterator[dict[str, Any]]:
    """`given`, or one part after the other: several rows, else some heads of one row.

    pairs: numbers that QS holds for one head. A part's tensors are views where these are row-major;
    copies of outputs are written back once the part is done.
    """
    H, G, q, B = given["H"], given["G"], given["Q"], given["K"].shape[0]
    room = max(1, plans.PAIRS // max(1, 2 * pairs * (H // G) * q.element_size()))
    rows, heads = min(B, max(1, room // G)), min(G, room)
    tensors = {n: x for n, x in given.items() if isinstance(x, Tensor) and n != "offsets"}
    for b in range(0, B, rows):
        for g in range(0, G, heads):
            own = min(heads, G - g)
            views = {}
            for name, x in tensors.items():
                axis = 1 if name in ("SUMS", "LSE", "COLUMNS") else 2
                each = x.shape[axis] // G
                views[name] = x[b : b + rows].narrow(axis, g * each, own * each)
            part = {name: x.contiguous() for name, x in views.items()}
            yield given | part | {"H": own * (H // G), "G": own}
            for name in ("DQ", "DK", "DV", "DW", "DBETA", "DGATE", "COLUMNS"):
                if name in part and not views[name].is_contiguous():
                    views[name].copy_(part[name])
