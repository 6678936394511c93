"""Based (2402.18668): linear attention whose kernel is exp to the second order.

    y_t = sum_{j <= t} p(s_tj) v_j / sum_{j <= t} p(s_tj)
    p(s) = 1 + s + s^2 / 2 = phi(q) . phi(k)        s_tj = q_t . k_j / sqrt(f)

q, k [f], v [D/H] in each head, f = config.feature. p is at least 1/2, so the sum is never near 0.
The step form keeps S = sum phi(k) [v, 1]^T. phi(x), for x over f^(1/4), holds 1, the f numbers and
their f (f + 1) / 2 products, squares over sqrt(2): the paper's map of 1 + f + f^2 numbers with each
product once, so this state is smaller than the paper's.

Our choice: Based has gated short convolutions in layers of their own (BaseConv); here q, k and v of
one mixer go through a short convolution of config.d_conv taps without bias and nonlinearity, so
that a key can contain the token before it.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from lab.config import ModelConfig
from lab.mixers._conv import ShortConv
from lab.mixers._recurrent import projection

# Tokens of one product of queries and keys; earlier tokens are in the state.
_CHUNK = 256
# Numbers of such products at a time, so that they stay in cache.
_BLOCK = 1 << 18


class _State(NamedTuple):
    """seen [B,w-1,H(2f+d)] inputs of the convolution, S [B,H,1+f+f(f+1)/2,d+1]."""

    seen: Tensor
    S: Tensor


class Based(nn.Module):
    """x [B,T,D] -> [B,T,D]."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        D, H, f = config.width, config.heads, config.feature
        self.heads, self.parts = H, (f, f, D // H)
        self.qkv = projection(config, D, H * sum(self.parts))
        self.conv = ShortConv(H * sum(self.parts), config.d_conv, bias=False, silu=False)
        self.out = projection(config, D, D)

    def forward(self, x: Tensor) -> Tensor:
        return self._mix(self.qkv(x), last=False)[0]

    def prefill(self, x: Tensor) -> tuple[Tensor, _State]:
        qkv = self.qkv(x)
        y, S = self._mix(qkv, last=True)
        return y, _State(self.conv.state(qkv), S)

    def step(self, x: Tensor, state: _State) -> tuple[Tensor, _State]:
        qkv, seen = self.conv.step(self.qkv(x), state.seen)
        with torch.autocast(x.device.type, enabled=False):
            q, k, v = self._heads(qkv[:, None])
            S = state.S.addcmul_(_phi(k).mT, v)
            y = _phi(q) @ S
        return self._merge(y)[:, 0], _State(seen, S)

    def state_size(self, T: int) -> int:
        f, _, d = self.parts
        seen = (len(self.conv.weight) - 1) * self.heads * sum(self.parts)
        return seen + self.heads * (1 + f + f * (f + 1) // 2) * (d + 1)

    def _mix(self, qkv: Tensor, *, last: bool) -> tuple[Tensor, Tensor]:
        qkv = self.conv(qkv)
        with torch.autocast(qkv.device.type, enabled=False):
            y, S = _attend(*self._heads(qkv), last)
        return self._merge(y), S

    def _heads(self, qkv: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """q, k / f^(1/4) each [B,H,T,f] and v with a 1 at its end [B,H,T,d+1], float32 at least."""
        x = qkv.to(torch.promote_types(qkv.dtype, torch.float32))
        q, k, v = x.unflatten(-1, (self.heads, -1)).transpose(1, 2).split(self.parts, -1)
        root = self.parts[0] ** -0.25
        return q * root, k * root, F.pad(v, (0, 1), value=1.0)

    def _merge(self, y: Tensor) -> Tensor:
        """Numerators and, in the last place, denominators [B,H,T,d+1] -> [B,T,D]."""
        return self.out((y[..., :-1] / y[..., -1:]).transpose(1, 2).flatten(2))


def _attend(q: Tensor, k: Tensor, v: Tensor, last: bool) -> tuple[Tensor, Tensor]:
    """sum_{j <= t} p(q_t . k_j) v_j [B,H,T,d+1]; the state after all tokens if `last`."""
    S, out = torch.zeros((), dtype=v.dtype, device=v.device), []
    for t in range(0, q.shape[2], _CHUNK):
        a, b, c = (x[:, :, t : t + _CHUNK] for x in (q, k, v))
        y = _Within.apply(a, b, c)
        out.append(y + _phi(a) @ S if t else y)
        if last or t + _CHUNK < q.shape[2]:
            S = S + _phi(b).mT @ c
    return torch.cat(out, 2) if len(out) > 1 else out[0], S


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
