"""The scan as a loop over time into preallocated memory; its gradient is a loop too.

On a CPU the loop moves every number once, where doubling would move it log2(T) times.
"""

from __future__ import annotations

import torch
from torch import Tensor

from kernels._inputs import at_least_float32
from kernels.scan.operator import Inputs, run

# Elements of state that one step of the reference touches: rows beyond it wait for the next block,
# so that a block's strided steps stay in cache.
_BLOCK = 8192


def reference(a: Tensor, x: Tensor, h0: Tensor | None = None) -> Tensor:
    """h [B,T,D], differentiable; checks no shapes."""
    h: Tensor = run(Inputs(a, x, h0, False))
    return h


def run_forward(i: Inputs) -> Tensor:
    """h [B,T,D] in the type of x; the state is float32 at least."""
    a, x = at_least_float32(i.a), at_least_float32(i.x)
    h = torch.empty(x.shape, dtype=x.dtype, device=x.device)
    _loop(a, x, None if i.h0 is None else i.h0.to(x.dtype), h)
    return h.to(i.x.dtype)


def run_backward(i: Inputs, dh: Tensor) -> dict[str, Tensor]:
    """Gradients by name; the field x holds h."""
    a, h, dh = at_least_float32(i.a), at_least_float32(i.x), at_least_float32(dh)
    g = torch.empty(dh.shape, dtype=dh.dtype, device=dh.device)
    _loop_back(a, dh, g)
    da = torch.empty_like(g)
    torch.mul(g[:, 1:], h[:, :-1], out=da[:, 1:])
    grads = {"a": da, "x": g}
    if i.h0 is None:
        da[:, 0].zero_()
    else:
        torch.mul(g[:, 0], i.h0, out=da[:, 0])
        grads["h0"] = g[:, 0] * a[:, 0]
    return {n: x.to(getattr(i, n).dtype) for n, x in grads.items()}


def _loop(a: Tensor, x: Tensor, h0: Tensor | None, h: Tensor) -> None:
    """Fill h; all of one type."""
    rows = max(1, _BLOCK // x.shape[2])
    for r in range(0, x.shape[0], rows):
        at, xt, ht = (v[r : r + rows].unbind(1) for v in (a, x, h))
        if h0 is None:
            ht[0].copy_(xt[0])
        else:
            torch.addcmul(xt[0], at[0], h0[r : r + rows], out=ht[0])
        for t in range(1, len(xt)):
            torch.addcmul(xt[t], at[t], ht[t - 1], out=ht[t])


def _loop_back(a: Tensor, dh: Tensor, g: Tensor) -> None:
    """Fill g_t = dh_t + a_{t+1} g_{t+1}; all of one type."""
    rows = max(1, _BLOCK // dh.shape[2])
    for r in range(0, dh.shape[0], rows):
        at, dt, gt = (v[r : r + rows].unbind(1) for v in (a, dh, g))
        gt[-1].copy_(dt[-1])
        for t in range(len(gt) - 2, -1, -1):
            torch.addcmul(dt[t], at[t + 1], gt[t + 1], out=gt[t])
