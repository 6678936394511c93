"""Triton kernel of PaTH's forward pass, and its launch.

Letters of kernels/path/__init__.py: in a chunk of C tokens
X = A stril(diag(beta) W K^T), U = A diag(beta) W,
K^ = K - X^T W, and here Z = P - I = -W^T U, so that a query that passes a chunk changes little:
Q <- Q + Q Z, kept in float32.

`prepare` makes X, U, K^, Z once per chunk and head of keys. `forward` owns BT queries and walks the
chunks from their end to the first. Chunks inside the tile take the masked form
    QW = tril(Q W^T)     S = Q K^T - QW X     Q <- Q - QW U
which also holds for chunks further left, where K^ and Z take over. FUSED makes X and U in the
same kernel and uses the masked form only: one launch, for short rows.
"""
# mypy: disable-error-code="no-untyped-def,index"

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from kernels import COUNTS
from kernels._launch import launch, power_of_two, row_major
from kernels._tiles import (
    LOG2E,
    check_packed,
    load_rows,
    log2_sums,
    place,
    store_rows,
    sums_of_logs,
    tiles,
)
from kernels.path import plans
from kernels.path.chunks import prepared, solve_chunk


@triton.jit(do_not_specialize=COUNTS)
def forward(
    Q, K, V, W, BETA, GATE, SUMS, TILES, XS, US, KH, ZS, Y, LSE, scale, T, n_tiles, n_chunks,
    H: tl.constexpr, G: tl.constexpr, d: tl.constexpr, e: tl.constexpr, D: tl.constexpr,
    E: tl.constexpr, BT: tl.constexpr, C: tl.constexpr, GATE_KIND: tl.constexpr,
    HAS_FORGET: tl.constexpr, PACKED: tl.constexpr, FUSED: tl.constexpr, PREC: tl.constexpr,
):  # fmt: skip
    """One tile of queries; the chunks of keys from the tile's end to the first.

        keys     0 ........ r0 .. r0 + BT
        queries  [ K^, Z    | masked ]         C keys at a time, from right to left

    owns    BT queries of one row and head, which turn on their way; output and softmax sums
    reads   q, gate and sums of log f of the tile; k, w, X, U of its own chunks, K^ and Z of those
            further left, v of all (FUSED: k, w, beta and v of all)
    writes  y and lse of the tile
    """
    b, h, start, length, r0 = place(TILES, T, n_tiles, H, BT, PACKED)
    if r0 >= length:
        return
    g = h // (H // G)
    token, head = b * T + start, (b * H + h) * T + start
    slot = b * n_chunks
    if PACKED:
        slot += tl.load(TILES + 4 * (tl.program_id(0) % n_tiles) + 3)
    r, c = r0 + tl.arange(0, BT), tl.arange(0, C)
    cd, ce = tl.arange(0, D), tl.arange(0, E)
    row_d, row_e = (token * G + g) * d, (token * G + g) * e
    loaded = load_rows(Q + (token * H + h) * d, r[:, None], cd[None, :], H * d, length, d, D)
    q = loaded.to(tl.float32)
    near_r, lost_r, origin = 0.0, 0.0, 0.0
    if HAS_FORGET:
        SUMS += head
        origin = tl.load(SUMS + r0)
        near_r, lost_r = log2_sums(SUMS, r[:, None], length, origin)
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
                k = load_rows(K + row_d, s[:, None], cd[None, :], G * d, length, d, D)
                w = load_rows(W + row_d, s[:, None], cd[None, :], G * d, length, d, D)
                if FUSED:
                    beta = tl.load(BETA + (token + s) * G + g, mask=s < length, other=0.0)
                    _, X, U = solve_chunk(k, w, beta.to(tl.float32), C, PREC)
                    X, U = X.to(loaded.dtype), U.to(loaded.dtype)
                else:
                    square = (token * G + g) * C
                    X = load_rows(XS + square, s[:, None], c[None, :], G * C, length, C, C)
                    U = load_rows(US + row_d, s[:, None], cd[None, :], G * d, length, d, D)
                qw = tl.dot(asked, tl.trans(w), input_precision=PREC)
                if part == 0:
                    qw = tl.where(r[:, None] >= s[None, :], qw, 0.0)
                qw = qw.to(loaded.dtype)
                S = tl.dot(asked, tl.trans(k), input_precision=PREC)
                S -= tl.dot(qw, X, input_precision=PREC)
                q -= tl.dot(qw, U, input_precision=PREC)
            else:
                kh = load_rows(KH + row_d, s[:, None], cd[None, :], G * d, length, d, D)
                z_at = ZS + ((slot + n) * G + g) * D * D
                z = load_rows(z_at, cd[:, None], cd[None, :], D, D, D, D)
                S = tl.dot(asked, tl.trans(kh), input_precision=PREC)
                q += tl.dot(asked, z, input_precision=PREC)
            S *= scale2
            if HAS_FORGET:
                near_s, lost_s = log2_sums(SUMS, s[None, :], length, origin)
                S += near_r - near_s
                if part == 0:
                    S += lost_r - lost_s
            if part == 0:
                S = tl.where((r[:, None] >= s[None, :]) & (s[None, :] < length), S, float("-inf"))
            top = tl.maximum(m, tl.max(S, 1))
            p = tl.exp2(S - top[:, None])
            shrink = tl.exp2(m - top)
            total = total * shrink + tl.sum(p, 1)
            v = load_rows(V + row_e, s[:, None], ce[None, :], G * e, length, e, E)
            acc = acc * shrink[:, None]
            acc += tl.dot(p.to(v.dtype), v, input_precision=PREC)
            m = top
    acc = acc / total[:, None]
    if GATE_KIND == 1:
        logit = tl.load(GATE + (token + r) * H + h, mask=r < length, other=0.0)
        acc = acc * tl.sigmoid(logit.to(tl.float32))[:, None]
    gate_at = (token * H + h) * e
    if GATE_KIND == 2:
        logit = load_rows(GATE + gate_at, r[:, None], ce[None, :], H * e, length, e, E)
        acc = acc * tl.sigmoid(logit.to(tl.float32))
    store_rows(Y + gate_at, acc, r[:, None], ce[None, :], H * e, length, e, E)
    tl.store(LSE + head + r, m + tl.log2(total), mask=r < length)


def arguments(
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
    q, k, v, w, beta, log_forget, gate = row_major(q, k, v, w, beta, log_forget, gate)
    d, e = q.shape[3], v.shape[3]
    return {
        "Q": q, "K": k, "V": v, "W": w.to(q.dtype), "BETA": beta.to(torch.float32), "GATE": gate,
        "SUMS": sums_of_logs(log_forget), "scale": scale, "T": q.shape[1], "H": q.shape[2],
        "G": k.shape[2], "d": d, "e": e, "D": power_of_two(d, 16), "E": power_of_two(e, 16),
        "GATE_KIND": 0 if gate is None else gate.ndim - 2, "HAS_FORGET": log_forget is not None,
        "PACKED": offsets is not None, "PREC": plans.precision(q.dtype),
    }  # fmt: skip


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
    """y [B,T,H,e] and the logarithm (base 2) of the softmax's denominator [B,H,T]."""
    given = arguments(q, k, v, w, beta, scale, log_forget, gate, offsets)
    B, T, H, d = q.shape
    e = v.shape[3]
    check_packed(offsets, T)
    plan = plans.plan(False, d, e, q.dtype.itemsize, T)
    if plan.fused:
        given |= dict.fromkeys(("XS", "US", "KH", "ZS")) | {"n_chunks": 0}
    else:
        given |= prepared(given, plan.C, offsets, False)
    table, n = tiles(offsets, T, plan.BT, plan.C)
    y = torch.empty(B, T, H, e, dtype=v.dtype, device=q.device)
    lse = torch.empty(B, H, T, dtype=torch.float32, device=q.device)
    given |= {"Y": y, "LSE": lse, "TILES": table, "n_tiles": n}
    given |= {"BT": plan.BT, "C": plan.C, "FUSED": plan.fused}
    launch(forward, (n * B * H,), given, plan.num_warps, plan.num_stages)
    return y, lse
