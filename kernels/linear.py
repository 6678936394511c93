"""Gated linear attention (arXiv 2312.06635; without decay: 2006.16236):

    S_t = diag(exp(log_decay_t)) S_{t-1} + k_t v_t^T        S_{-1} = S0, or 0
    o_t = scale * S_t^T q_t

q, k [B,T,H,d], v [B,T,H,e], log_decay <= 0 as [B,T,H,d] (a decay per channel), [B,T,H] (one per
head) or None (no decay), S0 [B,H,d,e] or None -> o [B,T,H,e] and S_last [B,H,d,e]. scale is 1
unless given: q is used as it comes. log_decay = -inf empties the state.

A torch operator on every device: there is no Triton kernel, hence no `impl`. Sums and the state are
float32 whatever the inputs are (float64 for float64 inputs), autocast or not; o has the type of v,
S_last is float32. Only sums of log decays over a stretch of tokens are ever exponentiated, each
summed on its own and so <= 0: no division by a small product, no difference of large sums.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

_CHUNK = 32


def definition(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    log_decay: Tensor | None = None,
    S0: Tensor | None = None,
    scale: float | None = None,
) -> tuple[Tensor, Tensor]:
    """The formula, one token at a time, in the type of v."""
    S = v.new_zeros(*k[:, 0].shape, v.shape[-1]) if S0 is None else S0
    out = []
    for t in range(v.shape[1]):
        g = None if log_decay is None else log_decay[:, t]
        S, o = _advance(q[:, t], k[:, t], v[:, t], g, S)
        out.append(o if scale is None else o * scale)
    return torch.stack(out, 1), S


def linear_step(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    log_decay: Tensor | None,
    S: Tensor,
    *,
    scale: float | None = None,
) -> tuple[Tensor, Tensor]:
    """One token: q, k [B,H,d], v [B,H,e], log_decay [B,H,d], [B,H] or None -> o [B,H,e], new S."""
    with torch.autocast(v.device.type, enabled=False):
        g = None if log_decay is None else log_decay.to(S.dtype)
        S, o = _advance(q.to(S.dtype), k.to(S.dtype), v.to(S.dtype), g, S)
        return (o if scale is None else o * scale).to(v.dtype), S


def _advance(
    q: Tensor, k: Tensor, v: Tensor, log_decay: Tensor | None, S: Tensor
) -> tuple[Tensor, Tensor]:
    if log_decay is not None:
        S = S * log_decay.exp().reshape(*S.shape[:2], -1, 1)
    S = S + k[..., :, None] * v[..., None, :]
    return S, (S * q[..., :, None]).sum(-2)


def linear(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    log_decay: Tensor | None = None,
    S0: Tensor | None = None,
    *,
    scale: float | None = None,
) -> tuple[Tensor, Tensor]:
    """o [B,T,H,e] and S_last [B,H,d,e]; the shapes are in the module's docstring."""
    check_shapes("linear", q, k, v, S0)
    if log_decay is not None and log_decay.shape not in (k.shape, k.shape[:3]):
        either = f"{list(k.shape)} or {list(k.shape[:3])}"
        raise ValueError(f"linear: log_decay {list(log_decay.shape)} must be {either}")
    with torch.autocast(v.device.type, enabled=False):
        return _chunked(q, k, v, log_decay, S0, scale)


reference = linear


def check_shapes(name: str, q: Tensor, k: Tensor, v: Tensor, S0: Tensor | None) -> None:
    """Raise ValueError unless q, k [B,T,H,d], v [B,T,H,e], S0 [B,H,d,e] or None belong together."""
    if k.ndim != 4 or q.shape != k.shape or 0 in k.shape:
        raise ValueError(f"{name}: q {list(q.shape)} and k {list(k.shape)} must be one [B,T,H,d]")
    if v.ndim != 4 or v.shape[:3] != k.shape[:3] or 0 in v.shape:
        raise ValueError(f"{name}: v {list(v.shape)} does not go with k {list(k.shape)}")
    B, _, H, d = k.shape
    if S0 is not None and S0.shape != (B, H, d, v.shape[3]):
        raise ValueError(f"{name}: S0 {list(S0.shape)} must be {[B, H, d, v.shape[3]]}")


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


def example_inputs(
    B: int = 2,
    T: int = 64,
    H: int = 2,
    d: int = 16,
    e: int = 32,
    seed: int = 0,
    dtype: torch.dtype = torch.float32,
) -> dict[str, Tensor]:
    """Keyword arguments for `linear`: decays per channel from none to nearly total."""
    r = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=r, dtype=torch.float64)

    g = -torch.exp(2 * normal(B, T, H, d) - 2)
    q, k, v = normal(B, T, H, d) * d**-0.5, normal(B, T, H, d), normal(B, T, H, e)
    S0 = normal(B, H, d, e).to(torch.promote_types(dtype, torch.float32))
    return {
        "q": q.to(dtype),
        "k": k.to(dtype),
        "v": v.to(dtype),
        "log_decay": g.to(dtype),
        "S0": S0,
    }
