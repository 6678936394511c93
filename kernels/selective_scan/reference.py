"""The selective scan in blocks of a few rows and tokens whose states stay in cache.

Inside, A is [P,D,N] and Dskip [P,D]: row b uses entry b // (B / P), so that vmap over models, each
with its own A, folds into the rows.
"""

from __future__ import annotations

import torch
from torch import Tensor

from kernels._inputs import at_least_float32
from kernels.selective_scan.operator import run
from kernels.selective_scan.plans import CHUNK

# The reference works on blocks of rows x CHUNK tokens with about _BLOCK numbers of state each.
_BLOCK = 1 << 19


def reference(
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    Bm: Tensor,
    Cm: Tensor,
    Dskip: Tensor | None = None,
    h0: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """y and h_last, differentiable; checks no shapes."""
    return run(u, delta, A, Bm, Cm, Dskip, h0, False)


def run_forward(
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    Bm: Tensor,
    Cm: Tensor,
    Dskip: Tensor | None,
    h0: Tensor | None,
) -> tuple[Tensor, Tensor, Tensor]:
    """y, the last state, and the state before every chunk [B, chunks, N, D]."""
    (B, T, D), (P, _, N) = u.shape, A.shape
    u_, delta, A, Bm, Cm = (at_least_float32(v) for v in (u, delta, A, Bm, Cm))
    y = torch.empty(B, T, D, dtype=u_.dtype, device=u.device)
    kept = u_.new_empty(B, -(-T // CHUNK), N, D)
    last = u_.new_empty(B, D, N)
    for p, r in _row_blocks(B, P, N * D):
        At = A[p].T.contiguous()
        h = (
            u_.new_zeros(r.stop - r.start, N, D)
            if h0 is None
            else h0[r].to(u_.dtype).mT.contiguous()
        )
        for i, t in enumerate(range(0, T, CHUNK)):
            s = slice(t, t + CHUNK)
            kept[r, i] = h
            _, hs = _states(delta[r, s] * u_[r, s], delta[r, s], At, Bm[r, s], h)
            torch.matmul(Cm[r, s, None, :], hs, out=y[r, s, None, :])
            h = hs[:, -1]
        last[r] = h.mT
        if Dskip is not None:
            y[r] += Dskip[p] * u_[r]
    return y.to(u.dtype), last, kept


def run_backward(
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    Bm: Tensor,
    Cm: Tensor,
    Dskip: Tensor | None,
    h0: Tensor | None,
    kept: Tensor,
    dy: Tensor,
    dlast: Tensor,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """The gradient of each input of the forward pass (empty where there is no input)."""
    (B, T, D), (P, _, N) = u.shape, A.shape
    u_, delta_, A_, B_, C_, dy = (at_least_float32(v) for v in (u, delta, A, Bm, Cm, dy))
    du, ddelta = u_.new_empty(u.shape), u_.new_empty(u.shape)
    dAt = u_.new_zeros(P, N, D)
    dB, dC = B_.new_empty(Bm.shape), C_.new_empty(Cm.shape)
    dh0 = u_.new_empty((B, 0) if h0 is None else (B, D, N))
    dskip = u_.new_zeros((P, 0) if Dskip is None else (P, D))
    for p, r in _row_blocks(B, P, N * D):
        At = A_[p].T.contiguous()
        carry = dlast[r].to(u_.dtype).mT
        for i, t in reversed(list(enumerate(range(0, T, CHUNK)))):
            s = slice(t, t + CHUNK)
            ut, dt, bt, ct, dyt = u_[r, s], delta_[r, s], B_[r, s], C_[r, s], dy[r, s]
            before = kept[r, i]
            decay, hs = _states(dt * ut, dt, At, bt, before)
            torch.sum(hs * dyt[:, :, None, :], 3, out=dC[r, s])
            g = ct[..., None] * dyt[:, :, None, :]
            gs, decays = g.unbind(1), decay.unbind(1)
            gs[-1].add_(carry)
            for j in range(len(gs) - 2, -1, -1):
                gs[j].addcmul_(decays[j + 1], gs[j + 1])
            carry = decays[0] * gs[0]
            torch.sum(g * (dt * ut)[:, :, None, :], 3, out=dB[r, s])
            dx = torch.sum(g * bt[..., None], 2)
            decay.mul_(g)
            decay[:, 1:].mul_(hs[:, :-1])
            decay[:, 0].mul_(before)
            torch.mul(decay, At, out=hs)
            torch.addcmul(hs.sum(2), dx, ut, out=ddelta[r, s])
            torch.mul(dx, dt, out=du[r, s])
            dAt[p] += decay.mul_(dt[:, :, None, :]).sum((0, 1))
        if h0 is not None:
            dh0[r] = carry.mT
        if Dskip is not None:
            du[r].addcmul_(dy[r], Dskip[p])
            dskip[p] += (dy[r] * u_[r]).sum((0, 1))
    return (
        du.to(u.dtype),
        ddelta.to(delta.dtype),
        dAt.mT.contiguous().to(A.dtype),
        dB.to(Bm.dtype),
        dC.to(Cm.dtype),
        dskip if Dskip is None else dskip.to(Dskip.dtype),
        dh0 if h0 is None else dh0.to(h0.dtype),
    )


def _row_blocks(B: int, P: int, states: int) -> list[tuple[int, slice]]:
    """Blocks of rows that share one A, of about _BLOCK states per chunk."""
    rows = max(1, min(B // P, _BLOCK // (CHUNK * states)))
    group = B // P
    return [
        (p, slice(r, min(r + rows, (p + 1) * group)))
        for p in range(P)
        for r in range(p * group, (p + 1) * group, rows)
    ]


def _states(du: Tensor, delta: Tensor, At: Tensor, Bm: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
    """Decays and states [rows, tokens, N, D] of one block after h; D, the long one, last."""
    decay = (delta[:, :, None, :] * At).exp_()
    hs = du[:, :, None, :] * Bm[..., None]
    for a, x in zip(decay.unbind(1), hs.unbind(1), strict=True):
        h = torch.addcmul(x, a, h, out=x)
    return decay, hs
