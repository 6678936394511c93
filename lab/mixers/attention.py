"""Causal softmax attention with position schemes, a forget gate, output gates and a cache.

    s_ij = q_i . k_j / sqrt(d) + b_ij        y_i = sum_{j <= i} softmax_j(s_ij) v_j

    position     rope        q, k rotated by their positions (2104.09864, base config.rope_base)
                 alibi       b_ij = -2^(-8(h+1)/H) (i - j) for head h (2108.12409)
                 hard_alibi  b_ij = -inf where i - j > h, for the first `banded` heads (2402.01032)
                 path        q_i . k_j -> q_i^T H_i ... H_{j+1} k_j, H = I - beta w w^T (2505.16381)
                 all others are added to the embedding by lab.nn.model
    forget       b_ij += sum_{l=j+1..i} log f_l, f = sigmoid(x w + c), one per head of queries (FoX,
                 2503.02130). Not multiplied by 1/sqrt(d): the paper's convention; with path it is
                 PaTH-FoX. c starts at 0 as in the authors' code.
    gate         lab/mixers/_gate.py (2505.06708)
    qk_norm      RMSNorm of every q and k, eps 1e-6, one learned weight [d] for the heads (Qwen3)
    kv_heads     G heads of keys and values, head h reads head h G // H of them
    log_length   q_i scaled up beyond the training length (entropy-ABF, lab/mixers/_position.py)

Order: projection, norm, gate on q or k, rope, log_length. Shapes use the letters of kernels.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kernels.attention import attention
from kernels.attention import definition as attention_definition
from kernels.path import PathCache, path, path_prefill, path_step
from kernels.path import definition as path_definition
from kernels.rotary import rotary
from lab.config import ModelConfig
from lab.mixers import _position
from lab.mixers._gate import Gate
from lab.mixers._norm import RMSNorm
from lab.mixers._position import Reflections, exact
from lab.mixers._recurrent import projection


class _Inputs(NamedTuple):
    """Of some tokens: q [B,T,H,d], k, v [B,T,G,d], log_f [B,T,H] with a forget gate, and what
    Reflections gives under path: w [B,T,G,d], beta [B,T,G], past [B,2,G d]."""

    q: Tensor
    k: Tensor
    v: Tensor
    log_f: Tensor | None
    turns: tuple[Tensor, Tensor, Tensor] | None


class _Cache(NamedTuple):
    """k, v [B,G,room,d] with the first t positions filled; room doubles when it is full. forgotten
    [B,H,room]: the sum of log f since each token, with a forget gate."""

    k: Tensor
    v: Tensor
    forgotten: Tensor | None
    t: int


class _Turned(NamedTuple):
    """Under path: what kernels.path.PathCache holds, in its order, and `past` of _Inputs."""

    k: Tensor
    v: Tensor
    turn: Tensor
    total: Tensor | None
    folded: int
    t: int
    past: Tensor


class Attention(nn.Module):
    """Multi-head causal attention: x [B,T,D] -> [B,T,D]."""

    slopes: Tensor | None
    window: Tensor | None

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        D, H = config.width, config.heads
        self.heads, self.kv_heads, self.d = H, config.kv_heads or H, D // H
        self.rope_base = config.rope_base if config.position == "rope" else 0.0
        self.log_length = config.log_length
        self.qkv = projection(config, D, (H + 2 * self.kv_heads) * self.d)
        self.out = projection(config, D, D)
        self.q_norm = RMSNorm(self.d) if config.qk_norm else None
        self.k_norm = RMSNorm(self.d) if config.qk_norm else None
        self.forget = nn.Linear(D, H) if config.forget else None
        if self.forget is not None:
            nn.init.zeros_(self.forget.bias)
        self.gate = Gate(config) if config.gate != "none" else None
        paths = config.position == "path"
        self.turns = Reflections(D, self.kv_heads, self.d) if paths else None
        slopes = _position.slopes(H) if config.position == "alibi" else None
        banded = config.position == "hard_alibi"
        window = _position.windows(H, config.banded) if banded else None
        self.register_buffer("slopes", slopes, persistent=False)
        self.register_buffer("window", window, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        return self._attend(x, self._project(x, 0, None))

    def prefill(self, x: Tensor) -> tuple[Tensor, _Cache | _Turned]:
        new = self._project(x, 0, None)
        with torch.autocast(x.device.type, enabled=False):
            state = _keep(new) if new.turns is None else _keep_turned(new)
        return self._attend(x, new), state

    def step(self, x: Tensor, state: _Cache | _Turned) -> tuple[Tensor, _Cache | _Turned]:
        x = x[:, None]
        new = self._project(x, state.t, state.past if isinstance(state, _Turned) else None)
        with torch.autocast(x.device.type, enabled=False):
            if isinstance(state, _Turned):
                y, state = _step_turned(new, state)
            else:
                y, state = _step(new, state, self._bias(state.t + 1))
        return self._merge(x, self._gated("G1", x, y))[:, 0], state

    def attention_weights(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Attention weights [B,H,T,T], for lab.analysis, and the heads' outputs before and after a
        gate at G1, [B,T,H,d]. Float64, computed by the definitions of the operators.

        A definition computes y = weights @ v, so unit vectors in place of v give the weights.
        """
        new = self._project(x, 0, None)
        q, k, v = (part.double() for part in new[:3])
        log_f = None if new.log_f is None else new.log_f.double()
        T, G = k.shape[1:3]
        unit = torch.eye(T, dtype=q.dtype, device=x.device)[None, :, None].expand(1, T, G, T)
        if new.turns is not None:
            w, beta = (part.double() for part in new.turns[:2])
            weights = path_definition(q, k, unit, w, beta, log_forget=log_f)
        else:
            slopes, window = self.slopes, self.window
            weights = attention_definition(
                q, k, unit, slopes=slopes, window=window, log_forget=log_f
            )
        weights = weights.transpose(1, 2)
        read = torch.einsum("bhij,bjhd->bihd", weights, v.repeat_interleave(self.heads // G, 2))
        return weights, read, self._gated("G1", x, read)

    def state_size(self, T: int) -> int:
        width = self.kv_heads * self.d
        size = 2 * T * width + (T * self.heads if self.forget else 0)
        return size + ((self.d + _position.TAPS - 1) * width if self.turns else 0)

    def _project(self, x: Tensor, start: int, past: Tensor | None) -> _Inputs:
        """Queries, keys, values and gates of tokens at positions start, start + 1, ..."""
        heads = self.qkv(x).unflatten(2, (-1, self.d))
        q, k, v = heads.split([self.heads, self.kv_heads, self.kv_heads], 2)
        if self.q_norm is not None and self.k_norm is not None:
            q, k = _normed(self.q_norm, q), _normed(self.k_norm, k)
        q, k, v = self._gated("G4", x, q), self._gated("G3", x, k), self._gated("G2", x, v)
        if self.rope_base:
            q, k = (rotary(part, start, base=self.rope_base) for part in (q, k))
        if self.log_length:
            q = _position.log_length(q, start, self.log_length)
        log_f = None
        if self.forget is not None:
            f = self.forget(x)
            log_f = F.logsigmoid(f.to(exact(f)))
        turns = None if self.turns is None else self.turns(x, past)
        return _Inputs(q, k, v, log_f, turns)

    def _attend(self, x: Tensor, new: _Inputs) -> Tensor:
        q, k, v, log_f, turns = new
        fused = self.gate is not None and self.gate.fused
        gate = self.gate.logits(x) if self.gate is not None and fused else None
        if turns is not None:
            y = path(q, k, v, *turns[:2], log_forget=log_f, gate=gate)
        else:
            slopes, window = self.slopes, self.window
            y = attention(q, k, v, slopes=slopes, window=window, log_forget=log_f, gate=gate)
        return self._merge(x, y if fused else self._gated("G1", x, y))

    def _gated(self, at: str, x: Tensor, y: Tensor) -> Tensor:
        return self.gate(x, y) if self.gate is not None and self.gate.at == at else y

    def _merge(self, x: Tensor, y: Tensor) -> Tensor:
        """The heads' outputs y [B,T,H,d] -> [B,T,D]."""
        return self._gated("G5", x, self.out(y.flatten(2)))

    def _bias(self, t: int) -> Tensor | None:
        """The position bias of the logits of token t - 1, [1,H,t]."""
        heads = self.window if self.slopes is None else self.slopes
        if heads is None:
            return None
        offset = torch.arange(t - 1, -1, -1, device=heads.device)
        if self.slopes is not None:
            return -self.slopes[None, :, None] * offset
        unseen = (heads[:, None] > 0) & (offset >= heads[:, None])
        return torch.zeros(unseen.shape, device=heads.device).masked_fill(unseen, -torch.inf)[None]


def _normed(norm: RMSNorm, x: Tensor) -> Tensor:
    return norm(x.to(norm.weight.dtype)).to(x.dtype)


def _keep(new: _Inputs) -> _Cache:
    """The cache after a prompt."""
    T = new.k.shape[1]
    room = max(16, 1 << T.bit_length())
    k, v = (_roomy(part.transpose(1, 2), room) for part in (new.k, new.v))
    if new.log_f is None:
        return _Cache(k, v, None, T)
    since = new.log_f.flip(1).cumsum(1).flip(1) - new.log_f
    return _Cache(k, v, _roomy(since.transpose(1, 2), room), T)


def _step(new: _Inputs, state: _Cache, bias: Tensor | None) -> tuple[Tensor, _Cache]:
    """y [B,1,H,d] of one token; bias [1,H,t+1] is the position bias of its logits."""
    k, v, forgotten, t = state
    if t == k.shape[2]:
        k, v = _roomy(k, 2 * t), _roomy(v, 2 * t)
        forgotten = None if forgotten is None else _roomy(forgotten, 2 * t)
    k[:, :, t], v[:, :, t] = new.k[:, 0], new.v[:, 0]
    if forgotten is not None and new.log_f is not None:
        forgotten[:, :, :t] += new.log_f[:, 0, :, None]
        forgotten[:, :, t] = 0
        bias = forgotten[:, :, : t + 1] + (0 if bias is None else bias)
    y = _read(new.q, k[:, :, : t + 1], v[:, :, : t + 1], bias)
    return y, _Cache(k, v, forgotten, t + 1)


def _read(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None) -> Tensor:
    """Attention of one token, q [B,1,H,d], over k, v [B,G,t,d] with bias [1 or B,H,t]: the heads of
    a group are the rows of one matrix. -> [B,1,H,d]

    Two plain products: for one query a row, the fused CPU kernel takes nearly twice as long.
    """
    B, G, _, d = k.shape
    s = (q.reshape(B, G, -1, d) * d**-0.5).to(k.dtype) @ k.mT
    if bias is not None:
        s = s + bias.to(s.dtype).unflatten(1, (G, -1))
    y = s.to(exact(s)).softmax(-1).to(v.dtype) @ v
    return y.reshape(B, 1, -1, d)


def _keep_turned(new: _Inputs) -> _Turned:
    assert new.turns is not None
    w, beta, past = new.turns
    own = path_prefill(new.k, new.v, w, beta, log_forget=new.log_f)
    return _Turned(own.k, own.v, own.turn, own.total, own.folded, own.t, past)


def _step_turned(new: _Inputs, state: _Turned) -> tuple[Tensor, _Turned]:
    assert new.turns is not None
    w, beta, past = new.turns
    log_f = None if new.log_f is None else new.log_f[:, 0]
    q, k, v = (part[:, 0] for part in (new.q, new.k, new.v))
    y, own = path_step(q, k, v, w[:, 0], beta[:, 0], PathCache(*state[:6]), log_forget=log_f)
    new_state = _Turned(own.k, own.v, own.turn, own.total, own.folded, own.t, past)
    return y[:, None].to(v.dtype), new_state


def _roomy(x: Tensor, room: int) -> Tensor:
    """x [B,heads,t,...] copied into the first t of `room` positions."""
    y = x.new_empty(*x.shape[:2], room, *x.shape[3:])
    y[:, :, : x.shape[2]] = x
    return y
