"""Gated linear attention (arXiv 2312.06635; without decay: 2006.16236):

    S_t = diag(exp(log_decay_t)) S_{t-1} + k_t v_t^T        S_{-1} = S0, or 0
    o_t = scale * S_t^T q_t

q, k [B,T,H,d], v [B,T,H,e], log_decay <= 0 as [B,T,H,d] (a decay per channel), [B,T,H] (one per
head) or None (no decay), S0 [B,H,d,e] or None -> o [B,T,H,e] and S_last [B,H,d,e]. scale is 1
unless given: q is used as it comes. log_decay = -inf empties the state.

There is no Triton kernel: the reference serves a GPU.

Sums and the state are float32 whatever the inputs are (float64 for float64 inputs), autocast or
not; o has the type of v, S_last is float32. Only sums of log decays over a stretch
of tokens are ever exponentiated, each summed on its own and so <= 0: no division by a small
product, no difference of large sums.
"""

from __future__ import annotations

from torch import Tensor

from kernels import Impl, choose
from kernels._inputs import check_states, not_float32
from kernels.linear.definition import definition, example_inputs, linear_step
from kernels.linear.native import native
from kernels.linear.reference import reference

__all__ = ["definition", "example_inputs", "linear", "linear_step", "reference"]


def linear(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    log_decay: Tensor | None = None,
    S0: Tensor | None = None,
    *,
    scale: float | None = None,
    impl: Impl = "auto",
) -> tuple[Tensor, Tensor]:
    """o [B,T,H,e] and S_last [B,H,d,e]; the shapes are in the module's docstring.

    Raises ValueError, naming the input, where shapes do not fit, or where impl is "native" or
    "triton" and cannot be.
    """
    check_states("linear", q, k, v, S0)
    if log_decay is not None and log_decay.shape not in (k.shape, k.shape[:3]):
        either = f"{list(k.shape)} or {list(k.shape[:3])}"
        raise ValueError(f"linear: log_decay {list(log_decay.shape)} must be {either}")
    no = not_float32(q, k, v, log_decay, S0)
    if choose("linear", impl, v.device, "there is no Triton kernel", no) == "native":
        return native(q, k, v, log_decay, S0, 1.0 if scale is None else float(scale))
    return reference(q, k, v, log_decay, S0, scale=scale)
