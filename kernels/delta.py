"""Gated delta rule (Gated DeltaNet, arXiv 2412.06464; without decay: 2406.06484):

    S_t = exp(log_decay_t) (I - beta_t k_t k_t^T) S_{t-1} + beta_t k_t v_t^T      S_{-1} = S0, or 0
    o_t = scale * S_t^T q_t

q, k [B,T,H,d], v [B,T,H,e], beta [B,T,H] in (0, 2), log_decay [B,T,H] <= 0 or None (no decay),
S0 [B,H,d,e] or None -> o [B,T,H,e] and S_last [B,H,d,e]; the paper writes the transposed S. Keys
are used as they come: the caller normalises them, or the state can grow. scale is 1 unless given.

Chunks of C tokens: with L_ij = beta_i (k_i . k_j) exp(sum of log_decay_r over j < r <= i) below the
diagonal, R = (I + L)^-1 diag(beta) (V - decayed K S) are the values that are really written, so
that o = decayed Q S + (decayed causal QK^T) R. Tasks repeat tokens and so keys; the powers of L
then explode, hence the inverse by substitution (reference) or by doubling blocks (kernel), never
by a series.

State, inverse and sums are float32 whatever the inputs are (float64 for float64 inputs), autocast
or not; o has the type of v, S_last is float32. The kernels' products take their factors in v's type
(q and k are cast to it; float32 as three tf32 products) and keep for the backward pass, in that
type, the state before each chunk, the inverses and R. Two launches forward for wide keys, one for
narrow ones; two backward: the state's gradient chunk by chunk, then every chunk at once. No
atomics: the same bits in every run.
"""

from __future__ import annotations

import itertools
import os
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from kernels import COUNTS, Impl, choose, has_triton
from kernels.linear import after, between, check_shapes, to_chunks
from kernels.scan import _fold

if has_triton():
    import triton
    import triton.language as tl

_CHUNK = 32


def definition(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    beta: Tensor,
    log_decay: Tensor | None = None,
    S0: Tensor | None = None,
    scale: float | None = None,
) -> tuple[Tensor, Tensor]:
    """The formula, one token at a time, in the type of v."""
    S = v.new_zeros(*k[:, 0].shape, v.shape[-1]) if S0 is None else S0
    out = []
    for t in range(v.shape[1]):
        g = None if log_decay is None else log_decay[:, t]
        S, o = _advance(q[:, t], k[:, t], v[:, t], beta[:, t], g, S)
        out.append(o if scale is None else o * scale)
    return torch.stack(out, 1), S


def delta_step(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    beta: Tensor,
    log_decay: Tensor | None,
    S: Tensor,
    *,
    scale: float | None = None,
) -> tuple[Tensor, Tensor]:
    """One token: q, k [B,H,d], v [B,H,e], beta, log_decay [B,H] -> o [B,H,e] and the new S."""
    with torch.autocast(v.device.type, enabled=False):
        g = None if log_decay is None else log_decay.to(S.dtype)
        q, k, values, beta = (x.to(S.dtype) for x in (q, k, v, beta))
        S, o = _advance(q, k, values, beta, g, S)
        return (o if scale is None else o * scale).to(v.dtype), S


def _advance(
    q: Tensor, k: Tensor, v: Tensor, beta: Tensor, log_decay: Tensor | None, S: Tensor
) -> tuple[Tensor, Tensor]:
    if log_decay is not None:
        S = S * log_decay.exp()[..., None, None]
    held = (S * k[..., :, None]).sum(-2)
    S = S + k[..., :, None] * (beta[..., None] * (v - held))[..., None, :]
    return S, (S * q[..., :, None]).sum(-2)


def reference(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    beta: Tensor,
    log_decay: Tensor | None = None,
    S0: Tensor | None = None,
    scale: float | None = None,
) -> tuple[Tensor, Tensor]:
    """All chunks at once, but for the state that passes from chunk to chunk."""
    with torch.autocast(v.device.type, enabled=False):
        return _chunked(q, k, v, beta, log_decay, S0, scale)


def _chunked(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    beta: Tensor,
    log_decay: Tensor | None,
    S0: Tensor | None,
    scale: float | None,
) -> tuple[Tensor, Tensor]:
    (B, T, H, d), e = k.shape, v.shape[3]
    dtype = torch.float64 if v.dtype == torch.float64 else torch.float32
    C = min(_CHUNK, 1 << (T - 1).bit_length())
    Q, K, V = (to_chunks(x, C, dtype) for x in (q, k, v))
    if scale is not None:
        Q = Q * scale
    b = to_chunks(beta, C, dtype)[..., None]
    Kb = K * b
    L, scores, first, last, fades = Kb @ K.mT, Q @ K.mT, Kb, K, None
    if log_decay is None:
        scores = scores.tril()
    else:
        g = to_chunks(log_decay, C, dtype)
        fade = between(g).exp()
        L, scores = L * fade, scores * fade
        begun = g.cumsum(-1)[..., None].exp()
        Q, first, last = Q * begun, Kb * begun, K * after(g, -1)[..., None].exp()
        fades = begun[..., -1:, :].unbind(2)
    # The solver reads below the diagonal only: unitriangular stands for I + L.
    solved = torch.linalg.solve_triangular(
        L, torch.cat([V * b, first], -1), upper=False, unitriangular=True
    )
    fresh, seen = (x.unbind(2) for x in solved.split([e, d], -1))
    S = v.new_zeros(B, H, d, e, dtype=dtype) if S0 is None else S0.to(dtype)
    states, written = [], []
    for n, key in enumerate(last.mT.unbind(2)):
        states.append(S)
        R = fresh[n] if n == 0 and S0 is None else fresh[n] - seen[n] @ S
        written.append(R)
        S = (S if fades is None else S * fades[n]) + key @ R
    o = scores @ torch.stack(written, 2)
    if S0 is not None or len(states) > 1:
        o = o + Q @ torch.stack(states, 2)
    return o.flatten(2, 3)[:, :, :T].transpose(1, 2).to(v.dtype), S


if has_triton():

    @triton.jit
    def _tile(X, t, T, stride, x, width, UPCAST: tl.constexpr):  # type: ignore[no-untyped-def]
        """Rows t of a [T, width] matrix whose rows are `stride` apart, zeros around it."""
        inside = (t < T)[:, None] & (x < width)[None, :]
        tile = tl.load(X + t[:, None] * stride + x[None, :], mask=inside, other=0.0)
        # The interpreter multiplies the bit patterns of bfloat16.
        return tile.to(tl.float32) if UPCAST else tile

    @triton.jit
    def _square(X, r, c, UPCAST: tl.constexpr):  # type: ignore[no-untyped-def]
        tile = tl.load(X + r + c)
        return tile.to(tl.float32) if UPCAST else tile

    @triton.jit
    def _log2_decay(G, t, T, H, DECAY: tl.constexpr, C: tl.constexpr):  # type: ignore[no-untyped-def]
        g = tl.zeros([C], tl.float32)
        if DECAY:
            g = tl.load(G + t * H, mask=t < T, other=0.0).to(tl.float32) * 1.4426950408889634
        return g

    @triton.jit
    def _since(g, C: tl.constexpr):  # type: ignore[no-untyped-def]
        """[i, j]: sum of g over j < r <= i. Each entry sums its own terms, so that -inf is safe."""
        c = tl.arange(0, C)
        return tl.cumsum(tl.where(c[:, None] > c[None, :], g[:, None], 0.0), 0)

    @triton.jit
    def _since_flipped(g, C: tl.constexpr):  # type: ignore[no-untyped-def]
        """[j, i] of the same, built in place: a transposed product feeding another is a hazard."""
        c = tl.arange(0, C)
        return tl.cumsum(tl.where(c[:, None] < c[None, :], g[None, :], 0.0), 1)

    @triton.jit
    def _last(x, C: tl.constexpr):  # type: ignore[no-untyped-def]
        """The last row of [C, C]."""
        return tl.sum(tl.where(tl.arange(0, C)[:, None] == C - 1, x, 0.0), 0)

    @triton.jit
    def _inverse_step(X, L, s: tl.constexpr, C: tl.constexpr):  # type: ignore[no-untyped-def]
        i, j = tl.arange(0, C)[:, None], tl.arange(0, C)[None, :]
        corner = (i // (2 * s) == j // (2 * s)) & ((i // s) % 2 == 1) & ((j // s) % 2 == 0)
        half = tl.dot(X, tl.where(corner, L, 0.0), input_precision="tf32x3")
        return X - tl.dot(half, X, input_precision="tf32x3")

    @triton.jit
    def _inverse(L, C: tl.constexpr):  # type: ignore[no-untyped-def]
        """(I + L)^-1 for strictly lower L [16, 16]: blocks on the diagonal double in size.

        As stable as substitution, where powers of L explode on repeated keys.
        """
        i, j = tl.arange(0, C)[:, None], tl.arange(0, C)[None, :]
        X = tl.where(i == j, 1.0, 0.0) - tl.where((i == j + 1) & (i % 2 == 1), L, 0.0)
        X = _inverse_step(X, L, 2, C)
        X = _inverse_step(X, L, 4, C)
        return _inverse_step(X, L, 8, C)

    @triton.jit
    def _lower(k, beta, since, C: tl.constexpr, PREC: tl.constexpr):  # type: ignore[no-untyped-def]
        """L of a stretch of C tokens."""
        i, j = tl.arange(0, C)[:, None], tl.arange(0, C)[None, :]
        kk = tl.dot(k, tl.trans(k), input_precision=PREC) * beta[:, None]
        return tl.where(i > j, kk * tl.exp2(since), 0.0)

    @triton.jit(do_not_specialize=COUNTS)
    def _prepare_kernel(  # type: ignore[no-untyped-def]
        K,
        BETA,
        G,
        M,
        T,
        H,
        d,
        DECAY: tl.constexpr,
        BK: tl.constexpr,
        UPCAST: tl.constexpr,
        PREC: tl.constexpr,
    ):
        """M = (I + L)^-1 of one chunk of 32 tokens, from two halves of 16."""
        bh, n = tl.program_id(0).to(tl.int64), tl.program_id(1)
        x, c = tl.arange(0, BK), tl.arange(0, 16)
        first = (bh // H) * T * H + bh % H
        K, BETA, G = K + first * d, BETA + first, G + first
        t = n * 32 + c
        k1, k2 = _tile(K, t, T, H * d, x, d, UPCAST), _tile(K, t + 16, T, H * d, x, d, UPCAST)
        b1 = tl.load(BETA + t * H, mask=t < T, other=0.0).to(tl.float32)
        b2 = tl.load(BETA + (t + 16) * H, mask=t + 16 < T, other=0.0).to(tl.float32)
        g1, g2 = _log2_decay(G, t, T, H, DECAY, 16), _log2_decay(G, t + 16, T, H, DECAY, 16)
        since1 = _since(g1, 16)
        M1 = _inverse(_lower(k1, b1, since1, 16, PREC), 16)
        M2 = _inverse(_lower(k2, b2, _since(g2, 16), 16, PREC), 16)
        across = tl.cumsum(g2, 0)[:, None] + _last(since1, 16)[None, :]
        L21 = tl.dot(k2, tl.trans(k1), input_precision=PREC) * b2[:, None] * tl.exp2(across)
        M21 = tl.dot(tl.dot(M2, L21, input_precision="tf32x3"), M1, input_precision="tf32x3")
        out = M + (bh * tl.num_programs(1) + n) * 1024 + c[:, None] * 32 + c[None, :]
        tl.store(out, M1.to(M.dtype.element_ty))
        tl.store(out + 16, tl.zeros([16, 16], tl.float32).to(M.dtype.element_ty))
        tl.store(out + 512, (-M21).to(M.dtype.element_ty))
        tl.store(out + 528, M2.to(M.dtype.element_ty))

    @triton.jit(do_not_specialize=COUNTS)
    def _forward_kernel(  # type: ignore[no-untyped-def]
        Q,
        K,
        V,
        BETA,
        G,
        S0,
        OUT,
        LAST,
        M,
        KEPT,
        R,
        scale,
        T,
        H,
        d,
        e,
        DECAY: tl.constexpr,
        INITIAL: tl.constexpr,
        PREPARED: tl.constexpr,
        SAVE: tl.constexpr,
        C: tl.constexpr,
        BK: tl.constexpr,
        BV: tl.constexpr,
        UPCAST: tl.constexpr,
        PREC: tl.constexpr,
    ):
        """One head's BV columns of the state [BK, BV], chunk by chunk."""
        bh, block = tl.program_id(0).to(tl.int64), tl.program_id(1)
        x, y, c = tl.arange(0, BK), block * BV + tl.arange(0, BV), tl.arange(0, C)
        i, j = c[:, None], c[None, :]
        first = (bh // H) * T * H + bh % H
        Q, K, V, OUT = Q + first * d, K + first * d, V + first * e, OUT + first * e
        BETA, G, R = BETA + first, G + first, R + first * e
        chunks = tl.cdiv(T, C)
        M += bh * chunks * C * C
        here = x[:, None] * e + y[None, :]
        state = (x < d)[:, None] & (y < e)[None, :]
        S = tl.zeros([BK, BV], tl.float32)
        if INITIAL:
            S = tl.load(S0 + bh * d * e + here, mask=state, other=0.0).to(tl.float32)
        for n in range(0, chunks):
            t = n * C + c
            q, k = _tile(Q, t, T, H * d, x, d, UPCAST), _tile(K, t, T, H * d, x, d, UPCAST)
            beta = tl.load(BETA + t * H, mask=t < T, other=0.0).to(tl.float32)
            g = _log2_decay(G, t, T, H, DECAY, C)
            since = _since(g, C)
            if PREPARED:
                m = _square(M + n * C * C, i * C, j, UPCAST)
            else:
                m = _inverse(_lower(k, beta, since, C, PREC), C).to(k.dtype)
                if SAVE:
                    tl.store(M + n * C * C + i * C + j, m.to(M.dtype.element_ty))
            begun = tl.exp2(tl.cumsum(g, 0))
            s = S.to(k.dtype)
            o = begun[:, None] * tl.dot(q, s, input_precision=PREC)
            scores = tl.dot(q, tl.trans(k), input_precision=PREC) * tl.exp2(since)
            scores = tl.where(i >= j, scores, 0.0).to(k.dtype)
            v = _tile(V, t, T, H * e, y, e, UPCAST).to(tl.float32)
            left = beta[:, None] * (v - begun[:, None] * tl.dot(k, s, input_precision=PREC))
            r = tl.dot(m, left.to(k.dtype), input_precision=PREC)
            o += tl.dot(scores, r.to(k.dtype), input_precision=PREC)
            out, inside = t[:, None] * (H * e) + y[None, :], (t < T)[:, None] & (y < e)[None, :]
            tl.store(OUT + out, (scale * o).to(OUT.dtype.element_ty), mask=inside)
            if SAVE:
                at = (bh * chunks + n) * d * e + here
                tl.store(KEPT + at, s.to(KEPT.dtype.element_ty), mask=state)
                tl.store(R + out, r.to(R.dtype.element_ty), mask=inside)
            r = (r * tl.exp2(_last(since, C))[:, None]).to(k.dtype)
            S = S * tl.exp2(tl.sum(g, 0)) + tl.dot(tl.trans(k), r, input_precision=PREC)
        tl.store(LAST + bh * d * e + here, S, mask=state)

    @triton.jit(do_not_specialize=COUNTS)
    def _carry_kernel(  # type: ignore[no-untyped-def]
        Q,
        K,
        BETA,
        G,
        M,
        DO,
        DLAST,
        DS,
        DR,
        DS0,
        scale,
        T,
        H,
        d,
        e,
        DECAY: tl.constexpr,
        C: tl.constexpr,
        BK: tl.constexpr,
        BV: tl.constexpr,
        UPCAST: tl.constexpr,
        PREC: tl.constexpr,
    ):
        """The gradient of the state, chunk by chunk from the last one.

        DS receives that of the state behind each chunk, DR that of beta X, where R = M (beta X).
        """
        bh, block = tl.program_id(0).to(tl.int64), tl.program_id(1)
        x, y, c = tl.arange(0, BK), block * BV + tl.arange(0, BV), tl.arange(0, C)
        first = (bh // H) * T * H + bh % H
        Q, K, DO, DR = Q + first * d, K + first * d, DO + first * e, DR + first * e
        BETA, G = BETA + first, G + first
        chunks = tl.cdiv(T, C)
        M += bh * chunks * C * C
        here = x[:, None] * e + y[None, :]
        state = (x < d)[:, None] & (y < e)[None, :]
        dS = tl.load(DLAST + bh * d * e + here, mask=state, other=0.0).to(tl.float32)
        for back in range(0, chunks):
            n = chunks - 1 - back
            t = n * C + c
            q, k = _tile(Q, t, T, H * d, x, d, UPCAST), _tile(K, t, T, H * d, x, d, UPCAST)
            do = _tile(DO, t, T, H * e, y, e, UPCAST)
            beta = tl.load(BETA + t * H, mask=t < T, other=0.0).to(tl.float32)
            g = _log2_decay(G, t, T, H, DECAY, C)
            flipped = _since_flipped(g, C)
            begun, rest = tl.exp2(tl.cumsum(g, 0)), tl.exp2(_last(_since(g, C), C))
            ds = dS.to(k.dtype)
            at = (bh * chunks + n) * d * e + here
            tl.store(DS + at, ds.to(DS.dtype.element_ty), mask=state)
            scores = tl.dot(k, tl.trans(q), input_precision=PREC) * tl.exp2(flipped) * scale
            scores = tl.where(c[:, None] <= c[None, :], scores, 0.0).to(k.dtype)
            dr = tl.dot(scores, do, input_precision=PREC)
            dr += rest[:, None] * tl.dot(k, ds, input_precision=PREC)
            m = _square(M + n * C * C, c[None, :] * C, c[:, None], UPCAST)
            dr = tl.dot(m, dr.to(k.dtype), input_precision=PREC)
            out, inside = t[:, None] * (H * e) + y[None, :], (t < T)[:, None] & (y < e)[None, :]
            tl.store(DR + out, dr.to(DR.dtype.element_ty), mask=inside)
            dS *= tl.exp2(tl.sum(g, 0))
            seen = (do.to(tl.float32) * (begun * scale)[:, None]).to(k.dtype)
            dS += tl.dot(tl.trans(q), seen, input_precision=PREC)
            dx = (dr * (begun * beta)[:, None]).to(k.dtype)
            dS -= tl.dot(tl.trans(k), dx, input_precision=PREC)
        tl.store(DS0 + bh * d * e + here, dS, mask=state)

    @triton.jit(do_not_specialize=COUNTS)
    def _gradient_kernel(  # type: ignore[no-untyped-def]
        Q,
        K,
        V,
        BETA,
        G,
        KEPT,
        R,
        DO,
        DS,
        DR,
        DQ,
        DK,
        DV,
        DBETA,
        DG,
        scale,
        T,
        H,
        d,
        e,
        DECAY: tl.constexpr,
        C: tl.constexpr,
        BK: tl.constexpr,
        BV: tl.constexpr,
        UPCAST: tl.constexpr,
        PREC: tl.constexpr,
    ):
        """Gradients of one chunk's inputs, every chunk at once.

        First what passes between tokens, [i, j] or [j, i]; then BK channels of keys at a time what
        passes through the states. BV columns of values are summed at a time.
        """
        bh, n = tl.program_id(0).to(tl.int64), tl.program_id(1)
        c = tl.arange(0, C)
        i, j = c[:, None], c[None, :]
        first = (bh // H) * T * H + bh % H
        Q, K, V = Q + first * d, K + first * d, V + first * e
        BETA, G, R, DO, DR = BETA + first, G + first, R + first * e, DO + first * e, DR + first * e
        DQ, DK, DV = DQ + first * d, DK + first * d, DV + first * e
        state = (bh * tl.num_programs(1) + n) * d * e
        KEPT, DS = KEPT + state, DS + state
        t = n * C + c
        beta = tl.load(BETA + t * H, mask=t < T, other=0.0).to(tl.float32)
        g = _log2_decay(G, t, T, H, DECAY, C)
        since = _since(g, C)
        begun, rest = tl.exp2(tl.cumsum(g, 0)), tl.exp2(_last(since, C))

        dL = tl.zeros([C, C], tl.float32)
        dL_flipped = tl.zeros([C, C], tl.float32)
        dP = tl.zeros([C, C], tl.float32)
        dP_flipped = tl.zeros([C, C], tl.float32)
        dbeta = tl.zeros([C], tl.float32)
        for y0 in range(0, e, BV):
            y = y0 + tl.arange(0, BV)
            do, r = _tile(DO, t, T, H * e, y, e, UPCAST), _tile(R, t, T, H * e, y, e, UPCAST)
            dr, v = _tile(DR, t, T, H * e, y, e, UPCAST), _tile(V, t, T, H * e, y, e, UPCAST)
            dbeta += tl.sum(dr.to(tl.float32) * v.to(tl.float32), 1)
            dv = beta[:, None] * dr.to(tl.float32)
            out, inside = t[:, None] * (H * e) + y[None, :], (t < T)[:, None] & (y < e)[None, :]
            tl.store(DV + out, dv.to(DV.dtype.element_ty), mask=inside)
            dL += tl.dot(dr, tl.trans(r), input_precision=PREC)
            dL_flipped += tl.dot(r, tl.trans(dr), input_precision=PREC)
            dP += tl.dot(do, tl.trans(r), input_precision=PREC)
            dP_flipped += tl.dot(r, tl.trans(do), input_precision=PREC)
        kk = tl.zeros([C, C], tl.float32)
        kq = tl.zeros([C, C], tl.float32)
        for x0 in range(0, d, BK):
            x = x0 + tl.arange(0, BK)
            q, k = _tile(Q, t, T, H * d, x, d, UPCAST), _tile(K, t, T, H * d, x, d, UPCAST)
            kk += tl.dot(k, tl.trans(k), input_precision=PREC)
            kq += tl.dot(k, tl.trans(q), input_precision=PREC)
        fade, flipped = tl.exp2(since), tl.exp2(_since_flipped(g, C))
        # L = beta fade kk: its gradient is -dr r^T below the diagonal.
        dL = tl.where(i > j, dL * fade, 0.0)
        dbeta -= tl.sum(dL * kk, 1)
        dL *= -beta[:, None]
        moved = dL * kk
        dg = tl.sum(moved, 1) - tl.sum(moved, 0)
        dL -= tl.where(i < j, dL_flipped * flipped * beta[None, :], 0.0)
        dP = tl.where(i >= j, dP * fade * scale, 0.0)
        dP_flipped = tl.where(i <= j, dP_flipped * flipped * scale, 0.0)
        moved = dP_flipped * kq
        dg += tl.sum(moved, 0) - tl.sum(moved, 1)

        from_end = tl.zeros([C], tl.float32)
        total = tl.zeros([BK], tl.float32)
        for x0 in range(0, d, BK):
            x = x0 + tl.arange(0, BK)
            held = tl.zeros([C, BK], tl.float32)
            dk = tl.zeros([C, BK], tl.float32)
            dq = tl.zeros([C, BK], tl.float32)
            for y0 in range(0, e, BV):
                y = y0 + tl.arange(0, BV)
                do, r = _tile(DO, t, T, H * e, y, e, UPCAST), _tile(R, t, T, H * e, y, e, UPCAST)
                dr = _tile(DR, t, T, H * e, y, e, UPCAST)
                s, ds = _tile(KEPT, x, d, e, y, e, UPCAST), _tile(DS, x, d, e, y, e, UPCAST)
                total += tl.sum(s.to(tl.float32) * ds.to(tl.float32), 1)
                held += tl.dot(dr, tl.trans(s), input_precision=PREC)
                dk += tl.dot(r, tl.trans(ds), input_precision=PREC)
                dq += tl.dot(do, tl.trans(s), input_precision=PREC)
            q, k = _tile(Q, t, T, H * d, x, d, UPCAST), _tile(K, t, T, H * d, x, d, UPCAST)
            held *= begun[:, None]
            dk *= rest[:, None]
            dq *= (begun * scale)[:, None]
            seen = tl.sum(k.to(tl.float32) * held, 1)
            left = tl.sum(k.to(tl.float32) * dk, 1)
            dbeta -= seen
            from_end += left
            dg += tl.sum(q.to(tl.float32) * dq, 1) - beta * seen - left
            dk -= beta[:, None] * held
            dk += tl.dot(dL.to(k.dtype), k, input_precision=PREC)
            dk += tl.dot(dP_flipped.to(k.dtype), q, input_precision=PREC)
            dq += tl.dot(dP.to(k.dtype), k, input_precision=PREC)
            out, inside = t[:, None] * (H * d) + x[None, :], (t < T)[:, None] & (x < d)[None, :]
            tl.store(DQ + out, dq.to(DQ.dtype.element_ty), mask=inside)
            tl.store(DK + out, dk.to(DK.dtype.element_ty), mask=inside)
        tl.store(DBETA + first + t * H, dbeta.to(DBETA.dtype.element_ty), mask=t < T)
        if DECAY:
            # dg is the gradient of the sums up to each token: log_decay_r is in those from r on.
            dg = tl.sum(tl.where(i >= j, dg[:, None], 0.0), 0)
            dg += tl.sum(from_end, 0) + tl.sum(total, 0) * tl.exp2(tl.sum(g, 0))
            tl.store(DG + first + t * H, dg.to(DG.dtype.element_ty), mask=t < T)


def _width(n: int) -> int:
    return max(16, 1 << (n - 1).bit_length())


class _Plan(NamedTuple):
    """How heads of one shape are run."""

    C: int  # tokens of a chunk
    prepared: bool  # the inverses are made beforehand, all chunks at once
    columns: int  # of values, one program's share of the state
    warps: int
    tile: int  # channels and columns that the gradient kernel takes at a time


def _plan(d: int, e: int, dtype: torch.dtype) -> _Plan:
    """Narrow keys invert chunks of 16 on the way; wide ones prepare the inverses of 32."""
    tile = min(32, _width(d), _width(e))
    if dtype == torch.float32:  # three products for one: small tiles, or registers spill
        return _Plan(16, False, 16, max(1, _width(d) // 16) if d > 32 else 1, 16)
    if d <= 32:
        return _Plan(16, False, min(_width(e), 32), 1, tile)
    return _Plan(32, True, min(_width(e), 64), 4 if d <= 64 else 8, tile)


def _options(dtype: torch.dtype, warps: int) -> dict[str, Any]:
    interpreted = os.environ.get("TRITON_INTERPRET") == "1"
    return {
        "UPCAST": interpreted and dtype == torch.bfloat16,
        "PREC": "tf32x3" if dtype == torch.float32 else "tf32",
        "num_warps": warps,
        "num_stages": 1,
    }


@torch.library.custom_op("kernels::delta", mutates_args=())
def _delta(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    beta: Tensor,
    log_decay: Tensor | None,
    S0: Tensor | None,
    scale: float,
    save: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """o, the last state; for the backward pass the state before each chunk, M and R."""
    (B, T, H, d), e = k.shape, v.shape[3]
    plan = _plan(d, e, v.dtype)
    C, N = plan.C, triton.cdiv(T, plan.C)
    q, k, v, beta = q.to(v).contiguous(), k.to(v).contiguous(), v.contiguous(), beta.contiguous()
    g = beta if log_decay is None else log_decay.contiguous()
    o, last = torch.empty_like(v), v.new_empty(B, H, d, e, dtype=torch.float32)
    M = v.new_empty(B, H, N, C, C) if plan.prepared or save else v.new_empty(B, 0)
    kept = v.new_empty(B, H, N, d, e) if save else v.new_empty(B, 0)
    R = torch.empty_like(v) if save else v.new_empty(B, 0)
    decay, initial = log_decay is not None, S0 is not None
    start = last if S0 is None else S0.contiguous()
    with torch.cuda.device_of(v):
        if plan.prepared:
            _prepare_kernel[(B * H, N)](
                *(k, beta, g, M, T, H, d, decay), BK=_width(d), **_options(v.dtype, 1)
            )
        _forward_kernel[(B * H, triton.cdiv(e, plan.columns))](
            *(q, k, v, beta, g, start, o, last, M, kept, R, scale, T, H, d, e),
            *(decay, initial, plan.prepared, save, C),
            BK=_width(d),
            BV=plan.columns,
            **_options(v.dtype, plan.warps),
        )
    return o, last, kept, M if save else v.new_empty(B, 0), R


@torch.library.custom_op("kernels::delta_backward", mutates_args=())
def _delta_backward(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    beta: Tensor,
    log_decay: Tensor | None,
    S0: Tensor | None,
    kept: Tensor,
    M: Tensor,
    R: Tensor,
    do: Tensor,
    dlast: Tensor,
    scale: float,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """The gradient of each input (empty where there is no input)."""
    (B, T, H, d), e = k.shape, v.shape[3]
    plan = _plan(d, e, v.dtype)
    C, N = plan.C, triton.cdiv(T, plan.C)
    q_, k_, v, beta = q.to(v).contiguous(), k.to(v).contiguous(), v.contiguous(), beta.contiguous()
    g = beta if log_decay is None else log_decay.contiguous()
    do, dlast = do.contiguous(), dlast.contiguous()
    dS, dR, dS0 = torch.empty_like(kept), torch.empty_like(R), dlast.new_empty(B, H, d, e)
    dq, dk, dv, dbeta = (torch.empty_like(x) for x in (q_, k_, v, beta))
    dg = beta.new_empty(B, 0) if log_decay is None else torch.empty_like(g)
    decay = log_decay is not None
    with torch.cuda.device_of(v):
        _carry_kernel[(B * H, triton.cdiv(e, plan.columns))](
            *(q_, k_, beta, g, M, do, dlast, dS, dR, dS0, scale, T, H, d, e, decay, C),
            BK=_width(d),
            BV=plan.columns,
            **_options(v.dtype, plan.warps),
        )
        _gradient_kernel[(B * H, N)](
            *(q_, k_, v, beta, g, kept, R, do, dS, dR, dq, dk, dv, dbeta, dg),
            *(scale, T, H, d, e, decay, C),
            BK=plan.tile,
            BV=plan.tile,
            **_options(v.dtype, plan.tile // 16),
        )
    dS0 = dS0[:, :0, 0, 0].clone() if S0 is None else dS0.to(S0.dtype)
    return dq.to(q.dtype), dk.to(k.dtype), dv, dbeta, dg, dS0


@_delta.register_fake
def _(q, k, v, beta, log_decay, S0, scale, save):  # type: ignore[no-untyped-def]
    (B, T, H, d), e = k.shape, v.shape[3]
    C = _plan(d, e, v.dtype).C
    last = v.new_empty(B, H, d, e, dtype=torch.float32)
    N = -(-T // C)
    shapes = [(B, H, N, d, e), (B, H, N, C, C), v.shape] if save else [(B, 0)] * 3
    return v.new_empty(v.shape), last, *(v.new_empty(shape) for shape in shapes)


@_delta_backward.register_fake
def _(*inputs):  # type: ignore[no-untyped-def]
    *some, dg, dS0 = (None if x is None else x.new_empty(x.shape) for x in inputs[:6])
    B, dlast = len(inputs[0]), inputs[10]
    dg = inputs[3].new_empty(B, 0) if dg is None else dg
    return *some, dg, dlast.new_empty(B, 0) if dS0 is None else dS0


def _setup(ctx, inputs, output) -> None:  # type: ignore[no-untyped-def]
    *tensors, ctx.scale, _ = inputs
    ctx.save_for_backward(*tensors, *output[2:])
    ctx.set_materialize_grads(False)  # or the kept states get a gradient of zeros


def _autograd(ctx, do, dlast, *_):  # type: ignore[no-untyped-def]
    tensors = ctx.saved_tensors
    (B, _, H, d), v = tensors[1].shape, tensors[2]
    do = torch.zeros_like(v) if do is None else do
    if dlast is None:
        dlast = v.new_zeros(B, H, d, v.shape[3], dtype=torch.float32)
    *some, dg, dS0 = _delta_backward(*tensors, do, dlast, ctx.scale)
    dg, dS0 = (None if x is None else dx for x, dx in zip(tensors[4:6], (dg, dS0), strict=True))
    return *some, dg, dS0, None, None


_delta.register_autograd(_autograd, setup_context=_setup)


class _Delta(torch.autograd.Function):
    """The same gradient in the form that torch.func.grad takes."""

    generate_vmap_rule = True
    forward = staticmethod(
        lambda q, k, v, beta, log_decay, S0, scale, save: _delta(
            q, k, v, beta, log_decay, S0, scale, save
        )
    )
    setup_context = staticmethod(_setup)
    backward = staticmethod(once_differentiable(_autograd))  # type: ignore[assignment]


@_delta.register_vmap
def _(info, in_dims, *inputs):  # type: ignore[no-untyped-def]
    n = info.batch_size
    folded = [_fold(x, dim, n) for x, dim in zip(inputs[:6], in_dims, strict=False)]
    return tuple(x.unflatten(0, (n, -1)) for x in _delta(*folded, *inputs[6:])), (0,) * 5


@_delta_backward.register_vmap
def _(info, in_dims, *inputs):  # type: ignore[no-untyped-def]
    n = info.batch_size
    folded = [_fold(x, dim, n) for x, dim in zip(inputs[:-1], in_dims, strict=False)]
    out = _delta_backward(*folded, inputs[-1])
    return tuple(x.unflatten(0, (n, -1)) for x in out), (0,) * 6


def configurations() -> list[dict[str, Any]]:
    """Every kernel as it is shipped, for compilation ahead of time; spill_free is for sm_90."""
    found = []
    shapes = ((16, 16), (32, 32), (64, 32), (64, 64), (128, 128))
    for dtype, (d, e) in itertools.product((torch.bfloat16, torch.float32), shapes):
        plan = _plan(d, e, dtype)
        constants: dict[str, Any]
        constants = {"DECAY": True, "INITIAL": True, "PREPARED": plan.prepared, "SAVE": True}
        kernels = [
            (_prepare_kernel, _width(d), 0, 1),
            (_forward_kernel, _width(d), plan.columns, plan.warps),
            (_carry_kernel, _width(d), plan.columns, plan.warps),
            (_gradient_kernel, plan.tile, plan.tile, plan.tile // 16),
        ]
        for kernel, BK, BV, warps in kernels[0 if plan.prepared else 1 :]:
            options = {**_options(dtype, warps), "UPCAST": False}
            mine = {**constants, "C": plan.C, "BK": BK, "BV": BV, **options}
            mine = {name: x for name, x in mine.items() if name in kernel.arg_names}
            narrow = "*bf16" if dtype == torch.bfloat16 else "*fp32"
            wide = {"S0", "LAST", "DLAST", "DS0", "BETA", "G", "DBETA", "DG"}
            types = {n: "*fp32" if n in wide else narrow for n in set(kernel.arg_names) - set(mine)}
            types |= {n: "i32" for n in ("T", "H", "d", "e") if n in types}
            types |= {"scale": "fp32"} if "scale" in types else {}
            found.append(
                {
                    "name": f"delta {kernel.__name__.strip('_')} {narrow[1:]} d={d} e={e}",
                    "kernel": kernel,
                    "signature": types,
                    "divisible": ("d", "e"),
                    "constexprs": mine,
                    "spill_free": dtype == torch.bfloat16 or d <= 32 or kernel is _gradient_kernel,
                    "num_warps": warps,
                    "num_stages": 1,
                }
            )
    return found


def delta(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    beta: Tensor,
    log_decay: Tensor | None = None,
    S0: Tensor | None = None,
    *,
    scale: float | None = None,
    impl: Impl = "auto",
) -> tuple[Tensor, Tensor]:
    """o [B,T,H,e] and S_last [B,H,d,e]; the shapes are in the module's docstring."""
    check_shapes("delta", q, k, v, S0)
    for name, x in (("beta", beta), ("log_decay", log_decay)):
        if x is not None and x.shape != k.shape[:3]:
            raise ValueError(f"delta: {name} {list(x.shape)} must be {list(k.shape[:3])}")
    d, e = k.shape[3], v.shape[3]
    no = None
    if v.dtype == torch.float64:
        no = "float64 is more than the kernel's float32"
    elif max(d, e) > 128:
        no = f"heads of {d} and {e} are wider than the kernel's 128"
    elif k[0, ..., 0].numel() * max(d, e) >= 2**31 or k.shape[1] > 2**20 - 16:
        no = f"T = {k.shape[1]} is beyond the kernel's offsets"
    if not choose("delta", impl, v.device, no):
        return reference(q, k, v, beta, log_decay, S0, scale)
    scale = 1.0 if scale is None else scale
    # The compiler takes the operator with its registered gradient; torch.func.grad does not.
    run = _delta if torch.compiler.is_compiling() else _Delta.apply
    o, last, *_ = run(q, k, v, beta, log_decay, S0, scale, torch.is_grad_enabled())
    return o, last


def example_inputs(
    B: int = 2,
    T: int = 64,
    H: int = 2,
    d: int = 16,
    e: int = 32,
    seed: int = 0,
    dtype: torch.dtype = torch.float32,
    distinct: int | None = None,
) -> dict[str, Tensor]:
    """Keyword arguments for `delta`: unit keys, beta up to 2; `distinct` keys only, if given."""
    r = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=r, dtype=torch.float64)

    k = torch.nn.functional.normalize(normal(B, T, H, d), dim=-1)
    if distinct is not None:
        k = k[:, torch.randint(min(distinct, T), (T,), generator=r)]
    beta = 2 * torch.rand(B, T, H, generator=r, dtype=torch.float64) ** 0.25
    g = -torch.exp(normal(B, T, H) - 2)
    q, v = normal(B, T, H, d), normal(B, T, H, e)
    S0 = normal(B, H, d, e).to(torch.promote_types(dtype, torch.float32))
    small = {"q": q, "k": k, "v": v, "beta": beta, "log_decay": g}
    return {name: x.to(dtype) for name, x in small.items()} | {"S0": S0}
