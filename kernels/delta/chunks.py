"""What the delta rule's kernels do with one chunk of C tokens: loads, decays and the inverse."""
# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def load_tile(X, t, T, stride, x, width):
    """Rows t of a [T, width] matrix whose rows are `stride` apart, zeros around it."""
    inside = (t < T)[:, None] & (x < width)[None, :]
    return tl.load(X + t[:, None] * stride + x[None, :], mask=inside, other=0.0)


@triton.jit
def log2_decay(G, t, T, H, DECAY: tl.constexpr, C: tl.constexpr):
    g = tl.zeros([C], tl.float32)
    if DECAY:
        g = tl.load(G + t * H, mask=t < T, other=0.0).to(tl.float32) * 1.4426950408889634
    return g


@triton.jit
def decay_since(g, C: tl.constexpr):
    """[i, j]: sum of g over j < r <= i. Each entry sums its own terms, so that -inf is safe."""
    c = tl.arange(0, C)
    return tl.cumsum(tl.where(c[:, None] > c[None, :], g[:, None], 0.0), 0)


@triton.jit
def decay_since_flipped(g, C: tl.constexpr):
    """[j, i] of the same, built in place: a transposed product feeding another is a hazard."""
    c = tl.arange(0, C)
    return tl.cumsum(tl.where(c[:, None] < c[None, :], g[None, :], 0.0), 1)


@triton.jit
def last_row(x, C: tl.constexpr):
    """The last row of [C, C]."""
    return tl.sum(tl.where(tl.arange(0, C)[:, None] == C - 1, x, 0.0), 0)


@triton.jit
def lower(k, beta, since, C: tl.constexpr, PREC: tl.constexpr):
    """L of a stretch of C tokens."""
    i, j = tl.arange(0, C)[:, None], tl.arange(0, C)[None, :]
    kk = tl.dot(k, tl.trans(k), input_precision=PREC) * beta[:, None]
    return tl.where(i > j, kk * tl.exp2(since), 0.0)
