"""Linear attention in chunks of tokens, in few calls of torch.

`to_chunks`, `after` and `between` also serve the delta rule.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

_CHUNK = 32


def reference(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    log_decay: Tensor | None = None,
    S0: Tensor | None = None,
    *,
    scale: float | None = None,
) -> tuple[Tensor, Tensor]:
    """o and S_last, under autocast or not; checks no shapes."""
    with torch.autocast(v.device.type, enabled=False):
        return _chunked(q, k, v, log_decay, S0, scale)


def _chunked(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    log_decay: Tensor | None,
    S0: Tensor | None,
    scale: float | None,
) -> tuple[Tensor, Tensor]:
    """All chunks at once, but for the state that passes from chunk to chunk."""
    (B, T, H, d), e = k.shape, v.shape[3]
    dtype = torch.float64 if v.dtype == torch.float64 else torch.float32
    C = min(_CHUNK, 1 << (T - 1).bit_length())
    Q, K, V = (to_chunks(x, C, dtype) for x in (q, k, v))
    if scale is not None:
        Q = Q * scale
    fades = None
    if log_decay is None:
        scores = (Q @ K.mT).tril()
    else:
        g = to_chunks(log_decay, C, dtype)
        if log_decay.ndim == 3:
            scores = Q @ K.mT * between(g).exp()
            g = g[..., None]
        else:
            scores = _channel_scores(Q, K, g)
        begun = g.cumsum(-2)
        Q, K = Q * begun.exp(), K * after(g, -2).exp()
        fades = begun[..., -1, :, None].exp().unbind(2)
    o = scores @ V
    S = v.new_zeros(B, H, d, e, dtype=dtype) if S0 is None else S0.to(dtype)
    states = []
    for n, kv in enumerate((K.mT @ V).unbind(2)):
        states.append(S)
        S = S + kv if fades is None else torch.addcmul(kv, fades[n], S)
    if S0 is not None or len(states) > 1:
        o = o + Q @ torch.stack(states, 2)
    return o.flatten(2, 3)[:, :, :T].transpose(1, 2).to(v.dtype), S


def _channel_scores(Q: Tensor, K: Tensor, g: Tensor) -> Tensor:
    """Lower-triangular sum_c q_ic k_jc exp(sum of g_rc over j < r <= i), [..., C, C].

    Blocks on the diagonal double in size; the new lower-left square meets at the border between its
    two halves, so that each half's exponent is a sum of its own and <= 0.
    """
    C = Q.shape[-2]
    scores = (Q * K).sum(-1)[..., None, None]
    s = 1
    while s < C:
        q, k, r = (x.unflatten(-2, (-1, 2, s)) for x in (Q, K, g))
        high = q[..., 1, :, :] * r[..., 1, :, :].cumsum(-2).exp()
        low = k[..., 0, :, :] * after(r[..., 0, :, :], -2).exp()
        square = high @ low.mT if s > 1 else (high * low).sum(-1, keepdim=True)
        one, two = scores.unflatten(-3, (-1, 2)).unbind(-3)
        top = F.pad(one, (0, s))
        scores = torch.cat([top, torch.cat([square, two], -1)], -2)
        s *= 2
    return scores.squeeze(-3)


def to_chunks(x: Tensor, chunk: int, dtype: torch.dtype) -> Tensor:
    """[B,T,H,...] -> [B,H,N,C,...], the last chunk filled with zeros."""
    x = x.to(dtype).transpose(1, 2)
    tail = (0, 0) * (x.ndim - 3)
    if pad := -x.shape[2] % chunk:
        x = F.pad(x, (*tail, 0, pad))
    return x.unflatten(2, (-1, chunk))


def after(g: Tensor, dim: int) -> Tensor:
    """Sum of g over the places behind each one along dim (0 behind the last)."""
    rest = g.narrow(dim, 1, g.shape[dim] - 1).flip(dim).cumsum(dim).flip(dim)
    return torch.cat([rest, torch.zeros_like(g.narrow(dim, 0, 1))], dim)


def between(g: Tensor) -> Tensor:
    """[..., C] -> [..., C, C]: sum of g over j < r <= i where i >= j, -inf elsewhere."""
    C = g.shape[-1]
    low = torch.ones(C, C, dtype=torch.bool, device=g.device).tril()
    sums = torch.where(low.tril(-1), g[..., :, None], 0.0).cumsum(-2)
    return torch.where(low, sums, -torch.inf)
