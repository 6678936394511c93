"""Triton kernel of attention's forward pass, and its launch.

Tiles are BM queries by BN keys; D and E are the widths rounded up to a power of two of at least
16. Logits are kept in units of log 2, so that every exponential is one exp2. Masked logits are -inf
under a finite running maximum, which makes their weight zero without a second mask.

The rows' sums of log f are float64, and rounded relative to the tile's first query. Inside a tile
what rounding lost is added, so that strong gates do not blur the tokens behind them.
"""
# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

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
from kernels.attention import plans
from kernels.attention.plans import COUNTS


@triton.jit
def biased(
    S, r, s, near_r, near_s, lost_r, lost_s, slope, window, T,
    HAS_SLOPES: tl.constexpr, HAS_WINDOW: tl.constexpr, HAS_FORGET: tl.constexpr,
    MASKED: tl.constexpr,
):  # fmt: skip
    """Logits with their biases; r, s broadcast to the tile or its transpose."""
    if HAS_SLOPES:
        S -= slope * (r - s).to(tl.float32)
    if HAS_FORGET:
        S += near_r - near_s
        if MASKED:
            S += lost_r - lost_s
    if MASKED:
        S = tl.where((r >= s) & (s < T), S, float("-inf"))
    if HAS_WINDOW:
        S = tl.where(r - s < window, S, float("-inf"))
    return S


@triton.jit(do_not_specialize=COUNTS)
def forward(
    Q, K, V, GATE, SLOPES, WINDOW, SUMS, TILES, Y, LSE, scale, T, n_tiles, slopes_stride,
    window_stride,
    H: tl.constexpr, G: tl.constexpr, d: tl.constexpr, e: tl.constexpr, D: tl.constexpr,
    E: tl.constexpr, BM: tl.constexpr, BN: tl.constexpr, GATE_KIND: tl.constexpr,
    HAS_SLOPES: tl.constexpr, HAS_WINDOW: tl.constexpr, HAS_FORGET: tl.constexpr,
    PACKED: tl.constexpr, PREC: tl.constexpr,
):  # fmt: skip
    """One tile of queries against every key before it.

        keys     0 ........ r0 .. r0 + BM
        queries  [ whole    | masked ]      BN keys at a time, from left to right

    owns    BM queries of one row and head; their output and softmax sums stay in registers
    reads   q, gate and sums of log f of the tile; k, v and sums of log f of keys 0 .. r0 + BM
    writes  y and lse of the tile
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
    q = load_rows(Q + (token * H + h) * d, r[:, None], cd[None, :], H * d, length, d, D)
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
    acc = tl.zeros([BM, E], tl.float32)
    m = tl.full([BM], -1e30, tl.float32)
    total = tl.zeros([BM], tl.float32)
    # Keys before the tile's first query need no mask; the others need one.
    for part in tl.static_range(2):
        first = low if part == 0 else r0 // BN * BN
        last = r0 // BN * BN if part == 0 else tl.minimum(r0 + BM, length)
        for s0 in range(first, last, BN):
            s = s0 + tl.arange(0, BN)
            k = load_rows(K, s[:, None], cd[None, :], G * d, length, d, D)
            S = tl.dot(q, tl.trans(k), input_precision=PREC) * scale2
            near_s, lost_s = 0.0, 0.0
            if HAS_FORGET:
                near_s, lost_s = log2_sums(SUMS, s[None, :], length, origin)
            S = biased(
                S, r[:, None], s[None, :], near_r, near_s, lost_r, lost_s, slope, window, length,
                HAS_SLOPES, HAS_WINDOW, HAS_FORGET, part == 1,
            )  # fmt: skip
            top = tl.maximum(m, tl.max(S, 1))
            p = tl.exp2(S - top[:, None])
            shrink = tl.exp2(m - top)
            total = total * shrink + tl.sum(p, 1)
            v = load_rows(V, s[:, None], ce[None, :], G * e, length, e, E)
            acc = acc * shrink[:, None]
            acc += tl.dot(p.to(v.dtype), v, input_precision=PREC)
            m = top
    # Rows after the end may see no key at all.
    acc = acc / tl.maximum(total, 1e-30)[:, None]
    if GATE_KIND == 1:
        logit = tl.load(GATE + (token + r) * H + h, mask=r < length, other=0.0)
        acc = acc * tl.sigmoid(logit.to(tl.float32))[:, None]
    if GATE_KIND == 2:
        logit = load_rows(GATE + (token * H + h) * e, r[:, None], ce[None, :], H * e, length, e, E)
        acc = acc * tl.sigmoid(logit.to(tl.float32))
    store_rows(Y + (token * H + h) * e, acc, r[:, None], ce[None, :], H * e, length, e, E)
    tl.store(LSE + head + r, m + tl.log2(tl.maximum(total, 1e-30)), mask=r < length)


def arguments(
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
    tensors: dict[str, Any] = {
        "SLOPES": slopes, "WINDOW": None if window is None else window.to(torch.int32),
        "SUMS": sums_of_logs(log_forget),
    }  # fmt: skip
    constants: dict[str, Any] = {
        "slopes_stride": H if slopes is not None and slopes.ndim == 2 else 0,
        "window_stride": H if window is not None and window.ndim == 2 else 0, "H": H, "G": G,
        "d": d, "e": e, "D": power_of_two(d, 16), "E": power_of_two(e, 16),
        "GATE_KIND": 0 if gate is None else gate.ndim - 2, "HAS_SLOPES": slopes is not None,
        "HAS_WINDOW": window is not None, "HAS_FORGET": log_forget is not None,
        "PACKED": offsets is not None, "PREC": plans.PRECISION,
    }  # fmt: skip
    return tensors | constants


def run(kernel: Any, grid: int, plan: plans.Plan, given: dict[str, Any]) -> None:
    """Launch a kernel in the tiles of a plan."""
    given = given | {"BM": plan.BM, "BN": plan.BN}
    launch(kernel, (grid,), given, plan.num_warps, plan.num_stages)


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
    """y [B,T,H,e] and the logarithm (base 2) of the softmax's denominator [B,H,T]."""
    q, k, v, slopes, window, log_forget, gate = row_major(q, k, v, slopes, window, log_forget, gate)
    B, T, H, d = q.shape
    e = v.shape[3]
    check_packed(offsets, T)
    y = torch.empty(B, T, H, e, dtype=v.dtype, device=q.device)
    lse = torch.empty(B, H, T, dtype=torch.float32, device=q.device)
    given = arguments(q, v, k.shape[2], slopes, window, log_forget, gate, offsets)
    plan = plans.plan("forward", max(d, e), q.dtype.itemsize, T)
    table, n = tiles(offsets, T, plan.BM, plan.BM)
    own: dict[str, Any] = {"Q": q, "K": k, "V": v, "GATE": gate, "TILES": table, "Y": y, "LSE": lse}
    own |= {"scale": scale, "T": T, "n_tiles": n}
    run(forward, n * B * H, plan, given | own)
    return y, lse
