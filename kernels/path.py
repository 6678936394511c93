"""PaTH attention: causal softmax attention whose positions are products of reflections.

    s_ij = scale q_i^T M_i M_{i-1} ... M_{j+1} k_j  +  sum_{l=j+1..i} log f_l        j <= i
    M_t  = I - beta_t w_t w_t^T
    y_i  = sigmoid(gate_i) * sum_j softmax_j(s_ij) v_j

PaTH (2505.16381, section 2); with log_forget, PaTH-FoX (section 3.3). The sum of log f is added as
it is: `scale` multiplies the product alone. fla's PaTH scales both. The gate is that of
kernels/attention.py, as are `offsets`.

    w [B,T,G,d]    directions, of norm 1 (the caller's business)
    beta [B,T,G]   in (0, 2): M_t has the eigenvalue 1 - beta_t

Shapes: q [B,T,H,d], k [B,T,G,d], v [B,T,G,e], log_forget [B,T,H], gate [B,T,H] or [B,T,H,e]
-> y [B,T,H,e]; head h reads keys, values and reflections h G // H.

Within a chunk of C tokens (rows of Q, K, W), L = stril(diag(beta) W W^T), A = (I + L)^-1 and

    X = A stril(diag(beta) W K^T)     U = A diag(beta) W     P = I - W^T U     K^ = K - X^T W
    S = tril(Q K^T) - tril(Q W^T) X   inside the chunk, and Q <- Q - tril(Q W^T) U before it;
    S = Q K^^T, Q <- Q P              for each chunk further left

Everything of a chunk is float32 at least: A loses a digit per doubling of C in bfloat16, and tokens
that repeat make L large. (Powers of L are never formed; they overflow where w repeats.)
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from kernels import Impl, choose
from kernels._wrap import differentiable
from kernels.attention import autocast, check, opened, ragged, unsupported
from kernels.attention import example_inputs as _attention_inputs


def definition(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    w: Tensor,
    beta: Tensor,
    *,
    scale: float | None = None,
    log_forget: Tensor | None = None,
    gate: Tensor | None = None,
    offsets: Tensor | None = None,
) -> Tensor:
    """The formula, one token after the other: its reflection turns every earlier key."""
    if offsets is not None:
        rows = []
        for start, end in zip(offsets[:-1].tolist(), offsets[1:].tolist(), strict=True):
            if start == end:
                continue
            own = [x[:, start:end] for x in (q, k, v, w, beta)]
            f, g = (None if x is None else x[:, start:end] for x in (log_forget, gate))
            rows.append(definition(*own, scale=scale, log_forget=f, gate=g))
        return torch.cat(rows, 1)
    B, T, H, d = q.shape
    scale = d**-0.5 if scale is None else scale
    head = torch.arange(H, device=q.device) * k.shape[2] // H
    k, v, w, beta = (x[:, :, head] for x in (k, v, w, beta))
    turned = k[:, :0]
    forgotten = q.new_zeros(B, 0, H)
    rows = []
    for i in range(T):
        share = beta[:, i, None] * torch.einsum("bjhd,bhd->bjh", turned, w[:, i])
        turned = torch.cat([turned - share[..., None] * w[:, i, None], k[:, i, None]], 1)
        s = scale * torch.einsum("bhd,bjhd->bjh", q[:, i], turned)
        if log_forget is not None:
            forgotten = F.pad(forgotten + log_forget[:, i, None], (0, 0, 0, 1))
            s = s + forgotten
        y = torch.einsum("bjh,bjhe->bhe", s.softmax(1), v[:, : i + 1])
        rows.append(y if gate is None else y * opened(gate)[:, i])
    return torch.stack(rows, 1)


def reference(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    w: Tensor,
    beta: Tensor,
    *,
    scale: float | None = None,
    log_forget: Tensor | None = None,
    gate: Tensor | None = None,
    offsets: Tensor | None = None,
    chunk: int | None = None,
) -> Tensor:
    """The chunked form, differentiable; chunk: tokens per chunk, chosen by T unless given."""
    if offsets is not None:
        packed, unpacked = ragged(offsets, q.shape[1])
        own = [packed(x) for x in (q, k, v, w, beta)]
        f, g = (None if x is None else packed(x) for x in (log_forget, gate))
        return unpacked(reference(*own, scale=scale, log_forget=f, gate=g, chunk=chunk))
    with torch.autocast(q.device.type, enabled=False):
        y = _chunked(q, k, v, w, beta, scale, log_forget, chunk)
        return (y if gate is None else y * opened(gate)).to(v.dtype)


def _chunked(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    w: Tensor,
    beta: Tensor,
    scale: float | None,
    log_forget: Tensor | None,
    chunk: int | None,
) -> Tensor:
    """The queries right of a chunk pass through it together, from the last chunk to the first.

    Each pass is one product with [K^^T | P]: the logits and the queries of the next pass. Only the
    causal half is ever computed; the weights of one chunk of queries are made at a time.
    """
    B, T, H, d = q.shape
    G, e = v.shape[2:]
    R = H // G
    C = chunk or (64 if T > 1024 else 32 if T > 256 or (d > 32 and T > 128) else 16)
    N = -(-T // C)
    dtype = torch.promote_types(q.dtype, torch.float32)
    low = torch.ones(C, C, dtype=torch.bool, device=q.device).tril().repeat(R, 1)

    def chunks(x: Tensor) -> Tensor:
        """[B,T,heads,c] -> [B G N, R C, c]"""
        c = x.shape[3]
        x = F.pad(x.to(dtype), (0, 0, 0, 0, 0, N * C - T))
        return x.reshape(B, N, C, G, -1, c).permute(0, 3, 1, 4, 2, 5).reshape(B * G * N, -1, c)

    q = chunks(q * (d**-0.5 if scale is None else scale))
    k, v, w, beta = chunks(k), chunks(v), chunks(w), chunks(beta[..., None])
    kw = torch.cat([k, w], 1).mT
    scaled = w * beta
    scaled_k, scaled_w = torch.bmm(scaled, kw).split(C, -1)
    inverse = _Inverse.apply(scaled_w.tril(-1))
    X, U = inverse @ scaled_k.tril(-1), inverse @ scaled
    qk, qw = torch.bmm(q, kw).split(C, -1)
    qw = qw * low
    inside = torch.baddbmm(qk, qw, X, alpha=-1).masked_fill(~low, float("-inf"))
    logits = [[s] for s in inside.view(B * G, N, R * C, C).unbind(1)]
    start = torch.baddbmm(q, qw, U, alpha=-1).view(B * G, N, R * C, d).unbind(1)
    through = torch.cat([k.mT, torch.eye(d, dtype=dtype, device=q.device).expand(len(k), d, d)], 2)
    through = torch.baddbmm(through, w.mT, torch.cat([X, U], 2), alpha=-1)
    passes = through.view(B * G, N, d, C + d).unbind(1)
    q = start[-1]
    for n in range(N - 2, -1, -1):
        s, q = torch.bmm(q, passes[n]).split([C, d], -1)
        for m, part in enumerate(s.split(R * C, 1)):
            logits[n + 1 + m].append(part)
        q = torch.cat([start[n], q], 1)
    if log_forget is not None:
        # Sums relative to the chunk's first token: large ones belong to far keys only.
        total = F.pad(log_forget.double().cumsum(1), (0, 0, 0, N * C - T))
        total = total.reshape(B, N * C, G, R).permute(0, 2, 3, 1).reshape(B * G, R, N * C)
    v = v.view(B * G, N * C, e)
    rows = []
    for n, parts in enumerate(logits):
        s = torch.cat(parts[::-1], -1)
        if log_forget is not None:
            near = (total[..., : (n + 1) * C] - total[..., n * C, None]).to(dtype)
            bias = near[..., n * C :, None] - near[..., None, :]
            s = s + bias.flatten(1, 2)
        rows.append(s.softmax(-1) @ v[:, : (n + 1) * C])
    y = torch.stack(rows, 1).view(B, G, N, R, C, e).permute(0, 2, 4, 1, 3, 5)
    return y.reshape(B, N * C, H, e)[:, :T]


class _Inverse(torch.autograd.Function):
    """(I + L)^-1 of strictly lower L [n,C,C], C a power of two: blocks of 1, 2, 4 ... are joined.

    As stable as substitution, and faster than it on many small matrices.
    """

    generate_vmap_rule = True

    @staticmethod
    def forward(L: Tensor) -> Tensor:
        C = L.shape[-1]
        i = torch.arange(C, device=L.device)
        A = torch.eye(C, dtype=L.dtype, device=L.device).expand_as(L)
        for size in (1 << n for n in range(C.bit_length() - 1)):
            block = i // size
            pair = (block[:, None] // 2 == block // 2) & (block[:, None] > block)
            # The first join has only ones on both sides.
            A = A - L * pair if size == 1 else A - A @ (L * pair) @ A
        return A

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        ctx.save_for_backward(output)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        (A,) = ctx.saved_tensors
        return -(A.mT @ grad @ A.mT)


def path(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    w: Tensor,
    beta: Tensor,
    *,
    scale: float | None = None,
    log_forget: Tensor | None = None,
    gate: Tensor | None = None,
    offsets: Tensor | None = None,
    impl: Impl = "auto",
) -> Tensor:
    """y [B,T,H,e] of the formula above; `scale` is d**-0.5 unless given."""
    check("path", q, k, v, log_forget, gate, offsets)
    if w.shape != k.shape or beta.shape != k.shape[:3]:
        raise ValueError(
            f"path: w must be {list(k.shape)} and beta {list(k.shape[:3])}:"
            f" {list(w.shape)}, {list(beta.shape)}"
        )
    q, k, v = autocast(q, k, v)
    scale = q.shape[-1] ** -0.5 if scale is None else scale
    if choose("path", impl, q.device, unsupported(q, k, v)):
        if w.dtype != q.dtype:
            w, beta = _narrowed(w, beta, q.dtype)
        call = _path if torch.compiler.is_compiling() else _eager
        return call(q, k, v, w, beta, scale, log_forget, gate, offsets)[0]
    return reference(
        q, k, v, w, beta, scale=scale, log_forget=log_forget, gate=gate, offsets=offsets
    )


def _narrowed(w: Tensor, beta: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """w rounded to the type of q, and beta such that the eigenvalue 1 - beta |w|^2 stays.

    Where a token repeats, so does the rounding of its w: near beta = 2 an eigenvalue a little
    below -1 would grow with every repetition.
    """
    narrow = w.to(dtype)
    with torch.no_grad():
        lost, kept = w.float().square().sum(-1), narrow.float().square().sum(-1)
        ratio = torch.where(kept > 0, lost / kept, 1.0)
    return narrow, beta * ratio.to(torch.promote_types(beta.dtype, torch.float32))


@torch.library.custom_op("kernels::path", mutates_args=())
def _path(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    w: Tensor,
    beta: Tensor,
    scale: float,
    log_forget: Tensor | None,
    gate: Tensor | None,
    offsets: Tensor | None,
) -> tuple[Tensor, Tensor]:
    return _runs()[0](q, k, v, w, beta, scale, log_forget, gate, offsets)


@torch.library.custom_op("kernels::path_backward", mutates_args=())
def _path_backward(
    dy: Tensor,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    w: Tensor,
    beta: Tensor,
    y: Tensor,
    lse: Tensor,
    scale: float,
    log_forget: Tensor | None,
    gate: Tensor | None,
    offsets: Tensor | None,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    return _runs()[1](dy, q, k, v, w, beta, y, lse, scale, log_forget, gate, offsets)


@_path.register_fake
def _(q: Tensor, k: Tensor, v: Tensor, *rest: Any) -> tuple[Tensor, Tensor]:
    B, T, H, _ = q.shape
    y = torch.empty(B, T, H, v.shape[3], dtype=v.dtype, device=q.device)
    return y, q.new_empty(B, T, H, dtype=torch.float32)


@_path_backward.register_fake
def _(dy: Tensor, q: Tensor, k: Tensor, v: Tensor, w: Tensor, beta: Tensor, *rest: Any) -> Any:
    log_forget, gate = rest[3:5]
    like = [torch.empty_like(x, memory_format=torch.contiguous_format) for x in (q, k, v)]
    return (
        *like,
        torch.empty(w.shape, dtype=q.dtype, device=q.device),
        torch.empty(beta.shape, dtype=torch.float32, device=q.device),
        q.new_empty(0 if log_forget is None else log_forget.shape, dtype=torch.float32),
        q.new_empty(0) if gate is None else gate.new_empty(gate.shape),
    )


def _setup(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    q, k, v, w, beta, ctx.scale, *rest = inputs
    ctx.save_for_backward(q, k, v, w, beta, *output, *rest)


def _gradients(backward: Any, ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
    q, k, v, w, beta, y, lse, log_forget, gate, offsets = ctx.saved_tensors
    dq, dk, dv, dw, dbeta, dlog, dgate = backward(
        dy, q, k, v, w, beta, y, lse, ctx.scale, log_forget, gate, offsets
    )
    dlog = None if log_forget is None else dlog.to(log_forget.dtype)
    dgate = None if gate is None else dgate
    return dq, dk, dv, dw.to(w.dtype), dbeta.to(beta.dtype), None, dlog, dgate, None


def _runs() -> tuple[Callable[..., Any], Callable[..., Any]]:
    from kernels._path_triton import run_backward, run_forward

    return run_forward, run_backward


_eager = differentiable("path", _path, _path_backward, _runs, _setup, _gradients, offsets=8)


FOLD = 32


@dataclass
class PathCache:
    """What decoding keeps. Keys are turned lazily: those before `folded` wait for `turn`.

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

    def select(self, rows: Tensor) -> PathCache:
        """The cache of some of the rows, to stop paying for those that ended."""
        total = None if self.total is None else self.total[rows]
        return PathCache(self.k[rows], self.v[rows], self.turn[rows], total, self.folded, self.t)


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
    t, dtype = cache.t, cache.k.dtype
    scale = d**-0.5 if scale is None else scale
    if t == cache.k.shape[2]:
        more = max(t, FOLD)
        cache.k, cache.v = (F.pad(x, (0, 0, 0, more)) for x in (cache.k, cache.v))
        if cache.total is not None:
            cache.total = F.pad(cache.total, (0, more))
    old, new = cache.k[:, :, : cache.folded], cache.k[:, :, cache.folded : t]
    w, scaled = w.to(dtype)[:, :, None], (w * beta[..., None]).to(dtype)[:, :, None]
    new -= (new @ w.mT) * scaled
    cache.turn -= scaled.mT @ (w @ cache.turn)
    cache.k[:, :, t], cache.v[:, :, t] = k, v
    asked = q.to(dtype).view(B, G, H // G, d) * scale
    s = torch.cat([asked @ cache.turn @ old.mT, asked @ cache.k[:, :, cache.folded : t + 1].mT], -1)
    if cache.total is not None:
        if log_forget is None:
            raise ValueError("path_step: the cache was made with log_forget, and none is given")
        before = cache.total[:, :, t - 1] if t else torch.zeros_like(cache.total[:, :, 0])
        cache.total[:, :, t] = before + log_forget
        bias = cache.total[:, :, t, None] - cache.total[:, :, : t + 1]
        s += bias.to(dtype).view(s.shape)
    y = (s.softmax(-1) @ cache.v[:, :, : t + 1]).view(B, H, -1)
    if gate is not None:
        y = y * opened(gate[:, None])[:, 0]
    cache.t = t + 1
    if cache.t - cache.folded == FOLD:
        old.copy_(old @ cache.turn.mT)
        cache.turn.copy_(torch.eye(d, dtype=dtype, device=q.device).expand_as(cache.turn))
        cache.folded = cache.t
    return y.to(v.dtype), cache


def configurations() -> list[dict[str, Any]]:
    """The kernels as they are shipped, for compilation ahead of time (kernels/_aot.py)."""
    from kernels import _path_triton

    return _path_triton.configurations()


def example_inputs(
    B: int = 2,
    T: int = 64,
    H: int = 4,
    d: int = 32,
    *,
    G: int | None = None,
    e: int | None = None,
    forget: bool = False,
    gate: str | None = None,
    repeat: int | None = None,
    seed: int = 0,
    dtype: torch.dtype = torch.float32,
) -> dict[str, Tensor]:
    """Random inputs by name; repeat: only so many different directions, and beta near 2."""
    G = G or H
    inputs = _attention_inputs(
        B, T, H, d, G=G, e=e, forget=forget, gate=gate, seed=seed, dtype=dtype
    )
    random = torch.Generator().manual_seed(seed + 1)
    w = F.normalize(torch.randn(B, T, G, d, generator=random, dtype=torch.float64), dim=-1)
    beta = 2 * torch.rand(B, T, G, generator=random)
    if repeat is not None:
        kind = torch.randint(min(repeat, T), (T,), generator=random)
        w, beta = w[:, kind], 1.9 + beta / 21
    return inputs | {"w": w.to(dtype), "beta": beta.to(torch.promote_types(dtype, torch.float32))}
