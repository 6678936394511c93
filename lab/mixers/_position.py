"""Position schemes of attention: rope, ALiBi, Hard-ALiBi, the reflections of PaTH, log-length.

Shapes use the letters of kernels: B rows, T tokens, H heads of queries, G of keys, d width of a
head.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from kernels.normalize import normalize
from lab.mixers._conv import ShortConv

RANK = 32  # of PaTH's w; fla's layer (the paper says low-rank and no number)
TAPS = 3  # of PaTH's short convolution (paper)


def exact(x: Tensor) -> torch.dtype:
    """The type for angles, gates and norms: float32 for the half types, else that of x."""
    return torch.promote_types(x.dtype, torch.float32)


def slopes(H: int) -> Tensor:
    """ALiBi (2108.12409): head i loses 2^(-8(i+1)/H) of a logit per token of distance.

    The same geometric series for every H, a power of two or not: our choice.
    """
    return 2.0 ** (torch.arange(1, H + 1, dtype=torch.float64) * (-8 / H))


def windows(H: int, banded: int) -> list[int]:
    """Hard-ALiBi (2402.01032, the authors' code): head i < M sees offsets 0..i, i.e. i + 1 tokens,
    and the other heads everything, which is 0. M = banded, or half of the heads (at least 1)."""
    near = banded or max(1, H // 2)
    return [head + 1 if head < near else 0 for head in range(H)]


def log_length(q: Tensor, start: int | Tensor, tokens: int) -> Tensor:
    """Entropy-ABF (2401.07004): q of position p, from 0, times max(1, log(p + 1) / log(tokens)).

    In every layer (the authors' code leaves out the first two: our choice). q [B,T,H,d], at the
    positions start, start + 1, ..., or start [T].
    """
    if isinstance(start, int):
        stop = start + q.shape[1]
        if stop <= tokens:
            return q
        start = torch.arange(start, stop, device=q.device)
    position = (start + 1).to(exact(q))
    return q * (position.log() / math.log(tokens)).clamp(min=1)[:, None, None].to(q.dtype)


class Reflections(nn.Module):
    """The reflections of PaTH (2505.16381) from x [B,T,D]: unit vectors w and strengths beta, one
    of each per token and head of keys, for H_t = I - beta_t w_t w_t^T.

        w_t = norm(sum_{i < 3} c_i * u_{t-i}) [G,d]    u = x A B    beta_t = 2 sigmoid(x b + b0) [G]

    A [D,32], B [32,G d], no biases; one matrix instead of A B where 32 is no lower rank (our
    choice; fla advises it for grouped heads). c: a filter of length 3 per channel, and no SiLU
    after it: the paper names none, fla has one. b0 starts at 0 (our choice). Norm and sigmoid are
    float32 at least.
    """

    def __init__(self, D: int, G: int, d: int) -> None:
        super().__init__()
        self.G = G
        if min(D, G * d) > RANK:
            down, up = nn.Linear(D, RANK, bias=False), nn.Linear(RANK, G * d, bias=False)
            self.w: nn.Module = nn.Sequential(down, up)
        else:
            self.w = nn.Linear(D, G * d, bias=False)
        self.conv = ShortConv(G * d, TAPS, bias=False, silu=False)
        self.beta = nn.Linear(D, G)
        nn.init.zeros_(self.beta.bias)

    def forward(self, x: Tensor, past: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """w [B,T,G,d], beta [B,T,G] and the last u [B,2,G d], which the next token needs as `past`.

        With past, x is that one token [B,1,D].
        """
        u = self.w(x)
        if past is None:
            w, past = self.conv(u), self.conv.state(u[:, 1 - TAPS :])
        else:
            w, past = self.conv.step(u[:, 0], past)
            w = w[:, None]
        w = normalize(w.unflatten(2, (self.G, -1)).to(exact(w)))
        beta = self.beta(x)
        return w, 2 * beta.to(exact(beta)).sigmoid(), past
