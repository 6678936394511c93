"""Triton kernel of attention's forward pass, and its launch.

Tiles are BM queries by BN keys; D and E are the widths rounded up to a power of two of at least
16. Logits are kept in units of log 2, so that every exponential is one exp2. Masked logits are -inf
under a finite running maximum, which makes their weight zero without a second mask.
"""
# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from kernels import _tiles
from kernels._inputs import attended
from kernels._launch import launch, row_major
from kernels._tiles import LOG2E, check_packed, load_rows, log2_sums, open_gate, place, store_rows
from kernels.attention import plans
from kernels.attention.operator import Inputs
from kernels.attention.plans import COUNTS


# Two functions, as Triton 3.6 returns None but no tuple that holds it.
@triton.jit
def slope_of(SLOPES, b, h, stride):
    """The slope of a head in units of log 2; None where there is none."""
    slope = None
    if SLOPES is not None:
        slope = tl.load(SLOPES + b * stride + h).to(tl.float32) * LOG2E
    return slope


@triton.jit
def window_of(WINDOW, b, h, stride, length):
    """The window of a head, `length` where it has none; None where no head has one."""
    window = None
    if WINDOW is not None:
        window = tl.load(WINDOW + b * stride + h)
        window = tl.where(window > 0, window, length)
    return window


@triton.jit
def biased(S, r, s, sums_r, sums_s, slope, window, MASKED: tl.constexpr):
    """Logits with the biases that are not None; r, s broadcast to the tile or its transpose.

    The causal mask is enough at the end of a row too: no query of the row sees a key after it.
    """
    if slope is not None:
        S -= slope * (r - s).to(tl.float32)
    if sums_r is not None:
        S += sums_r[0] - sums_s[0]
        if MASKED:
            S += sums_r[1] - sums_s[1]
    if MASKED:
        S = tl.where(r >= s, S, float("-inf"))
    if window is not None:
        S = tl.where(r - s < window, S, float("-inf"))
    return S


@triton.jit(do_not_specialize=COUNTS)
def forward(
    Q, K, V, GATE, SLOPES, WINDOW, SUMS, TILES, Y, LSE, scale, T, n_tiles, slopes_stride,
    window_stride,
    H: tl.constexpr, G: tl.constexpr, d: tl.constexpr, e: tl.constexpr, D: tl.constexpr,
    E: tl.constexpr, BM: tl.constexpr, BN: tl.constexpr, GATE_KIND: tl.constexpr,
    PREC: tl.constexpr,
):  # fmt: skip
    """One tile of queries against every key before it.

        keys     0 ........ r0 .. r0 + BM
        queries  [ whole    | masked ]      BN keys at a time, from left to right

    owns    BM queries of one row and head; their output and softmax sums stay in registers
    reads   q, gate and sums of log f of the tile; k, v and sums of log f of keys 0 .. r0 + BM
    writes  y and lse of the tile
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
    q = load_rows(Q + (token * H + h) * d, r[:, None], cd[None, :], H * d, length, d, D)
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
    acc = tl.zeros([BM, E], tl.float32)
    m = tl.full([BM], -1e30, tl.float32)
    total = tl.zeros([BM], tl.float32)
    # Keys before the tile's first query need no mask; the others need one.
    for part in tl.static_range(2):
        first = low if part == 0 else r0 // BN * BN
        last = r0 // BN * BN if part == 0 else tl.minimum(r0 + BM, length)
        known = None if part == 0 else length
        for s0 in range(first, last, BN):
            s = s0 + tl.arange(0, BN)
            k = load_rows(K, s[:, None], cd[None, :], G * d, known, d, D)
            S = tl.dot(q, tl.trans(k), input_precision=PREC)
            # Where nothing is added to the logits, they are scaled after the maximum is taken.
            unit = scale2
            if part == 1 or SLOPES is not None or WINDOW is not None or SUMS is not None:
                sums_s = log2_sums(SUMS, s[None, :], length, origin)
                S = biased(
                    S * scale2, r[:, None], s[None, :], sums_r, sums_s, slope, window, part == 1
                )
                unit = 1.0
            top = tl.maximum(m, tl.max(S, 1) * unit)
            p = tl.exp2(S * unit - top[:, None])
            shrink = tl.exp2(m - top)
            total = total * shrink + tl.sum(p, 1)
            v = load_rows(V, s[:, None], ce[None, :], G * e, known, e, E)
            acc = acc * shrink[:, None]
            acc += tl.dot(p.to(v.dtype), v, input_precision=PREC)
            m = top
    # Rows after the end may see no key at all.
    acc = acc / tl.maximum(total, 1e-30)[:, None]
    if GATE_KIND > 0:
        acc *= open_gate(GATE, token, h, r[:, None], ce[None, :], length, H, e, E, GATE_KIND)
    store_rows(Y + (token * H + h) * e, acc, r[:, None], ce[None, :], H * e, length, e, E)
    tl.store(LSE + head + r, m + tl.log2(tl.maximum(total, 1e-30)), mask=r < length)


def arguments(i: Inputs) -> dict[str, Any]:
    """What every launch needs, by argument name."""
    i = row_major(i)
    H, given = i.q.shape[2], _tiles.arguments(i, plans.PRECISION)
    for name, x in (("slopes", i.slopes), ("window", i.window)):
        given[f"{name}_stride"] = H if x is not None and x.ndim == 2 else 0
    window = None if i.window is None else i.window.to(torch.int32)
    return given | {"SLOPES": i.slopes, "WINDOW": window}


def run(kernel: Any, heads: int, plan: plans.Plan, given: dict[str, Any], block: int) -> None:
    """Launch a kernel in the tiles of a plan, `block` tokens of one head a program."""
    table, n = _tiles.tiles(given["offsets"], given["T"], block, block)
    given = given | {"TILES": table, "n_tiles": n, "BM": plan.BM, "BN": plan.BN}
    launch(kernel, (n * heads,), given, plan.num_warps, plan.num_stages)


def run_forward(i: Inputs) -> tuple[Tensor, Tensor]:
    """y [B,T,H,e] and the logarithm (base 2) of the softmax's denominator [B,H,T]."""
    B, T, H, d = i.q.shape
    check_packed(i.offsets, T)
    y, lse = attended(i)
    plan = plans.plan("forward", max(d, i.v.shape[3]), i.q.dtype.itemsize, T)
    run(forward, B * H, plan, arguments(i) | {"Y": y, "LSE": lse}, plan.BM)
    return y, lse
