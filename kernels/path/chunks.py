"""What PaTH's kernels do with one chunk of C tokens: inverse, X and U, and their gradients.

Letters are those of kernels/path/__init__.py.
"""
# mypy: disable-error-code="no-untyped-def,index"

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl

from kernels import COUNTS
from kernels._launch import launch, like
from kernels._tiles import LOG2E, exact, inverse, load_rows, place, store_rows, tiles
from kernels.path import plans


@triton.jit
def solve_chunk(k, w, beta, C: tl.constexpr, PREC: tl.constexpr):
    """A, X and U [C,*] of one chunk, float32; k, w as loaded."""
    EXACT: tl.constexpr = exact(w.dtype, PREC)
    c = tl.arange(0, C)
    low = c[:, None] > c[None, :]
    overlap = tl.dot(w, tl.trans(w), input_precision=PREC)
    A = inverse(tl.where(low, overlap * beta[:, None], 0.0), C, EXACT)
    scaled = A * beta[None, :]
    U = tl.dot(scaled, w.to(tl.float32), input_precision=EXACT)
    overlap = tl.dot(w, tl.trans(k), input_precision=PREC)
    X = tl.dot(scaled, tl.where(low, overlap, 0.0), input_precision=EXACT)
    return A, X, U


@triton.jit(do_not_specialize=COUNTS)
def prepare(
    K, W, BETA, TILES, XS, US, KH, ZS, AS, T, n_tiles,
    G: tl.constexpr, d: tl.constexpr, D: tl.constexpr, C: tl.constexpr, PREC: tl.constexpr,
):  # fmt: skip
    """What one chunk of keys is to every query that meets it.

    owns    C keys of one row and head of keys
    reads   k, w and beta of the chunk
    writes  X [B,T,G,C], U, K^ [B,T,G,d], Z [B,chunks,G,D,D], and A [B,T,G,C] unless AS is None
    """
    slot = tl.program_id(0) % n_tiles
    b, g, start, length, s0, _ = place(TILES, T, n_tiles, G, C)
    if s0 >= length:
        return
    token = b * T + start
    c, cd = tl.arange(0, C), tl.arange(0, D)
    s = s0 + c
    row = (token * G + g) * d
    k = load_rows(K + row, s[:, None], cd[None, :], G * d, length, d, D)
    w = load_rows(W + row, s[:, None], cd[None, :], G * d, length, d, D)
    beta = tl.load(BETA + (token + s) * G + g, mask=s < length, other=0.0).to(tl.float32)
    A, X, U = solve_chunk(k, w, beta, C, PREC)
    square = (token * G + g) * C
    store_rows(XS + square, X, s[:, None], c[None, :], G * C, length, C, C)
    store_rows(US + row, U, s[:, None], cd[None, :], G * d, length, d, D)
    if AS is not None:
        store_rows(AS + square, A, s[:, None], c[None, :], G * C, length, C, C)
    z = -tl.dot(tl.trans(w), U.to(w.dtype), input_precision=PREC)
    z_at = ZS + ((b * n_tiles + slot) * G + g) * D * D
    store_rows(z_at, z, cd[:, None], cd[None, :], D, None, D, D)
    # X is transposed through memory: a computed tile is never transposed.
    tl.debug_barrier()
    x_t = load_rows(XS + square, s[None, :], c[:, None], G * C, length, C, C)
    kh = k.to(tl.float32) - tl.dot(x_t, w, input_precision=PREC)
    store_rows(KH + row, kh, s[:, None], cd[None, :], G * d, length, d, D)


@triton.jit
def keep(P, x, rows, cols, stride):
    """Write to the program's own scratch memory; a barrier must come before the read."""
    tl.store(P + rows * stride + cols, x.to(P.dtype.element_ty))


@triton.jit
def recall(P, rows, cols, stride):
    return tl.load(P + rows * stride + cols)


@triton.jit
def gradient_inside(
    q, q_t, k, v, w, X, X_t, U, do, do_t, g, g_t, lse, delta, sums_r, sums_s, ok, ok_t, scale,
    PREC: tl.constexpr,
):  # fmt: skip
    """Backward of one chunk in the masked form, for queries q that enter it.

    g: gradient of the queries that leave it. Returns the gradient of those that enter, and of k, v,
    w, X, U as this step uses them, and the column sums of dS. Whatever multiplies transposed comes
    transposed from memory or is made again: computed tiles are never transposed. What is subtracted
    is made negative, so that products add up in tensor cores.
    """
    dtype = q.dtype
    scale2 = scale * LOG2E
    qw = tl.where(ok, -tl.dot(q, tl.trans(w), input_precision=PREC), 0.0).to(dtype)
    S = tl.dot(q, tl.trans(k), input_precision=PREC) + tl.dot(qw, X, input_precision=PREC)
    S *= scale2
    if sums_r is not None:
        S += sums_r[0][:, None] - sums_s[0][None, :]
        S += sums_r[1][:, None] - sums_s[1][None, :]
    p = tl.exp2(tl.where(ok, S, float("-inf")) - lse[:, None])
    delta *= scale
    ds = p * (tl.dot(do, tl.trans(v), input_precision=PREC) * scale - delta[:, None])
    ds = ds.to(dtype)
    g_low = g.to(dtype)
    dqw = tl.dot(ds, tl.trans(X), input_precision=PREC)
    dqw += tl.dot(g_low, tl.trans(U), input_precision=PREC)
    dqw = tl.where(ok, -dqw, 0.0).to(dtype)
    g += tl.dot(ds, k, input_precision=PREC)
    g += tl.dot(dqw, w, input_precision=PREC)
    qw_t = tl.where(ok_t, -tl.dot(w, q_t, input_precision=PREC), 0.0).to(dtype)
    dX = tl.dot(qw_t, ds, input_precision=PREC)
    dU = tl.dot(qw_t, g_low, input_precision=PREC)
    S = tl.dot(k, q_t, input_precision=PREC) + tl.dot(X_t, qw_t, input_precision=PREC)
    S *= scale2
    if sums_r is not None:
        S += sums_r[0][None, :] - sums_s[0][:, None]
        S += sums_r[1][None, :] - sums_s[1][:, None]
    p = tl.exp2(tl.where(ok_t, S, float("-inf")) - lse[None, :])
    dv = tl.dot(p.to(do.dtype), do, input_precision=PREC)
    ds = p * (tl.dot(v, do_t, input_precision=PREC) * scale - delta[None, :])
    columns = tl.sum(ds, 1) / scale
    ds = ds.to(dtype)
    dk = tl.dot(ds, q, input_precision=PREC)
    dqw = tl.dot(X, ds, input_precision=PREC) + tl.dot(U, g_t, input_precision=PREC)
    dqw = tl.where(ok_t, -dqw, 0.0).to(dtype)
    dw = tl.dot(dqw, q, input_precision=PREC)
    return g, dk, dv, dw, dX, dU, columns


@triton.jit
def gradient_reflections(
    dX, dU, k, w, beta, A_t, X_t, U, AS, s, stride, limit,
    C: tl.constexpr, PREC: tl.constexpr,
):  # fmt: skip
    """dk, dw and dbeta from the gradients of X and U; A_t is the transposed inverse.

    dN = A^T dX and dM = A^T dU belong to stril(diag(beta) W K^T) and diag(beta) W, and
    dL = -stril(dN X^T + dM U^T) to L. Rows s below `limit` of AS, where the inverse was, serve to
    transpose dL and dN.
    """
    c = tl.arange(0, C)
    low = c[:, None] > c[None, :]
    ww = tl.dot(w, tl.trans(w), input_precision=PREC)
    wk = tl.dot(w, tl.trans(k), input_precision=PREC)
    k, w, U = k.to(tl.float32), w.to(tl.float32), U.to(tl.float32)
    dN = tl.dot(A_t, dX, input_precision=PREC)
    dM = tl.dot(A_t, dU, input_precision=PREC)
    dL = tl.dot(dN, X_t.to(tl.float32), input_precision=PREC)
    dL += tl.dot(dM, tl.trans(U), input_precision=PREC)
    dL = tl.where(low, -dL, 0.0)
    dN = tl.where(low, dN, 0.0)
    dbeta = tl.sum(dL * ww + dN * wk, 1) + tl.sum(dM * w, 1)
    dw = dM + tl.dot(dL, w, input_precision=PREC) + tl.dot(dN, k, input_precision=PREC)
    dw *= beta[:, None]
    tl.debug_barrier()
    store_rows(AS, dL * beta[:, None], s[:, None], c[None, :], stride, limit, C, C)
    tl.debug_barrier()
    dL = load_rows(AS, s[None, :], c[:, None], stride, limit, C, C)
    dw += tl.dot(dL, w, input_precision=PREC)
    tl.debug_barrier()
    store_rows(AS, dN * beta[:, None], s[:, None], c[None, :], stride, limit, C, C)
    tl.debug_barrier()
    dN = load_rows(AS, s[None, :], c[:, None], stride, limit, C, C)
    dk = tl.dot(dN, w, input_precision=PREC)
    return dk, dw, dbeta


def prepared(given: dict[str, Any], C: int, inverse: bool) -> dict[str, Any]:
    """X, U, K^, Z of every chunk (and A), by argument name."""
    k, T, G, D = given["K"], given["T"], given["G"], given["D"]
    table, n = tiles(given["offsets"], T, C, C)
    B = k.shape[0]
    made = {
        "XS": k.new_empty(B, T, G, C), "US": like(k), "KH": like(k),
        "ZS": k.new_empty(B, n, G, D, D),
        "AS": k.new_empty(B, T, G, C, dtype=torch.float32) if inverse else None,
    }  # fmt: skip
    own = given | made | {"TILES": table, "n_tiles": n, "C": C}
    launch(prepare, (n * B * G,), own, plans.chunk_warps("prepare", k.dtype.itemsize, C, D), 1)
    return made | {"n_chunks": n, "C": C}
