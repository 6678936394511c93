"""Causal softmax attention with positional biases, a forget gate and an output gate.

    s_ij = scale q_i . k_j - slope_h (i - j) + sum_{l=j+1..i} log f_l    j <= i, i - j < window_h
    y_i  = sigmoid(gate_i) * sum_j softmax_j(s_ij) v_j

    slopes [H]              ALiBi (2108.12409), constants: they take no gradient
    window [H] int          Hard-ALiBi (2402.01032): head h sees offsets 0..window_h - 1; 0 sees all
    log_forget [B,T,H]      log f_i of FoX (2503.02130, eq. 4). The sum is added as it is: `scale`
                            multiplies q . k alone, as in the paper and unlike fla's PaTH
    gate [B,T,H] or [B,T,H,e]   logits of the output gate G1 of 2505.06708 (headwise, elementwise):
                            the sigmoid is taken here, and is fused with the rest
    offsets [rows+1] int32  rows of different lengths packed along T with B = 1: row r holds the
                            tokens offsets[r] .. offsets[r+1] - 1 and sees no other
    softplus                a power: w_ij of softplus scores in place of softmax_j(s_ij), after
                            2501.13428, sharpened by it unless 0 (kernels/attention/softplus.py).
                            s_ij is log(keys seen) scale q_i . k_j and the biases. Reference only
    queries [N] int64       the tokens that ask, where not all do: token t of row b is b T + t, and
                            they rise. q [1,N,H,d], gate and y [1,N,...] then hold these alone

Shapes: q [B,T,H,d], k [B,T,G,d], v [B,T,G,e] -> y [B,T,H,e]; head h reads keys and values h G // H.
Softmax, biases, the gate's sigmoid and all sums are float32 whatever the inputs; the sums of log f
are float64 and rounded after a difference is taken. Inside a tile what rounding lost is kept too,
so that gates near 0 (log f = -50 and less) do not blur the tokens behind them.
"""

from __future__ import annotations

from torch import Tensor

from kernels import Impl, choose
from kernels._inputs import (
    at_all_tokens,
    at_queries,
    autocast,
    check_heads,
    not_float32,
    unsupported_heads,
)
from kernels.attention.definition import definition, example_inputs
from kernels.attention.native import native
from kernels.attention.operator import Inputs, run
from kernels.attention.reference import reference
from kernels.attention.softplus import usual_scale

__all__ = ["attention", "definition", "example_inputs", "reference"]


def attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    *,
    scale: float | None = None,
    slopes: Tensor | None = None,
    window: Tensor | None = None,
    log_forget: Tensor | None = None,
    gate: Tensor | None = None,
    offsets: Tensor | None = None,
    queries: Tensor | None = None,
    softplus: float | None = None,
    impl: Impl = "auto",
) -> Tensor:
    """y [B,T,H,e] of the formula above; `scale` is d**-0.5, log d for softplus, unless given.

    Raises ValueError, naming the input, where shapes do not fit, where impl is "triton" and there
    is no kernel (float64, mixed types, heads wider than 128, softplus), or "native" and it cannot
    run (other types than float32, packed rows, softplus, no compiler). Only the native operator
    gains by queries.
    """
    check_heads("attention", q, k, v, log_forget, gate, offsets, queries)
    H = q.shape[2]
    for name, x in (("slopes", slopes), ("window", window)):
        if x is not None and (x.shape != (H,) or x.requires_grad):
            raise ValueError(f"attention: {name} must be [{H}] and not learned: {list(x.shape)}")
    if softplus is not None and not (softplus == 0 or softplus >= 1):
        raise ValueError(f"attention: softplus = {softplus} must be 0 or at least 1")
    q, k, v = autocast(q, k, v)
    scale = usual_scale(q.shape[-1], softplus) if scale is None else scale
    no, unsupported = not_float32(q, k, v, log_forget, gate), unsupported_heads(q, k, v, scale)
    if offsets is not None:
        no = "the native operator takes no packed rows"
    if softplus is not None:
        no = unsupported = "there is no kernel for softplus scores"
    chosen = choose("attention", impl, q.device, unsupported, no)
    if chosen != "native" and queries is not None:
        q = at_all_tokens(q, queries, k)
        gate = None if gate is None else at_all_tokens(gate, queries, k)
    inputs = Inputs(q, k, v, scale, slopes, window, log_forget, gate, offsets)
    if chosen == "native":
        return native(inputs, queries)
    if chosen == "triton":
        y: Tensor = run(inputs)[0]
    else:
        y = reference(**inputs._asdict(), softplus=softplus)
    return y if queries is None else at_queries(y, queries)
