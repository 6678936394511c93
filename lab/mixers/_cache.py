"""The keys and values that attention decodes from.

Token i lies at i mod room, so a cache that never grows is a ring of the last `room` tokens: what
heads with a window need. The room of other heads doubles when it is full.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from kernels.attention.softplus import softplus_weights, usual_scale
from lab.mixers._position import exact


class Cache(NamedTuple):
    """k, v [B,G,room,d] of the last of t tokens. forgotten [B,H,room]: the sum of log f since each
    token, with a forget gate."""

    k: Tensor
    v: Tensor
    forgotten: Tensor | None
    t: int

    def offsets(self) -> Tensor:
        """How far before token t each token lies that a cache of t + 1 tokens holds, [places]."""
        room = self.k.shape[2]
        return (self.t - torch.arange(min(self.t + 1, room), device=self.k.device)) % room


def after_prompt(k: Tensor, v: Tensor, log_f: Tensor | None, room: int | None = None) -> Cache:
    """The cache after the tokens of k, v [B,T,G,d], log_f [B,T,H]: a ring of `room`, or all."""
    T = k.shape[1]
    room = room or max(16, 1 << T.bit_length())
    since = None if log_f is None else log_f.flip(1).cumsum(1).flip(1) - log_f
    forgotten = None if since is None else _placed(since.transpose(1, 2), room)
    return Cache(_placed(k.transpose(1, 2), room), _placed(v.transpose(1, 2), room), forgotten, T)


def grown(cache: Cache) -> Cache:
    """The cache with twice the room if it is full."""
    k, v, forgotten, t = cache
    if t < k.shape[2]:
        return cache
    forgotten = None if forgotten is None else _placed(forgotten, 2 * t)
    return Cache(_placed(k, 2 * t), _placed(v, 2 * t), forgotten, t)


def step(
    cache: Cache,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    log_f: Tensor | None,
    bias: Tensor | None,
    softplus: float | None = None,
) -> tuple[Tensor, Cache]:
    """y [B,1,H,d] of one token, q [B,1,H,d], k, v [B,1,G,d], log_f [B,1,H], and the cache with it.

    bias [H,places] of its logits, or None; softplus as in kernels.attention. The memory of the
    cache is used again.
    """
    keys, values, forgotten, t = cache
    place, filled = t % keys.shape[2], min(t + 1, keys.shape[2])
    keys[:, :, place], values[:, :, place] = k[:, 0], v[:, 0]
    if forgotten is not None and log_f is not None:
        forgotten[:, :, :filled] += log_f[:, 0, :, None]
        forgotten[:, :, place] = 0
        bias = forgotten[:, :, :filled] + (0 if bias is None else bias)
    y = _read(q, keys[:, :, :filled], values[:, :, :filled], bias, softplus)
    return y, Cache(keys, values, forgotten, t + 1)


def _read(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None, softplus: float | None) -> Tensor:
    """Attention of one token, q [B,1,H,d], over k, v [B,G,t,d] with bias [H,t] or [B,H,t]: heads of
    a group are the rows of one matrix. -> [B,1,H,d]

    Two plain products: for one query a row, the fused CPU kernel takes nearly twice as long.
    """
    B, G, _, d = k.shape
    if softplus is not None:
        k = k.to(exact(k))
        s = (q.reshape(B, G, -1, d) * usual_scale(d, softplus)).to(k.dtype) @ k.mT
        bias = s.new_zeros(s.shape[1:]) if bias is None else bias.to(s).unflatten(-2, (G, -1))
        w = softplus_weights(s, bias, softplus)
        return (w @ v.to(k.dtype)).to(v.dtype).reshape(B, 1, -1, d)
    s = (q.reshape(B, G, -1, d) * d**-0.5).to(k.dtype) @ k.mT
    if bias is not None:
        s = s + bias.to(s.dtype).unflatten(-2, (G, -1))
    y = s.to(exact(s)).softmax(-1).to(v.dtype) @ v
    return y.reshape(B, 1, -1, d)


def _placed(x: Tensor, room: int) -> Tensor:
    """The last tokens of x [B,heads,T,...] in `room` places, token i at i mod room."""
    T = x.shape[2]
    if room < T:
        return x[:, :, T - room :].roll(T % room, 2)
    y = x.new_empty(*x.shape[:2], room, *x.shape[3:])
    y[:, :, :T] = x
    return y
