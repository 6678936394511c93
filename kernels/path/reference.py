"""PaTH in chunks, in few calls of torch: what a CPU runs and trains with."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from kernels._inputs import open_gate, ragged


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
        return (y if gate is None else y * open_gate(gate)).to(v.dtype)


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
