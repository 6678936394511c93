"""PaTH attention: causal softmax attention whose positions are products of reflections.

    s_ij = scale q_i^T M_i M_{i-1} ... M_{j+1} k_j  +  sum_{l=j+1..i} log f_l        j <= i
    M_t  = I - beta_t w_t w_t^T
    y_i  = sigmoid(gate_i) * sum_j softmax_j(s_ij) v_j

PaTH (2505.16381, section 2); with log_forget, PaTH-FoX (section 3.3). The sum of log f is added as
it is: `scale` multiplies the product alone. fla's PaTH scales both. The gate is that of
kernels/attention, as are `offsets` and `queries`.

    w [B,T,G,d]    directions, of norm 1 (the caller normalises them)
    beta [B,T,G]   in (0, 2): M_t has the eigenvalue 1 - beta_t

Shapes: q [B,T,H,d], k [B,T,G,d], v [B,T,G,e], log_forget [B,T,H], gate [B,T,H] or [B,T,H,e]
-> y [B,T,H,e]; head h reads keys, values and reflections h G // H.

Within a chunk of C tokens (rows of Q, K, W), L = stril(diag(beta) W W^T), A = (I + L)^-1 and

    X = A stril(diag(beta) W K^T)     U = A diag(beta) W     P = I - W^T U     K^ = K - X^T W
    S = tril(Q K^T) - tril(Q W^T) X   inside the chunk, and Q <- Q - tril(Q W^T) U before it;
    S = Q K^^T, Q <- Q P              for each chunk further left

Everything of a chunk is float32 at least: A loses a digit per doubling of C in bfloat16, and tokens
that repeat make L large. Powers of L are never formed: they overflow where w repeats.
"""

from __future__ import annotations

import torch
from torch import Tensor

from kernels import Impl, choose
from kernels._inputs import (
    at_all_tokens,
    at_queries,
    autocast,
    check_heads,
    check_offsets,
    not_float32,
    unsupported_heads,
)
from kernels.path.decode import FOLD, PathCache, path_prefill, path_step
from kernels.path.definition import definition, example_inputs
from kernels.path.native import native
from kernels.path.operator import Inputs, run
from kernels.path.reference import reference

__all__ = [
    "FOLD",
    "PathCache",
    "definition",
    "example_inputs",
    "path",
    "path_prefill",
    "path_step",
    "reference",
]


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
    queries: Tensor | None = None,
    impl: Impl = "auto",
) -> Tensor:
    """y [B,T,H,e] of the formula above; `scale` is d**-0.5 unless given.

    Raises ValueError, naming the input, where shapes do not fit, or where impl is "triton" and
    there is no kernel: float64, mixed types, heads wider than 128; or "native" and an input is not
    float32, or rows are too long for it. The native operator's gradient has no gradient itself.
    """
    check_heads("path", q, k, v, log_forget, gate, offsets, queries)
    if w.shape != k.shape or beta.shape != k.shape[:3]:
        raise ValueError(
            f"path: w must be {list(k.shape)} and beta {list(k.shape[:3])}:"
            f" {list(w.shape)}, {list(beta.shape)}"
        )
    q, k, v = autocast(q, k, v)
    scale = q.shape[-1] ** -0.5 if scale is None else scale
    no = not_float32(q, k, v, w, beta, log_forget, gate) or _slower(k, offsets)
    chosen = choose("path", impl, q.device, _unsupported(q, k, v, scale), no)
    if chosen == "triton" and w.dtype != q.dtype:
        w, beta = _narrowed(w, beta, q.dtype)
    if chosen != "native" and queries is not None:
        q = at_all_tokens(q, queries, k)
        gate = None if gate is None else at_all_tokens(gate, queries, k)
    inputs = Inputs(q, k, v, w, beta, scale, log_forget, gate, offsets)
    if chosen == "native":
        return native(inputs, queries)
    y: Tensor = run(inputs)[0] if chosen == "triton" else reference(**inputs._asdict())
    return y if queries is None else at_queries(y, queries)


def _unsupported(q: Tensor, k: Tensor, v: Tensor, scale: float) -> str | None:
    """Why no kernel takes these inputs, in words. A chunk in float32 must also fit into registers.

    Beyond 64 channels it does not, and some of Triton 3.6's binaries for Hopper are wrong there (64
    queries of 128 channels with 8 warps: a fifth of the output, on an H200).
    """
    width = max(q.shape[-1], v.shape[-1])
    if q.dtype == torch.float32 and width > 64:
        return f"heads of width {width} in float32 exceed 64"
    return unsupported_heads(q, k, v, scale)


def _slower(k: Tensor, offsets: Tensor | None) -> str | None:
    """Why the native operator does not take rows of this length, in words.

    Its chunks are short, so a query's pass by a key costs three times d, where long chunks of the
    reference cost half of that: from some T d on it is slower. ValueError where offsets do not make
    up the tokens.
    """
    longest = k.shape[1]
    if offsets is not None:
        check_offsets(offsets, longest)
        longest = int(offsets.diff().max())
    if longest * k.shape[-1] > 2**17:
        return f"rows of {longest} tokens with heads of width {k.shape[-1]} are faster without it"
    return None


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
