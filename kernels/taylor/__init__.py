"""Attention whose kernel is exp to the second order of its Taylor series (Based, 2402.18668):

    y_t = sum_{j <= t} p(s_tj) v_j / sum_{j <= t} p(s_tj)        s_tj = q_t . k_j / sqrt(f)
    p(s) = 1 + s + s^2 / 2 = phi(q_t) . phi(k_j)

q, k [B,T,H,f], v [B,T,H,e] -> y [B,T,H,e]. p is at least 1/2, so the sum is never near 0. Sums are
float32 at least whatever the inputs are, autocast or not; y has their type. `state` gives what one
more token needs, S = sum phi(k) [v, 1]^T.

There is no Triton kernel. The native operator takes all pairs of tokens, up to T = 1,024; the
reference keeps earlier chunks of tokens in the state.
"""

from __future__ import annotations

from torch import Tensor

from kernels import Impl, choose
from kernels._inputs import check_heads, not_float32
from kernels.taylor.definition import definition, example_inputs
from kernels.taylor.native import native
from kernels.taylor.reference import reference, state, taylor_step

__all__ = ["definition", "example_inputs", "reference", "state", "taylor", "taylor_step"]

LONGEST = 1024  # tokens; beyond, a state costs less than all pairs


def taylor(q: Tensor, k: Tensor, v: Tensor, *, impl: Impl = "auto") -> Tensor:
    """y [B,T,H,e] of the formula above.

    Raises ValueError, naming the input, where shapes do not fit, or where impl is "native" or
    "triton" and cannot be.
    """
    check_heads("taylor", q, k, v, None, None, None)
    if q.shape[2] != k.shape[2]:
        raise ValueError(f"taylor: q has {q.shape[2]} heads and k {k.shape[2]}; they must agree")
    no = not_float32(q, k, v)
    if q.shape[1] > LONGEST:
        no = f"T = {q.shape[1]} is beyond the native operator's {LONGEST}"
    if choose("taylor", impl, q.device, "there is no Triton kernel", no) == "native":
        return native(q, k, v)
    return reference(q, k, v)
