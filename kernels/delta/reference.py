"""The delta rule in chunks of tokens, in few calls of torch: what a CPU runs and trains with."""

from __future__ import annotations

import torch
from torch import Tensor

from kernels.linear.reference import after, between, to_chunks

_CHUNK = 16


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
