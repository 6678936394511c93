"""The selective scan in blocks of a few rows and tokens whose states stay in cache."""

from __future__ import annotations

import torch
from torch import Tensor

from kernels._inputs import at_least_float32
from kernels.selective_scan.operator import Inputs, made, run
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
    return run(u, delta, A, Bm, Cm, Dskip, h0, triton=False)


def run_forward(i: Inputs) -> tuple[Tensor, Tensor, Tensor]:
    """y, the last state, and the state before every chunk [B, chunks, N, D]."""
    (B, T, D), (P, _, N) = i.u.shape, i.A.shape
    u, delta, A, Bm, Cm = map(at_least_float32, i[:5])
    y = torch.empty(B, T, D, dtype=u.dtype, device=u.device)
    _, last, kept = made(i)
    for p, r in _row_blocks(B, P, N * D):
        At = A[p].T.contiguous()
        h = kept.new_zeros(r.stop - r.start, N, D)
        if i.h0 is not None:
            h = i.h0[r].to(u.dtype).mT.contiguous()
        for n, t in enumerate(range(0, T, CHUNK)):
            s = slice(t, t + CHUNK)
            kept[r, n] = h
            _, hs = _states(delta[r, s] * u[r, s], delta[r, s], At, Bm[r, s], h)
            torch.matmul(Cm[r, s, None, :], hs, out=y[r, s, None, :])
            h = hs[:, -1]
        last[r] = h.mT
        if i.Dskip is not None:
            y[r] += i.Dskip[p] * u[r]
    return y.to(i.u.dtype), last, kept


def run_backward(i: Inputs, kept: Tensor, dy: Tensor, dlast: Tensor) -> dict[str, Tensor]:
    """Gradients by name."""
    (B, T, D), (P, _, N) = i.u.shape, i.A.shape
    u, delta, A, Bm, Cm, dy = map(at_least_float32, (*i[:5], dy))
    du, ddelta, dB, dC = (x.new_empty(x.shape) for x in (u, delta, Bm, Cm))
    dAt = u.new_zeros(P, N, D)
    dh0, dskip = u.new_empty(B, D, N), u.new_zeros(P, D)
    for p, r in _row_blocks(B, P, N * D):
        At = A[p].T.contiguous()
        carry = dlast[r].to(u.dtype).mT
        for n, t in reversed(list(enumerate(range(0, T, CHUNK)))):
            s = slice(t, t + CHUNK)
            ut, dt, bt, ct, dyt = u[r, s], delta[r, s], Bm[r, s], Cm[r, s], dy[r, s]
            before = kept[r, n]
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
        dh0[r] = carry.mT
        if i.Dskip is not None:
            du[r].addcmul_(dy[r], i.Dskip[p])
            dskip[p] += (dy[r] * u[r]).sum((0, 1))
    grads = (du, ddelta, dAt.mT.contiguous(), dB, dC, dskip, dh0)
    found = zip(i._fields, i, grads, strict=False)
    return {n: g.to(x.dtype) for n, x, g in found if isinstance(x, Tensor)}


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
