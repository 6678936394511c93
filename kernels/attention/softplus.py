"""Softplus scores in place of softmax, sharpened by a power: the weights from all scores at once.

    a_ij = softplus(log(N_i) scale q_i . k_j + b_ij)    over the N_i keys that query i sees
    A_ij = a_ij / sum_j a_ij                            the weights, if the power is 0
    w_ij = relu(N_i A_ij - O_i)^power                   over their sum, else

b_ij are the biases of kernels.attention. O_i is 1, so that only keys above the average count; but 0
where N_i is at most 3 or where no weight exceeds the average by more than EVEN of it.

After 2501.13428 (LSSAR), whose text we have not read in full: N_i as the keys seen so far (so that
decoding is exact), natural logarithms and the case of equal weights are our choice.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

EVEN = 1e-5  # of the average: weights that differ by less are equal, up to rounding
FIRST = 3  # queries with so few keys are not compared with the average


def usual_scale(d: int, softplus: float | None) -> float:
    """What q . k is multiplied by unless `scale` is given: of softmax, and of softplus scores."""
    return d**-0.5 if softplus is None else math.log(d)


def softplus_weights(s: Tensor, bias: Tensor, power: float) -> Tensor:
    """w [...,keys] of scale q . k [...,keys] and the bias, -inf at keys that are not seen."""
    N = (bias > -torch.inf).sum(-1, keepdim=True).to(s.dtype)
    a = F.softplus(N.log() * s + bias)
    A = a / a.sum(-1, keepdim=True)
    if not power:
        return A
    share = N * A
    most = share.detach().amax(-1, keepdim=True)
    above = (N > FIRST) & (most > 1 + EVEN)
    # The largest is 1 before the power, which changes no weight, but small ones would be 0.
    over = (share - above.to(s.dtype)).relu()
    w = (over / over.detach().amax(-1, keepdim=True)) ** power
    return w / w.sum(-1, keepdim=True)


def softplus_reference(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    power: float,
    *,
    scale: float,
    slopes: Tensor | None = None,
    window: Tensor | None = None,
    log_forget: Tensor | None = None,
) -> Tensor:
    """y [B,T,H,e] in float32 at least, differentiable; all pairs of tokens are in memory."""
    T, H, G = q.shape[1], q.shape[2], k.shape[2]
    dtype = torch.promote_types(v.dtype, torch.float32)
    q, k, v = (x.to(dtype).transpose(1, 2) for x in (q, k, v))
    k, v = (x.repeat_interleave(H // G, 1) for x in (k, v))
    offset = torch.arange(T, device=q.device)
    offset = offset[:, None] - offset
    bias = torch.zeros((), dtype=torch.float64, device=q.device)
    if slopes is not None:
        bias = -slopes.double()[:, None, None] * offset
    if log_forget is not None:
        total = log_forget.double().cumsum(1).transpose(1, 2)
        bias = bias + (total[..., :, None] - total[..., None, :])
    hidden = offset < 0
    if window is not None:
        width = window[:, None, None]
        hidden = hidden | ((width > 0) & (offset >= width))
    bias = bias.to(dtype).masked_fill(hidden, -torch.inf)
    with torch.autocast(q.device.type, enabled=False):  # a power enlarges what bf16 rounds
        w = softplus_weights(scale * q @ k.mT, bias, power)
        return (w @ v).transpose(1, 2)
