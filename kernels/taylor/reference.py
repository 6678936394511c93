"""The second-order kernel in few torch calls: chunks of tokens, earlier ones in the state.

phi(x), for x over f^(1/4), holds 1, the f numbers and their f (f + 1) / 2 products, squares over
sqrt(2): the map of Based with each product once, so the state is smaller than the paper's.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

# Tokens of one product of queries and keys; earlier tokens are in the state.
_CHUNK = 256
# Numbers of such products at a time, so that they stay in cache.
_BLOCK = 1 << 18


def reference(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """y [B,T,H,e], differentiable, under vmap too; checks no shapes."""
    with torch.autocast(q.device.type, enabled=False):
        y = _attend(_scaled(q), _scaled(k), _with_one(v))
        return (y[..., :-1] / y[..., -1:]).transpose(1, 2).to(v.dtype)


def state(k: Tensor, v: Tensor) -> Tensor:
    """S [B,H,1+f+f(f+1)/2,e+1] after all tokens of k [B,T,H,f] and v [B,T,H,e]."""
    with torch.autocast(k.device.type, enabled=False):
        parts = (x.split(_CHUNK, 2) for x in (_scaled(k), _with_one(v)))
        S = torch.zeros((), dtype=_wide(v), device=v.device)
        for b, c in zip(*parts, strict=True):
            S = S + _phi(b).mT @ c
        return S


def taylor_step(q: Tensor, k: Tensor, v: Tensor, S: Tensor) -> tuple[Tensor, Tensor]:
    """One token: q, k [B,1,H,f], v [B,1,H,e] -> y [B,1,H,e]; adds the token to S in place."""
    with torch.autocast(q.device.type, enabled=False):
        S = S.addcmul_(_phi(_scaled(k)).mT, _with_one(v))
        y = _phi(_scaled(q)) @ S
        return (y[..., :-1] / y[..., -1:]).transpose(1, 2).to(v.dtype), S


def _wide(x: Tensor) -> torch.dtype:
    return torch.promote_types(x.dtype, torch.float32)


def _scaled(x: Tensor) -> Tensor:
    """q or k over f^(1/4), [B,T,H,f] -> [B,H,T,f]."""
    return x.to(_wide(x)).transpose(1, 2) * x.shape[-1] ** -0.25


def _with_one(v: Tensor) -> Tensor:
    """[B,T,H,e] -> [B,H,T,e+1]: the last column sums the weights."""
    return F.pad(v.to(_wide(v)).transpose(1, 2), (0, 1), value=1.0)


def _attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """sum_{j <= t} p(q_t . k_j) v_j [B,H,T,e+1]."""
    S, out = torch.zeros((), dtype=v.dtype, device=v.device), []
    for t in range(0, q.shape[2], _CHUNK):
        a, b, c = (x[:, :, t : t + _CHUNK] for x in (q, k, v))
        y = _Within.apply(a, b, c)
        out.append(y + _phi(a) @ S if t else y)
        if t + _CHUNK < q.shape[2]:
            S = S + _phi(b).mT @ c
    return torch.cat(out, 2) if len(out) > 1 else out[0]


def _phi(x: Tensor) -> Tensor:
    """[...,f] -> [...,1+f+f(f+1)/2] with phi(x) . phi(y) = p(x . y)."""
    f = x.shape[-1]
    i, j = torch.triu_indices(f, f, device=x.device)
    scale = torch.ones_like(i, dtype=x.dtype).masked_fill(i == j, 0.5**0.5)
    return torch.cat([torch.ones_like(x[..., :1]), x, x[..., i] * x[..., j] * scale], -1)


class _Within(torch.autograd.Function):
    """sum_{j <= t} p(q_t . k_j) v_j for q, k [B,H,T,f], v [B,H,T,e], with 2 p(s) = (1 + s)^2 + 1.

    Blocks of rows, and scores recomputed in the backward pass: nothing of size T^2 leaves the
    cache.
    """

    generate_vmap_rule = True

    @staticmethod
    def forward(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        out = []
        for q_, k_, v_ in _blocks(q, k, v):
            out.append(0.5 * (_one_more(q_, k_).square_().add_(1).tril_() @ v_))
        return torch.cat(out)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        ctx.save_for_backward(*inputs)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        dq, dk, dv = [], [], []
        for q, k, v, g in _blocks(*ctx.saved_tensors, dy):
            a = _one_more(q, k)
            ds = (g @ v.mT).mul_(a).tril_()
            dq.append(ds @ k)
            dk.append(ds.mT @ q)
            dv.append(0.5 * (a.square_().add_(1).tril_().mT @ g))
        return torch.cat(dq), torch.cat(dk), torch.cat(dv)


def _one_more(q: Tensor, k: Tensor) -> Tensor:
    """1 + q_t . k_j [B,H,T,T], the 1 from one more channel, which saves a pass over the scores."""
    return F.pad(q, (0, 1), value=1.0) @ F.pad(k, (0, 1), value=1.0).mT


def _blocks(*tensors: Tensor) -> zip[tuple[Tensor, ...]]:
    B, H, T, _ = tensors[0].shape
    rows = B if tensors[0].is_cuda else max(1, _BLOCK // (H * T * T))
    return zip(*(x.split(rows) for x in tensors), strict=True)
