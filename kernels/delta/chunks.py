"""What the delta rule's kernels do with one chunk of C tokens: decays, and what is inverted."""
# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

import triton
import triton.language as tl

from kernels._tiles import LOG2E


@triton.jit
def decays(G, t, T, H: tl.constexpr, C: tl.constexpr):
    """Of one chunk, in units of log 2: the sums of log decays from its start to each token, rounded
    and what rounding lost, as float64 sums of strong decays cancel; exp2 of the sum of those after
    each token, and of all. G is None where there is no decay.

    A decay of e^-10000 is 0 as well as one of -inf is, and sums of it are numbers.
    """
    sums = tl.zeros([C], tl.float64)
    if G is not None:
        g = tl.load(G + t * H, mask=t < T, other=0.0).to(tl.float64)
        sums = tl.cumsum(tl.maximum(g, -10000.0) * LOG2E, 0)
    last = tl.sum(tl.where(tl.arange(0, C) == C - 1, sums, 0.0), 0)
    near = sums.to(tl.float32)
    lost = (sums - near.to(tl.float64)).to(tl.float32)
    return near, lost, tl.exp2((last - sums).to(tl.float32)), tl.exp2(last.to(tl.float32))


@triton.jit
def fade(near, lost):
    """[i, j]: exp of the sum of log decays over j < r <= i where i >= j, anything elsewhere."""
    since = (near[:, None] - near[None, :]) + (lost[:, None] - lost[None, :])
    return tl.exp2(tl.minimum(since, 0.0))


@triton.jit
def fade_flipped(near, lost):
    """[j, i] of the same, built in place: a transposed product feeding another is a hazard."""
    return fade(-near, -lost)


@triton.jit
def lower(k, beta, faded, C: tl.constexpr, PREC: tl.constexpr):
    """L of a stretch of C tokens."""
    i, j = tl.arange(0, C)[:, None], tl.arange(0, C)[None, :]
    kk = tl.dot(k, tl.trans(k), input_precision=PREC) * beta[:, None]
    return tl.where(i > j, kk * faded, 0.0)
