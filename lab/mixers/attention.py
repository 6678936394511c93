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
    score        softplus: other weights of q and k, which are scaled to norm 1 where qk_norm would
                 act; log d replaces 1 / sqrt(d) (2501.13428, kernels/attention/softplus.py)

Order: projection, norm, gate on q or k, rope, log_length. Shapes use the letters of kernels.
"""

from __future__ import annotations

from typing import Any, NamedTuple, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kernels import native_serves
from kernels._inputs import at_queries
from kernels.attention import attention
from kernels.attention import definition as attention_definition
from kernels.normalize import normalize
from kernels.path import PathCache, path, path_prefill, path_step
from kernels.path import definition as path_definition
from kernels.rotary import rotary
from lab.config import ModelConfig
from lab.mixers import _position
from lab.mixers._cache import Cache, after_prompt, grown, step
from lab.mixers._gate import Gate
from lab.mixers._heads import project_apart, split_heads
from lab.mixers._norm import RMSNorm
from lab.mixers._position import Reflections, exact
from lab.mixers._recurrent import projection


class _Inputs(NamedTuple):
    """Of some tokens: q [B,T,H,d], k, v [B,T,G,d], log_f [B,T,H] with a forget gate, and what
    Reflections gives under path: w [B,T,G,d], beta [B,T,G], past [B,2,G d]. x [B,T,D] is what q
    comes from. Where N of the tokens ask, rows [N] are their numbers, and q and x are [1,N,...]."""

    x: Tensor
    rows: Tensor | None
    q: Tensor
    k: Tensor
    v: Tensor
    log_f: Tensor | None
    turns: tuple[Tensor, Tensor, Tensor] | None


class _Banded(NamedTuple):
    """Under hard_alibi: of heads of keys that only heads with a window read, a ring of the widest
    window; and of the others."""

    near: Cache
    far: Cache | None

    @property
    def t(self) -> int:
        return self.near.t


class _Turned(NamedTuple):
    """Under path: the operator's cache, and `past` of _Inputs."""

    cache: PathCache
    past: Tensor

    @property
    def t(self) -> int:
        return self.cache.t


_State = Cache | _Banded | _Turned


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
        self.softplus = config.sharpen if config.score == "softplus" else None
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
        self.windows = _position.windows(H, config.banded) if banded else [0] * H
        # Windows rise and come first: so many heads of keys are read by heads with a window alone.
        self.near = sum(w > 0 for w in self.windows) * self.kv_heads // H
        self.register_buffer("slopes", slopes, persistent=False)
        window = torch.tensor(self.windows) if banded else None
        self.register_buffer("window", window, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        return self._attend(self._project(x, 0, None))

    def forward_at(self, x: Tensor, rows: Tensor) -> Tensor | None:
        """y [N,D] at some of the B T tokens; None where all of them cost no more: if most ask, or
        there is no native operator to gain by it (softplus scores have none)."""
        all_cheap = 3 * len(rows) > 2 * x.shape[0] * x.shape[1] or self.softplus is not None
        if all_cheap or not native_serves("attention" if self.turns is None else "path", x):
            return None
        return self._attend(self._project(x, 0, None, rows))[0]

    def prefill(self, x: Tensor) -> tuple[Tensor, _State]:
        new = self._project(x, 0, None)
        with torch.autocast(x.device.type, enabled=False):
            state = self._after_prompt(new)
        return self._attend(new), state

    def step(self, x: Tensor, state: _State) -> tuple[Tensor, _State]:
        x = x[:, None]
        new = self._project(x, state.t, state.past if isinstance(state, _Turned) else None)
        with torch.autocast(x.device.type, enabled=False):
            y, state = self._step(new, state)
        return self._merge(x, self._gated("G1", x, y))[:, 0], state

    def attention_weights(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Attention weights [B,H,T,T], for lab.analysis, the values that each head reads, and the
        heads' outputs before and after a gate at G1, [B,T,H,d]. Float64, computed by the
        definitions of the operators.

        A definition computes y = weights @ v, so unit vectors in place of v give the weights.
        """
        new = self._project(x, 0, None)
        q, k, v = (part.double() for part in (new.q, new.k, new.v))
        log_f = None if new.log_f is None else new.log_f.double()
        T, G = k.shape[1:3]
        unit = torch.eye(T, dtype=q.dtype, device=x.device)[None, :, None].expand(1, T, G, T)
        if new.turns is not None:
            w, beta = (part.double() for part in new.turns[:2])
            weights = path_definition(q, k, unit, w, beta, log_forget=log_f)
        else:
            weights = attention_definition(q, k, unit, **self._options(log_f))
        weights = weights.transpose(1, 2)
        v = v.repeat_interleave(self.heads // G, 2)
        read = torch.einsum("bhij,bjhd->bihd", weights, v)
        return weights, v, read, self._gated("G1", x, read)

    def state_size(self, T: int) -> int:
        near = self._kept(slice(0, self.near)) * min(T, self._ring())
        size = near + self._kept(slice(self.near, self.kv_heads)) * T
        width = self.kv_heads * self.d
        return size + ((self.d + _position.TAPS - 1) * width if self.turns else 0)

    def _kept(self, groups: slice) -> int:
        """Numbers of a token in the caches of some heads of keys."""
        n = groups.stop - groups.start
        return n * (2 * self.d + (self.heads // self.kv_heads if self.forget else 0))

    def _ring(self) -> int:
        """Tokens that the near heads of keys keep: the widest window of their heads."""
        return max(self.windows[: self.near * self.heads // self.kv_heads], default=0)

    def _project(
        self, x: Tensor, start: int, past: Tensor | None, rows: Tensor | None = None
    ) -> _Inputs:
        """Queries, keys, values and gates of tokens at positions start, start + 1, ...; with rows,
        the queries of these of the B T tokens alone, and start is 0."""
        asking, at = x, cast(int | Tensor, start)
        if rows is None:
            q, k, v = self._heads(x)
        else:
            q, k, v = self._heads_at(x, rows)
            asking, at = (x if self.gate is None else at_queries(x, rows)), rows % x.shape[1]
        if self.q_norm is not None and self.k_norm is not None:
            q, k = _normed(self.q_norm, q), _normed(self.k_norm, k)
        if self.softplus is not None:
            q, k = (normalize(part.to(exact(part))).to(part.dtype) for part in (q, k))
        q, k, v = self._gated("G4", asking, q), self._gated("G3", x, k), self._gated("G2", x, v)
        if self.rope_base:
            q, k = (rotary(part, t, base=self.rope_base) for part, t in ((q, at), (k, start)))
        if self.log_length:
            q = _position.log_length(q, at, self.log_length)
        log_f = None
        if self.forget is not None:
            f = self.forget(x)
            log_f = F.logsigmoid(f.to(exact(f)))
        turns = None if self.turns is None else self.turns(x, past)
        return _Inputs(asking, rows, q, k, v, log_f, turns)

    def _heads(self, x: Tensor) -> tuple[Tensor, ...]:
        heads = self.qkv(x).unflatten(2, (-1, self.d))
        return split_heads(heads, [self.heads, self.kv_heads, self.kv_heads])

    def _heads_at(self, x: Tensor, rows: Tensor) -> tuple[Tensor, ...]:
        """The same, with the queries of some of the tokens."""
        queries = self.heads * self.d
        q, kv = project_apart(x, rows, self.qkv.weight, self.qkv.bias, queries)
        k, v = split_heads(kv.unflatten(2, (-1, self.d)), [self.kv_heads, self.kv_heads])
        return q.unflatten(2, (-1, self.d)), k, v

    def _attend(self, new: _Inputs) -> Tensor:
        x, rows, q, k, v, log_f, turns = new
        fused = self.gate is not None and self.gate.fused
        gate = self.gate.logits(x) if self.gate is not None and fused else None
        if turns is not None:
            y = path(q, k, v, *turns[:2], log_forget=log_f, gate=gate, queries=rows)
        else:
            y = attention(q, k, v, **self._options(log_f), gate=gate, queries=rows)
        return self._merge(x, y if fused else self._gated("G1", x, y))

    def _options(self, log_f: Tensor | None) -> dict[str, Any]:
        """What the operator is told besides q, k, v and the gate, but under path."""
        biases = {"slopes": self.slopes, "window": self.window, "log_forget": log_f}
        return {**biases, "softplus": self.softplus}

    def _gated(self, at: str, x: Tensor, y: Tensor) -> Tensor:
        return self.gate(x, y) if self.gate is not None and self.gate.at == at else y

    def _merge(self, x: Tensor, y: Tensor) -> Tensor:
        """The heads' outputs y [B,T,H,d] -> [B,T,D]."""
        return self._gated("G5", x, self.out(y.flatten(2)))

    def _after_prompt(self, new: _Inputs) -> _State:
        if new.turns is not None:
            w, beta, past = new.turns
            return _Turned(path_prefill(new.k, new.v, w, beta, log_forget=new.log_f), past)
        if not self.near:
            return after_prompt(new.k, new.v, new.log_f)
        near, far = self._split(new)
        ring = after_prompt(near.k, near.v, near.log_f, self._ring())
        return _Banded(ring, None if far is None else after_prompt(far.k, far.v, far.log_f))

    def _step(self, new: _Inputs, state: _State) -> tuple[Tensor, _State]:
        """y [B,1,H,d] of one token, and the state after it."""
        if isinstance(state, _Turned):
            return _step_turned(new, state)
        if isinstance(state, Cache):
            return self._read(new, grown(state), 0)
        near, far = self._split(new)
        y, ring = self._read(near, state.near, 0)
        if far is None or state.far is None:
            return y, _Banded(ring, None)
        z, cache = self._read(far, grown(state.far), near.q.shape[2])
        return torch.cat([y, z], 2), _Banded(ring, cache)

    def _split(self, new: _Inputs) -> tuple[_Inputs, _Inputs | None]:
        """What concerns the near heads of keys, and the others if there are any."""
        near, heads = self.near, self.near * self.heads // self.kv_heads

        def part(groups: slice, heads: slice) -> _Inputs:
            log_f = None if new.log_f is None else new.log_f[..., heads]
            q, k, v = new.q[:, :, heads], new.k[:, :, groups], new.v[:, :, groups]
            return new._replace(q=q, k=k, v=v, log_f=log_f)

        far = part(slice(near, None), slice(heads, None)) if near < self.kv_heads else None
        return part(slice(near), slice(heads)), far

    def _read(self, new: _Inputs, cache: Cache, first: int) -> tuple[Tensor, Cache]:
        """y [B,1,heads,d] of one token in heads first, first + 1, ..., and the cache with it."""
        heads = slice(first, first + new.q.shape[2])
        bias = None
        if self.slopes is not None:
            bias = -self.slopes[heads, None] * cache.offsets()
        elif self.window is not None and any(self.windows[heads]):
            window, offset = self.window[heads, None], cache.offsets()
            bias = torch.zeros(offset.shape, device=offset.device).expand(len(window), -1)
            bias = bias.masked_fill((window > 0) & (offset >= window), -torch.inf)
        return step(cache, new.q, new.k, new.v, new.log_f, bias, self.softplus)


def _normed(norm: RMSNorm, x: Tensor) -> Tensor:
    return norm(x.to(norm.weight.dtype)).to(x.dtype)


def _step_turned(new: _Inputs, state: _Turned) -> tuple[Tensor, _Turned]:
    assert new.turns is not None
    w, beta, past = new.turns
    log_f = None if new.log_f is None else new.log_f[:, 0]
    q, k, v = (part[:, 0] for part in (new.q, new.k, new.v))
    y, cache = path_step(q, k, v, w[:, 0], beta[:, 0], state.cache, log_forget=log_f)
    return y[:, None].to(v.dtype), _Turned(cache, past)
