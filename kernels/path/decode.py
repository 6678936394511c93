"""PaTH one token at a time: the cache, its prefill and a step."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from kernels._inputs import open_gate

FOLD = 32


class PathCache(NamedTuple):
    """State of decoding. Keys are updated lazily: those before `folded` still need `turn`.

    k [B,G,room,d]     keys 0 .. folded - 1 hold M_folded-1 ... M_j+1 k_j, later ones are up to date
    v [B,G,room,e]
    turn [B,G,d,d]     M_t-1 ... M_folded, not yet applied to the keys before `folded`
    total [B,H,room]   sums of log f (float64), or None
    t                  tokens read;  every FOLD tokens one product folds `turn` into the keys

    A step costs FOLD d + d^2 per head of keys besides attention itself, where turning the whole
    cache at every token would read and write t d more. Float32 at least: errors add up.
    """

    k: Tensor
    v: Tensor
    turn: Tensor
    total: Tensor | None
    folded: int
    t: int


@torch.no_grad()
def path_prefill(
    k: Tensor, v: Tensor, w: Tensor, beta: Tensor, *, log_forget: Tensor | None = None
) -> PathCache:
    """The cache after the T >= 0 tokens of a prompt; log_forget [B,T,H] also at T = 0, if used."""
    B, T, G, d = k.shape
    C = 64
    N = -(-T // C)
    dtype = torch.promote_types(k.dtype, torch.float32)
    room = T + FOLD

    def heads(x: Tensor) -> Tensor:
        """[B,T,G,c] -> [B,G,room,c]"""
        return F.pad(x.to(dtype).transpose(1, 2), (0, 0, 0, room - T))

    keys, values = heads(k).contiguous(), heads(v)
    eye = torch.eye(d, dtype=dtype, device=k.device).expand(B, G, d, d)
    after = eye
    for n in range(N - 1, -1, -1):
        part = slice(n * C, min((n + 1) * C, T))
        w_n, b_n = (x[:, part].to(dtype).transpose(1, 2) for x in (w, beta[..., None]))
        scaled = w_n * b_n
        overlap = scaled @ torch.cat([keys[:, :, part], w_n], 2).mT
        c = w_n.shape[2]
        right = torch.cat([overlap[..., :c].tril(-1), scaled], -1)
        left = overlap[..., c:].tril(-1)
        solved = torch.linalg.solve_triangular(left, right, upper=False, unitriangular=True)
        moved = w_n.mT @ solved
        keys[:, :, part] = (keys[:, :, part] - moved[..., :c].mT) @ after.mT
        after = after @ (eye - moved[..., c:])
    total = None
    if log_forget is not None:
        total = F.pad(log_forget.double().cumsum(1).transpose(1, 2), (0, room - T))
    return PathCache(keys, values, eye.clone(), total, T, T)


@torch.no_grad()
def path_step(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    w: Tensor,
    beta: Tensor,
    cache: PathCache,
    *,
    scale: float | None = None,
    log_forget: Tensor | None = None,
    gate: Tensor | None = None,
) -> tuple[Tensor, PathCache]:
    """One more token: y [B,H,e], and the cache, whose memory is used again.

    q [B,H,d], k [B,G,d], v [B,G,e], w [B,G,d], beta [B,G], log_forget [B,H], gate [B,H] or [B,H,e].
    """
    B, H, d = q.shape
    G = k.shape[1]
    keys, values, turn, total, folded, t = cache
    dtype = keys.dtype
    scale = d**-0.5 if scale is None else scale
    if t == keys.shape[2]:
        more = max(t, FOLD)
        keys, values = (F.pad(x, (0, 0, 0, more)) for x in (keys, values))
        if total is not None:
            total = F.pad(total, (0, more))
    old, new = keys[:, :, :folded], keys[:, :, folded:t]
    w, scaled = w.to(dtype)[:, :, None], (w * beta[..., None]).to(dtype)[:, :, None]
    new -= (new @ w.mT) * scaled
    turn -= scaled.mT @ (w @ turn)
    keys[:, :, t], values[:, :, t] = k, v
    query = q.to(dtype).view(B, G, H // G, d) * scale
    s = torch.cat([query @ turn @ old.mT, query @ keys[:, :, folded : t + 1].mT], -1)
    if total is not None:
        if log_forget is None:
            raise ValueError("path_step: the cache was made with log_forget, and none is given")
        before = total[:, :, t - 1] if t else torch.zeros_like(total[:, :, 0])
        total[:, :, t] = before + log_forget
        bias = total[:, :, t, None] - total[:, :, : t + 1]
        s += bias.to(dtype).view(s.shape)
    y = (s.softmax(-1) @ values[:, :, : t + 1]).view(B, H, -1)
    if gate is not None:
        y = y * open_gate(gate[:, None])[:, 0]
    if t + 1 - folded == FOLD:
        old.copy_(old @ turn.mT)
        turn.copy_(torch.eye(d, dtype=dtype, device=q.device).expand_as(turn))
        folded = t + 1
    return y.to(v.dtype), PathCache(keys, values, turn, total, folded, t + 1)
