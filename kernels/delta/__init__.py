"""Gated delta rule (Gated DeltaNet, arXiv 2412.06464; without decay: 2406.06484):

    S_t = exp(log_decay_t) (I - beta_t k_t k_t^T) S_{t-1} + beta_t k_t v_t^T      S_{-1} = S0, or 0
    o_t = scale * S_t^T q_t

q, k [B,T,H,d], v [B,T,H,e], beta [B,T,H] in (0, 2), log_decay [B,T,H] <= 0 or None (no decay),
S0 [B,H,d,e] or None -> o [B,T,H,e] and S_last [B,H,d,e]; the paper writes the transposed S. Keys
are used as they come: the caller normalises them, or the state can grow. scale is 1 unless given.

Chunks of C tokens: with L_ij = beta_i (k_i . k_j) exp(sum of log_decay_r over j < r <= i) below the
diagonal, R = (I + L)^-1 diag(beta) (V - decayed K S) are the values written to the state, so
that o = decayed Q S + (decayed causal QK^T) R. Tasks repeat tokens and so keys; the powers of L
then explode, hence the inverse by substitution (reference) or by doubling blocks (kernel), never
by a series.

State, inverse and sums are float32 whatever the inputs are (float64 for float64 inputs), autocast
or not; o has the type of v, S_last is float32. The kernels' products take their factors in v's type
(q and k are cast to it; float32 as three tf32 products) and keep for the backward pass, in that
type, the state before each chunk, the inverses and R. Two launches forward for wide keys, one for
narrow ones; two backward: the state's gradient chunk by chunk, then every chunk at once. No
atomics: the same bits in every run.
"""

from __future__ import annotations

import torch
from torch import Tensor

from kernels import Impl, choose
from kernels._inputs import check_states, not_float32
from kernels.delta.definition import definition, delta_step, example_inputs
from kernels.delta.native import native
from kernels.delta.operator import Inputs, run
from kernels.delta.reference import reference

__all__ = ["definition", "delta", "delta_step", "example_inputs", "reference"]


def delta(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    beta: Tensor,
    log_decay: Tensor | None = None,
    S0: Tensor | None = None,
    *,
    scale: float | None = None,
    impl: Impl = "auto",
) -> tuple[Tensor, Tensor]:
    """o [B,T,H,e] and S_last [B,H,d,e]; the shapes are in the module's docstring.

    Raises ValueError, naming the input, where shapes do not fit; where impl is "triton" and there
    is no kernel: float64, heads wider than 128; where impl is "native" and a tensor is not float32.
    """
    check_states("delta", q, k, v, S0)
    for name, x in (("beta", beta), ("log_decay", log_decay)):
        if x is not None and x.shape != k.shape[:3]:
            raise ValueError(f"delta: {name} {list(x.shape)} must be {list(k.shape[:3])}")
    d, e = k.shape[3], v.shape[3]
    no = None
    if v.dtype == torch.float64:
        no = "float64 is more than the kernel's float32"
    elif max(d, e) > 128:
        no = f"heads of {d} and {e} are wider than the kernel's 128"
    elif k[0, ..., 0].numel() * max(d, e) >= 2**31 or k.shape[1] > 2**20 - 16:
        no = f"T = {k.shape[1]} is beyond the kernel's offsets"
    narrow = not_float32(q, k, v, beta, log_decay, S0)
    chosen = choose("delta", impl, v.device, no, narrow)
    if chosen == "reference":
        return reference(q, k, v, beta, log_decay, S0, scale)
    scale = 1.0 if scale is None else float(scale)
    inputs = Inputs(q, k, v, beta, log_decay, S0, scale, torch.is_grad_enabled())
    if chosen == "native":
        return native(inputs)
    o, last, *_ = run(inputs)
    return o, last
