"""Triton kernel of PaTH's forward pass, and its launch.

Letters are those of kernels/path/__init__.py, but for Z = P - I = -W^T U: a query that passes a
chunk changes little, Q <- Q + Q Z, and is kept in float32. `prepare` makes X, U, K^ and Z once a
chunk and head of keys. FUSED makes X and U in the same kernel and takes the masked form for every
chunk, for which it holds as well: one launch, for short rows.
"""
# mypy: disable-error-code="no-untyped-def,index"

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from kernels import COUNTS, _tiles
from kernels._inputs import attended
from kernels._launch import launch, row_major
from kernels._tiles import (
    LOG2E,
    check_packed,
    load_rows,
    log2_sums,
    open_gate,
    place,
    store_rows,
    tiles,
)
from kernels.path import plans
from kernels.path.chunks import prepared, solve_chunk
from kernels.path.operator import Inputs


@triton.jit(do_not_specialize=COUNTS)
def forward(
    Q, K, V, W, BETA, GATE, SUMS, TILES, XS, US, KH, ZS, Y, LSE, scale, T, n_tiles, n_chunks,
    H: tl.constexpr, G: tl.constexpr, d: tl.constexpr, e: tl.constexpr, D: tl.constexpr,
    E: tl.constexpr, BT: tl.constexpr, C: tl.constexpr, GATE_KIND: tl.constexpr,
    FUSED: tl.constexpr, PREC: tl.constexpr,
):  # fmt: skip
    """One tile of queries; the chunks of keys from the tile's end to the first.

        keys     0 ........ r0 .. r0 + BT
        queries  [ K^, Z    | masked ]         C keys at a time, from right to left

    owns    BT queries of one row and head, which turn on their way; output and softmax sums
    reads   q, gate and sums of log f of the tile; k, w, X, U of its own chunks, K^ and Z of those
            further left, v of all (FUSED: k, w, beta and v of all)
    writes  y and lse of the tile
    """
    b, h, start, length, r0, slot = place(TILES, T, n_tiles, H, BT)
    if r0 >= length:
        return
    g = h // (H // G)
    token, head = b * T + start, (b * H + h) * T + start
    slot += b * n_chunks
    r, c = r0 + tl.arange(0, BT), tl.arange(0, C)
    cd, ce = tl.arange(0, D), tl.arange(0, E)
    row_d, row_e = (token * G + g) * d, (token * G + g) * e
    loaded = load_rows(Q + (token * H + h) * d, r[:, None], cd[None, :], H * d, length, d, D)
    q = loaded.to(tl.float32)
    origin = None
    if SUMS is not None:
        SUMS += head
        origin = tl.load(SUMS + r0)
    sums_r = log2_sums(SUMS, r[:, None], length, origin)
    scale2 = scale * LOG2E
    acc = tl.zeros([BT, E], tl.float32)
    m = tl.full([BT], -1e30, tl.float32)
    total = tl.zeros([BT], tl.float32)
    own = r0 // C
    for part in tl.static_range(2):
        count = tl.cdiv(tl.minimum(r0 + BT, length), C) - own if part == 0 else own
        known = length if part == 0 else None  # chunks further left are whole
        for t in range(0, count):
            n = own + count - 1 - t if part == 0 else own - 1 - t
            s = n * C + c
            asked = q.to(loaded.dtype)
            if part == 0 or FUSED:
                k = load_rows(K + row_d, s[:, None], cd[None, :], G * d, known, d, D)
                w = load_rows(W + row_d, s[:, None], cd[None, :], G * d, known, d, D)
                if FUSED:
                    beta = tl.load(BETA + (token + s) * G + g, mask=s < length, other=0.0)
                    _, X, U = solve_chunk(k, w, beta.to(tl.float32), C, PREC)
                    X, U = X.to(loaded.dtype), U.to(loaded.dtype)
                else:
                    square = (token * G + g) * C
                    X = load_rows(XS + square, s[:, None], c[None, :], G * C, length, C, C)
                    U = load_rows(US + row_d, s[:, None], cd[None, :], G * d, length, d, D)
                qw = -tl.dot(asked, tl.trans(w), input_precision=PREC)
                if part == 0:
                    qw = tl.where(r[:, None] >= s[None, :], qw, 0.0)
                qw = qw.to(loaded.dtype)
                S = tl.dot(asked, tl.trans(k), input_precision=PREC)
                S += tl.dot(qw, X, input_precision=PREC)
                q += tl.dot(qw, U, input_precision=PREC)
            else:
                kh = load_rows(KH + row_d, s[:, None], cd[None, :], G * d, known, d, D)
                z_at = ZS + ((slot + n) * G + g) * D * D
                z = load_rows(z_at, cd[:, None], cd[None, :], D, None, D, D)
                S = tl.dot(asked, tl.trans(kh), input_precision=PREC)
                q += tl.dot(asked, z, input_precision=PREC)
            # Where nothing is added to the logits, they are scaled after the maximum is taken.
            unit = scale2
            if part == 0 or SUMS is not None:
                unit = 1.0
                S *= scale2
                if SUMS is not None:
                    sums_s = log2_sums(SUMS, s[None, :], length, origin)
                    S += sums_r[0] - sums_s[0]
                    if part == 0:
                        S += sums_r[1] - sums_s[1]
                if part == 0:
                    S = tl.where(r[:, None] >= s[None, :], S, float("-inf"))
            top = tl.maximum(m, tl.max(S, 1) * unit)
            p = tl.exp2(S * unit - top[:, None])
            shrink = tl.exp2(m - top)
            total = total * shrink + tl.sum(p, 1)
            v = load_rows(V + row_e, s[:, None], ce[None, :], G * e, known, e, E)
            acc = acc * shrink[:, None]
            acc += tl.dot(p.to(v.dtype), v, input_precision=PREC)
            m = top
    acc = acc / total[:, None]
    if GATE_KIND > 0:
        acc *= open_gate(GATE, token, h, r[:, None], ce[None, :], length, H, e, E, GATE_KIND)
    store_rows(Y + (token * H + h) * e, acc, r[:, None], ce[None, :], H * e, length, e, E)
    tl.store(LSE + head + r, m + tl.log2(total), mask=r < length)


def arguments(i: Inputs) -> dict[str, Any]:
    """What every launch needs, by argument name."""
    i = row_major(i)
    given = _tiles.arguments(i, plans.precision(i.q.dtype))
    return given | {"W": i.w.to(i.q.dtype), "BETA": i.beta.to(torch.float32)}


def run_forward(i: Inputs) -> tuple[Tensor, Tensor]:
    """y [B,T,H,e] and the logarithm (base 2) of the softmax's denominator [B,H,T]."""
    B, T, H, d = i.q.shape
    check_packed(i.offsets, T)
    y, lse = attended(i)
    given = arguments(i) | {"Y": y, "LSE": lse}
    plan = plans.plan(False, d, i.v.shape[3], i.q.dtype.itemsize, T)
    if plan.fused:
        given |= dict.fromkeys(("XS", "US", "KH", "ZS")) | {"n_chunks": 0}
    else:
        given |= prepared(given, plan.C, False)
    table, n = tiles(i.offsets, T, plan.BT, plan.C)
    given |= {"TILES": table, "n_tiles": n, "BT": plan.BT, "C": plan.C, "FUSED": plan.fused}
    launch(forward, (n * B * H,), given, plan.num_warps, plan.num_stages)
    return y, lse
